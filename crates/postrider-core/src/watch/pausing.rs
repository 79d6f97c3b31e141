//! Pauses: why there is no session, for how long, and what an order does meanwhile. Failures end
//! here, each with its own wait.

use std::time::Duration;

use super::{
    At, Effect, Failure, Hold, HoldReason, Next, Notice, Order, PauseReason, Release, State, Wake,
    Watch, commit::Then,
};
use crate::{
    backoff::Backoff,
    cursor::{Break, Cursor, Epoch, Released, Sieve},
    time::Monotonic,
};

/// The longest that a server or token endpoint may ask us to stay away.
const HINT_MAX: Duration = Duration::from_secs(60 * 60);
/// A full disk may be emptied at any time, and waiting for it costs nothing but a look.
const FULL: Backoff = Backoff {
    first: Duration::from_secs(5),
    max: Duration::from_secs(30),
    stable: Duration::ZERO,
};
/// A token that ends a session younger than this has not merely run out.
const TOKEN_LIFE_MIN: Duration = Duration::from_secs(10);

impl Watch {
    pub(super) fn pause(&mut self, until: Option<Monotonic>, why: PauseReason) -> Effect {
        self.state = State::Pausing { until, why };
        Effect::Pause { until, why }
    }

    /// Ends the session, if there is one, and pauses.
    pub(super) fn rest(&mut self, until: Option<Monotonic>, why: PauseReason) -> Effect {
        self.close(Next::Pause { until, why })
    }

    pub(super) fn close(&mut self, next: Next) -> Effect {
        match self.session.take() {
            Some(_) => {
                self.state = State::Closing(next);
                Effect::Close
            }
            None => self.closed(next),
        }
    }

    pub(super) fn closed(&mut self, next: Next) -> Effect {
        match next {
            Next::Pause { until, why } => self.pause(until, why),
            Next::Finish => self.finish(),
        }
    }

    /// A pause is over: on with what is due, unless a hold stands.
    pub(super) fn resume(&mut self, at: At) -> Effect {
        if let Some(order) = self.owed.take() {
            return self.roused(None, PauseReason::Held, Wake::Order(*order), at);
        }
        if self.paused {
            return self.pause(None, PauseReason::Paused);
        }
        if self.account_changed && !self.hold.as_deref().is_some_and(asks_for_account) {
            return self.hold_account(at);
        }
        match self.hold {
            Some(_) => self.pause(None, PauseReason::Held),
            None => self.open(),
        }
    }

    /// Another account stands under this key: nothing is opened until an operator has spoken.
    pub(super) fn hold_account(&mut self, at: At) -> Effect {
        let hold = Hold {
            why: HoldReason::AccountChanged,
            since: at.now.wall,
            messages: 0,
            old: 0,
        };
        match self.cursor.clone() {
            Some(cursor) => {
                let mut entry = self.entry(cursor);
                entry.notices.push(Notice::Held(hold.clone()));
                entry.hold = Some(hold);
                self.commit(entry, Then::Pause(PauseReason::Held), at)
            }
            // Nothing was ever taken, so there is nothing to store a hold beside.
            None => {
                self.hold = Some(Box::new(hold));
                self.rest(None, PauseReason::Held)
            }
        }
    }

    pub(super) fn roused(
        &mut self,
        until: Option<Monotonic>,
        why: PauseReason,
        wake: Wake,
        at: At,
    ) -> Effect {
        let order = match wake {
            Wake::Order(order) => order,
            Wake::Changed | Wake::Elapsed | Wake::StandbyReady | Wake::StandbyFailed(_) => {
                return match why {
                    PauseReason::Paused | PauseReason::Held => self.pause(until, why),
                    PauseReason::Backoff
                    | PauseReason::LoginRefused
                    | PauseReason::Throttled
                    | PauseReason::FolderMissing
                    | PauseReason::StoreFull => self.resume(at),
                };
            }
        };
        match order {
            Order::Stop => self.finish(),
            Order::Pause => {
                self.paused = true;
                self.pause(None, PauseReason::Paused)
            }
            Order::Resume => {
                self.paused = false;
                self.resume(at)
            }
            Order::Resync => match why {
                PauseReason::Paused | PauseReason::Held => self.pause(until, why),
                PauseReason::Backoff
                | PauseReason::LoginRefused
                | PauseReason::Throttled
                | PauseReason::FolderMissing
                | PauseReason::StoreFull => self.resume(at),
            },
            Order::Reread(uids) => {
                self.trouble().reread(uids);
                self.pause(until, why)
            }
            Order::Reconfigure(policy) => {
                self.policy = policy;
                self.pause(until, why)
            }
            Order::Release(release) => self.release(until, why, Some(release), at),
            Order::Adopt => self.release(until, why, None, at),
        }
    }

