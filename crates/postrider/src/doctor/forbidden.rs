//! Mailboxes that must stay shut (`must_not_open`): a login is tried at each, and has to be refused.
//! Only a refusal by the mail server is a proof, and only where the same access opens another
//! mailbox; a failure on the way says nothing.

use postrider_core::ids::CredentialKey;
use postrider_imap::{error::Error, server::Server, session::Session};
use serde_json::{Value, json};

use super::report::Verdict;
use crate::{config::Mailbox, tokens::Tokens};

/// What one attempt showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub credential: CredentialKey,
    pub address: String,
    pub shown: Shown,
    /// What shuts it, where it is open.
    pub fix: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it must be.
    Refused,
    /// The mailbox can be opened.
    Opened,
    /// Nothing, because of this.
    Nothing(String),
}

/// Whether the same access opens a mailbox that it may: else a refusal is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    Opens,
    Unknown,
}

impl Proof {
    pub fn verdict(&self) -> Verdict {
        match self.shown {
            Shown::Refused => Verdict::Good,
            Shown::Opened => Verdict::Operator,
            Shown::Nothing(_) => Verdict::Passing,
        }
    }

    pub fn json(&self) -> Value {
        let (shown, why) = match &self.shown {
            Shown::Refused => ("refused", None),
            Shown::Opened => ("opened", None),
            Shown::Nothing(why) => ("nothing", Some(why)),
        };
        json!({
            "credential": self.credential.as_str(),
            "address": self.address,
            "shown": shown,
            "why": why,
            "fix": self.fix,
        })
    }

    /// In a sentence, without the address.
    pub fn words(&self) -> String {
        match &self.shown {
            Shown::Refused => "refused as it must be".to_owned(),
            Shown::Opened => "OPENED: this access reaches a mailbox that it must not".to_owned(),
            Shown::Nothing(why) => format!("not proven: {why}"),
        }
    }
}

/// Tries to open `address` with the access of `mailbox`, at its server, and leaves at once.
pub(crate) async fn attempt(
    tokens: &Tokens,
    server: &Result<Server, String>,
    mailbox: &Mailbox,
    address: &str,
    elsewhere: Elsewhere,
) -> Shown {
    let server = match server {
        Ok(server) => server,
        Err(why) => return Shown::Nothing(why.clone()),
    };
    let access = match tokens.login_as(&mailbox.credential, address).await {
        Ok(access) => access,
        Err(failure) => return Shown::Nothing(failure.to_string()),
    };
    match Session::open(server, &access.login(address)).await {
        Ok(session) => {
            session.logout().await;
            judge(&Ok(()), elsewhere)
        }
        Err(error) => judge(&Err(error), elsewhere),
    }
}

/// What came of trying to open it.
fn judge(tried: &Result<(), Error>, elsewhere: Elsewhere) -> Shown {
    match tried {
        Ok(()) => Shown::Opened,
        Err(Error::LoginRefused { .. } | Error::NotConnected { .. }) => match elsewhere {
            Elsewhere::Opens => Shown::Refused,
            Elsewhere::Unknown => Shown::Nothing(
                "it is refused, but no other mailbox is known to open with the same access, so that proves nothing".to_owned(),
            ),
        },
        Err(error) => Shown::Nothing(super::server::first_line(error)),
    }
}

#[cfg(test)]
mod tests {
    use postrider_imap::error::ServerText;

    use super::*;

    #[test]
    fn only_a_refusal_beside_an_open_mailbox_is_a_proof() {
        let refused = || Error::LoginRefused {
            text: ServerText::new(b"AUTHENTICATE failed."),
        };
        let not_connected = || Error::NotConnected {
            text: ServerText::new(b"not connected"),
        };
        let lost = || Error::Timeout {
            doing: "connecting",
        };
        assert_eq!(judge(&Err(refused()), Elsewhere::Opens), Shown::Refused);
        assert_eq!(
            judge(&Err(not_connected()), Elsewhere::Opens),
            Shown::Refused
        );
        assert_eq!(judge(&Ok(()), Elsewhere::Opens), Shown::Opened);
        assert_eq!(judge(&Ok(()), Elsewhere::Unknown), Shown::Opened);
        for (tried, elsewhere) in [
            (Err(refused()), Elsewhere::Unknown),
            (Err(lost()), Elsewhere::Opens),
        ] {
            assert!(matches!(judge(&tried, elsewhere), Shown::Nothing(_)));
        }
    }
}
