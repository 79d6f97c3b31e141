use std::{fs, os::unix::fs::PermissionsExt as _};

use postrider_core::watch::{ItemKey, Outcome, Why};
use postrider_store::{Settled, SpoolKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::*;

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn file(store: &postrider_store::Store, bytes: &[u8]) -> SpoolKey {
    let mut writer = store.spool().create("Support/INBOX 17").await.unwrap();
    writer.write_all(bytes).await.unwrap();
    assert_eq!(writer.written(), bytes.len() as u64);
    writer.finish().await.unwrap()
}

#[tokio::test]
async fn a_finished_file_can_be_read_and_removed() {
    let dir = dir();
    let store = open(dir.path()).await;
    let key = file(&store, b"Subject: hello\r\n\r\n").await;
    assert!(key.0.ends_with("-support-inbox-17"), "{key:?}");
    let path = dir.path().join("spool").join(&key.0);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut text = String::new();
    store
        .spool()
        .open_file(&key)
        .await
        .unwrap()
        .read_to_string(&mut text)
        .await
        .unwrap();
    assert_eq!(text, "Subject: hello\r\n\r\n");
    assert_eq!(store.space().await.unwrap().spool_bytes, 18);
    store.spool().remove(&key).await.unwrap();
    store.spool().remove(&key).await.unwrap();
    assert_eq!(store.space().await.unwrap().spool_bytes, 0);
    assert!(names(dir.path()).is_empty());
}

#[tokio::test]
async fn a_file_that_was_given_up_leaves_nothing() {
    let dir = dir();
    let store = open(dir.path()).await;
    let mut dropped = store.spool().create("a").await.unwrap();
    dropped.write_all(b"half").await.unwrap();
    assert_eq!(names(dir.path()).len(), 1);
    drop(dropped);
    store.spool().create("b").await.unwrap().abort().await;
    assert!(names(dir.path()).is_empty());
    assert_eq!(store.space().await.unwrap().spool_bytes, 0);
}

#[tokio::test]
async fn a_key_cannot_name_a_file_elsewhere() {
    let dir = dir();
    let store = open(dir.path()).await;
    for key in ["../postrider.db", "/etc/passwd", "", ".part-x"] {
        assert!(
            store
                .spool()
                .open_file(&SpoolKey(key.to_owned()))
                .await
                .is_err(),
            "{key}"
        );
        assert!(
            store
                .spool()
                .remove(&SpoolKey(key.to_owned()))
                .await
                .is_err(),
            "{key}"
        );
    }
    assert!(dir.path().join("postrider.db").exists());
}

#[tokio::test]
async fn the_start_sweeps_what_no_row_names_and_nothing_else() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let (named, raw, orphan) = (
        file(&store, b"one").await,
        file(&store, b"twos").await,
        file(&store, b"three").await,
    );
    let mut first = mail(&watch, &[(1, "a")], &[to("tickets")]);
    first.events[0].spool = Some(named.clone());
    first
        .entry
        .outcomes
        .push((ItemKey::Uid(uid(2)), Outcome::Quarantined(Why::Unparseable)));
    first.quarantined.push((ItemKey::Uid(uid(2)), raw.clone()));
    commit(&store, first).await.unwrap();
    let half = store.spool().create("half").await.unwrap();
    std::mem::forget(half);
    fs::write(dir.path().join("spool/README"), "not ours").unwrap();
    store.close().await.unwrap();

    let store = open(dir.path()).await;
    let mut kept = vec![named.0.clone(), raw.0.clone(), "README".to_owned()];
    kept.sort();
    assert_eq!(
        names(dir.path()),
        kept,
        "{orphan:?} and the half file are gone"
    );
    assert_eq!(store.space().await.unwrap().spool_bytes, 7);
    let sums = store.sums().await.unwrap();
    assert_eq!((sums.event, sums.quarantined), (1, 1));
}

#[tokio::test]
async fn pruning_removes_the_file_with_its_event() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let key = file(&store, b"one").await;
    let mut first = mail(&watch, &[(1, "a")], &[leased("tickets")]);
    first.events[0].spool = Some(key.clone());
    let receipt = commit(&store, first).await.unwrap();
    store
        .settle(vec![settled(
            receipt.claimed[0].delivery,
            Settled::Delivered,
        )])
        .await
        .unwrap();
    assert_eq!(
        store
            .event(receipt.claimed[0].event.id)
            .await
            .unwrap()
            .unwrap()
            .spool,
        Some(key)
    );
    assert_eq!(store.prune(NOW + 2 * DAY, DAY).await.unwrap(), 1);
    assert!(names(dir.path()).is_empty());
}

#[tokio::test]
async fn what_is_read_and_not_stored_leaves_no_file() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let key = file(&store, b"one").await;
    let held = store.spool().hold(key, 3);
    drop(held);
    assert!(names(dir.path()).is_empty());
    let refused = file(&store, b"two").await;
    let mut other = watch.clone();
    other.mailbox = "unknown".into();
    let mut commit_of_nobody = mail(&other, &[(1, "a")], &[to("tickets")]);
    commit_of_nobody.events[0].spool = Some(store.spool().hold(refused, 3).keep());
    assert!(commit(&store, commit_of_nobody).await.is_err());
    assert!(names(dir.path()).is_empty(), "the commit was refused");
    let (first, again) = (file(&store, b"one").await, file(&store, b"one").await);
    for (key, repeated) in [(&first, 0), (&again, 1)] {
        let mut one = mail(&watch, &[(1, "a")], &[to("tickets")]);
        one.events[0].spool = Some(key.clone());
        assert_eq!(commit(&store, one).await.unwrap().repeated, repeated);
    }
    assert_eq!(
        names(dir.path()),
        [first.0],
        "the event has its file already"
    );
    assert_eq!(store.space().await.unwrap().spool_bytes, 3);
}
