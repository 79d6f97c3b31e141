//! A lane's dealings with the store: outcomes go in, in groups, one group at a time; due
//! deliveries come out. What could not be stored is kept and tried again; until then the lane
//! starts no attempt.

use std::{future::pending, time::Duration};

use futures_util::future::BoxFuture;
use postrider_core::{
    backoff::{Backoff, Chance},
    delivery::order::OrderKey,
    ids::EndpointKey,
    time::{Monotonic, Wall},
};
use postrider_store::{Claimed, Settled, Settlement, Store, StoreError, Then};

use crate::clock;

/// Outcomes per call: the store's writer takes as many in one group.
const SETTLE_MAX: usize = 256;

/// A store that is full or busy is asked again soon: every outcome that waits holds a slot.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
    stable: Duration::ZERO,
};

type Stored = (Vec<Settlement>, Result<(), StoreError>);

/// What a claim brought.
pub(super) struct Claim {
    pub(super) wanted: usize,
    pub(super) released: bool,
    pub(super) unordered: bool,
    pub(super) claimed: Result<Vec<Claimed>, StoreError>,
    /// When the next delivery is due, where that was asked for.
    pub(super) next_due: Option<Result<Option<Wall>, StoreError>>,
}

/// What a lane asks for.
pub(super) struct Wish {
    pub(super) want: usize,
    /// First everything that waits becomes due.
    pub(super) release: bool,
    /// First nothing stands in a line any more.
    pub(super) unorder: bool,
    /// If fewer than wanted are due: ask when the next one is.
    pub(super) look_ahead: bool,
}

pub(super) struct Storage {
    store: Store,
    endpoint: EndpointKey,
    outcomes: Vec<Settlement>,
    settling: Option<BoxFuture<'static, Stored>>,
    settle_trouble: Trouble,
    claiming: Option<BoxFuture<'static, Claim>>,
    claim_trouble: Trouble,
}

#[derive(Clone, Copy, Default)]
struct Trouble {
    failures: u32,
    retry_at: Option<Monotonic>,
}

impl Trouble {
    fn again(&mut self, now: Monotonic, chance: Chance) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + RETRY.wait(self.failures, chance));
    }

    fn waits(&self, now: Monotonic) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }
}

/// What ended in the store.
pub(super) enum Ended {
    Settled(Vec<Settlement>),
    NotSettled(StoreError),
    Claimed(Claim),
}

impl Storage {
    pub(super) fn new(store: Store, endpoint: EndpointKey) -> Self {
        Self {
            store,
            endpoint,
            outcomes: Vec::new(),
            settling: None,
            settle_trouble: Trouble::default(),
            claiming: None,
            claim_trouble: Trouble::default(),
        }
    }

    pub(super) fn put(&mut self, settlement: Settlement) {
        self.outcomes.push(settlement);
    }

    /// A group of outcomes could not be stored: nothing may start that would add to them.
    pub(super) fn is_stuck(&self) -> bool {
        self.settle_trouble.failures > 0
    }

    /// All outcomes are durable.
    pub(super) fn is_settled(&self) -> bool {
        self.outcomes.is_empty() && self.settling.is_none()
    }

    pub(super) fn is_claiming(&self) -> bool {
        self.claiming.is_some()
    }

    /// Whether a claim makes sense now.
    pub(super) fn may_claim(&self, now: Monotonic) -> bool {
        self.claiming.is_none() && !self.is_stuck() && !self.claim_trouble.waits(now)
    }

    /// When something has to be tried again. A time that has passed was no reason to start then:
    /// something else holds it back, and ends that.
    pub(super) fn retry_at(&self, now: Monotonic) -> Option<Monotonic> {
        let settle = self
            .settle_trouble
            .retry_at
            .filter(|_| self.settling.is_none() && !self.outcomes.is_empty());
        let claim = self
            .claim_trouble
            .retry_at
            .filter(|_| self.claiming.is_none());
        settle.into_iter().chain(claim).filter(|at| *at > now).min()
    }

    /// Stores what has come together, unless that is being done.
    pub(super) fn settle(&mut self, now: Monotonic) {
        if self.settling.is_some() || self.outcomes.is_empty() || self.settle_trouble.waits(now) {
            return;
        }
        let group: Vec<Settlement> = self
            .outcomes
            .drain(..self.outcomes.len().min(SETTLE_MAX))
            .collect();
        let store = self.store.clone();
        self.settling = Some(Box::pin(async move {
            crate::die::at("settle-begun");
            let result = store.settle(group.clone()).await;
            crate::die::at("settle-stored");
            (group, result)
        }));
    }

