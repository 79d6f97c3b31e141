//! The process ends: by SIGKILL, by SIGTERM, by an operator's restart.

use std::time::Duration;

use crate::world::{Settings, World};

#[tokio::test(flavor = "multi_thread")]
async fn kill_in_a_burst_loses_nothing_and_repeats_at_most_what_was_in_flight() {
    let mut world = World::watching(Settings {
        mailboxes: 4,
        ..Settings::default()
    })
    .await;
    for mailbox in 0..4 {
        world.burst(mailbox, 50);
    }
    assert!(
        world.receiver.wait_for(40, Duration::from_secs(30)).await,
        "{}",
        world.log()
    );
    world.kill();
    for mailbox in 0..4 {
        world.burst(mailbox, 25);
    }
    world.start();
    world.expect_all().await;
    world.expect_watching(4).await;
    world.expect_account().await;
    let repeats = world.receiver.repeats();
    assert!(repeats <= 4, "{repeats} repeats with at most 4 in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_still_loses_nothing() {
    let mut world = World::watching(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    for round in 0..6u64 {
        for mailbox in 0..3 {
            world.burst(mailbox, 20);
        }
        // A different moment of the work each time.
        tokio::time::sleep(Duration::from_millis(17 * (round + 1))).await;
        world.kill();
        world.start();
    }
    world.expect_all().await;
    world.expect_watching(3).await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_a_restart_goes_on_without_repeats() {
    let mut world = World::watching(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    world.burst(0, 30);
    world.expect_all().await;
    assert_eq!(world.stop().await, Some(0), "{}", world.log());
    world.burst(1, 5);
    world.start();
    world.expect_all().await;
    world.expect_watching(2).await;
    world.expect_account().await;
    assert_eq!(world.receiver.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_store_is_refused() {
    let world = World::watching(Settings::default()).await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_postrider"))
        .env("LAB_PASSWORD", crate::world::PASSWORD)
        .env("HOOK_SECRET", crate::world::SECRET)
        .args(["--config", world.config_path().to_str().unwrap(), "run"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    let told = String::from_utf8_lossy(&second.stderr).into_owned()
        + &String::from_utf8_lossy(&second.stdout);
    assert!(told.contains("in use by another postrider"), "{told}");
}
