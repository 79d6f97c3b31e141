//! The heartbeat: proves that the event loop runs and the store's writer makes progress, and tells
//! systemd. The watchdog is fed by nothing else.

use std::{sync::Arc, time::Duration};

use crate::{
    clock, config::Config, directory::Directory, gauges, http::Health, shared::Shared,
    telemetry::mail::State,
};
use postrider_core::event::EventType;
use postrider_store::{Level, StoreError};

const BEAT: Duration = Duration::from_secs(5);

/// How long a message is kept after the last endpoint took it: an operator who sees at once that
/// something is wrong can send it again.
const KEEP_MESSAGES: Duration = Duration::from_secs(3600);

pub async fn run(shared: Arc<Shared>, directory: Arc<Directory>, health: Arc<Health>) {
    let mut expected = clock::monotonic() + BEAT;
    let mut level = Level::Fine;
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
        let keep = if level >= Level::Over {
            // Room is worth more than the memory of what was delivered.
            Duration::ZERO
        } else {
            let config = shared.config();
            config.store.keep_delivered.max(links_life(&config))
        };
        let mut pruned = shared.store.prune(clock::wall(), keep).await.map(drop);
        if pruned.is_ok() {
            pruned = prune_messages(&shared, level >= Level::Over).await;
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
        space(&shared, &mut level).await;
    }
}

/// How long links lead to something: as long the messages behind them are kept.
fn links_life(config: &Config) -> Duration {
    let is_sent = config
        .endpoints
        .values()
        .any(|endpoint| endpoint.links.is_some());
    let links = config.links.as_ref().filter(|_| is_sent);
    links.map_or(Duration::ZERO, |links| links.expires)
}

/// Drops the messages themselves where every endpoint is done with them.
async fn prune_messages(shared: &Shared, is_low: bool) -> Result<(), StoreError> {
    let keep = if is_low {
        Duration::ZERO
    } else {
        KEEP_MESSAGES.max(links_life(&shared.config()))
    };
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

/// Tells by an event when room runs low, when reading stops, and when either is over.
async fn space(shared: &Arc<Shared>, level: &mut Level) {
    let process = &shared.telemetry.process;
    let space = match shared.store.space().await {
        Ok(space) => space,
        Err(error) => return process.store_failed("measuring the store", &error),
    };
    let before = std::mem::replace(level, space.level(*level));
    process.space_level.set(match *level {
        Level::Fine => 0,
        Level::Low | Level::Over => 1,
        Level::Full => 2,
    });
    let Some((event_type, reason, hint)) = space_news(before, *level) else {
        return;
    };
    crate::system_events::emit(
        shared,
        crate::system_events::Happening {
            event_type,
            mailbox: None,
            scope: "store",
            started: clock::wall(),
            reason,
            detail: &space.to_string(),
            hint,
        },
    )
    .await;
}

/// What a change of level means: type, reason, hint.
fn space_news(before: Level, now: Level) -> Option<(EventType, &'static str, &'static str)> {
    let low = EventType::StoreSpaceLow;
    let recovered = EventType::StoreSpaceRecovered;
    match (before, now) {
        (Level::Fine, Level::Fine)
        | (Level::Low, Level::Low)
        | (Level::Over, Level::Over)
        | (Level::Full, Level::Full) => None,
        (Level::Fine, Level::Low) => Some((
            low,
            "budget_low",
            "raise store.budget, or look what waits: postrider endpoints list; store.budget_action says what happens at its end",
        )),
        (Level::Fine | Level::Low, Level::Over) => Some((
            low,
            "budget_exceeded",
            "mail is read until the disk is full; raise store.budget, or look what waits: postrider endpoints list",
        )),
        (Level::Fine | Level::Low | Level::Over, Level::Full) => Some((
            low,
            "reading_paused",
            "free disk space or raise store.budget; the mailboxes keep the mail meanwhile",
        )),
        (Level::Full, Level::Low | Level::Over) => Some((
            recovered,
            "reading_resumed",
            "mail is read again, though there is little room",
        )),
        (Level::Over, Level::Low) => Some((recovered, "within_budget", "there is little room")),
        (Level::Low | Level::Over | Level::Full, Level::Fine) => Some((recovered, "room", "")),
    }
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

    #[test]
    fn each_change_of_room_is_told_once_and_its_end_too() {
        let all = [Level::Fine, Level::Low, Level::Over, Level::Full];
        for (before, now) in all.iter().flat_map(|one| all.map(|other| (*one, other))) {
            let told = space_news(before, now).map(|(event_type, ..)| event_type);
            let expected = match now.cmp(&before) {
                std::cmp::Ordering::Greater => Some(EventType::StoreSpaceLow),
                std::cmp::Ordering::Less => Some(EventType::StoreSpaceRecovered),
                std::cmp::Ordering::Equal => None,
            };
            assert_eq!(told, expected, "{before:?} to {now:?}");
        }
    }
}
