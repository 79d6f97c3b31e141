//! When a mailbox may log in. One gate stands above all watches of a mailbox, so that a refused
//! login, a throttle or a spent connection budget counts once, not once for each folder.
//!
//! It never opens anything itself: a shell asks [`Gate::may_open`], keeps the [`Permit`] while it
//! logs in, and tells what came of it.

use std::time::Duration;

pub mod pace;

use crate::{
    backoff::{Backoff, Chance},
    time::Monotonic,
};

/// Suggested waits in a row that are taken at their word.
const HINTS_BELIEVED: u32 = 3;

/// How the gate of a mailbox answers trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// Sessions that the mailbox may have at once, standby sessions included.
    pub connections_max: u32,
    /// Waits after the first, second, … refused login in a row; the last one repeats. Exchange
    /// locks accounts that are tried too often.
    pub refused_steps: Vec<Duration>,
    /// Waits before those, where the mailbox was let in before: servers refuse now and then what they
    /// take a moment later. A watch looks at the gate every 15 s, and both together are less than 30 s.
    pub refused_again_steps: Vec<Duration>,
    /// Waits after a throttle without a hint, and after "too many connections".
    pub throttled: Backoff,
    /// The longest hint that is obeyed.
    pub hint_max: Duration,
    /// Trouble is forgotten only when logins have worked for this long.
    pub stable: Duration,
    /// When to ask again where only another session's end, or another login, is waited for.
    pub ask_again: Duration,
    /// A permit that nothing was heard of for this long does not count any more.
    pub permit_max: Duration,
}

impl Default for GatePolicy {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            connections_max: 8,
            refused_steps: [1, 2, 5, 15, 30].map(minutes).to_vec(),
            refused_again_steps: [5, 10, 14].map(Duration::from_secs).to_vec(),
            throttled: Backoff {
                first: Duration::from_secs(30),
                max: minutes(30),
                stable: minutes(5),
            },
            hint_max: minutes(60),
            stable: minutes(5),
            ask_again: Duration::from_millis(250),
            permit_max: minutes(10),
        }
    }
}

/// The gate of one mailbox.
#[derive(Clone, Debug)]
pub struct Gate {
    policy: GatePolicy,
    barrier: Barrier,
    /// Counts troubles, so that what a login before one came to is not counted again after it.
    era: u32,
    next: u32,
    /// Logins under way: number, and since when.
    pending: Vec<(u32, Monotonic)>,
    sessions: u32,
    /// Since when logins work without a trouble between.
    proven: Option<Monotonic>,
    refusals: u32,
    throttles: u32,
    history: History,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    NeverLetIn,
    LetIn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Barrier {
    Open,
    Until(Monotonic, Cause),
}

/// Why a gate is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Refused,
    Throttled,
    /// The server said that there are too many connections.
    Limit,
}

/// What the gate says to a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    Permit(Permit),
    /// Ask again then, or when something was told to the gate meanwhile.
    Until(Monotonic),
}

/// The right to one login. It ends with exactly one of [`Gate::opened`], [`Gate::refused`],
/// [`Gate::throttled`], [`Gate::limited`] or [`Gate::failed`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back keeps others waiting"]
pub struct Permit {
    number: u32,
    era: u32,
}

impl Gate {
    pub fn new(policy: GatePolicy) -> Self {
        Self {
            policy,
            barrier: Barrier::Open,
            era: 0,
            next: 0,
            pending: Vec::new(),
            sessions: 0,
            proven: None,
            refusals: 0,
            throttles: 0,
            history: History::NeverLetIn,
        }
    }

    /// New settings; what is known of the mailbox stays.
    pub fn reconfigure(&mut self, policy: GatePolicy) {
        self.policy = policy;
    }

