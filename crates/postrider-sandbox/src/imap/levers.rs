//! What a test or the demo can make a server do wrong, while it runs. A lever counts for the whole
//! server, for one tenant's users, or for one user; the wider scope comes first.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::profile::Profile;

/// For whom a lever, a count or an order is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    Server,
    /// All users of a domain, as a tenant is.
    Domain(&'a str),
    User(&'a str),
}

/// How a session is ended from the server's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// The stream ends without a word.
    Eof,
    /// `* BYE` with this text first.
    Bye(String),
    /// What the profile says when a token has ended.
    Expired,
    /// The line `Server Unavailable. 15`, which is no IMAP, then `* BYE Connection closed.`
    Unavailable,
}

/// The levers of one scope; all at rest by default.
#[derive(Clone, Debug, Default)]
pub struct Levers {
    /// Another front end: for connections to come, or for a user from the login on.
    pub profile: Option<Arc<Profile>>,
    /// Capabilities that are neither offered nor taken, for connections to come.
    pub hidden_capabilities: Vec<String>,
    /// Every login is refused.
    pub refuse_login: Option<Refusal>,
    /// Logins to come that are refused.
    pub refuse_logins: Vec<(Refusal, u32)>,
    /// Every login takes this long.
    pub login_delay: Duration,
    /// How an application without a grant for the mailbox is turned away.
    pub ungranted: Ungranted,
    /// Connections are accepted and nothing is answered until this is false again.
    pub frozen: bool,
    /// Logins succeed, and each later command is answered with Exchange's `BAD User is
    /// authenticated but not connected.`, the second one followed by a BYE.
    pub not_connected: bool,
    /// New mail is not announced in IDLE.
    pub silent_idle: bool,
    /// The number of messages is told between IDLE and its `+`.
    pub exists_before_plus: bool,
    /// New mail is announced between DONE and the tagged OK only.
    pub exists_after_done: bool,
    /// DONE is never answered.
    pub ignore_done: bool,
    /// IDLE is cut after this time, in place of the profile's.
    pub idle_max: Option<(Duration, Goodbye)>,
    /// The next commands after a login are throttled.
    pub throttle: Option<Throttle>,
    /// Commands are throttled until then, each told what is left of the time.
    pub throttled_until: Option<(Instant, ThrottleStyle)>,
    /// A throttle counts for logins as well.
    pub throttle_logins: bool,
    /// Tagged NOs to come.
    pub refuse_commands: Vec<RefusedCommand>,
    /// Sessions that end in place of a tagged reply to come.
    pub end_sessions: Vec<EndedCommand>,
    /// More sessions than this are refused: on connecting for the server, at the login for a user.
    pub connections_max: Option<usize>,
    /// With which words, in place of the profile's.
    pub connections_text: Option<String>,
    /// What happens to a session whose token ends.
    pub on_expiry: OnExpiry,
    /// SEARCH is answered with ESEARCH, though nobody asked for it.
    pub answer_esearch: bool,
    /// EXAMINE tells its response codes as `* [UIDNEXT 1] …`, without the OK.
    pub codes_without_ok: bool,
    /// LIST tells folder names without quotes, and control characters in them as they are.
    pub unquoted_names: bool,
    /// RFC822.SIZE is wrong by so many per cent.
    pub size_error_percent: i8,
    /// Each fetch of a message gives other bytes, as a store does that builds messages anew.
    pub rebuild_messages: bool,
    /// Clients may change flags and move messages: else that is a violation.
    pub allow_changes: bool,
    /// Tagged OKs say `Success [THROTTLED]`, as Gmail's.
    pub mark_throttled: bool,
}

impl Levers {
    /// The next commands of this name (`"UID SEARCH"`, `"EXAMINE"`, `"*"` for any) get a tagged NO.
    pub fn refuse_next(&mut self, command: &str, times: u32) {
        self.refuse_commands.push(RefusedCommand {
            command: command.to_ascii_uppercase(),
            left: times,
        });
    }

