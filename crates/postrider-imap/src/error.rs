//! What can go wrong with a connection, classified where it arises. Servers' free text is read in
//! one function, [`classify`]; it is kept for the operator, bounded and escaped.

use std::{fmt, io, time::Duration};

use postrider_core::watch::Failure;

use crate::redact;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`{host}` has no address: {source}\n\nhint: check the server's name and this machine's DNS"
    )]
    Dns { host: String, source: io::Error },
    #[error(
        "cannot connect to {to}: {source}\n\nhint: check host, port, firewall and `[network] proxy`"
    )]
    Connect { to: String, source: io::Error },
    #[error(
        "TLS with `{host}` failed: {source}\n\nhint: check `tls` and the port, and `ca_file` where the server has a private CA"
    )]
    Tls { host: String, source: io::Error },
    #[error("timed out: {doing}")]
    Timeout { doing: &'static str },
    /// The network gave the connection up: a reset, or keepalives without an answer.
    #[error("the connection broke: {source}")]
    Broken { source: io::Error },
    /// BYE, end of stream, or an earlier error that ended the session.
    #[error("the connection is closed{}", said(.text))]
    Closed { text: Option<ServerText> },
    /// The server ended a session whose token ran out: routine.
    #[error("the session's token expired: {text}")]
    TokenExpired { text: ServerText },
    #[error("login refused: {text}")]
    LoginRefused { text: ServerText },
    /// Exchange accepts a login, and then answers every command like this.
    #[error(
        "login accepted, but the mailbox is not open: {text}\n\nhint: check that IMAP is enabled for the mailbox, and the service principal's FullAccess on it"
    )]
    NotConnected { text: ServerText },
    #[error("the server asks for slowness: {text}")]
    Throttled {
        /// At most an hour, whatever the server says.
        retry_after: Option<Duration>,
        text: ServerText,
    },
    #[error("too many connections for this account: {text}")]
    ConnectionLimit { text: ServerText },
    #[error("the server is unavailable: {text}")]
    Unavailable { text: ServerText },
    /// A tagged NO or BAD to one command; the session is still good.
    #[error("{refusal} to {command}: {text}")]
    Refused {
        refusal: Refusal,
        command: &'static str,
        text: ServerText,
    },
    #[error(
        "the folder cannot be opened: {text}\n\nhint: check `folders`; names are the server's own, with its separator"
    )]
    FolderMissing { text: ServerText },
    #[error(
        "{why} for {role}; there are: {there}\n\nhint: write the folder's own name in `folders`"
    )]
    NoFolderOfRole {
        role: &'static str,
        why: &'static str,
        /// At most some 1,000 characters.
        there: String,
    },
    #[error("protocol error: {0}")]
    Protocol(Breach),
    /// An argument that must not go on the wire; nothing was sent.
    #[error("{what} contains a control character that IMAP cannot carry")]
    Argument { what: &'static str },
    /// The body's destination failed, not the server.
    #[error("cannot store a body: {0}")]
    Sink(#[source] io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    No,
    Bad,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "NO",
            Self::Bad => "BAD",
        })
    }
}

/// How a server broke the protocol, or our bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("a line of more than {0} bytes")]
    LineTooLong(usize),
    #[error("a literal of {0} bytes was announced")]
    LiteralTooLarge(u64),
    #[error("a response with more than {0} literals")]
    TooManyLiterals(usize),
    #[error("more bodies than messages asked for")]
    TooManyBodies,
    #[error("a list longer than {0} folders take")]
    TooManyFolders(usize),
    #[error("a SEARCH with more than {0} results")]
    TooManyResults(usize),
    #[error("a tagged reply that answers no command of ours")]
    ForeignTag,
    #[error("a line that is no response: {0}")]
    NoResponse(ServerText),
    #[error("a greeting that is none: {0}")]
    NoGreeting(ServerText),
    #[error("the server greets with PREAUTH, so whose mailbox it is cannot be known")]
    Preauth,
    #[error("the server does not offer STARTTLS")]
    NoStartTls,
    #[error("bytes before the TLS handshake, which nobody vouches for")]
    BytesBeforeTls,
    #[error("EXAMINE told no UIDVALIDITY")]
    NoUidValidity,
    #[error("a reply to SEARCH could not be read")]
    UnreadableSearch,
    #[error("the folder has {exists} messages, and none of them can be found")]
    NoHighestUid { exists: u32 },
    #[error("the server asks on and on during the login")]
    EndlessChallenge,
    #[error("the server asks for more where nothing is to follow")]
    UnexpectedContinuation,
}

