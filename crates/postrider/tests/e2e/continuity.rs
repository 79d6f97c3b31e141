//! The server numbers a folder anew: no flood, no gap, no repeat of known mail, no swallowed mail.

use super::world::{Settings, World};

async fn with_some_mail() -> World {
    let world = World::watching(Settings {
        group: "idle_cycle = \"5s\"\nexamine_every = \"5s\"\n".to_owned(),
        ..Settings::default()
    })
    .await;
    world.burst(0, 10).await;
    world.expect_all().await;
    world
}

async fn expect_all_once(world: &World, known: u64) {
    world.expect_all().await;
    world.expect_watching(world.users.len()).await;
    world.expect_account().await;
    assert_eq!(world.repeats(), 0);
    assert_eq!(world.mailbox("box0")["sums"]["known"], known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_uidvalidity_while_watching_repeats_nothing_and_loses_nothing() {
    let world = with_some_mail().await;
    for round in 1..=2 {
        let validity = world.dovecot.change_uidvalidity(&world.users[0]).await;
        world.burst(0, 3).await;
        world
            .expect("the new UIDVALIDITY taken", |world| {
                world.mailbox("box0")["folders"][0]["uidvalidity"] == validity
            })
            .await;
        let changes = world
            .metric("postrider_imap_uidvalidity_changes_total")
            .await;
        assert_eq!(changes, f64::from(round));
    }
    world.expect_all().await;
    expect_all_once(
        &world,
        world.mailbox("box0")["sums"]["known"].as_u64().unwrap(),
    )
    .await;
    assert_eq!(world.receiver.distinct_ids(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_uidvalidity_while_down_repeats_nothing_and_loses_nothing() {
    let mut world = with_some_mail().await;
    world.stop().await;
    world.burst(0, 2).await;
    world.dovecot.change_uidvalidity(&world.users[0]).await;
    world.burst(0, 3).await;
    world.start();
    world.expect_all().await;
    expect_all_once(&world, 10).await;
    assert_eq!(world.receiver.distinct_ids(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_deleted_and_created_again_is_watched_from_its_first_message() {
    let mut world = World::watching(Settings {
        folders: vec!["INBOX", "Support"],
        group: "idle_cycle = \"5s\"\nexamine_every = \"5s\"\n".to_owned(),
        ..Settings::default()
    })
    .await;
    let folder = "box0+Support@example.org";
    world.burst_to(folder, 10).await;
    world.expect_all().await;
    // While it is watched: the mail that comes after is new, whatever its UIDs.
    world
        .dovecot
        .create_folder(&world.users[0], "Support")
        .await;
    world.burst_to(folder, 4).await;
    world.burst(0, 2).await;
    world.expect_all().await;
    // And while nobody looks.
    world.stop().await;
    world
        .dovecot
        .create_folder(&world.users[0], "Support")
        .await;
    world.burst_to(folder, 12).await;
    world.start();
    world.expect_all().await;
    expect_all_once(&world, 0).await;
    assert_eq!(world.receiver.distinct_ids(), 28);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_expunged_while_nobody_looks_leaves_no_gap() {
    let mut world = with_some_mail().await;
    world.stop().await;
    let user = world.users[0].clone();
    let mut lmtp = world.dovecot.lmtp().await;
    lmtp.deliver(&user, b"Subject: gone before it was seen\r\n\r\ntext\r\n")
        .await;
    world.burst(0, 3).await;
    world.dovecot.expunge(&user, "INBOX", "UID 4:11").await;
    world.start();
    world.expect_all().await;
    expect_all_once(&world, 0).await;
    assert_eq!(world.receiver.distinct_ids(), 13);
    assert_eq!(world.mailbox("box0")["folders"][0]["gaps"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_under_the_same_key_is_held_until_an_operator_adopts_it() {
    let mut world = with_some_mail().await;
    world.stop().await;
    let other = "other@example.org".to_owned();
    world
        .dovecot
        .set_passwords(&[(&other, super::world::PASSWORD)])
        .await;
    world.users[0] = other;
    world.burst(0, 2).await;
    world.start();
    world.expect_state("box0", "held").await;
    assert_eq!(
        world.metric("postrider_mailboxes{state=\"held\"}").await,
        1.0
    );
    assert_eq!(world.receiver.distinct_ids(), 10, "nothing is sent before");
    world.ask(&["mailboxes", "adopt", "box0"]).unwrap();
    expect_all_once(&world, 0).await;
    assert_eq!(world.receiver.distinct_ids(), 12);
}
