//! The heartbeat: proves that the event loop runs and the store's writer makes progress, and tells
//! systemd. The watchdog is fed by nothing else.

use std::{sync::Arc, time::Duration};

use crate::{
    clock, directory::Directory, gauges, http::Health, shared::Shared, telemetry::mail::State,
};
use postrider_core::event::EventType;
use postrider_store::StoreError;

const BEAT: Duration = Duration::from_secs(5);

/// How long a message is kept after the last endpoint took it: an operator who sees at once that
/// something is wrong can send it again.
const KEEP_MESSAGES: Duration = Duration::from_secs(3600);

/// Every message that is still owed is looked at each time, and there may be a million.
const LOOK_AT_MESSAGES: Duration = Duration::from_secs(120);

pub async fn run(shared: Arc<Shared>, directory: Arc<Directory>, health: Arc<Health>) {
    let mut expected = clock::monotonic() + BEAT;
    let mut low_since = None;
    let mut messages_due = expected;
    loop {
        tokio::time::sleep(BEAT).await;
        let now = clock::monotonic();
        let late = now - expected;
        if late > Duration::from_secs(1) {
            shared.telemetry.process.runtime_stalled(late);
        }
        expected = now + BEAT;
        // Forgetting what was delivered long ago goes through the writer in small steps, so it is
        // the proof that the writer lives.
        let keep = if low_since.is_some() {
            // Room is worth more than the memory of what was delivered.
            Duration::ZERO
        } else {
            shared.config().store.keep_delivered
        };
        let mut pruned = shared.store.prune(clock::wall(), keep).await.map(drop);
        if pruned.is_ok() && now >= messages_due {
            pruned = prune_messages(&shared, low_since.is_some()).await;
            messages_due = now + LOOK_AT_MESSAGES;
        }
        match proven(pruned) {
            Ok(()) => {
                health.beat(clock::monotonic());
                let glance = gauges::glance(&directory, shared.limits.stalled_after);
                let status = format!(
                    "{}/{} watching, {} stale",
                    glance.count(State::Watching),
                    glance.mailboxes,
                    glance.stale
                );
                notify(&[
                    sd_notify::NotifyState::Watchdog,
                    sd_notify::NotifyState::Status(&status),
                ]);
            }
            Err(error) => {
                shared.telemetry.process.store_failed("beating", &error);
                if matches!(error, StoreError::Fatal(_)) {
                    shared.fatal.cancel();
                }
            }
        }
        space(&shared, &mut low_since).await;
    }
}

/// Drops the messages themselves where every endpoint is done with them.
async fn prune_messages(shared: &Shared, is_low: bool) -> Result<(), StoreError> {
    let keep = if is_low { Duration::ZERO } else { KEEP_MESSAGES };
    let pruned = shared.store.prune_raw(clock::wall(), keep).await;
    pruned.map(drop)
}

/// A writer that says that the disk is full lives: that is waited out, not started anew.
fn proven(beat: Result<(), StoreError>) -> Result<(), StoreError> {
    match beat {
        Ok(()) | Err(StoreError::Full(_)) => Ok(()),
        Err(error @ (StoreError::Fatal(_) | StoreError::Busy(_) | StoreError::Other(_))) => {
            Err(error)
        }
    }
}

/// Tells by an event when room runs low and when it is back.
async fn space(shared: &Arc<Shared>, low_since: &mut Option<postrider_core::time::Wall>) {
    let space = match shared.store.space().await {
        Ok(space) => space,
        Err(error) => {
            return shared
                .telemetry
                .process
                .store_failed("measuring the store", &error);
        }
    };
    let now = clock::wall();
    let (event_type, started) = match (*low_since, space.low()) {
        (None, true) => {
            *low_since = Some(now);
            (EventType::StoreSpaceLow, now)
        }
        (Some(_), false) => {
            *low_since = None;
            (EventType::StoreSpaceRecovered, now)
        }
        (None, false) | (Some(_), true) => return,
    };
    crate::system_events::emit(
        shared,
        crate::system_events::Happening {
            event_type,
            mailbox: None,
            scope: "store",
            started,
            reason: event_type.as_str(),
            detail: &space.to_string(),
            hint: "free disk space or raise store.budget; the mailboxes keep the mail meanwhile",
        },
    )
    .await;
}

/// Tells systemd, where it listens.
pub fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// `CLOCK_MONOTONIC` in microseconds, which systemd wants beside RELOADING=1.
pub fn monotonic_usec() -> i128 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(at.tv_sec) * 1_000_000 + i128::from(at.tv_nsec) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_reason_to_be_started_anew() {
        let text = || "said".to_owned();
        assert!(proven(Ok(())).is_ok());
        assert!(proven(Err(StoreError::Full(text()))).is_ok());
        assert!(proven(Err(StoreError::Busy(text()))).is_err());
        assert!(proven(Err(StoreError::Fatal(text()))).is_err());
    }
}