    /// The next logins are refused.
    pub fn refuse_next_logins(&mut self, refusal: Refusal, times: u32) {
        self.refuse_logins.push((refusal, times));
    }

    /// The next commands of this name (also `"DONE"`) end their session in place of a tagged reply.
    pub fn end_at_next(&mut self, command: &str, goodbye: Goodbye, times: u32) {
        self.end_sessions.push(EndedCommand {
            command: command.to_ascii_uppercase(),
            goodbye,
            left: times,
        });
    }

    /// The next commands get a throttle reply.
    pub fn throttle_next(&mut self, commands: u32, backoff: Duration, style: ThrottleStyle) {
        self.throttle = Some(Throttle {
            left: commands,
            backoff,
            style,
        });
    }

    /// Each command gets a throttle reply until the time is over.
    pub fn throttle_for(&mut self, time: Duration, style: ThrottleStyle) {
        self.throttled_until = Some((Instant::now() + time, style));
    }

    pub(crate) fn take_refusal(&mut self, command: &str) -> bool {
        self.refuse_commands.retain(|one| one.left > 0);
        let mut all = self.refuse_commands.iter_mut();
        let found = all.find(|one| one.command == "*" || one.command == command);
        found.map(|one| one.left -= 1).is_some()
    }

    pub(crate) fn take_end(&mut self, command: &str) -> Option<Goodbye> {
        self.end_sessions.retain(|one| one.left > 0);
        let mut all = self.end_sessions.iter_mut();
        let found = all.find(|one| one.command == "*" || one.command == command)?;
        found.left -= 1;
        Some(found.goodbye.clone())
    }

    pub(crate) fn take_login_refusal(&mut self) -> Option<Refusal> {
        if self.refuse_login.is_some() {
            return self.refuse_login.clone();
        }
        self.refuse_logins.retain(|one| one.1 > 0);
        let (refusal, left) = self.refuse_logins.first_mut()?;
        *left -= 1;
        Some(refusal.clone())
    }

    /// How long the client is told to wait, and how.
    pub(crate) fn take_throttle(&mut self) -> Option<(Duration, ThrottleStyle)> {
        if let Some((until, style)) = self.throttled_until {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Some((left, style));
            }
            self.throttled_until = None;
        }
        let throttle = self.throttle.as_mut().filter(|one| one.left > 0)?;
        throttle.left -= 1;
        Some((throttle.backoff, throttle.style))
    }
}

/// How a login is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As a wrong secret is.
    Credentials,
    /// As Exchange refuses a token, with its reason and the user behind the sentence.
    LogonDenied,
    /// As Outlook.com refuses passwords.
    BasicAuthBlocked,
    /// `NO [UNAVAILABLE]` (RFC 5530): not the credential's fault.
    Unavailable,
    /// A tagged NO with this text.
    Text(String),
}

/// How an application is turned away from a mailbox that was not granted to it. Both have been
/// reported of Exchange Online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ungranted {
    /// `NO AUTHENTICATE failed.`
    #[default]
    Refused,
    /// The same, with reason and user.
    LogonDenied,
    /// The login is accepted, and the user "not connected".
    NotConnected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    pub left: u32,
    pub backoff: Duration,
    pub style: ThrottleStyle,
}

/// Exchange throttles with NO or BAD, and may hang up after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleStyle {
    No,
    NoThenBye,
    Bad,
    BadThenBye,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCommand {
    /// In upper case; `*` is any.
    pub command: String,
    pub left: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedCommand {
    /// In upper case; `*` is any.
    pub command: String,
    pub goodbye: Goodbye,
    pub left: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// A BYE at once, as Exchange and Gmail do.
    #[default]
    Bye,
    /// The stream ends at once, without a word.
    Eof,
    /// The BYE comes in place of the reply to the next command, or to DONE.
    ByeInsteadOfReply,
    /// The stream ends in place of the reply to the next command, or to DONE.
    EofInsteadOfReply,
    /// The session goes on, as with Dovecot.
    Ignore,
}
