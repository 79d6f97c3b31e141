//! Repair by operators: which deliveries an order means, and the orders themselves. What is meant is
//! looked up by a reader, so that a dry run and the order see the same; it is done by the writer in
//! bounded steps (`apply`), each of which looks again before it changes anything.

mod apply;
mod select;

use std::{collections::BTreeMap, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use postrider_core::{
    delivery::RetryPolicy,
    event::EventType,
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use uuid::Uuid;

use crate::{
    audit::{Act, Audit, Deed},
    model::{EventRow, Run, StoreError},
    rare::Rare,
    store::Store,
};
pub(crate) use apply::{Repair, Todo, perform};

/// Deliveries per step: some ten milliseconds of the writer's time.
const STEP: usize = 500;
/// Event ids that an order names.
const NAMED_MAX: usize = 1000;

/// Where a delivery stands, as operators name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryState {
    Pending,
    Delivered,
    Dead,
    Discarded,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

/// Which deliveries are meant. Every part narrows it; no states, or no ids, mean all of them.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub events: Vec<Uuid>,
    pub endpoints: Option<Vec<EndpointKey>>,
    pub mailbox: Option<MailboxKey>,
    pub states: Vec<DeliveryState>,
    /// Settled at or after this time; where it is not settled, stored.
    pub since: Option<Wall>,
    /// Settled, or stored, before this time.
    pub until: Option<Wall>,
}

/// Events that an endpoint was never owed.
#[derive(Clone, Debug)]
pub struct Never {
    pub endpoint: EndpointKey,
    /// The mailboxes that have the endpoint now.
    pub mailboxes: Vec<MailboxKey>,
    /// The types that it wants.
    pub types: Vec<EventType>,
    /// Stored at or after this time.
    pub since: Option<Wall>,
    /// Stored before this time.
    pub until: Option<Wall>,
    /// What the endpoint's condition says of an event.
    pub sift: Option<Sift>,
}

/// What a condition says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sifted {
    Meant,
    NotMeant,
    /// It could not be evaluated: meant, and marked.
    Unsure,
}

/// A condition on events, which the caller evaluates.
#[derive(Clone)]
pub struct Sift(pub Arc<dyn Fn(&EventRow) -> Sifted + Send + Sync>);

impl fmt::Debug for Sift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sift")
    }
}

/// Why an order was not begun.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("more than {0} deliveries are meant")]
    TooMany(i64),
    #[error(
        "{deliveries} deliveries at this rate take {lasts} s, and nothing may be due later than in {longest} s"
    )]
    TooSlow {
        deliveries: usize,
        lasts: u64,
        longest: u64,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be sent again, or for the first time.
#[derive(Clone, Debug)]
pub enum Replay {
    Again(Selection, Id),
    Never(Never),
}

/// Under which id an event is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    Same,
    /// For a receiver that remembers ids whose events it has lost.
    New,
}

/// What a replay did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Its number, by which it can be taken back; `None` where nothing was done.
    pub replay: Option<i64>,
    pub deliveries: u64,
    /// The first thousand of the events that they belong to.
    pub events: Vec<Uuid>,
    /// How many for each endpoint that has work now.
    pub endpoints: BTreeMap<EndpointKey, u64>,
    /// From the first to the last of them, where a rate was asked for.
    pub lasts: Duration,
}

/// What was given up, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    pub deliveries: u64,
    pub events: Vec<Uuid>,
    pub endpoints: BTreeMap<EndpointKey, u64>,
}

/// What of a replay was taken back, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// They are what they were before.
    pub taken_back: u64,
    /// They are being sent at this moment, and are not taken back.
    pub in_flight: u64,
    /// They were sent, or given up, before.
    pub over: u64,
}

/// When what is sent again is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// At most so many per second.
    pub rate: Option<NonZeroU32>,
    /// Not before this time.
    pub from: Option<Wall>,
}

/// An event at a place in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub event: Uuid,
    /// The message itself is kept.
    pub has_message: bool,
}

/// What was looked up: delivery (or event), endpoint, event; ascending. Of what was never owed the
/// second number says whether the condition could not be evaluated.
type Meant = Vec<(i64, i64, i64)>;

/// When the first is due, and how far apart they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    now: Wall,
    pace: Pace,
}

impl Spread {
    fn due(self, index: u64) -> Wall {
        let first = self.pace.from.unwrap_or(self.now);
        match self.pace.rate {
            None => first,
            Some(rate) => first + Duration::from_millis(index * 1000 / u64::from(rate.get())),
        }
    }
}

