//! The receiver's side of the signature, for trying things out: what a receiver has to check, as
//! Standard Webhooks 1.0.0 has it.

use std::time::Duration;

use secrecy::SecretString;

use crate::sign::{SignError, Signer};

/// How far the time of an attempt may be off.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The three headers, as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signed<'a> {
    pub id: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    pub signature: Option<&'a str>,
}

/// Why a request is not from whom it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("webhook-timestamp is no number of seconds")]
    Timestamp,
    #[error("webhook-timestamp is {0} s off, more than 5 minutes")]
    Off(i64),
    #[error("no signature fits the body and any of the secrets")]
    Signature,
}

#[derive(Clone, Debug)]
pub struct Verifier {
    signer: Signer,
}

impl Verifier {
    /// Any of the secrets may have signed.
    pub fn new(secrets: &[SecretString]) -> Result<Self, SignError> {
        Signer::new(secrets).map(|signer| Self { signer })
    }

    /// `now` in Unix seconds.
    pub fn verify(&self, signed: &Signed<'_>, body: &[u8], now: i64) -> Result<(), VerifyError> {
        let id = signed.id.ok_or(VerifyError::Missing("webhook-id"))?;
        let timestamp = signed
            .timestamp
            .ok_or(VerifyError::Missing("webhook-timestamp"))?;
        let given = signed
            .signature
            .ok_or(VerifyError::Missing("webhook-signature"))?;
        let timestamp: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
        let off = now.saturating_sub(timestamp);
        if off.unsigned_abs() > TOLERANCE.as_secs() {
            return Err(VerifyError::Off(off));
        }
        let expected = self.signer.header(id, timestamp, body);
        let fits = given
            .split(' ')
            .any(|one| expected.split(' ').any(|right| same(one, right)));
        fits.then_some(()).ok_or(VerifyError::Signature)
    }
}

/// In a time that does not tell how much of it is right.
fn same(one: &str, other: &str) -> bool {
    let differences = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |found, (a, b)| found | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5b6f0f4e-0000-5000-8000-000000000001";
    const NOW: i64 = 1_790_000_000;

    fn secrets(list: &[&str]) -> Vec<SecretString> {
        list.iter().map(|text| SecretString::from(*text)).collect()
    }

    #[test]
    fn what_is_signed_with_a_known_secret_now_is_accepted_and_nothing_else() {
        let seed = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let verifier = Verifier::new(&secrets(&["new", "old", seed])).unwrap();
        let check = |secret: &str, at: i64, body: &[u8]| {
            let signature = Signer::new(&secrets(&[secret]))
                .unwrap()
                .header(ID, at, b"body");
            let signed = Signed {
                id: Some(ID),
                timestamp: Some(&at.to_string()),
                signature: Some(&format!("v1,AAAA {signature}")),
            };
            verifier.verify(&signed, body, NOW)
        };
        for secret in ["new", "old", seed] {
            assert_eq!(check(secret, NOW - 299, b"body"), Ok(()));
            assert_eq!(check(secret, NOW, b"b0dy"), Err(VerifyError::Signature));
        }
        assert_eq!(check("other", NOW, b"body"), Err(VerifyError::Signature));
        assert_eq!(check("new", NOW - 301, b"body"), Err(VerifyError::Off(301)));
        assert_eq!(
            check("new", NOW + 400, b"body"),
            Err(VerifyError::Off(-400))
        );
        let none = verifier.verify(&Signed::default(), b"", NOW);
        assert_eq!(none, Err(VerifyError::Missing("webhook-id")));
        let odd = Signed {
            id: Some(ID),
            timestamp: Some("soon"),
            signature: Some(""),
        };
        assert_eq!(verifier.verify(&odd, b"", NOW), Err(VerifyError::Timestamp));
    }
}
