//! Who asked for what, when, and what came of it: what tests count requests with.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// Requests that are remembered one by one; the sums go on.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounters {
    pub requests: u64,
    pub issued: u64,
    /// Requests refused for their own sake (400, 401, …).
    pub refused: u64,
    /// Requests that met a trouble other than `Slow`, or their answer did.
    pub troubled: u64,
    /// The most requests that were there at the same time.
    pub in_flight_max: u64,
}

/// What a request wants, and by what proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantKind {
    ClientSecret,
    Certificate,
    Federated,
    ManagedIdentity,
    ServiceAccount,
    RefreshToken,
    AuthorizationCode,
    /// A poll of the device flow.
    DeviceCode,
    /// The device flow's beginning.
    DeviceStart,
    /// A browser's visit.
    Authorize,
    Unknown,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it came.
    pub at: Instant,
    pub client_id: String,
    pub kind: GrantKind,
    /// For whom a service account asked.
    pub subject: Option<String>,
    /// The answer's status; nothing where there was no answer.
    pub status: Option<u16>,
}

/// The sums for one identity and one way to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    /// Answered with 200.
    pub answered: u64,
}

#[derive(Default)]
pub(super) struct Book {
    pub(super) counters: TokenCounters,
    in_flight: u64,
    tallies: HashMap<(String, GrantKind), Tally>,
    asked: VecDeque<Asked>,
}

impl Book {
    pub(super) fn begin(&mut self) {
        self.in_flight += 1;
        self.counters.requests += 1;
        self.counters.in_flight_max = self.counters.in_flight_max.max(self.in_flight);
    }

    pub(super) fn end(&mut self, asked: Asked) {
        self.in_flight -= 1;
        let key = (asked.client_id.clone(), asked.kind);
        let tally = self.tallies.entry(key).or_default();
        tally.requests += 1;
        tally.answered += u64::from(asked.status == Some(200));
        if self.asked.len() == REMEMBERED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(asked);
    }

    pub(super) fn tally(&self, client_id: &str, kind: GrantKind) -> Tally {
        let key = (client_id.to_owned(), kind);
        self.tallies.get(&key).copied().unwrap_or_default()
    }

    pub(super) fn asked(&self, client_id: &str) -> Vec<Asked> {
        let of = self.asked.iter().filter(|one| one.client_id == client_id);
        of.cloned().collect()
    }
}
