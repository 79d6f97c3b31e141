//! The mail server is in trouble: the other mailboxes do not notice, and the one that does is
//! watched again soon after the cause has ended.

use std::time::Duration;

use postrider_sandbox::{
    authority::TokenAuthority,
    imap::{Goodbye, Refusal, Scope, ThrottleStyle},
    mailboxes::{Access, Times, Trouble},
    proxy::Mode,
    token_endpoint::{TokenConfig, TokenEndpoint},
};

use crate::world::{Settings, World};

#[tokio::test(flavor = "multi_thread")]
async fn new_mail_is_announced_read_and_posted() {
    let world = World::watching(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    for mailbox in 0..3 {
        world.burst(mailbox, 2);
    }
    world.expect_all().await;
    world.expect_account().await;
    assert_eq!(world.receiver.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_is_watched_again() {
    let world = World::watching(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    world.server.stop().await;
    world.burst(0, 5);
    world.expect_state("box1", "backoff").await;
    world.server.start_again().await.unwrap();
    world.proxy.set_upstream(world.server.address());
    world.expect_all().await;
    world.expect_watching(3).await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_without_a_word_are_opened_again() {
    let world = World::watching(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    for goodbye in [
        Goodbye::Eof,
        Goodbye::Bye("Server shutting down.".to_owned()),
    ] {
        world.server.drop_sessions(Scope::Server, &goodbye);
        world.burst(1, 2);
        world.expect_all().await;
        world.expect_watching(3).await;
    }
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_connections_are_given_up_and_the_mail_comes() {
    let world = World::watching(Settings::default()).await;
    world.proxy.set(Mode::Freeze);
    world.burst(0, 3);
    // DONE has 15 s for its answer; then the session counts as dead.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.proxy.set(Mode::Pass);
    world.proxy.reset_all();
    world.expect_all_within(Duration::from_secs(45)).await;
    world.expect_watching(1).await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mailbox_that_is_refused_for_ever_changes_nothing_for_the_others() {
    let mut world = World::new(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    world
        .mailboxes
        .add_account(&world.users[1], Access::password("another password"));
    world.start();
    world.expect_state("box1", "auth_failed").await;
    world.expect_state("box0", "watching").await;
    world.expect_state("box2", "watching").await;
    world.burst(0, 5);
    world.burst(2, 5);
    world.expect_all().await;
    assert_eq!(
        world
            .metric("postrider_mailboxes{state=\"auth_failed\"}")
            .await,
        1.0
    );
    let told = world.mailbox("box1");
    assert_eq!(told["last_error"]["cause"], "login_refused", "{told:#}");
    assert!(
        told["last_error"]["hint"]
            .as_str()
            .is_some_and(|hint| !hint.is_empty())
    );
    // The cause ends: an operator says so, and the mailbox is watched.
    world
        .mailboxes
        .add_account(&world.users[1], Access::password(crate::world::PASSWORD));
    world.ask(&["mailboxes", "resync", "box1"]).unwrap();
    world.expect_watching(3).await;
    world.burst(1, 2);
    world.expect_all().await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_for_a_while_is_tried_again_by_itself() {
    let mut world = World::new(Settings::default()).await;
    world.server.levers(Scope::Server, |levers| {
        levers.refuse_login = Some(Refusal::Unavailable)
    });
    world.start();
    world.expect_state("box0", "backoff").await;
    world
        .server
        .levers(Scope::Server, |levers| levers.refuse_login = None);
    world.expect_watching(1).await;
    world.burst(0, 2);
    world.expect_all().await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_is_obeyed_and_then_over() {
    let world = World::watching(Settings::default()).await;
    world.server.levers(Scope::Server, |levers| {
        levers.throttle_next(1, Duration::from_secs(3), ThrottleStyle::BadThenBye);
    });
    world.burst(0, 2);
    world.expect_state("box0", "throttled").await;
    world.expect_all().await;
    world.expect_watching(1).await;
    assert!(world.metric("postrider_imap_throttled_seconds_total").await >= 2.0);
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_in_mid_session_delay_no_mail() {
    let authority = TokenAuthority::new();
    let config = TokenConfig {
        lifetime: Duration::from_secs(6),
        ..TokenConfig::default()
    };
    let (tenant, client, secret) = (
        config.tenant.clone(),
        config.client_id.clone(),
        config.secrets[0].clone(),
    );
    let endpoint = TokenEndpoint::start(config, authority.clone())
        .await
        .unwrap();
    let credential = format!(
        "type = \"microsoft\"\ntenant = \"{tenant}\"\nclient_id = \"{client}\"\nauthority = \"{}\"\nclient_secret = {{ file = \"SECRET\" }}\n",
        endpoint.authority_url()
    );
    let mut world = World::new(Settings {
        mailboxes: 5,
        ..Settings::default()
    })
    .await;
    let file = world.dir.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    world.settings.credential = credential.replace("SECRET", file.to_str().unwrap());
    for user in &world.users {
        world
            .mailboxes
            .add_account(user, Access::tokens(&authority));
    }
    world.start();
    world.expect_watching(5).await;
    for round in 0..30 {
        world.deliver(round % 5);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.expect_all().await;
    world.expect_watching(5).await;
    world.expect_account().await;
    let requests = endpoint.counters();
    assert!(
        requests.in_flight_max <= 1,
        "one token request at a time: {requests:?}"
    );
    assert!(
        requests.requests <= 10,
        "one request per refresh period, for all mailboxes: {requests:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_read_do_not_stop_their_mailbox() {
    let world = World::watching(Settings::default()).await;
    let user = &world.users[0];
    let bad = [Trouble::NilBody, Trouble::Garbage, Trouble::Cut];
    for trouble in bad {
        world
            .server
            .levers(Scope::Server, |levers| levers.silent_idle = true);
        let number = world.next_number();
        let uid = world
            .mailboxes
            .deliver(
                user,
                "INBOX",
                postrider_sandbox::mail::plain(number, 500),
                time::OffsetDateTime::now_utc(),
            )
            .unwrap();
        world
            .mailboxes
            .trouble(user, "INBOX", uid, trouble, Times::Always)
            .unwrap();
        world
            .server
            .levers(Scope::Server, |levers| levers.silent_idle = false);
        world.burst(0, 3);
    }
    world.expect_all_within(Duration::from_secs(60)).await;
    world
        .expect("the bad ones quarantined", |world| {
            world.mailbox("box0")["sums"]["quarantined"] == 3
        })
        .await;
    world.expect_watching(1).await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_announces_is_read_at_the_end_of_the_cycle() {
    let world = World::watching(Settings::default()).await;
    world
        .server
        .levers(Scope::Server, |levers| levers.silent_idle = true);
    world.burst(0, 3);
    world.expect_all().await;
    assert!(
        world
            .metric("postrider_messages_found_by_total{found_by=\"cycle\"}")
            .await
            >= 3.0
    );
    world.expect_account().await;
}
