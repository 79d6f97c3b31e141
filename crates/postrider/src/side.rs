//! A session beside a mailbox's watches, for work that can wait: it counts as one of the mailbox's
//! and of its server's connections while it is open, takes its turn at logging in, and is never tried
//! while the mailbox's gate is shut or its watches do not get in. Its own refusal tells the gate
//! nothing that the watch has not found out: it must not make trouble worse.

use postrider_core::{
    ids::{FolderName, Uid, UidValidity},
    watch::Failure,
};
use postrider_imap::session::Session;

use crate::{
    directory::Worker,
    gate::OpenSession,
    network,
    shared::{RampKey, Share, Shared},
    telemetry::mail::State,
    watcher::session::imap_server,
};

/// What is held while the session is open.
pub(crate) struct Place {
    _counts: OpenSession,
    _share: Option<Share>,
}

/// Opens a session, or says why not.
pub(crate) async fn open(shared: &Shared, worker: &Worker) -> Result<(Session, Place), String> {
    if let Some(why) = not_now(worker) {
        return Err(why.to_owned());
    }
    let mailbox = &worker.mailbox;
    let in_use = |what: &str| format!("all connections that {what} may have are in use");
    let Ok(login) = worker.gate.admit() else {
        return Err(in_use("the mailbox"));
    };
    let server = &mailbox.server;
    let share = match server.connections_max {
        None => None,
        Some(max) => {
            let queue = shared.connections.of(&server.host, server.port, max);
            Some(queue.try_take().ok_or_else(|| in_use("the server"))?)
        }
    };
    shared.ramp.turn(&RampKey::of(mailbox)).await;
    let access = shared
        .tokens
        .login(&mailbox.key, &mailbox.credential)
        .await
        .map_err(|error| error.to_string())?;
    let tls = shared.tls.get(server.ca_file.as_deref());
    let tls = tls.map_err(|error| error.to_string())?;
    let proxy = network::socket_proxy(&server.proxy, &server.host);
    let proxy = proxy.map_err(|error| error.to_string())?;
    let at = imap_server(server, tls, proxy);
    match Session::open(&at, &access.login(&mailbox.username)).await {
        Ok(session) => Ok((
            session,
            Place {
                _counts: login.opened(),
                _share: share,
            },
        )),
        Err(error) => {
            match error.failure() {
                // What it means for the mailbox is the watch's to find out, at its own pace.
                Failure::LoginRefused | Failure::CredentialRefused | Failure::TokenExpired => {}
                Failure::Connection
                | Failure::CredentialUnavailable { .. }
                | Failure::Throttled { .. }
                | Failure::ConnectionLimit
                | Failure::FolderMissing
                | Failure::Refused
                | Failure::StoreFull
                | Failure::Store => login.failed(&error.failure()),
            }
            Err(first_line(&error.to_string()))
        }
    }
}

/// Where the watch itself cannot get in, nobody else is sent to try.
fn not_now(worker: &Worker) -> Option<&'static str> {
    if worker.gate.shut().is_some() {
        return Some("no login is tried before the time that the mailbox's gate says");
    }
    let reason = |state| match state {
        State::AuthFailed | State::Throttled | State::Backoff => {
            Some("the watch itself does not get in")
        }
        State::Paused => Some("an operator has paused the mailbox"),
        State::Connecting | State::Syncing | State::Watching | State::Held | State::StoreFull => {
            None
        }
    };
    let mut lines = worker.lines.iter();
    lines.find_map(|line| line.with_status(|status| reason(status.state)))
}

/// Where an event says that its message lies: `INBOX/1714060800/4711`. A folder's name may hold
/// slashes itself.
pub(crate) fn place(subject: &str) -> Option<(FolderName, UidValidity, Uid)> {
    let (rest, uid) = subject.rsplit_once('/')?;
    let (folder, validity) = rest.rsplit_once('/')?;
    Some((
        FolderName::new(folder),
        UidValidity(validity.parse().ok()?),
        Uid::new(uid.parse().ok()?)?,
    ))
}

/// Errors carry their hint behind an empty line.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
