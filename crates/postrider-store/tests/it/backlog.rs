//! Very many deliveries wait at an endpoint that is down: nobody else pays for it.

use std::{
    num::NonZeroU32,
    path::Path,
    time::{Duration, Instant},
};

use postrider_core::{
    ids::{EndpointKey, WatchKey},
    time::Wall,
};
use postrider_store::{
    DeliveryState, Id, Pace, RepairError, Replay, Run, Selection, Settled, Store,
};
use sqlx::Connection as _;

use crate::support::*;

const PENDING: u32 = 200_000;

/// Deliveries that wait at `dead`, of events that are a month old.
async fn pile_up(dir: &Path) {
    let month_ago = NOW - 30 * DAY;
    pile(dir, PENDING, (0, month_ago), month_ago).await;
}

/// So many deliveries at `dead`, all in this state and due at this time, of events stored at a time.
async fn pile(dir: &Path, count: u32, (state, due): (u8, Wall), stored_at: Wall) {
    let mut conn = raw(dir).await;
    let (due, stored_at) = (due.0, stored_at.0);
    let statements = format!(
        "BEGIN;
         INSERT INTO endpoint (id, name, sequence) VALUES (900, 'dead', {count});
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})
         INSERT INTO event (id, uuid, type, subject, time, stored_at, data)
             SELECT n, randomblob(16), 'ping', 's', {stored_at}, {stored_at}, zeroblob(300) FROM n;
         INSERT INTO delivery (id, event, endpoint, sequence, state, due, run)
             SELECT id, id, 900, id, {state}, {due}, 0 FROM event;
         COMMIT;"
    );
    let statements = sqlx::AssertSqlSafe(statements);
    sqlx::raw_sql(statements).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// The median of what it takes to commit a message, claim its delivery and settle it.
async fn cost(store: &Store, watch: &WatchKey, first: u32) -> Duration {
    let tickets = EndpointKey::from("tickets");
    let mut took = Vec::new();
    for uid in first..first + 60 {
        let began = Instant::now();
        let name = format!("m{uid}");
        let commit = mail(watch, &[(uid, &name)], &[to("tickets")]);
        store.commit(commit).await.unwrap();
        let claimed = store.claim_due(&tickets, 64, NOW).await.unwrap();
        assert_eq!(claimed.len(), 1);
        store
            .settle(vec![settled(claimed[0].delivery, Settled::Delivered)])
            .await
            .unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::test]
async fn a_delivery_costs_the_same_however_much_waits_elsewhere() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    store.close().await.unwrap();
    let alone = {
        let other = self::dir();
        let (store, watch) = loaded(other.path(), "support").await;
        cost(&store, &watch, 1).await
    };
    pile_up(dir.path()).await;
    let store = open(dir.path()).await;
    let beside = cost(&store, &watch, 1).await;
    println!("{alone:?} alone, {beside:?} beside {PENDING} that wait");
    // A walk through what waits would take some 50 ms.
    assert!(beside < alone * 3 + Duration::from_millis(5));
    // So do the probes of the endpoint that is down.
    let dead = EndpointKey::from("dead");
    let began = Instant::now();
    assert_eq!(store.claim_due(&dead, 1, NOW).await.unwrap().len(), 1);
    assert!(began.elapsed() < alone * 3 + Duration::from_millis(20));
}

#[tokio::test]
async fn what_is_owed_for_long_is_not_looked_through_at_each_call_of_pruning() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    store.close().await.unwrap();
    pile_up(dir.path()).await;
    let store = open(dir.path()).await;
    let name = "the last one";
    let receipt = commit(&store, mail(&watch, &[(1, name)], &[leased("tickets")])).await;
    let delivery = receipt.unwrap().claimed[0].delivery;
    let delivered = settled(delivery, Settled::Delivered);
    store.settle(vec![delivered]).await.unwrap();
    let later = NOW + 2 * DAY;
    let mut calls = 0;
    while store.prune(later, DAY).await.unwrap() == 0 {
        calls += 1;
        assert!(calls < 100, "it never comes to the last one");
    }
    assert!(calls > 5, "{calls} calls before it came to the end");
    // It begins anew, and forgets nothing that is owed.
    for _ in 0..=calls {
        assert_eq!(store.prune(later, DAY).await.unwrap(), 0);
    }
    let rows = store.outbox().await.unwrap();
    let pending: u64 = rows.iter().map(|row| row.pending).sum();
    assert_eq!(pending, u64::from(PENDING));
}

#[tokio::test]
async fn events_of_a_clock_that_was_ahead_do_not_end_pruning() {
    let dir = dir();
    open(dir.path()).await.close().await.unwrap();
    pile(dir.path(), 1_300, (2, NOW), NOW + 365 * DAY).await;
    sqlx::raw_sql("UPDATE event SET stored_at = 0 WHERE id > 1290")
        .execute(&mut raw(dir.path()).await)
        .await
        .unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.prune(NOW, DAY).await.unwrap(), 10);
}

#[tokio::test]
async fn all_that_waits_is_due_at_once_and_what_a_replay_has_not_come_to_keeps_its_pace() {
    let dir = dir();
    open(dir.path()).await.close().await.unwrap();
    let hour = Duration::from_secs(3600);
    pile(dir.path(), 9_000, (0, NOW + hour), NOW).await;
    sqlx::raw_sql("UPDATE delivery SET state = 3, due = 0 WHERE id > 1300")
        .execute(&mut raw(dir.path()).await)
        .await
        .unwrap();
    let store = open(dir.path()).await;
    let dead = EndpointKey::from("dead");
    // A setting of another endpoint that may go again is no reason to accept more.
    store.set_due_ahead_max(DAY);
    let what = Replay::Again(
        Selection {
            endpoints: Some(vec![dead.clone()]),
            states: vec![DeliveryState::Dead],
            ..Selection::default()
        },
        Id::Same,
    );
    let order = (&act(), "dead");
    let pace = |rate| Pace {
        rate: NonZeroU32::new(rate),
        from: None,
    };
    let slow = store.replay(&what, pace(1), order, Run::Real).await;
    assert!(matches!(slow, Err(RepairError::TooSlow { .. })), "{slow:?}");
    let done = store.replay(&what, pace(2), order, Run::Real).await;
    assert_eq!(done.unwrap().deliveries, 7_700);
    assert_eq!(store.release_endpoint(&dead, NOW).await.unwrap(), 1_300);
    let due = store.claim_due(&dead, 9_000, NOW).await.unwrap();
    // The first one of the replay as well.
    assert_eq!(due.len(), 1_301);
}
