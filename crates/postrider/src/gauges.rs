//! The figures that are looked up when somebody asks: states, sums, the outbox. At most once in a
//! few seconds, however often that is.

use std::{sync::Arc, time::Duration};

use postrider_core::time::{Monotonic, Wall};
use tokio::sync::Mutex;

use crate::{clock, directory::Directory, shared::Shared, telemetry::mail::State};

const FRESH: Duration = Duration::from_secs(2);

/// Adding up a large ledger takes a while: it is done at most for this share of the time.
const SUMS_SHARE: u32 = 20;

pub struct Gauges {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    /// When each may be looked up again.
    next: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    all: Monotonic,
    sums: Monotonic,
}

/// The states of all watches at a glance.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    pub mailboxes: usize,
    pub by_state: Vec<(State, u64)>,
    pub idle: u64,
    pub polling: u64,
    pub busy: u64,
    pub stale: u64,
    pub held_messages: u64,
    pub oldest_sync: Option<Wall>,
}

impl Glance {
    pub fn count(&self, state: State) -> u64 {
        self.by_state
            .iter()
            .find(|(known, _)| *known == state)
            .map_or(0, |(_, count)| *count)
    }
}

/// How bad a state is: a mailbox counts under the worst of its folders.
pub(crate) fn rank(state: State) -> u8 {
    match state {
        State::Watching => 0,
        State::Syncing => 1,
        State::Connecting => 2,
        State::Paused => 3,
        State::Throttled => 4,
        State::Backoff => 5,
        State::StoreFull => 6,
        State::Held => 7,
        State::AuthFailed => 8,
    }
}

pub fn glance(directory: &Directory, stalled_after: Duration) -> Glance {
    let now = clock::wall();
    let mut seen = Glance {
        by_state: State::ALL.iter().map(|state| (*state, 0)).collect(),
        ..Glance::default()
    };
    let mut never_synced = false;
    directory.each(|worker| {
        seen.mailboxes += 1;
        let mut worst = State::Watching;
        let mut stale = false;
        for line in worker.lines.iter() {
            line.with_status(|status| {
                if rank(status.state) > rank(worst) {
                    worst = status.state;
                }
                match (status.state, status.polling) {
                    (State::Watching, false) => seen.idle += 1,
                    (State::Watching, true) => seen.polling += 1,
                    (State::Syncing, _) => seen.busy += 1,
                    (
                        State::Connecting
                        | State::Backoff
                        | State::AuthFailed
                        | State::Throttled
                        | State::Held
                        | State::Paused
                        | State::StoreFull,
                        _,
                    ) => {}
                }
                seen.held_messages += status
                    .hold
                    .as_ref()
                    .map_or(0, |hold| u64::from(hold.messages));
                if matches!(status.state, State::Held | State::Paused) {
                    return;
                }
                match status.synced_at {
                    Some(at) => {
                        stale |= now.since(at) > stalled_after;
                        seen.oldest_sync =
                            Some(seen.oldest_sync.map_or(at, |oldest| oldest.min(at)));
                    }
                    None => {
                        never_synced = true;
                        stale |= now.since(status.since) > stalled_after;
                    }
                }
            });
        }
        seen.stale += u64::from(stale);
        if let Some((_, count)) = seen.by_state.iter_mut().find(|(state, _)| *state == worst) {
            *count += 1;
        }
    });
    if never_synced {
        seen.oldest_sync = None;
    }
    seen
}

impl Gauges {
    pub fn new(shared: Arc<Shared>, directory: Arc<Directory>) -> Self {
        Self {
            shared,
            directory,
            next: Mutex::default(),
        }
    }

    /// Looks everything up, unless that was done a moment ago.
    pub async fn refresh(&self) {
        let mut next = self.next.lock().await;
        let now = clock::monotonic();
        if now < next.all {
            return;
        }
        next.all = now + FRESH;
        self.watches();
        self.outbox().await;
        if now >= next.sums {
            self.sums().await;
            let took = clock::monotonic() - now;
            next.sums = now + (took * SUMS_SHARE).max(FRESH);
        }
    }

    fn watches(&self) {
        let glance = glance(&self.directory, self.shared.limits.stalled_after);
        let mail = &self.shared.telemetry.mail;
        let set = |gauge: &prometheus::IntGauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX))
        };
        mail.mailboxes_configured
            .set(i64::try_from(self.shared.config().mailboxes.len()).unwrap_or(i64::MAX));
        for (state, count) in &glance.by_state {
            set(&mail.mailboxes.with_label_values(&[state.as_str()]), *count);
        }
        for (mode, count) in [
            ("idle", glance.idle),
            ("polling", glance.polling),
            ("busy", glance.busy),
        ] {
            set(&mail.connections.with_label_values(&[mode]), count);
        }
        set(&mail.mailboxes_stale, glance.stale);
        set(&mail.held_messages, glance.held_messages);
        mail.oldest_sync
            .set(glance.oldest_sync.map_or(0, Wall::seconds));
    }

    async fn outbox(&self) {
        let process = &self.shared.telemetry.process;
        match self.shared.store.outbox().await {
            Ok(rows) => {
                for row in rows {
                    let endpoint = row.endpoint.as_str();
                    for (state, count) in [
                        ("pending", row.pending),
                        ("delivered", row.delivered),
                        ("dead", row.dead),
                        ("discarded", row.discarded),
                    ] {
                        let gauge = process.outbox_events.with_label_values(&[endpoint, state]);
                        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
                    }
                    process
                        .outbox_blocked
                        .with_label_values(&[endpoint])
                        .set(i64::try_from(row.blocked).unwrap_or(i64::MAX));
                    process
                        .outbox_oldest
                        .with_label_values(&[endpoint])
                        .set(row.oldest_pending.map_or(0, Wall::seconds));
                }
            }
            Err(error) => process.store_failed("counting the outbox", &error),
        }
        match self.shared.store.space().await {
            Ok(space) => {
                let bytes = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                process.outbox_bytes.set(bytes(space.used()));
                process.budget_bytes.set(bytes(space.budget.unwrap_or(0)));
            }
            Err(error) => process.store_failed("measuring the store", &error),
        }
    }

    async fn sums(&self) {
        let process = &self.shared.telemetry.process;
        match self.shared.store.sums().await {
            Ok(sums) => {
                self.shared
                    .telemetry
                    .mail
                    .unaccounted_messages
                    .set(sums.unaccounted_messages());
                process
                    .unaccounted_deliveries
                    .set(sums.unaccounted_deliveries());
            }
            Err(error) => process.store_failed("adding up the account", &error),
        }
    }
}
