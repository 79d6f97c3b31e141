//! Waiting: IDLE or polling on the open session, with orders and a standby session beside it, and
//! the audit before it.

use std::time::Duration;

use postrider_core::{
    ids::Uid,
    time::Monotonic,
    watch::{Failure, Input, Order, Wake},
};
use postrider_imap::wait::WaitEnd;
use postrider_store::FoundBy;

use super::{Open, Watcher, opening, trouble};
use crate::{clock, system_events, telemetry::mail::State};
use postrider_core::event::EventType;

/// A session that is opened beside a wait, to be adopted before the old one's token ends.
pub(super) enum Standby {
    Opening(tokio::task::JoinHandle<Result<Box<Open>, Failure>>),
    Ready(Box<Open>),
}

/// A server that announces something for ever, of which no new mail comes, is looked at this many
/// times in a row at its own pace, and then once in a while.
const IDLE_WAKES: u8 = 20;
const IDLE_WAKE_EVERY: Duration = Duration::from_secs(1);

/// When an audit is tried again whose search was refused.
const AUDIT_RETRY: Duration = Duration::from_secs(3600);

/// What ended a wait from our side.
enum Interrupt {
    Order(Order),
    Standby(Result<Box<Open>, Failure>),
}

impl Watcher {
    pub(super) async fn wait(&mut self, until: Monotonic, standby_at: Option<Monotonic>) -> Input {
        Box::pin(self.watching()).await;
        if let Some(order) = self.line.take_order() {
            return self.ordered(order);
        }
        if clock::monotonic() >= self.next_audit {
            match Box::pin(self.audit()).await {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => {
                    self.missing.clone_from(&missing);
                    return Input::Woken(Wake::Order(Order::Reread(missing)));
                }
                Err(failure) => return Input::Failed(failure),
            }
        }
        if self.idle_wakes >= IDLE_WAKES {
            tokio::time::sleep(IDLE_WAKE_EVERY).await;
        }
        let began = clock::monotonic();
        let mut interrupt = None;
        let ended = {
            let Some(open) = self.session.as_mut() else {
                return Input::Failed(Failure::Connection);
            };
            let purpose = opening::Purpose::Successor {
                of: open.selected.session_ends,
            };
            let ours = interruption(&self.line, &mut self.standby, standby_at, || {
                let (shared, mailbox, folder) = (
                    self.shared.clone(),
                    self.mailbox.clone(),
                    self.folder.clone(),
                );
                let (gate, line) = (self.gate.clone(), self.line.clone());
                tokio::spawn(async move {
                    opening::open(&shared, &mailbox, &folder, &gate, &line, purpose).await
                })
            });
            let slot = &mut interrupt;
            open.session
                .wait(
                    clock::instant(until),
                    async move { *slot = Some(ours.await) },
                )
                .await
        };
        self.idle_wakes = match ended {
            Ok(WaitEnd::Changed) if clock::monotonic() - began < IDLE_WAKE_EVERY => {
                self.idle_wakes.saturating_add(1)
            }
            Ok(_) | Err(_) => 0,
        };
        self.waited(ended, interrupt, until)
    }

    /// What the end of a wait means. An order that came while the session broke is not lost: it
    /// goes back into the line.
    fn waited(
        &mut self,
        ended: Result<WaitEnd<()>, postrider_imap::error::Error>,
        interrupt: Option<Interrupt>,
        until: Monotonic,
    ) -> Input {
        if let Err(error) = &ended {
            let failure = self.imap_failed(error);
            match interrupt {
                Some(Interrupt::Order(order)) => self.line.put_back(order),
                Some(Interrupt::Standby(Ok(open))) => self.standby = Some(Standby::Ready(open)),
                Some(Interrupt::Standby(Err(_))) | None => {}
            }
            return Input::Failed(failure);
        }
        self.line.alive();
        let (source, found_by, input) = match (interrupt, ended) {
            (Some(Interrupt::Order(order)), _) => return self.ordered(order),
            (Some(Interrupt::Standby(Ok(open))), _) => {
                self.standby = Some(Standby::Ready(open));
                ("standby", FoundBy::Cycle, Wake::StandbyReady)
            }
            (Some(Interrupt::Standby(Err(failure))), _) => {
                ("standby", FoundBy::Cycle, Wake::StandbyFailed(failure))
            }
            // What a server tells only when IDLE is ended by the clock was not announced.
            (None, Ok(WaitEnd::Changed)) if clock::monotonic() >= until => {
                ("elapsed", FoundBy::Cycle, Wake::Changed)
            }
            (None, Ok(WaitEnd::Changed)) => ("changed", FoundBy::Idle, Wake::Changed),
            (None, Ok(WaitEnd::Elapsed | WaitEnd::Interrupted(()))) | (None, Err(_)) => {
                ("elapsed", FoundBy::Cycle, Wake::Elapsed)
            }
        };
        self.found_by = found_by;
        self.shared.telemetry.mail.woken(source);
        self.line
            .update(|status| status.wake = Some((source, clock::wall())));
        Input::Woken(input)
    }

