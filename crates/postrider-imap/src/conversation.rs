//! One command at a time, to its explicit end: a tagged OK, NO or BAD, or an error for BYE, end of
//! stream, a passed deadline or a breach of the protocol. Never an answer that was not given.
//!
//! A command whose future was dropped half-way leaves `in_flight` behind, and the next call closes
//! the connection instead of reading another command's answers.

use std::future::Future;

use secrecy::zeroize::Zeroizing;
use tokio::time::{Duration, timeout};

use crate::{
    error::{Breach, Error, Refusal, ServerText, classify},
    framer::{Framer, Step},
    parse::{
        Response, Skipped, Untagged, parse,
        status::{Code, Condition, Status},
    },
    server::{Deadlines, IdleUse},
    stream::Stream,
};

pub(crate) struct Conversation {
    /// `None`: closed.
    stream: Option<Stream>,
    pub(crate) framer: Framer,
    pub(crate) deadlines: Deadlines,
    tag: u32,
    in_flight: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) idle: IdleTrust,
    pub(crate) front_end: FrontEnd,
    /// As EXISTS and EXPUNGE told it last.
    pub(crate) exists: u32,
    pub(crate) uid_next: Option<u32>,
    /// EXISTS told another number since the last survey began.
    pub(crate) changed: bool,
    received: u64,
    skipped: u64,
}

/// What the server offers of what matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) told: bool,
    pub(crate) idle: bool,
    pub(crate) starttls: bool,
    pub(crate) login_disabled: bool,
    pub(crate) sasl_ir: bool,
    pub(crate) plain: bool,
    pub(crate) xoauth2: bool,
    pub(crate) oauthbearer: bool,
    pub(crate) literal_plus: bool,
    pub(crate) namespace: bool,
    /// UID EXPUNGE (RFC 4315).
    pub(crate) uid_plus: bool,
    /// RFC 6851.
    pub(crate) moves: bool,
    /// Gmail's own ids of messages and threads (X-GM-EXT-1).
    pub(crate) gmail: bool,
}

/// Which software greets, as far as it matters. Exchange Online is being moved from one front end to
/// another, and neither keeps to the other's wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEnd {
    ExchangeClassic,
    ExchangeProxy,
    Other,
}

impl FrontEnd {
    /// By the text of the greeting, anywhere in it.
    pub(crate) fn of(greeting: &[u8]) -> Self {
        let text = String::from_utf8_lossy(greeting).to_ascii_lowercase();
        match text.contains("microsoft exchange") {
            true if text.contains("tcpproxy") => Self::ExchangeProxy,
            true => Self::ExchangeClassic,
            false => Self::Other,
        }
    }
}

/// How far the server's IDLE is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleTrust {
    /// Times in a row that the server ended IDLE of itself at once.
    Trusted {
        ended_early: u8,
    },
    Polling,
}

impl Capabilities {
    fn from_names(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|offered| offered == name);
        Self {
            told: true,
            idle: has("IDLE"),
            starttls: has("STARTTLS"),
            login_disabled: has("LOGINDISABLED"),
            sasl_ir: has("SASL-IR"),
            plain: has("AUTH=PLAIN"),
            xoauth2: has("AUTH=XOAUTH2"),
            oauthbearer: has("AUTH=OAUTHBEARER"),
            literal_plus: has("LITERAL+"),
            namespace: has("NAMESPACE"),
            uid_plus: has("UIDPLUS"),
            moves: has("MOVE"),
            gmail: has("X-GM-EXT-1"),
        }
    }
}

