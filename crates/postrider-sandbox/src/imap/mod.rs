//! An IMAP4rev1 server (RFC 3501) on a loopback port, as large as a watcher needs it and no larger:
//! it serves [`Mailboxes`], pushes new mail in IDLE, and notes every command that would change a
//! mailbox. It must never become lenient: what a strict server refuses is refused here.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::board::Board;
pub use self::{
    board::{Counters, LoginAttempt, Violation},
    config::{Config, Record, TlsMode},
    levers::{
        EndedCommand, Goodbye, Levers, OnExpiry, Refusal, RefusedCommand, Scope, Throttle,
        ThrottleStyle, Ungranted,
    },
    profile::{Kind, Profile, RefusalStyle, Rev2},
};
use crate::{
    error::Error,
    mailboxes::Mailboxes,
    port,
    sync::{Changes, lock},
};

mod config;
mod levers;
mod profile;

mod auth;
mod change;
mod commands;
mod fetch;
mod folder;
mod list;
mod presence;
mod search;
mod session;

mod board;
mod syntax;
mod utf7;
mod wire;

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct ImapServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Running>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) board: Mutex<Board>,
    pub(crate) changes: Changes,
}

impl Shared {
    pub(crate) fn sessions_open(&self) -> usize {
        lock(&self.board).counters(Scope::Server).sessions
    }

    /// Whom the server plays for this user (`None`: before a login), without what is hidden.
    pub(crate) fn profile_for(&self, user: Option<&str>) -> Arc<Profile> {
        let mut board = lock(&self.board);
        let profile = board.ask(user, |levers| levers.profile.clone());
        let profile = profile.unwrap_or_else(|| Arc::clone(&self.config.profile));
        let hidden = board.ask(user, |levers| {
            let hidden = &levers.hidden_capabilities;
            (!hidden.is_empty()).then(|| hidden.clone())
        });
        match hidden {
            None => profile,
            Some(hidden) => Arc::new(Profile::clone(&profile).without(&hidden)),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
struct Running {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl ImapServer {
    pub async fn start(config: Config, mailboxes: Mailboxes) -> Result<Self, Error> {
        let listener = port::listen().await?;
        let server = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                config,
                mailboxes,
                board: Mutex::default(),
                changes: Changes::default(),
            }),
            running: Mutex::default(),
        };
        server.run(listener);
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn mailboxes(&self) -> &Mailboxes {
        &self.shared.mailboxes
    }

    /// Closes the port and ends every session without a word, as a killed process does.
    pub async fn stop(&self) {
        let running = lock(&self.running).clone();
        running.cancel.cancel();
        running.tasks.close();
        running.tasks.wait().await;
    }

    /// Listens again on the same port after [`stop`](Self::stop).
    pub async fn start_again(&self) -> Result<(), Error> {
        let listener = port::listen_again(self.address).await?;
        *lock(&self.running) = Running::default();
        self.run(listener);
        Ok(())
    }

    /// Moves levers; sessions that wait look at them at once.
    pub fn levers(&self, scope: Scope<'_>, change: impl FnOnce(&mut Levers)) {
        let mut board = lock(&self.shared.board);
        change(board.levers(scope));
        board.wake(Scope::Server);
    }

    /// Ends the sessions that are there now, and says how many those are.
    pub fn drop_sessions(&self, scope: Scope<'_>, goodbye: &Goodbye) -> usize {
        lock(&self.shared.board).send_away(scope, goodbye)
    }

    pub fn counters(&self, scope: Scope<'_>) -> Counters {
        lock(&self.shared.board).counters(scope)
    }

    /// The logins that were tried, in order.
    pub fn login_attempts(&self, scope: Scope<'_>) -> Vec<LoginAttempt> {
        lock(&self.shared.board).attempts(scope)
    }

    /// What clients did that they must never do. A test ends by finding this empty.
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.shared.board).violations.clone()
    }

    /// The commands so far (user, command without secrets), where [`Record::Commands`] is set.
    pub fn recorded(&self) -> Vec<(Option<String>, String)> {
        lock(&self.shared.board).recorded.iter().cloned().collect()
    }

    /// Whether the counters came to satisfy the condition in time.
    pub async fn wait_until(
        &self,
        scope: Scope<'_>,
        limit: Duration,
        condition: impl Fn(&Counters) -> bool,
    ) -> bool {
        let changes = &self.shared.changes;
        changes
            .wait_until(limit, || condition(&self.counters(scope)))
            .await
    }

    /// Whether so many sessions came to be in IDLE in time.
    pub async fn wait_for_idle(&self, scope: Scope<'_>, sessions: usize, limit: Duration) -> bool {
        self.wait_until(scope, limit, |counters| counters.idle >= sessions)
            .await
    }

    fn run(&self, listener: TcpListener) {
        let running = lock(&self.running).clone();
        let accept = accept(Arc::clone(&self.shared), listener, running.clone());
        running
            .tasks
            .spawn(async move { running.cancel.run_until_cancelled(accept).await });
    }
}

impl Drop for ImapServer {
    fn drop(&mut self) {
        lock(&self.running).cancel.cancel();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, running: Running) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the sandbox's mail server cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let cancel = running.cancel.child_token();
        running
            .tasks
            .spawn(serve(Arc::clone(&shared), stream, cancel));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, cancel: CancellationToken) {
    // Without it small replies wait for the client's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let entry = lock(&shared.board).register(cancel);
    shared.changes.tell();
    let cancel = entry.cancel.clone();
    cancel
        .run_until_cancelled(session::run(shared, entry, stream))
        .await;
}
