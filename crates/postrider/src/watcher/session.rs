//! Effects on the session: open, examine, adopt, survey, read, close.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    cursor::Cursor,
    gate::Cause,
    ids::{FolderName, Uid},
    time::Monotonic,
    token::Generation,
    watch::{Answer, Failure, ItemKey, Part, Selected, Survey},
};
use postrider_imap::{self as imap, server};

use super::{Counted, Open, Watcher, prepare, wait::Standby};
use crate::{
    clock,
    config::{self, Mailbox},
    gate::{Login, MailboxGate},
    shared::Shared,
    telemetry::mail::State,
    tokens::{CredentialFailure, Next},
    watch_line::{Trouble, WatchLine},
};

/// How long a watch waits for another one's login before it says that it has to wait.
const TURN_MAX: Duration = Duration::from_secs(120);

/// Bytes of message bodies that one read holds in memory; larger batches are read in turns.
const READ_KIB: u32 = 8 * 1024;

impl Watcher {
    pub(super) async fn open(&mut self) -> Result<Selected, Failure> {
        self.close().await;
        let opened = open(
            &self.shared,
            &self.mailbox,
            &self.folder,
            &self.gate,
            &self.line,
        )
        .await?;
        let selected = opened.selected.clone();
        self.session = Some(*opened);
        Ok(selected)
    }

    pub(super) async fn examine(&mut self) -> Result<Selected, Failure> {
        let folder = self.folder.clone();
        let started = clock::monotonic();
        let Some(open) = self.session.as_mut() else {
            return Err(Failure::Connection);
        };
        let examined = open.session.examine(&folder).await;
        self.told("examine", started);
        match examined {
            Ok(mut selected) => {
                if let Some(open) = self.session.as_mut() {
                    selected.session_ends = open.selected.session_ends;
                    open.selected = selected.clone();
                }
                Ok(selected)
            }
            Err(error) => Err(self.imap_failed(&error)),
        }
    }

    /// Goes on with the standby; the old session is logged out beside. The folder is examined
    /// again: what was read by the old session since the standby was opened would look as if
    /// UIDs had gone back.
    pub(super) async fn adopt(&mut self) -> Result<Selected, Failure> {
        let Some(Standby::Ready(opened)) = self.standby.take() else {
            return Err(Failure::Connection);
        };
        if let Some(old) = self.session.replace(*opened) {
            tokio::spawn(log_out(old));
        }
        self.examine().await
    }

    pub(super) async fn survey(&mut self, after: Cursor) -> Result<Survey, Failure> {
        let started = clock::monotonic();
        let Some(open) = self.session.as_mut() else {
            return Err(Failure::Connection);
        };
        let surveyed = open.session.survey(&after).await;
        self.told("survey", started);
        surveyed.map_err(|error| self.imap_failed(&error))
    }

    pub(super) async fn read(
        &mut self,
        items: Vec<ItemKey>,
        part: Part,
    ) -> Result<Vec<Answer>, Failure> {
        let uids: Vec<Uid> = items
            .iter()
            .map(|key| match key {
                ItemKey::Uid(uid) => *uid,
            })
            .collect();
        self.batch.clear();
        let kib = self.shared.memory.share(READ_KIB);
        let turn = self.line.our_wait();
        let host = &self.mailbox.server.host;
        let Some(room) = self.shared.memory.room(host, kib).await else {
            return Err(Failure::Store);
        };
        drop(turn);
        self.batch.room = Some(room);
        let started = clock::monotonic();
        let Some(open) = self.session.as_mut() else {
            return Err(Failure::Connection);
        };
        let memory = imap::read::Memory {
            message_bytes: self.shared.limits.inline_bytes,
            total_bytes: u64::from(kib) * 1024,
        };
        let mut sink = prepare::Spooling {
            spool: self.shared.store.spool(),
            line: &self.line,
        };
        let read = open.session.read(&uids, part, memory, &mut sink).await;
        self.told("read", started);
        let read = read.map_err(|error| self.imap_failed(&error))?;
        let answers = self.prepare(part, read).await?;
        match part {
            Part::Whole => {}
            // Facts are small, and nothing of their reading is kept.
            Part::Facts => self.batch.clear(),
        }
        Ok(answers)
    }

