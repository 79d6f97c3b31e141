//! Deliveries in order: only the first of a line may be sent, and nobody waits for ever.

use std::collections::{HashMap, HashSet};

use postrider_core::{
    delivery::order::OrderKey,
    ids::{EndpointKey, WatchKey},
};
use postrider_store::{Claimed, NewDelivery, Run, Settled, Settlement, Store};
use proptest::prelude::*;
use sqlx::Connection as _;

use crate::support::*;

fn tickets() -> EndpointKey {
    EndpointKey::from("tickets")
}

/// A delivery that stands in a line and may be leased at once.
fn in_line(line: i64) -> NewDelivery {
    NewDelivery {
        order: Some(OrderKey(line)),
        ..leased("tickets")
    }
}

fn outcome(claimed: &Claimed, outcome: Settled) -> Settlement {
    Settlement {
        then: postrider_store::Then::Nothing,
        order: claimed.order,
        ..settled(claimed.delivery, outcome)
    }
}

fn retry(aside: bool) -> Settled {
    Settled::Retry {
        due: NOW,
        refusals: 0,
        refused_since: None,
        own_time: std::time::Duration::ZERO,
        aside,
    }
}

async fn claim(store: &Store) -> Vec<Claimed> {
    store.claim_due(&tickets(), 100, NOW).await.unwrap()
}

/// Three messages of one line; the first of them is leased.
async fn three(store: &Store, watch: &WatchKey) -> Claimed {
    let messages = [(1, "a"), (2, "b"), (3, "c")];
    let receipt = commit(store, mail(watch, &messages, &[in_line(5)])).await;
    let [first] = <[Claimed; 1]>::try_from(receipt.unwrap().claimed).unwrap();
    first
}

#[tokio::test]
async fn the_next_of_a_line_goes_when_the_one_before_is_over() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let first = three(&store, &watch).await;
    assert_eq!(first.sequence, 1);
    assert!(claim(&store).await.is_empty());
    assert!(store.next_due(NOW).await.unwrap().is_empty());
    for (over, sequence) in [(Settled::Delivered, 2), (dead(), 3)] {
        let one = if sequence == 2 {
            first.clone()
        } else {
            claim(&store).await.remove(0)
        };
        store.settle(vec![outcome(&one, over)]).await.unwrap();
        let due = store.next_due(NOW).await.unwrap();
        assert_eq!(due, vec![(tickets(), NOW)]);
        if sequence == 3 {
            assert_eq!(claim(&store).await[0].sequence, 3);
        }
    }
}

fn dead() -> Settled {
    Settled::Dead {
        reason: "no".to_owned(),
    }
}

#[tokio::test]
async fn another_line_is_not_held_up_and_one_that_steps_aside_holds_up_nobody() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let first = three(&store, &watch).await;
    let other = commit(&store, mail(&watch, &[(4, "d")], &[in_line(6)])).await;
    assert_eq!(other.unwrap().claimed.len(), 1);

    store
        .settle(vec![outcome(&first, retry(false))])
        .await
        .unwrap();
    let again = claim(&store).await;
    assert_eq!(
        again.len(),
        1,
        "what fails is tried again, and nobody overtakes it"
    );
    assert_eq!(again[0].delivery, first.delivery);

    store
        .settle(vec![outcome(&again[0], retry(true))])
        .await
        .unwrap();
    let both = claim(&store).await;
    let seen: Vec<_> = both.iter().map(|one| (one.sequence, one.aside)).collect();
    assert_eq!(seen, [(1, true), (2, false)]);
    // Its end lets nobody go: the line has gone on without it.
    store
        .settle(vec![outcome(&both[0], Settled::Delivered)])
        .await
        .unwrap();
    assert!(claim(&store).await.is_empty());
    store
        .settle(vec![outcome(&both[1], Settled::Delivered)])
        .await
        .unwrap();
    assert_eq!(claim(&store).await[0].sequence, 3);
}

#[tokio::test]
async fn discarding_ends_a_wait_and_a_replay_holds_up_nobody() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let first = three(&store, &watch).await;
    store
        .settle(vec![outcome(&first, retry(false))])
        .await
        .unwrap();
    assert_eq!(discard(&store, first.event.id).await, 1);
    let second = claim(&store).await.remove(0);
    assert_eq!(second.sequence, 2);
    store.settle(vec![outcome(&second, dead())]).await.unwrap();
    replay(&store, Some(second.event.id), Run::Real).await;
    let seen: Vec<_> = claim(&store).await.iter().map(|one| one.sequence).collect();
    assert_eq!(seen, [2, 3], "the replay and the next of the line");
}

