//! What a server knows of its sessions: who is there, what was counted, which levers are set, and
//! what a client did that it must never do.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::levers::{Goodbye, Levers, Scope};
use crate::sync::lock;

/// Commands kept when recording is on; older ones go first.
const RECORDED_MAX: usize = 50_000;
/// Logins kept; older ones go first.
const ATTEMPTS_MAX: usize = 10_000;

/// Something that would change a mailbox, or would show a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `None` before a login.
    pub user: Option<String>,
    /// The command without its secrets, such as `SELECT INBOX`.
    pub command: String,
    pub why: &'static str,
}

/// What happened so far, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted (for a user: sessions logged in).
    pub connections: u64,
    /// Connections open now (for a user: logged in now).
    pub sessions: usize,
    /// Sessions in IDLE now.
    pub idle: usize,
    pub logins: u64,
    pub logins_refused: u64,
    pub commands: u64,
    /// Commands and logins that were answered with a throttle.
    pub throttled: u64,
    /// EXISTS lines sent in IDLE.
    pub announcements: u64,
}

/// One try to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAttempt {
    pub user: String,
    pub at: Instant,
    pub accepted: bool,
}

/// One session, as the server sees it from outside.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// The session is to look around: mail, levers, orders or its token have changed.
    pub(crate) notify: Arc<Notify>,
    /// Ends the session without a word.
    pub(crate) cancel: CancellationToken,
    pub(crate) goodbye: Mutex<Option<Goodbye>>,
}

#[derive(Default)]
pub(crate) struct Board {
    levers: Levers,
    domain_levers: HashMap<String, Levers>,
    user_levers: HashMap<String, Levers>,
    counters: Counters,
    user_counters: HashMap<String, Counters>,
    sessions: HashMap<u64, (Arc<Entry>, Option<String>)>,
    next_id: u64,
    pub(crate) violations: Vec<Violation>,
    pub(crate) recorded: VecDeque<(Option<String>, String)>,
    pub(crate) attempts: VecDeque<LoginAttempt>,
}

impl Board {
    pub(crate) fn register(&mut self, cancel: CancellationToken) -> Arc<Entry> {
        self.next_id += 1;
        let entry = Arc::new(Entry {
            id: self.next_id,
            notify: Arc::new(Notify::new()),
            cancel,
            goodbye: Mutex::new(None),
        });
        self.sessions.insert(entry.id, (Arc::clone(&entry), None));
        self.counters.connections += 1;
        self.counters.sessions += 1;
        entry
    }

    pub(crate) fn leave(&mut self, id: u64, idling: bool) {
        let Some((_, user)) = self.sessions.remove(&id) else {
            return;
        };
        self.count(user.as_deref(), |counters| {
            counters.sessions = counters.sessions.saturating_sub(1);
            if idling {
                counters.idle = counters.idle.saturating_sub(1);
            }
        });
    }

    pub(crate) fn logged_in(&mut self, id: u64, user: &str) {
        let user = user.to_ascii_lowercase();
        if let Some((_, name)) = self.sessions.get_mut(&id) {
            *name = Some(user.clone());
        }
        self.counters.logins += 1;
        let counters = self.user_counters.entry(user).or_default();
        counters.logins += 1;
        counters.connections += 1;
        counters.sessions += 1;
    }

    /// Counts for the server and, where there is one, for the user.
    pub(crate) fn count(&mut self, user: Option<&str>, count: impl Fn(&mut Counters)) {
        count(&mut self.counters);
        if let Some(user) = user {
            count(
                self.user_counters
                    .entry(user.to_ascii_lowercase())
                    .or_default(),
            );
        }
    }

