//! Turns what callers want stored into rows. Pure: it reads the writer's memory, and answers with
//! rows, the memory as it will be, and a result for each caller.

use std::collections::{BTreeMap, HashMap, HashSet};

use postrider_core::{
    cursor::{Cursor, Epoch},
    delivery::order::OrderKey,
    fingerprint::Fingerprint,
    ids::{EndpointKey, MailboxKey, Uid, WatchKey},
    time::Wall,
    watch::{Entry, Hold, ItemKey, Outcome},
};
use uuid::Uuid;

use crate::{
    codec,
    model::{
        Account, Claimed, Commit, LedgerFacts, NewEvent, Ordered, Receipt, Settlement, StoreError,
    },
    rows::Batch,
    shapes,
    state::{EndpointState, Ids, State, WatchState},
    twins::Twins,
};

mod events;
mod settle;

pub(crate) use events::GENERATIONS_MAX;

#[derive(Debug)]
pub(crate) enum Work {
    Commit(Box<Commit>),
    Event(Box<NewEvent>, Wall),
    Settle(Vec<Settlement>),
    Claim {
        endpoint: EndpointKey,
        limit: u32,
        now: Wall,
    },
    /// The mailbox is known from now on, under this account if it was not known before.
    Ensure {
        mailbox: MailboxKey,
        account: Account,
        now: Wall,
    },
}

impl Work {
    /// What it wants stored.
    pub(crate) fn events(&self) -> &[NewEvent] {
        match self {
            Self::Commit(commit) => &commit.events,
            Self::Event(event, _) => std::slice::from_ref(&**event),
            Self::Settle(_) | Self::Claim { .. } | Self::Ensure { .. } => &[],
        }
    }
}

#[derive(Debug)]
pub(crate) enum Answer {
    Receipt(Receipt),
    Claimed(Vec<Claimed>),
    Done,
}

/// What is in the database already of what a group wants to insert. Looked up only after a
/// constraint was violated: normally nothing is there.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) events: HashMap<Uuid, Option<Fingerprint>>,
    pub(crate) ledger: HashMap<(i64, Epoch, Uid), LedgerSeen>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LedgerSeen {
    pub(crate) outcome: i64,
    pub(crate) fingerprint: Option<Fingerprint>,
}

#[derive(Debug)]
struct WatchChange {
    state: WatchState,
    cursor: Cursor,
    hold: Option<Hold>,
    proven: Option<Wall>,
    uids: i64,
    deliveries: i64,
}

/// The rows of one group, and what the memory becomes when they are durable.
pub(crate) struct Plan<'a> {
    state: &'a State,
    seen: Seen,
    pub(crate) batch: Batch,
    watches: HashMap<WatchKey, WatchChange>,
    mailboxes: HashMap<MailboxKey, i64>,
    mailbox_deliveries: HashMap<i64, i64>,
    endpoints: HashMap<EndpointKey, EndpointState>,
    /// Lines (endpoint and key) in which somebody waits already.
    lines: HashSet<(i64, OrderKey)>,
    twins: Twins,
    ids: Ids,
}

/// The changed part of the memory.
pub(crate) struct Changed {
    watches: HashMap<WatchKey, WatchState>,
    mailboxes: HashMap<MailboxKey, i64>,
    endpoints: HashMap<EndpointKey, EndpointState>,
    ids: Ids,
}

