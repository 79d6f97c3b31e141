//! Opening a session: gate, credential, the server's share, ramp, connection, login, folder. Whatever
//! is waited for here is waited for in this order, and given back when it comes to nothing.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    gate::Cause,
    ids::FolderName,
    time::Monotonic,
    token::Generation,
    watch::{Failure, Selected},
};
use postrider_imap as imap;

use super::{
    Counted, Open,
    diagnose::Scene,
    session::{count, imap_server},
    trouble::{cause, hint, note_failure, redacted, split_hint},
};
use crate::{
    clock,
    config::Mailbox,
    diagnosis::Short,
    gate::{Login, MailboxGate},
    shared::{Queue, RampKey, Share, Shared},
    tokens::{CredentialFailure, Next},
    watch_line::{Trouble, WatchLine},
};

/// How long a watch waits for another one's login before it says that it has to wait.
const TURN_MAX: Duration = Duration::from_secs(120);

/// How long a wait for a share of a server's connections may last before the status tells of it.
const SHARE_WAIT_TOLD: Duration = Duration::from_secs(2);

/// Opens a session with its folder: gate, ramp, credential, connection, login, probe, EXAMINE.
pub(super) async fn open(
    shared: &Arc<Shared>,
    mailbox: &Arc<Mailbox>,
    folder: &FolderName,
    gate: &Arc<MailboxGate>,
    line: &Arc<WatchLine>,
    purpose: Purpose,
) -> Result<Box<Open>, Failure> {
    let spare = match purpose {
        Purpose::Watch => None,
        Purpose::Successor { of } => {
            await_newer(shared, mailbox, of).await?;
            spare_share(shared, mailbox)?
        }
    };
    let login = admitted(gate, line, purpose).await?;
    match Box::pin(open_permitted(
        shared, mailbox, folder, line, purpose, spare,
    ))
    .await
    {
        Ok(Reached {
            session,
            name,
            selected,
            share,
        }) => {
            let mut opened = Box::new(Open {
                session,
                name,
                selected,
                opened: clock::monotonic(),
                counted: Counted::default(),
                _share: share,
                _counts: login.opened(),
            });
            count(shared, &mut opened);
            line.alive();
            Ok(opened)
        }
        Err(NotOpened {
            failure,
            seen,
            detail,
            diagnosis,
        }) => {
            login.failed(&failure);
            if matches!(failure, Failure::Throttled { .. }) {
                throttled_at_login(shared, mailbox);
            }
            let server = format!("{}:{}", mailbox.server.host, mailbox.server.port);
            let (detail, told) = split_hint(&detail);
            shared.telemetry.mail.connect_failed(
                &line.key,
                &server,
                cause(&seen),
                &redacted(detail),
                told.unwrap_or(hint(&seen)),
                diagnosis.as_deref(),
            );
            note_failure(shared, mailbox, line, &failure, detail, diagnosis);
            Err(failure)
        }
    }
}

fn throttled_at_login(shared: &Shared, mailbox: &Mailbox) {
    let key = RampKey::of(mailbox);
    if let Some(interval) = shared.ramp.throttled(&key, &mailbox.key) {
        let mail = &shared.telemetry.mail;
        mail.tenant_throttled(&key.host, &key.credential, interval);
    }
}

/// The right to log in. While another folder of the mailbox logs in, which may have to wait for its
/// own turn, a watch waits with it: that is no failure. A standby session does not wait.
async fn admitted(
    gate: &Arc<MailboxGate>,
    line: &WatchLine,
    purpose: Purpose,
) -> Result<Login, Failure> {
    let _ours = line.our_wait();
    let give_up = clock::monotonic() + TURN_MAX;
    let patient = purpose == Purpose::Watch;
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

/// What a session is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// There is none.
    Watch,
    /// To take over from one whose token ends then.
    Successor { of: Option<Monotonic> },
}

