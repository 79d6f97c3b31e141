//! One record's bytes: a key of its own encrypts it (AES-256-GCM, random 96-bit nonces), and the
//! master key encrypts that key. Both are bound to the credential's name and the record's version,
//! so that a file under another name, or of another form, does not open. No IO.

use std::path::Path;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_core::{ids::CredentialKey, time::Wall};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Stored, VaultError,
    master::{KEY_BYTES, Keys, MasterKey},
};

const VERSION: u32 = 1;

/// The file: JSON on one line.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    credential: String,
    /// Which master key opens it.
    master_key: String,
    /// Base64 of nonce, ciphertext and tag.
    wrapped_key: String,
    sealed: String,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

/// What is sealed. Times are milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
struct Plain {
    current: Zeroizing<String>,
    previous: Option<Zeroizing<String>>,
    account: Option<String>,
    signed_in_at: i64,
    obtained_at: i64,
}

#[derive(Clone, Copy)]
enum Layer {
    Key,
    Record,
}

type DataKey = Zeroizing<[u8; KEY_BYTES]>;

pub(super) fn seal(
    stored: &Stored,
    credential: &CredentialKey,
    master: &MasterKey,
) -> Result<Vec<u8>, VaultError> {
    let mut data_key = DataKey::default();
    rand::fill(data_key.as_mut_slice()).map_err(|_| VaultError::Crypto)?;
    let own = |secret: &SecretString| Zeroizing::new(secret.expose_secret().to_owned());
    let plain = Plain {
        current: own(&stored.current),
        previous: stored.previous.as_ref().map(own),
        account: stored.account.clone(),
        signed_in_at: stored.signed_in_at.0,
        obtained_at: stored.obtained_at.0,
    };
    // Serialising such a struct into memory cannot fail.
    let plain = Zeroizing::new(serde_json::to_vec(&plain).map_err(|_| VaultError::Crypto)?);
    let envelope = Envelope {
        version: VERSION,
        credential: credential.to_string(),
        master_key: master.id.clone(),
        wrapped_key: lock(&master.bytes, Layer::Key, credential, data_key.as_slice())?,
        sealed: lock(&data_key, Layer::Record, credential, &plain)?,
    };
    written(&envelope)
}

pub(super) fn open(
    bytes: &[u8],
    path: &Path,
    credential: &CredentialKey,
    keys: &Keys,
) -> Result<Stored, VaultError> {
    let envelope = read(bytes, path, credential)?;
    let data_key = unwrap_key(&envelope, path, credential, keys)?;
    unseal(&envelope, path, credential, &data_key)
}

/// The same record under the newest master key; `None` where that is what locks it already.
pub(super) fn rewrap(
    bytes: &[u8],
    path: &Path,
    credential: &CredentialKey,
    keys: &Keys,
) -> Result<Option<Vec<u8>>, VaultError> {
    let envelope = read(bytes, path, credential)?;
    let data_key = unwrap_key(&envelope, path, credential, keys)?;
    // What does not open must not be made to look as if it were in order.
    unseal(&envelope, path, credential, &data_key)?;
    let newest = keys.newest()?;
    if newest.id == envelope.master_key {
        return Ok(None);
    }
    let wrapped_key = lock(&newest.bytes, Layer::Key, credential, data_key.as_slice())?;
    written(&Envelope {
        master_key: newest.id.clone(),
        wrapped_key,
        ..envelope
    })
    .map(Some)
}

fn written(envelope: &Envelope) -> Result<Vec<u8>, VaultError> {
    let mut bytes = serde_json::to_vec(envelope).map_err(|_| VaultError::Crypto)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read(bytes: &[u8], path: &Path, credential: &CredentialKey) -> Result<Envelope, VaultError> {
    let damaged = |what| VaultError::Damaged {
        path: path.to_owned(),
        what,
    };
    let AnyVersion { version } =
        serde_json::from_slice(bytes).map_err(|_| damaged("it is cut off, or no vault record"))?;
    match version {
        VERSION => {}
        0 => return Err(damaged("it has no version")),
        version => {
            return Err(VaultError::TooNew {
                path: path.to_owned(),
                version,
            });
        }
    }
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|_| damaged("a part of it is missing"))?;
    match envelope.credential == credential.as_str() {
        true => Ok(envelope),
        false => Err(damaged("it is another credential's record")),
    }
}

fn unwrap_key(
    envelope: &Envelope,
    path: &Path,
    credential: &CredentialKey,
    keys: &Keys,
) -> Result<DataKey, VaultError> {
    let damaged = || VaultError::Damaged {
        path: path.to_owned(),
        what: "its own key does not open",
    };
    let master = keys
        .find(&envelope.master_key)
        .ok_or_else(|| keys.lacks(&envelope.master_key, path))?;
    let opened =
        unlock(&master.bytes, Layer::Key, credential, &envelope.wrapped_key).ok_or_else(damaged)?;
    let bytes = opened.as_slice().try_into().map_err(|_| damaged())?;
    Ok(Zeroizing::new(bytes))
}

fn unseal(
    envelope: &Envelope,
    path: &Path,
    credential: &CredentialKey,
    data_key: &DataKey,
) -> Result<Stored, VaultError> {
    let damaged = |what| VaultError::Damaged {
        path: path.to_owned(),
        what,
    };
    let plain = unlock(data_key, Layer::Record, credential, &envelope.sealed)
        .ok_or_else(|| damaged("it was changed"))?;
    let plain: Plain =
        serde_json::from_slice(&plain).map_err(|_| damaged("what is in it makes no sense"))?;
    let secret = |text: &Zeroizing<String>| SecretString::from(text.as_str());
    Ok(Stored {
        current: secret(&plain.current),
        previous: plain.previous.as_ref().map(secret),
        account: plain.account,
        signed_in_at: Wall(plain.signed_in_at),
        obtained_at: Wall(plain.obtained_at),
    })
}

/// The name comes last, so that no two (version, layer, name) give the same bytes.
fn bound_to(layer: Layer, credential: &CredentialKey) -> Aad<String> {
    let layer = match layer {
        Layer::Key => "key",
        Layer::Record => "record",
    };
    Aad::from(format!("postrider vault {VERSION} {layer} {credential}"))
}

fn lock(
    key: &[u8; KEY_BYTES],
    layer: Layer,
    credential: &CredentialKey,
    plain: &[u8],
) -> Result<String, VaultError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Crypto)?;
    let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    sealed.extend_from_slice(plain);
    let nonce = key
        .seal_in_place_append_tag(bound_to(layer, credential), &mut *sealed)
        .map_err(|_| VaultError::Crypto)?;
    let mut bytes = nonce.as_ref().to_vec();
    bytes.extend_from_slice(&sealed);
    Ok(STANDARD.encode(bytes))
}

fn unlock(
    key: &[u8; KEY_BYTES],
    layer: Layer,
    credential: &CredentialKey,
    text: &str,
) -> Option<Zeroizing<Vec<u8>>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let bytes = STANDARD.decode(text).ok()?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let length = key
        .open_in_place(nonce, bound_to(layer, credential), &mut opened)
        .ok()?
        .len();
    opened.truncate(length);
    Some(opened)
}
