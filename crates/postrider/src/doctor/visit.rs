//! One mailbox: the login, its folders opened read-only, a moment of IDLE, and the newest message's
//! header read by PEEK, which is what least likely sets off a read receipt. Nothing is changed or
//! stored.

use std::{io, sync::Arc, time::Duration};

use postrider_core::{
    ids::{FolderName, Uid},
    time::Wall,
    watch::{Part, Selected},
};
use postrider_imap::{
    error::Error,
    read::{BodySink, Memory},
    role::Role,
    server::Login,
    session::Session,
};
use tokio::io::Sink;

use super::{
    Doctor,
    report::{Outcome, Step, StepName},
    server::first_line,
};
use crate::{clock, config::Mailbox, tokens::Access};

/// Long enough for a server to refuse IDLE, short enough for three hundred mailboxes.
const IDLE_FOR: Duration = Duration::from_millis(300);
/// A header is some KiB; what is larger goes nowhere.
const HEADER_BYTES_MAX: u64 = 256 * 1024;
/// A message from further in the future speaks of a wrong clock, here or there.
const FUTURE_S_MAX: i64 = 120;

/// How the mailbox was left.
pub(super) struct Visited {
    pub(super) steps: Vec<Step>,
    pub(super) failed: Option<Failed>,
}

pub(super) struct Failed {
    pub(super) error: Arc<Error>,
    /// Where one was open or to be opened.
    pub(super) folder: String,
}

pub(super) async fn visit(doctor: &Doctor, mailbox: &Mailbox, access: &Access) -> Visited {
    let mut steps = Vec::new();
    let failed = look(doctor, mailbox, access, &mut steps).await.err();
    Visited { steps, failed }
}

/// Opens a session as `username`, in its turn.
pub(super) async fn open(
    doctor: &Doctor,
    mailbox: &Mailbox,
    login: &Login,
) -> Result<Session, Error> {
    let refused = |source: String| Error::Connect {
        to: format!("{}:{}", mailbox.server.host, mailbox.server.port),
        source: io::Error::other(source),
    };
    let server = doctor.server(&mailbox.server).map_err(refused)?;
    Session::open(&server, login).await
}

async fn look(
    doctor: &Doctor,
    mailbox: &Mailbox,
    access: &Access,
    steps: &mut Vec<Step>,
) -> Result<(), Failed> {
    let failed = |error: Error, folder: &str| Failed {
        error: Arc::new(error),
        folder: folder.to_owned(),
    };
    doctor.turn(mailbox).await;
    let started = clock::monotonic();
    let opened = open(doctor, mailbox, &access.login(&mailbox.username)).await;
    let took = clock::monotonic() - started;
    let mut session = match opened {
        Ok(session) => session,
        Err(error) => {
            login_failed(&error, took, steps);
            return Err(failed(error, ""));
        }
    };
    let note = format!("as {}", mailbox.username);
    steps.push(Step::new(StepName::Login, Outcome::Ok, took, note));
    let note = "the mailbox is open";
    steps.push(Step::new(
        StepName::Probe,
        Outcome::Ok,
        Duration::ZERO,
        note,
    ));
    let result = folders(&mut session, mailbox, steps).await;
    session.logout().await;
    result.map_err(|(error, folder)| failed(error, folder.as_str()))
}

/// "Not connected" means that the login itself was accepted.
fn login_failed(error: &Error, took: Duration, steps: &mut Vec<Step>) {
    let name = if matches!(error, Error::NotConnected { .. }) {
        steps.push(Step::new(StepName::Login, Outcome::Ok, took, "accepted"));
        StepName::Probe
    } else {
        StepName::Login
    };
    // What the server said may hold anything: it is told as evidence, which is scrubbed.
    let note = match error {
        Error::LoginRefused { .. } | Error::NotConnected { .. } => "refused".to_owned(),
        _ => first_line(error),
    };
    steps.push(Step::new(name, Outcome::Failed, took, note));
}

