//! Signed tokens (RFC 7515) that clients show, and the certificates that they are checked against.
//! It reads just as much of X.509 as that needs.

use aws_lc_rs::{
    digest,
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

pub(super) struct Jwt {
    pub(super) header: Value,
    pub(super) claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Jwt {
    /// Three parts, two of them JSON objects.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            let value: Value = serde_json::from_slice(&bytes).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.header[name].as_str()
    }

    pub(super) fn claim(&self, name: &str) -> Option<&str> {
        self.claims[name].as_str()
    }

    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        self.claims[name].as_i64()
    }

    /// RS256 or PS256 by this RSA key; any other algorithm is a wrong signature.
    pub(super) fn is_signed_by(&self, key: &[u8]) -> bool {
        let algorithm = match self.header("alg") {
            Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, key)
            .verify(self.signed.as_bytes(), &self.signature)
            .is_ok()
    }
}

/// What counts of a registered certificate.
pub(super) struct Registered {
    /// `x5t#S256`: base64url of SHA-256 of the DER.
    pub(super) sha256: String,
    /// `x5t`: base64url of SHA-1 of the DER.
    pub(super) sha1: String,
    /// `SubjectPublicKeyInfo` in DER.
    pub(super) public_key: Vec<u8>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

impl Registered {
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &der));
        let (certificate, _) = element(&der)?;
        let (signed, _) = element(certificate.contents)?;
        let mut rest = signed.contents;
        let mut next = || {
            let (one, after) = element(rest)?;
            rest = after;
            Some(one)
        };
        // version, where there is one; serial number; signature algorithm; issuer
        if next()?.tag == 0xa0 {
            next()?;
        }
        next()?;
        next()?;
        let validity = next()?;
        next()?; // subject
        let key = next()?;
        let (from, until) = element(validity.contents)?;
        let (until, _) = element(until)?;
        Some(Self {
            sha256: thumbprint(&digest::SHA256),
            sha1: thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            public_key: key.whole.to_vec(),
            not_before: from.time()?,
            not_after: until.time()?,
        })
    }
}

struct Element<'a> {
    tag: u8,
    contents: &'a [u8],
    whole: &'a [u8],
}

/// The first element of DER bytes, and what follows it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let tag = *bytes.first()?;
    let first = usize::from(*bytes.get(1)?);
    let (length, start) = if first < 0x80 {
        (first, 2)
    } else {
        let digits = bytes.get(2..2 + (first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, 2 + digits.len())
    };
    let contents = bytes.get(start..start + length)?;
    let (whole, rest) = bytes.split_at(start + length);
    let one = Element {
        tag,
        contents,
        whole,
    };
    Some((one, rest))
}

impl Element<'_> {
    /// UTCTime or GeneralizedTime, as RFC 5280 section 4.1.2.5 has them.
    fn time(&self) -> Option<OffsetDateTime> {
        let text = std::str::from_utf8(self.contents).ok()?;
        let (year, rest) = match self.tag {
            0x17 => {
                let year: i32 = text.get(..2)?.parse().ok()?;
                (if year < 50 { 2000 } else { 1900 } + year, text.get(2..)?)
            }
            0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
            _ => return None,
        };
        let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
        let month = Month::try_from(two(0)?).ok()?;
        let date = Date::from_calendar_date(year, month, two(2)?).ok()?;
        let time = Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?;
        Some(PrimitiveDateTime::new(date, time).assume_utc())
    }
}
