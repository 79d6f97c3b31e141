//! A store in a temporary directory, a dispatcher on it, and events to deliver.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use postrider_core::{
    delivery::{RetryPolicy, classify::Classifier, order::Order},
    event::EventType,
    ids::EndpointKey,
};
use postrider_store::{EventIdentity, NewDelivery, NewEvent, Options, OutboxRow, Store};
use postrider_webhook::format::event::{Attachments, Texts};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    super::*,
    receiver::{Receiver, SECRET},
};
use crate::config::{self, SecretRef};

pub(super) const VARIABLE: &str = "HOOK_SECRET";

/// A figure of seconds in real life is one of tens of milliseconds here.
pub(super) fn quick() -> RetryPolicy {
    let ms = Duration::from_millis;
    RetryPolicy {
        schedule: vec![ms(50), ms(200), ms(400)],
        wait_min: ms(10),
        probe_first: ms(40),
        probe_max: ms(200),
        ..RetryPolicy::default()
    }
}

pub(super) fn act() -> postrider_store::Act {
    postrider_store::Act {
        at: crate::clock::wall(),
        who: "operator".to_owned(),
        through: "test".to_owned(),
        why: None,
    }
}

pub(super) fn key() -> EndpointKey {
    EndpointKey::from("tickets")
}

pub(super) fn endpoint(receiver: &Receiver) -> Endpoint {
    Endpoint {
        key: key(),
        url: format!("http://{}/hook", receiver.at).parse().unwrap(),
        format: config::EndpointFormat::Event {
            texts: Texts::Text,
            attachments: Attachments::Metadata,
        },
        secret: vec![SecretRef::Env(VARIABLE.to_owned())],
        types: vec![EventType::MessageReceived],
        when: None,
        suppress_duplicates: None,
        max_in_flight: 4,
        timeout: Duration::from_secs(5),
        retry: config::Retry {
            schedule: quick().schedule.into(),
            give_up_after: Duration::from_secs(3600),
            retry_after_max: Duration::from_secs(3600),
        },
        classifier: Classifier::default(),
        order: Order::None,
        order_block_max: Duration::from_secs(3600),
        allow_plaintext: false,
        ca_file: None,
        proxy: config::Proxy::None,
        transport: config::Transport::default(),
        after: Arc::default(),
        links: None,
    }
}

pub(super) fn endpoints(list: Vec<Endpoint>) -> Endpoints {
    list.into_iter()
        .map(|one| (one.key.clone(), Arc::new(one)))
        .collect()
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) dispatcher: Dispatcher,
    pub(super) transitions: mpsc::Receiver<Transition>,
    pub(super) telemetry: Arc<Telemetry>,
    mails: u32,
    _dir: Option<tempfile::TempDir>,
}

pub(super) async fn open(dir: &Path) -> Store {
    let options = Options {
        path: dir.join("postrider.db"),
        spool: dir.join("spool"),
        allow_network_filesystem: false,
        reserve_bytes: 1 << 20,
        budget_bytes: None,
        budget_action: postrider_store::BudgetAction::PauseReading,
        due_ahead_max: RetryPolicy::default().longest_wait(),
    };
    Store::open(options).await.unwrap()
}

impl World {
    pub(super) async fn new(receiver: &Receiver) -> Self {
        Self::with(vec![endpoint(receiver)], quick()).await
    }

    pub(super) async fn with(list: Vec<Endpoint>, policy: RetryPolicy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::at(dir.path(), list, policy, SECRET).await;
        world._dir = Some(dir);
        world
    }

