//! What a reload would do.

use postrider_core::ids::MailboxKey;

use super::*;
use crate::config::{Aspect, diff};

fn changes(good: &str, bad: &str) -> crate::config::Changes {
    diff(
        &super::good().load().config,
        &spoiled(good, bad).load().config,
    )
}

#[test]
fn the_same_configuration_differs_in_nothing() {
    let changes = changes("", "");
    assert!(changes.is_empty());
    assert_eq!(changes.to_string(), "nothing differs\n");
}

#[test]
fn a_changed_mailbox_says_what_differs_of_it() {
    let changes = changes(
        "folders = [\"INBOX\"]",
        "folders = [\"Orders\"]\nidle_cycle = \"1m\"",
    );
    assert!(changes.endpoints.is_empty() && changes.credentials.is_empty());
    let aspects = &changes.aspects[&MailboxKey::new("lab")];
    assert_eq!(*aspects, [Aspect::Folders, Aspect::Policy]);
    assert!(!aspects.iter().any(|aspect| aspect.needs_new_session()));
    assert_eq!(changes.to_string(), "~ mailbox lab: folders, policy\n");
}

#[test]
fn a_renamed_mailbox_is_another_one() {
    let changes = changes("[mailboxes.lab]", "[mailboxes.labor]");
    assert_eq!(changes.mailboxes.added, [MailboxKey::new("labor")]);
    assert_eq!(changes.mailboxes.removed, [MailboxKey::new("lab")]);
    assert!(changes.mailboxes.changed.is_empty());
}

#[test]
fn what_only_a_restart_changes_is_told() {
    let changes = changes(
        "[credentials.lab]",
        "instance = \"other\"\nstore.url = \"sqlite:///srv/p.db\"\nhttp.listen = \"off\"\n[credentials.lab]",
    );
    assert_eq!(changes.restart_needed, ["instance", "store", "http.listen"]);
    assert!(changes.mailboxes.is_empty());
}

#[test]
fn a_listener_of_links_that_moves_needs_a_restart_and_its_key_does_not() {
    let links = |port: u16, key: &str| {
        format!(
            "[links]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"https://l.example.org\"\nkey = {{ env = \"{key}\" }}\n\n[mailboxes.lab]"
        )
    };
    let with = |port, key| spoiled("[mailboxes.lab]", &links(port, key)).load().config;
    let before = with(9421, "LAB_PASSWORD");
    let moved = diff(&before, &with(9422, "LAB_PASSWORD"));
    assert_eq!(moved.restart_needed, ["links.listen"]);
    let rekeyed = diff(&before, &with(9421, "TICKETS_SECRET"));
    assert!(rekeyed.restart_needed.is_empty());
    let new = diff(&super::good().load().config, &before);
    assert_eq!(new.restart_needed, ["links.listen"]);
}

#[test]
fn a_changed_server_and_endpoint_are_each_seen() {
    let changes = changes(
        "secret = { env = \"TICKETS_SECRET\" }\n\n[mailboxes.lab]\naddress = \"lab@example.org\"\nserver = { host = \"imap.example.org\" }",
        "secret = { env = \"OTHER\" }\n\n[mailboxes.lab]\naddress = \"lab@example.org\"\nserver = \"gmail\"",
    );
    assert_eq!(
        changes.to_string(),
        "~ endpoint tickets\n~ mailbox lab: server, policy\n"
    );
}
