//! The task of one endpoint: it alone knows the endpoint's health, and what is in flight.
//!
//! Attempts are futures of this task, not tasks of their own; the connections below them are.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use postrider_core::{
    delivery::{
        Failure, RetryPolicy,
        health::{Allowed, EndpointHealth, State},
        is_due,
        order::{Order as OrderBy, OrderKey},
        rate::Rate,
    },
    time::{Monotonic, Now, Wall},
};
use postrider_store::{Claimed, StoreError};
use postrider_webhook::client::Sent;
use tokio::sync::watch;

use super::{
    Deps,
    attempt::{self, Post},
    line::{Inbox, Line, Order},
    storage::{Storage, Wish, given_back, returned},
    transport,
};
use crate::{
    clock, config::Endpoint, secrets::SecretList, telemetry::delivery::EndpointState, tls::Stamp,
};

mod outcomes;

/// Deliveries per claim; a claim costs a transaction, however many it brings.
const CLAIM_MAX: usize = 256;

/// While something is due later, the clocks are compared this often: the wall clock may jump, and
/// a timer does not count suspend.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is cut off at the end of a drain has this long to be stored.
const LAST_SETTLE: Duration = Duration::from_secs(2);
const SETTLING_LAST: &str = "settling deliveries at the end";

pub(super) struct Lane {
    deps: Deps,
    line: Arc<Line>,
    endpoint: Arc<Endpoint>,
    secrets: watch::Receiver<Arc<SecretList>>,
    post: Result<Arc<Post>, String>,
    /// The endpoint's own authorities, as they were when `post` was made.
    authorities: Option<Stamp>,
    health: EndpointHealth,
    storage: Storage,
    /// Leased deliveries that wait for a slot.
    queue: VecDeque<Claimed>,
    sending: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What is being sent, by delivery, with the line that it stands in.
    under_way: HashMap<i64, Option<OrderKey>>,
    /// Slots taken: attempts under way, and those whose outcome is not durable yet.
    taken: u32,
    /// How many attempts per second the endpoint asks for.
    rate: Option<Rate>,
    /// The table may hold deliveries that are due.
    backlog: bool,
    /// The table may hold deliveries that are due later.
    ahead: bool,
    next_due: Option<Wall>,
    /// The breaker has closed: everything that waits has to become due.
    release: bool,
    /// Deliveries may stand in lines that the endpoint does not ask for.
    unorder: bool,
    paused: bool,
    /// To come to an end, by this time.
    ending: Option<Monotonic>,
    /// The process goes on without it: nothing may stay leased.
    retired: bool,
    failed: bool,
}

/// An attempt that came to its end.
struct Done {
    claimed: Claimed,
    sent_at: Wall,
    sent: Sent,
}

pub(super) fn policy(policy: &RetryPolicy, endpoint: &Endpoint) -> RetryPolicy {
    RetryPolicy {
        schedule: endpoint.retry.schedule.to_vec(),
        give_up_after: endpoint.retry.give_up_after,
        retry_after_max: endpoint.retry.retry_after_max,
        order_block_max: endpoint.order_block_max,
        ..policy.clone()
    }
}

impl Lane {
    pub(super) fn new(deps: Deps, line: Arc<Line>) -> Self {
        let endpoint = line.endpoint();
        let mut secrets = deps.secrets.watch(&endpoint.secrets());
        let authorities = transport::authorities(&endpoint);
        let post = Post::new(
            &deps.instance,
            deps.store.clone(),
            &endpoint,
            &secrets.borrow_and_update(),
        )
        .map(Arc::new);
        let unorder = endpoint.order == OrderBy::None;
        Self {
            health: EndpointHealth::new(policy(&deps.policy, &endpoint), endpoint.max_in_flight),
            storage: Storage::new(deps.store.clone(), endpoint.key.clone()),
            deps,
            line,
            rate: endpoint.transport.rate.map(Rate::new),
            endpoint,
            secrets,
            post,
            authorities,
            queue: VecDeque::new(),
            sending: FuturesUnordered::new(),
            under_way: HashMap::new(),
            taken: 0,
            backlog: true,
            ahead: true,
            next_due: None,
            release: false,
            unorder,
            paused: false,
            ending: None,
            retired: false,
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
            let now = self.step();
            if self.is_over() {
                break;
            }
            let until = self.wake_at(now);
            let asleep = tokio::time::sleep_until(clock::instant(until.unwrap_or_default()));
            tokio::select! {
                () = self.line.woken() => {}
                Some(done) = self.sending.next(), if !self.sending.is_empty() => self.judge(done),
                ended = self.storage.ended(clock::monotonic, clock::chance) => self.stored(ended),
                Ok(()) = self.secrets.changed() => self.renew(),
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
                Order::Inherit | Order::Look => {
                    self.backlog = true;
                    self.ahead = true;
                }
                Order::Drain(deadline) => {
                    let sooner = self.ending.map_or(deadline, |ending| ending.min(deadline));
                    self.ending = Some(sooner);
                }
                Order::Retire => {
                    self.retired = true;
                    self.ending = Some(clock::monotonic() + self.endpoint.timeout + LAST_SETTLE)
                }
            }
        }
    }

