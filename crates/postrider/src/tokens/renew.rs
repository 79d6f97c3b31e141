//! New tokens by order: an operator knows that the next one says more than the one in use. Nobody's
//! access is worse for it: where none comes, the one in use serves on.

use std::time::Duration;

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    time::Monotonic,
    token::{Generation, Renewal},
};

use super::{
    Slot, Tokens,
    slot::{Login, TokenSlot},
};
use crate::clock;

/// How long somebody who gave an order waits for what comes of it.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// There is a new token.
    Done,
    /// It is asked for: of a service account for so many users, else without an answer yet.
    Ordered {
        users: usize,
    },
    /// No token came, and why. The one in use serves on where there is one.
    Failed(String),
    /// There was an order a moment ago.
    TooSoon {
        wait: Duration,
    },
    /// It is a password.
    NoToken,
    Unknown,
}

impl Tokens {
    /// Asks for a new token, and waits for the answer where there is one for all.
    pub async fn renew(&self, credential: &CredentialKey) -> Renewed {
        match self.slot(credential) {
            None => Renewed::Unknown,
            Some(Slot::Password(_)) => Renewed::NoToken,
            Some(Slot::Token(slot)) => {
                let before = slot.generation();
                match slot.renew() {
                    Renewal::TooSoon { until } => too_soon(until),
                    Renewal::Ordered => answer(&slot, credential, before).await,
                }
            }
            Some(Slot::Users(users)) => {
                let renewals: Vec<Renewal> = users.all().iter().map(|slot| slot.renew()).collect();
                let ordered = renewals.iter().filter(|one| **one == Renewal::Ordered);
                match (ordered.count(), renewals.first()) {
                    (0, Some(Renewal::TooSoon { until })) => too_soon(*until),
                    (users, _) => Renewed::Ordered { users },
                }
            }
        }
    }

    /// Asks for a new token for this mailbox, unless there was an order a moment ago. Says whether
    /// one is asked for.
    pub fn renew_for(&self, mailbox: &MailboxKey, credential: &CredentialKey) -> bool {
        let slot = match self.slot(credential) {
            None | Some(Slot::Password(_)) => None,
            Some(Slot::Token(slot)) => Some(slot),
            Some(Slot::Users(users)) => self.user(mailbox).and_then(|user| users.known(&user)),
        };
        slot.is_some_and(|slot| slot.renew() == Renewal::Ordered)
    }
}

fn too_soon(until: Monotonic) -> Renewed {
    Renewed::TooSoon {
        wait: until - clock::monotonic(),
    }
}

async fn answer(
    slot: &TokenSlot,
    credential: &CredentialKey,
    before: Option<Generation>,
) -> Renewed {
    let login = tokio::time::timeout(ANSWER_MAX, slot.login(credential));
    match login.await {
        Err(_) | Ok(Login::Retired) => Renewed::Ordered { users: 0 },
        Ok(Login::Done(Err(failure))) => Renewed::Failed(failure.to_string()),
        Ok(Login::Done(Ok(access))) if Some(access.generation) == before => {
            let last = slot.state().last_error.clone();
            Renewed::Failed(last.map_or_else(String::new, |error| error.detail))
        }
        Ok(Login::Done(Ok(_))) => Renewed::Done,
    }
}