    /// The folder is read up to date and the session waits: whatever was wrong is over.
    async fn watching(&mut self) {
        self.line.enter(State::Watching);
        self.refused = None;
        let polling = self
            .session
            .as_ref()
            .is_some_and(|open| !open.session.idles());
        let mut trouble = None;
        let now = clock::wall();
        let is_behind = self.is_behind;
        self.line.update(|status| {
            // Only an empty survey leads here, or one of which nothing may be read for now.
            if !is_behind {
                status.synced_at = Some(now);
            }
            status.polling = polling;
            trouble = status.trouble.take();
        });
        let Some(trouble) = trouble else { return };
        self.shared
            .telemetry
            .mail
            .recovered(self.key(), now.since(trouble.since));
        if trouble.reported {
            let happening = system_events::Happening {
                event_type: EventType::MailboxRecovered,
                mailbox: Some(&self.mailbox.key),
                scope: self.folder.as_str(),
                started: now,
                reason: trouble.cause,
                detail: &trouble.detail,
                hint: "",
            };
            system_events::emit(&self.shared, happening).await;
        }
    }

    /// Looks at the server independently of the cursor: each UID of the last days that was taken
    /// must be in the ledger. Answers those that are not.
    async fn audit(&mut self) -> Result<Vec<Uid>, Failure> {
        self.next_audit = clock::monotonic() + self.shared.limits.audit_every;
        let started = clock::monotonic();
        let since = clock::wall()
            - std::time::Duration::from_secs(u64::from(self.shared.limits.audit_days) * 86_400);
        let Some(open) = self.session.as_mut() else {
            return Err(Failure::Connection);
        };
        let validity = open.selected.uid_validity;
        let found = open.session.search_since(since).await;
        self.told("audit", started);
        let uids = match found {
            Ok(uids) => uids,
            // A server that refuses this search is watched all the same.
            Err(error) if error.usable() => {
                self.next_audit =
                    clock::monotonic() + AUDIT_RETRY.min(self.shared.limits.audit_every);
                let said = trouble::redacted(&error.to_string());
                self.shared.telemetry.mail.audit_refused(self.key(), &said);
                return Ok(Vec::new());
            }
            Err(error) => return Err(self.imap_failed(&error)),
        };
        let missing = match self
            .shared
            .store
            .audit_missing(self.key(), validity, &uids)
            .await
        {
            Ok(missing) => missing,
            Err(error) => return Err(self.store_failed("auditing a mailbox", &error)),
        };
        self.shared
            .telemetry
            .mail
            .audit_done(self.key(), uids.len(), missing.len());
        if !missing.is_empty() {
            let detail = format!(
                "{} messages on the server were missing in the ledger and are read now",
                missing.len()
            );
            let happening = system_events::Happening {
                event_type: EventType::MailboxAuditFound,
                mailbox: Some(&self.mailbox.key),
                scope: self.folder.as_str(),
                started: clock::wall(),
                reason: "audit",
                detail: &detail,
                hint: "please report this, it should not happen",
            };
            system_events::emit(&self.shared, happening).await;
        }
        Ok(missing)
    }
}

/// The first of: an order, or (from `standby_at` on) a standby session that is ready or failed.
/// Safe to drop: the opening goes on in its own task and is waited for again next time.
async fn interruption(
    line: &crate::watch_line::WatchLine,
    standby: &mut Option<Standby>,
    standby_at: Option<Monotonic>,
    open: impl FnOnce() -> tokio::task::JoinHandle<Result<Box<Open>, Failure>>,
) -> Interrupt {
    let beside = async {
        match standby.take() {
            Some(Standby::Ready(open)) => return Ok(open),
            Some(opening @ Standby::Opening(_)) => *standby = Some(opening),
            None => {
                let Some(at) = standby_at else {
                    return std::future::pending().await;
                };
                tokio::time::sleep_until(clock::instant(at)).await;
                *standby = Some(Standby::Opening(open()));
            }
        }
        let Some(Standby::Opening(task)) = standby.as_mut() else {
            return std::future::pending().await;
        };
        let result = task.await;
        *standby = None;
        result.unwrap_or(Err(Failure::Connection))
    };
    tokio::select! {
        order = line.next_order() => Interrupt::Order(order),
        ready = beside => Interrupt::Standby(ready),
    }
}
