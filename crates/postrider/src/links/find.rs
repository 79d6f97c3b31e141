//! Where a message is: kept in the store, or still in its mailbox, which is then read once more,
//! changing nothing there. What was read is kept for a while: links come in bundles.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use postrider_core::{
    ids::{FolderName, Uid, UidValidity},
    message,
    time::{Monotonic, Wall},
    watch::Part,
};
use postrider_imap::{
    read::{Body, BodySink, Memory},
    role::Role,
    session::Session,
};
use postrider_store::{Raw, Spool, SpoolFile, SpoolWriter, StoreError};
use postrider_webhook::body::RawMessage;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{clock, directory::Directory, shared::Shared, side};

/// For reading a message again, from logging in to its last byte.
const REREAD_MAX: Duration = Duration::from_secs(120);
/// In which a message's header lies, by which it is known again.
const HEADER_BYTES: u64 = 1 << 20;
/// Messages that were read again and are kept.
const KEPT_MAX: usize = 8;
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Messages that were not there: whoever asks again and again makes no login of it each time.
const GONE_MAX: usize = 256;
const GONE_FOR: Duration = Duration::from_secs(60);

/// Why there is no message.
pub(super) enum Miss {
    /// Nor will there be one.
    Gone,
    /// Not now.
    Later(String),
}

pub(super) struct Finder {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    /// One message is read again at a time.
    turn: Semaphore,
    kept: Mutex<VecDeque<Kept>>,
    gone: Mutex<VecDeque<(Uuid, Monotonic)>>,
}

struct Kept {
    event: Uuid,
    since: Monotonic,
    found: Found,
}

/// A message as its mailbox has it; its file, where it is a large one, goes with it.
struct Found {
    message: RawMessage,
    internal_date: Option<Wall>,
    _file: Option<SpoolFile>,
}

impl Finder {
    pub(super) fn new(shared: Arc<Shared>, directory: Arc<Directory>) -> Self {
        Self {
            shared,
            directory,
            turn: Semaphore::new(1),
            kept: Mutex::default(),
            gone: Mutex::default(),
        }
    }

    pub(super) async fn message(&self, event: Uuid) -> Result<RawMessage, Miss> {
        if let Some(raw) = self.shared.store.raw(event).await.map_err(later)? {
            return Ok(match raw {
                Raw::Bytes(bytes) => RawMessage::Bytes(bytes),
                Raw::File { path, len } => RawMessage::File { path, len },
            });
        }
        self.forget_old();
        if let Some(known) = self.known(event) {
            return Ok(known);
        }
        let reread = async {
            // Never closed.
            let _turn = self.turn.acquire().await.ok();
            match self.known(event) {
                // Another request has read it while this one waited.
                Some(known) => Ok(known),
                None if self.is_gone(event) => Err(Miss::Gone),
                None => {
                    let read = self.reread(event).await;
                    if let Err(Miss::Gone) = read {
                        self.note_gone(event);
                    }
                    read
                }
            }
        };
        let slow = || Miss::Later("reading the message again took too long".to_owned());
        let done = tokio::time::timeout(REREAD_MAX, reread).await;
        done.unwrap_or_else(|_| Err(slow()))
    }

