//! The line between a watch and everybody else: orders go in, its state can be read.
//!
//! It lives once per watch, so it stays small; its locks are held for moments and never across
//! an await.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postrider_core::{
    ids::WatchKey,
    time::{Monotonic, Wall},
    watch::{Hold, Order},
};
use tokio::sync::Notify;

use crate::{clock, telemetry::mail::State};

/// Orders that may wait: an operator cannot usefully queue more, the supervisor sends few.
const ORDERS_MAX: usize = 32;

pub struct WatchLine {
    pub key: WatchKey,
    orders: Mutex<Vec<Order>>,
    notify: Notify,
    status: Mutex<Status>,
}

/// Where a watch stands.
#[derive(Clone, Debug)]
pub struct Status {
    pub state: State,
    pub since: Wall,
    /// The last proof of life: a tagged OK or untagged data.
    pub life: Monotonic,
    pub life_at: Wall,
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
            status: Mutex::new(Status {
                state: State::Connecting,
                since: now.wall,
                life: now.monotonic,
                life_at: now.wall,
                synced_at: None,
                wake: None,
                trouble: None,
                hold: None,
                polling: false,
                next_try: None,
            }),
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
        let status = lock(&self.status);
        match status.state {
            State::Connecting | State::Syncing | State::Watching => Some(now - status.life),
            State::Backoff
            | State::AuthFailed
            | State::Throttled
            | State::Held
            | State::Paused
            | State::StoreFull => None,
        }
    }
}