    pub(super) fn claim(&mut self, wish: Wish, now: Wall) {
        let (store, endpoint) = (self.store.clone(), self.endpoint.clone());
        self.claiming = Some(Box::pin(async move {
            claim(&store, &endpoint, &wish, now).await
        }));
    }

    /// Waits for whatever ends first; for ever if nothing is under way. Safe to drop.
    pub(super) async fn ended(
        &mut self,
        now: impl Fn() -> Monotonic,
        chance: impl Fn() -> Chance,
    ) -> Ended {
        tokio::select! {
            (group, result) = done(&mut self.settling) => match result {
                Ok(()) => {
                    self.settle_trouble = Trouble::default();
                    Ended::Settled(group)
                }
                Err(error) => {
                    self.settle_trouble.again(now(), chance());
                    self.outcomes.splice(0..0, group);
                    Ended::NotSettled(error)
                }
            },
            claim = done(&mut self.claiming) => {
                let failed = claim.claimed.is_err() || matches!(claim.next_due, Some(Err(_)));
                if failed {
                    self.claim_trouble.again(now(), chance());
                } else {
                    self.claim_trouble = Trouble::default();
                }
                Ended::Claimed(claim)
            }
        }
    }
}

impl Storage {
    /// Stores what there is, however long the store takes nothing; what was claimed meanwhile is
    /// given back. An error is one after which the process cannot go on. Safe to drop.
    pub(super) async fn settle_all(
        &mut self,
        told: impl Fn(&StoreError),
    ) -> Result<(), StoreError> {
        while !self.is_settled() || self.is_claiming() {
            let now = clock::monotonic();
            self.settle(now);
            if self.settling.is_none() && self.claiming.is_none() {
                let until = self.retry_at(now).unwrap_or(now);
                tokio::time::sleep_until(clock::instant(until)).await;
                continue;
            }
            match self.ended(clock::monotonic, clock::chance).await {
                Ended::Settled(_) => {}
                Ended::NotSettled(error) => {
                    told(&error);
                    if let StoreError::Fatal(_) = error {
                        return Err(error);
                    }
                }
                Ended::Claimed(claim) => {
                    let now = clock::wall();
                    for claimed in claim.claimed.unwrap_or_default() {
                        self.put(returned(&claimed, now));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The result of the future in the slot, which is empty then. Dropped before, it goes on later.
async fn done<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let result = future.await;
            *slot = None;
            result
        }
        None => pending().await,
    }
}

async fn claim(store: &Store, endpoint: &EndpointKey, wish: &Wish, now: Wall) -> Claim {
    let failed = |error, released, unordered| Claim {
        wanted: wish.want,
        released,
        unordered,
        claimed: Err(error),
        next_due: None,
    };
    if wish.unorder
        && let Err(error) = store.unorder_endpoint(endpoint, now).await
    {
        return failed(error, false, false);
    }
    if wish.release
        && let Err(error) = store.release_endpoint(endpoint, now).await
    {
        return failed(error, false, wish.unorder);
    }
    let limit = u32::try_from(wish.want).unwrap_or(u32::MAX);
    let claimed = match store.claim_due(endpoint, limit, now).await {
        Ok(claimed) => claimed,
        Err(error) => return failed(error, wish.release, wish.unorder),
    };
    if !claimed.is_empty() {
        crate::die::at("claim-leased");
    }
    let next_due = if claimed.len() < wish.want && wish.look_ahead {
        let all = store.next_due(now).await;
        Some(all.map(|all| {
            all.into_iter()
                .find(|(key, _)| key == endpoint)
                .map(|(_, due)| due)
        }))
    } else {
        None
    };
    Claim {
        wanted: wish.want,
        released: wish.release,
        unordered: wish.unorder,
        claimed: Ok(claimed),
        next_due,
    }
}

/// A delivery given back as it was.
pub(super) fn returned(claimed: &Claimed, now: Wall) -> Settlement {
    given_back(claimed.delivery, claimed.order, now)
}

pub(super) fn given_back(delivery: i64, order: Option<OrderKey>, now: Wall) -> Settlement {
    Settlement {
        delivery,
        order,
        at: now,
        outcome: Settled::Returned { due: now },
        status: None,
        note: String::new(),
        took: Duration::ZERO,
        then: Then::Nothing,
    }
}
