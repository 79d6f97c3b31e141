//! Whether a credential opens other mailboxes. That tells a mailbox's own trouble from the
//! credential's, so where few are walked a login is tried at one or two of the others.

use std::collections::HashMap;

use postrider_core::ids::CredentialKey;
use postrider_imap::error::Error;

use super::{Doctor, Walked, visit};
use crate::{config::Mailbox, diagnosis::Others};

/// One may be wrong itself.
const ASKED_MAX: usize = 2;

/// How the walked mailboxes' credentials fare elsewhere.
pub(super) async fn look(doctor: &Doctor, walked: &[Walked]) -> HashMap<CredentialKey, Others> {
    let mut known = HashMap::new();
    for one in walked {
        let credential = &one.mailbox.credential;
        if known.contains_key(credential) {
            continue;
        }
        let others = match seen(credential, walked) {
            (true, _) => Others::LetIn,
            (false, 0) => Others::Unknown,
            (false, 1) => Box::pin(ask(doctor, credential, walked)).await,
            (false, _) => Others::Refused,
        };
        known.insert(credential.clone(), others);
    }
    known
}

/// Whether a walked mailbox was let in, and how many were refused.
fn seen(credential: &CredentialKey, walked: &[Walked]) -> (bool, usize) {
    let mut of_it = walked
        .iter()
        .filter(|one| one.mailbox.credential == *credential);
    let refused = of_it.clone().filter(|one| one.was_refused()).count();
    (of_it.any(Walked::was_let_in), refused)
}

/// Tries mailboxes that were not walked.
async fn ask(doctor: &Doctor, credential: &CredentialKey, walked: &[Walked]) -> Others {
    let is_walked = |mailbox: &Mailbox| walked.iter().any(|one| one.mailbox.key == mailbox.key);
    let others = doctor
        .config
        .mailboxes
        .values()
        .filter(|mailbox| mailbox.credential == *credential && !is_walked(mailbox));
    let mut shown = Others::Unknown;
    for mailbox in others.take(ASKED_MAX) {
        match opens(doctor, mailbox).await {
            Others::LetIn => return Others::LetIn,
            Others::Refused => shown = Others::Refused,
            Others::Unknown => {}
        }
    }
    shown
}

async fn opens(doctor: &Doctor, mailbox: &Mailbox) -> Others {
    let Ok(access) = doctor.login(mailbox).await else {
        return Others::Unknown;
    };
    doctor.turn(mailbox).await;
    match visit::open(doctor, mailbox, &access.login(&mailbox.username)).await {
        Ok(session) => {
            session.logout().await;
            Others::LetIn
        }
        Err(Error::LoginRefused { .. }) => Others::Refused,
        Err(_) => Others::Unknown,
    }
}
