//! From what the server gave to what the watch and the store need: facts, an event's data, a
//! file in the spool. Parsing is bounded and isolated: a message that breaks the parser becomes an
//! event that says so.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use postrider_core::{
    event::Identity,
    ids::Uid,
    message::{self, Message, ParseLimits},
    watch::{Answer, Facts, Failure, ItemKey, Part, Reply},
};
use postrider_imap::read::{Body, BodySink, Fetched, ReadAnswers};
use postrider_store::{Spool, SpoolFile, SpoolKey, SpoolWriter, StoreError};
use postrider_webhook::payload;
use tokio::io::AsyncReadExt;

use super::Watcher;
use crate::watch_line::WatchLine;

/// Messages that are parsed before others may run on this thread.
const PARSED_IN_A_ROW: usize = 8;

/// A message that is ready to become an event.
pub(super) struct Prepared {
    pub(super) identity: Identity,
    pub(super) message_id: Option<String>,
    /// The message's thread key.
    pub(super) thread: Option<String>,
    pub(super) data: Bytes,
    /// The message itself, where an endpoint of the mailbox takes it and it is small.
    pub(super) raw: Option<Bytes>,
    pub(super) spool: Option<SpoolFile>,
}

/// What is kept of a message beside its event.
#[derive(Clone, Copy)]
enum Keep {
    Event,
    /// An endpoint of the mailbox takes the message itself.
    Message,
}

/// Sends large bodies to the spool.
pub(super) struct Spooling<'a> {
    pub(super) spool: &'a Spool,
    pub(super) line: &'a WatchLine,
}

impl BodySink for Spooling<'_> {
    type Writer = SpoolWriter;

    async fn open(&mut self, _size: u64) -> io::Result<SpoolWriter> {
        self.spool.create("message").await.map_err(to_io)
    }

    fn progressed(&mut self) {
        self.line.alive();
    }
}

/// A body at hand for parsing.
enum Source {
    Whole(Bytes),
    /// Only the beginning of a message that is larger than the parse budget.
    Prefix {
        bytes: Bytes,
        total: u64,
    },
}