impl Store {
    /// Deliveries become pending again, marked as a replay; or events are owed to an endpoint that
    /// they were never owed to.
    pub async fn replay(
        &self,
        what: &Replay,
        pace: Pace,
        (act, selector): (&Act, &str),
        run: Run,
    ) -> Result<Replayed, RepairError> {
        let spread = Spread { now: act.at, pace };
        let meant = match what {
            Replay::Again(selection, _) => select::deliveries(self.readers(), selection).await?,
            Replay::Never(never) => select::never(self.readers(), never).await?,
        };
        let lasts = spread
            .due((meant.len() as u64).saturating_sub(1))
            .since(act.at);
        // Whatever is configured later must not take its end for a clock's jump.
        let longest = RetryPolicy::default().longest_wait();
        let longest = longest.min(self.due_ahead_max());
        if lasts > longest {
            return Err(RepairError::TooSlow {
                deliveries: meant.len(),
                lasts: lasts.as_secs(),
                longest: longest.as_secs(),
            });
        }
        let mut replayed = Replayed {
            events: select::named(self.readers(), &meant).await?,
            lasts,
            ..Replayed::default()
        };
        if run == Run::Dry {
            replayed.deliveries = meant.len() as u64;
            replayed.endpoints = match what {
                Replay::Again(..) => select::by_endpoint(self.readers(), &meant).await?,
                Replay::Never(never) => counted(&never.endpoint, meant.len() as u64),
            };
            return Ok(replayed);
        }
        let todo = |first, meant: &[(i64, i64, i64)]| match what {
            Replay::Again(selection, id) => Todo::Again {
                states: select::codes(&selection.states),
                id: *id,
                spread,
                first,
            },
            Replay::Never(never) => Todo::Owe {
                endpoint: never.endpoint.clone(),
                unsure: meant
                    .iter()
                    .filter(|one| one.1 != 0)
                    .map(|one| one.0)
                    .collect(),
                spread,
                first,
            },
        };
        let mut audit = Audit::new(act, Deed::Replay, selector);
        for (step, meant) in meant.chunks(STEP).enumerate() {
            let first = (step * STEP) as u64;
            let did = self
                .step((&mut audit, act), todo(first, meant), &ids(meant))
                .await?;
            replayed.replay = did.audit.or(replayed.replay);
            replayed.deliveries += did.count;
            add(&mut replayed.endpoints, did.by_endpoint);
        }
        Ok(replayed)
    }

    /// Pending and dead deliveries are given up; what is being sent is not.
    pub async fn discard(
        &self,
        selection: &Selection,
        (act, selector): (&Act, &str),
        run: Run,
    ) -> Result<Discarded, RepairError> {
        let meant = select::deliveries(self.readers(), selection).await?;
        let mut discarded = Discarded {
            events: select::named(self.readers(), &meant).await?,
            ..Discarded::default()
        };
        if run == Run::Dry {
            discarded.deliveries = meant.len() as u64;
            discarded.endpoints = select::by_endpoint(self.readers(), &meant).await?;
            return Ok(discarded);
        }
        let mut audit = Audit::new(act, Deed::Discard, selector);
        for ids in ids(&meant).chunks(STEP) {
            let todo = Todo::Discard {
                states: select::codes(&selection.states),
                now: act.at,
            };
            let did = self.step((&mut audit, act), todo, ids).await?;
            discarded.deliveries += did.count;
            add(&mut discarded.endpoints, did.by_endpoint);
        }
        Ok(discarded)
    }

    /// What a replay has not sent yet is again what it was before; `None`: there was no such replay.
    pub async fn cancel_replay(
        &self,
        replay: i64,
        act: &Act,
        run: Run,
    ) -> Result<Option<Cancelled>, StoreError> {
        let Some((total, in_flight, waiting)) = select::of_replay(self.readers(), replay).await?
        else {
            return Ok(None);
        };
        let mut cancelled = Cancelled {
            in_flight,
            ..Cancelled::default()
        };
        match run {
            Run::Dry => cancelled.taken_back = waiting.len() as u64,
            Run::Real => {
                let selector = format!("replay {replay}");
                let mut audit = Audit::new(act, Deed::CancelReplay, selector);
                for ids in waiting.chunks(STEP) {
                    let todo = Todo::Cancel {
                        replay,
                        now: act.at,
                    };
                    let did = self.step((&mut audit, act), todo, ids).await?;
                    cancelled.taken_back += did.count;
                }
            }
        }
        cancelled.over = total.saturating_sub(cancelled.taken_back + cancelled.in_flight);
        Ok(Some(cancelled))
    }

    /// Of these places of messages (`FOLDER/UIDVALIDITY/UID`), those that an event is stored of.
    pub async fn events_at(
        &self,
        mailbox: &MailboxKey,
        subjects: &[String],
    ) -> Result<BTreeMap<String, Found>, StoreError> {
        select::events_at(self.readers(), mailbox, subjects).await
    }

    async fn step(
        &self,
        (audit, act): (&mut Audit, &Act),
        todo: Todo,
        ids: &[i64],
    ) -> Result<crate::rare::Did, StoreError> {
        let order = Repair {
            todo,
            ids: ids.to_vec(),
            audit: audit.clone(),
            by: act.who.clone(),
        };
        let did = self.rare(Rare::Repair(Box::new(order))).await?;
        if let Some(id) = did.audit {
            *audit = Audit::Written(id);
        }
        Ok(did)
    }
}

fn ids(meant: &[(i64, i64, i64)]) -> Vec<i64> {
    meant.iter().map(|(id, ..)| *id).collect()
}

fn counted(endpoint: &EndpointKey, count: u64) -> BTreeMap<EndpointKey, u64> {
    let some = (count > 0).then(|| (endpoint.clone(), count));
    some.into_iter().collect()
}

fn add(all: &mut BTreeMap<EndpointKey, u64>, more: BTreeMap<EndpointKey, u64>) {
    for (endpoint, count) in more {
        *all.entry(endpoint).or_default() += count;
    }
}
