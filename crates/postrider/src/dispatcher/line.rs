//! The line between an endpoint's task and everybody else: deliveries, nudges and orders go in,
//! free slots and status can be read. Its locks are held for moments and never across an await.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicIsize, AtomicUsize, Ordering},
};

use postrider_core::{
    delivery::order::Order as OrderBy,
    time::{Monotonic, Wall},
};
use postrider_store::Claimed;
use tokio::sync::Notify;

use super::status::{EndpointStatus, LastError};
use crate::{clock, config::Endpoint, telemetry::delivery::EndpointState};

/// Deliveries in memory per attempt at once: enough that the next claim is back before the queue
/// is empty, few enough that a start anew has little to repeat the claims of.
const PLACES_PER_ATTEMPT: usize = 8;
const PLACES_MIN: usize = 64;
/// With bodies of at most 64 KiB, and mostly 6, this bounds what an endpoint holds in memory.
const PLACES_MAX: usize = 512;

#[derive(Debug)]
pub(super) enum Order {
    Configure(Arc<Endpoint>),
    Pause,
    Resume,
    /// There is reason to think that a trouble is over.
    Probe,
    /// Come to an end by this time.
    Drain(Monotonic),
    /// The endpoint is configured no more: finish what is in flight, then end.
    Retire,
    /// The lane before this one has ended: what it had in hand is in the table, due now or later.
    Inherit,
    /// There is something new in the table, and not all of it is due now.
    Look,
}

/// What was put in since the lane looked last.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) claimed: Vec<Claimed>,
    pub(super) orders: Vec<Order>,
    pub(super) nudged: bool,
    /// The lane has ended.
    closed: bool,
}

pub(super) struct Line {
    inbox: Mutex<Inbox>,
    notify: Notify,
    /// Free places for deliveries in memory; below 0 where more came than was reserved.
    places: AtomicIsize,
    /// Commits may lease: no trouble, nothing older waits.
    open: AtomicBool,
    in_flight: AtomicUsize,
    queued: AtomicUsize,
    /// Milliseconds since the epoch; 0: nothing yet.
    last_delivered: AtomicI64,
    told: Mutex<Told>,
    /// The line of the same endpoint, configured again while this one comes to its end: it has to
    /// hear of what is given back.
    heir: Mutex<Option<Arc<Line>>>,
}

struct Told {
    endpoint: Arc<Endpoint>,
    state: EndpointState,
    since: Wall,
    next_probe: Option<Wall>,
    last_error: Option<LastError>,
}