impl Watcher {
    pub(super) async fn prepare(
        &mut self,
        part: Part,
        read: ReadAnswers<SpoolWriter>,
    ) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(read.answers.len());
        let keep = if self.needs_raw() {
            Keep::Message
        } else {
            Keep::Event
        };
        for (index, fetched) in read.answers.into_iter().enumerate() {
            if index % PARSED_IN_A_ROW == PARSED_IN_A_ROW - 1 {
                tokio::task::yield_now().await;
            }
            let uid = fetched.uid;
            let reply = match part {
                Part::Facts => facts_only(&fetched),
                Part::Whole => self.whole(fetched, keep).await?,
            };
            if let Reply::Whole(facts) | Reply::Empty(facts) = &reply {
                self.facts.insert(uid, *facts);
            }
            answers.push(Answer {
                key: ItemKey::Uid(uid),
                reply,
            });
        }
        Ok(answers)
    }

    async fn whole(
        &mut self,
        mut fetched: Fetched<SpoolWriter>,
        keep: Keep,
    ) -> Result<Reply, Failure> {
        let body = std::mem::replace(&mut fetched.body, Body::Missing);
        let (source, spool, lane) = match body {
            Body::Missing => return Ok(Reply::Missing),
            Body::Unreadable => return Ok(Reply::Unreadable),
            Body::Empty => {
                let fingerprint = message::fingerprint(b"", fetched.internal_date);
                return Ok(Reply::Empty(Facts {
                    fingerprint,
                    internal_date: fetched.internal_date,
                }));
            }
            Body::Memory(bytes) => (Source::Whole(bytes), None, None),
            Body::Spooled { writer, size } => {
                let spool = self.shared.store.spool();
                let failed = |error: StoreError| self.store_failed("writing to the spool", &error);
                let key = writer.finish().await.map_err(failed)?;
                let file = spool.hold(key.clone(), size);
                // Large messages come back into memory one after the other, whoever read them.
                let turn = self.line.our_wait();
                let lane = self.shared.large.acquire().await;
                drop(turn);
                let budget = self.shared.limits.parse_bytes;
                let source = read_back(spool, &key, size, budget).await.map_err(failed)?;
                (source, Some(file), Some(lane))
            }
        };
        let head: &[u8] = match &source {
            Source::Whole(bytes) | Source::Prefix { bytes, .. } => bytes,
        };
        let facts = Facts {
            fingerprint: message::fingerprint(head, fetched.internal_date),
            internal_date: fetched.internal_date,
        };
        let raw = match (&source, keep) {
            (Source::Whole(bytes), Keep::Message) if spool.is_none() => Some(bytes.clone()),
            (Source::Whole(_) | Source::Prefix { .. }, Keep::Message | Keep::Event) => None,
        };
        let mut prepared = self.prepared(&fetched, facts, source, spool).await;
        prepared.raw = raw;
        drop(lane);
        self.batch.messages.insert(fetched.uid, prepared);
        Ok(Reply::Whole(facts))
    }

    async fn prepared(
        &self,
        fetched: &Fetched<SpoolWriter>,
        facts: Facts,
        source: Source,
        spool: Option<SpoolFile>,
    ) -> Prepared {
        let size = match &source {
            Source::Whole(bytes) => bytes.len() as u64,
            Source::Prefix { total, .. } => *total,
        };
        let limit = usize::try_from(self.shared.limits.event_bytes).unwrap_or(usize::MAX);
        let limits = ParseLimits {
            parse_bytes: self.shared.limits.parse_bytes,
            text_bytes: limit,
            header_bytes: limit,
            ..ParseLimits::default()
        };
        // A large message takes a while: it is parsed beside the threads that serve everybody.
        let message = if spool.is_some() {
            let parsed = tokio::task::spawn_blocking(move || parsed(&source, &limits)).await;
            parsed.unwrap_or_else(|_| message::salvage(b"", size, &limits))
        } else {
            parsed(&source, &limits)
        };
        let uid_validity = self
            .session
            .as_ref()
            .map_or(postrider_core::ids::UidValidity(0), |open| {
                open.selected.uid_validity
            });
        let identity = Identity {
            instance: self.shared.instance.clone(),
            mailbox: self.mailbox.key.clone(),
            folder: self.folder.clone(),
            uid_validity,
            uid: fetched.uid,
            fingerprint: facts.fingerprint,
            internal_date: facts.internal_date,
        };
        self.note_parse(fetched.uid, &message);
        let context = payload::MessageContext {
            mailbox: payload::MailboxRef {
                id: self.mailbox.key.as_str(),
                address: &self.mailbox.address,
                labels: &self.mailbox.labels,
            },
            folder: self.folder.as_str(),
            uid: fetched.uid,
            uid_validity,
            internal_date: facts.internal_date,
            size: fetched.size.map_or(size, u64::from),
            flags: &fetched.flags,
            server_folder: self
                .session
                .as_ref()
                .map_or(self.folder.as_str(), |open| open.name.as_str()),
            gmail: fetched.gmail.map(|ids| payload::GmailIds {
                message_id: ids.message_id,
                thread_id: ids.thread_id,
            }),
            fingerprint: facts.fingerprint,
            trusted_authserv_id: self.mailbox.trusted_authserv_id.as_deref(),
        };
        let data = payload::message_data(&context, &message, limit).json;
        Prepared {
            identity,
            message_id: message.message_id,
            thread: message.thread_key,
            data,
            raw: None,
            spool,
        }
    }

    fn note_parse(&self, uid: Uid, message: &Message) {
        let status = message.status.as_str();
        if status != "ok" {
            self.shared
                .telemetry
                .mail
                .parsed_in_part(self.key(), uid.get(), status);
        }
    }
}

/// What is to be parsed of a message in the spool.
async fn read_back(
    spool: &Spool,
    key: &SpoolKey,
    size: u64,
    budget: u64,
) -> Result<Source, StoreError> {
    let mut file = spool.open_file(key).await?;
    let wanted = size.min(budget);
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    (&mut file)
        .take(wanted)
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| from_io(&error))?;
    let bytes = Bytes::from(bytes);
    Ok(if size > budget {
        Source::Prefix { bytes, total: size }
    } else {
        Source::Whole(bytes)
    })
}

fn facts_only(fetched: &Fetched<SpoolWriter>) -> Reply {
    let head: &[u8] = match &fetched.body {
        Body::Memory(bytes) => bytes,
        Body::Empty | Body::Spooled { .. } => b"",
        Body::Missing => return Reply::Missing,
        Body::Unreadable => return Reply::Unreadable,
    };
    Reply::Whole(Facts {
        fingerprint: message::fingerprint(head, fetched.internal_date),
        internal_date: fetched.internal_date,
    })
}

/// A panic in the parser is a message that cannot be parsed, not the end of a watch.
fn parsed(source: &Source, limits: &ParseLimits) -> Message {
    let (bytes, total) = match source {
        Source::Whole(bytes) => (bytes, bytes.len() as u64),
        Source::Prefix { bytes, total } => (bytes, *total),
    };
    catch_unwind(AssertUnwindSafe(|| match source {
        Source::Whole(bytes) => message::parse(bytes, limits),
        Source::Prefix { bytes, total } => message::parse_prefix(bytes, *total, limits),
    }))
    .unwrap_or_else(|_| message::salvage(bytes, total, limits))
}

/// The store's error on its way through the IMAP crate, which knows only IO.
fn to_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Full(text) => io::Error::new(io::ErrorKind::StorageFull, text),
        StoreError::Fatal(text) | StoreError::Busy(text) | StoreError::Other(text) => {
            io::Error::other(text)
        }
    }
}

fn from_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(error.to_string())
        }
        _ => StoreError::Other(error.to_string()),
    }
}
