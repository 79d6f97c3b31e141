//! From the outbox to the endpoints: one task per endpoint sends what is due and settles it.
//!
//! A nudge is a hint, the table is the truth. A slot is free again only when what became of its
//! delivery is durable, and no attempt starts while an outcome cannot be stored.

mod attempt;
mod lane;
mod line;
mod preview;
mod status;
mod storage;
mod transport;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use postrider_core::{
    delivery::RetryPolicy,
    event::{EventType, system_id},
    ids::EndpointKey,
    time::Wall,
};
use postrider_store::{Act, Claimed, EventRow, Store, StoreError};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock,
    config::{Config, Endpoint, Environment},
    secrets::{Pace, SecretList, Secrets},
    telemetry::{Telemetry, delivery::EndpointState},
};
use attempt::Post;
use lane::Lane;
use line::{Line, Order};
use storage::Storage;

pub use line::Slots;
pub use preview::{Outlook, Preview, preview};
pub use status::{EndpointStatus, LastError};

/// A change that somebody should hear of as a system event.
#[derive(Clone, Debug)]
pub enum Transition {
    /// The endpoint is in trouble since `at`; `detail` says what the attempt said.
    Opened {
        endpoint: EndpointKey,
        at: Wall,
        detail: String,
    },
    /// The endpoint has recovered.
    Closed {
        endpoint: EndpointKey,
        at: Wall,
        detail: String,
    },
    /// The receiver asked for nothing more, and the endpoint is paused.
    Disabled {
        endpoint: EndpointKey,
        at: Wall,
        detail: String,
    },
    /// A delivery ended as a dead letter.
    Dead {
        endpoint: EndpointKey,
        event: Uuid,
        at: Wall,
        detail: String,
    },
}

/// Why an order to an endpoint was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no endpoint {0}; hint: `postrider endpoints list` names them")]
    Unknown(EndpointKey),
    #[error("endpoint {0} gets messages alone, and a ping is none: nothing was sent")]
    MessagesAlone(EndpointKey),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of a ping.
#[derive(Clone, Debug)]
pub struct Pinged {
    /// The event's id, as the endpoint got it.
    pub event: Uuid,
    pub status: Option<u16>,
    /// `delivered`, or what went wrong, as metrics name it.
    pub outcome: &'static str,
    pub note: String,
    pub took: Duration,
}

type Endpoints = BTreeMap<EndpointKey, Arc<Endpoint>>;

/// The handle that everybody has.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    deps: Deps,
    lanes: RwLock<Lanes>,
}

#[derive(Default)]
struct Lanes {
    lines: BTreeMap<EndpointKey, Arc<Line>>,
    /// Endpoints that are configured no more and had deliveries waiting, and since when that is known.
    orphans: BTreeMap<EndpointKey, Wall>,
    /// Lines of endpoints that were taken out and may still be coming to their end.
    retired: BTreeMap<EndpointKey, Weak<Line>>,
    /// An operator's pauses, as the store has them: they outlive a configuration as well.
    paused: BTreeSet<EndpointKey>,
    tasks: Vec<JoinHandle<()>>,
}

/// What every lane leans on.
#[derive(Clone)]
pub(crate) struct Deps {
    instance: Arc<str>,
    store: Store,
    telemetry: Arc<Telemetry>,
    transitions: mpsc::Sender<Transition>,
    secrets: Secrets,
    policy: RetryPolicy,
    fatal: CancellationToken,
}

impl Dispatcher {
    /// Starts a task per endpoint, so it must be called within the runtime. `transitions` hears of
    /// endpoints in trouble and recovered, and of events that ended.
    pub async fn new(
        config: &Config,
        store: Store,
        telemetry: Arc<Telemetry>,
        transitions: mpsc::Sender<Transition>,
    ) -> Result<Self, StoreError> {
        let environment = Environment::of_process();
        let secrets = Secrets::new(environment, Arc::clone(&telemetry), Pace::default());
        let instance = Arc::clone(&config.instance);
        Self::with(
            instance,
            &config.endpoints,
            store,
            telemetry,
            transitions,
            secrets,
            RetryPolicy::default(),
        )
        .await
    }

