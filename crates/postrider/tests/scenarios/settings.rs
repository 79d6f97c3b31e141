//! The configuration changes while the daemon runs.

use crate::world::{Settings, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_starts_what_is_new_and_leaves_the_rest_alone() {
    let mut world = World::watching(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    let logins = |world: &World| {
        world
            .server
            .counters(postrider_sandbox::imap::Scope::User("box0@example.org"))
            .logins
    };
    let before = logins(&world);
    let third = "box2@example.org".to_owned();
    world.mailboxes.add_account(
        &third,
        postrider_sandbox::mailboxes::Access::password(crate::world::PASSWORD),
    );
    world.users.push(third);
    world.write_config();
    let planned = world.ask(&["reload", "--dry-run"]).unwrap();
    assert_eq!(
        planned["changes"]["mailboxes"]["added"][0], "box2",
        "{planned:#}"
    );
    assert_eq!(
        world.ask(&["mailboxes", "list"]).unwrap()["mailboxes"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    world.signal("-HUP");
    world.expect_watching(3).await;
    world.burst(2, 2);
    world.expect_all().await;
    assert_eq!(
        logins(&world),
        before,
        "an unchanged mailbox keeps its session"
    );
    // A mailbox that is removed is stopped, and listed as orphaned.
    world.users.pop();
    world.write_config();
    world.ask(&["reload"]).unwrap();
    world.expect_state("box2", "orphaned").await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let world = World::watching(Settings::default()).await;
    std::fs::write(
        world.config_path(),
        "instance = 5\nfoldres = []\n[admin]\nlisten = \"x\"\n",
    )
    .unwrap();
    world.signal("-HUP");
    world
        .expect("the refusal told", |world| {
            world.log().contains("configuration refused")
        })
        .await;
    world.write_config();
    assert_eq!(
        world
            .metric("postrider_config_last_reload_successful")
            .await,
        0.0
    );
    world.burst(0, 2);
    world.expect_all().await;
    world.ask(&["reload"]).unwrap();
    assert_eq!(
        world
            .metric("postrider_config_last_reload_successful")
            .await,
        1.0
    );
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_mailboxes_keep_no_memory_from_the_others() {
    // Room for two reads at a time. Opening a folder reads its newest message to look at it.
    let mut world = World::watching(Settings {
        mailboxes: 5,
        more: "[limits]\nmemory = \"16 MiB\"\nparse = \"1 MiB\"\n".to_owned(),
        ..Settings::default()
    })
    .await;
    for mailbox in 0..5 {
        world.deliver(mailbox);
    }
    world.expect_all().await;
    world.stop().await;
    world.start();
    world.expect_watching(5).await;
    for mailbox in 0..5 {
        world.deliver(mailbox);
    }
    world.expect_all().await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_do_not_wait_until_a_mailbox_has_caught_up() {
    let mut world = World::new(Settings {
        mailboxes: 2,
        group: "start = \"all\"\nbatch_max = 1\n".to_owned(),
        ..Settings::default()
    })
    .await;
    for mailbox in 0..2 {
        world.burst(mailbox, 3000);
    }
    world.start();
    world
        .expect("reading begun", |world| {
            world.mailbox("box0")["sums"]["event"].as_u64() > Some(5)
        })
        .await;
    world.ask(&["mailboxes", "pause", "box0"]).unwrap();
    world.expect_state("box0", "paused").await;
    let taken = |world: &World| world.mailbox("box0")["sums"]["event"].as_u64().unwrap();
    assert!(taken(&world) < 3000, "paused in the middle of it");
    // One that is taken out of the configuration ends as well.
    let gone = world.users.pop();
    world.write_config();
    world.ask(&["reload"]).unwrap();
    world.expect_state("box1", "orphaned").await;
    world.users.extend(gone);
    world.write_config();
    world.ask(&["reload"]).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(world.stop().await, Some(0));
    assert!(
        began.elapsed() < std::time::Duration::from_secs(15),
        "it did not wait for the end of the backlog"
    );
    assert!(!world.lost().is_empty(), "there was a backlog left");
    world.start();
    world.ask(&["mailboxes", "resume", "box0"]).ok();
    world
        .expect("the daemon runs", |world| {
            world.ask(&["mailboxes", "resume", "box0"]).is_ok()
        })
        .await;
    world
        .expect_all_within(std::time::Duration::from_secs(90))
        .await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_every_search_is_shown_with_what_it_says() {
    let world = World::watching(Settings::default()).await;
    world
        .server
        .levers(postrider_sandbox::imap::Scope::Server, |levers| {
            levers.refuse_next("UID SEARCH", 100_000);
        });
    world.burst(0, 2);
    world
        .expect("the refusal shown", |world| {
            let shown = world.mailbox("box0");
            shown["state"] == "backoff" && shown["last_error"]["cause"] == "refused"
        })
        .await;
    world
        .server
        .levers(postrider_sandbox::imap::Scope::Server, |levers| {
            levers.refuse_commands.clear();
        });
    world.expect_all().await;
    world.expect_watching(1).await;
    assert!(
        world.mailbox("box0")["last_error"].is_null(),
        "it is over, and shown so"
    );
    world.expect_account().await;
}
