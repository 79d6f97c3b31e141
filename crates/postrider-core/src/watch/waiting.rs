//! Waiting: when there is nothing left to read, until when, and what ends it.

use std::time::Duration;

use super::{At, Effect, Next, Order, PauseReason, State, Wake, Watch, commit::Then};
use crate::{
    cursor::{Break, Cursor, Sieve},
    time::Wall,
};

/// How often an idle folder's being up to date is stored: fine enough for `Policy::flood_age`,
/// coarse enough that ten thousand idle folders cost the store three commits a second.
const PROVEN_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long after a break new arrivals are still matched by fingerprint: a migration that fills
/// the folder slowly, with mail that was taken long ago, must not look like new mail.
const BREAK_LASTS: Duration = Duration::from_secs(24 * 60 * 60);

impl Watch {
    /// A fresh survey brought nothing to read: stores what that proves, then waits.
    pub(super) fn settle(&mut self, at: At) -> Effect {
        if let Some(trouble) = self.trouble.as_deref_mut() {
            trouble.calm();
        }
        let Some(cursor) = self.cursor.as_ref() else {
            return self.wait(at);
        };
        if !cursor.gaps.is_empty() {
            return self.wait(at);
        }
        let wall = at.now.wall;
        let apart = |a: Wall, b: Wall| a.since(b).max(b.since(a));
        let sieve = worn(cursor.sieve.as_deref(), wall);
        let is_stale = self
            .last_proven
            .is_none_or(|proven| apart(proven, wall) >= PROVEN_EVERY);
        if sieve.as_ref() == cursor.sieve.as_deref() && !is_stale {
            return self.wait(at);
        }
        let cursor = Cursor {
            sieve: sieve.map(Box::new),
            ..cursor.clone()
        };
        let mut entry = self.entry(cursor);
        entry.proven = true;
        self.commit(entry, Then::Wait, at)
    }

    pub(super) fn wait(&mut self, at: At) -> Effect {
        let now = at.now.monotonic;
        let Some(session) = self.session else {
            return self.open();
        };
        let examine = session.examined + self.policy.examine_every;
        let mut until = (now + self.policy.cycle).min(examine.max(now));
        let due = self.cursor.as_ref().and_then(|cursor| {
            let trouble = self.trouble.as_deref()?;
            trouble.next_due(&cursor.gaps)
        });
        if let Some(due) = due {
            until = until.min(due.max(now));
        }
        self.trouble = self.trouble.take().filter(|trouble| !trouble.is_over());
        self.state = State::Waiting;
        Effect::Wait {
            until,
            standby_at: session.standby_at,
        }
    }

    pub(super) fn woken(&mut self, wake: Wake, at: At) -> Effect {
        match wake {
            Wake::Changed | Wake::Elapsed => self.look(at),
            Wake::StandbyReady => {
                self.state = State::Opening;
                Effect::Adopt
            }
            Wake::StandbyFailed(_) => {
                let trouble = self.trouble();
                trouble.standby_failures = trouble.standby_failures.saturating_add(1);
                let failures = u32::from(trouble.standby_failures);
                let wait = self.policy.backoff.wait(failures, at.chance);
                if let Some(session) = self.session.as_mut() {
                    session.standby_at = Some(at.now.monotonic + wait);
                }
                self.look(at)
            }
            Wake::Order(order) => match order {
                Order::Stop => self.close(Next::Finish),
                Order::Pause => {
                    self.paused = true;
                    self.rest(None, PauseReason::Paused)
                }
                Order::Resync => self.examine(),
                Order::Reread(uids) => {
                    self.trouble().reread(uids);
                    self.look(at)
                }
                Order::Reconfigure(policy) => {
                    self.policy = policy;
                    self.look(at)
                }
                // Nothing is held or paused here; but what came while the order was taken is read.
                Order::Resume | Order::Release(_) | Order::Adopt => self.look(at),
            },
        }
    }

    pub(super) fn examine(&mut self) -> Effect {
        self.state = State::Examining;
        Effect::Examine
    }

    /// After every wake: EXAMINE where it is due, and a survey in any case.
    fn look(&mut self, at: At) -> Effect {
        let is_due = self
            .session
            .is_none_or(|session| at.now.monotonic - session.examined >= self.policy.examine_every);
        if is_due {
            self.examine()
        } else {
            self.survey(at)
        }
    }
}

/// The sieve as it is after a folder was found up to date.
fn worn(sieve: Option<&Sieve>, now: Wall) -> Option<Sieve> {
    match *sieve? {
        Sieve::Over(why) => Some(Sieve::Over(why)),
        Sieve::Anew => Some(Sieve::Anew),
        Sieve::Start { since } => (now < since).then_some(Sieve::Start { since }),
        Sieve::Break(broken) => {
            // A break in the far future was stored under a clock that has been set back since.
            if broken.at.since(now) > BREAK_LASTS {
                return Some(Sieve::Break(Break { at: now, ..broken }));
            }
            (now.since(broken.at) < BREAK_LASTS).then_some(Sieve::Break(broken))
        }
    }
}
