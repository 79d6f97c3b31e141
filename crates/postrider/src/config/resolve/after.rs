//! What is done after delivery: an endpoint of the mailbox, and one thing to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use postrider_core::ids::{EndpointKey, FolderName, MailboxKey};

use super::Findings;
use crate::config::{
    model::{After, AfterAction, Endpoint, Mailbox},
    raw,
};

/// `endpoints`: those of the mailbox.
pub(super) fn after(
    path: &str,
    written: &raw::After,
    endpoints: &[EndpointKey],
    findings: &mut Findings<'_>,
) -> Option<After> {
    let key = written.endpoint.as_deref().map(EndpointKey::new);
    let endpoint = match key {
        None => {
            findings.missing(
                &format!("{path}.endpoint"),
                "write whose acceptance is waited for",
            );
            None
        }
        Some(key) if !endpoints.contains(&key) => {
            let path = format!("{path}.endpoint");
            let what = format!("`{path}` is `{key}`, which is none of the mailbox's endpoints");
            let known: Vec<&str> = endpoints.iter().map(EndpointKey::as_str).collect();
            let hint = format!("the mailbox has: {}", known.join(", "));
            findings.error(&path, what, &hint);
            None
        }
        Some(key) => Some(key),
    };
    let action = action(path, written, findings);
    Some(After {
        endpoint: endpoint?,
        action: action?,
    })
}

/// A message that is moved gets a new UID, and is a new message where it comes to lie: in a folder
/// that is watched it would be sent again, moved again, and so on for ever.
pub(super) fn target_is_not_watched(
    path: &str,
    after: &After,
    folders: &[FolderName],
    findings: &mut Findings<'_>,
) {
    let AfterAction::MoveTo(target) = &after.action else {
        return;
    };
    if folders.contains(target) {
        let path = format!("{path}.move_to");
        let what = format!(
            "`{path}` is `{target}`, a folder that is watched: what is moved there would be new, and sent again"
        );
        findings.error(&path, what, "move to a folder that is not in `folders`");
    }
}

fn action(path: &str, written: &raw::After, findings: &mut Findings<'_>) -> Option<AfterAction> {
    match (&written.move_to, &written.add_flag, &written.keyword) {
        (Some(folder), None, None) => {
            let impossible = folder.is_empty() || folder.contains(|c: char| c.is_control());
            if impossible || folder.starts_with('\\') {
                let path = format!("{path}.move_to");
                let what = format!("`{path}` is no name of a folder");
                findings.error(&path, what, "write its full name, as the server has it");
                return None;
            }
            // RFC 3501 section 5.1: INBOX is the same in any case, other names are not.
            let name = match folder.eq_ignore_ascii_case("inbox") {
                true => "INBOX",
                false => folder.as_str(),
            };
            Some(AfterAction::MoveTo(FolderName::new(name)))
        }
        (None, Some(flag), None) => {
            let known = ["\\Seen", "\\Flagged", "\\Answered"];
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(flag));
            if found.is_none() {
                let path = format!("{path}.add_flag");
                let what = format!("`{path}` is no flag that is set here");
                findings.error(&path, what, "one of \\Seen, \\Flagged and \\Answered");
            }
            found.map(|flag| AfterAction::AddFlag((*flag).to_owned()))
        }
        (None, None, Some(keyword)) => {
            if !is_keyword(keyword) {
                let path = format!("{path}.keyword");
                let what = format!("`{path}` is no keyword");
                let hint = "1 to 64 letters, digits and _ - . $ (RFC 9051 section 2.3.2)";
                findings.error(&path, what, hint);
                return None;
            }
            Some(AfterAction::AddFlag(keyword.clone()))
        }
        _ => {
            let what =
                format!("`{path}` has to have exactly one of `move_to`, `add_flag` and `keyword`");
            findings.error(path, what, "write move_to = \"Done\", for instance");
            None
        }
    }
}

/// Stricter than an atom: what every server takes.
fn is_keyword(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(fits)
}

/// Tells the endpoints whose acceptance something follows.
pub(super) fn tell(
    endpoints: &mut BTreeMap<EndpointKey, Arc<Endpoint>>,
    mailboxes: &BTreeMap<MailboxKey, Arc<Mailbox>>,
) {
    let mut followed: BTreeMap<EndpointKey, BTreeSet<MailboxKey>> = BTreeMap::new();
    for mailbox in mailboxes.values() {
        if let Some(after) = &mailbox.after {
            let of_endpoint = followed.entry(after.endpoint.clone()).or_default();
            of_endpoint.insert(mailbox.key.clone());
        }
    }
    for (key, mailboxes) in followed {
        if let Some(endpoint) = endpoints.get_mut(&key) {
            Arc::make_mut(endpoint).after = Arc::new(mailboxes);
        }
    }
}
