//! What every watch of the process leans on, handed around as one `Arc`.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use postrider_core::{
    gate::pace::{Pace, PacePolicy, Throttle},
    ids::{CredentialKey, MailboxKey},
};
use postrider_store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    config::{Config, Limits, Mailbox},
    diagnosis::LetIn,
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
    /// Which mailboxes each credential was seen to open.
    pub let_in: LetIn,
    pub tls: TlsConfigs,
    /// Logins per server host: a start or the end of an outage is a ramp, not a wall.
    pub ramp: Ramp,
    /// Connections of all mailboxes together, for servers that have a limit to them.
    pub connections: Connections,
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

/// The connections to each server that has a limit to them. Definitions of one server with different
/// limits are counted each on its own.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<(String, u16, u32), Queue>>);

/// Those who wait for a share of one server's connections, in the order in which they came.
#[derive(Clone)]
pub struct Queue(Arc<Semaphore>);

/// One connection, given back when dropped.
pub struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// A limit that was changed counts anew: sessions from before it are ended by the change.
    pub fn of(&self, host: &str, port: u16, max: u32) -> Queue {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers
            .entry((host.to_owned(), port, max))
            .or_insert_with(|| Queue(semaphore(max)))
            .clone()
    }
}

impl Queue {
    /// Safe to drop: the next one moves up.
    pub async fn take(&self) -> Option<Share> {
        let permit = self.0.clone().acquire_owned().await.ok()?;
        Some(Share { _permit: permit })
    }

    pub fn try_take(&self) -> Option<Share> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        Some(Share { _permit: permit })
    }
}

/// Whose logins share a pace: those at one server with one credential, which is one tenant's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RampKey {
    pub host: String,
    pub credential: CredentialKey,
}

impl RampKey {
    pub fn of(mailbox: &Mailbox) -> Self {
        Self {
            host: mailbox.server.host.clone(),
            credential: mailbox.credential.clone(),
        }
    }
}

/// Logins at a set rate per server host, in the order in which they came; slower for a credential
/// whose mailboxes the server throttles.
pub struct Ramp {
    limiter: DefaultKeyedRateLimiter<String>,
    policy: PacePolicy,
    /// One at a time asks the limiter: ten thousand that all ask it whenever one may go would keep
    /// the processor busy, and some of them waiting for ever.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Only of those that were ever throttled.
    paces: Mutex<HashMap<RampKey, Paced>>,
}

/// A pace, and the line of those who wait for it: only its first asks.
struct Paced {
    pace: Pace,
    first: Arc<tokio::sync::Mutex<()>>,
}

impl Ramp {
    pub fn new(limits: &Limits) -> Self {
        let rate = NonZeroU32::new(limits.logins_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(limits.login_burst).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
            policy: PacePolicy::new(rate.get()),
            turns: Mutex::default(),
            paces: Mutex::default(),
        }
    }