/// A successor with the same token would end at the same moment: while the token endpoint has no
/// newer one, logging in again would be of no use, and a thousand mailboxes would do it.
async fn await_newer(
    shared: &Shared,
    mailbox: &Mailbox,
    of: Option<Monotonic>,
) -> Result<(), Failure> {
    let Some(ends) = of else { return Ok(()) };
    let asked = shared.tokens.login(&mailbox.key, &mailbox.credential).await;
    let access = asked.map_err(|failure| failure.failure())?;
    match access.expires {
        Some(expires) if expires <= ends => {
            Err(Failure::CredentialUnavailable { retry_after: None })
        }
        Some(_) | None => Ok(()),
    }
}

/// A session that may become an open one.
struct Reached {
    session: imap::session::Session,
    name: FolderName,
    selected: Selected,
    share: Option<Share>,
}

/// Why a session did not come to be.
struct NotOpened {
    /// What it means for the watch.
    failure: Failure,
    /// What it was: a refused login may mean no more than that another token is tried.
    seen: Failure,
    detail: String,
    diagnosis: Option<Box<Short>>,
}

impl From<(Failure, String)> for NotOpened {
    fn from((failure, detail): (Failure, String)) -> Self {
        Self {
            seen: failure.clone(),
            failure,
            detail,
            diagnosis: None,
        }
    }
}

async fn open_permitted(
    shared: &Arc<Shared>,
    mailbox: &Arc<Mailbox>,
    folder: &FolderName,
    line: &Arc<WatchLine>,
    purpose: Purpose,
    spare: Option<Share>,
) -> Result<Reached, NotOpened> {
    let turn = line.our_wait();
    let scene = Scene {
        shared,
        mailbox,
        folder,
        line,
    };
    let no_access = |failure: CredentialFailure| NotOpened {
        failure: failure.failure(),
        seen: failure.failure(),
        diagnosis: scene.credential(&failure),
        detail: failure.to_string(),
    };
    // Whoever waits for a token waits here and queues then: a thousand that had their turns while
    // there was no token would all log in at the moment when there is one.
    shared
        .tokens
        .login(&mailbox.key, &mailbox.credential)
        .await
        .map_err(no_access)?;
    let share = its_turn(shared, mailbox, line, purpose, spare).await?;
    drop(turn);
    let started = clock::monotonic();
    let access = shared
        .tokens
        .login(&mailbox.key, &mailbox.credential)
        .await
        .map_err(no_access)?;
    let at = way_to(shared, mailbox)?;
    let login = access.login(&mailbox.username);
    let failed = |error: imap::error::Error| NotOpened {
        failure: error.failure(),
        seen: error.failure(),
        diagnosis: scene.mail(&error, &access),
        detail: error.to_string(),
    };
    let mut session = match imap::session::Session::open(&at, &login).await {
        Ok(session) => session,
        Err(error) => {
            let failure = match error.failure() {
                // Where the server knows that a token is over and this process does not, it is
                // dropped like a refused one, or the refusal waits like one.
                Failure::LoginRefused | Failure::TokenExpired => {
                    refused(shared, mailbox, access.generation)
                }
                other => other,
            };
            return Err(NotOpened {
                failure,
                ..failed(error)
            });
        }
    };
    shared
        .tokens
        .accepted(&mailbox.key, &mailbox.credential, access.generation);
    shared.let_in.note(&mailbox.credential, &mailbox.key);
    let name = match imap::role::Role::parse(folder.as_str()) {
        Some(role) => session.folder_of(role).await.map_err(failed)?,
        None => folder.clone(),
    };
    let mut selected = session.examine(&name).await.map_err(failed)?;
    selected.session_ends = access.expires;
    let took = clock::monotonic() - started;
    shared.telemetry.mail.connected(&line.key, took);
    Ok(Reached {
        session,
        name,
        selected,
        share,
    })
}

