//! What is known of one endpoint from the outcomes of its attempts: its breaker, and the account
//! of the events that fail on their own. One value per endpoint, owned by its dispatcher.
//!
//! An event's own time is only what is proven: the time between two acceptances of other events,
//! with no trouble in between, during which it was failing.

use std::{collections::HashMap, time::Duration};

use super::{Attempt, Class, Failure, RetryPolicy, classify::Control};
use crate::{
    backoff::Chance,
    time::{Monotonic, Now, Wall},
};

/// Failing events that are remembered. Past it the longest known is forgotten, which only delays
/// its end.
const FAILING_MAX: usize = 4096;

/// A delivery's own account, as it is stored with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Names the delivery; nothing else is read from it.
    pub delivery: i64,
    /// Refusals that counted, and when the first one was.
    pub refusals: u32,
    pub refused_since: Option<Wall>,
    /// How long it has been failing while others were accepted.
    pub own_time: Duration,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    Retry {
        wait: Duration,
        refusals: u32,
        refused_since: Option<Wall>,
        own_time: Duration,
        /// It has failed for so long that it may not hold up others behind it any more.
        aside: bool,
    },
    Dead(DeadReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Refused often enough for long enough, while others were accepted.
    Refused,
    /// Its own time is used up.
    GivenUp,
    /// The receiver said that it will never take it.
    Aborted,
    /// The endpoint's format cannot carry it.
    Unfit,
}

/// What changed for the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was closed: the trouble is new.
    Opened,
    /// It was recovering, and is in trouble again.
    Reopened,
    /// Something was accepted: everything that waits is due now, a little at first.
    Recovering,
    /// Recovered: everything goes as fast as it may. The trouble lasted this long.
    Closed { after: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub class: Class,
    pub verdict: Verdict,
    pub change: Option<Change>,
}

/// How many attempts may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Now(u32),
    /// None before this time; then one, to probe.
    ProbeAt(Monotonic),
    /// None: the probe is under way.
    Probing,
}

/// The breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open {
        since: Now,
        probe: Probe,
    },
    /// Recovering: `limit` attempts at once, which doubles when as many have been accepted.
    HalfOpen {
        since: Now,
        limit: u32,
        accepted: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    At(Monotonic),
    /// This delivery is being tried.
    Under(i64),
}

/// An event that fails on its own.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Monotonic,
    /// How long it held others up before the last trouble of the endpoint, and since when it does
    /// so again: the trouble itself does not count.
    held_up: Duration,
    holding_up_since: Monotonic,
    /// Where the account of accepted time stood when its own was last added up; `None` when the
    /// endpoint has been in trouble since.
    mark: Option<Duration>,
    /// Acceptances until its last attempt.
    accepted: u64,
    /// An answer to it once spoke of the endpoint.
    troubled: bool,
}

#[derive(Clone, Debug)]
pub struct EndpointHealth {
    policy: RetryPolicy,
    in_flight_max: u32,
    state: State,
    /// Different events that failed since the last acceptance.
    streak: Vec<i64>,
    accepted: u64,
    last_accepted: Option<Monotonic>,
    /// Time between acceptances without trouble in between, added up.
    accepting: Duration,
    failing: HashMap<i64, Failing>,
}

