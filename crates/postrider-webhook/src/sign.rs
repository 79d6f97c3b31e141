//! Signatures as Standard Webhooks 1.0.0 has them, with every live secret of an endpoint: HMAC-SHA256
//! (`v1`) with a shared secret, Ed25519 (`v1a`) with a secret key of which the receiver only has the
//! public half.
//!
//! Secrets are never printed and never leave this module.

use std::{fmt, io, sync::Arc};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use futures_util::StreamExt as _;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::body::Body;

/// Secrets in this form are base64 of the key; others are the key themselves.
const PREFIX: &str = "whsec_";
/// Base64 of an Ed25519 secret key: its seed of 32 bytes, or seed and public key (64 bytes).
const PREFIX_ED25519: &str = "whsk_";
/// Base64 of an Ed25519 public key.
const PREFIX_PUBLIC: &str = "whpk_";
const SEED_BYTES: usize = 32;

/// Ed25519 reads a message twice (RFC 8032 section 5.1.6), and the library takes it whole. Bodies
/// above this size are in memory for it one at a time in the whole process.
const WHOLE_BYTES_FREE: u64 = 1024 * 1024;
/// Larger bodies can only be signed with a shared secret, which needs no more than a piece at a time.
const WHOLE_BYTES_MAX: u64 = 256 * 1024 * 1024;
static LARGE: Semaphore = Semaphore::const_new(1);

/// Why a list of secrets cannot sign. `number` counts from 1, as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("there is no secret to sign with")]
    None,
    #[error("secret {number} is empty")]
    Empty { number: usize },
    #[error(
        "secret {number} begins with whsec_, but what follows is not base64. hint: take it over whole, without line ends"
    )]
    NotBase64 { number: usize },
    #[error(
        "secret {number} begins with whsk_, but what follows is no Ed25519 secret key. hint: it is base64 of 32 bytes (the seed), or of 64 (seed and public key)"
    )]
    NotEd25519 { number: usize },
    #[error(
        "secret {number} is a public key (whpk_), with which nobody can sign. hint: give the secret key (whsk_) to postrider and this one to the receiver"
    )]
    PublicKey { number: usize },
}

/// Signs with all secrets of an endpoint.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<Key>,
}

#[derive(Clone)]
enum Key {
    /// Keyed once; a clone signs one message.
    Shared(Hmac<Sha256>),
    Asymmetric(Arc<Ed25519KeyPair>),
}

/// A signature on its way.
enum Signing {
    Shared(Hmac<Sha256>),
    Asymmetric(Arc<Ed25519KeyPair>),
}

impl Signer {
    /// `secrets`: newest first; each yields one signature, so that a receiver that knows any of
    /// them accepts the message.
    pub fn new(secrets: &[SecretString]) -> Result<Self, SignError> {
        if secrets.is_empty() {
            return Err(SignError::None);
        }
        let keys = secrets
            .iter()
            .enumerate()
            .map(|(index, secret)| key(secret.expose_secret(), index + 1))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The public keys (`whpk_…`) of the secret keys among the secrets, in their order.
    pub fn public_keys(&self) -> Vec<String> {
        let keys = self.keys.iter().filter_map(|key| match key {
            Key::Shared(_) => None,
            Key::Asymmetric(pair) => Some(pair),
        });
        keys.map(|pair| {
            format!(
                "{PREFIX_PUBLIC}{}",
                STANDARD.encode(pair.public_key().as_ref())
            )
        })
        .collect()
    }

    /// The value of `webhook-signature`: `v1,<base64>` or `v1a,<base64>` for each secret, separated
    /// by spaces, over `{id}.{timestamp}.{body}`. `timestamp` is Unix seconds of the attempt.
    pub fn header(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut signings = self.begin(id, timestamp);
        for signing in &mut signings {
            signing.update(body);
        }
        let whole = self
            .is_asymmetric()
            .then(|| [prefix(id, timestamp).as_bytes(), body].concat());
        finish(signings, whole.as_deref().unwrap_or_default())
    }

    /// The same over a body that is read for it.
    pub async fn header_of(&self, id: &str, timestamp: i64, body: &Body) -> io::Result<String> {
        let mut signings = self.begin(id, timestamp);
        let mut whole = Vec::new();
        let mut _turn = None;
        if self.is_asymmetric() {
            let len = body.len();
            if len > WHOLE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "it is larger than 256 MiB, too large for Ed25519; hint: sign for this endpoint with a whsec_ secret",
                ));
            }
            if len > WHOLE_BYTES_FREE {
                // The semaphore is never closed.
                _turn = LARGE.acquire().await.ok();
            }
            whole.extend_from_slice(prefix(id, timestamp).as_bytes());
            whole.reserve_exact(usize::try_from(len).unwrap_or(0));
        }
        let mut chunks = std::pin::pin!(body.chunks());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            for signing in &mut signings {
                signing.update(&chunk);
            }
            if self.is_asymmetric() {
                whole.extend_from_slice(&chunk);
            }
        }
        Ok(finish(signings, &whole))
    }

    fn is_asymmetric(&self) -> bool {
        self.keys
            .iter()
            .any(|key| matches!(key, Key::Asymmetric(_)))
    }

    fn begin(&self, id: &str, timestamp: i64) -> Vec<Signing> {
        let prefix = prefix(id, timestamp);
        let begun = self.keys.iter().map(|key| match key {
            Key::Shared(mac) => {
                let mut mac = mac.clone();
                mac.update(prefix.as_bytes());
                Signing::Shared(mac)
            }
            Key::Asymmetric(pair) => Signing::Asymmetric(Arc::clone(pair)),
        });
        begun.collect()
    }
}

