//! What a session that did not come to be means, in one sentence and one step: for the log, the
//! status and the event. The reasoning is `crate::diagnosis`'s; here are the facts for it.

use postrider_core::ids::FolderName;
use postrider_imap::error::Error;
use postrider_oauth::claims::Claims;

use crate::{
    clock,
    config::Mailbox,
    diagnosis::{self, Before, CredentialFacts, Diagnosis, Facts, MailboxFacts, Others, Short},
    shared::Shared,
    tokens::{Access, CredentialFailure, LoginSecret},
    watch_line::WatchLine,
};

/// What is known of the mailbox's surroundings when something fails.
pub(super) struct Scene<'a> {
    pub(super) shared: &'a Shared,
    pub(super) mailbox: &'a Mailbox,
    pub(super) folder: &'a FolderName,
    pub(super) line: &'a WatchLine,
}

impl Scene<'_> {
    pub(super) fn mail(&self, error: &Error, access: &Access) -> Option<Box<Short>> {
        let claims = match &access.secret {
            LoginSecret::Token(token) => Claims::decode(token),
            LoginSecret::Password(_) => None,
        };
        self.told(claims.as_ref(), |facts| diagnosis::mail(facts, error))
    }

    pub(super) fn credential(&self, failure: &CredentialFailure) -> Option<Box<Short>> {
        self.told(None, |facts| diagnosis::access(facts, failure))
    }

    fn told(
        &self,
        claims: Option<&Claims>,
        judge: impl FnOnce(&Facts<'_>) -> Diagnosis,
    ) -> Option<Box<Short>> {
        let mailbox = self.mailbox;
        let config = self.shared.config();
        let credential = CredentialFacts::of(config.credentials.get(&mailbox.credential)?);
        let about = MailboxFacts::of(mailbox, &credential, self.folder.as_str());
        let let_in = &self.shared.let_in;
        let diagnosis = judge(&Facts {
            credential: &credential,
            mailbox: Some(&about),
            claims,
            others: match let_in.another(&mailbox.credential, &mailbox.key) {
                true => Others::LetIn,
                false => Others::Unknown,
            },
            // A folder that was once read up to date was open, be it before a restart.
            before: match self.line.with_status(|status| status.synced_at.is_some()) {
                true => Before::LetIn,
                false => Before::Unknown,
            },
            skew_s: None,
            now: clock::wall(),
        });
        Some(Box::new(diagnosis.short()))
    }
}
