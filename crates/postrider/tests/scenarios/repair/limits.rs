//! What an order of an operator does not do: mean a name that nobody knows, send to what is gone or
//! does not want it, end half way.

use postrider_sandbox::receiver::Receiver;

use super::{aborts, audit, dead_letters, endpoint};
use crate::world::{SECRET, Settings, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_there_is_no_answer() {
    let world = World::watching(Settings::default()).await;
    let ids = dead_letters(&world, 1).await;
    let nobody = "00000000-0000-0000-0000-000000000001";
    let tickts = ["--endpoint", "tickts"];
    for (words, told) in [
        (vec!["events", "replay", nobody], "there is no event"),
        (
            [&["events", "replay", &ids[0]][..], &tickts].concat(),
            "there is no endpoint `tickts`",
        ),
        (
            [&["events", "replay", "--dead"][..], &tickts].concat(),
            "there is no endpoint `tickts`",
        ),
        (
            vec!["events", "replay", "--dead", "--mailbox", "bax"],
            "there is no mailbox `bax`",
        ),
        (
            [
                &["events", "discard", "--dead", "--reason", "x"][..],
                &tickts,
            ]
            .concat(),
            "there is no endpoint `tickts`",
        ),
        (
            [&["events", "list"][..], &tickts].concat(),
            "there is no endpoint `tickts`",
        ),
        (
            vec!["events", "list", "--mailbox", "bax"],
            "there is no mailbox `bax`",
        ),
        (
            vec!["events", "replay", "--cancel", "99"],
            "there is no replay `99`",
        ),
    ] {
        let refused = world.ask(&words).unwrap_err();
        assert!(refused.contains(told), "{words:?}: {refused}");
    }
    assert!(audit(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_again_to_an_endpoint_that_is_gone_and_its_dead_letters_are_not_forgotten()
{
    let gone = Receiver::start(SECRET).await.unwrap();
    gone.set(aborts());
    let mut world = World::watching(Settings {
        endpoints: "\"tickets\", \"gone\"",
        more: format!(
            "[endpoints.gone]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n",
            gone.url()
        ),
        ..Settings::default()
    })
    .await;
    let ids = dead_letters(&world, 3).await;
    world
        .expect("dead there as well", |world| {
            endpoint(world, "gone")["dead"] == 3
        })
        .await;
    world.settings.endpoints = "\"tickets\"";
    world.settings.more = String::new();
    world.write_config();
    world.ask(&["reload"]).unwrap();
    let listed = endpoint(&world, "gone");
    assert_eq!(
        (&listed["state"], &listed["dead"]),
        (&"orphaned".into(), &3.into())
    );
    for words in [
        vec!["events", "replay", "--dead", "--endpoint", "gone"],
        vec!["events", "replay", &ids[0], "--endpoint", "gone"],
    ] {
        let refused = world.ask(&words).unwrap_err();
        assert!(
            refused.contains("not in the configuration any more"),
            "{refused}"
        );
    }
    let sent = world.ask(&["events", "replay", "--dead"]).unwrap();
    assert_eq!(sent["endpoints"], serde_json::json!({"tickets": 3}));
    world
        .expect("the others arrive", |world| world.arrived().len() == 3)
        .await;
    let words = ["events", "discard", "--dead", "--endpoint", "gone"];
    let given_up = world
        .ask(&[&words[..], &["--reason", "it is gone"]].concat())
        .unwrap();
    assert_eq!(given_up["deliveries"], 3);
    assert!(endpoint(&world, "gone").is_null());
    assert_eq!(world.metric("postrider_unaccounted_deliveries").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_later_what_its_condition_lets_through_and_no_more() {
    let late = Receiver::start(SECRET).await.unwrap();
    let mut world = World::watching(Settings::default()).await;
    world.burst(0, 6);
    world.expect_all().await;
    world.expect_account().await;
    world.settings.endpoints = "\"tickets\", \"late\"";
    world.settings.more = format!(
        "[endpoints.late]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n\
         when = \"data.imap.uid is divisibleby 3\"\n",
        late.url()
    );
    world.write_config();
    world.ask(&["reload"]).unwrap();
    let words = ["events", "replay", "--never", "--endpoint", "late"];
    let planned = world.ask(&[&words[..], &["--dry-run"]].concat()).unwrap();
    assert_eq!(planned["deliveries"], 2, "{planned:#}");
    let done = world.ask(&words).unwrap();
    assert_eq!(done["deliveries"], 2, "{done:#}");
    world
        .expect("they arrive", |_| late.distinct_ids() == 2)
        .await;
    // What its condition refused was never owed to it either.
    world.burst(0, 3);
    world
        .expect("the next one of them", |_| late.distinct_ids() == 3)
        .await;
    assert_eq!(world.ask(&words).unwrap()["deliveries"], 0);
    for one in late.received() {
        let uid = one.json()["data"]["imap"]["uid"].as_u64().unwrap();
        assert_eq!(uid % 3, 0);
    }
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_may_say_why() {
    let world = World::watching(Settings::default()).await;
    for words in [
        ["endpoints", "pause", "tickets"],
        ["endpoints", "resume", "tickets"],
        ["mailboxes", "pause", "box0"],
        ["mailboxes", "resume", "box0"],
    ] {
        world
            .ask(&[&words[..], &["--reason", "the desk moves house"]].concat())
            .unwrap();
    }
    world.ask(&["endpoints", "pause", "tickets"]).unwrap();
    let rows = audit(&world);
    assert_eq!(rows.len(), 5);
    assert!(rows[0]["why"].is_null());
    assert!(
        rows[1..]
            .iter()
            .all(|row| row["why"] == "the desk moves house"),
        "{rows:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_a_crash_and_can_still_be_taken_back() {
    let mut world = World::watching(Settings::default()).await;
    world.burst(0, 40);
    world.expect_all().await;
    world.expect_account().await;
    let words = ["events", "replay", "--delivered", "--endpoint", "tickets"];
    let sent = world
        .ask(&[&words[..], &["--rate", "10"]].concat())
        .unwrap();
    assert_eq!(sent["deliveries"], 40);
    world
        .expect("some are sent again", |world| world.receiver.repeats() >= 3)
        .await;
    world.kill();
    let before = world.receiver.repeats();
    world.start();
    world.expect_watching(1).await;
    world
        .expect("it goes on", |world| world.receiver.repeats() > before + 2)
        .await;
    let number = sent["replay"].to_string();
    let words = ["events", "replay", "--cancel", &number];
    world
        .ask(&[&words[..], &["--reason", "enough"]].concat())
        .unwrap();
    world
        .expect("all of it is delivered, as it was", |world| {
            let state = endpoint(world, "tickets");
            state["pending"] == 0 && state["delivered"] == 40
        })
        .await;
    assert_eq!(world.receiver.distinct_ids(), 40);
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gets_messages_alone_gets_no_ping_and_a_paused_mailbox_is_not_read() {
    let mut world = World::new(Settings {
        endpoint: "format = \"raw\"\n[endpoints.tickets.raw]\nprofile = \"action_mailbox\"\n\
            key = { env = \"PRODUCT_KEY\" }\n"
            .to_owned(),
        ..Settings::default()
    })
    .await;
    let key = ("PRODUCT_KEY".to_owned(), "the key".to_owned());
    world.environment.push(key);
    world.start();
    world.expect_watching(1).await;
    let refused = world.ask(&["endpoints", "ping", "tickets"]).unwrap_err();
    assert!(refused.contains("nothing was sent"), "{refused}");
    assert!(refused.contains("test-route FILE.eml"), "{refused}");
    assert!(world.receiver.received().is_empty());
    world.ask(&["mailboxes", "pause", "box0"]).unwrap();
    world.expect_state("box0", "paused").await;
    let words = [
        "events",
        "replay",
        "--from-mailbox",
        "box0",
        "--uids",
        "1:*",
    ];
    let refused = world.ask(&words).unwrap_err();
    assert!(refused.contains("paused"), "{refused}");
}
