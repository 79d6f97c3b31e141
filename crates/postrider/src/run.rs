//! The wiring: configuration, store, tokens, dispatcher, supervisor, listeners; and the end.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

use anyhow::Context as _;
use postrider_core::delivery::RetryPolicy;
use postrider_store::{OpenError, Options, Store};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin, after, clock,
    config::Config,
    directory::Directory,
    dispatcher::{self, Dispatcher},
    gauges::Gauges,
    heartbeat,
    http::{self, Health, Ready},
    links,
    shared::{Connections, Memory, Ramp, Shared},
    supervisor::{Channels, Command, DryRun, Supervisor},
    telemetry::Telemetry,
    tls::TlsConfigs,
    tokens::{self, Tokens},
};

/// Changes of state that wait to be stored as events; they are rare, a burst is bounded.
const TRANSITIONS_MAX: usize = 256;

/// A running daemon.
pub struct Daemon {
    pub shared: Arc<Shared>,
    pub directory: Arc<Directory>,
    pub commands: mpsc::Sender<Command>,
    /// Where `/metrics` is served, if it is.
    pub http: Option<std::net::SocketAddr>,
    /// Where links are served, if they are.
    pub links: Option<std::net::SocketAddr>,
    /// Where commands are taken over TCP, if they are.
    pub admin_tcp: Option<std::net::SocketAddr>,
    health: Arc<Health>,
    supervisor: JoinHandle<()>,
    helpers: Vec<JoinHandle<()>>,
}

/// Why a daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Daemon {
    /// Starts everything; returns when the watches are started, not when they are connected.
    pub async fn start(
        config: Config,
        config_path: PathBuf,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let (credential_changes, credentials) = mpsc::channel(TRANSITIONS_MAX);
        let (endpoint_changes, endpoints) = mpsc::channel(TRANSITIONS_MAX);
        let shared = share(&config, &telemetry, credential_changes, endpoint_changes).await?;
        let directory = Arc::new(Directory::default());
        let health = Arc::new(Health::default());
        health.beat(clock::monotonic());
        let gauges = Arc::new(Gauges::new(shared.clone(), directory.clone()));
        let (commands, received) = mpsc::channel(16);
        let mut helpers = Vec::new();
        let http = match config.http.listen {
            Some(listen) => {
                let listener = http::bind(listen)
                    .await
                    .map_err(|error| no_listener("http.listen", listen, &error))?;
                let at = listener.local_addr().context("http.listen")?;
                let served =
                    http::serve(listener, telemetry.clone(), gauges.clone(), health.clone());
                helpers.push(tokio::spawn(ended_badly("the metrics listener", served)));
                Some(at)
            }
            None => None,
        };
        let admin = admin::bind(&config.admin.socket)
            .with_context(|| format!("admin.listen = {}", config.admin.socket.display()))?;
        let state = admin::Admin::new(shared.clone(), directory.clone(), commands.clone());
        helpers.push(tokio::spawn(ended_badly(
            "the admin listener",
            admin::serve(admin, state.clone()),
        )));
        let admin_tcp = admin_over_tcp(&config, state, &mut helpers).await?;
        helpers.push(tokio::spawn(heartbeat::run(
            shared.clone(),
            directory.clone(),
            health.clone(),
        )));
        helpers.push(tokio::spawn(ended_badly(
            "the proof of must_not_open",
            crate::doctor::daily::run(shared.clone()),
        )));
        let links = serve_links(&config, &shared, &directory, &mut helpers).await?;
        helpers.push(tokio::spawn(guarded(
            "the work after delivery",
            after::run(shared.clone(), directory.clone()),
            shared.clone(),
        )));
        let supervisor = Supervisor::new(shared.clone(), directory.clone(), config_path);
        let supervised = supervisor.run(Channels {
            commands: received,
            endpoints,
            credentials,
        });
        let supervisor = tokio::spawn(guarded("the supervisor", supervised, shared.clone()));
        telemetry.process.config_loaded(config.mailboxes.len());
        health.set_ready(Ready::Yes);
        Ok(Self {
            shared,
            directory,
            commands,
            http,
            links,
            admin_tcp,
            health,
            supervisor,
            helpers,
        })
    }

    /// Drains: no new mail is taken, what is in flight comes to its end within the grace period,
    /// and the store is closed in order.
    pub async fn stop(self) {
        self.health.set_ready(Ready::No);
        self.shared.stop.cancel();
        let (began, grace) = (clock::monotonic(), self.shared.limits.grace);
        let drained = tokio::join!(self.supervisor, self.shared.dispatcher.drain(grace)).0;
        if let Err(error) = drained {
            tracing::error!("the supervisor ended early: {error}");
        }
        let left = grace.saturating_sub(clock::monotonic() - began);
        self.shared.tokens.stop(left).await;
        for helper in self.helpers {
            helper.abort();
        }
        if let Err(error) = self.shared.store.close().await {
            self.shared
                .telemetry
                .process
                .store_failed("closing the store", &error);
        }
    }
}

async fn admin_over_tcp(
    config: &Config,
    state: admin::Admin,
    helpers: &mut Vec<JoinHandle<()>>,
) -> anyhow::Result<Option<std::net::SocketAddr>> {
    let Some(settings) = config.admin.tcp.clone() else {
        return Ok(None);
    };
    let door = admin::tcp::bind(&settings)
        .await
        .map_err(|error| no_listener("admin.tcp.listen", settings.listen, &error))?;
    let at = door.at().context("admin.tcp.listen")?;
    let served = admin::tcp::serve(door, state, settings.allowed_hosts);
    helpers.push(tokio::spawn(ended_badly(
        "the admin listener over TCP",
        served,
    )));
    Ok(Some(at))
}

