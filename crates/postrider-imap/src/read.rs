//! Reading messages by explicit UID set. Every UID asked for gets exactly one answer; small bodies
//! go to memory within the caller's limits, others to its sink as one literal. RFC822.SIZE is told
//! on, and believed only where it is 0.

use std::{collections::BTreeMap, future::Future, io};

use bytes::Bytes;
use postrider_core::{ids::Uid, time::Wall, watch::Part};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Duration, Instant, timeout_at},
};

use crate::{
    conversation::{Conversation, within},
    error::{Breach, Error},
    framer::{Data, Frame, Step, is_body},
    parse::{Fetch, Response, Section, Skipped, Untagged, parse},
    search,
};

/// PEEK alone: what sets `\\Seen` may also be what sends a read receipt.
const WHOLE: &str = "(UID INTERNALDATE RFC822.SIZE FLAGS BODY.PEEK[])";
/// The same with Gmail's ids of message and thread (X-GM-EXT-1).
const WHOLE_GMAIL: &str = "(UID INTERNALDATE RFC822.SIZE FLAGS X-GM-MSGID X-GM-THRID BODY.PEEK[])";
/// The header fields of a fingerprint.
const FACTS: &str =
    "(UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Message-ID From Date Subject)])";
/// What counts as progress while a body is received.
const PROGRESS_BYTES: u64 = 64 * 1024;
const READING: &str = "reading messages";

/// Where bodies go that are too large for memory.
pub trait BodySink: Send {
    /// Dropped half-written where the body turns out to be of no use: then it must leave nothing behind.
    type Writer: AsyncWrite + Unpin + Send;

    /// A destination for a body of this many bytes. Whose it is may be told only after it.
    fn open(&mut self, size: u64) -> impl Future<Output = io::Result<Self::Writer>> + Send;

    /// The server made progress, in the sense of the deadline: it lives.
    fn progressed(&mut self) {}
}

/// How much of the bodies may be held in memory; above either, they go to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub message_bytes: u64,
    /// All messages of one read together.
    pub total_bytes: u64,
}

#[derive(Debug)]
pub struct ReadAnswers<W> {
    /// One for each UID asked for, ascending.
    pub answers: Vec<Fetched<W>>,
    /// Responses that did not parse while reading.
    pub skipped: u32,
}

#[derive(Debug)]
pub struct Fetched<W> {
    pub uid: Uid,
    /// `None` where the server's is unusable.
    pub internal_date: Option<Wall>,
    /// RFC822.SIZE, an estimate with some servers.
    pub size: Option<u32>,
    pub flags: Vec<String>,
    /// Gmail's ids, where the server is Gmail.
    pub gmail: Option<GmailIds>,
    pub body: Body<W>,
}

/// The same message in another folder has the same id. Google's own interfaces write both as
/// hexadecimal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GmailIds {
    pub message_id: u64,
    pub thread_id: u64,
}

#[derive(Debug)]
pub enum Body<W> {
    Memory(Bytes),
    /// Written in full, and flushed.
    Spooled {
        writer: W,
        size: u64,
    },
    /// The server speaks of the message, and gives no body though it has a size.
    Empty,
    /// The server answered OK and did not speak of this UID.
    Missing,
    /// A response did not parse, and may have been this one's.
    Unreadable,
}

pub(crate) async fn run<S: BodySink>(
    conversation: &mut Conversation,
    uids: &[Uid],
    part: Part,
    memory: Memory,
    sink: &mut S,
) -> Result<ReadAnswers<S::Writer>, Error> {
    let mut asked = uids.to_vec();
    asked.sort_unstable();
    asked.dedup();
    let skipped = conversation.skipped();
    let mut reading = Reading {
        part,
        memory,
        found: BTreeMap::new(),
        lost: false,
        bodies_left: 0,
        spool: None,
        sink,
    };
    let mut answers = Vec::with_capacity(asked.len());
    for (set, uids) in search::sets(&asked) {
        reading.command(conversation, &set, uids).await?;
        answers.extend(uids.iter().map(|uid| reading.answer(*uid)));
    }
    let skipped = u32::try_from(conversation.skipped() - skipped).unwrap_or(u32::MAX);
    Ok(ReadAnswers { answers, skipped })
}

