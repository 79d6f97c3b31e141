//! The task of one endpoint: it alone knows the endpoint's health, and what is in flight.
//!
//! Attempts are futures of this task, not tasks of their own; the connections below them are.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use postrider_core::{
    delivery::{
        Failure, RetryPolicy,
        health::{Allowed, Change, DeadReason, EndpointHealth, Owed, State, Verdict},
        skew,
    },
    time::{Monotonic, Now, Wall},
};
use postrider_store::{Claimed, Settled, Settlement, StoreError};
use postrider_webhook::client::Sent;
use tokio::sync::watch;

use super::{
    Deps, Transition,
    attempt::{self, Post},
    line::{Inbox, Line, Order},
    status::LastError,
    storage::{Claim, Ended, Storage, Wish, returned},
};
use crate::{
    clock,
    config::Endpoint,
    secrets::SecretList,
    telemetry::delivery::{Attempted, EndpointState},
};

/// Deliveries per claim; a claim costs a transaction, however many it brings.
const CLAIM_MAX: usize = 256;

/// While something is due later, the clocks are compared this often: the wall clock may jump, and
/// a timer does not count suspend.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is cut off at the end of a drain has this long to be stored.
const LAST_SETTLE: Duration = Duration::from_secs(2);

pub(super) struct Lane {
    deps: Deps,
    line: Arc<Line>,
    endpoint: Arc<Endpoint>,
    secrets: watch::Receiver<Arc<SecretList>>,
    post: Result<Arc<Post>, String>,
    health: EndpointHealth,
    storage: Storage,
    /// Leased deliveries that wait for a slot.
    queue: VecDeque<Claimed>,
    sending: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Slots taken: attempts under way, and those whose outcome is not durable yet.
    taken: u32,
    /// The table may hold deliveries that are due.
    backlog: bool,
    /// The table may hold deliveries that are due later.
    ahead: bool,
    next_due: Option<Wall>,
    /// The breaker has closed: everything that waits has to become due.
    release: bool,
    paused: bool,
    /// To come to an end, by this time.
    ending: Option<Monotonic>,
    failed: bool,
}

/// An attempt that came to its end.
struct Done {
    claimed: Claimed,
    sent_at: Wall,
    sent: Sent,
}

fn policy(policy: &RetryPolicy, endpoint: &Endpoint) -> RetryPolicy {
    RetryPolicy {
        give_up_after: endpoint.give_up_after,
        ..policy.clone()
    }
}

impl Lane {
    pub(super) fn new(deps: Deps, line: Arc<Line>) -> Self {
        let endpoint = line.endpoint();
        let mut secrets = deps.secrets.watch(&endpoint.secret);
        let post = Post::new(&deps.instance, &endpoint, &secrets.borrow_and_update()).map(Arc::new);
        Self {
            health: EndpointHealth::new(policy(&deps.policy, &endpoint), endpoint.max_in_flight),
            storage: Storage::new(deps.store.clone(), endpoint.key.clone()),
            deps,
            line,
            endpoint,
            secrets,
            post,
            queue: VecDeque::new(),
            sending: FuturesUnordered::new(),
            taken: 0,
            backlog: true,
            ahead: true,
            next_due: None,
            release: false,
            paused: false,
            ending: None,
            failed: false,
        }
    }

    pub(super) async fn run(mut self) {
        self.deps
            .telemetry
            .delivery
            .endpoint_state(&self.endpoint.key, EndpointState::Closed);
        while !self.failed {
            let inbox = self.line.take();
            self.obey(inbox);
            self.step();
            if self.is_over() {
                break;
            }
            let until = self.wake_at();
            let asleep = tokio::time::sleep_until(clock::instant(until.unwrap_or_default()));
            tokio::select! {
                () = self.line.woken() => {}
                Some(done) = self.sending.next(), if !self.sending.is_empty() => self.judge(done),
                ended = self.storage.ended(clock::monotonic, clock::chance) => self.stored(ended),
                Ok(()) = self.secrets.changed() => self.prepare(),
                () = asleep, if until.is_some() => {}
            }
            // What ended at the same moment is settled in the same group.
            while let Some(Some(done)) = self.sending.next().now_or_never() {
                self.judge(done);
            }
        }
        self.end().await;
    }

    // ---------------------------------------------------------- orders

    fn obey(&mut self, inbox: Inbox) {
        self.queue.extend(inbox.claimed);
        self.backlog |= inbox.nudged;
        for order in inbox.orders {
            match order {
                Order::Configure(endpoint) => self.configure(endpoint),
                Order::Pause => self.paused = true,
                Order::Resume => {
                    self.paused = false;
                    self.hope();
                }
                Order::Probe => self.hope(),
                Order::Drain(deadline) => self.ending = Some(deadline),
                Order::Retire => {
                    self.ending = Some(clock::monotonic() + self.endpoint.timeout + LAST_SETTLE)
                }
            }
        }
    }

