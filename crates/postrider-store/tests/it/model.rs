//! The store beside a simple model of it, through random histories. A failing seed is printed; to
//! run it alone, put it in the place of the range.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use postrider_core::{ids::EndpointKey, time::Wall};
use postrider_store::{Settled, Store};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::support::*;

const ENDPOINTS: [&str; 2] = ["tickets", "audit"];
const MAILBOXES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Leased,
    Delivered,
    Dead,
}

#[derive(Clone, Debug)]
struct Delivery {
    state: State,
    due: Wall,
    attempts: u32,
    event: String,
}

struct World {
    store: Store,
    random: StdRng,
    now: Wall,
    last: BTreeMap<&'static str, u32>,
    events: BTreeSet<String>,
    deliveries: BTreeMap<(&'static str, i64), Delivery>,
    leased: Vec<(i64, &'static str, i64)>,
}

impl World {
    async fn new(dir: &Path, seed: u64) -> Self {
        let store = open(dir).await;
        let mut world = Self {
            store,
            random: StdRng::seed_from_u64(seed),
            now: NOW,
            last: BTreeMap::new(),
            events: BTreeSet::new(),
            deliveries: BTreeMap::new(),
            leased: Vec::new(),
        };
        world.load().await;
        world
    }

    async fn load(&mut self) {
        for mailbox in MAILBOXES {
            let stored = self
                .store
                .load(&watch(mailbox), &account(), self.now)
                .await
                .unwrap();
            let last = stored
                .cursor
                .and_then(|cursor| cursor.last)
                .map_or(0, postrider_core::ids::Uid::get);
            assert_eq!(last, self.last.get(mailbox).copied().unwrap_or(0));
        }
    }

    async fn step(&mut self, dir: &Path) {
        match self.random.random_range(0..100) {
            0..35 => self.commit().await,
            35..60 => self.claim().await,
            60..88 => self.settle().await,
            88..92 => self.now = self.now + Duration::from_secs(self.random.random_range(0..4000)),
            92..94 => self.release().await,
            94..97 => self.restart(dir).await,
            _ => self.prune().await,
        }
    }

    /// New messages, and at times some that were taken before.
    async fn commit(&mut self) {
        let mailbox = MAILBOXES[self.random.random_range(0..MAILBOXES.len())];
        let last = self.last.get(mailbox).copied().unwrap_or(0);
        let again = if self.random.random_bool(0.2) {
            self.random.random_range(0..=last.min(3))
        } else {
            0
        };
        let new = self.random.random_range(0..6);
        let uids: Vec<u32> = (last + 1 - again..=last + new).collect();
        let names: Vec<String> = uids.iter().map(|uid| format!("{mailbox}{uid}")).collect();
        let messages: Vec<(u32, &str)> = uids
            .iter()
            .copied()
            .zip(names.iter().map(String::as_str))
            .collect();
        let owed: Vec<_> = ENDPOINTS
            .iter()
            .filter(|_| self.random.random_bool(0.8))
            .copied()
            .collect::<Vec<_>>()
            .into_iter()
            .map(|endpoint| {
                if self.random.random_bool(0.5) {
                    leased(endpoint)
                } else {
                    to(endpoint)
                }
            })
            .collect();
        let mut commit = mail(&watch(mailbox), &messages, &owed);
        commit.entry.cursor = cursor(last + new);
        commit.now = self.now;
        let receipt = self.store.commit(commit).await.unwrap();
        let fresh: Vec<&String> = names
            .iter()
            .filter(|name| !self.events.contains(*name))
            .collect();
        assert_eq!(receipt.repeated as usize, names.len() - fresh.len());
        assert_eq!(receipt.generations, 0);
        for name in fresh {
            for delivery in &owed {
                let endpoint = ENDPOINTS
                    .into_iter()
                    .find(|key| *key == delivery.endpoint.as_str())
                    .unwrap();
                let sequence = 1 + self
                    .deliveries
                    .keys()
                    .filter(|(key, _)| *key == endpoint)
                    .count() as i64;
                let state = if delivery.leased {
                    State::Leased
                } else {
                    State::Pending
                };
                let delivery = Delivery {
                    state,
                    due: self.now,
                    attempts: 0,
                    event: name.clone(),
                };
                self.deliveries.insert((endpoint, sequence), delivery);
            }
        }
        self.events.extend(names);
        self.last.insert(mailbox, last + new);
        self.note_leases(receipt.claimed);
    }

    fn note_leases(&mut self, claimed: Vec<postrider_store::Claimed>) {
        for claimed in claimed {
            let endpoint = ENDPOINTS
                .into_iter()
                .find(|key| *key == claimed.endpoint.as_str())
                .unwrap();
            let known = &self.deliveries[&(endpoint, claimed.sequence)];
            assert_eq!(known.state, State::Leased);
            assert_eq!(known.attempts, claimed.attempts);
            assert_eq!(
                claimed.event.data,
                format!("{{\"name\":\"{}\"}}", known.event)
            );
            self.leased
                .push((claimed.delivery, endpoint, claimed.sequence));
        }
    }

    async fn claim(&mut self) {
        let endpoint = ENDPOINTS[self.random.random_range(0..ENDPOINTS.len())];
        let limit = self.random.random_range(1..8);
        let mut due: Vec<(Wall, i64)> = self
            .deliveries
            .iter()
            .filter(|((key, _), delivery)| {
                let far = delivery.due > self.now + DAY;
                *key == endpoint
                    && delivery.state == State::Pending
                    && (delivery.due <= self.now || far)
            })
            .map(|((_, sequence), delivery)| (delivery.due, *sequence))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let claimed = self
            .store
            .claim_due(&EndpointKey::from(endpoint), limit as u32, self.now)
            .await
            .unwrap();
        let found: Vec<i64> = claimed.iter().map(|claimed| claimed.sequence).collect();
        assert_eq!(
            found,
            due.iter()
                .map(|(_, sequence)| *sequence)
                .collect::<Vec<_>>()
        );
        for (_, sequence) in due {
            self.deliveries
                .get_mut(&(endpoint, sequence))
                .unwrap()
                .state = State::Leased;
        }
        self.note_leases(claimed);
    }

    async fn settle(&mut self) {
        let many = self.random.random_range(0..6).min(self.leased.len());
        let mut settlements = Vec::new();
        for _ in 0..many {
            let (id, endpoint, sequence) = self
                .leased
                .swap_remove(self.random.random_range(0..self.leased.len()));
            let due = self.now + Duration::from_secs(self.random.random_range(0..200_000));
            let delivery = self.deliveries.get_mut(&(endpoint, sequence)).unwrap();
            let (outcome, state) = match self.random.random_range(0..10) {
                0..6 => (Settled::Delivered, State::Delivered),
                6..8 => {
                    let own_time = Duration::from_secs(1);
                    (
                        Settled::Retry {
                            aside: false,
                            due,
                            refusals: 1,
                            refused_since: None,
                            own_time,
                        },
                        State::Pending,
                    )
                }
                8 => (Settled::Returned { due }, State::Pending),
                _ => (
                    Settled::Dead {
                        reason: "chance".to_owned(),
                    },
                    State::Dead,
                ),
            };
            delivery.attempts += u32::from(!matches!(outcome, Settled::Returned { .. }));
            (delivery.state, delivery.due) = (state, due);
            let mut settlement = settled(id, outcome);
            settlement.at = self.now;
            settlements.push(settlement);
        }
        self.store.settle(settlements).await.unwrap();
    }

    async fn release(&mut self) {
        let endpoint = ENDPOINTS[self.random.random_range(0..ENDPOINTS.len())];
        let mut moved = 0;
        for ((key, _), delivery) in &mut self.deliveries {
            if *key == endpoint && delivery.state == State::Pending && delivery.due > self.now {
                delivery.due = self.now;
                moved += 1;
            }
        }
        assert_eq!(
            self.store
                .release_endpoint(&EndpointKey::from(endpoint), self.now)
                .await
                .unwrap(),
            moved
        );
    }

    async fn restart(&mut self, dir: &Path) {
        if self.random.random_bool(0.5) {
            self.store.close().await.unwrap();
        }
        // The old handle goes before the lock can be had.
        let old = std::mem::replace(&mut self.store, {
            let place = crate::support::dir();
            open(place.path()).await
        });
        drop(old);
        self.store = open(dir).await;
        for delivery in self
            .deliveries
            .values_mut()
            .filter(|delivery| delivery.state == State::Leased)
        {
            (delivery.state, delivery.due) = (State::Pending, Wall(0));
        }
        self.leased.clear();
        self.load().await;
    }

    /// Pruned events may be taken again; in these histories they are not.
    async fn prune(&mut self) {
        self.store.prune(self.now, DAY * 1000).await.unwrap();
    }

    async fn check(&self) {
        assert_sums_hold(&self.store).await;
        let count = |state| {
            self.deliveries
                .values()
                .filter(|delivery| delivery.state == state)
                .count() as u64
        };
        let sums = self.store.sums().await.unwrap();
        assert_eq!(sums.uids, self.events.len() as u64);
        assert_eq!(sums.event, self.events.len() as u64);
        assert_eq!(sums.pending, count(State::Pending) + count(State::Leased));
        assert_eq!(
            (sums.delivered, sums.dead),
            (count(State::Delivered), count(State::Dead))
        );
        for row in self.store.outbox().await.unwrap() {
            let of = |states: [State; 2]| {
                let all = self
                    .deliveries
                    .iter()
                    .filter(|((key, _), _)| *key == row.endpoint.as_str());
                all.filter(|(_, delivery)| states.contains(&delivery.state))
                    .count() as u64
            };
            assert_eq!(row.pending, of([State::Pending, State::Leased]));
            assert_eq!(row.delivered, of([State::Delivered, State::Delivered]));
        }
    }
}

#[tokio::test]
async fn random_histories_agree_with_the_model() {
    for seed in 0..8 {
        println!("seed {seed}");
        let dir = dir();
        let mut world = World::new(dir.path(), seed).await;
        for step in 0..200 {
            world.step(dir.path()).await;
            if step % 25 == 0 {
                world.check().await;
            }
        }
        world.check().await;
        world.store.close().await.unwrap();
    }
}