struct Reading<'a, S: BodySink> {
    part: Part,
    /// What is left of the caller's limits.
    memory: Memory,
    /// What this command's responses told so far.
    found: BTreeMap<Uid, Fetched<S::Writer>>,
    /// A response of this command that may have held an answer could not be used.
    lost: bool,
    /// Bodies that this command may still bring. Without a limit a server could go on for ever.
    bodies_left: usize,
    /// The current response's body, where it goes to the sink.
    spool: Option<(S::Writer, u64)>,
    sink: &'a mut S,
}

impl<S: BodySink> Reading<'_, S> {
    async fn command(
        &mut self,
        conversation: &mut Conversation,
        set: &str,
        uids: &[Uid],
    ) -> Result<(), Error> {
        self.lost = false;
        // Some servers tell a message twice.
        self.bodies_left = 2 * uids.len();
        let items = match self.part {
            Part::Whole if conversation.capabilities.gmail => WHOLE_GMAIL,
            Part::Whole => WHOLE,
            Part::Facts => FACTS,
        };
        let deadlines = conversation.deadlines;
        let command = format!("UID FETCH {set} {items}");
        within(
            deadlines.command,
            READING,
            conversation.begin_text(&command),
        )
        .await?;
        let mut progress = Progress::new(deadlines.command, deadlines.progress);
        loop {
            match conversation.framer.step()? {
                Step::More => {
                    if progress.receive(conversation).await? {
                        self.sink.progressed();
                    }
                }
                Step::Announced(size) => {
                    progress.in_body = self.place(conversation, size).await?;
                }
                Step::Aside => self.write(conversation).await?,
                Step::Frame(frame) => {
                    progress.in_body = false;
                    let response = conversation.noted(parse(&frame)?)?;
                    match response {
                        Response::Tagged { status, .. } => {
                            return conversation.end("UID FETCH", status).map(drop);
                        }
                        Response::Untagged(Untagged::Fetch(fetch)) => {
                            if self.take(*fetch, frame, uids).await? {
                                progress.made();
                                self.sink.progressed();
                            }
                        }
                        Response::Untagged(_) => {}
                        Response::Skipped(Skipped::Fetch) => self.lost = true,
                        Response::Skipped(Skipped::Search | Skipped::Other) => {}
                        Response::Continue(_) => {
                            return Err(Breach::UnexpectedContinuation.into());
                        }
                        Response::Bare(line) => return Err(Response::stray(&line).into()),
                    }
                    self.spool = None;
                }
            }
        }
    }

    /// Decides where an announced literal goes; whether it is a body of ours.
    async fn place(&mut self, conversation: &mut Conversation, size: u64) -> Result<bool, Error> {
        if !is_body(conversation.framer.text()) {
            if !conversation.framer.has_room() {
                return Err(Breach::LiteralTooLarge(size).into());
            }
            conversation.framer.keep();
            return Ok(false);
        }
        if self.bodies_left == 0 || self.spool.is_some() {
            return Err(Breach::TooManyBodies.into());
        }
        self.bodies_left -= 1;
        if size <= self.memory.message_bytes && size <= self.memory.total_bytes {
            self.memory.total_bytes -= size;
            conversation.framer.keep();
        } else {
            let writer = self.sink.open(size).await.map_err(Error::Sink)?;
            self.spool = Some((writer, size));
            conversation.framer.put_aside();
        }
        Ok(true)
    }

    async fn write(&mut self, conversation: &mut Conversation) -> Result<(), Error> {
        let bytes = conversation.framer.aside_bytes();
        let count = bytes.len();
        if let Some((writer, _)) = &mut self.spool {
            writer.write_all(bytes).await.map_err(Error::Sink)?;
        }
        conversation.framer.aside_taken(count);
        Ok(())
    }

    /// Takes one FETCH response; whether it is the first with a body for a UID of this command.
    async fn take(&mut self, fetch: Fetch, frame: Frame, uids: &[Uid]) -> Result<bool, Error> {
        let section = match self.part {
            Part::Whole => fetch.whole,
            Part::Facts => fetch.header,
        };
        let Some(uid) = fetch.uid else {
            // A body without a UID may be anyone's.
            self.lost |= section != Section::Absent;
            return Ok(false);
        };
        let told = self.found.get(&uid);
        let answered = told.is_some_and(|told| !matches!(told.body, Body::Empty));
        if answered || uids.binary_search(&uid).is_err() {
            return Ok(false);
        }
        let gmail = fetch.gmail_message_id.zip(fetch.gmail_thread_id);
        let body = self.body(section, frame, fetch.size).await?;
        let progress = told_first(&self.found, uid) || !matches!(body, Body::Empty);
        // Servers may tell a message's items in several responses.
        let fetched = self.found.entry(uid).or_insert_with(|| unanswered(uid));
        fetched.internal_date = fetch.internal_date.or(fetched.internal_date);
        fetched.size = fetch.size.or(fetched.size);
        if !fetch.flags.is_empty() {
            fetched.flags = fetch.flags;
        }
        if let Some((message_id, thread_id)) = gmail {
            fetched.gmail = Some(GmailIds {
                message_id,
                thread_id,
            });
        }
        fetched.body = body;
        Ok(progress)
    }

    async fn body(
        &mut self,
        section: Section,
        mut frame: Frame,
        size: Option<u32>,
    ) -> Result<Body<S::Writer>, Error> {
        let bytes = match section {
            Section::Absent => return Ok(Body::Empty),
            Section::Nil => Vec::new(),
            Section::Quoted(bytes) => bytes,
            Section::Literal(index) => match frame.literals.swap_remove(index).data {
                Data::Kept(bytes) => bytes,
                Data::Aside => match self.spool.take() {
                    Some((mut writer, size)) => {
                        writer.flush().await.map_err(Error::Sink)?;
                        return Ok(Body::Spooled { writer, size });
                    }
                    None => return Ok(Body::Empty),
                },
            },
        };
        // No header fields at all is an answer; no message at all is one only where its size says so.
        let may_be_empty = size == Some(0) || self.part == Part::Facts;
        Ok(if bytes.is_empty() && !may_be_empty {
            Body::Empty
        } else {
            Body::Memory(Bytes::from(bytes))
        })
    }

    fn answer(&mut self, uid: Uid) -> Fetched<S::Writer> {
        let lost = self.lost;
        self.found.remove(&uid).unwrap_or_else(|| Fetched {
            body: if lost {
                Body::Unreadable
            } else {
                Body::Missing
            },
            ..unanswered(uid)
        })
    }
}

