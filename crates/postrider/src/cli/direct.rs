//! What commands share that ask no daemon: the configuration, a credential by its name, the vault,
//! a runtime, and how their errors end.

use std::path::Path;

use postrider_core::ids::{CredentialKey, MailboxKey};
use postrider_oauth::error::TokenError;

use super::{
    check::refused,
    failure::{Exit, Failure},
    output::complain,
    render::count,
};
use crate::{
    config::{self, Config, Credential, Environment, nearest},
    vault::{Vault, VaultError},
};

/// The configuration, or all that is wrong with it.
pub(crate) fn load(file: &Path, json: bool) -> Result<Config, Failure> {
    match config::load(file) {
        Ok(loaded) => {
            // Each command would tell all of them, and none of them is about what it does.
            if !loaded.warnings.is_empty() {
                let warnings = count(loaded.warnings.len(), "warning", "warnings");
                complain(&format!(
                    "{}: {warnings}; `postrider check-config` tells them\n",
                    file.display()
                ))?;
            }
            Ok(loaded.config)
        }
        Err(problems) => Err(refused(file, &problems, json)?),
    }
}

pub(crate) fn credential<'a>(config: &'a Config, name: &str) -> Result<&'a Credential, Failure> {
    if let Some(credential) = config.credentials.get(&CredentialKey::from(name)) {
        return Ok(credential);
    }
    let names = config.credentials.keys().map(CredentialKey::as_str);
    let failure = Failure::new(Exit::Failed, format!("there is no credential `{name}`"));
    Err(match nearest(name, names) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("the configuration names them as [credentials.NAME]"),
    })
}

/// The mailboxes that log in with it, with what they log in as.
pub(crate) fn users_of<'a>(
    config: &'a Config,
    credential: &'a CredentialKey,
) -> impl Iterator<Item = (&'a MailboxKey, &'a str)> {
    config
        .mailboxes
        .iter()
        .filter(move |(_, mailbox)| mailbox.credential == *credential)
        .map(|(key, mailbox)| (key, mailbox.username.as_ref()))
}

pub(crate) fn vault(config: &Config) -> Vault {
    Vault::new(
        config.vault.path.clone(),
        config.vault.key.clone(),
        Environment::of_process(),
    )
}

/// For a credential that asks no token endpoint.
pub(crate) fn no_token(credential: &Credential) -> Failure {
    let error = format!(
        "credential `{}` asks for no token: its type is \"{}\"",
        credential.key,
        credential.kind.as_str()
    );
    Failure::new(Exit::Failed, error)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let exit = match &error {
            VaultError::NoKey | VaultError::Key(_) | VaultError::OtherKey { .. } => Exit::Config,
            VaultError::Busy { .. } => Exit::TryAgain,
            VaultError::Name(_)
            | VaultError::Foreign { .. }
            | VaultError::TooOpen { .. }
            | VaultError::Damaged { .. }
            | VaultError::TooNew { .. }
            | VaultError::Io { .. }
            | VaultError::Crypto => Exit::Failed,
        };
        Self::new(exit, error.to_string()).hint(error.hint())
    }
}

/// A refusal needs a person; everything else may pass.
impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let exit = match &error {
            TokenError::Refused { .. }
            | TokenError::Malformed { .. }
            | TokenError::Unsent { .. } => Exit::Failed,
            TokenError::Throttled { .. } | TokenError::Unavailable { .. } => Exit::TryAgain,
        };
        Self::new(exit, error.to_string()).hint(error.hint())
    }
}
