//! Gmail's behaviour, each fault in a mailbox of its own and all in one daemon: its challenge, its
//! sessions that expire, its throttle marks, its limit, its ids and its labels.

use std::time::Duration;

use postrider_sandbox::{
    imap::{Goodbye, Profile, Refusal, Scope},
    mail,
    mailboxes::names,
    token_endpoint::TokenConfig,
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{tenant::Tenant, world::Settings};

fn settings(mailboxes: usize) -> Settings {
    Settings {
        mailboxes,
        profile: Profile::gmail(),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gmails_refusals_expiries_and_throttle_marks_lose_nothing() {
    let mut tenant = Tenant::new(settings(4), TokenConfig::default()).await;
    tenant.world.start();
    tenant.world.expect_watching(4).await;
    let world = &tenant.world;
    let user = |mailbox: usize| Scope::User(&world.users[mailbox]);
    // 0: the challenge, and the refusal behind it; 1: the session expires; 2: [THROTTLED] in every
    // reply; 3: too many connections.
    world.server.levers(user(0), |levers| {
        levers.refuse_next_logins(Refusal::Credentials, 1);
    });
    world.server.drop_sessions(user(0), &Goodbye::Eof);
    world.server.drop_sessions(user(1), &Goodbye::Expired);
    world
        .server
        .levers(user(2), |levers| levers.mark_throttled = true);
    world
        .server
        .levers(user(3), |levers| levers.connections_max = Some(0));
    world.server.drop_sessions(user(3), &Goodbye::Eof);
    for mailbox in 0..4 {
        world.burst(mailbox, 2);
    }
    let told = |key: &str, cause: &str, words: &str| {
        let trouble = world.mailbox(key)["last_error"].clone();
        trouble["cause"] == cause && trouble.to_string().contains(words)
    };
    world
        .expect("the refusal, with the challenge's words", |_| {
            told("box0", "login_refused", "Invalid credentials")
        })
        .await;
    world
        .expect("the limit", |_| {
            let words = "Too many simultaneous connections";
            told("box3", "connection_limit", words)
        })
        .await;
    world
        .server
        .levers(user(3), |levers| levers.connections_max = None);
    world.expect_all_within(Duration::from_secs(75)).await;
    world.expect_watching(4).await;
    assert_eq!(world.mailbox("box1")["last_error"], Value::Null);
    assert_eq!(world.mailbox("box2")["last_error"], Value::Null);
    assert_eq!(world.server.counters(user(1)).logins, 2);
    world.expect_account().await;
    assert_eq!(world.receiver.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gmails_ids_are_in_the_event_and_its_folders_are_found_by_role() {
    let settings = Settings {
        folders: "\"INBOX\", \"\\\\All\"",
        ..settings(1)
    };
    let mut tenant = Tenant::new(settings, TokenConfig::default()).await;
    let user = tenant.world.users[0].clone();
    tenant
        .world
        .mailboxes
        .add_folders(&user, names::GMAIL_GERMAN)
        .unwrap();
    tenant.world.start();
    tenant.world.expect_watching(1).await;
    let world = &tenant.world;
    let number = world.next_number();
    let now = OffsetDateTime::now_utc();
    let raw = mail::plain(number, 600);
    let id = world.post().deliver(&user, number, raw, now);
    let uid = *world
        .mailboxes
        .uids(&user, "INBOX")
        .unwrap()
        .last()
        .unwrap();
    world
        .mailboxes
        .label(&user, "INBOX", uid, "[Gmail]/Alle Nachrichten")
        .unwrap();
    assert!(world.receiver.wait_for(2, Duration::from_secs(20)).await);
    let events: Vec<Value> = world
        .receiver
        .received()
        .iter()
        .map(|one| one.json()["data"].clone())
        .collect();
    let ids: Vec<&Value> = events
        .iter()
        .map(|data| &data["imap"]["gmail"]["message_id"])
        .collect();
    assert_eq!(ids, [&Value::from("1780000000000000001"); 2], "{events:#?}");
    for data in &events {
        assert_eq!(data["message"]["message_id"], id.as_str());
    }
    let mut folders: Vec<&str> = events
        .iter()
        .filter_map(|data| data["folder"].as_str())
        .collect();
    folders.sort_unstable();
    assert_eq!(folders, ["INBOX", "\\All"]);
    assert!(world.server.violations().is_empty());
}
