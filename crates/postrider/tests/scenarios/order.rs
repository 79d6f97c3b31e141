//! An endpoint that asks for order gets it, also over failures and kills; a stuck event holds up its
//! own line only, and only for a set time.

use std::{collections::BTreeMap, time::Duration};

use postrider_sandbox::receiver::{Behaviour, Received};

use crate::world::{Settings, World};

async fn ordered(mailboxes: usize, keys: &[(&str, &str)]) -> World {
    let mut world = World::new(Settings {
        mailboxes,
        ..Settings::default()
    })
    .await;
    for (key, value) in keys {
        let name = format!("POSTRIDER__ENDPOINTS__TICKETS__{key}");
        world.environment.push((name, (*value).to_owned()));
    }
    world.start();
    world.expect_watching(mailboxes).await;
    world
}

fn message_id(one: &Received) -> String {
    let id = &one.json()["data"]["message"]["message_id"];
    id.as_str().unwrap_or_default().to_owned()
}

/// The sequences of each mailbox in the order in which they were first accepted.
fn lines(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in world.receiver.received() {
        let json = one.json();
        let sequence = json["sequence"].as_str().unwrap().to_owned();
        let line = lines
            .entry(json["partitionkey"].as_str().unwrap().to_owned())
            .or_default();
        if !line.contains(&sequence) {
            line.push(sequence);
        }
    }
    lines
}

fn assert_in_order(world: &World) {
    for (mailbox, line) in lines(world) {
        assert!(line.is_sorted(), "{mailbox} came as {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fails_holds_up_its_own_mailbox_only() {
    let world = ordered(2, &[("ORDER", "mailbox"), ("MAX_IN_FLIGHT", "8")]).await;
    let stuck = world.deliver(0);
    world
        .receiver
        .when(move |one| message_id(one) == stuck, Behaviour::status(500));
    world
        .expect("the first one failing", |world| {
            world.receiver.attempt_count() > 0
        })
        .await;
    world.burst(0, 10);
    world.burst(1, 10);
    world
        .expect("the other mailbox delivered", |world| {
            lines(world)
                .get("box1")
                .is_some_and(|line| line.len() == 10)
        })
        .await;
    assert_eq!(lines(&world).get("box0"), None, "nobody overtakes it");
    world.receiver.forget_rules();
    world.expect_all().await;
    assert_in_order(&world);
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fails_for_too_long_steps_aside_and_is_marked() {
    let world = ordered(1, &[("ORDER", "mailbox"), ("ORDER_BLOCK_MAX", "1s")]).await;
    let stuck = world.deliver(0);
    let id = stuck.clone();
    world
        .receiver
        .when(move |one| message_id(one) == id, Behaviour::status(500));
    world.burst(0, 5);
    world
        .expect("the others overtaking it", |world| {
            world.arrived().len() == 5
        })
        .await;
    assert!(world.log().contains("holds up those behind it no longer"));
    world.receiver.forget_rules();
    world.expect_all().await;
    let marks: Vec<bool> = world
        .receiver
        .received()
        .iter()
        .map(|one| {
            let mark = one.json()["data"]["delivery"]["stepped_aside"].as_bool();
            assert_eq!(mark.unwrap(), message_id(one) == stuck);
            mark.unwrap()
        })
        .collect();
    assert_eq!(marks, [false, false, false, false, false, true]);
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_outlives_kills_and_an_outage() {
    let mut world = ordered(3, &[("ORDER", "thread"), ("MAX_IN_FLIGHT", "16")]).await;
    for round in 0..4 {
        for mailbox in 0..3 {
            world.burst(mailbox, 10);
        }
        match round {
            1 => world.receiver.down().await,
            2 => world.receiver.up().await.unwrap(),
            _ => tokio::time::sleep(Duration::from_millis(150)).await,
        }
        world.kill();
        world.start();
        world.expect_watching(3).await;
    }
    world.expect_all().await;
    // Each of these messages begins a thread of its own: their order is theirs alone.
    world.expect_account().await;
    world.environment.clear();
    world.environment.push((
        "POSTRIDER__ENDPOINTS__TICKETS__ORDER".to_owned(),
        "mailbox".to_owned(),
    ));
    world.forget();
    world.kill();
    world.start();
    world.expect_watching(3).await;
    for _ in 0..3 {
        for mailbox in 0..3 {
            world.burst(mailbox, 10);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.kill();
        world.start();
        world.expect_watching(3).await;
    }
    world.expect_all().await;
    assert_in_order(&world);
    world.expect_account().await;
}