    pub(super) async fn close(&mut self) {
        self.batch.clear();
        self.facts = std::collections::BTreeMap::new();
        let standby = match self.standby.take() {
            Some(Standby::Ready(open)) => Some(open),
            // Let it come to its end: it tells the gate, and its login is not wasted half-way.
            Some(Standby::Opening(task)) => task.await.ok().and_then(Result::ok),
            None => None,
        };
        for open in self
            .session
            .take()
            .into_iter()
            .chain(standby.map(|open| *open))
        {
            log_out(open).await;
        }
    }

    /// Notes a finished operation: its time, the bytes, and that the server lives.
    pub(super) fn told(&mut self, command: &'static str, started: postrider_core::time::Monotonic) {
        self.shared
            .telemetry
            .mail
            .command(command, clock::monotonic() - started);
        if let Some(open) = self.session.as_mut() {
            count(&self.shared, open);
        }
        self.line.alive();
    }

    /// Classifies an error on the open session, tells it, and drops what is not usable any more.
    pub(super) fn imap_failed(&mut self, error: &imap::error::Error) -> Failure {
        let failure = error.failure();
        if !error.usable() {
            self.session = None;
            if failure != Failure::TokenExpired {
                let server = self.server_name();
                self.shared.telemetry.mail.session_lost(
                    self.key(),
                    &server,
                    cause(&failure),
                    &error.to_string(),
                );
            }
        }
        self.gate.heard(&failure);
        let text = error.to_string();
        let detail = split_hint(&text).0;
        if failure == Failure::Refused {
            // One refused command is no trouble; if it becomes one, this is why.
            self.refused = Some(detail.to_owned());
        } else {
            note_failure(&self.shared, &self.mailbox, &self.line, &failure, detail);
        }
        failure
    }

    /// Refusals made the watch give its session up.
    pub(super) fn tell_refused(&self, detail: &str) {
        let failure = Failure::Refused;
        self.shared.telemetry.mail.connect_failed(
            self.key(),
            &self.server_name(),
            cause(&failure),
            detail,
            hint(&failure),
        );
        note_failure(&self.shared, &self.mailbox, &self.line, &failure, detail);
    }
}

fn count(shared: &Shared, open: &mut Open) {
    let bytes = open.session.received_bytes();
    let skipped = open.session.skipped_responses();
    shared
        .telemetry
        .mail
        .received(bytes - open.counted.bytes, skipped - open.counted.skipped);
    open.counted = Counted { bytes, skipped };
}

async fn log_out(open: Open) {
    open.session.logout().await;
}

/// Opens a session with its folder: gate, ramp, credential, connection, login, probe, EXAMINE.
pub(super) async fn open(
    shared: &Arc<Shared>,
    mailbox: &Arc<Mailbox>,
    folder: &FolderName,
    gate: &Arc<MailboxGate>,
    line: &Arc<WatchLine>,
) -> Result<Box<Open>, Failure> {
    let login = admitted(gate, line).await?;
    match Box::pin(open_permitted(shared, mailbox, folder, line)).await {
        Ok((session, selected)) => {
            let mut opened = Box::new(Open {
                session,
                selected,
                counted: Counted::default(),
                _counts: login.opened(),
            });
            count(shared, &mut opened);
            line.alive();
            Ok(opened)
        }
        Err((failure, detail)) => {
            login.failed(&failure);
            let server = format!("{}:{}", mailbox.server.host, mailbox.server.port);
            let (detail, told) = split_hint(&detail);
            shared.telemetry.mail.connect_failed(
                &line.key,
                &server,
                cause(&failure),
                detail,
                told.unwrap_or(hint(&failure)),
            );
            note_failure(shared, mailbox, line, &failure, detail);
            Err(failure)
        }
    }
}