    /// The same with secrets and figures of the caller's choice.
    pub async fn with(
        instance: Arc<str>,
        endpoints: &Endpoints,
        store: Store,
        telemetry: Arc<Telemetry>,
        transitions: mpsc::Sender<Transition>,
        secrets: Secrets,
        policy: RetryPolicy,
    ) -> Result<Self, StoreError> {
        let fatal = CancellationToken::new();
        let deps = Deps {
            instance,
            store,
            telemetry,
            transitions,
            secrets,
            policy,
            fatal,
        };
        Self::start(endpoints, deps).await
    }

    async fn start(endpoints: &Endpoints, deps: Deps) -> Result<Self, StoreError> {
        let configured: Vec<EndpointKey> = endpoints.keys().cloned().collect();
        let paused = deps.store.paused_endpoints().await?;
        let orphans = deps.store.orphans(&configured).await?;
        let dispatcher = Self(Arc::new(Inner {
            deps,
            lanes: RwLock::default(),
        }));
        dispatcher.change(|lanes, deps| {
            deps.expect_waits(endpoints);
            lanes.paused = paused.into_iter().collect();
            for row in orphans.into_iter().filter(|row| row.pending > 0) {
                lanes.orphan(deps, row.endpoint);
            }
            for (key, endpoint) in endpoints {
                lanes.start(deps, endpoint, lanes.paused.contains(key));
            }
        });
        Ok(dispatcher)
    }

    /// Puts the endpoints of a new configuration into use. One that did not change goes on
    /// untouched; one that is gone finishes what is in flight and is listed as orphaned while
    /// deliveries wait for it.
    pub fn reconfigure(&self, config: &Config) -> Result<(), OrderError> {
        self.put(&config.endpoints);
        Ok(())
    }

    fn put(&self, endpoints: &Endpoints) {
        self.change(|lanes, deps| {
            deps.expect_waits(endpoints);
            let gone: Vec<EndpointKey> = lanes
                .lines
                .keys()
                .filter(|key| !endpoints.contains_key(*key))
                .cloned()
                .collect();
            for key in gone {
                if let Some(line) = lanes.lines.remove(&key) {
                    line.order(Order::Retire);
                    lanes.retired.insert(key.clone(), Arc::downgrade(&line));
                }
                lanes.orphan(deps, key);
            }
            for (key, endpoint) in endpoints {
                match lanes.lines.get(key) {
                    Some(line) => line.order(Order::Configure(Arc::clone(endpoint))),
                    None => lanes.start(deps, endpoint, lanes.paused.contains(key)),
                }
            }
            lanes.retired.retain(|_, line| line.strong_count() > 0);
            lanes.tasks.retain(|task| !task.is_finished());
        });
        self.0.deps.secrets.look_soon();
    }

    /// Reserves up to `want` slots for deliveries that are about to be committed; none while the
    /// endpoint is in trouble, paused or unknown, or while older deliveries wait in the table.
    pub fn slots(&self, endpoint: &EndpointKey, want: usize) -> Slots {
        Slots::reserve(self.line(endpoint), want)
    }

    /// Sends deliveries that a commit has leased; `slots` were reserved for them, what is left of
    /// them is free again.
    pub fn send_claimed(&self, claimed: Vec<Claimed>, slots: Vec<(EndpointKey, Slots)>) {
        let mut by_endpoint: BTreeMap<EndpointKey, Vec<Claimed>> = BTreeMap::new();
        for one in claimed {
            by_endpoint
                .entry(one.endpoint.clone())
                .or_default()
                .push(one);
        }
        for (endpoint, batch) in by_endpoint {
            let reserved = slots
                .iter()
                .find(|(key, _)| *key == endpoint)
                .and_then(|(_, slots)| slots.line());
            let refused = match reserved.or_else(|| self.line(&endpoint)) {
                Some(line) => line.push(batch).err(),
                None => Some(batch),
            };
            if let Some(batch) = refused {
                self.give_back(batch);
            }
        }
    }