impl EndpointHealth {
    pub fn new(policy: RetryPolicy, in_flight_max: u32) -> Self {
        Self {
            policy,
            in_flight_max: in_flight_max.max(1),
            state: State::Closed,
            streak: Vec::new(),
            accepted: 0,
            last_accepted: None,
            accepting: Duration::ZERO,
            failing: HashMap::new(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// Other settings for the same endpoint: what is known of it stays.
    pub fn reconfigure(&mut self, policy: RetryPolicy, in_flight_max: u32) {
        self.policy = policy;
        self.in_flight_max = in_flight_max.max(1);
    }

    /// How many attempts may start beside the `in_flight` that are under way.
    pub fn allowed(&self, now: Monotonic, in_flight: u32) -> Allowed {
        match self.state {
            State::Closed => Allowed::Now(self.in_flight_max.saturating_sub(in_flight)),
            State::HalfOpen { limit, .. } => Allowed::Now(limit.saturating_sub(in_flight)),
            State::Open {
                probe: Probe::Under(_),
                ..
            } => Allowed::Probing,
            State::Open {
                probe: Probe::At(at),
                ..
            } if at > now => Allowed::ProbeAt(at),
            // Attempts from before the trouble may still hold every slot.
            State::Open {
                probe: Probe::At(_),
                ..
            } => Allowed::Now(u32::from(in_flight < self.in_flight_max)),
        }
    }

    /// An attempt starts.
    pub fn started(&mut self, delivery: i64) {
        if let State::Open {
            probe: probe @ Probe::At(_),
            ..
        } = &mut self.state
        {
            *probe = Probe::Under(delivery);
        }
    }

    /// There is reason to think that the trouble is over (other settings, an operator's word): the
    /// next probe is due now.
    pub fn probe_now(&mut self, now: Monotonic) {
        if let State::Open {
            probe: Probe::At(at),
            ..
        } = &mut self.state
        {
            *at = now;
        }
    }

    /// Nothing is under way and nothing waits: a recovery has come to its end.
    pub fn drained(&mut self, now: Now) -> Option<Change> {
        match self.state {
            State::HalfOpen { since, .. } => Some(self.close(since, now)),
            State::Closed | State::Open { .. } => None,
        }
    }

    /// Judges the outcome of one attempt.
    pub fn judge(&mut self, owed: &Owed, attempt: Attempt, now: Now, chance: Chance) -> Judgement {
        let class = self.class(owed, attempt);
        if attempt.control() == Control::Abort && class != Class::Delivered {
            // A receiver that says this is well.
            return Judgement {
                class: Class::Refused,
                verdict: Verdict::Dead(DeadReason::Aborted),
                change: self.accepted(owed, now),
            };
        }
        if attempt == Attempt::Failed(Failure::Unfit) {
            self.not_sent(owed, now);
            return Judgement {
                class: Class::Refused,
                verdict: Verdict::Dead(DeadReason::Unfit),
                change: None,
            };
        }
        let (verdict, change) = match class {
            Class::Delivered => (Verdict::Delivered, self.accepted(owed, now)),
            Class::Trouble => self.trouble(owed, attempt, now, chance),
            Class::Refused | Class::Failing => self.failed(owed, attempt, class, now, chance),
        };
        Judgement {
            class,
            verdict,
            change,
        }
    }

    /// Nothing was sent, so nothing was learnt: where it was to be the probe, another one may be.
    fn not_sent(&mut self, owed: &Owed, now: Now) {
        self.failing.remove(&owed.delivery);
        if let State::Open { probe, .. } = &mut self.state
            && matches!(probe, Probe::Under(delivery) if *delivery == owed.delivery)
        {
            *probe = Probe::At(now.monotonic);
        }
    }

    /// A firewall that answers 403 to one event must not stop all others for ever: an event whose
    /// answer spoke of the endpoint before, while others have been accepted since, speaks for
    /// itself alone.
    fn class(&self, owed: &Owed, attempt: Attempt) -> Class {
        let class = attempt.class();
        let alone = matches!(attempt, Attempt::Answered { status, .. } if status != 429)
            && self
                .failing
                .get(&owed.delivery)
                .is_some_and(|known| known.troubled && self.accepted > known.accepted);
        match class {
            Class::Trouble if alone => Class::Failing,
            Class::Delivered | Class::Refused | Class::Failing | Class::Trouble => class,
        }
    }

    fn accepted(&mut self, owed: &Owed, now: Now) -> Option<Change> {
        self.failing.remove(&owed.delivery);
        self.streak.clear();
        self.accepted += 1;
        if let Some(last) = self.last_accepted {
            self.accepting += (now.monotonic - last).min(self.policy.credit_max);
        }
        self.last_accepted = Some(now.monotonic);
        match self.state {
            State::Closed => None,
            State::Open { since, .. } => {
                // The trouble was no holding up of theirs.
                for known in self.failing.values_mut() {
                    known.holding_up_since = now.monotonic;
                }
                self.state = State::HalfOpen {
                    since,
                    limit: self.in_flight_max.min(2),
                    accepted: 0,
                };
                Some(Change::Recovering)
            }
            State::HalfOpen {
                since,
                limit,
                accepted,
            } => {
                if accepted + 1 < limit {
                    self.state = State::HalfOpen {
                        since,
                        limit,
                        accepted: accepted + 1,
                    };
                    None
                } else if limit < self.in_flight_max {
                    let limit = limit.saturating_mul(2).min(self.in_flight_max);
                    self.state = State::HalfOpen {
                        since,
                        limit,
                        accepted: 0,
                    };
                    None
                } else {
                    Some(self.close(since, now))
                }
            }
        }
    }

    fn close(&mut self, since: Now, now: Now) -> Change {
        self.state = State::Closed;
        Change::Closed {
            after: now.monotonic - since.monotonic,
        }
    }

    /// The endpoint's trouble: nothing of it counts against the event.
    fn trouble(
        &mut self,
        owed: &Owed,
        attempt: Attempt,
        now: Now,
        chance: Chance,
    ) -> (Verdict, Option<Change>) {
        let change = self.open(now);
        let spoke =
            matches!(attempt, Attempt::Answered { .. }) && attempt.class() == Class::Trouble;
        self.remember(owed.delivery, now.monotonic, spoke);
        let wait = self.next_probe(owed, attempt, now, chance);
        (unchanged(owed, wait), change)
    }

    /// Opens, if it is not open. Time stops for every event.
    fn open(&mut self, now: Now) -> Option<Change> {
        let (since, change) = match self.state {
            State::Open { .. } => return None,
            State::Closed => (now, Change::Opened),
            State::HalfOpen { since, .. } => (since, Change::Reopened),
        };
        self.state = State::Open {
            since,
            probe: Probe::At(now.monotonic),
        };
        self.streak.clear();
        self.last_accepted = None;
        for known in self.failing.values_mut() {
            known.mark = None;
            known.since = now.monotonic;
            known.held_up += now.monotonic - known.holding_up_since;
            known.holding_up_since = now.monotonic;
        }
        Some(change)
    }

    /// Sets the time of the next probe after an attempt that failed while open, and tells how far
    /// away it is. Only the probe itself, and a wait that the endpoint asks for, move it.
    fn next_probe(&mut self, owed: &Owed, attempt: Attempt, now: Now, chance: Chance) -> Duration {
        let asked = attempt.asked_wait(now.wall, self.policy.retry_after_max);
        let State::Open { since, probe } = &mut self.state else {
            return self.policy.probe_first;
        };
        let wait = self
            .policy
            .probe_wait(now.monotonic - since.monotonic, chance);
        let wait = asked.map_or(wait, |asked| asked.max(wait));
        match *probe {
            Probe::Under(other) if other != owed.delivery => wait,
            Probe::Under(_) => {
                *probe = Probe::At(now.monotonic + wait);
                wait
            }
            Probe::At(at) => {
                let fresh = at <= now.monotonic;
                let at = if fresh || asked.is_some() {
                    at.max(now.monotonic + wait)
                } else {
                    at
                };
                *probe = Probe::At(at);
                at - now.monotonic
            }
        }
    }

    /// It may be the event's own fault.
    fn failed(
        &mut self,
        owed: &Owed,
        attempt: Attempt,
        class: Class,
        now: Now,
        chance: Chance,
    ) -> (Verdict, Option<Change>) {
        if let State::Open { .. } = self.state {
            self.remember(owed.delivery, now.monotonic, false);
            let wait = self.next_probe(owed, attempt, now, chance);
            return (unchanged(owed, wait), None);
        }
        if !self.streak.contains(&owed.delivery) {
            self.streak.push(owed.delivery);
        }
        if self.streak.len() >= self.policy.trouble_events {
            return self.trouble(owed, attempt, now, chance);
        }
        let account = self.add_up(owed, class, now);
        (
            self.ripe(&account)
                .map_or_else(|| self.again(&account, attempt, now, chance), Verdict::Dead),
            None,
        )
    }

    /// The event's account after a failure of its own.
    fn add_up(&mut self, owed: &Owed, class: Class, now: Now) -> Account {
        let known = self.failing.get(&owed.delivery).copied();
        let proven = known
            .and_then(|known| known.mark)
            .map_or(Duration::ZERO, |mark| self.accepting.saturating_sub(mark));
        let others_accepted = known.is_some_and(|known| self.accepted > known.accepted);
        let (refusals, refused_since) = match class {
            Class::Refused if owed.refusals == 0 => (1, Some(now.wall)),
            Class::Refused => (
                owed.refusals + u32::from(others_accepted),
                owed.refused_since.or(Some(now.wall)),
            ),
            Class::Delivered | Class::Failing | Class::Trouble => (0, None),
        };
        let since = known.map_or(now.monotonic, |known| known.since);
        let holding_up_for = known.map_or(Duration::ZERO, |known| {
            known.held_up + (now.monotonic - known.holding_up_since)
        });
        self.remember(owed.delivery, now.monotonic, false);
        Account {
            refusals,
            refused_since,
            refused_for: refused_since.map_or(Duration::ZERO, |since| now.wall.since(since)),
            own_time: owed.own_time + proven,
            others_accepted,
            failing_for: now.monotonic - since,
            holding_up_for,
        }
    }

    fn ripe(&self, account: &Account) -> Option<DeadReason> {
        if !account.others_accepted {
            return None;
        }
        // The span is asked of own time as well, which no clock and no outage can move.
        let span = self.policy.refusals_span;
        if account.refusals >= self.policy.refusals_max
            && account.refused_for >= span
            && account.own_time >= span
        {
            return Some(DeadReason::Refused);
        }
        (account.own_time >= self.policy.give_up_after).then_some(DeadReason::GivenUp)
    }

    fn again(&self, account: &Account, attempt: Attempt, now: Now, chance: Chance) -> Verdict {
        let scheduled = self.policy.wait(account.own_time, chance);
        // While nothing else was accepted it may well be the endpoint, and then the event is to go
        // out soon after it recovers: a wait is short beside the time that it has been failing.
        let wait = if account.others_accepted {
            scheduled
        } else {
            scheduled.min(self.policy.probe_max.max(account.failing_for / 20))
        };
        let asked = attempt.asked_wait(now.wall, self.policy.retry_after_max);
        Verdict::Retry {
            wait: asked.map_or(wait, |asked| asked.max(wait)),
            refusals: account.refusals,
            refused_since: account.refused_since,
            own_time: account.own_time,
            aside: account.holding_up_for >= self.policy.order_block_max,
        }
    }

    /// Notes that the event failed now.
    fn remember(&mut self, delivery: i64, now: Monotonic, troubled: bool) {
        if self.failing.len() >= FAILING_MAX && !self.failing.contains_key(&delivery) {
            let oldest = self
                .failing
                .iter()
                .min_by_key(|(_, known)| known.since)
                .map(|(delivery, _)| *delivery);
            if let Some(oldest) = oldest {
                self.failing.remove(&oldest);
            }
        }
        let open = matches!(self.state, State::Open { .. });
        let fresh = match self.last_accepted {
            // What passed since the last acceptance, before this failure, is not this event's.
            Some(last) => self.accepting + (now - last).min(self.policy.credit_max),
            None => self.accepting,
        };
        let known = self.failing.entry(delivery).or_insert(Failing {
            since: now,
            held_up: Duration::ZERO,
            holding_up_since: now,
            mark: None,
            accepted: 0,
            troubled,
        });
        known.mark = match known.mark {
            _ if open => None,
            None => Some(fresh),
            Some(mark) => Some(mark.max(self.accepting)),
        };
        known.accepted = self.accepted;
        known.troubled |= troubled;
    }
}

struct Account {
    refusals: u32,
    refused_since: Option<Wall>,
    refused_for: Duration,
    own_time: Duration,
    others_accepted: bool,
    failing_for: Duration,
    holding_up_for: Duration,
}

fn unchanged(owed: &Owed, wait: Duration) -> Verdict {
    Verdict::Retry {
        wait,
        refusals: owed.refusals,
        refused_since: owed.refused_since,
        own_time: owed.own_time,
        aside: false,
    }
}
