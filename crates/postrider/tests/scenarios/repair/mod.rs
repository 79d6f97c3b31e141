//! What an operator repairs: sending again as much and as fast as wanted, taking that back, giving
//! up, reading again from the mailbox; and who did it.

mod limits;

use std::collections::BTreeSet;

use postrider_sandbox::{
    mail,
    receiver::{Answer, Behaviour, Receiver},
};
use serde_json::Value;

use crate::world::{SECRET, Settings, World};

pub(crate) fn endpoint(world: &World, id: &str) -> Value {
    let list = world.ask(&["endpoints", "list"]).unwrap_or_default();
    let all = list["endpoints"].as_array().cloned().unwrap_or_default();
    all.into_iter()
        .find(|one| one["id"] == id)
        .unwrap_or_default()
}

pub(crate) fn audit(world: &World) -> Vec<Value> {
    let audit = world.ask(&["admin", "audit"]).unwrap();
    audit["audit"].as_array().cloned().unwrap_or_default()
}

/// The receiver gives each event up: it is dead at once.
fn aborts() -> Behaviour {
    Behaviour::Answer(Answer {
        status: 400,
        headers: vec![("webhook-delivery".to_owned(), "abort-message".to_owned())],
        body: "this customer is gone".to_owned(),
    })
}

pub(crate) async fn dead_letters(world: &World, count: usize) -> Vec<String> {
    world.receiver.set(aborts());
    world.burst(0, count);
    world
        .expect("all dead", |world| {
            endpoint(world, "tickets")["dead"] == count
        })
        .await;
    world.receiver.set(Behaviour::Accept);
    let listed = world.ask(&["events", "list", "--state", "dead"]).unwrap();
    let events = listed["events"].as_array().cloned().unwrap_or_default();
    let id = |event: &Value| event["id"].as_str().unwrap_or_default().to_owned();
    events.iter().map(id).collect()
}

