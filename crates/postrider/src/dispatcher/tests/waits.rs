//! When what was not accepted is sent again, and when it is not.

use std::time::Duration;

use super::{
    receiver::{Mode, Receiver},
    world::{World, endpoint, key, quick},
};
use crate::config::{Endpoint, Retry};

/// The most often that one event was sent.
fn most(receiver: &Receiver) -> u32 {
    receiver.taken().requests.into_values().max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_half_a_day_is_waited_for() {
    let receiver = Receiver::start(Mode::RefusePoison);
    let patient = Endpoint {
        retry: Retry {
            schedule: [Duration::from_secs(12 * 3600)].into(),
            ..endpoint(&receiver).retry
        },
        ..endpoint(&receiver)
    };
    let mut world = World::with(vec![patient], quick()).await;
    for _ in 0..3 {
        world.mail("hello").await;
        world.mail("poison").await;
    }
    // Others are accepted all the while, so that it is the events' own failing.
    for _ in 0..100 {
        world.mail("hello").await;
        world.dispatcher.nudge(&key());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        most(&receiver) < 10,
        "sent {} times within a second",
        most(&receiver)
    );
}
