//! The supervisor: starts a task per watch, starts it again when it panics or stalls, and changes
//! only what differs when the configuration is read again. It never ends because a watch did.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use postrider_core::{
    backoff::Backoff,
    event::EventType,
    gate::GatePolicy,
    ids::{EndpointKey, MailboxKey},
    time::{Monotonic, Wall},
    watch::Order,
};
use postrider_store::Act;
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, Id, JoinError, JoinSet},
};

use crate::{
    clock,
    config::{self, Changes, Config, Mailbox},
    directory::{Directory, Worker},
    dispatcher,
    gate::MailboxGate,
    shared::Shared,
    system_events::{self, Happening},
    telemetry::mail::State,
    tokens,
    watch_line::WatchLine,
    watcher::Watcher,
};

/// How often the watches are looked at for signs of life.
const TICK: Duration = Duration::from_secs(5);

/// A watch that panics is started again after this; the streak ends after a stable time.
const RESTART: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(300),
    stable: Duration::from_secs(600),
};

pub enum Command {
    Reload {
        dry_run: DryRun,
        reply: oneshot::Sender<Result<Reloaded, Vec<String>>>,
    },
}

/// What a reload changed, or would change.
pub struct Reloaded {
    pub changes: Changes,
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    Yes,
    No,
}

pub struct Supervisor {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    config_path: PathBuf,
    watches: JoinSet<()>,
    running: HashMap<Id, Running>,
    /// Mailboxes that start anew, with changed settings, when their old watches have ended.
    successors: HashMap<MailboxKey, Arc<Mailbox>>,
}

struct Running {
    mailbox: Arc<Mailbox>,
    gate: Arc<MailboxGate>,
    line: Arc<WatchLine>,
    task: AbortHandle,
    started: Monotonic,
    failures: u32,
    /// It was told to stop: however it ends, it is not started again.
    stopping: bool,
}

/// What the supervisor hears from others.
pub struct Channels {
    pub commands: mpsc::Receiver<Command>,
    pub endpoints: mpsc::Receiver<dispatcher::Transition>,
    pub credentials: mpsc::Receiver<tokens::Transition>,
}

impl Supervisor {
    pub fn new(shared: Arc<Shared>, directory: Arc<Directory>, config_path: PathBuf) -> Self {
        Self {
            shared,
            directory,
            config_path,
            watches: JoinSet::new(),
            running: HashMap::new(),
            successors: HashMap::new(),
        }
    }

