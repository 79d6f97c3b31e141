//! Effects on the session: open, examine, adopt, survey, read, close.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    cursor::Cursor,
    ids::Uid,
    watch::{Answer, Failure, ItemKey, Part, Selected, Survey},
};
use postrider_imap::{self as imap, server};

use super::{
    Counted, Open, Watcher, opening, prepare,
    trouble::{cause, hint, note_failure, redacted, split_hint},
    wait::Standby,
};
use crate::{clock, config, shared::Shared};

/// How long before its token's end a session that ends without a word is taken to end with it.
const TOKEN_END_NEAR: Duration = Duration::from_secs(60);

/// Bytes of message bodies that one read holds in memory; larger batches are read in turns.
const READ_KIB: u32 = 8 * 1024;

impl Watcher {
    pub(super) async fn open(&mut self) -> Result<Selected, Failure> {
        let standby = self.standby.take();
        self.close().await;
        let opened = match standby {
            // It was on its way when the session before it ended.
            Some(Standby::Ready(opened)) => {
                self.session = Some(*opened);
                return self.examine().await;
            }
            Some(Standby::Opening(task)) => task.await.unwrap_or(Err(Failure::Connection))?,
            None => {
                opening::open(
                    &self.shared,
                    &self.mailbox,
                    &self.folder,
                    &self.gate,
                    &self.line,
                    opening::Purpose::Watch,
                )
                .await?
            }
        };
        let selected = opened.selected.clone();
        self.session = Some(*opened);
        Ok(selected)
    }

    pub(super) async fn examine(&mut self) -> Result<Selected, Failure> {
        let started = clock::monotonic();
        let Some(open) = self.session.as_mut() else {
            return Err(Failure::Connection);
        };
        let examined = open.session.examine(&open.name).await;
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
        self.retire_standby();
        if let Some(open) = self.session.take() {
            log_out(open).await;
        }
    }

    /// Lets a standby go that is not needed. One that is being opened comes to its end first: it
    /// tells the gate, and its login is not broken off half-way.
    pub(super) fn retire_standby(&mut self) {
        match self.standby.take() {
            Some(Standby::Ready(open)) => drop(tokio::spawn(log_out(*open))),
            Some(Standby::Opening(task)) => drop(tokio::spawn(async move {
                if let Ok(Ok(open)) = task.await {
                    log_out(*open).await;
                }
            })),
            None => {}
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
        let failure = match error.failure() {
            Failure::Connection if self.ended_with_its_token(error) => Failure::TokenExpired,
            other => other,
        };
        if !error.usable() {
            self.session = None;
            if failure == Failure::TokenExpired {
                self.shared.telemetry.mail.session_expired(self.key());
            } else {
                let server = self.server_name();
                self.shared.telemetry.mail.session_lost(
                    self.key(),
                    &server,
                    cause(&failure),
                    &redacted(&error.to_string()),
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
            note_failure(
                &self.shared,
                &self.mailbox,
                &self.line,
                &failure,
                detail,
                None,
            );
        }
        failure
    }

    /// Servers also end a session whose token ran out without a word of it (Exchange's BYE may be
    /// lost with the connection): a bare end at that time is as routine as one that is announced.
    fn ended_with_its_token(&self, error: &imap::error::Error) -> bool {
        let is_bare = match error {
            imap::error::Error::Closed { text } => text.is_none(),
            imap::error::Error::Broken { .. } => true,
            _ => false,
        };
        is_bare
            && self.session.as_ref().is_some_and(|open| {
                open.selected.session_ends.is_some_and(|ends| {
                    let near = TOKEN_END_NEAR.min((ends - open.opened) / 5);
                    clock::monotonic() + near >= ends
                })
            })
    }

    /// Refusals made the watch give its session up.
    pub(super) fn tell_refused(&self, detail: &str) {
        let failure = Failure::Refused;
        self.shared.telemetry.mail.connect_failed(
            self.key(),
            &self.server_name(),
            cause(&failure),
            &redacted(detail),
            hint(&failure),
            None,
        );
        note_failure(
            &self.shared,
            &self.mailbox,
            &self.line,
            &failure,
            detail,
            None,
        );
    }
}

pub(super) fn count(shared: &Shared, open: &mut Open) {
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

pub(crate) fn imap_server(
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
