//! The server numbers a folder anew, goes back, or another account stands under a key: no flood, no
//! gap, no repeat of known mail, no swallowed mail.

use std::time::Duration;

use postrider_sandbox::{
    mail,
    mailboxes::{Access, Renumber},
};
use time::OffsetDateTime;

use crate::world::{PASSWORD, Settings, World};

async fn with_some_mail() -> World {
    let world = World::watching(Settings {
        group: "idle_cycle = \"5s\"\nexamine_every = \"5s\"\nflood_limit = 5\n".to_owned(),
        ..Settings::default()
    })
    .await;
    world.burst(0, 10);
    world.expect_all().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_uidvalidity_while_watching_repeats_nothing() {
    let world = with_some_mail().await;
    world
        .mailboxes
        .set_uidvalidity(&world.users[0], "INBOX", 777, Renumber::From(1))
        .unwrap();
    world.burst(0, 3);
    world.expect_all().await;
    world
        .expect("the new UIDVALIDITY taken", |world| {
            world.mailbox("box0")["folders"][0]["uidvalidity"] == 777
        })
        .await;
    world.expect_watching(1).await;
    world.expect_account().await;
    assert_eq!(world.receiver.repeats(), 0);
    assert_eq!(world.receiver.distinct_ids(), 13);
    assert_eq!(world.mailbox("box0")["sums"]["known"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_uidvalidity_while_down_repeats_nothing() {
    let mut world = with_some_mail().await;
    world.stop().await;
    world
        .mailboxes
        .set_uidvalidity(&world.users[0], "INBOX", 778, Renumber::From(100))
        .unwrap();
    world.burst(0, 3);
    world.start();
    world.expect_all().await;
    world.expect_watching(1).await;
    world.expect_account().await;
    assert_eq!(world.receiver.distinct_ids(), 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn uids_that_are_used_again_swallow_no_mail() {
    let mut world = with_some_mail().await;
    world.stop().await;
    world
        .mailboxes
        .uids_go_back(&world.users[0], "INBOX", 6)
        .unwrap();
    world.burst(0, 8);
    world.start();
    world.expect_all().await;
    world.expect_watching(1).await;
    world.expect_account().await;
    assert_eq!(world.receiver.distinct_ids(), 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_unknown_mail_after_a_break_is_held_until_an_operator_decides() {
    let mut world = with_some_mail().await;
    world.stop().await;
    let old = OffsetDateTime::now_utc() - Duration::from_secs(3 * 86_400);
    world
        .mailboxes
        .set_uidvalidity(&world.users[0], "INBOX", 900, Renumber::From(1))
        .unwrap();
    world.settings.group.push_str("start = \"all\"\n");
    let before = world.receiver.distinct_ids();
    for _ in 0..12 {
        let number = world.next_number();
        world.deliver_at(0, number, mail::plain(number, 400), old);
    }
    world.start();
    world.expect_state("box0", "held").await;
    assert_eq!(
        world.receiver.distinct_ids(),
        before,
        "nothing is sent while it is held"
    );
    assert_eq!(
        world.metric("postrider_mailboxes{state=\"held\"}").await,
        1.0
    );
    let hold = &world.mailbox("box0")["folders"][0]["hold"];
    assert_eq!(hold["why"], "uidvalidity_changed", "{hold:#}");
    world.kill();
    world.start();
    world.expect_state("box0", "held").await;
    world
        .ask(&["mailboxes", "release", "box0", "--send", "--reason", "ours"])
        .unwrap();
    world.expect_all().await;
    world.expect_watching(1).await;
    world.expect_account().await;
    let row = crate::repair::audit(&world).remove(0);
    assert_eq!(
        (&row["what"], &row["why"]),
        (&"release".into(), &"ours".into())
    );
    assert_eq!(row["selector"], "box0: INBOX, send");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_under_the_same_key_is_held_until_it_is_adopted() {
    let mut world = with_some_mail().await;
    world.stop().await;
    let renamed = "renamed@example.org".to_owned();
    world
        .mailboxes
        .add_account(&renamed, Access::password(PASSWORD));
    world.users[0] = renamed;
    world.burst(0, 2);
    world.start();
    world.expect_state("box0", "held").await;
    world.ask(&["mailboxes", "adopt", "box0"]).unwrap();
    world.expect_all().await;
    world.expect_watching(1).await;
    world.expect_account().await;
}