    /// Whether one more login may begin now. Until a login has worked, and again after each
    /// trouble, only one is under way at a time: a wrong password is tried once, not once for
    /// each folder.
    pub fn may_open(&mut self, now: Monotonic) -> Admission {
        let permit_max = self.policy.permit_max;
        self.pending.retain(|(_, since)| now - *since < permit_max);
        if let Barrier::Until(until, _) = self.barrier {
            if now < until {
                return Admission::Until(until);
            }
            self.barrier = Barrier::Open;
        }
        let pending = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        let is_full = self.sessions.saturating_add(pending) >= self.policy.connections_max.max(1);
        let is_probing = self.proven.is_none() && pending > 0;
        if is_full || is_probing {
            return Admission::Until(now + self.policy.ask_again);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.pending.push((number, now));
        Admission::Permit(Permit {
            number,
            era: self.era,
        })
    }

    /// The login worked: there is one session more, until [`Gate::closed`].
    pub fn opened(&mut self, permit: Permit, now: Monotonic) {
        self.give_back(&permit);
        self.sessions = self.sessions.saturating_add(1);
        self.history = History::LetIn;
        // A login from before a trouble says nothing about the time after it.
        if permit.era == self.era {
            self.proven.get_or_insert(now);
        }
        self.forget(now);
    }

    /// A session that was opened is gone.
    pub fn closed(&mut self, now: Monotonic) {
        self.sessions = self.sessions.saturating_sub(1);
        self.forget(now);
    }

    /// The login came to nothing that is the gate's business: no connection, no token.
    pub fn failed(&mut self, permit: Permit) {
        self.give_back(&permit);
    }

    /// The server refused the login.
    pub fn refused(&mut self, permit: Permit, now: Monotonic, chance: Chance) {
        self.give_back(&permit);
        if permit.era != self.era {
            return;
        }
        self.forget(now);
        let slow = &self.policy.refused_steps;
        let quick = match self.history {
            History::NeverLetIn => [].as_slice(),
            History::LetIn => &self.policy.refused_again_steps,
        };
        let index = usize::try_from(self.refusals).unwrap_or(usize::MAX);
        let step = quick.iter().chain(slow).nth(index).or(slow.last());
        let step = step.copied().unwrap_or(Duration::ZERO);
        self.refusals = self.refusals.saturating_add(1);
        // A little earlier than the step, so that mailboxes do not try in step.
        let wait = step.mul_f64(1.0 - 0.1 * chance.0.clamp(0.0, 1.0));
        self.shut(now + wait, Cause::Refused);
    }

    /// The server asked for slowness, at the login (`permit`) or in a session (`None`).
    pub fn throttled(
        &mut self,
        permit: Option<Permit>,
        hint: Option<Duration>,
        now: Monotonic,
        chance: Chance,
    ) {
        self.slow(permit, hint, Cause::Throttled, now, chance);
    }

    /// The server said that there are too many connections.
    pub fn limited(&mut self, permit: Option<Permit>, now: Monotonic, chance: Chance) {
        self.slow(permit, None, Cause::Limit, now, chance);
    }

    /// The credential is another one than that which was refused: it is tried at once.
    pub fn credential_changed(&mut self) {
        self.refusals = 0;
        self.era = self.era.wrapping_add(1);
        self.proven = None;
        match self.barrier {
            Barrier::Until(_, Cause::Refused) => self.barrier = Barrier::Open,
            Barrier::Open | Barrier::Until(_, Cause::Throttled | Cause::Limit) => {}
        }
    }

    /// Until when the gate is shut, and why.
    pub fn shut_until(&self, now: Monotonic) -> Option<(Monotonic, Cause)> {
        match self.barrier {
            Barrier::Until(until, cause) if now < until => Some((until, cause)),
            Barrier::Until(..) | Barrier::Open => None,
        }
    }

    /// Logins refused in a row.
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> u32 {
        self.sessions
    }

    fn slow(
        &mut self,
        permit: Option<Permit>,
        hint: Option<Duration>,
        cause: Cause,
        now: Monotonic,
        chance: Chance,
    ) {
        if let Some(permit) = permit {
            self.give_back(&permit);
            if permit.era != self.era {
                // Counted already; but what the server asks for now is asked for now.
                self.extend(hint, now);
                return;
            }
        } else if let (Some(_), true) = (self.shut_until(now), hint.is_none()) {
            // Another folder's session was told the same.
            return;
        }
        self.forget(now);
        self.throttles = self.throttles.saturating_add(1);
        let wait = match hint {
            None => self.policy.throttled.wait(self.throttles, chance),
            Some(hint) => {
                // A server that says how long knows; one that says it again and again does not.
                let doubted = self.throttles.saturating_sub(HINTS_BELIEVED);
                let own = match doubted {
                    0 => Duration::ZERO,
                    doubted => self.policy.throttled.wait(doubted, chance),
                };
                // Those who were told the same do not come back at the same moment.
                let hint = hint.mul_f64(1.0 + 0.1 * chance.0.clamp(0.0, 1.0));
                hint.min(self.policy.hint_max).max(own)
            }
        };
        self.shut(now + wait, cause);
    }

    /// A barrier is only ever moved further away, and never further than a hint may reach.
    fn extend(&mut self, hint: Option<Duration>, now: Monotonic) {
        let hint = hint.unwrap_or(Duration::ZERO).min(self.policy.hint_max);
        if let Barrier::Until(until, cause) = self.barrier {
            self.barrier = Barrier::Until(until.max(now + hint), cause);
        }
    }

    fn shut(&mut self, until: Monotonic, cause: Cause) {
        self.era = self.era.wrapping_add(1);
        self.proven = None;
        self.barrier = match self.barrier {
            Barrier::Until(before, why) if before > until => Barrier::Until(before, why),
            Barrier::Until(..) | Barrier::Open => Barrier::Until(until, cause),
        };
    }

    /// Troubles are forgotten when logins have worked for long enough.
    fn forget(&mut self, now: Monotonic) {
        let stable = self.policy.stable;
        if self.proven.is_some_and(|since| now - since >= stable) {
            self.refusals = 0;
            self.throttles = 0;
        }
    }

    fn give_back(&mut self, permit: &Permit) {
        self.pending.retain(|(number, _)| *number != permit.number);
    }
}
