//! Signatures as Standard Webhooks 1.0.0 has them, with every live secret of an endpoint.
//!
//! Secrets are never printed and never leave this module.

use std::{fmt, io};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::body::Body;

/// Secrets in this form are base64 of the key; others are the key themselves.
const PREFIX: &str = "whsec_";

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
}

/// Signs with all secrets of an endpoint.
#[derive(Clone)]
pub struct Signer {
    /// Keyed once; a clone signs one message.
    keys: Vec<Hmac<Sha256>>,
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

    /// The value of `webhook-signature`: `v1,<base64>` for each secret, separated by spaces, over
    /// `{id}.{timestamp}.{body}`. `timestamp` is Unix seconds of the attempt.
    pub fn header(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut macs = self.begin(id, timestamp);
        for mac in &mut macs {
            mac.update(body);
        }
        finish(macs)
    }

    /// The same over a body that is read for it.
    pub async fn header_of(&self, id: &str, timestamp: i64, body: &Body) -> io::Result<String> {
        let mut macs = self.begin(id, timestamp);
        let mut chunks = std::pin::pin!(body.chunks());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            for mac in &mut macs {
                mac.update(&chunk);
            }
        }
        Ok(finish(macs))
    }

    fn begin(&self, id: &str, timestamp: i64) -> Vec<Hmac<Sha256>> {
        let timestamp = timestamp.to_string();
        let mut macs = self.keys.clone();
        for mac in &mut macs {
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b"."] {
                mac.update(part);
            }
        }
        macs
    }
}

fn finish(macs: Vec<Hmac<Sha256>>) -> String {
    let mut header = String::with_capacity(macs.len() * 48);
    for mac in macs {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut header);
    }
    header
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.keys.len())
    }
}

fn key(secret: &str, number: usize) -> Result<Hmac<Sha256>, SignError> {
    let secret = secret.trim();
    let decoded = match secret.strip_prefix(PREFIX) {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| SignError::NotBase64 { number })?,
        None => secret.as_bytes().to_vec(),
    };
    if decoded.is_empty() {
        return Err(SignError::Empty { number });
    }
    // HMAC takes keys of any length (RFC 2104 section 2).
    Hmac::new_from_slice(&decoded).map_err(|_| SignError::Empty { number })
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
}