    fn configure(&mut self, endpoint: Arc<Endpoint>) {
        if *endpoint == *self.endpoint {
            return;
        }
        if endpoint.secret != self.endpoint.secret {
            self.secrets = self.deps.secrets.watch(&endpoint.secret);
        }
        self.health
            .reconfigure(policy(&self.deps.policy, &endpoint), endpoint.max_in_flight);
        self.line.configure(Arc::clone(&endpoint));
        self.endpoint = endpoint;
        self.release = true;
        self.prepare();
    }

    /// New secrets or settings.
    fn prepare(&mut self) {
        let secrets = Arc::clone(&self.secrets.borrow_and_update());
        self.post = Post::new(&self.deps.instance, &self.endpoint, &secrets).map(Arc::new);
        self.hope();
    }

    fn hope(&mut self) {
        self.health.probe_now(clock::monotonic());
        self.backlog = true;
    }

    // ---------------------------------------------------------- one step

    fn step(&mut self) {
        let now = clock::now();
        if self
            .next_due
            .is_some_and(|due| self.health.policy().is_due(due, now.wall))
        {
            self.next_due = None;
            self.backlog = true;
        }
        self.end_recovery(now);
        self.start_attempts(now);
        if self.paused || self.ending.is_some() || matches!(self.health.state(), State::Open { .. })
        {
            for claimed in self.queue.drain(..) {
                self.storage.put(returned(&claimed, now.wall));
            }
        }
        self.claim(now);
        self.storage.settle(now.monotonic);
        self.publish(now);
    }

    fn start_attempts(&mut self, now: Now) {
        if self.paused || self.ending.is_some() || self.storage.is_stuck() {
            return;
        }
        while !self.queue.is_empty()
            && matches!(
                self.health.allowed(now.monotonic, self.taken),
                Allowed::Now(1..)
            )
        {
            if self.post.is_err() {
                self.prepare();
            }
            let Some(claimed) = self.queue.pop_front() else {
                return;
            };
            self.health.started(claimed.delivery);
            self.taken += 1;
            self.sending
                .push(make(self.post.clone(), claimed, now.wall));
        }
    }