#[tokio::test]
async fn lines_outlive_a_restart_and_end_when_the_endpoint_asks_for_none() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let first = three(&store, &watch).await;
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    let again = claim(&store).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].delivery, first.delivery);
    store.unorder_endpoint(&tickets(), NOW).await.unwrap();
    let others: Vec<_> = claim(&store).await.iter().map(|one| one.sequence).collect();
    assert_eq!(others, [2, 3]);
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date() {
    let dir = dir();
    let mut conn = of_version(dir.path(), 1).await;
    sqlx::raw_sql(
        "INSERT INTO endpoint (id, name, sequence) VALUES (1, 'tickets', 1);
         INSERT INTO event (id, uuid, type, subject, time, stored_at, data)
             VALUES (1, randomblob(16), 'ping', 's', 0, 0, x'7b7d');
         INSERT INTO delivery (id, event, endpoint, sequence, state, due, run) VALUES (1, 1, 1, 1, 0, 0, 0);",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
    let store = open(dir.path()).await;
    let claimed = claim(&store).await;
    assert_eq!(
        (claimed.len(), claimed[0].order, claimed[0].aside),
        (1, None, false)
    );
    assert!(dir.path().join("postrider.db.before-0002").exists());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// New messages, one after the other, for these lines.
    Arrive(i64, i64),
    Deliver(usize),
    Fail(usize, bool),
    Die(usize),
    /// A delivery is settled in the same moment as another of its line arrives.
    DeliverAndArrive(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3i64, 0..3i64).prop_map(|(a, b)| Step::Arrive(a, b)),
        4 => (0..8usize).prop_map(Step::Deliver),
        2 => (0..8usize, any::<bool>()).prop_map(|(n, aside)| Step::Fail(n, aside)),
        1 => (0..8usize).prop_map(Step::Die),
        3 => (0..8usize).prop_map(Step::DeliverAndArrive),
        1 => Just(Step::Restart),
    ]
}

/// What is in hand, and what has to be true of it.
#[derive(Default)]
struct Hand {
    held: Vec<Claimed>,
    /// First attempts by line, as sequences.
    started: HashMap<i64, Vec<i64>>,
    asides: HashSet<i64>,
    uid: u32,
}

impl Hand {
    fn take(&mut self, claimed: Vec<Claimed>) {
        for one in claimed {
            let line = one.order.unwrap().0;
            let started = self.started.entry(line).or_default();
            if !started.contains(&one.sequence) {
                started.push(one.sequence);
            }
            let rivals = self
                .held
                .iter()
                .filter(|other| other.order == one.order && !other.aside);
            assert!(one.aside || rivals.count() == 0, "two of one line at once");
            self.held.push(one);
        }
    }

    fn pick(&mut self, n: usize) -> Option<Claimed> {
        (!self.held.is_empty()).then(|| self.held.remove(n % self.held.len()))
    }

    fn arrival(&mut self, watch: &WatchKey, line: i64) -> postrider_store::Commit {
        self.uid += 1;
        mail(
            watch,
            &[(self.uid, &format!("m{}", self.uid))],
            &[in_line(line)],
        )
    }
}

async fn play(steps: Vec<Step>) {
    let dir = dir();
    let (mut store, watch) = loaded(dir.path(), "support").await;
    let mut hand = Hand::default();
    for step in steps {
        match step {
            Step::Arrive(a, b) => {
                for line in [a, b] {
                    let receipt = store.commit(hand.arrival(&watch, line)).await.unwrap();
                    hand.take(receipt.claimed);
                }
            }
            Step::Deliver(n) | Step::Die(n) | Step::Fail(n, _) => {
                let Some(one) = hand.pick(n) else { continue };
                let how = match step {
                    Step::Fail(_, aside) => retry(aside),
                    Step::Die(_) => dead(),
                    _ => Settled::Delivered,
                };
                if matches!(step, Step::Fail(_, true)) {
                    hand.asides.insert(one.delivery);
                }
                store.settle(vec![outcome(&one, how)]).await.unwrap();
            }
            Step::DeliverAndArrive(n) => {
                let Some(one) = hand.pick(n) else { continue };
                let arrival = hand.arrival(&watch, one.order.unwrap().0);
                let settle = store.settle(vec![outcome(&one, Settled::Delivered)]);
                let (settled, receipt) = tokio::join!(settle, store.commit(arrival));
                settled.unwrap();
                hand.take(receipt.unwrap().claimed);
            }
            Step::Restart => {
                store.close().await.unwrap();
                store = open(dir.path()).await;
                hand.held.clear();
            }
        }
        let claimed = claim(&store).await;
        hand.take(claimed);
    }
    // Nothing is left behind.
    while let Some(one) = hand.pick(0) {
        store
            .settle(vec![outcome(&one, Settled::Delivered)])
            .await
            .unwrap();
        let claimed = claim(&store).await;
        hand.take(claimed);
    }
    let rows = store.outbox().await.unwrap();
    assert!(rows.iter().all(|row| row.pending == 0), "{rows:?}");
    for (line, started) in hand.started {
        assert!(started.is_sorted(), "line {line} went as {started:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn lines_keep_their_order_and_nobody_waits_for_ever(steps in prop::collection::vec(step(), 1..60)) {
        tokio::runtime::Runtime::new().unwrap().block_on(play(steps));
    }
}
