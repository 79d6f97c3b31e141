//! What came of attempts and of the store's work, and what that changes.

use postrider_core::{
    delivery::{
        classify::Control,
        health::{Change, DeadReason, Owed, Verdict},
        skew,
    },
    event::EventType,
    time::{Now, Wall},
};
use postrider_store::{Claimed, Settled, Settlement, StoreError, Then};

use super::{
    super::{
        Transition,
        status::LastError,
        storage::{Claim, Ended},
    },
    Done, Lane,
};
use crate::{clock, telemetry::delivery::Attempted};

impl Lane {
    pub(super) fn judge(&mut self, done: Done) {
        let now = clock::now();
        let Done {
            claimed,
            sent_at,
            sent,
        } = done;
        self.under_way.remove(&claimed.delivery);
        let owed = Owed {
            delivery: claimed.delivery,
            refusals: claimed.refusals,
            refused_since: claimed.refused_since,
            own_time: claimed.own_time,
        };
        let judged = self.health.judge(&owed, sent.attempt, now, clock::chance());
        let delivery = &self.deps.telemetry.delivery;
        let told = Attempted {
            endpoint: &self.endpoint.key,
            event: claimed.event.id,
            attempt: sent.attempt,
            took: sent.took,
            note: &sent.note,
        };
        delivery.attempted(&told);
        if let Some(date) = sent.date {
            delivery.clock_skew(&self.endpoint.key, skew(date, sent_at, now.wall));
        }
        let outcome = self.settled_as(judged.verdict, &claimed, &told, now.wall);
        let status = sent.attempt.status();
        if outcome != Settled::Delivered {
            self.line.failed(LastError {
                at: now.wall,
                status,
                note: sent.note.clone(),
            });
        }
        if let Some(change) = judged.change {
            self.changed(change, now, &sent.note);
        }
        if sent.attempt.control() == Control::Disable {
            self.disable(now.wall, &sent.note);
        }
        let then = self.then(&claimed);
        let (delivery, note, took) = (claimed.delivery, sent.note, sent.took);
        self.storage.put(Settlement {
            delivery,
            order: claimed.order,
            at: now.wall,
            outcome,
            status,
            note,
            took,
            then,
        });
        crate::die::at("outcome-judged");
    }

    /// What a verdict means for the delivery, told.
    fn settled_as(
        &self,
        verdict: Verdict,
        claimed: &Claimed,
        told: &Attempted<'_>,
        now: Wall,
    ) -> Settled {
        let delivery = &self.deps.telemetry.delivery;
        match verdict {
            Verdict::Delivered => {
                delivery.delivered(&self.endpoint.key, claimed.event.stored_at, now);
                self.line.delivered(now);
                Settled::Delivered
            }
            Verdict::Retry {
                wait,
                refusals,
                refused_since,
                own_time,
                aside,
            } => {
                delivery.retried(told, wait);
                let aside = aside && claimed.order.is_some() && !claimed.aside;
                if aside {
                    delivery.stepped_aside(told);
                }
                Settled::Retry {
                    due: now + wait,
                    refusals,
                    refused_since,
                    own_time,
                    aside,
                }
            }
            Verdict::Dead(reason) => self.give_up(claimed, reason, told.note, now),
        }
    }

    /// Whether something is to be done in the mailbox once this is delivered.
    fn then(&self, claimed: &Claimed) -> Then {
        let event = &claimed.event;
        let is_followed = event.event_type == EventType::MessageReceived
            && (event.mailbox.as_ref()).is_some_and(|key| self.endpoint.after.contains(key));
        match is_followed {
            true => Then::After,
            false => Then::Nothing,
        }
    }

    /// The receiver asks for nothing more: as if an operator had paused the endpoint.
    fn disable(&mut self, now: Wall, note: &str) {
        if self.paused {
            return;
        }
        self.paused = true;
        self.deps.telemetry.delivery.disabled(&self.endpoint.key);
        self.notify(Transition::Disabled {
            endpoint: self.endpoint.key.clone(),
            at: now,
            detail: note.to_owned(),
        });
    }

