//! Servers: presets, what they set by default, and folders by role.

use std::{collections::BTreeSet, time::Duration};

use postrider_core::ids::MailboxKey;

use super::*;
use crate::config::{Mailbox, OAuthMechanism, StableBytes};

fn lab(good: &str, bad: &str) -> Mailbox {
    let loaded = spoiled(good, bad).load();
    (*loaded.config.mailboxes[&MailboxKey::from("lab")]).clone()
}

const SERVER: &str = r#"{ host = "imap.example.org" }"#;

#[test]
fn each_preset_knows_its_host_its_cycle_and_its_budget() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (name, host, cycle, connections) in [
        ("exchange-online", "outlook.office365.com", 5, 8),
        ("exchange-gcc-high", "outlook.office365.us", 5, 8),
        ("exchange-dod", "outlook-dod.office365.us", 5, 8),
        ("exchange-china", "partner.outlook.cn", 5, 8),
        ("gmail", "imap.gmail.com", 9, 8),
        ("yahoo", "imap.mail.yahoo.com", 4, 5),
        ("aol", "imap.aol.com", 4, 5),
        ("fastmail", "imap.fastmail.com", 5, 8),
        ("icloud", "imap.mail.me.com", 5, 5),
    ] {
        let mailbox = lab(SERVER, &format!("\"{name}\""));
        assert_eq!(mailbox.server.host, host);
        assert_eq!(mailbox.policy.cycle, minutes(cycle), "{name}");
        assert_eq!(
            mailbox.server.connections_per_mailbox, connections,
            "{name}"
        );
        let exchange = name.starts_with("exchange");
        let rebuilds = mailbox.server.stable_bytes == StableBytes::No;
        assert_eq!(rebuilds, exchange, "{name}");
        let xoauth2 = mailbox.server.oauth == OAuthMechanism::XOAuth2;
        assert_eq!(xoauth2, !["fastmail", "icloud"].contains(&name), "{name}");
    }
}

#[test]
fn what_is_written_wins_over_the_preset() {
    let server = r#"{ preset = "gmail", connections_max = 40, connections_per_mailbox = 12 }"#;
    let mailbox = lab(SERVER, &format!("{server}\nidle_cycle = \"2m\""));
    assert_eq!(mailbox.policy.cycle, Duration::from_secs(120));
    assert_eq!(mailbox.server.connections_per_mailbox, 12);
    assert_eq!(mailbox.server.connections_max, Some(40));
    // A preset's budget never raises the one that is set for all.
    let limited = lab(
        "[mailboxes.lab]",
        "[limits]\nconnections_per_mailbox = 3\n[mailboxes.lab]",
    );
    assert_eq!(limited.server.connections_per_mailbox, 3);
    let raised =
        "[limits]\nconnections_per_mailbox = 50\n[servers.g]\npreset = \"gmail\"\n[mailboxes.lab]";
    let world = spoiled("[mailboxes.lab]", raised);
    let text = fs::read_to_string(world.main()).unwrap();
    fs::write(world.main(), text.replace(SERVER, "\"g\"")).unwrap();
    let loaded = world.load();
    let mailbox = &loaded.config.mailboxes[&MailboxKey::from("lab")];
    assert_eq!(mailbox.server.connections_per_mailbox, 10);
}

#[test]
fn a_server_with_fewer_connections_than_folders_is_doubted() {
    let one = r#"{ host = "imap.example.org", connections_max = 1 }
username = "lab""#;
    let world = spoiled(SERVER, one);
    let text = fs::read_to_string(world.main()).unwrap();
    fs::write(
        world.main(),
        text.replace("[\"INBOX\"]", "[\"INBOX\", \"Orders\"]"),
    )
    .unwrap();
    assert_eq!(
        world.warnings(),
        "c.toml:9: 2 folders at imap.example.org need a connection each, and `connections_max` is 1: the rest waits and is not watched\n  hint: raise `connections_max` of the server"
    );
}

#[test]
fn sessions_are_replaced_so_early_that_the_ramp_lets_all_of_them_in() {
    let many: String = (0..300)
        .map(|n| {
            format!(
                "[mailboxes.m{n}]\naddress = \"m{n}@example.org\"\nserver = {SERVER}\ncredential = \"lab\"\nfolders = [\"INBOX\"]\nendpoints = [\"tickets\"]\n"
            )
        })
        .collect();
    let leads = |logins: u32| {
        let limits = format!("[limits]\nlogins_per_second = {logins}\n{many}[mailboxes.lab]");
        let loaded = spoiled("[mailboxes.lab]", &limits).load();
        let mailboxes = loaded.config.mailboxes.values();
        let leads: BTreeSet<u64> = mailboxes
            .map(|mailbox| mailbox.policy.standby_lead_max.as_secs())
            .collect();
        leads
    };
    assert_eq!(leads(20), BTreeSet::from([300]));
    assert_eq!(leads(1), BTreeSet::from([600]));
}

#[test]
fn folders_may_be_named_by_their_role() {
    let folders = |written: &str| {
        let mailbox = lab(r#"["INBOX"]"#, written);
        let names = mailbox.folders.iter().map(ToString::to_string);
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        folders(r#"["inbox", "\\junk", "\\Sent"]"#),
        ["INBOX", "\\Junk", "\\Sent"]
    );
    assert_eq!(
        spoiled(r#"["INBOX"]"#, r#"["\\Inbox"]"#).errors(),
        "c.toml:13: `mailboxes.lab.folders` has `\\Inbox`, which is no role of a folder\n  hint: roles are \\All, \\Archive, \\Drafts, \\Flagged, \\Junk, \\Sent, \\Trash"
    );
}
