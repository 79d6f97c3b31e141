//! What a test or the demo can make a server do wrong, while it runs. A lever counts for the whole
//! server or for one user; the server's come first.

use std::time::Duration;

/// For whom a lever, a count or an order is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    Server,
    User(&'a str),
}

/// How a session is ended from the server's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// The stream ends without a word.
    Eof,
    /// `* BYE` with this text first.
    Bye(String),
}

/// The levers of one scope; all at rest by default.
#[derive(Clone, Debug, Default)]
pub struct Levers {
    /// Every login is refused.
    pub refuse_login: Option<Refusal>,
    /// Every login takes this long.
    pub login_delay: Duration,
    /// Connections are accepted and nothing is answered until this is false again.
    pub frozen: bool,
    /// Logins succeed, and each later command is answered with Exchange's `BAD User is
    /// authenticated but not connected.`, the second one followed by a BYE.
    pub not_connected: bool,
    /// New mail is not announced in IDLE.
    pub silent_idle: bool,
    /// DONE is never answered.
    pub ignore_done: bool,
    /// The next commands after a login are throttled.
    pub throttle: Option<Throttle>,
    /// Tagged NOs to come.
    pub refuse_commands: Vec<RefusedCommand>,
    /// More sessions than this are refused: on connecting for the server, at the login for a user.
    pub connections_max: Option<usize>,
    /// What happens to a session whose token ends.
    pub on_expiry: OnExpiry,
}

impl Levers {
    /// The next commands of this name (`"UID SEARCH"`, `"EXAMINE"`, `"*"` for any) get a tagged NO.
    pub fn refuse_next(&mut self, command: &str, times: u32) {
        self.refuse_commands.push(RefusedCommand {
            command: command.to_ascii_uppercase(),
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

    pub(crate) fn take_refusal(&mut self, command: &str) -> bool {
        let found = self
            .refuse_commands
            .iter()
            .position(|one| one.left > 0 && (one.command == "*" || one.command == command));
        let Some(found) = found else {
            return false;
        };
        self.refuse_commands[found].left -= 1;
        if self.refuse_commands[found].left == 0 {
            self.refuse_commands.remove(found);
        }
        true
    }

    pub(crate) fn take_throttle(&mut self) -> Option<Throttle> {
        let throttle = self.throttle.as_mut().filter(|one| one.left > 0)?;
        throttle.left -= 1;
        Some(*throttle)
    }
}

/// How a login is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As a wrong secret is.
    Credentials,
    /// `NO [UNAVAILABLE]` (RFC 5530): not the credential's fault.
    Unavailable,
    /// A tagged NO with this text.
    Text(String),
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
    Bad,
    BadThenBye,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCommand {
    /// In upper case; `*` is any.
    pub command: String,
    pub left: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// `* BYE Session invalidated - AccessTokenExpired`, as Exchange does.
    #[default]
    Bye,
    /// The stream ends without a word.
    Eof,
    /// The session goes on, as with Dovecot.
    Ignore,
}
