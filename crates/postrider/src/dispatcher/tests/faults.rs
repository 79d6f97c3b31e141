use std::time::Duration;

use super::{
    receiver::{Mode, Receiver},
    world::{World, endpoint, key, quick},
};
use crate::telemetry::delivery::EndpointState;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_once_signed_and_settled() {
    let receiver = Receiver::start(Mode::Answer(204));
    let mut world = World::new(&receiver).await;
    world.mails(200).await;
    world.all_delivered(&receiver, SOON).await;
    assert_eq!(receiver.requests(), 200);
    assert!(
        receiver.taken().in_flight_max <= 4,
        "never more than max_in_flight at once"
    );
    assert_eq!(world.status().state, EndpointState::Closed);
    world
        .until("all slots are free", |world| world.status().in_flight == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_commit_is_sent_without_a_look_at_the_table() {
    let receiver = Receiver::start(Mode::Answer(200));
    let mut world = World::new(&receiver).await;
    world
        .until("slots are given", |world| {
            !world.dispatcher.slots(&key(), 1).is_empty()
        })
        .await;
    let mut slots = world.dispatcher.slots(&key(), 3);
    assert_eq!(slots.len(), 3);
    assert!(slots.take() && slots.take() && slots.take() && !slots.take());
    drop(slots);
    world.mail("hello").await;
    world.all_delivered(&receiver, SOON).await;
}

/// What a receiver goes through, and that nothing is lost or dead and all is delivered soon after.
async fn survive(mode: Mode, lasts: Duration) -> (World, Receiver) {
    let receiver = Receiver::start(Mode::Answer(200));
    let mut world = World::new(&receiver).await;
    world.mails(10).await;
    world.all_delivered(&receiver, SOON).await;
    receiver.set(mode);
    world.mails(20).await;
    tokio::time::sleep(lasts).await;
    world.mails(10).await;
    receiver.set(Mode::Answer(200));
    world.all_delivered(&receiver, SOON).await;
    (world, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_gets_everything_when_it_is_back() {
    let (mut world, _receiver) = survive(Mode::Down, Duration::from_secs(1)).await;
    world
        .until("closed", |world| {
            world.status().state == EndpointState::Closed
        })
        .await;
    assert_eq!(world.told(), ["opened", "closed"], "told once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_costs_nothing_whatever_it_answers() {
    for status in [500, 401, 404, 302, 429, 400] {
        let (mut world, receiver) = survive(Mode::Answer(status), Duration::from_millis(700)).await;
        world
            .until("closed", |world| {
                world.status().state == EndpointState::Closed
            })
            .await;
        assert_eq!(world.told(), ["opened", "closed"], "{status}");
        let probes = receiver.requests() - 40;
        assert!(
            probes < 60,
            "{status}: {probes} vain requests are more than probes"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_its_slots_and_no_more() {
    let receiver = Receiver::start(Mode::Hang);
    let slow = crate::config::Endpoint {
        timeout: Duration::from_millis(300),
        ..endpoint(&receiver)
    };
    let mut world = World::with(vec![slow], quick()).await;
    world.mails(12).await;
    world
        .until("the breaker opens", |world| {
            world.status().state == EndpointState::Open
        })
        .await;
    assert!(receiver.taken().in_flight_max <= 4);
    receiver.set(Mode::Answer(200));
    world.all_delivered(&receiver, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_closes_after_the_request_gets_repeats_with_the_same_ids() {
    let (_world, receiver) = survive(Mode::Close, Duration::from_millis(300)).await;
    let taken = receiver.taken();
    assert_eq!(taken.accepted.len(), 40);
    assert!(
        taken.accepted.values().any(|times| *times > 1),
        "an unknown outcome is sent again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poisoned_event_ends_and_the_others_go_on() {
    let receiver = Receiver::start(Mode::RefusePoison);
    let policy = postrider_core::delivery::RetryPolicy {
        refusals_span: Duration::from_millis(300),
        ..quick()
    };
    let mut world = World::with(vec![endpoint(&receiver)], policy).await;
    world.mails(3).await;
    world.mail("poison").await;
    let mut told = Vec::new();
    for _ in 0..200 {
        world.mail("hello").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        told.extend(world.told());
        if !told.is_empty() {
            break;
        }
    }
    assert_eq!(told, ["dead"]);
    let row = world.all_settled(SOON).await;
    assert_eq!(row.dead, 1);
    assert_eq!(world.status().last_error.unwrap().status, Some(422));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_in_trouble_commits_lease_nothing_and_the_state_is_shown() {
    let receiver = Receiver::start(Mode::Answer(404));
    let mut world = World::new(&receiver).await;
    world.mails(1).await;
    world
        .until("the breaker opens", |world| {
            world.status().state == EndpointState::Open
        })
        .await;
    assert!(world.dispatcher.slots(&key(), 10).is_empty());
    let status = world.status();
    assert_eq!(
        status.last_error.as_ref().map(|error| error.status),
        Some(Some(404))
    );
    assert!(status.last_error.unwrap().note.starts_with("answered 404"));
    receiver.set(Mode::Answer(200));
    world.all_delivered(&receiver, SOON).await;
    world
        .until("slots are given again", |world| {
            !world.dispatcher.slots(&key(), 1).is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_starts_while_an_outcome_cannot_be_stored() {
    let receiver = Receiver::start(Mode::Hang);
    let mut world = World::new(&receiver).await;
    world.mails(20).await;
    world
        .until("all slots are taken", |_| receiver.taken().in_flight == 4)
        .await;
    world.store.close().await.unwrap();
    receiver.set(Mode::Answer(200));
    world
        .until("the answers are in", |_| receiver.taken().in_flight == 0)
        .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(receiver.requests(), 4, "nothing else was sent");
    assert_eq!(world.status().in_flight, 4, "the slots stay taken");
    assert!(world.dispatcher.slots(&key(), 1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_attempts_states_and_latency() {
    let receiver = Receiver::start(Mode::Answer(200));
    let mut world = World::new(&receiver).await;
    world.mails(3).await;
    world.all_delivered(&receiver, SOON).await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&world.telemetry.catalogue.registry().gather())
        .unwrap();
    for line in [
        r#"postrider_webhook_attempts_total{endpoint="tickets",outcome="delivered"} 3"#,
        r#"postrider_webhook_endpoint_state{endpoint="tickets",state="closed"} 1"#,
        r#"postrider_webhook_endpoint_state{endpoint="tickets",state="open"} 0"#,
        r#"postrider_event_delivery_latency_seconds_count{endpoint="tickets"} 3"#,
        r#"postrider_webhook_request_duration_seconds_count{endpoint="tickets"} 3"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
