//! `credentials`: how access stands, as the running daemon uses it.

use postrider_core::time::Wall;

use super::{
    args::Credentials,
    client::{Answer, Client, Target},
    failure::Failure,
    output::{print, print_json},
    render::{Table, age, clean, maybe_age, over, trouble},
};
use crate::{admin::api, clock};

/// Names of mailboxes in one line; a credential may have a thousand of them.
const NAMES_MAX: usize = 4;

pub(crate) async fn run(
    client: &Client,
    command: Option<&Credentials>,
    json: bool,
) -> Result<(), Failure> {
    match command {
        None | Some(Credentials::List) => {}
    }
    let answer: Answer<api::Credentials> = client.get(Target::of(&["credentials"])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&text(&answer.read()?.credentials, clock::wall()))
}

fn text(credentials: &[api::Credential], now: Wall) -> String {
    if credentials.is_empty() {
        return "no credentials\n".to_owned();
    }
    let mut table = Table::new(&[
        "CREDENTIAL",
        "TYPE",
        "STATE",
        "LIVE",
        "TOKEN ENDS",
        "NEXT REQUEST",
        "EXPIRES",
        "MAILBOXES",
    ]);
    for credential in credentials {
        table.row([
            credential.id.clone(),
            credential.kind.clone(),
            credential.state.clone(),
            live(credential),
            maybe_age(credential.token_expires.as_deref(), now),
            maybe_age(credential.next_request.as_deref(), now),
            maybe_age(credential.expires.as_deref(), now),
            mailboxes(&credential.mailboxes),
        ]);
    }
    let mut text = table.text();
    for credential in credentials {
        text += &details(credential, now);
    }
    text
}

/// `2 of 3`: the newest is the first.
fn live(credential: &api::Credential) -> String {
    match (credential.live, credential.secrets) {
        (_, 0) => String::new(),
        (Some(live), secrets) => format!("{live} of {secrets}"),
        (None, secrets) => format!("none of {secrets}"),
    }
}

fn mailboxes(names: &[String]) -> String {
    let shown = names.get(..NAMES_MAX).unwrap_or(names).join(" ");
    match names.len() {
        0 => "none".to_owned(),
        number @ 1..=NAMES_MAX => format!("{number}: {shown}"),
        number => format!("{number}: {shown} …"),
    }
}

fn details(credential: &api::Credential, now: Wall) -> String {
    let id = clean(&credential.id);
    let mut text = String::new();
    for problem in &credential.secret_problems {
        text += &format!("\n{id}: {}\n", clean(problem));
    }
    if let Some(error) = &credential.last_error {
        let told = match credential.trouble_over {
            true => over(error, None, now),
            false => trouble(error, now),
        };
        text += &format!("\n{id}: {told}\n");
    }
    if let Some(at) = &credential.account_since {
        let account = credential.account.as_deref().unwrap_or("somebody");
        text += &format!(
            "\n{id}: {} signed in {} ago\n",
            clean(account),
            age(at, now)
        );
    }
    text
}