async fn expect_counted(world: &World) {
    for (state, count) in [("dead", 0.0), ("discarded", 2.0), ("delivered", 3.0)] {
        let metric = format!("postrider_outbox_events{{endpoint=\"tickets\",state=\"{state}\"}}");
        assert_eq!(world.metric(&metric).await, count, "{metric}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_sent_again_or_given_up_with_a_reason_and_the_audit_says_who() {
    let world = World::watching(Settings::default()).await;
    let ids = dead_letters(&world, 5).await;
    let shown = world.ask(&["events", "show", &ids[0]]).unwrap();
    let note = shown["attempts"][0]["note"].as_str().unwrap_or_default();
    assert!(note.contains("this customer is gone"), "{shown:#}");

    let words = ["events", "discard", &ids[0], &ids[1], "--reason", "spam"];
    let dry = world.ask(&[&words[..], &["--dry-run"]].concat()).unwrap();
    assert_eq!(
        (&dry["dry_run"], &dry["deliveries"]),
        (&true.into(), &2.into())
    );
    assert_eq!(endpoint(&world, "tickets")["discarded"], 0);
    assert_eq!(world.ask(&words).unwrap()["deliveries"], 2);
    assert_eq!(world.ask(&words).unwrap()["deliveries"], 0);

    let planned = world
        .ask(&["events", "replay", "--dead", "--dry-run"])
        .unwrap();
    assert_eq!(planned["endpoints"]["tickets"], 3, "{planned:#}");
    let sent = world
        .ask(&[
            "events",
            "replay",
            "--dead",
            "--reason",
            "the desk is up again",
        ])
        .unwrap();
    assert_eq!(sent["deliveries"], 3);
    world
        .expect("three arrive", |world| world.arrived().len() == 3)
        .await;
    for received in world.receiver.received() {
        if received.outcome == postrider_sandbox::receiver::Outcome::Accepted {
            let mark = &received.json()["data"]["delivery"]["replay"];
            assert_eq!(
                (&mark["number"], &mark["as_new"]),
                (&1.into(), &false.into())
            );
        }
    }
    let state = endpoint(&world, "tickets");
    assert_eq!(
        (&state["dead"], &state["discarded"]),
        (&0.into(), &2.into())
    );
    expect_counted(&world).await;

    let rows = audit(&world);
    assert_eq!(rows.len(), 2, "what changed nothing is no deed: {rows:#?}");
    assert_eq!(
        (&rows[0]["what"], &rows[0]["affected"]),
        (&"replay".into(), &3.into())
    );
    assert_eq!(rows[0]["why"], "the desk is up again");
    assert_eq!(
        (&rows[1]["what"], &rows[1]["why"]),
        (&"discard".into(), &"spam".into())
    );
    assert!(
        rows[1]["through"]
            .as_str()
            .unwrap_or_default()
            .starts_with("socket uid ")
    );
    assert_eq!(world.metric("postrider_unaccounted_deliveries").await, 0.0);
    assert_eq!(
        world
            .metric("postrider_outbox_blocked_events{endpoint=\"tickets\"}")
            .await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replay_is_taken_back_half_way() {
    let world = World::watching(Settings::default()).await;
    world.burst(0, 30);
    world.expect_all().await;
    world.expect_account().await;
    let words = [
        "events",
        "replay",
        "--delivered",
        "--endpoint",
        "tickets",
        "--rate",
        "5",
    ];
    let sent = world.ask(&words).unwrap();
    assert_eq!(
        (&sent["deliveries"], &sent["lasts_seconds"]),
        (&30.into(), &5.into())
    );
    world
        .expect("some are sent again", |world| world.receiver.repeats() >= 3)
        .await;
    let number = sent["replay"].to_string();
    let taken = world
        .ask(&["events", "replay", "--cancel", &number])
        .unwrap();
    let count = |key: &str| taken[key].as_u64().unwrap_or_default();
    assert!(count("taken_back") > 0, "{taken:#}");
    assert_eq!(count("taken_back") + count("in_flight") + count("over"), 30);
    world
        .expect("nothing is pending", |world| {
            let state = endpoint(world, "tickets");
            state["pending"] == 0 && state["delivered"] == 30
        })
        .await;
    let repeats = u64::try_from(world.receiver.repeats()).unwrap();
    assert_eq!(repeats, count("in_flight") + count("over"));
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_remembers_ids_gets_the_event_under_a_new_one() {
    let world = World::watching(Settings::default()).await;
    let message = world.deliver(0);
    world.expect_all().await;
    let list = world
        .ask(&["events", "list", "--message-id", &message])
        .unwrap();
    let id = list["events"][0]["id"].as_str().unwrap().to_owned();
    world.ask(&["events", "replay", &id, "--as-new"]).unwrap();
    world
        .expect("it comes under another id", |world| {
            world.receiver.received().len() == 2
        })
        .await;
    let again = world.receiver.received().remove(1);
    assert_ne!(again.id, id);
    let json = again.json();
    assert_eq!(json["id"], again.id.as_str());
    assert_eq!(json["data"]["delivery"]["replay"]["of"], id.as_str());
    let shown = world.ask(&["events", "show", &again.id]).unwrap();
    assert_eq!(shown["id"], id.as_str(), "{shown:#}");
    assert_eq!(world.metric("postrider_unaccounted_deliveries").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_added_later_gets_what_was_there_before_it() {
    let mut world = World::watching(Settings::default()).await;
    world.burst(0, 12);
    world.expect_all().await;
    world.expect_account().await;
    let late = Receiver::start(SECRET).await.unwrap();
    world.settings.endpoints = "\"tickets\", \"late\"";
    world.settings.more = format!(
        "[endpoints.late]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n",
        late.url()
    );
    world.write_config();
    world.ask(&["reload"]).unwrap();
    let words = ["events", "replay", "--never", "--endpoint", "late"];
    let planned = world.ask(&[&words[..], &["--dry-run"]].concat()).unwrap();
    assert_eq!(planned["deliveries"], 12, "{planned:#}");
    assert_eq!(world.ask(&words).unwrap()["deliveries"], 12);
    assert_eq!(world.ask(&words).unwrap()["deliveries"], 0);
    world
        .expect("all of it is there", |_| late.distinct_ids() == 12)
        .await;
    // The next one goes to both, and no number of the sequence is missing.
    world.deliver(0);
    world
        .expect("the new one too", |_| late.distinct_ids() == 13)
        .await;
    let sequences: BTreeSet<u64> = late
        .received()
        .iter()
        .filter_map(|one| one.json()["sequence"].as_str()?.parse().ok())
        .collect();
    assert_eq!(sequences, (1..=13).collect());
    assert_eq!(
        world.receiver.repeats(),
        0,
        "the other endpoint hears nothing of it"
    );
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_again_from_the_mailbox_and_the_account_still_adds_up() {
    let mut world = World::new(Settings::default()).await;
    // It was there before the mailbox was first looked at: none of postrider's business, so far.
    world.burst(0, 6);
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 2);
    world
        .expect("the new ones arrive", |world| world.arrived().len() == 2)
        .await;
    let words = [
        "events",
        "replay",
        "--from-mailbox",
        "box0",
        "--uids",
        "1:7",
    ];
    let planned = world.ask(&[&words[..], &["--dry-run"]].concat()).unwrap();
    let plan = |key: &str| planned[key].as_u64().unwrap_or_default();
    assert_eq!(
        (plan("found"), plan("read"), plan("known")),
        (7, 6, 1),
        "{planned:#}"
    );
    assert_eq!(plan("sent_again"), 1);
    world.ask(&words).unwrap();
    world.expect_all().await;
    world
        .expect("the known one is sent again", |world| {
            world.receiver.repeats() == 1
        })
        .await;
    world.expect_account().await;
    // All of it is known now; a day is a range as well.
    let again = world
        .ask(&[
            "events",
            "replay",
            "--from-mailbox",
            "box0",
            "--since",
            "2020-01-01",
            "--dry-run",
        ])
        .unwrap();
    assert_eq!(
        (&again["read"], &again["known"]),
        (&0.into(), &8.into()),
        "{again:#}"
    );
    let what: Vec<String> = audit(&world)
        .iter()
        .filter_map(|row| row["what"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(what, ["reread", "replay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_wants_the_message_gets_it_read_again_where_it_was_not_kept() {
    let mut world = World::new(Settings::default()).await;
    let key = ("PRODUCT_KEY".to_owned(), "the key".to_owned());
    world.environment.push(key);
    world.start();
    world.expect_watching(1).await;
    let mut messages = Vec::new();
    for size in [300, 2_000, 700_000] {
        let number = world.next_number();
        let raw = match size {
            0..100_000 => mail::plain(number, size),
            _ => mail::large(number, size),
        };
        world.deliver_raw(0, number, raw.clone());
        messages.push(raw);
    }
    world.expect_all().await;
    world.expect_account().await;
    // Until now it got events, and no message was kept.
    world.settings.endpoint =
        "format = \"raw\"\n[endpoints.tickets.raw]\nprofile = \"action_mailbox\"\n\
        key = { env = \"PRODUCT_KEY\" }\n"
            .to_owned();
    world.write_config();
    world.ask(&["reload"]).unwrap();
    let words = [
        "events",
        "replay",
        "--from-mailbox",
        "box0",
        "--uids",
        "1:*",
    ];
    let done = world.ask(&words).unwrap();
    let count = |key: &str| done[key].as_u64().unwrap_or_default();
    assert_eq!(
        (count("known"), count("read"), count("sent_again")),
        (3, 3, 3),
        "{done:#}"
    );
    world
        .expect("each arrives to the byte", |world| {
            let received = world.receiver.received();
            let arrived = |raw: &Vec<u8>| received.iter().any(|one| one.body == raw[..]);
            messages.iter().all(arrived)
        })
        .await;
    world
        .expect("nothing is pending or dead", |world| {
            let state = endpoint(world, "tickets");
            state["pending"] == 0 && state["dead"] == 0
        })
        .await;
    assert_eq!(
        world.receiver.distinct_ids(),
        3,
        "under the ids that they always had"
    );
    assert_eq!(world.metric("postrider_unaccounted_messages").await, 0.0);
    assert_eq!(world.metric("postrider_unaccounted_deliveries").await, 0.0);
}
