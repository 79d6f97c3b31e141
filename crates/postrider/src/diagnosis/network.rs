//! Why a session with a mail server does not come to be, or cannot go on.

use std::io;

use postrider_imap::error::{Breach, Error};
use rustls::{CertificateError, InvalidMessage};

use super::{
    Cause, Diagnosis, Told,
    facts::{Facts, MailboxFacts, Provider},
    login::{Refusal, refused},
    names::{Names, quoted},
    scrub::scrub,
    token::{own, skew},
};

/// What an error of a connection means for the mailbox.
pub fn mail(facts: &Facts<'_>, error: &Error) -> Diagnosis {
    match error {
        Error::LoginRefused { text } => return refused(facts, Refusal::AtLogin, text.as_str()),
        Error::NotConnected { text } => {
            return refused(facts, Refusal::NotConnected, text.as_str());
        }
        Error::Dns { .. }
        | Error::Connect { .. }
        | Error::Tls { .. }
        | Error::Timeout { .. }
        | Error::Broken { .. }
        | Error::Closed { .. }
        | Error::TokenExpired { .. }
        | Error::Throttled { .. }
        | Error::ConnectionLimit { .. }
        | Error::Unavailable { .. }
        | Error::Refused { .. }
        | Error::FolderMissing { .. }
        | Error::NoFolderOfRole { .. }
        | Error::Protocol(_)
        | Error::Argument { .. }
        | Error::Sink(_) => {}
    }
    let at = Place::of(facts);
    let told = match error {
        Error::Tls { source, .. } => tls(facts, &at, source),
        Error::FolderMissing { .. } | Error::NoFolderOfRole { .. } => folder(facts),
        Error::Protocol(breach) => protocol(&at, breach),
        _ => way(&at, error).unwrap_or_else(|| server(&at, error)),
    };
    // Errors carry their hint behind an empty line; here the fix stands for it.
    let text = error.to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    let mut evidence = vec![scrub(said, &own(facts))];
    evidence.extend(skew(facts));
    told.with(evidence)
}

/// Where it was to go.
struct Place {
    host: String,
    port: u16,
    proxied: bool,
}

impl Place {
    fn of(facts: &Facts<'_>) -> Self {
        let mailbox: Option<&MailboxFacts> = facts.mailbox;
        Self {
            host: mailbox.map_or_else(|| "the mail server".to_owned(), |one| one.host.clone()),
            port: mailbox.map_or(993, |one| one.port),
            proxied: mailbox.is_some_and(|one| one.proxied),
        }
    }
}

fn by_itself() -> String {
    "nothing to do if it passes: postrider tries again by itself".to_owned()
}

/// Between here and the server.
fn way(at: &Place, error: &Error) -> Option<Told> {
    let (host, port) = (&at.host, at.port);
    let open = match at.proxied {
        true => format!(
            "let the proxy connect to {host} port {port} (CONNECT), or set proxy = \"none\" for this server"
        ),
        false => {
            format!("open {host} port {port} from here in the firewall, or set proxy in [network]")
        }
    };
    Some(match error {
        Error::Dns { .. } => Told::new(
            Cause::NameNotFound,
            format!("the name {host} has no address"),
            [
                format!("check the server's name, and this machine's DNS: getent hosts {host}"),
                by_itself(),
            ],
        ),
        Error::Connect { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Told::new(
                Cause::ConnectionRefused,
                format!("nothing answers at {host} port {port}"),
                [
                    "check host and port, and that the server runs".to_owned(),
                    open,
                ],
            ),
            io::ErrorKind::TimedOut => timed_out(at, open),
            _ => Told::new(
                Cause::ConnectionFailed,
                format!("no connection to {host} port {port}"),
                [open, by_itself()],
            ),
        },
        Error::Timeout { doing } if *doing == "connecting" => timed_out(at, open),
        Error::Timeout { doing } => Told::new(
            Cause::ConnectionTimedOut,
            format!("{host} does not answer in time ({doing})"),
            [
                "a firewall or proxy that holds the connection looks like this, a busy server too"
                    .to_owned(),
                open,
            ],
        ),
        Error::Broken { .. } | Error::Closed { .. } => Told::new(
            Cause::ConnectionLost,
            format!("the connection with {host} broke"),
            [
                by_itself(),
                "if it always breaks here: a firewall that looks into the connection, or a server that wants no more of them".to_owned(),
            ],
        ),
        _ => return None,
    })
}