pub(super) fn places(max_in_flight: u32) -> usize {
    let attempts = usize::try_from(max_in_flight).unwrap_or(PLACES_MAX);
    attempts
        .saturating_mul(PLACES_PER_ATTEMPT)
        .clamp(PLACES_MIN, PLACES_MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        let places = isize::try_from(places(endpoint.max_in_flight)).unwrap_or(isize::MAX);
        Self {
            inbox: Mutex::default(),
            notify: Notify::new(),
            places: AtomicIsize::new(places),
            open: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            last_delivered: AtomicI64::new(0),
            told: Mutex::new(Told {
                endpoint,
                state: EndpointState::Closed,
                since: clock::wall(),
                next_probe: None,
                last_error: None,
            }),
            heir: Mutex::default(),
        }
    }

    pub(super) fn set_heir(&self, heir: Arc<Line>) {
        *lock(&self.heir) = Some(heir);
    }

    /// All that was given back is in the table: whoever sends for the endpoint now has to look. An
    /// heir that has ended as well tells its own.
    pub(super) fn bequeath(&self) {
        let heir = lock(&self.heir).clone();
        let Some(heir) = heir else { return };
        if lock(&heir.inbox).closed {
            heir.bequeath();
        } else {
            heir.order(Order::Inherit);
        }
    }

    // ---------------------------------------------------------- from everybody to the lane

    pub(super) fn order(&self, order: Order) {
        lock(&self.inbox).orders.push(order);
        self.notify.notify_one();
    }

    /// Deliveries that are leased to this process. They take their places, reserved or not. They
    /// come back where the lane has ended.
    pub(super) fn push(&self, claimed: Vec<Claimed>) -> Result<(), Vec<Claimed>> {
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            return Err(claimed);
        }
        self.places
            .fetch_sub(signed(claimed.len()), Ordering::AcqRel);
        inbox.claimed.extend(claimed);
        drop(inbox);
        self.notify.notify_one();
        Ok(())
    }

    pub(super) fn nudge(&self) {
        let first = !std::mem::replace(&mut lock(&self.inbox).nudged, true);
        if first {
            self.notify.notify_one();
        }
    }

    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    pub(super) fn take(&self) -> Inbox {
        std::mem::take(&mut lock(&self.inbox))
    }

    /// The lane ends: what was put in and not taken out.
    pub(super) fn close(&self) -> Vec<Claimed> {
        let mut inbox = lock(&self.inbox);
        inbox.closed = true;
        std::mem::take(&mut inbox.claimed)
    }

    // ---------------------------------------------------------- places

    /// Takes up to `want` free places.
    pub(super) fn take_places(&self, want: usize) -> usize {
        let mut taken = 0;
        let update = self
            .places
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                taken = usize::try_from(free).unwrap_or(0).min(want);
                (taken > 0).then(|| free - signed(taken))
            });
        if update.is_ok() { taken } else { 0 }
    }

    pub(super) fn free_places(&self, count: usize) {
        self.places.fetch_add(signed(count), Ordering::AcqRel);
    }

    // ---------------------------------------------------------- from the lane to everybody

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    pub(super) fn counts(&self, in_flight: usize, queued: usize) {
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.queued.store(queued, Ordering::Relaxed);
    }

    pub(super) fn delivered(&self, at: Wall) {
        self.last_delivered.store(at.0, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: LastError) {
        lock(&self.told).last_error = Some(error);
    }

    /// Enters a state; `true` where it is another one than before.
    pub(super) fn enter(&self, state: EndpointState, next_probe: Option<Wall>) -> bool {
        let mut told = lock(&self.told);
        told.next_probe = next_probe;
        let other = told.state != state;
        if other {
            told.state = state;
            told.since = clock::wall();
        }
        other
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&lock(&self.told).endpoint)
    }

    /// Other settings: the places follow.
    pub(super) fn configure(&self, endpoint: Arc<Endpoint>) {
        let mut told = lock(&self.told);
        let change =
            signed(places(endpoint.max_in_flight)) - signed(places(told.endpoint.max_in_flight));
        told.endpoint = endpoint;
        self.places.fetch_add(change, Ordering::AcqRel);
    }

    pub(super) fn status(&self) -> EndpointStatus {
        let told = lock(&self.told);
        let last_delivered = self.last_delivered.load(Ordering::Relaxed);
        EndpointStatus {
            endpoint: told.endpoint.key.clone(),
            state: told.state,
            since: told.since,
            next_probe: told.next_probe,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
            max_in_flight: told.endpoint.max_in_flight,
            last_error: told.last_error.clone(),
            last_delivered: (last_delivered > 0).then_some(Wall(last_delivered)),
        }
    }
}

fn signed(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}

/// Places that are reserved for deliveries which are about to be committed. They are free again
/// when this is dropped; deliveries that came of them have taken their own by then.
pub struct Slots {
    line: Option<Arc<Line>>,
    order: OrderBy,
    reserved: usize,
    left: usize,
}

impl Slots {
    pub(super) fn reserve(line: Option<Arc<Line>>, want: usize) -> Self {
        let reserved = match &line {
            Some(line) if line.open.load(Ordering::Acquire) => line.take_places(want),
            Some(_) | None => 0,
        };
        Self {
            order: line
                .as_ref()
                .map_or(OrderBy::None, |line| line.endpoint().order),
            line,
            reserved,
            left: reserved,
        }
    }

    /// Uses one of the slots, if there is one left: then the delivery is committed as leased.
    pub fn take(&mut self) -> bool {
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }

    /// What the endpoint wants to get one after the other.
    pub fn order(&self) -> OrderBy {
        self.order
    }

    pub fn len(&self) -> usize {
        self.left
    }

    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(super) fn line(&self) -> Option<Arc<Line>> {
        self.line.clone()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if let Some(line) = &self.line
            && self.reserved > 0
        {
            line.free_places(self.reserved);
            // A lane that has a backlog may have waited for a place.
            line.notify.notify_one();
        }
    }
}