impl Signing {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Shared(mac) => mac.update(bytes),
            // It wants all of it at once.
            Self::Asymmetric(_) => {}
        }
    }
}

fn prefix(id: &str, timestamp: i64) -> String {
    format!("{id}.{timestamp}.")
}

/// `whole`: all that is signed, where an asymmetric key is among them.
fn finish(signings: Vec<Signing>, whole: &[u8]) -> String {
    let mut header = String::with_capacity(signings.len() * 96);
    for signing in signings {
        if !header.is_empty() {
            header.push(' ');
        }
        match signing {
            Signing::Shared(mac) => {
                header.push_str("v1,");
                STANDARD.encode_string(mac.finalize().into_bytes(), &mut header);
            }
            Signing::Asymmetric(pair) => {
                header.push_str("v1a,");
                STANDARD.encode_string(pair.sign(whole), &mut header);
            }
        }
    }
    header
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.keys.len())
    }
}

fn key(secret: &str, number: usize) -> Result<Key, SignError> {
    let secret = secret.trim();
    if secret.starts_with(PREFIX_PUBLIC) {
        return Err(SignError::PublicKey { number });
    }
    if let Some(encoded) = secret.strip_prefix(PREFIX_ED25519) {
        return ed25519(encoded).ok_or(SignError::NotEd25519 { number });
    }
    let decoded = Zeroizing::new(match secret.strip_prefix(PREFIX) {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| SignError::NotBase64 { number })?,
        None => secret.as_bytes().to_vec(),
    });
    if decoded.is_empty() {
        return Err(SignError::Empty { number });
    }
    // HMAC takes keys of any length (RFC 2104 section 2).
    let mac = Hmac::new_from_slice(&decoded).map_err(|_| SignError::Empty { number })?;
    Ok(Key::Shared(mac))
}

