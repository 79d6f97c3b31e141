//! The process is killed in the middle of a burst.

use std::time::Duration;

use postrider_sandbox::receiver::Behaviour;

use super::{
    figures::figure,
    world::{IN_FLIGHT_MAX, Settings, World, scaled},
};

const MAILBOXES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn kill_in_the_middle_of_a_burst_of_500_loses_nothing() {
    let count = scaled(500);
    let mut world = World::watching(Settings {
        mailboxes: MAILBOXES,
        ..Settings::default()
    })
    .await;
    // So that requests are in flight at any moment.
    world
        .receiver
        .set(Behaviour::Slow(Duration::from_millis(10)));
    let part = count / MAILBOXES;
    let burst = async {
        let carriers = (0..MAILBOXES).map(|mailbox| world.burst(mailbox, part));
        futures_util::future::join_all(carriers).await;
    };
    let in_the_middle = world.receiver.wait_for(count / 3, Duration::from_secs(60));
    let ((), reached) = tokio::join!(burst, in_the_middle);
    assert!(reached, "{}", world.log());
    world.kill();
    let before = world.receiver.distinct_ids();
    assert!(
        before < count,
        "killed in the middle, not after all {before}"
    );
    world.start();
    world.expect_all().await;
    world.expect_watching(MAILBOXES).await;
    world.expect_account().await;
    let repeats = world.repeats();
    assert!(
        repeats <= IN_FLIGHT_MAX,
        "{repeats} with {IN_FLIGHT_MAX} in flight"
    );
    figure("kill_burst", count as f64, "messages");
    figure("kill_received_before", before as f64, "events");
    figure("kill_lost", 0.0, "messages");
    figure("kill_repeats", repeats as f64, "events");
}