/// The server, and how it is reached.
fn way_to(shared: &Shared, mailbox: &Mailbox) -> Result<imap::server::Server, (Failure, String)> {
    let failed = |what: String| (Failure::Connection, what);
    let server = &mailbox.server;
    let tls = shared.tls.get(server.ca_file.as_deref());
    let tls = tls.map_err(|error| failed(error.to_string()))?;
    let proxy = crate::network::socket_proxy(&server.proxy, &server.host);
    let proxy = proxy.map_err(|error| failed(error.to_string()))?;
    Ok(imap_server(server, tls, proxy))
}

/// Waits for a share of the server's connections, and then for the turn to log in.
async fn its_turn(
    shared: &Shared,
    mailbox: &Mailbox,
    line: &WatchLine,
    purpose: Purpose,
    spare: Option<Share>,
) -> Result<Option<Share>, (Failure, String)> {
    let key = RampKey::of(mailbox);
    let turn = async {
        let share = match purpose {
            Purpose::Watch => admitted_by_server(shared, mailbox, line).await,
            Purpose::Successor { .. } => spare,
        };
        shared.ramp.turn(&key).await;
        Ok(share)
    };
    let stopping = |what: &str| Err((Failure::Connection, format!("{what} is stopping")));
    tokio::select! {
        share = turn => share,
        () = shared.stop.cancelled() => stopping("postrider"),
        () = line.stopped() => stopping("the watch"),
    }
}

/// A share of the server's connections for a standby. It does not wait for one: its own session holds
/// the share that would be needed. Where none is left, that session serves until its end, and its
/// mailbox's gate, which counts what the server refuses, hears nothing of it.
fn spare_share(shared: &Shared, mailbox: &Mailbox) -> Result<Option<Share>, Failure> {
    match queue_of(shared, mailbox) {
        None => Ok(None),
        Some(queue) => match queue.try_take() {
            Some(share) => Ok(Some(share)),
            None => Err(Failure::ConnectionLimit),
        },
    }
}

fn queue_of(shared: &Shared, mailbox: &Mailbox) -> Option<Queue> {
    let server = &mailbox.server;
    let max = server.connections_max?;
    Some(shared.connections.of(&server.host, server.port, max))
}

/// A share of the server's connections, where there is a limit to them.
async fn admitted_by_server(shared: &Shared, mailbox: &Mailbox, line: &WatchLine) -> Option<Share> {
    let queue = queue_of(shared, mailbox)?;
    let server = &mailbox.server;
    let max = server.connections_max.unwrap_or_default();
    let detail = format!(
        "waits for one of the {max} connections to {}:{} that all mailboxes share",
        server.host, server.port
    );
    let told = async {
        tokio::time::sleep(SHARE_WAIT_TOLD).await;
        queued(line, &detail);
        std::future::pending().await
    };
    tokio::select! {
        share = queue.take() => share,
        never = told => never,
    }
}

/// The status says that the mailbox waits in our own queue.
fn queued(line: &WatchLine, detail: &str) {
    let now = clock::wall();
    line.update(|status| {
        let since = status.trouble.as_ref().map_or(now, |old| old.since);
        status.trouble = Some(Box::new(Trouble {
            cause: "connections_max",
            detail: detail.to_owned(),
            hint: "raise connections_max of the server in [servers] if it allows more",
            since,
            at: now,
            reported: status.trouble.as_ref().is_some_and(|old| old.reported),
            diagnosis: None,
        }));
    });
}

/// What a refused login says: of the mailbox, or only of a token or password that has a successor,
/// which is tried soon.
fn refused(shared: &Shared, mailbox: &Mailbox, generation: Generation) -> Failure {
    match shared
        .tokens
        .refused(&mailbox.key, &mailbox.credential, generation)
    {
        Next::Another => Failure::TokenExpired,
        Next::Same => {
            shared.let_in.forget(&mailbox.credential, &mailbox.key);
            Failure::LoginRefused
        }
    }
}