    fn give_up(&self, claimed: &Claimed, reason: DeadReason, note: &str, now: Wall) -> Settled {
        let reason = match reason {
            DeadReason::Aborted => {
                format!(
                    "the receiver will never take it (webhook-delivery: abort-message); last: {note}"
                )
            }
            DeadReason::Unfit => note.to_owned(),
            DeadReason::Refused => {
                format!("refused again and again while others were accepted; last: {note}")
            }
            DeadReason::GivenUp => {
                let minutes = self.endpoint.retry.give_up_after.as_secs() / 60;
                let time = match minutes {
                    0..120 => format!("{minutes} min"),
                    120.. => format!("{} h", minutes / 60),
                };
                format!("failed for {time} while others were accepted; last: {note}")
            }
        };
        self.deps
            .telemetry
            .delivery
            .dead(&self.endpoint.key, claimed.event.id, &reason);
        let detail = format!("event {}: {reason}", claimed.event.id);
        self.notify(Transition::Dead {
            endpoint: self.endpoint.key.clone(),
            event: claimed.event.id,
            at: now,
            detail,
        });
        Settled::Dead { reason }
    }

    pub(super) fn changed(&mut self, change: Change, now: Now, note: &str) {
        let delivery = &self.deps.telemetry.delivery;
        let endpoint = self.endpoint.key.clone();
        match change {
            Change::Opened => {
                delivery.opened(&endpoint, note);
                self.notify(Transition::Opened {
                    endpoint,
                    at: now.wall,
                    detail: note.to_owned(),
                });
            }
            Change::Reopened => delivery.reopened(&endpoint, note),
            Change::Recovering => {
                delivery.recovering(&endpoint);
                self.release = true;
                self.backlog = true;
            }
            Change::Closed { after } => {
                delivery.closed(&endpoint, after);
                let detail = format!("it accepts events again, after {} s", after.as_secs());
                self.notify(Transition::Closed {
                    endpoint,
                    at: now.wall,
                    detail,
                });
                self.backlog = true;
            }
        }
    }

    fn notify(&self, transition: Transition) {
        if self.deps.transitions.try_send(transition).is_err() {
            self.deps.telemetry.delivery.notice_lost(&self.endpoint.key);
        }
    }

    pub(super) fn stored(&mut self, ended: Ended) {
        match ended {
            Ended::Settled(group) => self.settled(&group),
            Ended::NotSettled(error) => self.store_failed("settling deliveries", &error),
            Ended::Claimed(claim) => self.claimed(claim),
        }
    }

    fn settled(&mut self, group: &[Settlement]) {
        let now = clock::wall();
        self.line.free_places(group.len());
        for settlement in group {
            // The next one of its line may be due now.
            self.backlog |= settlement.order.is_some();
            match &settlement.outcome {
                Settled::Delivered | Settled::Dead { .. } => {
                    self.taken = self.taken.saturating_sub(1)
                }
                Settled::Retry { due, .. } => {
                    self.taken = self.taken.saturating_sub(1);
                    self.due(*due);
                }
                Settled::Returned { due } if *due <= now => self.backlog = true,
                Settled::Returned { due } => self.due(*due),
            }
        }
    }

    fn due(&mut self, due: Wall) {
        self.ahead = true;
        self.next_due = Some(self.next_due.map_or(due, |known| known.min(due)));
    }

    fn claimed(&mut self, claim: Claim) {
        self.release &= !claim.released;
        self.unorder &= !claim.unordered;
        match claim.next_due {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(due))) => self.due(due),
            Some(Err(error)) => {
                self.ahead = true;
                self.backlog = true;
                self.store_failed("looking for what is due next", &error);
            }
        }
        match claim.claimed {
            Ok(claimed) => {
                self.line
                    .free_places(claim.wanted - claimed.len().min(claim.wanted));
                // Behind a full one there may be more, now or later.
                if claimed.len() >= claim.wanted {
                    self.backlog = true;
                    self.ahead = true;
                }
                self.queue.extend(claimed);
            }
            Err(error) => {
                self.line.free_places(claim.wanted);
                self.ahead = true;
                self.backlog = true;
                self.store_failed("claiming deliveries", &error);
            }
        }
    }

    fn store_failed(&mut self, doing: &'static str, error: &StoreError) {
        self.deps.telemetry.process.store_failed(doing, error);
        match error {
            StoreError::Fatal(_) => {
                self.failed = true;
                self.deps.fatal.cancel();
            }
            StoreError::Full(_) | StoreError::Busy(_) | StoreError::Other(_) => {}
        }
    }
}