fn timed_out(at: &Place, open: String) -> Told {
    Told::new(
        Cause::ConnectionTimedOut,
        format!(
            "no answer from {} port {}: a firewall drops it, most likely",
            at.host, at.port
        ),
        [open, by_itself()],
    )
}

/// What the server itself says.
fn server(at: &Place, error: &Error) -> Told {
    let host = &at.host;
    match error {
        Error::TokenExpired { .. } => Told::new(
            Cause::TokenExpired,
            "the session's token has expired",
            ["nothing to do: a new session is opened".to_owned()],
        ),
        Error::Throttled { .. } => Told::new(
            Cause::ServerThrottles,
            format!("{host} slows this mailbox down"),
            [
                "nothing to do: postrider waits for as long as it is told to".to_owned(),
                "if it lasts: look for another program that reads the same mailbox".to_owned(),
            ],
        ),
        Error::ConnectionLimit { .. } => Told::new(
            Cause::ConnectionLimit,
            "the account has too many connections",
            [
                "lower limits.connections_per_mailbox, or close other programs that read this account"
                    .to_owned(),
            ],
        ),
        Error::Refused { .. } => Told::new(
            Cause::ServerRefusesCommand,
            format!("{host} refuses a command"),
            ["it is tried again; if it lasts, the server's log says why".to_owned()],
        ),
        Error::Argument { what } => Told::new(
            Cause::ConfigInvalid,
            format!("{what} contains a character that IMAP cannot carry"),
            ["correct it in the configuration".to_owned()],
        ),
        Error::Sink(_) => Told::new(
            Cause::LocalStorage,
            "what was read cannot be stored here",
            ["look at this machine's disk".to_owned()],
        ),
        _ => Told::new(
            Cause::ServerUnavailable,
            format!("{host} is in trouble for the moment"),
            [by_itself()],
        ),
    }
}

fn tls(facts: &Facts<'_>, at: &Place, source: &io::Error) -> Told {
    let host = &at.host;
    let inner = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let told = |cause, what: String, fix: String| Told::new(cause, what, [fix]);
    let Some(inner) = inner else {
        return told(
            Cause::ConnectionLost,
            format!("the connection with {host} broke in the TLS handshake"),
            format!(
                "check that port {} speaks TLS from the first byte (tls = \"implicit\"), and that no firewall cuts it",
                at.port
            ),
        );
    };
    match inner {
        rustls::Error::InvalidCertificate(why) => certificate(facts, at, why),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => told(
            Cause::TlsNotSpoken,
            format!(
                "{host} port {} does not speak TLS from the first byte",
                at.port
            ),
            "set tls = \"starttls\" (port 143), or the port of implicit TLS (993)".to_owned(),
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            rustls::AlertDescription::ProtocolVersion | rustls::AlertDescription::HandshakeFailure,
        ) => told(
            Cause::TlsVersion,
            format!("{host} offers no TLS that is still safe"),
            "the server has to offer TLS 1.2 or 1.3".to_owned(),
        ),
        _ => told(
            Cause::TlsFailed,
            format!("the TLS handshake with {host} failed"),
            "check that nothing between here and the server reads TLS".to_owned(),
        ),
    }
}

