//! The vault: refresh tokens of people who signed in, one encrypted file per credential. A token
//! never lies on the disk in clear, and a new one never takes the place of the last that works
//! before it is durable: what it replaces is kept inside until the new one has given a token.
//!
//! All of it reads and writes files, so within the runtime it belongs on a blocking thread; only
//! [`Vault::turn`] is `async`. A process that is killed at any instruction leaves the record from
//! before or the one from after.

mod envelope;
mod error;
mod files;
mod master;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postrider_core::{ids::CredentialKey, time::Wall};
use secrecy::{ExposeSecret, SecretString};

pub use error::VaultError;
pub use files::{Stamp, Turn};
pub use master::KeyError;

use self::{files::Folder, master::KeyRing};
use crate::config::{Environment, SecretRef};

/// How long one request for a token may take while another process holds its turn: the longest
/// login (several secrets, 20 s each) and some.
pub const TURN_TIME_MAX: Duration = Duration::from_secs(100);

/// A handle; clones share the folder and the master keys that were read last.
#[derive(Clone)]
pub struct Vault {
    folder: Arc<Folder>,
    keys: Arc<KeyRing>,
}

/// What is known of one sign-in.
#[derive(Clone, Debug)]
pub struct Stored {
    pub current: SecretString,
    /// The one before, until `current` has given a token.
    pub previous: Option<SecretString>,
    /// Who signed in, as the identity provider calls them.
    pub account: Option<String>,
    pub signed_in_at: Wall,
    /// When `current` came.
    pub obtained_at: Wall,
}

