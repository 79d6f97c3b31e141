//! What every watch of the process leans on, handed around as one `Arc`.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use postrider_store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Limits},
    dispatcher::Dispatcher,
    telemetry::Telemetry,
    tls::TlsConfigs,
    tokens::Tokens,
};

pub struct Shared {
    pub instance: Arc<str>,
    pub limits: Limits,
    pub store: Store,
    pub tokens: Tokens,
    pub dispatcher: Dispatcher,
    pub telemetry: Arc<Telemetry>,
    pub tls: TlsConfigs,
    /// Logins per server host: a start or the end of an outage is a ramp, not a wall.
    pub ramp: Ramp,
    /// The one budget for everything that is being read and parsed.
    pub memory: Memory,
    /// One large message is in memory at a time.
    pub large: Semaphore,
    /// Ends what waits for its turn; watches end by their orders.
    pub stop: CancellationToken,
    /// Ends the process after an error that it cannot go on with.
    pub fatal: CancellationToken,
    /// The configuration in force.
    pub config: std::sync::RwLock<Arc<Config>>,
}

impl Shared {
    pub fn config(&self) -> Arc<Config> {
        self.config
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// The budget for what is being read, in KiB. The mailboxes of one server get three quarters of it
/// at most: when its connections freeze in the middle of their reads, others still have room.
pub struct Memory {
    all: Arc<Semaphore>,
    all_kib: u32,
    servers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A part of the budget, given back when dropped.
pub struct Room {
    _of_server: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Memory {
    pub fn new(bytes: u64) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let all_kib = u32::try_from(bytes / 1024)
            .unwrap_or(u32::MAX)
            .clamp(1, most);
        Self {
            all: semaphore(all_kib),
            all_kib,
            servers: Mutex::default(),
        }
    }

    /// What one read takes of it, where it would like to have `kib`.
    pub fn share(&self, kib: u32) -> u32 {
        kib.min(self.server_kib())
    }

    fn server_kib(&self) -> u32 {
        (self.all_kib - self.all_kib / 4).max(1)
    }

    /// Waits for room for [`Self::share`] of `kib`; in order, and safe to drop.
    pub async fn room(&self, server: &str, kib: u32) -> Option<Room> {
        let kib = self.share(kib);
        let of_server = {
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            let share = servers.entry(server.to_owned());
            share
                .or_insert_with(|| semaphore(self.server_kib()))
                .clone()
        };
        Some(Room {
            _of_server: of_server.acquire_many_owned(kib).await.ok()?,
            _of_all: self.all.clone().acquire_many_owned(kib).await.ok()?,
        })
    }
}

fn semaphore(kib: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(
        usize::try_from(kib).unwrap_or(Semaphore::MAX_PERMITS),
    ))
}

/// Logins at a set rate per server host, in the order in which they came.
pub struct Ramp {
    limiter: DefaultKeyedRateLimiter<String>,
    /// One at a time asks the limiter: ten thousand that all ask it whenever one may go would keep
    /// the processor busy, and some of them waiting for ever.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Ramp {
    pub fn new(limits: &Limits) -> Self {
        let rate = NonZeroU32::new(limits.logins_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(limits.login_burst).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
            turns: Mutex::default(),
        }
    }

    /// Returns when a login at this host may begin. Safe to drop: the next one moves up.
    pub async fn turn(&self, host: &String) {
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(host.clone()).or_default().clone()
        };
        let _turn = turns.lock().await;
        self.limiter.until_key_ready(host).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_server_that_keeps_its_reads_waiting_leaves_room_for_others() {
        let memory = Memory::new(32 * 1024 * 1024);
        let read = 8 * 1024;
        let mut frozen = Vec::new();
        for _ in 0..3 {
            frozen.push(memory.room("frozen", read).await.unwrap());
        }
        let more = memory.room("frozen", read);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), more)
                .await
                .is_err()
        );
        let other = memory.room("other", read);
        assert!(
            tokio::time::timeout(Duration::from_secs(5), other)
                .await
                .is_ok()
        );
    }

    #[test]
    fn a_budget_smaller_than_a_read_still_serves_one() {
        let memory = Memory::new(4 * 1024 * 1024);
        assert_eq!(memory.share(8 * 1024), 3 * 1024);
        assert_eq!(Memory::new(0).share(8 * 1024), 1);
    }
}
