//! What becomes of a message that is held against a sieve, by its facts alone.

use std::time::Duration;

use super::{Known, Policy, Reason, Release, Start};
use crate::{
    cursor::{Break, Released, Sieve},
    fingerprint::Fingerprint,
    ids::Uid,
    time::Wall,
    watch::Facts,
};

/// How far a server's clock may be off where INTERNALDATE is held against our own time.
const SKEW: Duration = Duration::from_secs(10 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sifted {
    Known,
    Skip(Reason),
    Send(Age),
}

/// How old a message that nothing is known of is, measured by the last proven sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Recent,
    /// Many of these are a flood.
    Old,
}

/// What else a message is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) policy: &'a Policy,
    pub(super) first_sight: Option<Wall>,
    pub(super) last_proven: Option<Wall>,
}

/// How often each fingerprint may still be matched.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches(Vec<(Fingerprint, u32)>);

impl Matches {
    pub(super) fn new(known: Known) -> Self {
        let mut matches = known.matches;
        matches.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
        Self(matches)
    }

    pub(super) fn count(&self, fingerprint: Fingerprint) -> u32 {
        self.0
            .binary_search_by_key(&fingerprint, |(known, _)| *known)
            .ok()
            .and_then(|index| self.0.get(index))
            .map_or(0, |(_, count)| *count)
    }

    /// Uses one match up, if there is one.
    pub(super) fn take(&mut self, fingerprint: Fingerprint) -> bool {
        let found = self
            .0
            .binary_search_by_key(&fingerprint, |(known, _)| *known)
            .ok()
            .and_then(|index| self.0.get_mut(index));
        match found {
            Some((_, count)) if *count > 0 => {
                *count -= 1;
                true
            }
            Some(_) | None => false,
        }
    }
}

impl Rules<'_> {
    /// Judges a message that the ledger does not know.
    pub(super) fn sift(&self, sieve: Option<&Sieve>, uid: Uid, facts: Facts) -> Sifted {
        match sieve {
            None | Some(Sieve::Over(_) | Sieve::Anew) => Sifted::Send(Age::Recent),
            Some(Sieve::Start { since }) => {
                if facts.internal_date.is_some_and(|date| date < *since) {
                    Sifted::Skip(Reason::BeforeStart)
                } else {
                    Sifted::Send(Age::Recent)
                }
            }
            Some(Sieve::Break(broken)) => self.sift_broken(broken, uid, facts.internal_date),
        }
    }

    fn sift_broken(&self, broken: &Break, uid: Uid, date: Option<Wall>) -> Sifted {
        if date.is_some_and(|date| self.is_before_start(date)) {
            return Sifted::Skip(Reason::BeforeStart);
        }
        if let Some(word) = word_on(broken, uid) {
            return match word {
                Release::Send => Sifted::Send(Age::Recent),
                Release::Skip => Sifted::Skip(Reason::Held),
                // A message without a usable date is sent rather than swallowed.
                Release::Since(since) if date.is_some_and(|date| date < since) => {
                    Sifted::Skip(Reason::Held)
                }
                Release::Since(_) => Sifted::Send(Age::Recent),
            };
        }
        // Up to its first sight a folder needs no proof.
        let proven = self.last_proven.max(self.first_sight);
        let proven = proven.map(|at| at - self.policy.flood_age);
        match (date, proven) {
            (Some(date), Some(proven)) if date >= proven => Sifted::Send(Age::Recent),
            (_, _) => Sifted::Send(Age::Old),
        }
    }

    fn is_before_start(&self, date: Wall) -> bool {
        match self.policy.start {
            Start::New => self.first_sight.is_some_and(|seen| date < seen - SKEW),
            Start::Since(since) => date < since,
            Start::All => false,
        }
    }
}

/// What the operator said about this UID.
pub(super) fn word_on(broken: &Break, uid: Uid) -> Option<Release> {
    match broken.released {
        Some(Released {
            release,
            until: Some(until),
        }) if uid <= until => Some(release),
        Some(_) | None => None,
    }
}