fn told_first<W>(found: &BTreeMap<Uid, Fetched<W>>, uid: Uid) -> bool {
    !found.contains_key(&uid)
}

fn unanswered<W>(uid: Uid) -> Fetched<W> {
    Fetched {
        uid,
        internal_date: None,
        size: None,
        flags: Vec::new(),
        gmail: None,
        body: Body::Empty,
    }
}

/// The time for the next sign of progress: 64 KiB of a body, or a message's answer. Other bytes
/// do not count, so a server cannot hold a connection with chatter.
struct Progress {
    deadline: Instant,
    every: Duration,
    bytes: u64,
    in_body: bool,
}

impl Progress {
    fn new(first: Duration, every: Duration) -> Self {
        Self {
            deadline: Instant::now() + first,
            every,
            bytes: 0,
            in_body: false,
        }
    }

    fn made(&mut self) {
        self.bytes = 0;
        self.deadline = Instant::now() + self.every;
    }

    /// Whether this was progress.
    async fn receive(&mut self, conversation: &mut Conversation) -> Result<bool, Error> {
        let before = conversation.received();
        timeout_at(self.deadline, conversation.receive())
            .await
            .unwrap_or(Err(Error::Timeout { doing: READING }))?;
        if self.in_body {
            self.bytes += conversation.received() - before;
            if self.bytes >= PROGRESS_BYTES {
                self.made();
                return Ok(true);
            }
        }
        Ok(false)
    }
}
