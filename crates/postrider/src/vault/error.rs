//! Why the vault cannot be used, and what to do about it. Nothing here holds a key or a token.

use std::{io, path::PathBuf};

use super::master::KeyError;
use crate::secrets;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the vault has no master key: `vault.key` is not set")]
    NoKey,
    #[error("the vault's master key: {0}")]
    Key(std::sync::Arc<KeyError>),
    #[error("`{0}` cannot be the name of a file in the vault")]
    Name(String),
    #[error("{path} belongs to user {owner}, not to user {expected}")]
    Foreign {
        path: PathBuf,
        owner: u32,
        expected: u32,
    },
    #[error("{path} has mode {mode:04o}: others than its owner may use it")]
    TooOpen {
        path: PathBuf,
        mode: u32,
        allowed: u32,
    },
    #[error("{path} is not what the vault wrote: {what}")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{path} is locked with the master key {wanted}, and {}", configured(.known))]
    OtherKey {
        path: PathBuf,
        wanted: String,
        known: Vec<String>,
    },
    #[error("{path} was written by a newer postrider (record version {version})")]
    TooNew { path: PathBuf, version: u32 },
    #[error("another process has used {path} for {waited} s")]
    Busy { path: PathBuf, waited: u64 },
    #[error("{path} cannot be {what}: {error}")]
    Io {
        path: PathBuf,
        /// In the past tense: `read`, `written`.
        what: &'static str,
        error: io::Error,
    },
    #[error("the cryptographic library refuses to work")]
    Crypto,
}

fn configured(ids: &[String]) -> String {
    match ids {
        [] => "no master key can be read".to_owned(),
        [one] => format!("the configured one is {one}"),
        [..] => format!("the configured ones are {}", ids.join(", ")),
    }
}

impl VaultError {
    /// What an operator can do.
    pub fn hint(&self) -> String {
        match self {
            Self::NoKey => {
                "make a key with `openssl rand -base64 32 > vault.key && chmod 600 vault.key`, and \
                 set `[vault] key = { file = \"vault.key\" }`"
                    .to_owned()
            }
            Self::Key(error) => match error.as_ref() {
                KeyError::Secret(error) => secrets::hint(error).to_owned(),
                KeyError::Form { .. } => {
                    "it must be 32 bytes as base64 or hex: `openssl rand -base64 32` makes one"
                        .to_owned()
                }
            },
            Self::Name(_) => "name the credential with a-z, 0-9 and -".to_owned(),
            Self::Foreign {
                path,
                owner,
                expected,
            } => {
                let path = path.display();
                format!(
                    "run the command as the user that runs postrider (`sudo -u '#{owner}' \
                     postrider …`), or give it back: `chown -R '#{expected}' '{path}'`"
                )
            }
            Self::TooOpen { path, allowed, .. } => {
                format!("`chmod {allowed:o} '{}'`", path.display())
            }
            Self::Damaged { path, .. } => format!(
                "sign in again with `postrider login` (it sets the file aside), or put {} back \
                 from a backup",
                path.display()
            ),
            Self::OtherKey { .. } => {
                "put the key that it was locked with back at the end of `vault.key`'s list; or \
                 sign in again with `postrider login` (it sets the file aside)"
                    .to_owned()
            }
            Self::TooNew { .. } => "run that version or a newer one".to_owned(),
            Self::Busy { .. } => {
                "try again; `lsof` on the file says which process holds it".to_owned()
            }
            Self::Io { error, .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run it as the user that runs postrider".to_owned()
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on the disk; the record from before is as it was".to_owned()
                }
                _ => "look at the folder and its disk".to_owned(),
            },
            Self::Crypto => "report it, with the version and the kind of machine".to_owned(),
        }
    }
}