    /// The endpoint has no lane any more: its leases must not stay with this process.
    fn give_back(&self, batch: Vec<Claimed>) {
        let dispatcher = self.clone();
        tokio::spawn(async move {
            let deps = &dispatcher.0.deps;
            let Some(first) = batch.first() else { return };
            let mut storage = Storage::new(deps.store.clone(), first.endpoint.clone());
            let now = clock::wall();
            for claimed in &batch {
                storage.put(storage::returned(claimed, now));
            }
            let process = &deps.telemetry.process;
            let told = |error: &StoreError| process.store_failed("giving back deliveries", error);
            if storage.settle_all(told).await.is_err() {
                deps.fatal.cancel();
                return;
            }
            // The endpoint may have been configured again meanwhile.
            for claimed in &batch {
                dispatcher.nudge(&claimed.endpoint);
            }
        });
    }

    /// There is something new in the table for this endpoint.
    pub fn nudge(&self, endpoint: &EndpointKey) {
        if let Some(line) = self.line(endpoint) {
            line.nudge();
        }
    }

    /// The same for what is due in its turn: the table is asked when that is.
    pub fn scheduled(&self, endpoint: &EndpointKey) {
        if let Some(line) = self.line(endpoint) {
            line.order(Order::Look);
        }
    }

    /// An operator's pause; it outlives a restart.
    pub async fn pause(&self, endpoint: &EndpointKey, act: &Act) -> Result<(), OrderError> {
        let line = self
            .line(endpoint)
            .ok_or_else(|| OrderError::Unknown(endpoint.clone()))?;
        self.0.deps.store.pause_endpoint(endpoint, act).await?;
        self.change(|lanes, _| lanes.paused.extend([endpoint.clone()]));
        line.order(Order::Pause);
        Ok(())
    }

    pub async fn resume(&self, endpoint: &EndpointKey, act: &Act) -> Result<(), OrderError> {
        let line = self
            .line(endpoint)
            .ok_or_else(|| OrderError::Unknown(endpoint.clone()))?;
        self.0.deps.store.resume_endpoint(endpoint, act).await?;
        self.change(|lanes, _| lanes.paused.retain(|key| key != endpoint));
        line.order(Order::Resume);
        Ok(())
    }

    /// Sends a signed `ping` event now, past queue, pause and breaker, and tells what came of it.
    /// It is not stored. An endpoint in trouble that accepts it is probed at once.
    pub async fn ping(&self, endpoint: &EndpointKey) -> Result<Pinged, OrderError> {
        let line = self
            .line(endpoint)
            .ok_or_else(|| OrderError::Unknown(endpoint.clone()))?;
        let deps = &self.0.deps;
        let settings = line.endpoint();
        if settings.needs_message() {
            return Err(OrderError::MessagesAlone(endpoint.clone()));
        }
        let list = deps.secrets.watch(&settings.secrets()).borrow().clone();
        let told = ping(&deps.instance, &settings, &list).await;
        if told.outcome == "delivered" {
            line.order(Order::Probe);
        }
        Ok(told)
    }

    /// Every endpoint, those that are configured no more and have deliveries waiting among them.
    pub fn status(&self) -> Vec<EndpointStatus> {
        let lanes = self.0.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<EndpointStatus> = lanes.lines.values().map(|line| line.status()).collect();
        all.extend(
            lanes
                .orphans
                .iter()
                .map(|(key, since)| EndpointStatus::orphaned(key.clone(), *since)),
        );
        all.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        all
    }

    /// Cancelled when the database file failed or a task of the dispatcher broke: the process has
    /// to end and start anew.
    pub fn fatal(&self) -> CancellationToken {
        self.0.deps.fatal.clone()
    }