    fn known(&self, event: Uuid) -> Option<RawMessage> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|one| one.event == event);
        known.map(|one| one.found.message.clone())
    }

    fn is_gone(&self, event: Uuid) -> bool {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        gone.retain(|(_, since)| now - *since <= GONE_FOR);
        gone.iter().any(|(known, _)| *known == event)
    }

    fn note_gone(&self, event: Uuid) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.push_back((event, clock::monotonic()));
        if gone.len() > GONE_MAX {
            gone.pop_front();
        }
    }

    async fn reread(&self, event: Uuid) -> Result<RawMessage, Miss> {
        let detail = self.shared.store.event(event).await.map_err(later)?;
        let detail = detail.ok_or(Miss::Gone)?;
        let (row, print) = (detail.event, detail.fingerprint);
        let print = print.ok_or(Miss::Gone)?;
        let (folder, validity, uid) = side::place(&row.subject).ok_or(Miss::Gone)?;
        let key = row.mailbox.ok_or(Miss::Gone)?;
        let worker = self.directory.get(&key).ok_or_else(|| {
            // One that starts anew has no worker for a moment.
            match self.shared.config().mailboxes.contains_key(&key) {
                true => Miss::Later(format!("mailbox {key} is not watched right now")),
                false => Miss::Gone,
            }
        })?;
        let of_it = |why: String| Miss::Later(format!("mailbox {key}: {why}"));
        let (mut session, _place) = side::open(&self.shared, &worker).await.map_err(of_it)?;
        let limits = &self.shared.limits;
        let kib = u32::try_from(limits.inline_bytes / 1024).unwrap_or(u32::MAX);
        let host = &worker.mailbox.server.host;
        let _room = self.shared.memory.room(host, kib).await;
        let read = self.read(&mut session, &folder, validity, uid).await;
        session.logout().await;
        let found = read.map_err(|miss| match miss {
            Miss::Gone => Miss::Gone,
            Miss::Later(why) => of_it(why),
        })?;
        let header = found.message.read(0, HEADER_BYTES).await;
        let header = header.map_err(|error| Miss::Later(error.to_string()))?;
        if message::fingerprint(&header, found.internal_date) != print {
            // Another message under the same UID: of another account, say, that the mailbox leads to.
            return Err(Miss::Gone);
        }
        let message = found.message.clone();
        self.keep(event, found);
        Ok(message)
    }

    async fn read(
        &self,
        session: &mut Session,
        folder: &FolderName,
        validity: UidValidity,
        uid: Uid,
    ) -> Result<Found, Miss> {
        let later =
            |error: postrider_imap::error::Error| Miss::Later(side::first_line(&error.to_string()));
        let name = match Role::parse(folder.as_str()) {
            Some(role) => session.folder_of(role).await.map_err(later)?,
            None => folder.clone(),
        };
        let selected = session.examine(&name).await.map_err(later)?;
        if selected.uid_validity != validity {
            // The UID means another message now, if any.
            return Err(Miss::Gone);
        }
        let inline = self.shared.limits.inline_bytes;
        let memory = Memory {
            message_bytes: inline,
            total_bytes: inline,
        };
        let mut sink = ToSpool(self.shared.store.spool());
        let read = session.read(&[uid], Part::Whole, memory, &mut sink).await;
        let fetched = read.map_err(later)?.answers.pop().ok_or(Miss::Gone)?;
        let (message, file) = match fetched.body {
            Body::Memory(bytes) => (RawMessage::Bytes(bytes), None),
            Body::Spooled { writer, size } => {
                let spool = self.shared.store.spool();
                let key = writer.finish().await.map_err(self::later)?;
                let path = spool.path_of(&key).map_err(self::later)?;
                let file = spool.hold(key, size);
                (RawMessage::File { path, len: size }, Some(file))
            }
            Body::Empty | Body::Missing => return Err(Miss::Gone),
            Body::Unreadable => {
                return Err(Miss::Later("the server's answer cannot be read".to_owned()));
            }
        };
        Ok(Found {
            message,
            internal_date: fetched.internal_date,
            _file: file,
        })
    }

    fn keep(&self, event: Uuid, found: Found) {
        let one = Kept {
            event,
            since: clock::monotonic(),
            found,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(one);
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }

    fn forget_old(&self) {
        let now = clock::monotonic();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.front().is_some_and(|one| now - one.since > KEPT_FOR) {
            kept.pop_front();
        }
    }
}

fn later(error: StoreError) -> Miss {
    Miss::Later(error.to_string())
}

struct ToSpool<'a>(&'a Spool);

impl BodySink for ToSpool<'_> {
    type Writer = SpoolWriter;

    async fn open(&mut self, _size: u64) -> io::Result<SpoolWriter> {
        let created = self.0.create("link").await;
        created.map_err(|error| match error {
            StoreError::Full(text) => io::Error::new(io::ErrorKind::StorageFull, text),
            other => io::Error::other(other.to_string()),
        })
    }
}