/// One piece of a command.
pub(crate) enum Part<'a> {
    Text(&'a [u8]),
    /// An argument that quotes cannot carry (RFC 3501 section 4.3).
    Literal(&'a [u8]),
}

impl Conversation {
    pub(crate) fn new(stream: Stream, deadlines: Deadlines, idle: IdleUse) -> Self {
        Self {
            stream: Some(stream),
            framer: Framer::default(),
            deadlines,
            tag: 0,
            in_flight: false,
            capabilities: Capabilities::default(),
            idle: match idle {
                IdleUse::Auto => IdleTrust::Trusted { ended_early: 0 },
                IdleUse::Never => IdleTrust::Polling,
            },
            front_end: FrontEnd::Other,
            exists: 0,
            uid_next: None,
            changed: false,
            received: 0,
            skipped: 0,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stream.is_none()
    }

    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.framer = Framer::default();
    }

    /// Closes where `result` says that the session cannot go on.
    pub(crate) fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(|error| !error.usable()) {
            self.close();
        }
        result
    }

    /// The plain stream, for a TLS handshake on it. What was received before it is refused.
    pub(crate) fn take_stream(&mut self) -> Result<Stream, Error> {
        if !self.framer.is_empty() {
            return Err(Breach::BytesBeforeTls.into());
        }
        self.stream.take().ok_or_else(Error::closed)
    }

    pub(crate) fn put_stream(&mut self, stream: Stream) {
        self.stream = Some(stream);
        self.framer = Framer::default();
        self.capabilities = Capabilities::default();
    }

    /// Sends one command of plain text, and collects to its tagged OK.
    pub(crate) async fn command(
        &mut self,
        name: &'static str,
        text: &str,
        on: impl FnMut(Response) -> Result<(), Error>,
    ) -> Result<Status, Error> {
        let deadline = self.deadlines.command;
        self.command_of(name, &[Part::Text(text.as_bytes())], deadline, on)
            .await
    }

    pub(crate) async fn command_of(
        &mut self,
        name: &'static str,
        parts: &[Part<'_>],
        deadline: Duration,
        mut on: impl FnMut(Response) -> Result<(), Error>,
    ) -> Result<Status, Error> {
        within(deadline, name, async {
            self.begin()?;
            self.send_parts(parts, name).await?;
            loop {
                match self.response().await? {
                    Response::Tagged { status, .. } => return self.end(name, status),
                    response @ (Response::Untagged(_) | Response::Skipped(_)) => on(response)?,
                    Response::Continue(_) => return Err(Breach::UnexpectedContinuation.into()),
                    Response::Bare(line) => return Err(Response::stray(&line).into()),
                }
            }
        })
        .await
    }

    /// Marks a command as begun and gives it a new tag. What an abandoned one left is not read.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        if self.in_flight {
            self.close();
        }
        if self.stream.is_none() {
            return Err(Error::closed());
        }
        self.in_flight = true;
        self.tag = self.tag.wrapping_add(1);
        Ok(())
    }

    /// Begins a command of plain text whose replies the caller reads itself.
    pub(crate) async fn begin_text(&mut self, text: &str) -> Result<(), Error> {
        self.begin()?;
        let line = Zeroizing::new(format!("{} {text}\r\n", self.tag_name()));
        self.send(line.as_bytes()).await
    }

    async fn send_parts(&mut self, parts: &[Part<'_>], name: &'static str) -> Result<(), Error> {
        // LOGIN's password is among the parts.
        let mut line = Zeroizing::new(self.tag_name().into_bytes());
        line.push(b' ');
        for part in parts {
            match part {
                Part::Text(text) => line.extend_from_slice(text),
                Part::Literal(bytes) if self.capabilities.literal_plus => {
                    line.extend_from_slice(format!("{{{}+}}\r\n", bytes.len()).as_bytes());
                    line.extend_from_slice(bytes);
                }
                Part::Literal(bytes) => {
                    line.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
                    self.send(&line).await?;
                    self.invited(name).await?;
                    line = Zeroizing::new(bytes.to_vec());
                }
            }
        }
        line.extend_from_slice(b"\r\n");
        self.send(&line).await
    }

    /// Waits for the `+` that lets a literal follow.
    async fn invited(&mut self, name: &'static str) -> Result<(), Error> {
        loop {
            match self.response().await? {
                Response::Continue(_) => return Ok(()),
                Response::Tagged { status, .. } => {
                    self.end(name, status)?;
                    return Err(Breach::ForeignTag.into());
                }
                Response::Untagged(_) | Response::Skipped(_) => {}
                Response::Bare(line) => return Err(Response::stray(&line).into()),
            }
        }
    }

    /// The command's tagged reply: OK, or an error that says what NO or BAD means.
    pub(crate) fn end(&mut self, name: &'static str, status: Status) -> Result<Status, Error> {
        self.in_flight = false;
        let refusal = match status.condition {
            Condition::Ok => {
                if let Some(Code::Capability(names)) = &status.code {
                    self.capabilities = Capabilities::from_names(names);
                }
                return Ok(status);
            }
            Condition::No => Refusal::No,
            Condition::Bad | Condition::Preauth | Condition::Bye => Refusal::Bad,
        };
        let plain = || Error::Refused {
            refusal,
            command: name,
            text: ServerText::new(&status.text),
        };
        Err(classify(status.code_name(), &status.text).unwrap_or_else(plain))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let stream = self.stream.as_mut().ok_or_else(Error::closed)?;
        let sent = stream.send(bytes).await;
        sent.map_err(|source| Error::Broken { source })
    }

    /// The next response; a BYE, the end of the stream, and a foreign tag are errors. Nothing is lost
    /// when the future is dropped.
    pub(crate) async fn response(&mut self) -> Result<Response, Error> {
        loop {
            match self.step().await? {
                Step::Frame(frame) => {
                    let response = parse(&frame)?;
                    return self.noted(response);
                }
                Step::Announced(_) if self.framer.has_room() => self.framer.keep(),
                Step::Announced(size) => return Err(Breach::LiteralTooLarge(size).into()),
                Step::Aside | Step::More => {}
            }
        }
    }

    /// The framer's next step other than `More`.
    pub(crate) async fn step(&mut self) -> Result<Step, Error> {
        loop {
            match self.framer.step()? {
                Step::More => self.receive().await?,
                step @ (Step::Frame(_) | Step::Announced(_) | Step::Aside) => return Ok(step),
            }
        }
    }

    pub(crate) async fn receive(&mut self) -> Result<(), Error> {
        let stream = self.stream.as_mut().ok_or_else(Error::closed)?;
        let (framer, received) = (&mut self.framer, &mut self.received);
        let more = stream
            .receive(|bytes| {
                *received += bytes.len() as u64;
                framer.push(bytes);
            })
            .await;
        match more {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::closed()),
            Err(source) => Err(Error::Broken { source }),
        }
    }

    /// Keeps what any response may tell of the session, and turns its end into an error.
    pub(crate) fn noted(&mut self, response: Response) -> Result<Response, Error> {
        match &response {
            Response::Tagged { tag, .. } => {
                if !self.in_flight || *tag != self.tag_name().into_bytes() {
                    return Err(Breach::ForeignTag.into());
                }
            }
            Response::Untagged(untagged) => self.note(untagged)?,
            Response::Skipped(Skipped::Fetch | Skipped::Search | Skipped::Other) => {
                self.skipped += 1;
            }
            Response::Bare(line) => {
                if let Some(error) = classify(None, line) {
                    return Err(error);
                }
            }
            Response::Continue(_) => {}
        }
        Ok(response)
    }

    fn note(&mut self, untagged: &Untagged) -> Result<(), Error> {
        match untagged {
            Untagged::Status(status) => match (&status.condition, &status.code) {
                (Condition::Bye, _) => {
                    let text = ServerText::new(&status.text);
                    return Err(classify(status.code_name(), &status.text)
                        .unwrap_or(Error::Closed { text: Some(text) }));
                }
                (_, Some(Code::Capability(names))) => {
                    self.capabilities = Capabilities::from_names(names);
                }
                (_, Some(Code::UidNext(next))) => self.uid_next = Some(*next),
                (_, Some(Code::UidValidity(_) | Code::Named(_)) | None) => {}
            },
            Untagged::Capability(names) => self.capabilities = Capabilities::from_names(names),
            Untagged::Exists(count) => {
                self.changed |= *count != self.exists;
                self.exists = *count;
            }
            Untagged::Expunge => self.exists = self.exists.saturating_sub(1),
            Untagged::UidNext(next) => self.uid_next = Some(*next),
            Untagged::Search(_) | Untagged::List(_) | Untagged::Fetch(_) | Untagged::Other => {}
        }
        Ok(())
    }

    pub(crate) async fn shutdown(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            // The session is over either way.
            let _ = stream.shutdown().await;
        }
    }

    fn tag_name(&self) -> String {
        format!("P{}", self.tag)
    }
}

/// A time limit around everything that waits for the server.
pub(crate) async fn within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(Error::Timeout { doing }))
}

/// For commands whose untagged replies are of no interest beyond what is noted anyway.
pub(crate) fn ignore(_: Response) -> Result<(), Error> {
    Ok(())
}

/// A quoted string, or a literal where quotes cannot carry it. CR, LF and NUL are refused.
pub(crate) fn argument(value: &str, what: &'static str) -> Result<Argument, Error> {
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Error::Argument { what });
    }
    if !value.is_ascii() {
        return Ok(Argument::Literal(Zeroizing::new(value.into())));
    }
    let mut quoted = Zeroizing::new(Vec::with_capacity(2 * value.len() + 2));
    quoted.push(b'"');
    for byte in value.bytes() {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    Ok(Argument::Quoted(quoted))
}

pub(crate) enum Argument {
    Quoted(Zeroizing<Vec<u8>>),
    Literal(Zeroizing<Vec<u8>>),
}

impl Argument {
    pub(crate) fn part(&self) -> Part<'_> {
        match self {
            Self::Quoted(text) => Part::Text(text),
            Self::Literal(bytes) => Part::Literal(bytes),
        }
    }
}