    /// Stops starting attempts, gives back what waits in memory, and lets what is in flight come
    /// to its end within `grace`. Returns when every outcome that there is has been stored.
    pub async fn drain(&self, grace: Duration) {
        let deadline = clock::monotonic() + grace;
        let tasks = {
            let mut lanes = self.0.lanes.write().unwrap_or_else(PoisonError::into_inner);
            let retired: Vec<_> = lanes.retired.values().filter_map(Weak::upgrade).collect();
            for line in lanes.lines.values().chain(&retired) {
                line.order(Order::Drain(deadline));
            }
            std::mem::take(&mut lanes.tasks)
        };
        for task in tasks {
            // How it ended has been told by its guard.
            let _ = task.await;
        }
    }

    fn line(&self, endpoint: &EndpointKey) -> Option<Arc<Line>> {
        self.0
            .lanes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .get(endpoint)
            .cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Lanes, &Deps)) {
        change(
            &mut self.0.lanes.write().unwrap_or_else(PoisonError::into_inner),
            &self.0.deps,
        );
    }
}

/// Sends a signed `ping` event to an endpoint, which needs neither a lane nor the store.
pub async fn ping(instance: &Arc<str>, settings: &Endpoint, secrets: &SecretList) -> Pinged {
    let now = clock::wall();
    let endpoint = &settings.key;
    let data = serde_json::json!({
        "mailbox": null, "scope": endpoint.as_str(), "reason": "ping",
        "detail": "an operator asked whether this endpoint can be reached", "hint": "", "since": now.rfc3339(),
    });
    let event = EventRow {
        id: system_id(instance, endpoint.as_str(), EventType::Ping, now),
        event_type: EventType::Ping,
        mailbox: None,
        subject: endpoint.as_str().to_owned(),
        time: now,
        stored_at: now,
        data: data.to_string().into(),
    };
    let claimed = attempt::unstored(endpoint, event);
    let sent = match Post::new(instance, None, settings, secrets) {
        Ok(post) => Arc::new(post).send(&claimed).await,
        Err(why) => attempt::not_sent(why),
    };
    Pinged {
        event: claimed.event.id,
        status: sent.attempt.status(),
        outcome: sent.attempt.outcome(),
        note: sent.note,
        took: sent.took,
    }
}

impl Deps {
    /// The store takes a due time for a jump of a clock that lies further ahead than any endpoint's
    /// longest wait.
    fn expect_waits(&self, endpoints: &Endpoints) {
        let waits = endpoints
            .values()
            .map(|endpoint| lane::policy(&self.policy, endpoint).longest_wait());
        let longest = waits.fold(self.policy.longest_wait(), Duration::max);
        self.store.set_due_ahead_max(longest);
    }
}

impl Lanes {
    fn start(&mut self, deps: &Deps, endpoint: &Arc<Endpoint>, paused: bool) {
        self.orphans.remove(&endpoint.key);
        let line = Arc::new(Line::new(Arc::clone(endpoint)));
        let lane = Lane::new(deps.clone(), Arc::clone(&line));
        let before = self.retired.remove(&endpoint.key);
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            before.set_heir(Arc::clone(&line));
        }
        if paused {
            line.order(Order::Pause);
        }
        self.lines.insert(endpoint.key.clone(), line);
        let (guard, key) = (deps.clone(), endpoint.key.clone());
        self.tasks.push(tokio::spawn(async move {
            // A lane that is gone would keep its leases: better a process that starts anew.
            if let Err(ended) = tokio::spawn(lane.run()).await {
                guard
                    .telemetry
                    .delivery
                    .lane_failed(&key, &ended.to_string());
                guard.fatal.cancel();
            }
        }));
    }

    fn orphan(&mut self, deps: &Deps, endpoint: EndpointKey) {
        deps.telemetry
            .delivery
            .endpoint_state(&endpoint, EndpointState::Orphaned);
        self.orphans.insert(endpoint, clock::wall());
    }
}
