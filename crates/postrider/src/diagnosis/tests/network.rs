//! What lies between here and a mail server, and what the server says of itself.

use std::{io, time::Duration};

use postrider_imap::error::{Breach, Error, Refusal, ServerText};
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::*;

fn words(text: &str) -> ServerText {
    ServerText::new(text.as_bytes())
}

fn connect(kind: io::ErrorKind) -> Error {
    Error::Connect {
        to: "imap.example.org:993".to_owned(),
        source: io::Error::new(kind, "no way"),
    }
}

fn tls(error: rustls::Error) -> Error {
    Error::Tls {
        host: "imap.example.org".to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

fn certificate(error: CertificateError) -> Error {
    tls(rustls::Error::InvalidCertificate(error))
}

#[expect(clippy::too_many_lines, reason = "a table, one row after the other")]
fn table() -> Vec<(Error, Cause, &'static str)> {
    let refused = |refusal| Error::Refused {
        refusal,
        command: "UID SEARCH",
        text: words("no"),
    };
    vec![
        (
            Error::Dns {
                host: "imap.example.org".to_owned(),
                source: io::Error::other("no name"),
            },
            Cause::NameNotFound,
            "getent hosts imap.example.org",
        ),
        (
            connect(io::ErrorKind::ConnectionRefused),
            Cause::ConnectionRefused,
            "port 993",
        ),
        (
            connect(io::ErrorKind::TimedOut),
            Cause::ConnectionTimedOut,
            "firewall",
        ),
        (
            connect(io::ErrorKind::NetworkUnreachable),
            Cause::ConnectionFailed,
            "port 993",
        ),
        (
            Error::Timeout {
                doing: "connecting",
            },
            Cause::ConnectionTimedOut,
            "firewall",
        ),
        (
            Error::Timeout {
                doing: "the TLS handshake",
            },
            Cause::ConnectionTimedOut,
            "firewall",
        ),
        (
            Error::Broken {
                source: io::Error::other("reset"),
            },
            Cause::ConnectionLost,
            "by itself",
        ),
        (
            Error::Closed { text: None },
            Cause::ConnectionLost,
            "by itself",
        ),
        (
            certificate(CertificateError::UnknownIssuer),
            Cause::TlsUnknownAuthority,
            "ca_file",
        ),
        (
            certificate(CertificateError::NotValidForName),
            Cause::TlsWrongName,
            "host",
        ),
        (
            certificate(CertificateError::Expired),
            Cause::TlsCertificateExpired,
            "renew",
        ),
        (
            certificate(CertificateError::NotValidYet),
            Cause::TlsNotYetValid,
            "clock",
        ),
        (
            certificate(CertificateError::BadSignature),
            Cause::TlsFailed,
            "ca_file",
        ),
        (
            tls(rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType,
            )),
            Cause::TlsNotSpoken,
            "starttls",
        ),
        (
            tls(rustls::Error::AlertReceived(
                AlertDescription::ProtocolVersion,
            )),
            Cause::TlsVersion,
            "1.2",
        ),
        (
            tls(rustls::Error::DecryptError),
            Cause::TlsFailed,
            "reads TLS",
        ),
        (
            Error::Tls {
                host: "imap.example.org".to_owned(),
                source: io::Error::new(io::ErrorKind::UnexpectedEof, "eof"),
            },
            Cause::ConnectionLost,
            "firewall",
        ),
        (
            Error::Protocol(Breach::NoStartTls),
            Cause::StartTlsMissing,
            "993",
        ),
        (
            Error::Protocol(Breach::NoGreeting(words("HTTP/1.1 400"))),
            Cause::NoImapServer,
            "port",
        ),
        (
            Error::Protocol(Breach::ForeignTag),
            Cause::ServerBreaksProtocol,
            "report",
        ),
        (
            Error::Throttled {
                retry_after: Some(Duration::from_secs(90)),
                text: words("Request is throttled."),
            },
            Cause::ServerThrottles,
            "nothing to do",
        ),
        (
            Error::ConnectionLimit {
                text: words("too many"),
            },
            Cause::ConnectionLimit,
            "limits",
        ),
        (
            Error::Unavailable {
                text: words("Server Unavailable. 15"),
            },
            Cause::ServerUnavailable,
            "by itself",
        ),
        (
            Error::TokenExpired {
                text: words("AccessTokenExpired"),
            },
            Cause::TokenExpired,
            "nothing to do",
        ),
        (refused(Refusal::Bad), Cause::ServerRefusesCommand, "again"),
        (
            Error::FolderMissing {
                text: words("Mailbox doesn't exist"),
            },
            Cause::FolderMissing,
            "folders",
        ),
        (
            Error::Argument {
                what: "the user name",
            },
            Cause::ConfigInvalid,
            "configuration",
        ),
        (
            Error::Sink(io::Error::other("disk")),
            Cause::LocalStorage,
            "disk",
        ),
    ]
}

#[test]
fn every_error_of_a_connection_has_its_cause() {
    let credential = with(Way::Password, Proof::Secret);
    let mailbox = mailbox(Way::Password, "imap.example.org");
    for (error, cause, piece) in table() {
        let diagnosis = mail(&facts(&credential, Some(&mailbox), None), &error);
        assert_eq!(diagnosis.cause, cause, "{error}");
        assert!(
            all_text(&diagnosis).contains(piece),
            "{piece}: {diagnosis:#?}"
        );
        assert!(
            !diagnosis.evidence.is_empty() && !diagnosis.evidence[0].contains("hint:"),
            "{diagnosis:#?}"
        );
        assert_sound(&diagnosis);
    }
}

#[test]
fn behind_a_proxy_the_proxy_is_named() {
    let credential = with(Way::Password, Proof::Secret);
    let mailbox = MailboxFacts {
        proxied: true,
        ..mailbox(Way::Password, "imap.example.org")
    };
    let diagnosis = mail(
        &facts(&credential, Some(&mailbox), None),
        &Error::Timeout {
            doing: "connecting",
        },
    );
    assert!(
        all_text(&diagnosis).contains("let the proxy connect"),
        "{diagnosis:#?}"
    );
}

#[test]
fn an_expired_certificate_may_be_a_wrong_clock() {
    let credential = with(Way::Password, Proof::Secret);
    let mailbox = mailbox(Way::Password, "imap.example.org");
    for error in [CertificateError::Expired, CertificateError::NotValidYet] {
        let skewed = Facts {
            skew_s: Some(86_400),
            ..facts(&credential, Some(&mailbox), None)
        };
        let diagnosis = mail(&skewed, &certificate(error));
        assert_eq!(diagnosis.cause, Cause::ClockWrong);
        assert!(all_text(&diagnosis).contains("timedatectl"));
    }
}

#[test]
fn a_missing_folder_is_looked_for_where_the_provider_names_it() {
    let error = Error::FolderMissing { text: words("no") };
    let table = [
        (
            Way::Application,
            "outlook.office365.com",
            "Get-MailboxFolderStatistics -Identity 'support@contoso.com'",
        ),
        (Way::ServiceAccount, "imap.gmail.com", "Show in IMAP"),
        (Way::Password, "imap.example.org", "'Reports'"),
    ];
    for (way, host, piece) in table {
        let credential = with(way, Proof::Secret);
        let mailbox = mailbox(way, host);
        let diagnosis = mail(&facts(&credential, Some(&mailbox), None), &error);
        assert!(all_text(&diagnosis).contains(piece), "{diagnosis:#?}");
        assert_sound(&diagnosis);
    }
}