/// The right to log in. While another folder of the mailbox logs in, which may have to wait for its
/// own turn, a watch waits with it: that is no failure. A standby session does not wait.
async fn admitted(gate: &Arc<MailboxGate>, line: &WatchLine) -> Result<Login, Failure> {
    let _ours = line.our_wait();
    let give_up = clock::monotonic() + TURN_MAX;
    let patient = line.with_status(|status| status.state == State::Connecting);
    loop {
        let until = match gate.admit() {
            Ok(login) => return Ok(login),
            Err(until) => until,
        };
        if gate.shut().is_some() || !patient || clock::monotonic() >= give_up {
            return Err(shut(gate, until));
        }
        tokio::select! {
            () = tokio::time::sleep_until(clock::instant(until)) => {}
            () = line.stopped() => return Err(Failure::Connection),
        }
    }
}

/// A shut gate as the watch is told of it: in the kind of trouble that shut it, until it opens.
fn shut(gate: &MailboxGate, until: Monotonic) -> Failure {
    let wait = Some(until - clock::monotonic());
    match gate.shut().map(|(_, why)| why) {
        Some(Cause::Refused) => Failure::LoginRefused,
        Some(Cause::Throttled | Cause::Limit) | None => Failure::Throttled { retry_after: wait },
    }
}

/// Errors carry their hint behind an empty line.
fn split_hint(text: &str) -> (&str, Option<&str>) {
    match text.split_once("\n\nhint: ") {
        Some((what, hint)) => (what, Some(hint)),
        None => (text, None),
    }
}

async fn open_permitted(
    shared: &Arc<Shared>,
    mailbox: &Arc<Mailbox>,
    folder: &FolderName,
    line: &Arc<WatchLine>,
) -> Result<(imap::session::Session, Selected), (Failure, String)> {
    let turn = line.our_wait();
    tokio::select! {
        () = shared.ramp.turn(&mailbox.server.host) => {}
        () = shared.stop.cancelled() => return Err((Failure::Connection, "postrider is stopping".to_owned())),
        () = line.stopped() => return Err((Failure::Connection, "the watch is stopping".to_owned())),
    }
    drop(turn);
    let started = clock::monotonic();
    let access = shared
        .tokens
        .login(&mailbox.key, &mailbox.credential)
        .await
        .map_err(credential_failed)?;
    let tls = shared
        .tls
        .get(mailbox.server.ca_file.as_deref())
        .map_err(|error| (Failure::Connection, error.to_string()))?;
    let proxy = crate::network::socket_proxy(&mailbox.server.proxy, &mailbox.server.host)
        .map_err(|error| (Failure::Connection, error.to_string()))?;
    let at = imap_server(&mailbox.server, tls, proxy);
    let login = access.login(&mailbox.username);
    let mut session = match imap::session::Session::open(&at, &login).await {
        Ok(session) => session,
        Err(error) => {
            let failure = match error.failure() {
                Failure::LoginRefused => refused(shared, mailbox, access.generation),
                other => other,
            };
            return Err((failure, error.to_string()));
        }
    };
    shared
        .tokens
        .accepted(&mailbox.key, &mailbox.credential, access.generation);
    let mut selected = session
        .examine(folder)
        .await
        .map_err(|error| (error.failure(), error.to_string()))?;
    selected.session_ends = access.expires;
    shared
        .telemetry
        .mail
        .connected(&line.key, clock::monotonic() - started);
    Ok((session, selected))
}

/// What a refused login says: of the mailbox, or only of a token or password that has a successor,
/// which is tried soon.
fn refused(shared: &Shared, mailbox: &Mailbox, generation: Generation) -> Failure {
    match shared
        .tokens
        .refused(&mailbox.key, &mailbox.credential, generation)
    {
        Next::Another => Failure::TokenExpired,
        Next::Same => Failure::LoginRefused,
    }
}

fn credential_failed(failure: CredentialFailure) -> (Failure, String) {
    let detail = failure.to_string();
    (failure.failure(), detail)
}

