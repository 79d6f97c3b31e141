//! The master keys: where they are read, in which forms, and how a record names the one that it
//! is locked with. They are wiped from memory when they are dropped, and never printed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::VaultError;
use crate::config::{Environment, SecretError, SecretRef};

pub(super) const KEY_BYTES: usize = 32;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why one of the references gives no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{reference} {what}")]
    Form {
        reference: SecretRef,
        what: &'static str,
    },
}

/// 32 bytes for AES-256-GCM.
#[derive(Clone)]
pub(super) struct MasterKey {
    pub(super) bytes: Zeroizing<[u8; KEY_BYTES]>,
    /// Says which key it is and nothing about it: the start of a hash.
    pub(super) id: String,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl MasterKey {
    pub(super) fn parse(text: &SecretString, reference: &SecretRef) -> Result<Self, KeyError> {
        let text = text.expose_secret().trim();
        let decoded = if text.len() == 2 * KEY_BYTES {
            from_hex(text)
        } else {
            STANDARD
                .decode(text)
                .or_else(|_| URL_SAFE.decode(text))
                .ok()
                .map(Zeroizing::new)
        };
        let form = |what| KeyError::Form {
            reference: reference.clone(),
            what,
        };
        let decoded = decoded.ok_or_else(|| form("is neither base64 nor hex"))?;
        let bytes: [u8; KEY_BYTES] = decoded
            .as_slice()
            .try_into()
            .map_err(|_| form("is not 32 bytes long"))?;
        Ok(Self::of(Zeroizing::new(bytes)))
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"postrider vault master key\0");
        hash.update(bytes.as_slice());
        let id = hash.finish().as_ref().iter().take(6).fold(
            String::with_capacity(12),
            |mut id, byte| {
                id.push_str(&format!("{byte:02x}"));
                id
            },
        );
        Self { bytes, id }
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
    }
    Some(bytes)
}

/// The references, and what was read last.
pub(super) struct KeyRing {
    references: Vec<SecretRef>,
    environment: Environment,
    good: Mutex<Vec<Option<MasterKey>>>,
}

impl KeyRing {
    pub(super) fn new(references: Vec<SecretRef>, environment: Environment) -> Self {
        Self {
            good: Mutex::new(vec![None; references.len()]),
            references,
            environment,
        }
    }

    /// Reads all of them. One that cannot be read is as it was when it could: a key file that is
    /// being replaced must not cost the refresh token that has just come.
    pub(super) fn now(&self) -> Keys {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.references.iter().zip(good.iter_mut());
        let keys = keys.map(|(reference, good)| {
            let read = reference
                .read(&self.environment)
                .map_err(KeyError::from)
                .and_then(|text| MasterKey::parse(&text, reference));
            match (read, good.as_ref()) {
                (Ok(key), _) => {
                    *good = Some(key.clone());
                    Ok(key)
                }
                (Err(_), Some(kept)) => Ok(kept.clone()),
                (Err(error), None) => Err(Arc::new(error)),
            }
        });
        Keys(keys.collect())
    }
}

/// The master keys at one moment, newest first.
pub(super) struct Keys(Vec<Result<MasterKey, Arc<KeyError>>>);

impl Keys {
    /// What is written is locked with this one.
    pub(super) fn newest(&self) -> Result<&MasterKey, VaultError> {
        match self.0.first() {
            None => Err(VaultError::NoKey),
            Some(Ok(key)) => Ok(key),
            Some(Err(error)) => Err(VaultError::Key(Arc::clone(error))),
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&MasterKey> {
        self.0.iter().flatten().find(|key| key.id == id)
    }

    /// Why there is no key of this name: none is configured, one cannot be read, or it is another.
    pub(super) fn lacks(&self, id: &str, path: &std::path::Path) -> VaultError {
        let unreadable = self.0.iter().find_map(|key| key.as_ref().err());
        match (self.0.is_empty(), unreadable) {
            (true, _) => VaultError::NoKey,
            (false, Some(error)) => VaultError::Key(Arc::clone(error)),
            (false, None) => VaultError::OtherKey {
                path: path.to_owned(),
                wanted: id.to_owned(),
                known: self.0.iter().flatten().map(|key| key.id.clone()).collect(),
            },
        }
    }
}
