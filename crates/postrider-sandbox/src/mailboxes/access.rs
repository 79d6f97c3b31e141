//! How an account may be opened: with which proofs, by whom, and over IMAP or not.

use crate::authority::TokenAuthority;

/// All is granted and IMAP is on, unless it is said otherwise.
#[derive(Clone, Debug, Default)]
pub struct Access {
    password: Option<String>,
    tokens: Option<TokenAuthority>,
    application: Application,
    protocol: Protocol,
    /// Users whose own tokens open this account too, as a shared mailbox's members.
    delegates: Vec<String>,
}

/// Whether applications' tokens reach the mailbox, as `Add-MailboxPermission` lets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Application {
    #[default]
    Granted,
    Ungranted,
}

/// Whether the mailbox can be opened over IMAP at all, as `Set-CASMailbox -ImapEnabled` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Enabled,
    Disabled,
}

impl Access {
    pub fn password(password: &str) -> Self {
        Self::default().or_password(password)
    }

    pub fn tokens(authority: &TokenAuthority) -> Self {
        Self::default().or_tokens(authority)
    }

    #[must_use]
    pub fn or_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    #[must_use]
    pub fn or_tokens(mut self, authority: &TokenAuthority) -> Self {
        self.tokens = Some(authority.clone());
        self
    }

    /// No application may open it.
    #[must_use]
    pub fn ungranted(mut self) -> Self {
        self.revoke();
        self
    }

    /// Its owner's address aside, this user may open it with their own token.
    #[must_use]
    pub fn shared_with(mut self, user: &str) -> Self {
        self.delegates.push(user.to_owned());
        self
    }

    pub fn grant(&mut self) {
        self.application = Application::Granted;
    }

    pub fn revoke(&mut self) {
        self.application = Application::Ungranted;
    }

    /// Logins are accepted, and the user "not connected".
    pub fn disable_imap(&mut self) {
        self.protocol = Protocol::Disabled;
    }

    pub fn enable_imap(&mut self) {
        self.protocol = Protocol::Enabled;
    }

    pub(crate) fn takes_password(&self, password: &str) -> bool {
        self.password.as_deref() == Some(password)
    }

    pub(crate) fn authority(&self) -> Option<&TokenAuthority> {
        self.tokens.as_ref()
    }

    pub(crate) fn is_granted(&self) -> bool {
        self.application == Application::Granted
    }

    pub(crate) fn has_imap(&self) -> bool {
        self.protocol == Protocol::Enabled
    }

    pub(crate) fn delegates(&self) -> &[String] {
        &self.delegates
    }
}
