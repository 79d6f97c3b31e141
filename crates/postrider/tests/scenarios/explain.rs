//! `explain`, as an operator who misses a mail would use it.

use postrider_sandbox::{mail, mailboxes::Access, receiver::Behaviour};
use serde_json::Value;

use crate::world::{Settings, World};

fn now() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}

fn verdict(explanation: &Value) -> String {
    explanation["verdict"]["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn explain(world: &World, more: &[&str]) -> Value {
    let words: Vec<&str> = ["explain", "box0"].iter().chain(more).copied().collect();
    world.ask(&words).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_well_says_since_when_no_mail_came() {
    let world = World::watching(Settings::default()).await;
    world.deliver(0);
    world.expect_all().await;
    world.expect_account().await;
    let explanation = explain(&world, &[]);
    let text = verdict(&explanation);
    assert!(
        text.starts_with("nothing is wrong: no mail came since 2"),
        "{explanation:#}"
    );
    assert_eq!(explanation["verdict"]["fine"], true);
    let folder = &explanation["folders"][0];
    assert_eq!(folder["behind"], false);
    assert_eq!(folder["server"]["highest_uid"], folder["newest"]["uid"]);
    assert_eq!(explanation["server"]["folders"], 1);
    assert_eq!(explanation["credential"]["state"], "ready");
    // The look is over: the watch's own session is the only one.
    world
        .expect("one session", |world| {
            explain(world, &["--offline"])["gate"]["sessions"] == 1
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_told_from_its_arrival_to_its_delivery() {
    let world = World::watching(Settings::default()).await;
    world.receiver.set(Behaviour::status(503));
    let message = world.deliver(0);
    world
        .expect("a refused attempt", |world| {
            world.receiver.attempt_count() > 0
        })
        .await;
    world
        .expect("the attempt in its story", |world| {
            let explanation = explain(world, &["--message-id", &message]);
            verdict(&explanation).contains("has not taken it yet")
                && explanation["message"]["events"][0]["attempts"][0]["status"] == 503
        })
        .await;
    world.receiver.set(Behaviour::status(200));
    world.ask(&["endpoints", "resume", "tickets"]).unwrap();
    world.expect_all().await;
    world
        .expect("its delivery", |world| {
            let explanation = explain(world, &["--message-id", message.trim_matches(['<', '>'])]);
            verdict(&explanation).contains("tickets took it at")
        })
        .await;
    let story = &explain(&world, &["--message-id", &message])["message"];
    assert_eq!(story["taken"][0]["outcome"], "event", "{story:#}");
    assert_eq!(story["taken"][0]["found_by"], "idle", "{story:#}");
    assert_eq!(story["places"][0]["folder"], "INBOX", "{story:#}");
    assert_eq!(story["places"][0]["taken"]["outcome"], "event", "{story:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_a_folder_that_nobody_watches_is_found_there() {
    let world = World::watching(Settings::default()).await;
    let user = &world.users[0];
    world.mailboxes.add_folder(user, "Junk Email").unwrap();
    world
        .mailboxes
        .deliver(user, "Junk Email", mail::plain(7, 800), now())
        .unwrap();
    let explanation = explain(&world, &["--message-id", &mail::message_id(7)]);
    let text = verdict(&explanation);
    assert!(
        text.contains("it is in `Junk Email` (UID 1), which is not watched"),
        "{explanation:#}"
    );
    let nowhere = explain(&world, &["--message-id", "nobody@sandbox.example"]);
    assert!(verdict(&nowhere).contains("in none of the"), "{nowhere:#}");
    // Looking changed nothing there.
    assert!(world.mailboxes.seen(user, "Junk Email").unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_from_before_the_start_says_so() {
    let mut world = World::new(Settings::default()).await;
    let user = world.users[0].clone();
    world
        .mailboxes
        .deliver(&user, "INBOX", mail::plain(7, 800), now())
        .unwrap();
    world.start();
    world.expect_watching(1).await;
    let explanation = explain(&world, &["--message-id", &mail::message_id(7)]);
    assert!(
        verdict(&explanation).contains("before the folder was first looked at"),
        "{explanation:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_said_with_its_time_and_the_server_is_not_asked_again() {
    let world = World::watching(Settings::default()).await;
    let user = &world.users[0];
    world
        .mailboxes
        .set_access(user, |access| *access = Access::password("changed"))
        .unwrap();
    world.proxy.cut_all();
    world.expect_state("box0", "auth_failed").await;
    let explanation = explain(&world, &[]);
    let text = verdict(&explanation);
    assert!(
        text.starts_with("silent because: the login is refused since 2"),
        "{text}"
    );
    assert_eq!(explanation["server"]["folders"], 0);
    assert!(
        explanation["server"]["note"]
            .as_str()
            .unwrap()
            .contains("was not asked")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_mailbox_says_who_stopped_it_and_how_to_go_on() {
    let world = World::watching(Settings::default()).await;
    world.ask(&["mailboxes", "pause", "box0"]).unwrap();
    world.expect_state("box0", "paused").await;
    let explanation = explain(&world, &[]);
    assert!(
        verdict(&explanation).contains("an operator paused it"),
        "{explanation:#}"
    );
    assert_eq!(
        explanation["verdict"]["hint"],
        "postrider mailboxes resume box0"
    );
    let refused = world.ask(&["explain", "nobody"]).unwrap_err();
    assert!(
        refused.contains("there is no mailbox `nobody`"),
        "{refused}"
    );
}
