//! Which mailboxes a credential was seen to open: two of them are remembered, which is enough to say
//! of any mailbox whether another one opens. It is a lock held for moments.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use postrider_core::ids::{CredentialKey, MailboxKey};

#[derive(Default)]
pub struct LetIn(Mutex<HashMap<CredentialKey, [Option<MailboxKey>; 2]>>);

impl LetIn {
    pub fn note(&self, credential: &CredentialKey, mailbox: &MailboxKey) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [newest, older] = known.entry(credential.clone()).or_default();
        if newest.as_ref() != Some(mailbox) {
            *older = newest.replace(mailbox.clone());
        }
    }

    /// A mailbox that was open is refused.
    pub fn forget(&self, credential: &CredentialKey, mailbox: &MailboxKey) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in known.get_mut(credential).into_iter().flatten() {
            if one.as_ref() == Some(mailbox) {
                *one = None;
            }
        }
    }

    /// Whether another mailbox than this opens.
    pub fn another(&self, credential: &CredentialKey, mailbox: &MailboxKey) -> bool {
        self.open(credential).any(|known| known != *mailbox)
    }

    pub fn any(&self, credential: &CredentialKey) -> bool {
        self.open(credential).next().is_some()
    }

    fn open(&self, credential: &CredentialKey) -> impl Iterator<Item = MailboxKey> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(credential).cloned().unwrap_or_default();
        known.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_not_another_one_to_itself() {
        let let_in = LetIn::default();
        let (credential, a, b) = ("lab".into(), "a".into(), "b".into());
        assert!(!let_in.any(&credential));
        let_in.note(&credential, &a);
        let_in.note(&credential, &a);
        assert!(let_in.any(&credential) && !let_in.another(&credential, &a));
        assert!(let_in.another(&credential, &b));
        let_in.note(&credential, &b);
        assert!(let_in.another(&credential, &a) && let_in.another(&credential, &b));
        let_in.forget(&credential, &b);
        assert!(!let_in.another(&credential, &a));
    }
}