/// A public key that does not belong to the seed is refused: signatures with it give the key away.
fn ed25519(encoded: &str) -> Option<Key> {
    let decoded = STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    let decoded = Zeroizing::new(decoded);
    let (seed, public) = decoded.split_at_checked(SEED_BYTES)?;
    let pair = match public {
        [] => Ed25519KeyPair::from_seed_unchecked(seed),
        public => Ed25519KeyPair::from_seed_and_public_key(seed, public),
    };
    pair.ok().map(|pair| Key::Asymmetric(Arc::new(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &[&str]) -> Result<Signer, SignError> {
        let secrets: Vec<SecretString> = secrets
            .iter()
            .map(|secret| SecretString::from(*secret))
            .collect();
        Signer::new(&secrets)
    }

    const ID: &str = "5b6f0f4e-0000-5000-8000-000000000001";
    const BODY: &str = r#"{"type":"ping"}"#;

    #[test]
    fn signatures_equal_those_of_the_standardwebhooks_crate() {
        let encoded = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let theirs = standardwebhooks::Webhook::new(encoded).unwrap();
        assert_eq!(
            signer(&[encoded])
                .unwrap()
                .header(ID, 1_790_000_000, BODY.as_bytes()),
            theirs.sign(ID, 1_790_000_000, BODY.as_bytes()).unwrap()
        );
        let raw =
            "a raw secret, longer than sixty-four bytes so that it is hashed before it is used";
        let theirs = standardwebhooks::Webhook::from_bytes(raw.as_bytes().to_vec()).unwrap();
        assert_eq!(
            signer(&[raw]).unwrap().header(ID, 1, BODY.as_bytes()),
            theirs.sign(ID, 1, BODY.as_bytes()).unwrap()
        );
    }

    #[test]
    fn every_live_secret_signs_newest_first() {
        let header = signer(&["new", "old"]).unwrap().header(ID, 1, b"x");
        let alone = |secret| signer(&[secret]).unwrap().header(ID, 1, b"x");
        assert_eq!(header, format!("{} {}", alone("new"), alone("old")));
    }

    #[test]
    fn a_secret_that_cannot_sign_is_named_by_its_place_and_never_printed() {
        assert_eq!(signer(&[]).unwrap_err(), SignError::None);
        assert_eq!(
            signer(&["good", " \n"]).unwrap_err(),
            SignError::Empty { number: 2 }
        );
        assert_eq!(
            signer(&["whsec_"]).unwrap_err(),
            SignError::Empty { number: 1 }
        );
        let error = signer(&["whsec_h!dden"]).unwrap_err();
        assert_eq!(error, SignError::NotBase64 { number: 1 });
        assert!(!error.to_string().contains("h!dden"));
        assert_eq!(
            format!("{:?}", signer(&["hidden"]).unwrap()),
            "Signer(1 secrets)"
        );
    }

    #[test]
    fn the_line_end_of_a_secret_file_is_no_part_of_the_secret() {
        let header = |secret| signer(&[secret]).unwrap().header(ID, 1, b"x");
        assert_eq!(
            header("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"),
            header("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        );
    }

    /// RFC 8032 section 7.1, TEST 1.
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[tokio::test]
    async fn an_ed25519_key_signs_so_that_its_public_key_verifies() {
        use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
        let signer = signer(&[&format!("whsk_{SEED}")]).unwrap();
        assert_eq!(signer.public_keys(), [format!("whpk_{PUBLIC}")]);
        let body = br#"{"a":1}"#;
        let header = signer.header("id", 17, body);
        let signature = STANDARD
            .decode(header.strip_prefix("v1a,").unwrap())
            .unwrap();
        let public = UnparsedPublicKey::new(&ED25519, STANDARD.decode(PUBLIC).unwrap());
        let signed = [b"id.17.".as_slice(), body].concat();
        public.verify(&signed, &signature).unwrap();
        let streamed = Body::from(bytes::Bytes::from_static(body));
        assert_eq!(
            signer.header_of("id", 17, &streamed).await.unwrap(),
            header,
            "a body that is read gets the same signature"
        );
    }

    #[test]
    fn both_kinds_sign_side_by_side_in_the_order_of_the_secrets() {
        let both = signer(&[
            &format!("whsk_{SEED}"),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ]);
        let header = both.unwrap().header(ID, 1, b"x");
        let (first, second) = header.split_once(' ').unwrap();
        assert!(first.starts_with("v1a,") && second.starts_with("v1,"));
    }

    #[test]
    fn a_secret_key_with_its_public_half_is_taken_and_with_another_one_it_is_not() {
        let decode = |text: &str| STANDARD.decode(text).unwrap();
        let both = |public: Vec<u8>| {
            let bytes = [decode(SEED), public].concat();
            signer(&[&format!("whsk_{}", STANDARD.encode(bytes))])
        };
        assert_eq!(
            both(decode(PUBLIC)).unwrap().public_keys(),
            [format!("whpk_{PUBLIC}")]
        );
        let wrong = both(vec![7; 32]).unwrap_err();
        assert_eq!(wrong, SignError::NotEd25519 { number: 1 });
        for secret in ["whsk_", "whsk_h!dden", "whsk_AAAA"] {
            let error = signer(&[secret]).unwrap_err();
            assert_eq!(error, SignError::NotEd25519 { number: 1 }, "{secret}");
            assert!(!error.to_string().contains("h!dden"));
        }
        let public = signer(&[&format!("whpk_{PUBLIC}")]).unwrap_err();
        assert_eq!(public, SignError::PublicKey { number: 1 });
    }
}