fn imap_server(
    server: &config::Server,
    tls_config: Arc<rustls::ClientConfig>,
    proxy: Option<server::Proxy>,
) -> server::Server {
    server::Server {
        host: server.host.clone(),
        port: server.port,
        tls: match server.tls {
            config::TlsMode::Implicit => server::Tls::Implicit,
            config::TlsMode::StartTls => server::Tls::StartTls,
            config::TlsMode::None => server::Tls::None,
        },
        tls_config,
        proxy,
        idle: match server.idle {
            config::IdleMode::Auto => server::IdleUse::Auto,
            config::IdleMode::Poll => server::IdleUse::Never,
        },
        oauth: match server.oauth {
            config::OAuthMechanism::Auto => server::Mechanism::Auto,
            config::OAuthMechanism::XOAuth2 => server::Mechanism::XOAuth2,
            config::OAuthMechanism::OAuthBearer => server::Mechanism::OAuthBearer,
        },
        deadlines: server::Deadlines::default(),
    }
}

/// The status says what is wrong; a throttle is told.
pub(super) fn note_failure(
    shared: &Arc<Shared>,
    mailbox: &Arc<Mailbox>,
    line: &Arc<WatchLine>,
    failure: &Failure,
    detail: &str,
) {
    let now = clock::now();
    match failure {
        Failure::Throttled { retry_after } => {
            let server = format!("{}:{}", mailbox.server.host, mailbox.server.port);
            shared.telemetry.mail.throttled(
                &line.key,
                &server,
                retry_after.unwrap_or(Duration::ZERO),
            );
        }
        Failure::TokenExpired => return,
        Failure::Connection
        | Failure::Refused
        | Failure::LoginRefused
        | Failure::CredentialRefused
        | Failure::ConnectionLimit
        | Failure::CredentialUnavailable { .. }
        | Failure::FolderMissing
        | Failure::StoreFull
        | Failure::Store => {}
    }
    line.update(|status| {
        let (since, reported) = match &status.trouble {
            // Whoever heard of a trouble wants to hear of its end, also if it looked otherwise since.
            Some(old) => (old.since, old.reported),
            None => (now.wall, false),
        };
        status.trouble = Some(Box::new(Trouble {
            cause: cause(failure),
            detail: detail.to_owned(),
            hint: hint(failure),
            since,
            at: now.wall,
            reported,
        }));
    });
}

/// The name of a failure in metrics, commands and events.
pub(super) fn cause(failure: &Failure) -> &'static str {
    match failure {
        Failure::Connection => "connection",
        Failure::TokenExpired => "token_expired",
        Failure::LoginRefused => "login_refused",
        Failure::CredentialUnavailable { .. } => "credential_unavailable",
        Failure::CredentialRefused => "credential_refused",
        Failure::Throttled { .. } => "throttled",
        Failure::ConnectionLimit => "connection_limit",
        Failure::FolderMissing => "folder_missing",
        Failure::Refused => "refused",
        Failure::StoreFull => "store_full",
        Failure::Store => "store",
    }
}

/// What an operator can do about a failure.
fn hint(failure: &Failure) -> &'static str {
    match failure {
        Failure::Connection => {
            "check that the host and port are reachable from here and that its certificate is valid"
        }
        Failure::TokenExpired => "nothing to do, a new session is opened",
        Failure::LoginRefused => {
            "check the mailbox's permission for this application (Add-MailboxPermission), that IMAP is on for it (Set-CASMailbox -ImapEnabled $true), its address, and the credential"
        }
        Failure::CredentialUnavailable { .. } => {
            "the token endpoint does not answer as it should; check the way to it, or wait"
        }
        Failure::CredentialRefused => {
            "the token endpoint refuses this credential: check client_id, tenant and the secret's value and expiry"
        }
        Failure::Throttled { .. } => "nothing to do, the server asked for slowness and gets it",
        Failure::ConnectionLimit => {
            "another program holds connections of this account, or limits.connections_per_mailbox is too high"
        }
        Failure::FolderMissing => {
            "check the name in folders = [...]: names are as the server lists them"
        }
        Failure::Refused => "the server refused a command; it is tried again",
        Failure::StoreFull => "free disk space or raise store.budget",
        Failure::Store => "see the store's own message in the log",
    }
}