async fn folders(
    session: &mut Session,
    mailbox: &Mailbox,
    steps: &mut Vec<Step>,
) -> Result<(), (Error, FolderName)> {
    let mut newest: Option<(Selected, FolderName)> = None;
    for folder in mailbox.folders.iter() {
        let started = clock::monotonic();
        let examined = examine(session, folder).await;
        let took = clock::monotonic() - started;
        match examined {
            Ok(selected) => {
                let note = format!("{folder}: {} messages", selected.exists);
                steps.push(Step::new(StepName::Folder, Outcome::Ok, took, note));
                newest = Some((selected, folder.clone()));
            }
            Err(error) => {
                let note = format!("{folder}: cannot be opened");
                steps.push(Step::new(StepName::Folder, Outcome::Failed, took, note));
                return Err((error, folder.clone()));
            }
        }
    }
    // The last folder is the one that is open now.
    let Some((selected, folder)) = newest else {
        return Ok(());
    };
    idle(session, steps)
        .await
        .map_err(|error| (error, folder.clone()))?;
    fetch(session, selected.highest, steps)
        .await
        .map_err(|error| (error, folder))
}

async fn examine(session: &mut Session, folder: &FolderName) -> Result<Selected, Error> {
    match Role::parse(folder.as_str()) {
        Some(role) => {
            let name = session.folder_of(role).await?;
            session.examine(&name).await
        }
        None => session.examine(folder).await,
    }
}

async fn idle(session: &mut Session, steps: &mut Vec<Step>) -> Result<(), Error> {
    if !session.idles() {
        let note = "the server offers no IDLE: the mailbox is polled";
        steps.push(Step::new(
            StepName::Idle,
            Outcome::Warn,
            Duration::ZERO,
            note,
        ));
        return Ok(());
    }
    let started = clock::monotonic();
    let until = tokio::time::Instant::now() + IDLE_FOR;
    let waited = session.wait(until, std::future::pending::<()>()).await;
    let took = clock::monotonic() - started;
    match waited {
        Ok(_) => {
            let note = "begun and ended in order";
            steps.push(Step::new(StepName::Idle, Outcome::Ok, took, note));
            Ok(())
        }
        Err(error) => {
            let note = first_line(&error);
            steps.push(Step::new(StepName::Idle, Outcome::Failed, took, note));
            Err(error)
        }
    }
}

async fn fetch(
    session: &mut Session,
    highest: Option<Uid>,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    let Some(uid) = highest else {
        steps.push(Step::skipped(StepName::Fetch, "the folder is empty"));
        return Ok(());
    };
    let started = clock::monotonic();
    let memory = Memory {
        message_bytes: HEADER_BYTES_MAX,
        total_bytes: HEADER_BYTES_MAX,
    };
    let read = session
        .read(&[uid], Part::Facts, memory, &mut Nowhere)
        .await;
    let took = clock::monotonic() - started;
    match read {
        Ok(answers) => {
            let date = answers.answers.first().and_then(|one| one.internal_date);
            let (outcome, note) = newest(uid, date);
            steps.push(Step::new(StepName::Fetch, outcome, took, note));
            Ok(())
        }
        Err(error) => {
            let note = first_line(&error);
            steps.push(Step::new(StepName::Fetch, Outcome::Failed, took, note));
            Err(error)
        }
    }
}

/// The mail server's clock shows in the newest message alone.
fn newest(uid: Uid, date: Option<Wall>) -> (Outcome, String) {
    let Some(date) = date else {
        return (Outcome::Ok, format!("header of UID {uid} read"));
    };
    let ahead = date.seconds() - clock::wall().seconds();
    if ahead > FUTURE_S_MAX {
        let note = format!(
            "header of UID {uid} read; it came {ahead} s in the future: the clock here or there is wrong"
        );
        return (Outcome::Warn, note);
    }
    let note = format!("header of UID {uid} read, which came {}", date.rfc3339());
    (Outcome::Ok, note)
}

/// A destination for what is larger than any header.
struct Nowhere;

impl BodySink for Nowhere {
    type Writer = Sink;

    async fn open(&mut self, _size: u64) -> io::Result<Sink> {
        Ok(tokio::io::sink())
    }
}
