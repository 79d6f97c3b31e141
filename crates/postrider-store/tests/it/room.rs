use std::{fs, os::unix::fs::FileExt as _, path::Path};

use postrider_core::{
    event::{EventType, system_id},
    ids::WatchKey,
};
use postrider_store::{
    BudgetAction, Claimed, EventIdentity, Level, NewEvent, Options, Settled, Store, StoreError,
};
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

/// Commits messages of 20 KB until there is no room; the deliveries it leased.
async fn fill_up(store: &Store, watch: &WatchKey, from: u32) -> (u32, Vec<Claimed>) {
    let mut claimed = Vec::new();
    for uid in from..from + 10_000 {
        match commit(store, large(watch, uid)).await {
            Ok(receipt) => claimed.extend(receipt.claimed),
            Err(StoreError::Full(_)) => return (uid, claimed),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never filled up");
}

fn large(watch: &WatchKey, uid: u32) -> postrider_store::Commit {
    let name = format!("m{uid}");
    let mut commit = mail(watch, &[(uid, &name)], &[leased("tickets")]);
    commit.events[0].data = format!("{{\"text\":\"{}\"}}", "x".repeat(20_000)).into();
    commit
}

async fn settle_all(store: &Store, claimed: &[Claimed]) {
    for claimed in claimed {
        store
            .settle(vec![settled(claimed.delivery, Settled::Delivered)])
            .await
            .unwrap();
    }
}

fn alert() -> NewEvent {
    NewEvent {
        identity: EventIdentity::System {
            id: system_id("test", "store", EventType::StoreSpaceLow, NOW),
        },
        event_type: EventType::StoreSpaceLow,
        mailbox: None,
        subject: "store".to_owned(),
        time: NOW,
        message_id: None,
        data: "{}".into(),
        raw: None,
        spool: None,
        deliveries: vec![to("alerts")],
    }
}

#[tokio::test]
async fn on_a_full_disk_mail_is_refused_and_settling_and_pruning_go_on() {
    let disk = Disk::new(4);
    let (store, watch) = loaded(disk.path(), "support").await;
    assert!(store.space().await.unwrap().reserve_present);
    let (refused, claimed) = fill_up(&store, &watch, 1).await;
    assert_eq!(
        claimed.len() as u32,
        refused - 1,
        "what was not refused is stored"
    );
    settle_all(&store, &claimed).await;
    store.add_event(alert(), NOW).await.unwrap();
    assert_sums_hold(&store).await;
    assert_eq!(
        store.sums().await.unwrap().delivered,
        u64::from(refused - 1)
    );

    // Pruning gives the room back, and watching goes on by itself.
    assert_eq!(
        store.prune(NOW + 2 * DAY, DAY).await.unwrap(),
        u64::from(refused - 1)
    );
    commit(&store, large(&watch, refused)).await.unwrap();
    let space = store.space().await.unwrap();
    assert!(space.reserve_present && !space.low(), "{space}");
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_disk_that_others_fill_and_free_is_waited_out() {
    let disk = Disk::new(8);
    let (store, watch) = loaded(disk.path(), "support").await;
    let mut claimed = Vec::new();
    for uid in 1..=20 {
        claimed.extend(commit(&store, large(&watch, uid)).await.unwrap().claimed);
    }
    disk.fill();
    let (refused, more) = fill_up(&store, &watch, 21).await;
    claimed.extend(more);
    assert!(matches!(
        commit(&store, large(&watch, refused)).await,
        Err(StoreError::Full(_))
    ));
    let space = store.space().await.unwrap();
    assert!(space.low() && !space.reserve_present, "{space}");
    settle_all(&store, &claimed).await;
    assert!(matches!(
        store.spool().create("x").await,
        Err(StoreError::Full(_))
    ));
    disk.free();
    commit(&store, large(&watch, refused)).await.unwrap();
    let space = store.space().await.unwrap();
    assert!(!space.low() && space.reserve_present, "{space}");
    assert_eq!(store.sums().await.unwrap().uids, u64::from(refused));
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_store_opens_on_a_full_disk_and_settles() {
    let disk = Disk::new(8);
    let (store, watch) = loaded(disk.path(), "support").await;
    let receipt = commit(&store, large(&watch, 1)).await.unwrap();
    store.close().await.unwrap();
    disk.fill();
    let store = open(disk.path()).await;
    let claimed = store.claim_due(&"tickets".into(), 9, NOW).await.unwrap();
    assert_eq!(claimed[0].event.id, receipt.claimed[0].event.id);
    settle_all(&store, &claimed).await;
    let (refused, _) = fill_up(&store, &watch, 2).await;
    disk.free();
    commit(&store, large(&watch, refused)).await.unwrap();
}

#[tokio::test]
async fn the_budget_pauses_mail_as_a_full_disk_does() {
    let dir = dir();
    let store = open_with(Options {
        budget_bytes: Some(1024 * 1024),
        ..options(dir.path())
    })
    .await;
    let watch = watch("support");
    store.load(&watch, &account(), NOW).await.unwrap();
    let (refused, claimed) = fill_up(&store, &watch, 1).await;
    let space = store.space().await.unwrap();
    assert!(space.low() && space.reserve_present, "{space}");
    assert!(space.used() < 2 * 1024 * 1024, "{space}");
    settle_all(&store, &claimed).await;
    store.prune(NOW + 2 * DAY, DAY).await.unwrap();
    commit(&store, large(&watch, refused)).await.unwrap();
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_budget_that_only_warns_stops_no_mail() {
    let dir = dir();
    let store = open_with(Options {
        budget_bytes: Some(1024 * 1024),
        budget_action: BudgetAction::Warn,
        ..options(dir.path())
    })
    .await;
    let watch = watch("support");
    store.load(&watch, &account(), NOW).await.unwrap();
    for uid in 1..=100 {
        commit(&store, large(&watch, uid)).await.unwrap();
    }
    let space = store.space().await.unwrap();
    assert!(space.used() > 1024 * 1024 && !space.low(), "{space}");
    assert_eq!(space.level(Level::Fine), Level::Over);
    assert!(store.spool().create("x").await.is_ok());
}

#[tokio::test]
async fn a_spool_that_fills_the_disk_stops_mail_and_leaves_no_half_file() {
    let disk = Disk::new(4);
    let (store, watch) = loaded(disk.path(), "support").await;
    let mut writer = store.spool().create("large").await.unwrap();
    let chunk = vec![7u8; 64 * 1024];
    let mut failed = false;
    for _ in 0..128 {
        failed = failed || writer.write_all(&chunk).await.is_err() || writer.flush().await.is_err();
    }
    assert!(failed);
    assert!(store.space().await.unwrap().low());
    drop(writer);
    assert_eq!(fs::read_dir(disk.path().join("spool")).unwrap().count(), 0);
    commit(&store, large(&watch, 1)).await.unwrap();
    assert_eq!(store.space().await.unwrap().spool_bytes, 0);
}

#[tokio::test]
async fn a_database_that_is_destroyed_under_the_store_ends_it() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, large(&watch, 1)).await.unwrap();
    destroy(dir.path()).await;
    let mut last = None;
    for uid in 2..10 {
        last = commit(&store, large(&watch, uid)).await.err().or(last);
    }
    assert!(matches!(last, Some(StoreError::Fatal(_))), "{last:?}");
    let next = store.settle(Vec::new()).await;
    assert!(
        matches!(next, Err(StoreError::Fatal(_))),
        "nothing is tried again in this process: {next:?}"
    );
}

/// Overwrites the file, and empties the log so that everybody reads it again.
async fn destroy(dir: &Path) {
    let mut conn = raw(dir).await;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut conn)
        .await
        .unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(dir.join("postrider.db"))
        .unwrap();
    let bytes = vec![0xaa; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.write_all_at(&bytes, 0).unwrap();
    drop(conn);
}