    fn configure(&mut self, endpoint: Arc<Endpoint>) {
        if *endpoint == *self.endpoint {
            return;
        }
        if endpoint.secrets() != self.endpoint.secrets() {
            self.secrets = self.deps.secrets.watch(&endpoint.secrets());
        }
        self.health
            .reconfigure(policy(&self.deps.policy, &endpoint), endpoint.max_in_flight);
        self.unorder = endpoint.order == OrderBy::None;
        self.rate = match (self.rate, endpoint.transport.rate) {
            (Some(mut rate), Some(per_second)) => {
                rate.set(per_second);
                Some(rate)
            }
            (None, per_second) => per_second.map(Rate::new),
            (Some(_), None) => None,
        };
        self.line.configure(Arc::clone(&endpoint));
        self.endpoint = endpoint;
        self.release = true;
        self.prepare();
    }

    /// New settings, or nothing to send with so far.
    fn prepare(&mut self) {
        let secrets = Arc::clone(&self.secrets.borrow_and_update());
        self.authorities = transport::authorities(&self.endpoint);
        self.post = Post::new(
            &self.deps.instance,
            self.deps.store.clone(),
            &self.endpoint,
            &secrets,
        )
        .map(Arc::new);
        self.hope();
    }

    /// New secrets or authorities, with the settings as they were: where nothing can be sent with
    /// them, what served until now serves on.
    fn renew(&mut self) {
        let before = self.post.clone();
        self.prepare();
        if let (Err(why), Ok(_)) = (&self.post, &before) {
            self.deps
                .telemetry
                .delivery
                .not_renewed(&self.endpoint.key, why);
            self.post = before;
        }
    }

    fn hope(&mut self) {
        self.health.probe_now(clock::monotonic());
        self.backlog = true;
    }

    // ---------------------------------------------------------- one step

    /// Does what can be done, and says by which time that was decided.
    fn step(&mut self) -> Now {
        let now = clock::now();
        let longest = self.deps.store.due_ahead_max();
        if self
            .next_due
            .is_some_and(|due| is_due(due, now.wall, longest))
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
        now
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
            if let Some(rate) = &mut self.rate
                && !rate.take(now.monotonic)
            {
                return;
            }
            if self.post.is_err() {
                self.prepare();
            } else if transport::authorities(&self.endpoint) != self.authorities {
                self.renew();
            }
            let Some(claimed) = self.queue.pop_front() else {
                return;
            };
            self.health.started(claimed.delivery);
            self.under_way.insert(claimed.delivery, claimed.order);
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
                    unorder: self.unorder,
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

    /// When there is something to do without being woken; `None` for an endpoint at rest. `now` is
    /// the time of the step before: what became possible since then must not be missed.
    fn wake_at(&self, now: Now) -> Option<Monotonic> {
        let due = self.next_due.map(|due| now.monotonic + due.since(now.wall));
        let mut wakes: Vec<Monotonic> = self
            .storage
            .retry_at(now.monotonic)
            .into_iter()
            .chain(self.ending)
            .collect();
        if !self.paused && self.ending.is_none() && !self.storage.is_claiming() {
            match self.health.allowed(now.monotonic, self.taken) {
                Allowed::ProbeAt(at) if self.backlog => wakes.push(at),
                Allowed::ProbeAt(at) => wakes.extend(due.map(|due| due.max(at))),
                Allowed::Now(free) => {
                    wakes.extend(due);
                    // Anything else that holds the queue up wakes the lane when it is over.
                    let held = free > 0 && !self.queue.is_empty() && !self.storage.is_stuck();
                    let rate = self.rate.filter(|_| held);
                    wakes.extend(rate.map(|rate| rate.ready_at()));
                }
                Allowed::Probing => {}
            }
        }
        wakes
            .into_iter()
            .min()
            .map(|at| at.min(now.monotonic + LOOK_EVERY))
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

    /// What was cut off may have been taken. It stays leased until the next start, or is given back
    /// where the process goes on.
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
        for (delivery, order) in self.under_way.drain().filter(|_| self.retired) {
            self.storage.put(given_back(delivery, order, now));
        }
        if !self.failed {
            let process = &self.deps.telemetry.process;
            let told = |error: &StoreError| process.store_failed(SETTLING_LAST, error);
            let last = self.storage.settle_all(told);
            match tokio::time::timeout(LAST_SETTLE, last).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.deps.fatal.cancel(),
                Err(_) if self.retired => return self.settle_beside(),
                Err(_) => told(&StoreError::Busy(
                    "outcomes could not be stored in time; their events are sent again".to_owned(),
                )),
            }
        }
        self.line.counts(0, 0);
        self.line.bequeath();
    }

    /// The store takes nothing for now. Who waits for this lane's end waits no longer; its leases are
    /// given back when the store works again.
    fn settle_beside(mut self) {
        self.line.counts(0, 0);
        tokio::spawn(async move {
            let process = &self.deps.telemetry.process;
            let told = |error: &StoreError| process.store_failed(SETTLING_LAST, error);
            match self.storage.settle_all(told).await {
                Ok(()) => self.line.bequeath(),
                Err(_) => self.deps.fatal.cancel(),
            }
        });
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
