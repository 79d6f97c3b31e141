//! How a server presents itself. The presets speak as the big servers do.

use crate::tls::Tls;

#[derive(Clone, Debug)]
pub struct Config {
    pub tls: TlsMode,
    /// The text after `* OK `.
    pub greeting: String,
    /// What CAPABILITY lists before a login, and after.
    pub capabilities: Vec<&'static str>,
    pub capabilities_after_login: Vec<&'static str>,
    pub refusal: RefusalStyle,
    pub record: Record,
}

#[derive(Clone, Debug)]
pub enum TlsMode {
    Implicit(Tls),
    StartTls(Tls),
    None,
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

/// Whether commands are kept for a test to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    Nothing,
    Commands,
}

impl Config {
    /// As Exchange Online's classic front end.
    pub fn exchange(tls: TlsMode) -> Self {
        Self {
            tls,
            greeting: "The Microsoft Exchange IMAP4 service is ready. [UwBBAE4ARABCAE8AWAA=]"
                .to_owned(),
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
            record: Record::Nothing,
        }
    }

    /// As a Dovecot, with every way to log in.
    pub fn dovecot(tls: TlsMode) -> Self {
        Self {
            tls,
            greeting: "Dovecot ready.".to_owned(),
            capabilities: words(
                "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 \
                 AUTH=OAUTHBEARER",
            ),
            capabilities_after_login: words(
                "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN \
                 LITERAL+",
            ),
            refusal: RefusalStyle::Challenge,
            record: Record::Nothing,
        }
    }

    /// Offers exactly this, before a login and after.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: &'static str) -> Self {
        self.capabilities = words(capabilities);
        self.capabilities_after_login = words(capabilities);
        self
    }

    #[must_use]
    pub fn recording(mut self) -> Self {
        self.record = Record::Commands;
        self
    }
}

fn words(line: &'static str) -> Vec<&'static str> {
    line.split_whitespace().collect()
}