    pub(crate) fn counters(&self, scope: Scope<'_>) -> Counters {
        match scope {
            Scope::Server => self.counters,
            Scope::Domain(domain) => {
                let users = self.user_counters.iter();
                let meant = users.filter(|(user, _)| is_of(user, domain));
                meant.fold(Counters::default(), |sum, (_, one)| sum.and(one))
            }
            Scope::User(user) => {
                let found = self.user_counters.get(&user.to_ascii_lowercase());
                found.copied().unwrap_or_default()
            }
        }
    }

    pub(crate) fn attempted(&mut self, user: &str, accepted: bool) {
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back(LoginAttempt {
            user: user.to_owned(),
            at: Instant::now(),
            accepted,
        });
    }

    pub(crate) fn attempts(&self, scope: Scope<'_>) -> Vec<LoginAttempt> {
        let all = self.attempts.iter();
        all.filter(|one| scope.means(Some(&one.user)))
            .cloned()
            .collect()
    }

    pub(crate) fn levers(&mut self, scope: Scope<'_>) -> &mut Levers {
        match scope {
            Scope::Server => &mut self.levers,
            Scope::Domain(domain) => self
                .domain_levers
                .entry(domain.to_ascii_lowercase())
                .or_default(),
            Scope::User(user) => self
                .user_levers
                .entry(user.to_ascii_lowercase())
                .or_default(),
        }
    }

    /// The first answer that the server's levers, then the domain's, then the user's, give.
    pub(crate) fn ask<R>(
        &mut self,
        user: Option<&str>,
        ask: impl Fn(&mut Levers) -> Option<R>,
    ) -> Option<R> {
        if let Some(answer) = ask(&mut self.levers) {
            return Some(answer);
        }
        let user = user?.to_ascii_lowercase();
        let domain = user.rsplit('@').next().unwrap_or_default();
        if let Some(answer) = self.domain_levers.get_mut(domain).and_then(&ask) {
            return Some(answer);
        }
        ask(self.user_levers.get_mut(&user)?)
    }

    pub(crate) fn record(&mut self, user: Option<&str>, command: String) {
        if self.recorded.len() == RECORDED_MAX {
            self.recorded.pop_front();
        }
        self.recorded.push_back((user.map(str::to_owned), command));
    }

    pub(crate) fn wake(&self, scope: Scope<'_>) {
        for entry in self.entries(scope) {
            entry.notify.notify_one();
        }
    }

    pub(crate) fn send_away(&self, scope: Scope<'_>, goodbye: &Goodbye) -> usize {
        let mut count = 0;
        for entry in self.entries(scope) {
            count += 1;
            match goodbye {
                Goodbye::Eof => entry.cancel.cancel(),
                Goodbye::Bye(_) | Goodbye::Expired | Goodbye::Unavailable => {
                    *lock(&entry.goodbye) = Some(goodbye.clone());
                    entry.notify.notify_one();
                }
            }
        }
        count
    }

    fn entries(&self, scope: Scope<'_>) -> impl Iterator<Item = &Arc<Entry>> {
        self.sessions
            .values()
            .filter(move |(_, name)| scope.means(name.as_deref()))
            .map(|(entry, _)| entry)
    }
}

impl Scope<'_> {
    /// Whether a session of this user is meant; before a login there is none.
    fn means(self, user: Option<&str>) -> bool {
        match self {
            Scope::Server => true,
            Scope::Domain(domain) => user.is_some_and(|user| is_of(user, domain)),
            Scope::User(name) => user.is_some_and(|user| user.eq_ignore_ascii_case(name)),
        }
    }
}

fn is_of(user: &str, domain: &str) -> bool {
    let own = user.rsplit('@').next().unwrap_or_default();
    own.eq_ignore_ascii_case(domain)
}

impl Counters {
    fn and(self, other: &Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            sessions: self.sessions + other.sessions,
            idle: self.idle + other.idle,
            logins: self.logins + other.logins,
            logins_refused: self.logins_refused + other.logins_refused,
            commands: self.commands + other.commands,
            throttled: self.throttled + other.throttled,
            announcements: self.announcements + other.announcements,
        }
    }
}
