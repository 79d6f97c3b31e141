//! When to ask for an access token, how long to use it, and when to stop believing in it.
//!
//! One [`Cache`] stands for one credential identity (authority, tenant, client, scope), whatever
//! the number of mailboxes that log in with it. It knows tokens by their [`Generation`] only: the
//! shell keeps the secret itself, makes the one request that the cache permits, and reports back.

use std::{collections::BTreeSet, time::Duration};

use crate::{backoff::Chance, ids::MailboxKey, time::Monotonic};

mod policy;

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;

pub use policy::{Failure, Life, TokenPolicy, retry_after, secret_order};

/// Which token (or password) a session logged in with; unique within a credential and process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What is wrong with a credential for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its token endpoint cannot be used.
    Outage,
    /// It was refused. An outage that follows does not lift this, only a token does.
    Refused,
}

/// Leave to make one request. Only its own result counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Flight {
    number: u64,
    purpose: Purpose,
}

impl Flight {
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
}

/// What a request is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A token is needed.
    Token,
    /// The token in use is good; a new secret is to be proven before it is relied on.
    Probe,
}

/// The answer to somebody who wants to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Use(Generation),
    /// A request is in flight or due: its result is everybody's.
    Wait,
    /// There is no token, and no request before `until`.
    Later {
        trouble: Trouble,
        until: Monotonic,
    },
}

/// What a token that arrived means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    Token {
        generation: Generation,
        recovered: Option<Trouble>,
    },
    /// It belongs to a request that counts no more.
    Stale,
}

/// What a failed request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The trouble is new, or worse than before.
    Began(Trouble),
    Continues(Trouble),
    /// A new secret was not accepted. The token in use, and what gave it, stay.
    Kept,
    Stale,
}

/// What a mail server's refusal of a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token stays: the refusal speaks of the mailbox as far as one can tell.
    Kept,
    /// Two mailboxes that had logged in with it were refused.
    DroppedProven,
    /// Nobody had logged in with it yet.
    DroppedUnproven,
    /// It was another token than the one in use.
    Stale,
}

/// What an operator's order of a new token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The next request is due as soon as the endpoint may be asked.
    Ordered,
    /// There was one a moment ago: not before `until`.
    TooSoon { until: Monotonic },
}

#[derive(Debug)]
struct Held {
    generation: Generation,
    life: Life,
    /// Mailboxes that logged in with this token: any of them proves it.
    accepted: BTreeSet<MailboxKey>,
    /// Those of them that were refused since.
    refused: BTreeSet<MailboxKey>,
}

#[derive(Debug)]
struct Ongoing {
    trouble: Trouble,
    failures: u32,
    retry_at: Monotonic,
}

#[derive(Debug)]
enum Request {
    None,
    InFlight(u64, Purpose),
    /// In flight, made with a secret that has changed since.
    Outdated(u64, Purpose),
}

/// Whether a new secret waits to be proven while a token is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    Wanted,
}

/// Whether anybody has asked since the last token came.
#[derive(Debug)]
enum Demand {
    None,
    Somebody,
}

/// The token of one credential identity.
#[derive(Debug)]
pub struct Cache {
    policy: TokenPolicy,
    held: Option<Held>,
    request: Request,
    trouble: Option<Ongoing>,
    demand: Demand,
    probe: Probe,
    flights: u64,
    generations: u64,
    unproven_dropped_at: Option<Monotonic>,
    renewed_at: Option<Monotonic>,
}

impl Cache {
    pub fn new(policy: TokenPolicy) -> Self {
        Self {
            policy,
            held: None,
            request: Request::None,
            trouble: None,
            demand: Demand::None,
            probe: Probe::None,
            flights: 0,
            generations: 0,
            unproven_dropped_at: None,
            renewed_at: None,
        }
    }

    /// Somebody wants to log in.
    pub fn ask(&mut self, now: Monotonic) -> Ask {
        self.demand = Demand::Somebody;
        let usable = self
            .held
            .as_ref()
            .filter(|held| now < held.life.usable_until)
            .map(|held| held.generation);
        match (usable, &self.trouble) {
            // While the endpoint has an outage, or refuses, the old token is as good as ever.
            (Some(generation), Some(_)) => Ask::Use(generation),
            // A newer one is on its way: a session that starts with it lives longer.
            (Some(generation), None) => {
                if self.coming(now) {
                    Ask::Wait
                } else {
                    Ask::Use(generation)
                }
            }
            (None, Some(ongoing)) if !self.coming(now) && !self.in_flight() => Ask::Later {
                trouble: ongoing.trouble,
                until: ongoing.retry_at,
            },
            (None, Some(_) | None) => Ask::Wait,
        }
    }

