//! Whom a server plays: its greeting, its capabilities before and after a login, and its words. What
//! the big servers say is taken from protocol logs; where nobody has seen their words, that is said.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Exchange Server's default for an authenticated connection (Set-ImapSettings,
/// AuthenticatedConnectionTimeout); Exchange Online's own is not published.
const EXCHANGE_IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Exchange Server's default for the longest command (Set-ImapSettings, MaxCommandSize).
const EXCHANGE_LINE_MAX: usize = 10_240;
/// As Dovecot's default.
const LINE_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub kind: Kind,
    /// The text after `* OK `.
    pub greeting: String,
    /// What CAPABILITY lists before a login, and after.
    pub capabilities: Vec<&'static str>,
    pub capabilities_after_login: Vec<&'static str>,
    pub refusal: RefusalStyle,
    /// After so long in IDLE the server hangs up.
    pub idle_max: Option<Duration>,
    /// The longest command line without its literals.
    pub line_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Exchange(Rev2),
    Gmail,
    Dovecot,
    Plain,
}

/// What becomes of IMAP4rev2 (RFC 9051) on an Exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rev2 {
    Absent,
    /// ENABLE IMAP4rev2 is taken, and SEARCH is answered with ESEARCH from then on.
    Offered,
    /// As `Offered`; besides, LSUB and LIST with RETURN are BAD, and LIST is broken after them.
    HalfBroken,
}

/// How a wrong token is refused in XOAUTH2 and OAUTHBEARER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalStyle {
    /// A tagged NO at once, as Exchange does; an empty line after it is a BAD.
    Immediate,
    /// A challenge with JSON first, which the client has to answer (RFC 7628 §3.2.2), as Google and
    /// Dovecot do.
    Challenge,
}

impl Profile {
    /// Exchange Online, the classic front end.
    pub fn exchange() -> Self {
        Self {
            kind: Kind::Exchange(Rev2::Absent),
            greeting: "The Microsoft Exchange IMAP4 service is ready.".to_owned(),
            capabilities: words(
                "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN \
                 IDLE NAMESPACE LITERAL+",
            ),
            capabilities_after_login: words(
                "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT \
                 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE \
                 NAMESPACE LITERAL+",
            ),
            refusal: RefusalStyle::Immediate,
            idle_max: Some(EXCHANGE_IDLE_MAX),
            line_max: EXCHANGE_LINE_MAX,
        }
        .at_host("FR3P281CA0157.DEUP281.PROD.OUTLOOK.COM")
    }

    /// Exchange Online, the newer front end: another greeting, no passwords, and IMAP4rev2 offered
    /// after the login.
    pub fn exchange_tcpproxy() -> Self {
        Self {
            kind: Kind::Exchange(Rev2::Offered),
            greeting: "Microsoft Exchange IMAP4 service ready. \
                       8f1e0d52-3f57-4c2b-9f0a-5a4a4f0f6f11 \
                       (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE)"
                .to_owned(),
            capabilities: words(
                "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT \
                 CHILDREN IDLE NAMESPACE LITERAL+",
            ),
            capabilities_after_login: words(
                "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE \
                 IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE \
                 BACKENDAUTHENTICATE-IR CHILDREN IDLE NAMESPACE LITERAL+",
            ),
            ..Self::exchange()
        }
        .at_host("FR3P281CA0157.DEUP281.PROD.OUTLOOK.COM")
    }

    /// The newer front end whose IMAP4rev2 is half broken.
    pub fn exchange_rev2() -> Self {
        Self {
            kind: Kind::Exchange(Rev2::HalfBroken),
            ..Self::exchange_tcpproxy()
        }
    }

    pub fn gmail() -> Self {
        Self {
            kind: Kind::Gmail,
            greeting: "Gimap ready for requests from 127.0.0.1 x7mb12345678".to_owned(),
            capabilities: words(
                "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR \
                 AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER",
            ),
            capabilities_after_login: words(
                "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS \
                 COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED \
                 LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584",
            ),
            refusal: RefusalStyle::Challenge,
            idle_max: None,
            line_max: LINE_MAX,
        }
    }

    pub fn dovecot() -> Self {
        Self {
            kind: Kind::Dovecot,
            greeting: "Dovecot ready.".to_owned(),
            capabilities: words(
                "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 \
                 AUTH=OAUTHBEARER",
            ),
            capabilities_after_login: words(
                "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN \
                 SPECIAL-USE LITERAL+",
            ),
            refusal: RefusalStyle::Challenge,
            idle_max: None,
            line_max: LINE_MAX,
        }
    }

    /// A server with IDLE and little else: no initial response, no ID, no folder roles.
    pub fn plain() -> Self {
        Self {
            kind: Kind::Plain,
            greeting: "IMAP4rev1 server ready".to_owned(),
            capabilities: words("IMAP4rev1 IDLE AUTH=PLAIN AUTH=XOAUTH2"),
            capabilities_after_login: words("IMAP4rev1 IDLE"),
            refusal: RefusalStyle::Challenge,
            idle_max: None,
            line_max: 8_192,
        }
    }

