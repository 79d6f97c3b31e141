//! What an operator does at the terminal: pause, ping, look, replay, take an endpoint away.

use postrider_sandbox::receiver::Behaviour;
use serde_json::Value;

use crate::world::{Settings, World};

fn endpoint(world: &World, id: &str) -> Value {
    let list = world.ask(&["endpoints", "list"]).unwrap_or_default();
    let all = list["endpoints"].as_array().cloned().unwrap_or_default();
    all.into_iter()
        .find(|one| one["id"] == id)
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_endpoint_keeps_everything_until_it_is_resumed() {
    let mut world = World::watching(Settings::default()).await;
    world.ask(&["endpoints", "pause", "tickets"]).unwrap();
    world.burst(0, 5);
    world
        .expect("five pending", |world| {
            endpoint(world, "tickets")["pending"] == 5
        })
        .await;
    // A pause outlives a restart.
    world.kill();
    world.start();
    world.expect_watching(1).await;
    assert_eq!(endpoint(&world, "tickets")["state"], "paused");
    assert_eq!(world.receiver.attempt_count(), 0);
    world.ask(&["endpoints", "resume", "tickets"]).unwrap();
    world.expect_all().await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_signed_and_its_answer_told() {
    let world = World::watching(Settings::default()).await;
    let pinged = world.ask(&["endpoints", "ping", "tickets"]).unwrap();
    assert_eq!(pinged["outcome"], "delivered", "{pinged:#}");
    let received = world.receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].json()["type"], "ping");
    assert_eq!(received[0].id, pinged["event"].as_str().unwrap_or_default());
    world.receiver.set(Behaviour::status(401));
    let refused = world.ask(&["endpoints", "ping", "tickets"]);
    let told = refused.map_or_else(|error| error, |json| json.to_string());
    assert!(told.contains("401"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_shown_and_sent_again_with_the_same_id() {
    let world = World::watching(Settings::default()).await;
    let message = world.deliver(0);
    world.expect_all().await;
    world.expect_account().await;
    let list = world
        .ask(&["events", "list", "--message-id", &message])
        .unwrap();
    let id = list["events"][0]["id"]
        .as_str()
        .expect("the event is listed")
        .to_owned();
    let shown = world.ask(&["events", "show", &id]).unwrap();
    assert_eq!(
        shown["data"]["message"]["message_id"],
        message.as_str(),
        "{shown:#}"
    );
    assert_eq!(shown["attempts"][0]["status"], 204);
    let planned = world.ask(&["events", "replay", &id, "--dry-run"]).unwrap();
    assert_eq!(
        (&planned["dry_run"], &planned["deliveries"]),
        (&Value::Bool(true), &Value::from(1))
    );
    assert_eq!(world.receiver.repeats(), 0);
    world.ask(&["events", "replay", &id]).unwrap();
    world
        .expect("sent again", |world| world.receiver.repeats() == 1)
        .await;
    let received = world.receiver.received();
    let again = received.last().expect("it arrived");
    assert_eq!(again.id, id);
    assert!(
        !again.json()["data"]["delivery"]["replay"].is_null(),
        "a replay is marked"
    );
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_taken_away_keeps_what_it_is_owed() {
    let world = World::watching(Settings::default()).await;
    world.receiver.down().await;
    world.burst(0, 5);
    world
        .expect("five pending", |world| {
            endpoint(world, "tickets")["pending"] == 5
        })
        .await;
    world.write_config();
    let path = world.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("tickets", "other")).unwrap();
    world.ask(&["reload"]).unwrap();
    world
        .expect("listed as orphaned", |world| {
            let one = endpoint(world, "tickets");
            one["orphaned"] == true && one["pending"] == 5
        })
        .await;
    world.receiver.up().await.unwrap();
    world.write_config();
    world.ask(&["reload"]).unwrap();
    world.expect_all().await;
    world.expect_account().await;
}
