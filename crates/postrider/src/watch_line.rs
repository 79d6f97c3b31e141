//! The line between a watch and everybody else: orders go in, its state can be read.
//!
//! It lives once per watch, so it stays small; its locks are held for moments and never across
//! an await.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use postrider_core::{
    ids::WatchKey,
    time::{Monotonic, Wall},
    watch::{Hold, Order},
};
use postrider_store::Ordered;
use tokio::sync::Notify;

use crate::{clock, diagnosis::Short, telemetry::mail::State};

/// Orders that may wait: an operator cannot usefully queue more, the supervisor sends few.
const ORDERS_MAX: usize = 32;

pub struct WatchLine {
    pub key: WatchKey,
    orders: Mutex<Vec<Order>>,
    notify: Notify,
    /// Who ordered the release that is under way.
    release: Mutex<Option<Box<Ordered>>>,
    status: Mutex<Status>,
    /// Waits that are under way for something of our own: a turn, memory, the store.
    ours: AtomicU32,
}

/// A wait for something of our own, which says nothing of the server. It ends when dropped.
pub struct OurWait<'a>(&'a WatchLine);

/// Where a watch stands.
#[derive(Clone, Debug)]
pub struct Status {
    pub state: State,
    pub since: Wall,
    /// The last proof of life: a tagged OK or untagged data.
    pub life: Monotonic,
    pub life_at: Wall,
    /// Since when a sign of life is to be expected, if there was none later.
    pub expected: Monotonic,
    /// The last time that a survey came back empty or all of it was committed.
    pub synced_at: Option<Wall>,
    pub wake: Option<(&'static str, Wall)>,
    pub trouble: Option<Box<Trouble>>,
    pub hold: Option<Box<Hold>>,
    pub polling: bool,
    /// When a paused or backing-off watch goes on by itself.
    pub next_try: Option<Wall>,
}

/// What is wrong, since when, and what to do about it.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub cause: &'static str,
    pub detail: String,
    pub hint: &'static str,
    pub since: Wall,
    pub at: Wall,
    /// Whether an event told of it.
    pub reported: bool,
    /// What it means and what to do, where a session did not come to be.
    pub diagnosis: Option<Box<Short>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WatchLine {
    pub fn new(key: WatchKey) -> Self {
        let now = clock::now();
        Self {
            key,
            orders: Mutex::new(Vec::new()),
            notify: Notify::new(),
            release: Mutex::default(),
            status: Mutex::new(Status {
                state: State::Connecting,
                since: now.wall,
                life: now.monotonic,
                life_at: now.wall,
                expected: now.monotonic,
                synced_at: None,
                wake: None,
                trouble: None,
                hold: None,
                polling: false,
                next_try: None,
            }),
            ours: AtomicU32::new(0),
        }
    }

    /// Queues an order; `false` where too many wait already. `Stop` always goes in.
    pub fn order(&self, order: Order) -> bool {
        let mut orders = lock(&self.orders);
        if orders.len() >= ORDERS_MAX && order != Order::Stop {
            return false;
        }
        orders.push(order);
        drop(orders);
        self.notify.notify_one();
        true
    }

    /// Who ordered the release that is in the queue, for the commit that carries it out.
    pub fn release_by(&self, ordered: Ordered) {
        *lock(&self.release) = Some(Box::new(ordered));
    }

    pub fn take_release(&self) -> Option<Ordered> {
        lock(&self.release).take().map(|ordered| *ordered)
    }

    /// Whether another order may be queued.
    pub fn has_room(&self) -> bool {
        lock(&self.orders).len() < ORDERS_MAX
    }

    /// Waits for the next order. Safe to drop at any time.
    pub async fn next_order(&self) -> Order {
        loop {
            if let Some(order) = self.take_order() {
                return order;
            }
            self.notify.notified().await;
        }
    }

    /// Gives an order back that could not be carried out, to be taken next.
    pub fn put_back(&self, order: Order) {
        lock(&self.orders).insert(0, order);
        self.notify.notify_one();
    }

    pub fn take_order(&self) -> Option<Order> {
        let mut orders = lock(&self.orders);
        if orders.is_empty() {
            None
        } else {
            Some(orders.remove(0))
        }
    }

    /// Waits until the order to stop is in the queue, and leaves the queue as it is.
    pub async fn stopped(&self) {
        while !self.must_stop() {
            self.notify.notified().await;
        }
    }

    /// Whether the order to stop waits to be taken.
    pub fn must_stop(&self) -> bool {
        lock(&self.orders).contains(&Order::Stop)
    }

    /// Takes an order to pause out of the queue, wherever in it it stands.
    pub fn take_pause(&self) -> bool {
        let mut orders = lock(&self.orders);
        let found = orders.iter().position(|order| *order == Order::Pause);
        found.map(|index| orders.remove(index)).is_some()
    }

    /// From here on, until it is dropped, nothing is expected of the server.
    pub fn our_wait(&self) -> OurWait<'_> {
        self.ours.fetch_add(1, Ordering::AcqRel);
        OurWait(self)
    }

    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Reads a part of the status without cloning all of it.
    pub fn with_status<T>(&self, read: impl FnOnce(&Status) -> T) -> T {
        read(&lock(&self.status))
    }

    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut lock(&self.status));
    }

    /// Changes the state, keeping the time of the change.
    pub fn enter(&self, state: State) {
        let mut status = lock(&self.status);
        if status.state != state {
            // A watch that has just begun to try is not silent for as long as it did not try.
            if !is_live(status.state) && is_live(state) {
                status.expected = clock::monotonic();
            }
            status.state = state;
            status.since = clock::wall();
            status.next_try = None;
        }
    }

    /// The server gave a sign of life.
    pub fn alive(&self) {
        let now = clock::now();
        let mut status = lock(&self.status);
        status.life = now.monotonic;
        status.life_at = now.wall;
    }

    /// How long the watch, which ought to be live, has been without a sign of life.
    pub fn silent(&self, now: Monotonic) -> Option<Duration> {
        if self.ours.load(Ordering::Acquire) > 0 {
            return None;
        }
        let status = lock(&self.status);
        is_live(status.state).then(|| now - status.life.max(status.expected))
    }
}

