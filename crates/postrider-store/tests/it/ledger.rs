use postrider_core::{
    cursor::{Break, Cursor, Epoch, Sieve},
    ids::{FolderName, UidValidity, WatchKey},
    watch::{HoldReason, Outcome, Reason},
};
use postrider_store::{Account, Commit};

use crate::support::*;

fn known(watch: &WatchKey, messages: &[(u32, &str)], cursor: Cursor) -> Commit {
    let outcomes = messages
        .iter()
        .map(|(uid, _)| (*uid, Outcome::Known))
        .collect();
    Commit {
        facts: facts(messages),
        ..crate::support::outcomes(watch, outcomes, cursor)
    }
}

/// The cursor of an epoch that began with a break, with the break still on.
fn broken(epoch: i64, last: u32) -> Cursor {
    let sieve = Sieve::Break(Break {
        why: HoldReason::UidValidityChanged,
        at: NOW,
        old: 0,
        released: None,
    });
    Cursor {
        epoch: Epoch(epoch),
        uid_validity: UidValidity(8),
        sieve: Some(Box::new(sieve)),
        ..cursor(last)
    }
}

async fn count(store: &postrider_store::Store, watch: &WatchKey, name: &str) -> u32 {
    let known = store
        .recall(watch, &[print(name), print("never seen")])
        .await
        .unwrap();
    assert!(known.matches.len() <= 1);
    known.matches.first().map_or(0, |(_, count)| *count)
}

#[tokio::test]
async fn each_ledger_row_matches_at_most_once_in_an_epoch() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(
        &store,
        mail(&watch, &[(1, "twin"), (2, "twin"), (3, "other")], &[]),
    )
    .await
    .unwrap();
    assert_eq!(
        count(&store, &watch, "twin").await,
        2,
        "before the new epoch is stored, all that is stored is earlier"
    );
    commit(&store, outcomes(&watch, vec![], broken(2, 0)))
        .await
        .unwrap();
    assert_eq!(count(&store, &watch, "twin").await, 2);
    commit(&store, known(&watch, &[(1, "twin")], broken(2, 1)))
        .await
        .unwrap();
    assert_eq!(count(&store, &watch, "twin").await, 1);
    commit(&store, known(&watch, &[(2, "twin")], broken(2, 2)))
        .await
        .unwrap();
    assert_eq!(count(&store, &watch, "twin").await, 0);
    // What is new in this epoch is no match for another message of this epoch.
    let mut new = mail(&watch, &[(3, "twin")], &[]);
    new.entry.cursor = broken(2, 3);
    commit(&store, new).await.unwrap();
    assert_eq!(count(&store, &watch, "twin").await, 0);
    // The next break makes them available again: three messages were taken, two of them twice.
    commit(&store, outcomes(&watch, vec![], broken(3, 0)))
        .await
        .unwrap();
    assert_eq!(count(&store, &watch, "twin").await, 3);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn fingerprints_are_matched_within_their_folder_only() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    let other = WatchKey {
        folder: FolderName::from("Archive"),
        ..watch.clone()
    };
    assert_eq!(count(&store, &other, "a").await, 0);
    assert_eq!(count(&store, &watch, "a").await, 1);
}

