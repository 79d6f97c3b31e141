//! One connection from greeting to end: reads commands, obeys the levers, answers. While it waits
//! it holds no buffers and watches for mail, orders and the end of its token.

use std::{borrow::Cow, future::pending, io, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Shared,
    board::Entry,
    config::{Record, TlsMode},
    levers::{Goodbye, Levers, OnExpiry, ThrottleStyle},
    presence::{Mailbox, Presence},
    syntax::{Announced, Bad, Scanner, quoted, split_literal},
    wire::{Transport, Wire},
};

/// The largest literal that a client may send.
const LITERAL_MAX: usize = 1024 * 1024;

pub(super) struct Session {
    pub(super) presence: Presence,
    pub(super) wire: Wire,
    pub(super) secrecy: Secrecy,
    /// Commands refused since the login because the user is "not connected".
    not_connected: u32,
    /// IMAP4rev2 was enabled.
    pub(super) rev2: bool,
    /// LIST is broken for the rest of the session.
    pub(super) list_broken: bool,
}

/// Whether secrets may be sent on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// It is encrypted, or is meant to be in clear text.
    Fine,
    /// STARTTLS has to come first.
    Needed,
}

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is nothing more to say, or nobody to say it to.
    Gone,
    StartTls,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// How a command ends.
pub(super) enum Reply {
    Ok(Cow<'static, str>),
    No(Cow<'static, str>),
    Bad(Cow<'static, str>),
    /// A NO or BAD, and Exchange's `Connection closed. 14` behind it.
    NoAndClosed(Cow<'static, str>),
    BadAndClosed(Cow<'static, str>),
    /// No reply: the session ends.
    End(Goodbye),
    Idle,
    Logout,
    StartTls,
}

impl From<Bad> for Reply {
    fn from(text: Bad) -> Self {
        Self::Bad(format!("Command Argument Error. 12 ({text})").into())
    }
}

/// Serves a connection until it ends.
pub(super) async fn run(shared: Arc<Shared>, entry: Arc<Entry>, stream: TcpStream) {
    let presence = Presence::new(shared, entry);
    let Ok(mut session) = Box::pin(Session::open(presence, stream)).await else {
        return;
    };
    loop {
        match session.turn().await {
            Ok(()) => {}
            Err(Stop::Gone) => return,
            Err(Stop::StartTls) => match Box::pin(session.encrypt()).await {
                Ok(encrypted) => session = encrypted,
                Err(_) => return,
            },
        }
    }
}

impl Session {
    async fn open(presence: Presence, stream: TcpStream) -> Result<Self, Stop> {
        thaw(&presence).await;
        let (stream, secrecy): (Box<dyn Transport>, _) = match &presence.shared.config.tls {
            TlsMode::Implicit(tls) => {
                let acceptor = TlsAcceptor::from(tls.server_config());
                (Box::new(acceptor.accept(stream).await?), Secrecy::Fine)
            }
            TlsMode::StartTls(_) => (Box::new(stream), Secrecy::Needed),
            TlsMode::None => (Box::new(stream), Secrecy::Fine),
        };
        let mut session = Self {
            presence,
            wire: Wire::new(stream),
            secrecy,
            not_connected: 0,
            rev2: false,
            list_broken: false,
        };
        session.greet().await?;
        Ok(session)
    }

    async fn greet(&mut self) -> Result<(), Stop> {
        let open = self.presence.shared.sessions_open();
        if self
            .presence
            .is_set(|levers| levers.connections_max.is_some_and(|max| open > max))
        {
            return self.bye("Too many connections, try again later").await;
        }
        let greeting = format!("* OK {}", self.presence.profile.greeting);
        self.wire.put_line(greeting);
        Ok(self.wire.flush().await?)
    }

    async fn encrypt(self) -> Result<Self, Stop> {
        let TlsMode::StartTls(tls) = &self.presence.shared.config.tls else {
            return Err(Stop::Gone);
        };
        let acceptor = TlsAcceptor::from(tls.server_config());
        let stream = acceptor.accept(self.wire.into_stream()).await?;
        Ok(Self {
            wire: Wire::new(Box::new(stream)),
            secrecy: Secrecy::Fine,
            ..self
        })
    }

    /// Reads one command and answers it.
    async fn turn(&mut self) -> Result<(), Stop> {
        let line = self.command().await?;
        let tag = String::from_utf8_lossy(Scanner::new(&line).until(b" ")).into_owned();
        // Boxed: what a command needs is not to be carried by every idle session.
        let reply = Box::pin(self.answer(&line)).await?;
        let line = match reply {
            Reply::Ok(_) if self.presence.is_set(|levers| levers.mark_throttled) => {
                format!("{tag} OK Success [THROTTLED]")
            }
            Reply::Ok(text) => format!("{tag} OK {text}"),
            Reply::No(text) => format!("{tag} NO {text}"),
            Reply::Bad(text) if tag.is_empty() => format!("* BAD {text}"),
            Reply::Bad(text) => format!("{tag} BAD {text}"),
            Reply::NoAndClosed(text) => {
                self.wire.put_line(format!("{tag} NO {text}"));
                return self.bye("Connection closed. 14").await;
            }
            Reply::BadAndClosed(text) => {
                self.wire.put_line(format!("{tag} BAD {text}"));
                return self.bye("Connection closed. 14").await;
            }
            Reply::End(goodbye) => return self.part(&goodbye).await,
            Reply::Idle => return self.idle(&tag).await,
            Reply::Logout => {
                let goodbye = self.presence.profile.goodbye();
                self.wire.put_line(format!("* BYE {goodbye}"));
                self.wire.put_line(format!("{tag} OK LOGOUT completed."));
                self.wire.close().await?;
                return Err(Stop::Gone);
            }
            Reply::StartTls => {
                self.wire
                    .put_line(format!("{tag} OK Begin TLS negotiation now."));
                self.wire.flush().await?;
                return Err(Stop::StartTls);
            }
        };
        self.wire.put_line(line);
        Ok(self.wire.flush_if_much().await?)
    }

    async fn answer(&mut self, line: &[u8]) -> Result<Reply, Stop> {
        let mut scanner = Scanner::new(line);
        if scanner.until(b" ").is_empty() || scanner.space().is_err() {
            // Such as the end of a SASL exchange that the server has ended already.
            let why = "it is no command";
            self.presence.complain(format!("{} bytes", line.len()), why);
            return Ok(Reply::Bad("Command Error. 12".into()));
        }
        let name = match command_name(&mut scanner) {
            Ok(name) => name,
            Err(bad) => return Ok(bad.into()),
        };
        self.presence.count(|counters| counters.commands += 1);
        if self.presence.shared.config.record == Record::Commands {
            self.presence.record(without_secrets(&name, line));
        }
        if let Some(reply) = self.lever_reply(&name) {
            return Ok(reply);
        }
        self.dispatch(&name, scanner, line).await
    }

    /// What the levers answer in place of the command.
    fn lever_reply(&mut self, name: &str) -> Option<Reply> {
        let mailbox = self.presence.login.as_ref()?.mailbox;
        if mailbox == Mailbox::NotConnected || self.presence.is_set(|levers| levers.not_connected) {
            self.not_connected += 1;
            let text = "User is authenticated but not connected.".into();
            return match self.not_connected {
                1 => Some(Reply::Bad(text)),
                _ => Some(Reply::BadAndClosed(text)),
            };
        }
        if let Some(goodbye) = self.presence.ask(|levers| levers.take_end(name)) {
            return Some(Reply::End(goodbye));
        }
        if let Some((backoff, style)) = self.presence.ask(Levers::take_throttle) {
            self.presence.count(|counters| counters.throttled += 1);
            let text = throttled(backoff).into();
            return Some(match style {
                ThrottleStyle::No => Reply::No(text),
                ThrottleStyle::NoThenBye => Reply::NoAndClosed(text),
                ThrottleStyle::Bad => Reply::Bad(text),
                ThrottleStyle::BadThenBye => Reply::BadAndClosed(text),
            });
        }
        self.presence
            .ask(|levers| levers.take_refusal(name).then_some(()))
            .map(|()| Reply::No(format!("{name} failed.").into()))
    }

    async fn idle(&mut self, tag: &str) -> Result<(), Stop> {
        if self.presence.is_set(|levers| levers.exists_before_plus) {
            self.tell_news();
            let count = self.presence.view.as_ref().map(|view| view.uids.len());
            if let Some(count) = count {
                self.wire.put_line(format!("* {count} EXISTS"));
                self.wire.put_line("* 0 RECENT");
            }
        }
        self.wire.put_line(self.presence.profile.idle_accepted());
        self.presence.begin_idle();
        let line = self.line().await?;
        self.presence.end_idle();
        if self.presence.is_set(|levers| levers.ignore_done) {
            return pending().await;
        }
        if let Some(goodbye) = self.presence.ask(|levers| levers.take_end("DONE")) {
            return self.part(&goodbye).await;
        }
        if self.presence.is_set(|levers| levers.exists_after_done) {
            self.tell_news();
        }
        if line.eq_ignore_ascii_case(b"DONE") {
            self.wire.put_line(format!("{tag} OK IDLE completed."));
        } else {
            self.wire.put_line(format!("{tag} BAD Expected DONE."));
        }
        Ok(())
    }

    /// One whole command: its literals asked for, read, and put in as quoted strings.
    async fn command(&mut self) -> Result<Vec<u8>, Stop> {
        let mut whole = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((head, announced)) = split_literal(&line) else {
                whole.extend_from_slice(&line);
                return Ok(whole);
            };
            whole.extend_from_slice(head);
            let count = match announced {
                Announced::Waits(count) => {
                    self.wire.put_line("+ Ready for additional command text.");
                    count
                }
                Announced::Comes(count) => count,
            };
            if count > LITERAL_MAX {
                self.bye("literal too large").await?;
            }
            let literal = loop {
                match self.wire.take_exactly(count) {
                    Some(bytes) => break bytes,
                    None => self.more().await?,
                }
            };
            whole.extend_from_slice(&quoted(&literal));
        }
    }

    /// The next line.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Stop> {
        loop {
            if let Some(line) = self.wire.take_line() {
                self.obey(Moment::Asked).await?;
                return Ok(line);
            }
            if self.wire.waiting_bytes() > self.presence.profile.line_max {
                self.bye("line too long").await?;
            }
            self.more().await?;
        }
    }

    /// Sends what is to be sent and waits for more input; meanwhile looks after everything else.
    async fn more(&mut self) -> Result<(), Stop> {
        loop {
            self.obey(Moment::Waiting).await?;
            if self.presence.is_idling() {
                self.announce();
            }
            self.wire.flush().await?;
            let ends = self.presence.token_ends();
            let idle_ends = self.presence.idle_ends().map(|(at, _)| at);
            let login = self.presence.login.as_mut();
            let held = login.and_then(|login| login.token.as_mut());
            tokio::select! {
                read = self.wire.read_more() => {
                    return if read? == 0 { Err(Stop::Gone) } else { Ok(()) };
                }
                () = self.presence.entry.notify.notified() => {}
                () = changed(held.map(|held| &mut held.changes)) => {}
                () = reached(ends) => {}
                () = reached(idle_ends) => {}
            }
        }
    }

    fn announce(&mut self) {
        if self
            .presence
            .is_set(|levers| levers.silent_idle || levers.exists_after_done)
        {
            return;
        }
        let news = self.presence.news();
        for line in &news.lines {
            self.wire.put_line(line);
        }
        if news.grew {
            self.presence.count(|counters| counters.announcements += 1);
        }
    }

    /// Does what the levers and the token's end ask of a session, whatever it is at.
    async fn obey(&mut self, moment: Moment) -> Result<(), Stop> {
        thaw(&self.presence).await;
        let goodbye = crate::sync::lock(&self.presence.entry.goodbye).take();
        if let Some(goodbye) = goodbye {
            return self.part(&goodbye).await;
        }
        if let Some((ends, goodbye)) = self.presence.idle_ends()
            && ends <= Instant::now()
        {
            return self.part(&goodbye).await;
        }
        match (self.presence.token_ended(), moment) {
            (None | Some(OnExpiry::Ignore), _)
            | (Some(OnExpiry::ByeInsteadOfReply | OnExpiry::EofInsteadOfReply), Moment::Waiting) => {
                Ok(())
            }
            (Some(OnExpiry::Eof | OnExpiry::EofInsteadOfReply), _) => Err(Stop::Gone),
            (Some(OnExpiry::Bye | OnExpiry::ByeInsteadOfReply), _) => {
                self.part(&Goodbye::Expired).await
            }
        }
    }

    /// Ends the session; always an error.
    async fn part(&mut self, goodbye: &Goodbye) -> Result<(), Stop> {
        match goodbye {
            Goodbye::Eof => {
                self.wire.close().await?;
                Err(Stop::Gone)
            }
            Goodbye::Bye(text) => self.bye(text).await,
            Goodbye::Expired => self.bye(self.presence.profile.expired()).await,
            Goodbye::Unavailable => {
                self.wire.put_line("Server Unavailable. 15");
                self.bye("Connection closed.").await
            }
        }
    }

    /// Says goodbye; always an error, since the session ends with it.
    pub(super) async fn bye(&mut self, text: &str) -> Result<(), Stop> {
        self.wire.put_line(format!("* BYE {text}"));
        self.wire.close().await?;
        Err(Stop::Gone)
    }
}

/// When a session looks around.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing was asked.
    Waiting,
    /// A line has come that wants an answer.
    Asked,
}

pub(super) fn throttled(backoff: Duration) -> String {
    format!(
        "Request is throttled. Suggested Backoff Time: {} milliseconds",
        backoff.as_millis()
    )
}

async fn thaw(presence: &Presence) {
    while presence.is_set(|levers| levers.frozen) {
        presence.entry.notify.notified().await;
    }
}

async fn changed(changes: Option<&mut watch::Receiver<()>>) {
    let told = match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => false,
    };
    if !told {
        pending().await
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn command_name(scanner: &mut Scanner<'_>) -> Result<String, Bad> {
    let name = scanner.word()?;
    if name != "UID" {
        return Ok(name);
    }
    scanner.space()?;
    Ok(format!("UID {}", scanner.word()?))
}

/// The command as it may be shown: without tag, and without the arguments of a login.
pub(super) fn without_secrets(name: &str, line: &[u8]) -> String {
    if matches!(name, "LOGIN" | "AUTHENTICATE") {
        return name.to_owned();
    }
    let mut scanner = Scanner::new(line);
    scanner.until(b" ");
    scanner.accept(b' ');
    String::from_utf8_lossy(scanner.until(b"")).into_owned()
}