    fn claim(&mut self, now: Now) {
        if !self.backlog
            || self.paused
            || self.ending.is_some()
            || !self.storage.may_claim(now.monotonic)
        {
            return;
        }
        if self.release && !self.storage.is_settled() {
            return;
        }
        let held = self
            .taken
            .saturating_add(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
        let want = match (
            self.health.state(),
            self.health.allowed(now.monotonic, held),
        ) {
            // The next claim is to be back before the queue is empty.
            (State::Closed, _) if self.queue.len() < self.endpoint.max_in_flight as usize => {
                CLAIM_MAX
            }
            (State::Closed, _) => 0,
            (State::Open { .. } | State::HalfOpen { .. }, Allowed::Now(free)) => free as usize,
            (
                State::Open { .. } | State::HalfOpen { .. },
                Allowed::ProbeAt(_) | Allowed::Probing,
            ) => 0,
        };
        let want = self.line.take_places(want);
        if want > 0 {
            self.backlog = false;
            self.next_due = None;
            let look_ahead = std::mem::take(&mut self.ahead);
            self.storage.claim(
                Wish {
                    want,
                    release: self.release,
                    look_ahead,
                },
                now.wall,
            );
            self.ahead |= !look_ahead && self.release;
        }
    }

    /// A recovery ends when there is nothing left to recover.
    fn end_recovery(&mut self, now: Now) {
        let idle = self.taken == 0
            && self.queue.is_empty()
            && !self.backlog
            && !self.storage.is_claiming()
            && self.storage.is_settled();
        if idle && let Some(change) = self.health.drained(now) {
            self.changed(change, now, "");
        }
    }

    fn publish(&mut self, now: Now) {
        let (state, probe) = match (self.paused, self.health.state()) {
            (true, _) => (EndpointState::Paused, None),
            (false, State::Closed) => (EndpointState::Closed, None),
            (false, State::HalfOpen { .. }) => (EndpointState::HalfOpen, None),
            (false, State::Open { .. }) => match self.health.allowed(now.monotonic, self.taken) {
                Allowed::ProbeAt(at) => {
                    (EndpointState::Open, Some(now.wall + (at - now.monotonic)))
                }
                Allowed::Now(_) | Allowed::Probing => (EndpointState::Open, None),
            },
        };
        if self.line.enter(state, probe) {
            self.deps
                .telemetry
                .delivery
                .endpoint_state(&self.endpoint.key, state);
        }
        let open = state == EndpointState::Closed
            && self.ending.is_none()
            && !self.backlog
            && !self.release
            && !self.storage.is_stuck();
        self.line.set_open(open);
        self.line.counts(self.taken as usize, self.queue.len());
    }

    /// When there is something to do without being woken; `None` for an endpoint at rest.
    fn wake_at(&self) -> Option<Monotonic> {
        let now = clock::now();
        let due = self.next_due.map(|due| now.monotonic + due.since(now.wall));
        let mut wakes: Vec<Monotonic> = self
            .storage
            .retry_at()
            .into_iter()
            .chain(self.ending)
            .collect();
        if !self.paused && self.ending.is_none() && !self.storage.is_claiming() {
            match self.health.allowed(now.monotonic, self.taken) {
                Allowed::ProbeAt(at) if self.backlog => wakes.push(at),
                Allowed::ProbeAt(at) => wakes.extend(due.map(|due| due.max(at))),
                Allowed::Now(_) => wakes.extend(due),
                Allowed::Probing => {}
            }
        }
        wakes
            .into_iter()
            .min()
            .map(|at| at.min(now.monotonic + LOOK_EVERY))
    }

    // ---------------------------------------------------------- what came of it

    fn judge(&mut self, done: Done) {
        let now = clock::now();
        let Done {
            claimed,
            sent_at,
            sent,
        } = done;
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
        let outcome = match judged.verdict {
            Verdict::Delivered => {
                delivery.delivered(&self.endpoint.key, claimed.event.stored_at, now.wall);
                self.line.delivered(now.wall);
                Settled::Delivered
            }
            Verdict::Retry {
                wait,
                refusals,
                refused_since,
                own_time,
            } => {
                delivery.retried(&told, wait);
                Settled::Retry {
                    due: now.wall + wait,
                    refusals,
                    refused_since,
                    own_time,
                }
            }
            Verdict::Dead(reason) => self.give_up(&claimed, reason, &sent.note, now.wall),
        };
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
        let (delivery, note, took) = (claimed.delivery, sent.note, sent.took);
        self.storage.put(Settlement {
            delivery,
            at: now.wall,
            outcome,
            status,
            note,
            took,
        });
    }

    fn give_up(&self, claimed: &Claimed, reason: DeadReason, note: &str, now: Wall) -> Settled {
        let reason = match reason {
            DeadReason::Refused => {
                format!("refused again and again while others were accepted; last: {note}")
            }
            DeadReason::GivenUp => format!(
                "failed for {} h while others were accepted; last: {note}",
                self.endpoint.give_up_after.as_secs() / 3600
            ),
        };
        self.deps
            .telemetry
            .delivery
            .dead(&self.endpoint.key, claimed.event.id, &reason);
        let detail = format!("event {}: {reason}", claimed.event.id);
        self.notify(Transition::Dead {
            endpoint: self.endpoint.key.clone(),
            at: now,
            detail,
        });
        Settled::Dead { reason }
    }

    fn changed(&mut self, change: Change, now: Now, note: &str) {
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

    fn stored(&mut self, ended: Ended) {
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
                self.backlog |= claimed.len() >= claim.wanted;
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

    // ---------------------------------------------------------- the end

    fn is_over(&self) -> bool {
        let Some(deadline) = self.ending else {
            return false;
        };
        let done =
            self.sending.is_empty() && self.storage.is_settled() && !self.storage.is_claiming();
        (done && self.queue.is_empty()) || clock::monotonic() >= deadline
    }

    /// What was cut off stays leased until the next start: it may have been taken.
    async fn end(mut self) {
        self.line.set_open(false);
        self.deps
            .telemetry
            .delivery
            .drained(&self.endpoint.key, self.sending.len());
        self.sending = FuturesUnordered::new();
        let now = clock::wall();
        for claimed in self.line.close().into_iter().chain(self.queue.drain(..)) {
            self.storage.put(returned(&claimed, now));
        }
        let last = async {
            while !self.storage.is_settled() {
                self.storage.settle(clock::monotonic());
                if let Ended::NotSettled(error) =
                    self.storage.ended(clock::monotonic, clock::chance).await
                {
                    self.deps
                        .telemetry
                        .process
                        .store_failed("settling deliveries at the end", &error);
                    return;
                }
            }
        };
        if !self.failed && tokio::time::timeout(LAST_SETTLE, last).await.is_err() {
            let busy = StoreError::Busy(
                "outcomes could not be stored in time; their events are sent again".to_owned(),
            );
            self.deps
                .telemetry
                .process
                .store_failed("settling deliveries at the end", &busy);
        }
        self.line.counts(0, 0);
    }
}

/// The attempt as a future that always has an outcome, also where something in it panics.
fn make(
    post: Result<Arc<Post>, String>,
    claimed: Claimed,
    sent_at: Wall,
) -> BoxFuture<'static, Done> {
    Box::pin(async move {
        let sent = match post {
            Ok(post) => {
                let sending = AssertUnwindSafe(post.send(&claimed)).catch_unwind().await;
                sending.unwrap_or_else(|_| {
                    attempt::failed(Failure::Unsendable, "sending it panicked".to_owned())
                })
            }
            Err(why) => attempt::not_sent(why),
        };
        Done {
            claimed,
            sent_at,
            sent,
        }
    })
}