    /// Returns when a login may begin. Safe to drop: the next one moves up.
    pub async fn turn(&self, key: &RampKey) {
        self.paced(key).await;
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(key.host.clone()).or_default().clone()
        };
        let _turn = turns.lock().await;
        self.limiter.until_key_ready(&key.host).await;
    }

    /// Waits as long as the tenant is throttled, which may end while thousands wait.
    async fn paced(&self, key: &RampKey) {
        let Some(first) = self.with_pace(key, |paced| paced.first.clone()) else {
            return;
        };
        let _first = first.lock().await;
        while let Some(Err(later)) =
            self.with_pace(key, |paced| paced.pace.turn(clock::monotonic()))
        {
            tokio::time::sleep_until(clock::instant(later)).await;
        }
    }

    fn with_pace<T>(&self, key: &RampKey, act: impl FnOnce(&mut Paced) -> T) -> Option<T> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        paces.get_mut(key).map(act)
    }

    /// A mailbox was throttled when it logged in. Answers the time between two logins, where all of
    /// the credential slow down for it.
    pub fn throttled(&self, key: &RampKey, mailbox: &MailboxKey) -> Option<Duration> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let paced = paces.entry(key.clone()).or_insert_with(|| Paced {
            pace: Pace::new(self.policy.clone()),
            first: Arc::default(),
        });
        match paced.pace.throttled(mailbox, clock::monotonic()) {
            Throttle::Own => None,
            Throttle::Shared { interval } => Some(interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(logins_per_second: u32, login_burst: u32) -> Ramp {
        Ramp::new(&Limits {
            memory_bytes: 0,
            inline_bytes: 0,
            parse_bytes: 0,
            event_bytes: 0,
            logins_per_second,
            login_burst,
            connections_per_mailbox: 8,
            grace: Duration::ZERO,
            stalled_after: Duration::ZERO,
            audit_every: Duration::ZERO,
            audit_days: 1,
        })
    }

    fn key(host: &str, credential: &str) -> RampKey {
        RampKey {
            host: host.to_owned(),
            credential: credential.into(),
        }
    }

    /// How long the logins of so many mailboxes that come back at one moment take.
    async fn all_log_in(ramp: &Arc<Ramp>, key: &RampKey, mailboxes: usize) -> Duration {
        let began = std::time::Instant::now();
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..mailboxes {
            let (ramp, key) = (ramp.clone(), key.clone());
            logins.spawn(async move { ramp.turn(&key).await });
        }
        while logins.join_next().await.is_some() {}
        began.elapsed()
    }

    #[tokio::test]
    async fn a_thousand_mailboxes_after_an_outage_keep_to_the_ramp() {
        let ramp = Arc::new(ramp(1_000, 100));
        let took = all_log_in(&ramp, &key("host", "one"), 1_000).await;
        // 100 at once, and the other 900 at 1,000 per second.
        assert!(took >= Duration::from_millis(890), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn a_tenant_that_is_throttled_slows_down_and_others_do_not() {
        let ramp = Arc::new(ramp(500, 500));
        let (slow, other) = (key("host", "one"), key("host", "two"));
        let mailboxes = ["a", "b", "c", "d", "e", "f"];
        let told: Vec<_> = mailboxes
            .iter()
            .map(|mailbox| ramp.throttled(&slow, &MailboxKey::new(*mailbox)))
            .collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(told, [None, None, millis(4), None, None, millis(8)]);
        let took = all_log_in(&ramp, &slow, 51).await;
        assert!(took >= Duration::from_millis(390), "{took:?}");
        let took = all_log_in(&ramp, &other, 51).await;
        assert!(took < Duration::from_millis(390), "{took:?}");
    }

    #[tokio::test]
    async fn who_gives_up_in_a_slow_line_leaves_no_gap_in_it() {
        let ramp = Arc::new(ramp(500, 500));
        let slow = key("host", "one");
        for mailbox in ["a", "b", "c"].repeat(6) {
            ramp.throttled(&slow, &MailboxKey::new(mailbox));
        }
        // One login in 128 ms from here on.
        ramp.turn(&slow).await;
        let gone: Vec<_> = (0..80)
            .map(|_| {
                let (ramp, slow) = (ramp.clone(), slow.clone());
                tokio::spawn(async move { ramp.turn(&slow).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for one in gone {
            one.abort();
        }
        let began = std::time::Instant::now();
        ramp.turn(&slow).await;
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn connections_of_a_server_are_shared_out_in_turn() {
        let connections = Connections::default();
        let queue = connections.of("host", 993, 2);
        let (one, two) = (queue.take().await, queue.try_take());
        assert!(one.is_some() && two.is_some());
        assert!(connections.of("host", 993, 2).try_take().is_none());
        assert!(connections.of("other", 993, 2).try_take().is_some());
        drop(one);
        assert!(connections.of("host", 993, 2).try_take().is_some());
        let more = connections.of("host", 993, 9).try_take();
        assert!(more.is_some());
        let three = [(); 2].map(|()| connections.of("host", 993, 2).try_take());
        assert!(
            three.iter().flatten().count() <= 1,
            "two definitions of one server void no limit"
        );
    }

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
