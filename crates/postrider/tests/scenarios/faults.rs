//! The list of faults that the long run injects into the running daemon. `docs/RELIABILITY.md` has a
//! row for each.

use crate::quirks::Quirk;

/// What breaks. Two faults at the same time are of different layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Receiver,
    Network,
    Server,
    Tokens,
    Mail,
    Process,
    Disk,
}

/// A fault of the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Answers500,
    Answers401,
    Answers404,
    Answers429,
    ReceiverDown,
    ReceiverSlow,
    ClosesUnanswered,
    RefusesOne,
    Frozen,
    Swallowed,
    Cut,
    Reset,
    Unreachable,
    Trickle,
    ServerKilled,
    SessionsEnded,
    Throttled,
    LoginUnavailable,
    OneLoginRefused,
    SilentIdle,
    IgnoresDone,
    RefusesCommands,
    NotConnected,
    /// What a big server was seen to do.
    Quirk(Quirk),
    TokensExpired,
    TokensDown,
    Tokens500,
    Tokens429,
    Unreadable,
    Odd,
    NewUidvalidity,
    NewUidvalidityWhileDown,
    UidsReused,
    Removed,
    Killed,
    KilledAgain,
    Terminated,
    Suspended,
    Reloaded,
    DiskFull,
}

/// In the order of the page.
pub(crate) const FAULTS: &[(Fault, Layer, &str)] = &[
    (Fault::Answers500, Layer::Receiver, "receiver answers 500"),
    (
        Fault::Answers401,
        Layer::Receiver,
        "receiver answers 401, as after a bad deploy",
    ),
    (
        Fault::Answers404,
        Layer::Receiver,
        "receiver answers 404, as after a bad deploy",
    ),
    (
        Fault::Answers429,
        Layer::Receiver,
        "receiver answers 429 with Retry-After",
    ),
    (Fault::ReceiverDown, Layer::Receiver, "receiver is down"),
    (
        Fault::ReceiverSlow,
        Layer::Receiver,
        "receiver takes a second for each answer",
    ),
    (
        Fault::ClosesUnanswered,
        Layer::Receiver,
        "receiver closes after the full request, unanswered",
    ),
    (
        Fault::RefusesOne,
        Layer::Receiver,
        "receiver refuses one event (413) and takes the others",
    ),
    (
        Fault::Frozen,
        Layer::Network,
        "connections to the server freeze, then are reset",
    ),
    (
        Fault::Swallowed,
        Layer::Network,
        "a firewall forgets the connections: bytes are swallowed",
    ),
    (
        Fault::Cut,
        Layer::Network,
        "connections are cut (FIN), again and again",
    ),
    (
        Fault::Reset,
        Layer::Network,
        "connections are reset (RST), again and again",
    ),
    (
        Fault::Unreachable,
        Layer::Network,
        "connections end and new ones are refused",
    ),
    (
        Fault::Trickle,
        Layer::Network,
        "the line carries 8 KB per second",
    ),
    (
        Fault::ServerKilled,
        Layer::Server,
        "mail server is stopped and started again",
    ),
    (
        Fault::SessionsEnded,
        Layer::Server,
        "server ends all sessions, with BYE or without a word",
    ),
    (
        Fault::Throttled,
        Layer::Server,
        "server throttles with a suggested backoff",
    ),
    (
        Fault::LoginUnavailable,
        Layer::Server,
        "all logins are refused as UNAVAILABLE",
    ),
    (
        Fault::OneLoginRefused,
        Layer::Server,
        "one mailbox's login is refused, later accepted",
    ),
    (
        Fault::SilentIdle,
        Layer::Server,
        "server announces nothing in IDLE",
    ),
    (Fault::IgnoresDone, Layer::Server, "DONE is never answered"),
    (
        Fault::RefusesCommands,
        Layer::Server,
        "EXAMINE, UID SEARCH and UID FETCH are answered NO",
    ),
    (
        Fault::NotConnected,
        Layer::Server,
        "login says OK, then \"authenticated but not connected\"",
    ),
    (
        Fault::Quirk(Quirk::FrontEnds),
        Layer::Server,
        "Exchange: other front ends answer, with a host in the greeting's brackets",
    ),
    (
        Fault::Quirk(Quirk::Capabilities),
        Layer::Server,
        "Exchange: capabilities differ after the login; SASL-IR, MOVE, ID, NAMESPACE, IDLE are missing",
    ),
    (
        Fault::Quirk(Quirk::LogonDenied),
        Layer::Server,
        "Exchange: AUTHENTICATE failed now and then, with LogonDenied and without",
    ),
    (
        Fault::Quirk(Quirk::Ungranted),
        Layer::Server,
        "Exchange: a mailbox's grant is taken away (NO, or not connected) and given again",
    ),
    (
        Fault::Quirk(Quirk::SlowLogins),
        Layer::Server,
        "Exchange: a login takes 3 seconds",
    ),
    (
        Fault::Quirk(Quirk::ExpiredInIdle),
        Layer::Server,
        "Exchange: AccessTokenExpired in IDLE",
    ),
    (
        Fault::Quirk(Quirk::ExpiredAnywhere),
        Layer::Server,
        "Exchange: AccessTokenExpired in place of the reply to any command",
    ),
    (
        Fault::Quirk(Quirk::ExpiredSilently),
        Layer::Server,
        "Exchange: the stream ends with the token, without a word",
    ),
    (
        Fault::Quirk(Quirk::ThrottledAnyhow),
        Layer::Server,
        "Exchange: throttled as NO and as BAD, with a BYE and without",
    ),
    (
        Fault::Quirk(Quirk::ThrottledTenant),
        Layer::Server,
        "Exchange: a whole tenant is throttled, logins too",
    ),
    (
        Fault::Quirk(Quirk::Unavailable),
        Layer::Server,
        "Exchange: the bare line \"Server Unavailable. 15\", also in answer to DONE",
    ),
    (
        Fault::Quirk(Quirk::OddIdle),
        Layer::Server,
        "Exchange: EXISTS before the + of IDLE, or between DONE and its OK only",
    ),
    (
        Fault::Quirk(Quirk::IdleCut),
        Layer::Server,
        "Exchange: IDLE is cut again and again",
    ),
    (
        Fault::Quirk(Quirk::HalfBrokenRev2),
        Layer::Server,
        "Exchange: the half-broken IMAP4rev2, and ESEARCH in answer to SEARCH",
    ),
    (
        Fault::Quirk(Quirk::CodesWithoutOk),
        Layer::Server,
        "Exchange: response codes without the OK before them",
    ),
    (
        Fault::Quirk(Quirk::SmallUidvalidity),
        Layer::Server,
        "Exchange: UIDVALIDITY is 14, then 15, with thousands of UIDs left out",
    ),
    (
        Fault::Quirk(Quirk::WrongSizes),
        Layer::Server,
        "Exchange: sizes are wrong by some per cent, bytes differ between fetches",
    ),
    (
        Fault::Quirk(Quirk::TooManyConnections),
        Layer::Server,
        "too many connections, in Gmail's words and in others",
    ),
    (
        Fault::Quirk(Quirk::Gmail),
        Layer::Server,
        "Gmail: its challenge, \"Session expired, please login again.\", and [THROTTLED] in each OK",
    ),
    (
        Fault::TokensExpired,
        Layer::Tokens,
        "all tokens end in mid-session",
    ),
    (
        Fault::TokensDown,
        Layer::Tokens,
        "tokens end while the token endpoint is down",
    ),
    (
        Fault::Tokens500,
        Layer::Tokens,
        "tokens end while the token endpoint answers 503",
    ),
    (
        Fault::Tokens429,
        Layer::Tokens,
        "tokens end while the token endpoint throttles (429)",
    ),
    (
        Fault::Unreadable,
        Layer::Mail,
        "messages that cannot be read: NIL body, garbage, cut connection",
    ),
    (
        Fault::Odd,
        Layer::Mail,
        "odd messages: 8-bit headers, broken MIME, 5,000 parts, 30 nested, NUL",
    ),
    (
        Fault::NewUidvalidity,
        Layer::Mail,
        "UIDVALIDITY changes while watching",
    ),
    (
        Fault::NewUidvalidityWhileDown,
        Layer::Mail,
        "UIDVALIDITY changes while the daemon is down",
    ),
    (
        Fault::UidsReused,
        Layer::Mail,
        "UIDs go back and are used again while the daemon is down",
    ),
    (
        Fault::Removed,
        Layer::Mail,
        "messages are removed the moment they arrive",
    ),
    (Fault::Killed, Layer::Process, "kill -9 under load"),
    (
        Fault::KilledAgain,
        Layer::Process,
        "kill -9 again while starting, several times",
    ),
    (
        Fault::Terminated,
        Layer::Process,
        "SIGTERM and a restart under load",
    ),
    (
        Fault::Suspended,
        Layer::Process,
        "the process is suspended (SIGSTOP) for seconds",
    ),
    (
        Fault::Reloaded,
        Layer::Process,
        "configuration reloaded under load",
    ),
    (
        Fault::DiskFull,
        Layer::Disk,
        "the disk fills up and is freed",
    ),
];

/// The row of rounds with two faults of the list at once.
pub(crate) const TWO_AT_ONCE: &str = "two of these at the same time";

impl Fault {
    pub(crate) fn layer(self) -> Layer {
        self.row().1
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (Self, Layer, &'static str) {
        let row = FAULTS.iter().find(|row| row.0 == self);
        row.expect("each fault is in the list")
    }

    /// Whether the daemon waits for a minute or so after it, by its own policy: too long for the
    /// sample among the ordinary tests.
    pub(crate) fn is_slow(self) -> bool {
        matches!(
            self,
            Self::Swallowed
                | Self::OneLoginRefused
                | Self::NotConnected
                | Self::Quirk(
                    Quirk::Ungranted
                        | Quirk::ThrottledAnyhow
                        | Quirk::ThrottledTenant
                        | Quirk::TooManyConnections
                )
        )
    }

    /// Whether it can be there beside another one: not where it needs a calm moment, a stopped
    /// daemon, or a bound on what the account may say.
    pub(crate) fn combines(self) -> bool {
        !matches!(
            self,
            Self::Unreadable
                | Self::NewUidvalidityWhileDown
                | Self::UidsReused
                | Self::Removed
                | Self::DiskFull
        )
    }
}
