//! What every watch of the process leans on, handed around as one `Arc`.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use postrider_store::Store;
use tokio::sync::Semaphore;
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
    /// KiB of the one budget for everything that is being read and parsed.
    pub memory: Arc<Semaphore>,
    /// One large message is parsed at a time.
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