    /// When the next request is due; `None` while one is in flight or nobody uses this credential.
    pub fn due_at(&self) -> Option<Monotonic> {
        match self.request {
            Request::InFlight(..) | Request::Outdated(..) => None,
            Request::None => self.token_due_at().into_iter().chain(self.probe_at()).min(),
        }
    }

    fn token_due_at(&self) -> Option<Monotonic> {
        match self.demand {
            Demand::None => None,
            Demand::Somebody => {
                let needed = self
                    .held
                    .as_ref()
                    .map_or(Monotonic(0), |held| held.life.refresh_at);
                Some(needed.max(self.allowed_at()))
            }
        }
    }

    fn probe_at(&self) -> Option<Monotonic> {
        match (self.probe, &self.held) {
            (Probe::Wanted, Some(_)) => Some(self.allowed_at()),
            (Probe::Wanted, None) | (Probe::None, _) => None,
        }
    }

    fn allowed_at(&self) -> Monotonic {
        self.trouble
            .as_ref()
            .map_or(Monotonic(0), |ongoing| ongoing.retry_at)
    }

    /// Leave for the one request, if it is due.
    pub fn start(&mut self, now: Monotonic) -> Option<Flight> {
        let due = self.due_at()?;
        let purpose = match self.token_due_at() {
            Some(at) if at <= now => Purpose::Token,
            Some(_) | None => Purpose::Probe,
        };
        (due <= now).then(|| {
            self.flights += 1;
            self.request = Request::InFlight(self.flights, purpose);
            Flight {
                number: self.flights,
                purpose,
            }
        })
    }

    /// The request gave a token. `requested_at` is from before it was sent.
    pub fn granted(
        &mut self,
        flight: &Flight,
        requested_at: Monotonic,
        expires_in: Duration,
        refresh_in: Option<Duration>,
        chance: Chance,
    ) -> Granted {
        let Landed::Counts = self.land(flight) else {
            return Granted::Stale;
        };
        self.generations += 1;
        let generation = Generation(self.generations);
        self.held = Some(Held {
            generation,
            life: self
                .policy
                .life(requested_at, expires_in, refresh_in, chance),
            accepted: BTreeSet::new(),
            refused: BTreeSet::new(),
        });
        self.demand = Demand::None;
        self.probe = Probe::None;
        Granted::Token {
            generation,
            recovered: self.trouble.take().map(|ongoing| ongoing.trouble),
        }
    }

    /// The request gave none. The token in use stays in use.
    pub fn failed(
        &mut self,
        flight: &Flight,
        failure: Failure,
        now: Monotonic,
        chance: Chance,
    ) -> Failed {
        let trouble = match (self.land(flight), failure) {
            // What the endpoint said of an older secret means nothing for the newer one.
            (Landed::Unknown, _) | (Landed::Outdated, Failure::Refused | Failure::Unsettled) => {
                return Failed::Stale;
            }
            (Landed::Counts, Failure::Refused | Failure::Unsettled)
                if self.is_probe_of_held(flight) =>
            {
                self.probe = Probe::None;
                return Failed::Kept;
            }
            (Landed::Counts, Failure::Refused | Failure::Unsettled) => Trouble::Refused,
            // An outage is the endpoint's, whichever secret met it.
            (
                Landed::Counts | Landed::Outdated,
                Failure::Outage { .. } | Failure::Throttled { .. },
            ) => Trouble::Outage,
        };
        let before = self.trouble.take();
        let (failed, failures) = match before.as_ref().map(|old| (old.trouble, trouble)) {
            None => (Failed::Began(trouble), 1),
            Some((Trouble::Outage, Trouble::Refused)) => (Failed::Began(Trouble::Refused), 1),
            Some((old @ Trouble::Refused, Trouble::Outage)) => (Failed::Continues(old), 1),
            Some((old, _)) => {
                let failures = before
                    .as_ref()
                    .map_or(0, |old| old.failures)
                    .saturating_add(1);
                (Failed::Continues(old), failures)
            }
        };
        let trouble = match failed {
            Failed::Began(trouble) | Failed::Continues(trouble) => trouble,
            Failed::Kept | Failed::Stale => return failed,
        };
        self.trouble = Some(Ongoing {
            trouble,
            failures,
            retry_at: now + self.policy.wait(failure, failures, chance),
        });
        failed
    }