    /// Runs until `stop` is cancelled, then stops every watch; returns when they have ended or the
    /// grace period is over.
    pub async fn run(mut self, mut channels: Channels) {
        for mailbox in self.shared.config().mailboxes.values() {
            self.start(mailbox.clone());
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.watches.join_next_with_id() => self.ended(ended),
                Some(command) = channels.commands.recv() => self.obey(command).await,
                Some(change) = channels.endpoints.recv() => self.endpoint_changed(change).await,
                Some(change) = channels.credentials.recv() => self.credential_changed(change).await,
                _ = tick.tick() => self.look().await,
            }
        }
        self.stop_all().await;
    }

    fn start(&mut self, mailbox: Arc<Mailbox>) {
        let budget = mailbox.server.connections_per_mailbox;
        let gate = Arc::new(MailboxGate::new(postrider_core::gate::Gate::new(
            gate_policy(budget),
        )));
        let lines: Arc<[Arc<WatchLine>]> = mailbox
            .folders
            .iter()
            .map(|folder| {
                Arc::new(WatchLine::new(postrider_core::ids::WatchKey {
                    mailbox: mailbox.key.clone(),
                    folder: folder.clone(),
                }))
            })
            .collect();
        for line in lines.iter() {
            self.spawn(&mailbox, &gate, line, Duration::ZERO, 0);
        }
        self.directory.put(Worker {
            mailbox,
            gate,
            lines,
        });
    }

    fn spawn(
        &mut self,
        mailbox: &Arc<Mailbox>,
        gate: &Arc<MailboxGate>,
        line: &Arc<WatchLine>,
        delay: Duration,
        failures: u32,
    ) {
        let watcher = Watcher::new(
            self.shared.clone(),
            mailbox.clone(),
            line.key.folder.clone(),
            gate.clone(),
            line.clone(),
        );
        let task = self.watches.spawn(watcher.run(delay));
        self.running.insert(
            task.id(),
            Running {
                mailbox: mailbox.clone(),
                gate: gate.clone(),
                line: line.clone(),
                task,
                started: clock::monotonic() + delay,
                failures,
                stopping: false,
            },
        );
    }

    /// A watch's task ended: in order, by a panic, or because it stalled and was aborted.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error.is_panic())),
        };
        let Some(run) = self.running.remove(&id) else {
            return;
        };
        match panicked {
            None => self.succeed(&run.mailbox.key),
            Some(panicked) if run.stopping => {
                if panicked {
                    let mail = &self.shared.telemetry.mail;
                    mail.panicked(&run.line.key, Duration::ZERO);
                }
                self.succeed(&run.mailbox.key);
            }
            Some(panicked) => {
                let lasted = clock::monotonic() - run.started;
                let failures = if lasted >= RESTART.stable {
                    1
                } else {
                    run.failures + 1
                };
                let delay = RESTART.wait(failures, clock::chance());
                if panicked {
                    self.shared.telemetry.mail.panicked(&run.line.key, delay);
                }
                run.line.alive();
                self.spawn(&run.mailbox, &run.gate, &run.line, delay, failures);
            }
        }
    }

    /// Starts a mailbox with its new settings once its last old watch has ended.
    fn succeed(&mut self, key: &MailboxKey) {
        let still_running = self.running.values().any(|run| run.mailbox.key == *key);
        if !still_running && let Some(mailbox) = self.successors.remove(key) {
            self.start(mailbox);
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reload { dry_run, reply } => {
                let result = self.reload(dry_run).await;
                if let Err(problems) = &result {
                    self.shared.telemetry.process.config_refused(problems);
                }
                // Whoever asked may have gone; the reload is done in any case.
                let _ = reply.send(result);
            }
        }
    }

    /// Reads and checks the configuration whole, then changes only what differs.
    async fn reload(&mut self, dry_run: DryRun) -> Result<Reloaded, Vec<String>> {
        let path = self.config_path.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            Config::load(&path, &config::Environment::of_process())
        })
        .await
        .map_err(|error| vec![format!("reading the configuration ended early: {error}")])?
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let old = self.shared.config();
        let new = Arc::new(loaded.config);
        let changes = config::diff(&old, &new);
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        let reloaded = Reloaded { changes, warnings };
        if dry_run == DryRun::Yes {
            return Ok(reloaded);
        }
        self.shared
            .tokens
            .reconfigure(&new)
            .map_err(|error| vec![error.to_string()])?;
        self.shared
            .dispatcher
            .reconfigure(&new)
            .map_err(|error| vec![error.to_string()])?;
        *self
            .shared
            .config
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = new.clone();
        self.apply(&reloaded.changes, &new);
        self.shared
            .telemetry
            .process
            .config_loaded(new.mailboxes.len());
        Ok(reloaded)
    }

    fn apply(&mut self, changes: &Changes, new: &Config) {
        for key in &changes.mailboxes.removed {
            self.successors.remove(key);
            self.stop(key);
            self.directory.remove(key);
        }
        for key in &changes.mailboxes.added {
            let Some(mailbox) = new.mailboxes.get(key) else {
                continue;
            };
            if self.running.values().any(|run| run.mailbox.key == *key) {
                self.successors.insert(key.clone(), mailbox.clone());
            } else {
                self.start(mailbox.clone());
            }
        }
        for key in &changes.mailboxes.changed {
            let Some(mailbox) = new.mailboxes.get(key) else {
                continue;
            };
            // Its old watches are ending already: what follows them is what counts.
            let worker = self.directory.get(key).filter(|_| !self.is_stopping(key));
            let Some(worker) = worker else {
                self.successors.insert(key.clone(), mailbox.clone());
                self.succeed(key);
                continue;
            };
            if only_policy_differs(&worker.mailbox, mailbox) {
                for line in worker.lines.iter() {
                    line.order(Order::Reconfigure(mailbox.policy.clone()));
                }
                for run in self
                    .running
                    .values_mut()
                    .filter(|run| run.mailbox.key == *key)
                {
                    run.mailbox = mailbox.clone();
                }
                self.directory.put(Worker {
                    mailbox: mailbox.clone(),
                    ..worker
                });
            } else {
                self.stop(key);
                self.successors.insert(key.clone(), mailbox.clone());
                self.succeed(key);
            }
        }
    }

    fn stop(&mut self, key: &MailboxKey) {
        for run in self.running.values_mut() {
            if run.mailbox.key == *key {
                run.stopping = true;
                run.line.order(Order::Stop);
            }
        }
    }

    fn is_stopping(&self, key: &MailboxKey) -> bool {
        self.running
            .values()
            .any(|run| run.mailbox.key == *key && run.stopping)
    }

    /// Looks for watches without a sign of life, and aborts them: they start anew.
    async fn look(&mut self) {
        let now = clock::monotonic();
        let limit = self.shared.limits.stalled_after;
        let mut stalled = Vec::new();
        for run in self.running.values().filter(|run| now > run.started) {
            if let Some(silent) = run.line.silent(now).filter(|silent| *silent > limit) {
                self.shared.telemetry.mail.stalled(&run.line.key, silent);
                run.task.abort();
                stalled.push((run.line.key.clone(), silent));
            }
        }
        for (watch, silent) in stalled {
            let detail = format!(
                "no sign of life for {} s; the session was closed and a new one is opened",
                silent.as_secs()
            );
            system_events::emit(
                &self.shared,
                Happening {
                    event_type: EventType::MailboxStalled,
                    mailbox: Some(&watch.mailbox),
                    scope: watch.folder.as_str(),
                    started: clock::wall(),
                    reason: "stalled",
                    detail: &detail,
                    hint: "postrider mailboxes show MAILBOX tells how it goes on",
                },
            )
            .await;
        }
    }

    async fn endpoint_changed(&self, change: dispatcher::Transition) {
        let (event_type, endpoint, started, detail): (EventType, &EndpointKey, _, &str) =
            match &change {
                dispatcher::Transition::Opened {
                    endpoint,
                    at,
                    detail,
                }
                | dispatcher::Transition::Disabled {
                    endpoint,
                    at,
                    detail,
                } => (EventType::EndpointPaused, endpoint, *at, detail),
                dispatcher::Transition::Closed {
                    endpoint,
                    at,
                    detail,
                } => (EventType::EndpointRecovered, endpoint, *at, detail),
                dispatcher::Transition::Dead {
                    endpoint,
                    at,
                    detail,
                    ..
                } => (EventType::EndpointDeadLetter, endpoint, *at, detail),
            };
        let happening = Happening {
            event_type,
            mailbox: None,
            scope: endpoint.as_str(),
            started,
            reason: event_type.as_str(),
            detail,
            hint: "postrider endpoints list",
        };
        match &change {
            dispatcher::Transition::Dead { event, .. } => {
                system_events::emit_about(&self.shared, happening, *event).await;
            }
            dispatcher::Transition::Disabled {
                endpoint,
                at,
                detail,
            } => {
                self.keep_paused(endpoint, *at, detail).await;
                system_events::emit(&self.shared, happening).await;
            }
            dispatcher::Transition::Opened { .. } | dispatcher::Transition::Closed { .. } => {
                system_events::emit(&self.shared, happening).await;
            }
        }
    }

    /// A receiver that asked for nothing more is paused until an operator resumes it, over restarts.
    async fn keep_paused(&self, endpoint: &EndpointKey, at: Wall, why: &str) {
        let act = Act {
            at,
            who: format!("endpoint {endpoint}"),
            through: "webhook-delivery: disable".to_owned(),
            why: Some(why.to_owned()),
        };
        match self.shared.dispatcher.pause(endpoint, &act).await {
            // It was taken out of the configuration meanwhile.
            Ok(())
            | Err(dispatcher::OrderError::Unknown(_) | dispatcher::OrderError::MessagesAlone(_)) => {
            }
            Err(dispatcher::OrderError::Store(error)) => {
                let process = &self.shared.telemetry.process;
                process.store_failed("pausing an endpoint", &error);
            }
        }
    }

    async fn credential_changed(&self, change: tokens::Transition) {
        match &change {
            tokens::Transition::Available { credential, user } => {
                self.try_again_with(credential, user.as_deref());
            }
            tokens::Transition::Recovered { credential, .. } => {
                self.try_again_with(credential, None);
            }
            tokens::Transition::Refused { .. }
            | tokens::Transition::ProofRefused { .. }
            | tokens::Transition::ProofSettled { .. }
            | tokens::Transition::Expiring { .. } => {}
        }
        let Some(news) = change.news() else { return };
        system_events::emit(
            &self.shared,
            Happening {
                event_type: news.event_type,
                mailbox: None,
                scope: news.credential.as_str(),
                started: news.started,
                reason: news.reason,
                detail: &news.detail,
                hint: news.hint,
            },
        )
        .await;
    }

    /// A credential works again: its mailboxes need not wait for their slow retries.
    /// `user`: only their mailboxes; `None`: all.
    fn try_again_with(&self, credential: &postrider_core::ids::CredentialKey, user: Option<&str>) {
        self.directory.each(|worker| {
            let is_theirs = user.is_none_or(|user| *worker.mailbox.username == *user);
            if is_theirs && worker.mailbox.credential == *credential {
                worker.gate.with(|gate| gate.credential_changed());
                for line in worker.lines.iter() {
                    // Those that are watched, or on their way, have nothing to make good.
                    if line.with_status(|status| rests(status.state)) {
                        line.order(Order::Resync);
                    }
                }
            }
        });
    }

    async fn stop_all(&mut self) {
        for run in self.running.values() {
            run.line.order(Order::Stop);
        }
        let deadline = tokio::time::sleep(self.shared.limits.grace);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                ended = self.watches.join_next() => if ended.is_none() { return },
                () = &mut deadline => {
                    tracing::warn!(watches = self.watches.len(), "grace period over, the remaining sessions are cut; nothing is lost");
                    self.watches.shutdown().await;
                    return;
                }
            }
        }
    }
}

fn gate_policy(connections_max: u32) -> GatePolicy {
    GatePolicy {
        connections_max,
        ..GatePolicy::default()
    }
}

/// Whether a watch waits for its next try.
fn rests(state: State) -> bool {
    match state {
        State::Backoff | State::AuthFailed | State::Throttled | State::StoreFull => true,
        State::Connecting | State::Syncing | State::Watching | State::Held | State::Paused => false,
    }
}

/// Whether a running watch can take the change without a new session.
fn only_policy_differs(old: &Mailbox, new: &Mailbox) -> bool {
    Mailbox {
        policy: new.policy.clone(),
        after: new.after.clone(),
        ..old.clone()
    } == *new
}