/// Whether the server is expected to give signs of life in this state.
fn is_live(state: State) -> bool {
    match state {
        State::Connecting | State::Syncing | State::Watching => true,
        State::Backoff
        | State::AuthFailed
        | State::Throttled
        | State::Held
        | State::Paused
        | State::StoreFull => false,
    }
}

impl Drop for OurWait<'_> {
    fn drop(&mut self) {
        lock(&self.0.status).expected = clock::monotonic();
        self.0.ours.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> WatchLine {
        WatchLine::new(WatchKey {
            mailbox: "support".into(),
            folder: "INBOX".into(),
        })
    }

    fn silent(line: &WatchLine, ahead: Duration) -> Option<Duration> {
        line.silent(clock::monotonic() + ahead)
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_watch_that_tries_again_after_a_long_outage_is_not_silent_since_the_outage_began() {
        let line = line();
        line.update(|status| status.state = State::Backoff);
        line.update(|status| status.life = Monotonic(0));
        line.update(|status| status.expected = Monotonic(0));
        assert_eq!(silent(&line, LONG), None, "nothing is expected in a pause");
        line.enter(State::Connecting);
        assert!(silent(&line, Duration::ZERO).unwrap() < Duration::from_secs(60));
        assert!(silent(&line, LONG).unwrap() >= LONG, "from then on it is");
    }

    #[test]
    fn waiting_for_our_own_is_not_the_servers_silence() {
        let line = line();
        line.update(|status| status.expected = Monotonic(0));
        line.update(|status| status.life = Monotonic(0));
        let wait = line.our_wait();
        assert_eq!(silent(&line, LONG), None);
        drop(wait);
        assert!(silent(&line, Duration::ZERO).unwrap() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn looking_for_the_order_to_stop_takes_no_other_order() {
        let line = line();
        line.order(Order::Resync);
        line.order(Order::Pause);
        let early = tokio::time::timeout(Duration::from_millis(20), line.stopped()).await;
        assert!(early.is_err());
        assert!(line.take_pause());
        assert!(!line.take_pause());
        line.order(Order::Stop);
        line.stopped().await;
        assert_eq!(line.next_order().await, Order::Resync);
        assert_eq!(line.next_order().await, Order::Stop);
    }
}
