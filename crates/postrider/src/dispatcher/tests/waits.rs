//! When what was not accepted is sent again, and when it is not.

use std::time::Duration;

use postrider_core::delivery::RetryPolicy;

use super::{
    receiver::{Mode, Receiver},
    world::{World, endpoint, key, quick},
};
use crate::config::{Endpoint, Retry};

const SOON: Duration = Duration::from_secs(10);

/// All times of a policy are shorter here than the deploy: it is as if that lasted for weeks.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_answers_404_for_longer_than_any_limit_leaves_nothing_dead() {
    let ms = Duration::from_millis;
    for status in [404, 401, 400, 500] {
        let receiver = Receiver::start(Mode::Answer(200));
        let policy = RetryPolicy {
            refusals_span: ms(50),
            ..quick()
        };
        let hasty = Endpoint {
            retry: Retry {
                give_up_after: ms(100),
                ..endpoint(&receiver).retry
            },
            ..endpoint(&receiver)
        };
        let mut world = World::with(vec![hasty], policy).await;
        world.mails(5).await;
        world.all_delivered(&receiver, SOON).await;
        receiver.set(Mode::Answer(status));
        for _ in 0..30 {
            world.mail("hello").await;
            tokio::time::sleep(ms(40)).await;
        }
        assert_eq!(world.row().await.dead, 0, "{status}");
        receiver.set(Mode::Answer(200));
        world.all_delivered(&receiver, SOON).await;
        assert_eq!(world.told(), ["opened", "closed"], "{status}");
    }
}

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
        most(&receiver) < 5,
        "sent {} times within a second",
        most(&receiver)
    );
}
