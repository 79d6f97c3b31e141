use std::time::{Duration, Instant};

use super::{
    super::OrderError,
    receiver::{Mode, Receiver, SECRET},
    world::{World, act, endpoint, endpoints, key, quick},
};
use crate::{
    clock,
    config::{Endpoint, SecretRef},
    telemetry::delivery::EndpointState,
};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_a_restart_and_a_resume_sends_what_waits() {
    let receiver = Receiver::start(Mode::Answer(200));
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
    world.dispatcher.pause(&key(), &act()).await.unwrap();
    world
        .until("paused", |world| {
            world.status().state == EndpointState::Paused
        })
        .await;
    world.mails(5).await;
    world.dispatcher.drain(Duration::from_secs(1)).await;
    world.store.close().await.unwrap();
    drop(world);
    let world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
    world
        .until("paused again", |world| {
            world.status().state == EndpointState::Paused
        })
        .await;
    assert_eq!(receiver.requests(), 0);
    world.dispatcher.resume(&key(), &act()).await.unwrap();
    world
        .until("all is sent", |_| receiver.requests() == 5)
        .await;
    assert!(matches!(
        world.dispatcher.pause(&"nobody".into(), &act()).await,
        Err(OrderError::Unknown(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_url_takes_over_what_waits() {
    let (old, new) = (
        Receiver::start(Mode::Answer(404)),
        Receiver::start(Mode::Answer(200)),
    );
    let mut world = World::new(&old).await;
    world.mails(5).await;
    world
        .until("the breaker opens", |world| {
            world.status().state == EndpointState::Open
        })
        .await;
    world.dispatcher.put(&endpoints(vec![Endpoint {
        url: endpoint(&new).url,
        ..endpoint(&old)
    }]));
    world.all_delivered(&new, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_endpoint_is_listed_as_orphaned_and_can_come_back() {
    let receiver = Receiver::start(Mode::Answer(404));
    let mut world = World::new(&receiver).await;
    world.mails(5).await;
    world
        .until("the breaker opens", |world| {
            world.status().state == EndpointState::Open
        })
        .await;
    world.dispatcher.put(&endpoints(Vec::new()));
    assert_eq!(world.status().state, EndpointState::Orphaned);
    assert!(world.dispatcher.slots(&key(), 1).is_empty());
    receiver.set(Mode::Answer(200));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.row().await.pending, 5, "kept, and not sent");
    world.dispatcher.put(&endpoints(vec![endpoint(&receiver)]));
    world.all_delivered(&receiver, SOON).await;
    assert_eq!(world.status().state, EndpointState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_an_endpoint_that_was_removed_meanwhile_are_given_back() {
    let receiver = Receiver::start(Mode::Answer(200));
    let world = World::new(&receiver).await;
    world
        .until("slots are given", |world| {
            !world.dispatcher.slots(&key(), 1).is_empty()
        })
        .await;
    let mut slots = world.dispatcher.slots(&key(), 1);
    assert!(slots.take());
    let event = super::world::event(uuid::Uuid::new_v4(), "hello", true);
    let receipt = world.store.add_event(event, clock::wall()).await.unwrap();
    world.dispatcher.put(&endpoints(Vec::new()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    world
        .dispatcher
        .send_claimed(receipt.claimed, vec![(key(), slots)]);
    world.dispatcher.put(&endpoints(vec![endpoint(&receiver)]));
    world
        .until("it is sent, though nothing comes after it", |_| {
            receiver.requests() == 1
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_taken_out_and_put_back_at_once_sends_what_it_had_in_hand() {
    let receiver = Receiver::start(Mode::Hang);
    let mut world = World::new(&receiver).await;
    world.mails(20).await;
    world
        .until("all slots are taken", |_| receiver.taken().in_flight == 4)
        .await;
    world.dispatcher.put(&endpoints(Vec::new()));
    world.dispatcher.put(&endpoints(vec![endpoint(&receiver)]));
    receiver.set(Mode::Answer(200));
    world.all_delivered(&receiver, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_taken_out_and_put_back_stays_paused() {
    let receiver = Receiver::start(Mode::Answer(200));
    let mut world = World::new(&receiver).await;
    world.dispatcher.pause(&key(), &act()).await.unwrap();
    world.dispatcher.put(&endpoints(Vec::new()));
    world.dispatcher.put(&endpoints(vec![endpoint(&receiver)]));
    world.mails(2).await;
    world
        .until("it is paused", |world| {
            world.status().state == EndpointState::Paused
        })
        .await;
    assert_eq!(receiver.requests(), 0);
    world.dispatcher.resume(&key(), &act()).await.unwrap();
    world.all_delivered(&receiver, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_attempts_finish_and_gives_back_the_rest() {
    let receiver = Receiver::start(Mode::Hang);
    let mut world = World::new(&receiver).await;
    world.mails(20).await;
    world
        .until("all slots are taken", |_| receiver.taken().in_flight == 4)
        .await;
    let dispatcher = world.dispatcher.clone();
    let draining = tokio::spawn(async move { dispatcher.drain(Duration::from_secs(5)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    receiver.set(Mode::Answer(200));
    draining.await.unwrap();
    let row = world.row().await;
    assert_eq!((row.pending, receiver.requests()), (20, 4), "{row:?}");
    let due = world
        .store
        .claim_due(&key(), 100, clock::wall())
        .await
        .unwrap();
    assert!(due.len() >= 16, "{} were given back", due.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_with_its_grace_period() {
    let receiver = Receiver::start(Mode::Hang);
    let mut world = World::new(&receiver).await;
    world.mails(5).await;
    world
        .until("all slots are taken", |_| receiver.taken().in_flight == 4)
        .await;
    let started = Instant::now();
    world.dispatcher.drain(Duration::from_millis(200)).await;
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_goes_past_a_pause_and_is_not_stored() {
    let receiver = Receiver::start(Mode::Answer(200));
    let world = World::new(&receiver).await;
    world.dispatcher.pause(&key(), &act()).await.unwrap();
    let pinged = world.dispatcher.ping(&key()).await.unwrap();
    assert_eq!((pinged.status, pinged.outcome), (Some(200), "delivered"));
    assert!(
        receiver
            .taken()
            .accepted
            .contains_key(&pinged.event.to_string())
    );
    assert_eq!(
        world
            .store
            .outbox()
            .await
            .unwrap()
            .iter()
            .map(|row| row.delivered + row.pending)
            .sum::<u64>(),
        0
    );
    receiver.set(Mode::Answer(401));
    assert_eq!(
        world.dispatcher.ping(&key()).await.unwrap().outcome,
        "unauthorized"
    );
    assert!(matches!(
        world.dispatcher.ping(&"nobody".into()).await,
        Err(OrderError::Unknown(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_that_is_accepted_ends_a_wait_for_the_next_probe() {
    let receiver = Receiver::start(Mode::Answer(404));
    let slow = postrider_core::delivery::RetryPolicy {
        probe_first: Duration::from_secs(600),
        probe_max: Duration::from_secs(600),
        ..quick()
    };
    let mut world = World::with(vec![endpoint(&receiver)], slow).await;
    world.mails(3).await;
    world
        .until("the breaker opens", |world| {
            world.status().next_probe.is_some()
        })
        .await;
    receiver.set(Mode::Answer(200));
    world.dispatcher.ping(&key()).await.unwrap();
    world.all_settled(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_nothing_is_sent_and_with_one_everything_is() {
    let receiver = Receiver::start(Mode::Answer(200));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let late = Endpoint {
        secret: vec![SecretRef::File(file.clone())],
        ..endpoint(&receiver)
    };
    let mut world = World::at(dir.path(), vec![late], quick(), "").await;
    world.mails(3).await;
    world
        .until("the breaker opens", |world| {
            world.status().state == EndpointState::Open
        })
        .await;
    assert!(world.status().last_error.unwrap().note.contains("secret"));
    assert_eq!(receiver.requests(), 0);
    std::fs::write(&file, SECRET).unwrap();
    world.dispatcher.0.deps.secrets.look().await;
    world.all_delivered(&receiver, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_lets_a_seconds_number_through_and_then_goes_evenly() {
    let receiver = Receiver::start(Mode::Answer(200));
    let limited = Endpoint {
        transport: crate::config::Transport {
            rate: std::num::NonZeroU32::new(20),
            ..crate::config::Transport::default()
        },
        ..endpoint(&receiver)
    };
    let mut world = World::with(vec![limited], quick()).await;
    let began = Instant::now();
    world.mails(60).await;
    world.all_delivered(&receiver, SOON).await;
    let took = began.elapsed();
    // 20 at once, and 40 at 20 per second.
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    // A rate that is taken away holds up nothing any more.
    world.dispatcher.put(&endpoints(vec![endpoint(&receiver)]));
    let began = Instant::now();
    world.mails(100).await;
    world.all_delivered(&receiver, SOON).await;
    assert!(began.elapsed() < Duration::from_secs(3));
}