impl State {
    pub(crate) fn merge(&mut self, changed: Changed) {
        self.watches.extend(changed.watches);
        self.mailboxes.extend(changed.mailboxes);
        self.endpoints.extend(changed.endpoints);
        self.ids = changed.ids;
    }
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        state: &'a State,
        seen: Seen,
        lines: HashSet<(i64, OrderKey)>,
        twins: Twins,
    ) -> Self {
        Self {
            state,
            seen,
            batch: Batch::new(&shapes::ORDER),
            watches: HashMap::new(),
            mailboxes: HashMap::new(),
            mailbox_deliveries: HashMap::new(),
            endpoints: HashMap::new(),
            lines,
            twins,
            ids: state.ids,
        }
    }

    /// Adds one caller's rows. An error leaves no row behind.
    pub(crate) fn add(&mut self, work: &Work, claimed: Vec<Claimed>) -> Result<Answer, StoreError> {
        match work {
            Work::Commit(commit) => self.commit(commit).map(Answer::Receipt),
            Work::Event(event, now) => self.system_event(event, *now).map(Answer::Receipt),
            Work::Settle(settlements) => {
                self.settle(settlements);
                Ok(Answer::Done)
            }
            Work::Claim { .. } => {
                for delivery in &claimed {
                    let row = [delivery.delivery.into(), self.state.run.into()];
                    self.batch.push(&shapes::DELIVERY_LEASE, row);
                }
                Ok(Answer::Claimed(claimed))
            }
            Work::Ensure {
                mailbox,
                account,
                now,
            } => {
                self.ensure(mailbox, account, *now);
                Ok(Answer::Done)
            }
        }
    }

    /// The rows of what was touched several times come once, at the end.
    pub(crate) fn finish(mut self) -> (Batch, Changed) {
        for change in self.watches.values() {
            let cursor = &change.cursor;
            self.batch.push(
                &shapes::WATCH_SET,
                [
                    change.state.id.into(),
                    cursor.uid_validity.0.into(),
                    cursor.epoch.0.into(),
                    cursor.last.map(Uid::get).into(),
                    cursor.floor.map(Uid::get).into(),
                    codec::gaps(cursor).into(),
                    cursor.anchor.map(|(uid, _)| uid.get()).into(),
                    cursor
                        .anchor
                        .as_ref()
                        .map(|(_, print)| print.0.as_slice())
                        .into(),
                    cursor.sieve.as_ref().map(ToString::to_string).into(),
                    codec::suspects(&change.state.suspects).into(),
                    change.hold.as_ref().map(codec::hold).into(),
                    change.proven.map(|at| at.0).into(),
                    change.uids.into(),
                    change.deliveries.into(),
                ],
            );
        }
        for endpoint in self.endpoints.values() {
            self.batch.push(
                &shapes::ENDPOINT_SEQUENCE,
                [endpoint.id.into(), endpoint.sequence.into()],
            );
        }
        for (mailbox, deliveries) in &self.mailbox_deliveries {
            self.batch.push(
                &shapes::MAILBOX_COUNT,
                [(*mailbox).into(), (*deliveries).into()],
            );
        }
        let changed = Changed {
            watches: self
                .watches
                .into_iter()
                .map(|(key, change)| (key, change.state))
                .collect(),
            mailboxes: self.mailboxes,
            endpoints: self.endpoints,
            ids: self.ids,
        };
        (self.batch, changed)
    }

    fn mailbox(&self, key: &MailboxKey) -> Result<i64, StoreError> {
        self.mailboxes
            .get(key)
            .or_else(|| self.state.mailboxes.get(key))
            .copied()
            .ok_or_else(|| StoreError::Other(format!("mailbox {key} was never loaded")))
    }

    fn ensure(&mut self, key: &MailboxKey, account: &Account, now: Wall) {
        if self.mailbox(key).is_ok() {
            return;
        }
        self.ids.mailbox += 1;
        let id = self.ids.mailbox;
        let row = [
            id.into(),
            key.as_str().into(),
            account.server.as_str().into(),
            account.username.as_str().into(),
            now.0.into(),
        ];
        self.batch.push(&shapes::MAILBOX_NEW, row);
        self.mailboxes.insert(key.clone(), id);
    }

    fn commit(&mut self, commit: &Commit) -> Result<Receipt, StoreError> {
        let mailbox = self.mailbox(&commit.watch.mailbox)?;
        for event in &commit.events {
            self.check(event)?;
        }
        let mut change = self.open_watch(commit, mailbox);
        if change.state.epoch.replace(commit.entry.cursor.epoch) != Some(commit.entry.cursor.epoch)
        {
            change.state.suspects.clear();
        }
        change.cursor = commit.entry.cursor.clone();
        change.hold = commit.entry.hold.clone();
        if commit.entry.proven {
            change.proven = Some(commit.now);
        }
        let facts: HashMap<ItemKey, &LedgerFacts> = commit
            .facts
            .iter()
            .map(|facts| (facts.key, facts))
            .collect();
        for (key, outcome) in &commit.entry.outcomes {
            let ItemKey::Uid(uid) = *key;
            if let Outcome::Suspect { tries } = outcome {
                change.state.suspects.insert(uid, *tries);
            } else {
                change.state.suspects.remove(&uid);
                self.ledger(&mut change, commit, uid, *outcome, facts.get(key).copied());
            }
        }
        // Others without tries were marked before a reading that has ended well.
        let (gaps, outcomes) = (&change.cursor.gaps, &commit.entry.outcomes);
        change.state.suspects.retain(|uid, tries| {
            let is_named = || outcomes.iter().any(|(key, _)| *key == ItemKey::Uid(*uid));
            *tries > 0 || gaps.contains(uid) || is_named()
        });
        for (key, spool) in &commit.quarantined {
            let ItemKey::Uid(uid) = *key;
            let epoch = change.cursor.epoch.0;
            let row = [
                change.state.id.into(),
                epoch.into(),
                uid.get().into(),
                spool.0.as_str().into(),
                commit.now.0.into(),
            ];
            self.batch.push(&shapes::QUARANTINE_NEW, row);
        }
        if let Some(Ordered {
            act,
            deed,
            selector,
        }) = &commit.ordered
        {
            let row = [
                act.at.0.into(),
                act.who.as_str().into(),
                act.through.as_str().into(),
                deed.as_str().into(),
                selector.as_str().into(),
                1_i64.into(),
                act.why.as_deref().into(),
            ];
            self.batch.push(&shapes::AUDIT_NEW, row);
        }
        let mut receipt = Receipt::default();
        for event in &commit.events {
            change.deliveries += self.event(event, commit.now, &mut receipt)?;
        }
        self.watches.insert(commit.watch.clone(), change);
        Ok(receipt)
    }

    fn open_watch(&mut self, commit: &Commit, mailbox: i64) -> WatchChange {
        if let Some(change) = self.watches.remove(&commit.watch) {
            return change;
        }
        let Entry { cursor, hold, .. } = &commit.entry;
        let (cursor, hold) = (cursor.clone(), hold.clone());
        let change = |state| WatchChange {
            state,
            cursor,
            hold,
            proven: None,
            uids: 0,
            deliveries: 0,
        };
        if let Some(state) = self.state.watches.get(&commit.watch) {
            return change(state.clone());
        }
        self.ids.watch += 1;
        let state = WatchState {
            id: self.ids.watch,
            epoch: None,
            suspects: BTreeMap::new(),
        };
        let row = [
            state.id.into(),
            mailbox.into(),
            commit.watch.folder.as_str().into(),
            commit.now.0.into(),
        ];
        self.batch.push(&shapes::WATCH_NEW, row);
        change(state)
    }

    fn ledger(
        &mut self,
        change: &mut WatchChange,
        commit: &Commit,
        uid: Uid,
        outcome: Outcome,
        facts: Option<&LedgerFacts>,
    ) {
        let Some((code, reason)) = codec::outcome(outcome) else {
            return;
        };
        let fingerprint = facts.map(|facts| facts.fingerprint);
        let place = (change.state.id, change.cursor.epoch, uid);
        let shape = match self.seen.ledger.get(&place) {
            None => {
                // What the audit found missing was counted when it was taken; its row was lost.
                if commit.found_by != crate::model::FoundBy::Audit {
                    change.uids += 1;
                }
                &shapes::LEDGER_NEW
            }
            Some(seen) if replaces(seen, code, fingerprint) => &shapes::LEDGER_SET,
            Some(_) => return,
        };
        self.seen.ledger.insert(
            place,
            LedgerSeen {
                outcome: code,
                fingerprint,
            },
        );
        let row = [
            place.0.into(),
            place.1.0.into(),
            uid.get().into(),
            code.into(),
            reason.into(),
            codec::found_by(commit.found_by).into(),
            commit.now.0.into(),
            facts
                .and_then(|facts| facts.internal_date)
                .map(|at| at.0)
                .into(),
            fingerprint
                .as_ref()
                .map(|fingerprint| fingerprint.0.as_slice())
                .into(),
        ];
        self.batch.push(shape, row);
    }
}

/// A better answer replaces a worse one for the same UID; an event is never taken back.
fn replaces(seen: &LedgerSeen, outcome: i64, fingerprint: Option<Fingerprint>) -> bool {
    let better = outcome < seen.outcome;
    let other = fingerprint.is_some() && seen.fingerprint != fingerprint;
    better || (other && outcome == seen.outcome)
}
