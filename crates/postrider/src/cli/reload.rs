//! `reload`: what changed, or would.

use super::{
    client::{Answer, Client, Target},
    failure::Failure,
    output::{complain, print, print_json},
    render::clean,
};
use crate::admin::api;

pub(crate) async fn run(client: &Client, dry_run: bool, json: bool) -> Result<(), Failure> {
    let target = Target::of(&["reload"]).query("dry_run", dry_run.then_some("true"));
    let answer: Answer<api::Reloaded> = client.post(target).await?;
    if json {
        return print_json(&answer.json);
    }
    let reloaded = answer.read()?;
    for warning in &reloaded.warnings {
        complain(&format!("{warning}\n"))?;
    }
    print(&text(&reloaded))
}

fn text(reloaded: &api::Reloaded) -> String {
    let changes = &reloaded.changes;
    let mut text = String::new();
    for (what, delta) in [
        ("credential", &changes.credentials),
        ("endpoint", &changes.endpoints),
        ("mailbox", &changes.mailboxes),
    ] {
        for (sign, keys) in [
            ('+', &delta.added),
            ('~', &delta.changed),
            ('-', &delta.removed),
        ] {
            for key in keys {
                let aspects = match (what, changes.aspects.get(key)) {
                    ("mailbox", Some(aspects)) if sign == '~' => {
                        format!(": {}", aspects.join(", "))
                    }
                    _ => String::new(),
                };
                text += &format!("{sign} {what} {}{}\n", clean(key), clean(&aspects));
            }
        }
    }
    for key in &changes.restart_needed {
        text += &format!(
            "! {} differs: needs a restart, until then the old holds\n",
            clean(key)
        );
    }
    match (text.is_empty(), reloaded.dry_run) {
        (true, _) => "nothing differs\n".to_owned(),
        (false, true) => text + "dry run: nothing was changed\n",
        (false, false) => text + "in force now\n",
    }
}