impl Stored {
    /// What to ask with, in this order.
    pub fn candidates(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// What became of a refresh token that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Stored,
    /// Somebody signed in anew, or out, since the record was read: what they stored stays.
    Superseded,
}

/// One file of the vault.
#[derive(Debug)]
pub struct Listed {
    pub credential: CredentialKey,
    pub path: PathBuf,
    pub state: Result<Stored, VaultError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Real,
    Dry,
}

#[derive(Debug)]
pub struct Rewrapped {
    pub credential: CredentialKey,
    pub outcome: Result<Rewrap, VaultError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrap {
    /// It was wrapped with an older key; now, or after a real run, with the newest.
    Done,
    /// It is wrapped with the newest key already.
    Newest,
}

impl Vault {
    /// Opens nothing yet: the folder is made by the first sign-in, and the master keys (newest
    /// first) are read whenever they are needed. A key that was good stays while its file is not.
    pub fn new(folder: impl Into<PathBuf>, keys: Vec<SecretRef>, environment: Environment) -> Self {
        Self {
            folder: Arc::new(Folder::new(folder.into())),
            keys: Arc::new(KeyRing::new(keys, environment)),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `None`: nobody has signed in.
    pub fn load(&self, credential: &CredentialKey) -> Result<Option<Stored>, VaultError> {
        let Some(found) = self.folder.read(credential)? else {
            return Ok(None);
        };
        envelope::open(&found.bytes, &found.path, credential, &self.keys.now()).map(Some)
    }

    /// Tells whether the record was written since: by a sign-in for instance. Costs one `stat`.
    pub fn stamp(&self, credential: &CredentialKey) -> Option<Stamp> {
        self.folder.stamp(credential)
    }

    /// The right to use this credential's refresh token, held until it is dropped or the process
    /// ends: some providers revoke everything when one refresh token is used twice. Take it
    /// before [`Self::load`], and hold it until the answer is stored.
    pub async fn turn(&self, credential: &CredentialKey) -> Result<Turn, VaultError> {
        self.folder.turn(credential, TURN_TIME_MAX).await
    }

    /// Whether something could be stored for this credential now; makes the folder where there is
    /// none. To be asked before somebody is sent to sign in.
    pub fn ready(&self, credential: &CredentialKey) -> Result<(), VaultError> {
        self.keys.now().newest()?;
        self.folder.write(credential).map(drop)
    }

    /// Stores what somebody's sign-in gave. A record that cannot be read is set aside, not lost.
    pub fn sign_in(
        &self,
        credential: &CredentialKey,
        refresh: &SecretString,
        account: Option<&str>,
        at: Wall,
    ) -> Result<(), VaultError> {
        let keys = self.keys.now();
        let newest = keys.newest()?;
        let write = self.folder.write(credential)?;
        if let Some(found) = self.folder.read_if_possible(credential)
            && envelope::open(&found.bytes, &found.path, credential, &keys).is_err()
        {
            write.set_aside()?;
        }
        let stored = Stored {
            current: refresh.clone(),
            previous: None,
            account: account.map(str::to_owned),
            signed_in_at: at,
            obtained_at: at,
        };
        write.replace(&envelope::seal(&stored, credential, newest)?)
    }

    /// `used` gave a token and a new refresh token: stores it, and keeps `used` until the new one
    /// is confirmed.
    pub fn rotate(
        &self,
        credential: &CredentialKey,
        used: &SecretString,
        fresh: &SecretString,
        at: Wall,
    ) -> Result<Kept, VaultError> {
        self.change(credential, used, |stored| match same(used, fresh) {
            true => settle(stored, used),
            false => {
                stored.previous = Some(used.clone());
                stored.current = fresh.clone();
                stored.obtained_at = at;
                Change::Write
            }
        })
    }

    /// `used` gave a token and stays the refresh token: the other one is dropped.
    pub fn confirm(
        &self,
        credential: &CredentialKey,
        used: &SecretString,
    ) -> Result<Kept, VaultError> {
        self.change(credential, used, |stored| settle(stored, used))
    }

    fn change(
        &self,
        credential: &CredentialKey,
        used: &SecretString,
        change: impl FnOnce(&mut Stored) -> Change,
    ) -> Result<Kept, VaultError> {
        let keys = self.keys.now();
        let write = self.folder.write(credential)?;
        let Some(found) = self.folder.read(credential)? else {
            return Ok(Kept::Superseded);
        };
        let mut stored = envelope::open(&found.bytes, &found.path, credential, &keys)?;
        if !stored.candidates().any(|known| same(known, used)) {
            return Ok(Kept::Superseded);
        }
        match change(&mut stored) {
            Change::Write => {
                write.replace(&envelope::seal(&stored, credential, keys.newest()?)?)?;
            }
            Change::None => {}
        }
        Ok(Kept::Stored)
    }

    /// Every record, readable or not, by name.
    pub fn list(&self) -> Result<Vec<Listed>, VaultError> {
        let keys = self.keys.now();
        let listed = self.folder.credentials()?.into_iter();
        let listed = listed.filter_map(|credential| {
            let found = match self.folder.read(&credential) {
                Ok(found) => found?,
                Err(error) => {
                    let path = self.folder.file(&credential).unwrap_or_default();
                    let state = Err(error);
                    return Some(Listed {
                        credential,
                        path,
                        state,
                    });
                }
            };
            let state = envelope::open(&found.bytes, &found.path, &credential, &keys);
            Some(Listed {
                credential,
                path: found.path,
                state,
            })
        });
        Ok(listed.collect())
    }

    /// Wraps every record's key with the newest master key. What cannot be opened is left alone
    /// and told of. Older master keys are no longer needed when all of it went well.
    pub fn rewrap(&self, run: Run) -> Result<Vec<Rewrapped>, VaultError> {
        let keys = self.keys.now();
        keys.newest()?;
        let all = self.folder.credentials()?.into_iter();
        let all = all.map(|credential| {
            let outcome = self.rewrap_one(&credential, &keys, run);
            Rewrapped {
                credential,
                outcome,
            }
        });
        Ok(all.collect())
    }

    fn rewrap_one(
        &self,
        credential: &CredentialKey,
        keys: &master::Keys,
        run: Run,
    ) -> Result<Rewrap, VaultError> {
        let write = self.folder.write(credential)?;
        let Some(found) = self.folder.read(credential)? else {
            return Ok(Rewrap::Newest);
        };
        let Some(bytes) = envelope::rewrap(&found.bytes, &found.path, credential, keys)? else {
            return Ok(Rewrap::Newest);
        };
        match run {
            Run::Dry => {}
            Run::Real => write.replace(&bytes)?,
        }
        Ok(Rewrap::Done)
    }
}

enum Change {
    Write,
    None,
}

/// `used` is the one that counts from here on.
fn settle(stored: &mut Stored, used: &SecretString) -> Change {
    if stored.previous.is_none() {
        return Change::None;
    }
    stored.current = used.clone();
    stored.previous = None;
    Change::Write
}

fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}
