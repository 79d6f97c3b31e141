//! After delivery: what the configuration asks for is done in the mailbox, once the endpoint accepted
//! and never before, whatever happens in between.

use std::time::Duration;

use postrider_sandbox::{
    imap::{Profile, Scope},
    receiver::Behaviour,
};

use crate::world::{Settings, World};

async fn asking(after: &str, profile: Profile) -> World {
    let world = World::new(Settings {
        group: format!("idle_cycle = \"5s\"\nafter = {{ endpoint = \"tickets\", {after} }}\n"),
        profile,
        ..Settings::default()
    })
    .await;
    world
        .server
        .levers(Scope::Server, |levers| levers.allow_changes = true);
    world
}

async fn started(mut world: World) -> World {
    world.start();
    world.expect_watching(1).await;
    world
}

fn count(world: &World, folder: &str) -> usize {
    let uids = world.mailboxes.uids(&world.users[0], folder);
    uids.map_or(0, |uids| uids.len())
}

/// Dovecot's profile offers no MOVE, so that it is a copy and a removal; Exchange's has it.
async fn moved_once_accepted(profile: Profile) {
    let world = asking("move_to = \"Done\"", profile).await;
    world.mailboxes.add_folder(&world.users[0], "Done").unwrap();
    let mut world = started(world).await;
    world.burst(0, 3);
    world.expect_all().await;
    world
        .expect("the three moved", |world| count(world, "Done") == 3)
        .await;
    assert_eq!(count(&world, "INBOX"), 0);
    world.receiver.set(Behaviour::status(500));
    world.burst(0, 5);
    world
        .expect("tries at the endpoint", |world| {
            world.receiver.attempt_count() > 3
        })
        .await;
    world.kill();
    world.start();
    world.expect_watching(1).await;
    assert_eq!(count(&world, "Done"), 3, "nothing before it is accepted");
    world.receiver.set(Behaviour::Accept);
    world.expect_all().await;
    world
        .expect("all moved", |world| count(world, "Done") == 8)
        .await;
    assert_eq!(count(&world, "INBOX"), 0);
    world.expect_account().await;
    world
        .expect_metric("postrider_after_delivery_pending", 0.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_moved_once_the_endpoint_accepted_and_not_before() {
    moved_once_accepted(Profile::exchange()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_move_messages_are_copied_and_removed_by_uid() {
    moved_once_accepted(Profile::dovecot()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_done_outlives_a_kill_and_refusals() {
    let world = asking("add_flag = \"\\\\Seen\"", Profile::dovecot()).await;
    world.server.levers(Scope::Server, |levers| {
        levers.refuse_next("UID STORE", 100_000);
    });
    let mut world = started(world).await;
    world.burst(0, 4);
    world.expect_all().await;
    world
        .expect("the refusals counted", |world| {
            world.server.violations().is_empty()
                && world.log().is_empty().eq(&false)
                && world.receiver.distinct_ids() == 4
        })
        .await;
    let seen = |world: &World| {
        world
            .mailboxes
            .seen(&world.users[0], "INBOX")
            .unwrap()
            .len()
    };
    assert_eq!(seen(&world), 0);
    world.kill();
    world.server.levers(Scope::Server, |levers| {
        levers.refuse_commands.clear();
    });
    world.start();
    world.expect_watching(1).await;
    world
        .expect("all four seen", |world| seen(world) == 4)
        .await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyword_is_set_and_a_message_that_is_gone_is_done() {
    let world = asking("keyword = \"Ticketed\"", Profile::gmail()).await;
    world.receiver.set(Behaviour::status(500));
    let world = started(world).await;
    world.burst(0, 2);
    world
        .expect("tries at the endpoint", |world| {
            world.receiver.attempt_count() > 1
        })
        .await;
    let user = world.users[0].clone();
    let uids = world.mailboxes.uids(&user, "INBOX").unwrap();
    world.mailboxes.expunge(&user, "INBOX", &uids[..1]).unwrap();
    world.receiver.set(Behaviour::Accept);
    world.expect_all().await;
    // Gmail's folder takes no keyword but its own, as its PERMANENTFLAGS say here.
    world
        .expect("it told", |world| {
            world
                .log()
                .contains("the folder does not keep the flag Ticketed")
        })
        .await;
    world.burst(0, 1);
    world.expect_all().await;
    world.expect_watching(1).await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_missing_is_told_and_used_once_it_is_there() {
    let world = asking("move_to = \"Tickets/Done\"", Profile::exchange()).await;
    let world = started(world).await;
    world.burst(0, 2);
    world.expect_all().await;
    world
        .expect("it told", |world| {
            world
                .log()
                .contains("refuses what is to be done after delivery")
        })
        .await;
    let user = world.users[0].clone();
    assert_eq!(count(&world, "INBOX"), 2, "nothing is lost on the way");
    world.mailboxes.add_folder(&user, "Tickets/Done").unwrap();
    // A new one is tried at once, and takes the old ones along when their time has come.
    world.burst(0, 1);
    world.expect_all().await;
    let began = std::time::Instant::now();
    while count(&world, "Tickets/Done") < 3 {
        assert!(began.elapsed() < Duration::from_secs(90), "{}", world.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.expect_account().await;
}

/// Exchange counts UIDVALIDITY in small numbers: another account behind a mailbox may well have the
/// same one.
#[tokio::test(flavor = "multi_thread")]
async fn another_message_under_the_same_uid_is_left_alone() {
    let mut world = World::new(Settings {
        group: "idle_cycle = \"5s\"\nafter = { endpoint = \"tickets\", add_flag = \"\\\\Seen\" }\n"
            .to_owned(),
        endpoint: "when = \"data.message.subject != 'private'\"\n".to_owned(),
        ..Settings::default()
    })
    .await;
    world
        .server
        .levers(Scope::Server, |levers| levers.allow_changes = true);
    world.receiver.set(Behaviour::status(500));
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 1);
    world
        .expect("a try at the endpoint", |world| {
            world.receiver.attempt_count() > 0
        })
        .await;
    world.kill();
    let user = world.users[0].clone();
    let uids = world.mailboxes.uids(&user, "INBOX").unwrap();
    world.mailboxes.expunge(&user, "INBOX", &uids).unwrap();
    world
        .mailboxes
        .uids_go_back(&user, "INBOX", uids[0])
        .unwrap();
    let private = b"Message-ID: <p@x>\r\nFrom: a@example.org\r\nSubject: private\r\n\r\nx\r\n";
    world.deliver_raw(0, world.next_number(), private.to_vec());
    assert_eq!(world.mailboxes.uids(&user, "INBOX").unwrap(), uids);
    world.receiver.set(Behaviour::Accept);
    world.start();
    world
        .expect("it told", |world| {
            world.log().contains("another message lies under the UID")
        })
        .await;
    world
        .expect_metric("postrider_after_delivery_pending", 0.0)
        .await;
    assert!(world.mailboxes.seen(&user, "INBOX").unwrap().is_empty());
}

/// Which folder has a role only the server knows: what is moved into one that is watched would be new
/// there, sent again, and so on.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_into_a_folder_that_is_watched_by_its_role() {
    let mut world = World::new(Settings {
        group: "after = { endpoint = \"tickets\", move_to = \"Junk Email\" }\n".to_owned(),
        folders: "\"INBOX\", \"\\\\Junk\"",
        profile: Profile::exchange(),
        ..Settings::default()
    })
    .await;
    world
        .server
        .levers(Scope::Server, |levers| levers.allow_changes = true);
    let user = world.users[0].clone();
    world.mailboxes.add_folder(&user, "Junk Email").unwrap();
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 2);
    world.expect_all().await;
    world
        .expect("it told", |world| {
            world.log().contains("the folder to move to is watched")
        })
        .await;
    assert_eq!(count(&world, "INBOX"), 2);
    world.expect_account().await;
}
