//! The server or the way to it is in trouble: every mailbox is watched again soon after.

use std::time::{Duration, Instant};

use postrider_sandbox::proxy::Mode;

use super::{
    figures::figure,
    world::{RECOVERY, Settings, Way, World},
};

const MAILBOXES: usize = 20;

/// One message to each mailbox, and when the last of them is an event.
async fn mail_comes_everywhere(world: &World) {
    for mailbox in 0..world.users.len() {
        world.burst(mailbox, 1).await;
    }
    world.expect_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_is_watched_again_within_30_seconds() {
    let mut world = World::watching(Settings {
        mailboxes: MAILBOXES,
        ..Settings::default()
    })
    .await;
    for way in ["killed", "stopped"] {
        match way {
            "killed" => world.dovecot.kill().await,
            _ => world.dovecot.stop().await,
        }
        world
            .expect("all of them know", |world| {
                world.in_state("backoff") == MAILBOXES
            })
            .await;
        assert_eq!(
            world.metric("postrider_mailboxes{state=\"backoff\"}").await,
            20.0
        );
        let told = world.mailbox("box7");
        assert_eq!(told["last_error"]["cause"], "connection", "{told:#}");
        // Long enough for the waits between tries to have grown to their end.
        tokio::time::sleep(Duration::from_secs(12)).await;
        world.dovecot.start_again().await;
        let took = world
            .expect_within(RECOVERY, "all watched again", |world| {
                world.in_state("watching") == MAILBOXES
            })
            .await;
        figure(
            &format!("server_{way}_all_watched"),
            took.as_secs_f64(),
            "s",
        );
        mail_comes_everywhere(&world).await;
    }
    world.expect_account().await;
    assert_eq!(world.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_connections_are_noticed_and_replaced() {
    let world = World::watching(Settings {
        mailboxes: 5,
        group: "idle_cycle = \"5s\"\n".to_owned(),
        way: Way::Breakable,
        ..Settings::default()
    })
    .await;
    mail_comes_everywhere(&world).await;
    for (mode, name) in [(Mode::Freeze, "frozen"), (Mode::Blackhole, "swallowed")] {
        world.proxy.set(mode);
        for mailbox in 0..5 {
            world.burst(mailbox, 1).await;
        }
        // A dead session is noticed at the end of its cycle, when DONE gets no answer in time.
        world
            .expect("all of them noticed", |world| {
                world
                    .mailboxes()
                    .iter()
                    .all(|one| one["last_error"]["cause"] == "connection")
            })
            .await;
        world.proxy.set(Mode::Pass);
        let begun = Instant::now();
        world.expect_all_within(RECOVERY).await;
        world
            .expect_within(RECOVERY, "all watched again", |world| {
                world.in_state("watching") == 5
            })
            .await;
        figure(
            &format!("connections_{name}_all_watched"),
            begun.elapsed().as_secs_f64(),
            "s",
        );
    }
    world.expect_account().await;
    assert_eq!(world.repeats(), 0);
}