impl Error {
    /// Whether the session can go on. After any other error it is closed.
    pub fn usable(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::FolderMissing { .. }
                | Self::NoFolderOfRole { .. }
                | Self::Argument { .. }
        )
    }

    /// The same in the words of the watch.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Closed { .. }
            | Self::Unavailable { .. }
            | Self::Protocol(_) => Failure::Connection,
            Self::TokenExpired { .. } => Failure::TokenExpired,
            Self::LoginRefused { .. } | Self::NotConnected { .. } => Failure::LoginRefused,
            Self::Throttled { retry_after, .. } => Failure::Throttled {
                retry_after: *retry_after,
            },
            Self::ConnectionLimit { .. } => Failure::ConnectionLimit,
            Self::FolderMissing { .. } | Self::NoFolderOfRole { .. } => Failure::FolderMissing,
            Self::Refused { .. } | Self::Argument { .. } => Failure::Refused,
            Self::Sink(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::StoreFull,
                _ => Failure::Store,
            },
        }
    }

    /// The same without what was secret in a login: a server may have repeated it.
    pub(crate) fn without(mut self, secrets: &[&str]) -> Self {
        match &mut self {
            Self::Closed { text: Some(text) }
            | Self::TokenExpired { text }
            | Self::LoginRefused { text }
            | Self::NotConnected { text }
            | Self::Throttled { text, .. }
            | Self::ConnectionLimit { text }
            | Self::Unavailable { text }
            | Self::Refused { text, .. }
            | Self::FolderMissing { text }
            | Self::Protocol(Breach::NoResponse(text) | Breach::NoGreeting(text)) => {
                *text = ServerText(redact::without(&text.0, secrets).into());
            }
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Closed { text: None }
            | Self::NoFolderOfRole { .. }
            | Self::Protocol(_)
            | Self::Argument { .. }
            | Self::Sink(_) => {}
        }
        self
    }

    pub(crate) fn closed() -> Self {
        Self::Closed { text: None }
    }
}

impl From<Breach> for Error {
    fn from(breach: Breach) -> Self {
        Self::Protocol(breach)
    }
}

/// A server's words: at most 200 characters, control characters escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerText(Box<str>);

impl ServerText {
    pub fn new(bytes: &[u8]) -> Self {
        const CHARS_MAX: usize = 200;
        // Four bytes per character at most: nothing beyond them can be shown.
        let head = &bytes[..bytes.len().min(CHARS_MAX * 4)];
        let text = String::from_utf8_lossy(head);
        let mut kept = String::new();
        for (count, char) in text.trim().chars().enumerate() {
            if count == CHARS_MAX {
                kept.push('…');
                break;
            }
            if char.is_control() {
                kept.extend(char.escape_default());
            } else {
                kept.push(char);
            }
        }
        Self(kept.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("(no text)")
        } else {
            f.write_str(&self.0)
        }
    }
}

impl fmt::Debug for ServerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

fn said(text: &Option<ServerText>) -> String {
    text.as_ref()
        .map(|text| format!(" by the server: {text}"))
        .unwrap_or_default()
}

/// What a NO, BAD, BYE or bare line means beyond itself; `None`: no more than it says.
///
/// The one place where foreign servers' free text is searched. `code` is the response code's name
/// (RFC 5530), `text` all that follows the condition.
pub(crate) fn classify(code: Option<&str>, text: &[u8]) -> Option<Error> {
    const SEARCHED_BYTES_MAX: usize = 1024;
    let said = ServerText::new(text);
    let head = &text[..text.len().min(SEARCHED_BYTES_MAX)];
    let lower = String::from_utf8_lossy(head).to_lowercase();
    let any = |needles: &[&str]| needles.iter().any(|needle| lower.contains(needle));
    let code = code.unwrap_or_default();

    // Exchange Online and Gmail end a session with its token.
    if any(&["accesstokenexpired", "session expired"]) {
        return Some(Error::TokenExpired { text: said });
    }
    // Exchange.
    if any(&["authenticated but not connected"]) {
        return Some(Error::NotConnected { text: said });
    }
    // Exchange; Gmail.
    if any(&[
        "request is throttled",
        "suggested backoff time",
        "[throttled]",
    ]) || any(&["exceeded command or bandwidth limits"])
        || code == "THROTTLED"
    {
        let retry_after = backoff(&lower);
        return Some(Error::Throttled {
            retry_after,
            text: said,
        });
    }
    // Dovecot (RFC 5530 LIMIT); Gmail; Cyrus and Courier.
    if code == "LIMIT"
        || any(&["too many simultaneous connections", "too many connections"])
        || any(&["maximum number of connections"])
    {
        return Some(Error::ConnectionLimit { text: said });
    }
    // RFC 5530; Exchange's bare line `Server Unavailable. 15`.
    if code == "UNAVAILABLE" || code == "INUSE" || any(&["server unavailable"]) {
        return Some(Error::Unavailable { text: said });
    }
    None
}