    /// The secret was replaced: it is proven at once where anybody uses the credential. The token
    /// in use stays in use, whatever comes of it.
    pub fn secret_changed(&mut self) {
        if let Request::InFlight(number, purpose) = self.request {
            self.request = Request::Outdated(number, purpose);
        }
        self.probe = Probe::Wanted;
        if let Some(ongoing) = &mut self.trouble {
            self.demand = Demand::Somebody;
            match ongoing.trouble {
                Trouble::Refused => {
                    ongoing.retry_at = Monotonic(0);
                    ongoing.failures = 0;
                }
                // The endpoint's wish for slowness has nothing to do with the secret.
                Trouble::Outage => {}
            }
        }
    }

    /// An operator knows that a new token would say more: consent was granted for instance. Whoever
    /// logs in from now on waits for it; the one in use serves again only where none comes.
    pub fn renew(&mut self, now: Monotonic) -> Renewal {
        let until = self.renewed_at.map(|last| last + self.policy.renew_every);
        if let Some(until) = until.filter(|until| now < *until) {
            return Renewal::TooSoon { until };
        }
        self.renewed_at = Some(now);
        self.demand = Demand::Somebody;
        if let Some(held) = &mut self.held {
            held.life.refresh_at = held.life.refresh_at.min(now);
        }
        if let Some(ongoing) = &mut self.trouble {
            match ongoing.trouble {
                Trouble::Refused => ongoing.retry_at = ongoing.retry_at.min(now),
                // The endpoint's wish for slowness goes before an operator's haste.
                Trouble::Outage => {}
            }
        }
        Renewal::Ordered
    }

    /// A mailbox logged in with this token, which proves it.
    pub fn accepted(&mut self, mailbox: &MailboxKey, generation: Generation) {
        if let Some(held) = self
            .held
            .as_mut()
            .filter(|held| held.generation == generation)
        {
            held.refused.remove(mailbox);
            held.accepted.insert(mailbox.clone());
        }
    }

    /// A mail server refused this token for this mailbox. Exchange Online gives the same answer to
    /// a missing mailbox permission as to a bad token, so one mailbox's word is not enough.
    pub fn refused(
        &mut self,
        mailbox: &MailboxKey,
        generation: Generation,
        now: Monotonic,
    ) -> Refusal {
        let Some(held) = self
            .held
            .as_mut()
            .filter(|held| held.generation == generation)
        else {
            return Refusal::Stale;
        };
        let refusal = if held.accepted.is_empty() {
            match self.unproven_dropped_at {
                Some(last) if now - last < self.policy.drop_unproven_every => Refusal::Kept,
                Some(_) | None => Refusal::DroppedUnproven,
            }
        } else if held.accepted.contains(mailbox) {
            held.refused.insert(mailbox.clone());
            if held.refused.len() >= 2 {
                Refusal::DroppedProven
            } else {
                Refusal::Kept
            }
        } else {
            Refusal::Kept
        };
        match refusal {
            Refusal::Kept | Refusal::Stale => {}
            Refusal::DroppedUnproven => {
                self.unproven_dropped_at = Some(now);
                self.held = None;
            }
            Refusal::DroppedProven => self.held = None,
        }
        refusal
    }

    /// The token in use and its life.
    pub fn held(&self) -> Option<(Generation, Life)> {
        self.held.as_ref().map(|held| (held.generation, held.life))
    }

    /// What is wrong, and when the next request may be made.
    pub fn trouble(&self) -> Option<(Trouble, Monotonic)> {
        self.trouble
            .as_ref()
            .map(|ongoing| (ongoing.trouble, ongoing.retry_at))
    }

    fn in_flight(&self) -> bool {
        match self.request {
            Request::InFlight(..) | Request::Outdated(..) => true,
            Request::None => false,
        }
    }

    /// A token is on its way; a probe is not waited for.
    fn coming(&self, now: Monotonic) -> bool {
        match self.request {
            Request::InFlight(_, Purpose::Token) | Request::Outdated(_, Purpose::Token) => true,
            Request::InFlight(_, Purpose::Probe) | Request::Outdated(_, Purpose::Probe) => false,
            Request::None => self.token_due_at().is_some_and(|due| due <= now),
        }
    }

    /// The token may have been dropped meanwhile: then everybody waits for what the probe gives.
    fn is_probe_of_held(&self, flight: &Flight) -> bool {
        match flight.purpose {
            Purpose::Probe => self.held.is_some(),
            Purpose::Token => false,
        }
    }

    fn land(&mut self, flight: &Flight) -> Landed {
        let landed = match self.request {
            Request::InFlight(number, _) if number == flight.number => Landed::Counts,
            Request::Outdated(number, _) if number == flight.number => Landed::Outdated,
            Request::InFlight(..) | Request::Outdated(..) | Request::None => {
                return Landed::Unknown;
            }
        };
        self.request = Request::None;
        landed
    }
}

enum Landed {
    Counts,
    /// The secret changed while it was in flight.
    Outdated,
    Unknown,
}