/// Starts the listener of links, where there are any.
async fn serve_links(
    config: &Config,
    shared: &Arc<Shared>,
    directory: &Arc<Directory>,
    helpers: &mut Vec<JoinHandle<()>>,
) -> anyhow::Result<Option<std::net::SocketAddr>> {
    let Some(links) = &config.links else {
        return Ok(None);
    };
    let listener = links::bind(links.listen)
        .await
        .map_err(|error| no_listener("links.listen", links.listen, &error))?;
    let at = listener.local_addr().context("links.listen")?;
    let served = links::serve(listener, shared.clone(), directory.clone());
    helpers.push(tokio::spawn(ended_badly("the listener of links", served)));
    Ok(Some(at))
}

/// Opens the store and starts what the watches lean on.
async fn share(
    config: &Arc<Config>,
    telemetry: &Arc<Telemetry>,
    credential_changes: mpsc::Sender<tokens::Transition>,
    endpoint_changes: mpsc::Sender<dispatcher::Transition>,
) -> Result<Arc<Shared>, StartError> {
    let store = Store::open(store_options(config)).await?;
    let tokens =
        Tokens::new(config, telemetry.clone(), credential_changes).context("credentials")?;
    let dispatcher = Dispatcher::with(
        config.instance.clone(),
        &config.endpoints,
        store.clone(),
        telemetry.clone(),
        endpoint_changes,
        tokens.secrets().clone(),
        RetryPolicy::default(),
    )
    .await
    .context("endpoints")?;
    Ok(Arc::new(Shared {
        instance: config.instance.clone(),
        limits: config.limits.clone(),
        store,
        tokens,
        dispatcher,
        telemetry: telemetry.clone(),
        let_in: crate::diagnosis::LetIn::default(),
        tls: TlsConfigs::default(),
        ramp: Ramp::new(&config.limits),
        connections: Connections::default(),
        memory: Memory::new(config.limits.memory_bytes),
        large: Semaphore::new(1),
        stop: CancellationToken::new(),
        fatal: CancellationToken::new(),
        config: RwLock::new(config.clone()),
    }))
}

fn store_options(config: &Config) -> Options {
    let store = &config.store;
    Options {
        path: store.path.clone(),
        spool: store.spool.clone(),
        allow_network_filesystem: store.allow_network_filesystem,
        reserve_bytes: store.reserve_bytes,
        budget_bytes: store.budget_bytes,
        budget_action: store.budget_action,
        due_ahead_max: RetryPolicy::default().longest_wait(),
    }
}

/// A process without its supervisor watches nothing: better one that starts anew.
async fn guarded(
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
    shared: Arc<Shared>,
) {
    if let Err(ended) = tokio::spawn(task).await {
        tracing::error!("{what} ended early: {ended}");
        shared.fatal.cancel();
    }
}

async fn ended_badly(what: &'static str, served: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = served.await {
        tracing::error!("{what} ended: {error}");
    }
}

/// How `postrider run` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order, by a signal.
    Stopped,
    /// The database file failed: whoever supervises the process starts it anew.
    Failed,
}

fn no_listener(key: &str, at: std::net::SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; hint: another program listens there: stop it, or choose another port"
        }
        _ => "",
    };
    anyhow::anyhow!("{key} = {at}: {error}{hint}")
}

fn listening(at: Option<std::net::SocketAddr>) -> String {
    at.map_or_else(|| "off".to_owned(), |at| at.to_string())
}

/// `postrider run`: until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub async fn run(config_path: PathBuf, config: Config) -> Result<Ended, StartError> {
    let telemetry = Arc::new(Telemetry::new().context("metrics")?);
    let mut term = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals")?;
    let daemon = Daemon::start(config, config_path, telemetry).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        mailboxes = daemon.shared.config().mailboxes.len(),
        http = listening(daemon.http),
        links = listening(daemon.links),
        admin_tcp = listening(daemon.admin_tcp),
        "postrider runs"
    );
    heartbeat::notify(&[sd_notify::NotifyState::Ready]);
    let dispatcher_failed = daemon.shared.dispatcher.fatal();
    let ended = loop {
        tokio::select! {
            _ = term.recv() => break Ended::Stopped,
            _ = interrupt.recv() => break Ended::Stopped,
            () = daemon.shared.fatal.cancelled() => break Ended::Failed,
            () = dispatcher_failed.cancelled() => break Ended::Failed,
            _ = hangup.recv() => reload(&daemon).await,
        }
    };
    heartbeat::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: what is in flight comes to its end");
    daemon.stop().await;
    Ok(ended)
}

async fn reload(daemon: &Daemon) {
    heartbeat::notify(&[
        sd_notify::NotifyState::Reloading,
        sd_notify::NotifyState::MonotonicUsec(heartbeat::monotonic_usec()),
    ]);
    let (reply, answer) = oneshot::channel();
    if daemon
        .commands
        .send(Command::Reload {
            dry_run: DryRun::No,
            reply,
        })
        .await
        .is_ok()
        && let Ok(Ok(done)) = answer.await
    {
        tracing::info!("configuration read again: {}", done.changes);
    }
    heartbeat::notify(&[sd_notify::NotifyState::Ready]);
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_told_with_what_to_do() {
        let at = "127.0.0.1:9420".parse().unwrap();
        let told = |kind| no_listener("http.listen", at, &Error::from(kind)).to_string();
        let taken = told(ErrorKind::AddrInUse);
        assert!(
            taken.starts_with("http.listen = 127.0.0.1:9420: "),
            "{taken}"
        );
        assert!(
            taken.ends_with(
                "; hint: another program listens there: stop it, or choose another port"
            )
        );
        assert!(!told(ErrorKind::PermissionDenied).contains("hint"));
    }
}