    /// Puts a host into the greeting as Exchange does: base64 of its UTF-16LE, in brackets that look
    /// like a response code and are none.
    #[must_use]
    pub fn at_host(mut self, host: &str) -> Self {
        let units: Vec<u8> = host.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let text = self.greeting.split(" [").next().unwrap_or_default();
        self.greeting = format!("{text} [{}]", STANDARD.encode(units));
        self
    }

    pub(super) fn without(mut self, hidden: &[String]) -> Self {
        let is_hidden = |name: &&str| hidden.iter().any(|one| one.eq_ignore_ascii_case(name));
        self.capabilities.retain(|name| !is_hidden(name));
        self.capabilities_after_login
            .retain(|name| !is_hidden(name));
        self
    }

    pub(super) fn rev2(&self) -> Rev2 {
        match self.kind {
            Kind::Exchange(rev2) => rev2,
            Kind::Gmail | Kind::Dovecot | Kind::Plain => Rev2::Absent,
        }
    }

    /// A tagged NO to a wrong password or token.
    pub(super) fn refused(&self, command: &str) -> String {
        match self.kind {
            Kind::Exchange(_) | Kind::Plain => format!("{command} failed."),
            Kind::Gmail => "[AUTHENTICATIONFAILED] Invalid credentials (Failure)".to_owned(),
            Kind::Dovecot => "[AUTHENTICATIONFAILED] Authentication failed.".to_owned(),
        }
    }

    /// The BYE of a session whose token has ended.
    pub(super) fn expired(&self) -> &'static str {
        match self.kind {
            Kind::Gmail => "Session expired, please login again.",
            Kind::Exchange(_) | Kind::Dovecot | Kind::Plain => {
                "Session invalidated - AccessTokenExpired"
            }
        }
    }

    /// A login beyond the connections that a user may have. Exchange Online's words are not known;
    /// a lever can put others in their place.
    pub(super) fn too_many(&self) -> &'static str {
        match self.kind {
            Kind::Gmail => "[ALERT] Too many simultaneous connections. (Failure)",
            Kind::Exchange(_) | Kind::Plain => "Too many connections.",
            Kind::Dovecot => {
                "[LIMIT] Maximum number of connections from user+IP exceeded \
                 (mail_max_userip_connections=10)"
            }
        }
    }

    pub(super) fn no_folder(&self, name: &str) -> String {
        match self.kind {
            Kind::Exchange(_) | Kind::Plain => format!("{name} doesn't exist."),
            Kind::Gmail => format!("[NONEXISTENT] Unknown Mailbox: {name} (Failure)"),
            Kind::Dovecot => format!("[NONEXISTENT] Mailbox doesn't exist: {name}"),
        }
    }

    pub(super) fn id(&self) -> &'static str {
        match self.kind {
            Kind::Exchange(_) => {
                r#"("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20")"#
            }
            Kind::Gmail => r#"("name" "GImap" "vendor" "Google, Inc.")"#,
            Kind::Dovecot => r#"("name" "Dovecot")"#,
            Kind::Plain => "NIL",
        }
    }

    pub(super) fn goodbye(&self) -> &'static str {
        match self.kind {
            Kind::Exchange(_) => "Microsoft Exchange Server IMAP4 server signing off.",
            Kind::Gmail => "LOGOUT Requested",
            Kind::Dovecot | Kind::Plain => "Logging out",
        }
    }

    pub(super) fn idle_accepted(&self) -> &'static str {
        match self.kind {
            Kind::Exchange(_) => "+ IDLE accepted, awaiting DONE command.",
            Kind::Gmail | Kind::Dovecot | Kind::Plain => "+ idling",
        }
    }

    /// The JSON of a challenge, decoded (Google's XOAUTH2 page; RFC 7628 §3.2.2).
    pub(super) fn challenge(&self, oauthbearer: bool) -> &'static str {
        match (self.kind, oauthbearer) {
            (Kind::Gmail, _) => {
                "{\"status\":\"401\",\"schemes\":\"bearer mac\",\"scope\":\"https://mail.google.com/\"}\n"
            }
            (Kind::Exchange(_) | Kind::Dovecot | Kind::Plain, false) => {
                r#"{"status":"401","schemes":"bearer","scope":"mail"}"#
            }
            (Kind::Exchange(_) | Kind::Dovecot | Kind::Plain, true) => {
                r#"{"status":"invalid_token"}"#
            }
        }
    }
}

fn words(line: &'static str) -> Vec<&'static str> {
    line.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_names_its_host_as_exchange_does() {
        let greeting = Profile::exchange().greeting;
        assert_eq!(
            greeting,
            "The Microsoft Exchange IMAP4 service is ready. [RgBSADMAUAAyADgAMQBDAEEAMAAxADUANwAuAEQARQBVAFAAMgA4ADEALgBQAFIATwBEAC4ATwBVAFQATABPAE8ASwAuAEMATwBNAA==]"
        );
        let other = Profile::exchange_tcpproxy().at_host("SANDBOX");
        assert!(
            other
                .greeting
                .ends_with("BACKENDAUTHENTICATE) [UwBBAE4ARABCAE8AWAA=]")
        );
    }
}