    /// Ends a hold: by a release, or by adopting the account (`None`), which leaves the decision
    /// to the fingerprints. The decision is stored before anything is opened.
    fn release(
        &mut self,
        until: Option<Monotonic>,
        why: PauseReason,
        release: Option<Release>,
        at: At,
    ) -> Effect {
        let Some(hold) = self.hold.as_deref() else {
            return self.pause(until, why);
        };
        let account = asks_for_account(hold);
        let reason = hold.why;
        if release.is_none() && !account {
            return self.pause(until, why);
        }
        self.account_changed &= !account;
        let Some(old) = self.cursor.as_ref() else {
            self.hold = None;
            self.owed = None;
            return self.resume(at);
        };
        let mut cursor = if account {
            let epoch = Epoch::begin(at.now.wall, Some(old.epoch));
            Cursor::begin(old.uid_validity, epoch)
        } else {
            old.clone()
        };
        cursor.sieve = Some(Box::new(if account && release == Some(Release::Skip) {
            Sieve::Anew
        } else {
            let broken = old.broken().filter(|_| !account).unwrap_or(Break {
                why: reason,
                at: at.now.wall,
                old: 0,
                released: None,
            });
            let released = release.map(|release| Released {
                release,
                until: None,
            });
            Sieve::Break(Break { released, ..broken })
        }));
        let mut entry = self.entry(cursor);
        entry.hold = None;
        entry.notices.extend(release.map(Notice::Released));
        let order = release.map_or(Order::Adopt, Order::Release);
        self.owed = Some(Box::new(order));
        let then = if self.paused {
            Then::Pause(PauseReason::Paused)
        } else {
            Then::Open
        };
        self.turn(entry, then, at)
    }

    /// Something failed: how long to stay away, and whether there is a session to log out of.
    pub(super) fn failed(&mut self, failure: Failure, at: At) -> Effect {
        let now = at.now.monotonic;
        let lived = self.session.map(|session| now - session.opened);
        if lived.is_some_and(|lived| lived >= self.policy.backoff.stable) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = self.policy.backoff.wait(self.failures, at.chance);
        let hinted =
            |hint: Option<Duration>| wait.max(hint.unwrap_or(Duration::ZERO).min(HINT_MAX));
        let (wait, why) = match failure {
            Failure::Connection => {
                self.session = None;
                (wait, PauseReason::Backoff)
            }
            Failure::TokenExpired => {
                self.session = None;
                if lived.is_some_and(|lived| lived >= TOKEN_LIFE_MIN) {
                    self.failures = self.failures.saturating_sub(1);
                    return self.resume(at);
                }
                (wait, PauseReason::Backoff)
            }
            Failure::LoginRefused | Failure::CredentialRefused => (wait, PauseReason::LoginRefused),
            Failure::CredentialUnavailable { retry_after } => {
                (hinted(retry_after), PauseReason::Backoff)
            }
            Failure::Throttled { retry_after } => (hinted(retry_after), PauseReason::Throttled),
            Failure::ConnectionLimit => (wait, PauseReason::Throttled),
            Failure::FolderMissing => {
                let slow = self.policy.backoff.wait(u32::MAX, at.chance);
                (slow, PauseReason::FolderMissing)
            }
            Failure::Refused | Failure::Store => (wait, PauseReason::Backoff),
            Failure::StoreFull => (
                FULL.wait(self.failures.saturating_add(1), at.chance),
                PauseReason::StoreFull,
            ),
        };
        self.rest(Some(now + wait), why)
    }
}

/// The hold waits for a word on the account itself. One that came later, because too much of an
/// adopted account's mail is old, names the same reason, and has counted messages.
fn asks_for_account(hold: &Hold) -> bool {
    hold.why == HoldReason::AccountChanged && hold.messages == 0
}