    pub(super) async fn at(
        dir: &Path,
        list: Vec<Endpoint>,
        policy: RetryPolicy,
        secret: &str,
    ) -> Self {
        let store = open(dir).await;
        let telemetry = Arc::new(Telemetry::new().unwrap());
        let mut variables = BTreeMap::new();
        if !secret.is_empty() {
            variables.insert(VARIABLE.to_owned(), secret.to_owned());
        }
        let environment = Environment {
            variables,
            host: None,
            now: clock::wall(),
        };
        let secrets = Secrets::new(environment, Arc::clone(&telemetry), Pace::default());
        let (sender, transitions) = mpsc::channel(64);
        let deps = Deps {
            instance: Arc::from("tests"),
            store: store.clone(),
            telemetry: Arc::clone(&telemetry),
            transitions: sender,
            secrets,
            policy,
            fatal: CancellationToken::new(),
        };
        let dispatcher = Dispatcher::start(&endpoints(list), deps).await.unwrap();
        Self {
            store,
            dispatcher,
            transitions,
            telemetry,
            mails: 0,
            _dir: None,
        }
    }

    /// Commits an event as a watcher does: leased where a slot is free, else with a nudge.
    pub(super) async fn mail(&mut self, text: &str) -> Uuid {
        self.mails += 1;
        let id = Uuid::new_v4();
        let mut slots = self.dispatcher.slots(&key(), 1);
        let leased = slots.take();
        let receipt = self
            .store
            .add_event(event(id, text, leased), clock::wall())
            .await
            .unwrap();
        assert_eq!(receipt.claimed.len(), usize::from(leased));
        self.dispatcher
            .send_claimed(receipt.claimed, vec![(key(), slots)]);
        if !leased {
            self.dispatcher.nudge(&key());
        }
        id
    }

    pub(super) async fn mails(&mut self, count: u32) {
        for _ in 0..count {
            self.mail("hello").await;
        }
    }

    pub(super) async fn row(&self) -> OutboxRow {
        let rows = self.store.outbox().await.unwrap();
        rows.into_iter().find(|row| row.endpoint == key()).unwrap()
    }

    /// Until the table says that nothing is pending any more.
    pub(super) async fn all_settled(&self, within: Duration) -> OutboxRow {
        let started = Instant::now();
        loop {
            let row = self.row().await;
            if row.pending == 0 {
                assert_eq!(row.delivered + row.dead, u64::from(self.mails), "{row:?}");
                return row;
            }
            assert!(
                started.elapsed() < within,
                "not settled in {within:?}: {row:?} {:?}",
                self.dispatcher.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every event was accepted, none ended otherwise, and no signature was wrong.
    pub(super) async fn all_delivered(&self, receiver: &Receiver, within: Duration) {
        let row = self.all_settled(within).await;
        assert_eq!((row.delivered, row.dead), (u64::from(self.mails), 0));
        let taken = receiver.taken();
        assert_eq!(taken.forged, 0);
        assert_eq!(
            taken.accepted.len(),
            self.mails as usize,
            "every id, and no other"
        );
    }

    pub(super) fn status(&self) -> EndpointStatus {
        self.dispatcher
            .status()
            .into_iter()
            .find(|status| status.endpoint == key())
            .unwrap()
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "never: {what}; {:?}",
                self.dispatcher.status()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What was told until now, by name.
    pub(super) fn told(&mut self) -> Vec<&'static str> {
        let mut told = Vec::new();
        while let Ok(transition) = self.transitions.try_recv() {
            told.push(match transition {
                Transition::Opened { .. } => "opened",
                Transition::Closed { .. } => "closed",
                Transition::Disabled { .. } => "disabled",
                Transition::Dead { .. } => "dead",
            });
        }
        told
    }
}

pub(super) fn event(id: Uuid, text: &str, leased: bool) -> NewEvent {
    NewEvent {
        identity: EventIdentity::System { id },
        event_type: EventType::Ping,
        mailbox: None,
        subject: "tests".to_owned(),
        time: clock::wall(),
        message_id: None,
        data: serde_json::json!({ "scope": text }).to_string().into(),
        raw: None,
        spool: None,
        deliveries: vec![NewDelivery {
            order: None,
            endpoint: key(),
            leased,
            when_failed: false,
            twins_since: None,
        }],
    }
}