/// `Suggested Backoff Time: 92415 milliseconds`, with whatever stands between the words and the
/// number, and in other units; bounded. A time of zero is none.
fn backoff(lower: &str) -> Option<Duration> {
    const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
    const BETWEEN_CHARS_MAX: usize = 16;
    let (_, after) = lower.split_once("backoff time")?;
    let start = after.find(|char: char| char.is_ascii_digit())?;
    let between = &after[..start];
    if between.chars().count() > BETWEEN_CHARS_MAX {
        return None;
    }
    let mut number: u64 = 0;
    let mut rest = &after[start..];
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        for digit in rest[..digits].bytes() {
            number = number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'));
        }
        rest = &rest[digits..];
        match thousands(rest) {
            Some(more) => rest = more,
            None => break,
        }
    }
    let unit = rest.trim_start_matches(|char: char| !char.is_alphanumeric());
    let wait = if unit.starts_with("min") {
        Duration::from_secs(number.saturating_mul(60))
    } else if unit.starts_with("s") {
        Duration::from_secs(number)
    } else {
        Duration::from_millis(number)
    };
    (!wait.is_zero()).then(|| wait.min(RETRY_AFTER_MAX))
}

/// What follows a separator of thousands.
fn thousands(rest: &str) -> Option<&str> {
    let more = rest.strip_prefix([',', '.', '\u{a0}', '\u{202f}'])?;
    let digits = more.bytes().take_while(u8::is_ascii_digit).count();
    (digits == 3).then_some(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Option<&str>, text: &str) -> Option<Failure> {
        classify(code, text.as_bytes()).map(|error| error.failure())
    }

    #[test]
    fn exchange_token_expiry() {
        let text = "Session invalidated - AccessTokenExpired";
        assert_eq!(failure(None, text), Some(Failure::TokenExpired));
    }

    #[test]
    fn exchange_throttle_with_its_time() {
        let text = "Request is throttled. Suggested Backoff Time: 92415 milliseconds";
        let retry_after = Some(Duration::from_millis(92_415));
        assert_eq!(
            failure(None, text),
            Some(Failure::Throttled { retry_after })
        );
    }

    #[test]
    fn a_backoff_of_a_year_is_cut_to_an_hour() {
        let text = "Request is throttled. Suggested Backoff Time: 31536000000 milliseconds";
        let retry_after = Some(Duration::from_secs(3600));
        assert_eq!(
            failure(None, text),
            Some(Failure::Throttled { retry_after })
        );
    }

    #[test]
    fn a_backoff_time_is_found_however_it_is_written() {
        let wait = |text: &str| backoff(&format!("request is throttled. suggested {text}"));
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(wait("backoff time 92415 milliseconds"), millis(92_415));
        assert_eq!(wait("backoff time = 92415 ms"), millis(92_415));
        assert_eq!(wait("backoff time:\t[92415]"), millis(92_415));
        assert_eq!(wait("backoff time: 299,187 milliseconds"), millis(299_187));
        assert_eq!(wait("backoff time: 90 seconds"), millis(90_000));
        assert_eq!(wait("backoff time: 5 minutes"), millis(300_000));
        assert_eq!(wait("backoff time: 0 milliseconds"), None);
        assert_eq!(wait("backoff time: -"), None);
        assert_eq!(wait("backoff time is not known; see error 12"), None);
        let hour = millis(3_600_000);
        assert_eq!(wait("backoff time: 99999999999999999999999"), hour);
    }

    #[test]
    fn exchange_not_connected() {
        let text = "User is authenticated but not connected.";
        assert!(matches!(
            classify(None, text.as_bytes()),
            Some(Error::NotConnected { .. })
        ));
    }

    #[test]
    fn exchange_server_unavailable() {
        assert!(matches!(
            classify(None, b"Server Unavailable. 15"),
            Some(Error::Unavailable { .. })
        ));
    }

    #[test]
    fn gmail_session_expired() {
        let text = "Session expired, please login again.";
        assert_eq!(failure(None, text), Some(Failure::TokenExpired));
    }

    #[test]
    fn gmail_throttle_and_connection_limit() {
        let throttled = failure(Some("THROTTLED"), "");
        assert_eq!(throttled, Some(Failure::Throttled { retry_after: None }));
        let text = "Account exceeded command or bandwidth limits. (Failure)";
        assert_eq!(failure(Some("OVERQUOTA"), text), throttled);
        let text = "Too many simultaneous connections. (Failure)";
        assert_eq!(failure(Some("ALERT"), text), Some(Failure::ConnectionLimit));
    }

    #[test]
    fn dovecot_limit_and_introspection_down() {
        let text =
            "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)";
        assert_eq!(failure(Some("LIMIT"), text), Some(Failure::ConnectionLimit));
        assert!(matches!(
            classify(Some("UNAVAILABLE"), b"Temporary authentication failure."),
            Some(Error::Unavailable { .. })
        ));
    }

    #[test]
    fn a_plain_refusal_means_no_more_than_it_says() {
        assert_eq!(failure(None, "AUTHENTICATE failed."), None);
        assert_eq!(
            failure(Some("AUTHENTICATIONFAILED"), "Authentication failed."),
            None
        );
    }

    #[test]
    fn server_text_is_bounded_and_escaped() {
        let text = ServerText::new(&[b"\x1b[2J\x00", vec![b'x'; 10_000].as_slice()].concat());
        assert!(text.as_str().starts_with("\\u{1b}[2J\\u{0}xx"));
        assert!(text.as_str().chars().count() < 220);
    }
}
