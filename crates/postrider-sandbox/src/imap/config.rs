//! What a server is started with: how it is encrypted, whom it plays, and what it keeps.

use std::sync::Arc;

use super::profile::Profile;
use crate::tls::Tls;

#[derive(Clone, Debug)]
pub struct Config {
    pub tls: TlsMode,
    pub profile: Arc<Profile>,
    pub record: Record,
}

#[derive(Clone, Debug)]
pub enum TlsMode {
    Implicit(Tls),
    StartTls(Tls),
    None,
}

/// Whether commands are kept for a test to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    Nothing,
    Commands,
}

impl Config {
    pub fn new(tls: TlsMode, profile: Profile) -> Self {
        Self {
            tls,
            profile: Arc::new(profile),
            record: Record::Nothing,
        }
    }

    /// As Exchange Online's classic front end.
    pub fn exchange(tls: TlsMode) -> Self {
        Self::new(tls, Profile::exchange())
    }

    /// As Exchange Online's newer front end, seen since September 2026.
    pub fn exchange_tcpproxy(tls: TlsMode) -> Self {
        Self::new(tls, Profile::exchange_tcpproxy())
    }

    /// As the newer front end whose IMAP4rev2 is half broken.
    pub fn exchange_rev2(tls: TlsMode) -> Self {
        Self::new(tls, Profile::exchange_rev2())
    }

    pub fn gmail(tls: TlsMode) -> Self {
        Self::new(tls, Profile::gmail())
    }

    /// As a Dovecot, with every way to log in.
    pub fn dovecot(tls: TlsMode) -> Self {
        Self::new(tls, Profile::dovecot())
    }

    /// A server with IDLE and little else.
    pub fn plain(tls: TlsMode) -> Self {
        Self::new(tls, Profile::plain())
    }

    /// Offers exactly this, before a login and after.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: &'static str) -> Self {
        let profile = Arc::make_mut(&mut self.profile);
        profile.capabilities = capabilities.split_whitespace().collect();
        profile.capabilities_after_login = profile.capabilities.clone();
        self
    }

    #[must_use]
    pub fn recording(mut self) -> Self {
        self.record = Record::Commands;
        self
    }
}