#[tokio::test]
async fn the_audit_finds_a_lost_ledger_row_and_nothing_that_was_never_owed() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mut first = mail(&watch, &[(11, "a"), (12, "b"), (14, "c")], &[]);
    first.entry.cursor.floor = Some(uid(10));
    first.entry.cursor.gaps = vec![uid(13)];
    commit(&store, first).await.unwrap();
    let all: Vec<_> = (1..=20).map(uid).collect();
    assert!(
        store
            .audit_missing(&watch, UidValidity(7), &all[9..14])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .audit_missing(&watch, UidValidity(9), &all)
            .await
            .unwrap()
            .is_empty(),
        "another UIDVALIDITY"
    );
    sql(dir.path(), "DELETE FROM ledger WHERE uid = 12").await;
    assert_eq!(
        store
            .audit_missing(&watch, UidValidity(7), &all[9..14])
            .await
            .unwrap(),
        vec![uid(12)]
    );
    assert_eq!(
        store.sums().await.unwrap().unaccounted_messages(),
        1,
        "a lost row shows in the sum"
    );

    // The audit's finding is read and taken: one row more, and one UID more in the count.
    let mut found = mail(&watch, &[(12, "b")], &[]);
    found.entry.cursor = cursor(14);
    commit(&store, found).await.unwrap();
    assert!(
        store
            .audit_missing(&watch, UidValidity(7), &[uid(12)])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_better_outcome_replaces_a_worse_one_and_the_sum_holds() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let skipped = Outcome::Skipped(Reason::Held);
    commit(
        &store,
        outcomes(
            &watch,
            vec![(1, Outcome::Vanished), (2, skipped)],
            cursor(2),
        ),
    )
    .await
    .unwrap();
    commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b"), (3, "c")], &[to("tickets")]),
    )
    .await
    .unwrap();
    commit(
        &store,
        outcomes(&watch, vec![(1, Outcome::Vanished)], cursor(3)),
    )
    .await
    .unwrap();
    let sums = store.sums().await.unwrap();
    assert_eq!(
        (sums.uids, sums.event, sums.vanished, sums.skipped),
        (3, 3, 0, 0)
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn uids_that_went_back_are_numbered_anew_under_the_same_uidvalidity() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[to("tickets")]),
    )
    .await
    .unwrap();
    let mut back = mail(&watch, &[(2, "new")], &[to("tickets")]);
    back.entry.cursor = Cursor {
        epoch: Epoch(2),
        ..cursor(2)
    };
    let receipt = commit(&store, back).await.unwrap();
    assert_eq!((receipt.repeated, receipt.generations), (0, 0));
    let sums = store.sums().await.unwrap();
    assert_eq!((sums.uids, sums.event, sums.deliveries), (3, 3, 3));
}

#[tokio::test]
async fn another_account_under_the_same_key_is_noticed_until_it_is_adopted() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let other = Account {
        username: "sales@example.org".to_owned(),
        ..account()
    };
    assert!(
        !store
            .load(&watch, &account(), NOW)
            .await
            .unwrap()
            .account_changed
    );
    assert!(
        store
            .load(&watch, &other, NOW)
            .await
            .unwrap()
            .account_changed
    );
    assert!(
        store
            .load(&watch, &other, NOW)
            .await
            .unwrap()
            .account_changed,
        "loading adopts nothing"
    );
    store.adopt(&watch.mailbox, &other, &act()).await.unwrap();
    assert!(
        !store
            .load(&watch, &other, NOW)
            .await
            .unwrap()
            .account_changed
    );
    assert!(
        store
            .load(&watch, &account(), NOW)
            .await
            .unwrap()
            .account_changed
    );
    assert!(store.adopt(&"nobody".into(), &other, &act()).await.is_err());
}

#[tokio::test]
async fn a_cursor_that_got_lost_is_told_from_a_folder_never_seen() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    let unseen = WatchKey {
        folder: FolderName::from("Archive"),
        ..watch.clone()
    };
    let stored = store.load(&unseen, &account(), NOW).await.unwrap();
    assert!(stored.cursor.is_none() && !stored.state_lost);
    store.close().await.unwrap();
    sql(
        dir.path(),
        "UPDATE watch SET uid_validity = NULL, epoch = NULL",
    )
    .await;
    let store = open(dir.path()).await;
    let stored = store.load(&watch, &account(), NOW).await.unwrap();
    assert!(stored.cursor.is_none() && stored.state_lost);
    assert_eq!(stored.first_sight, Some(NOW));
    assert_eq!(
        count(&store, &watch, "a").await,
        1,
        "the ledger is still there to match by"
    );
}

#[tokio::test]
async fn a_paused_mailbox_stays_paused_over_a_restart() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    store.pause_mailbox(&watch.mailbox, &act()).await.unwrap();
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    assert!(store.load(&watch, &account(), NOW).await.unwrap().paused);
    assert!(store.mailboxes().await.unwrap()[0].paused);
    store.resume_mailbox(&watch.mailbox, &act()).await.unwrap();
    assert!(!store.load(&watch, &account(), NOW).await.unwrap().paused);
}

#[tokio::test]
async fn a_sieve_that_cannot_be_read_is_an_error_and_not_an_open_door() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    sql(dir.path(), "UPDATE watch SET sieve = 'something newer'").await;
    assert!(store.load(&watch, &account(), NOW).await.is_err());
}