fn certificate(facts: &Facts<'_>, at: &Place, why: &CertificateError) -> Told {
    let host = &at.host;
    let told = |cause, what: String, fix: String| Told::new(cause, what, [fix]);
    match why {
        CertificateError::UnknownIssuer => Told::new(
            Cause::TlsUnknownAuthority,
            format!("the certificate of {host} is from an authority that is not trusted here"),
            [
                "set ca_file for this server to its authority's certificate (PEM), where it has a private one"
                    .to_owned(),
                "where it is a public server: a proxy that reads TLS may stand between (exempt this host), or the package ca-certificates is missing".to_owned(),
            ],
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            told(
                Cause::TlsWrongName,
                format!("the certificate is not for the name {host}"),
                "set host to a name that the certificate has".to_owned(),
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => clock_or(
            facts,
            Cause::TlsCertificateExpired,
            format!("the certificate of {host} has expired"),
            "whoever runs the server has to renew it; or this machine's clock is ahead (`timedatectl`)",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => clock_or(
            facts,
            Cause::TlsNotYetValid,
            format!("the certificate of {host} is not valid yet"),
            "this machine's clock is behind, most likely (`timedatectl`)",
        ),
        _ => told(
            Cause::TlsFailed,
            format!("the certificate of {host} cannot be used"),
            "set ca_file to its authority's certificate; a self-signed one works where it is made with `-addext basicConstraints=critical,CA:FALSE` (openssl req -x509), as its own ca_file".to_owned(),
        ),
    }
}

/// Dates of certificates are judged by a clock that may be wrong itself.
fn clock_or(facts: &Facts<'_>, cause: Cause, what: String, fix: &str) -> Told {
    match skew(facts) {
        Some(_) => Told::new(
            Cause::ClockWrong,
            format!("{what}, by this machine's clock, which is wrong"),
            ["set the clock (`timedatectl set-ntp true`)".to_owned()],
        ),
        None => Told::new(cause, what, [fix.to_owned()]),
    }
}

fn folder(facts: &Facts<'_>) -> Told {
    let name = facts.mailbox.map_or("", |mailbox| &mailbox.folder);
    let provider = facts
        .mailbox
        .map_or(Provider::Other, |mailbox| mailbox.provider);
    let list = "names are the server's own, with its separator; INBOX alone is the same everywhere"
        .to_owned();
    let what = format!("there is no folder {name:?} in this mailbox");
    match provider {
        Provider::Exchange => Told::new(
            Cause::FolderMissing,
            what,
            [
                format!("correct folders = [...]: {list}"),
                format!(
                    "the names, in the mailbox's own language: Get-MailboxFolderStatistics -Identity {} | fl FolderPath",
                    Names(facts).mailbox()
                ),
            ],
        ),
        Provider::Gmail => Told::new(
            Cause::FolderMissing,
            what,
            [
                format!("correct folders = [...]: {list}"),
                "Gmail: Settings > Labels: \"Show in IMAP\" must be set for the label".to_owned(),
            ],
        ),
        Provider::Other => Told::new(
            Cause::FolderMissing,
            what,
            [format!(
                "correct folders = [...], where it says {}: {list}",
                quoted(name)
            )],
        ),
    }
}

fn protocol(at: &Place, breach: &Breach) -> Told {
    let (host, port) = (&at.host, at.port);
    match breach {
        Breach::NoStartTls => Told::new(
            Cause::StartTlsMissing,
            format!("{host} does not offer STARTTLS"),
            ["set tls = \"implicit\" and port = 993".to_owned()],
        ),
        Breach::NoGreeting(_) => Told::new(
            Cause::NoImapServer,
            format!("what answers at {host} port {port} is no IMAP server"),
            ["check host, port and tls".to_owned()],
        ),
        Breach::LineTooLong(_)
        | Breach::LiteralTooLarge(_)
        | Breach::TooManyLiterals(_)
        | Breach::TooManyBodies
        | Breach::TooManyResults(_)
        | Breach::TooManyFolders(_)
        | Breach::ForeignTag
        | Breach::NoResponse(_)
        | Breach::Preauth
        | Breach::BytesBeforeTls
        | Breach::NoUidValidity
        | Breach::UnreadableSearch
        | Breach::NoHighestUid { .. }
        | Breach::EndlessChallenge
        | Breach::UnexpectedContinuation => Told::new(
            Cause::ServerBreaksProtocol,
            format!("{host} does not keep to IMAP"),
            ["it is tried again; if it lasts, please report what is said here".to_owned()],
        ),
    }
}
