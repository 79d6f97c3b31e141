//! A client certificate and its private key: read, fitted to each other, used to sign. The key is
//! never printed and never leaves.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_core::time::Wall;
use rustls_pki_types::CertificateDer;
use secrecy::SecretString;
use x509_parser::{oid_registry, prelude::X509Certificate};

mod key;
mod pem;
mod pkcs12;

pub(crate) use key::{KeyDer, RsaKey};

/// How an assertion is signed (RFC 7518 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-256: what Entra documents.
    #[default]
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The name in a JWT and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }
}

/// Why a file is no certificate to sign in with. Names no content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error(
        "the file holds no certificate; hint: PEM has a block -----BEGIN CERTIFICATE-----, anything else is read as PKCS#12 only when password is set"
    )]
    NoCertificate,
    #[error(
        "there is no private key beside the certificate; hint: put it into the same file, or name it with key"
    )]
    NoKey,
    #[error(
        "the private key is encrypted; hint: decrypt it with `openssl pkey -in KEY`, or give a PKCS#12 file with its password"
    )]
    EncryptedKey,
    #[error("the PEM text is broken; hint: the file may be cut off or half written")]
    BrokenPem,
    #[error("the certificate cannot be read; hint: it must be X.509 in PEM or PKCS#12")]
    BrokenCertificate,
    #[error("the private key cannot be read; hint: it must be RSA, in PKCS#8 or PKCS#1")]
    BrokenKey,
    #[error(
        "the key is an elliptic curve key, and the assertion needs RSA; hint: make a certificate with an RSA key of 2048 bits or more"
    )]
    EllipticCurve,
    #[error("the key is not RSA; hint: make a certificate with an RSA key of 2048 bits or more")]
    NotRsa,
    #[error("the RSA key is too short or too long; hint: use 2048 to 8192 bits")]
    KeySize,
    #[error(
        "the private key does not belong to the certificate; hint: check that both files come from the same request"
    )]
    Mismatch,
    #[error("the PKCS#12 file cannot be opened; hint: the password is wrong")]
    Password,
    #[error("the file is no PKCS#12 file; hint: it may be cut off, half written or PEM")]
    NotPkcs12,
    #[error(
        "the PKCS#12 file is encrypted in a way that is not read; hint: write it again with `openssl pkcs12 -export`, which uses AES"
    )]
    Pkcs12Encryption,
}

pub struct Certificate {
    key: RsaKey,
    thumbprint_sha256: [u8; 32],
    thumbprint_sha1: [u8; 20],
    not_before: Wall,
    not_after: Wall,
    subject: String,
}

impl Certificate {
    /// PEM texts, which may be the same one. Of several certificates (a chain) the one counts that
    /// the key belongs to.
    pub fn from_pem(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, CertificateError> {
        let certificates = pem::certificates(certificate_pem)?;
        let key = pem::key(key_pem)?;
        Self::fit(&certificates, &key)
    }

    /// A PKCS#12 file (RFC 7292), AES or the older RC2 and 3DES.
    pub fn from_pkcs12(file: &[u8], password: &SecretString) -> Result<Self, CertificateError> {
        let (certificates, keys) = pkcs12::open(file, password)?;
        let mut problem = CertificateError::NoKey;
        for key in &keys {
            match Self::fit(&certificates, key) {
                Ok(fitting) => return Ok(fitting),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// When it ends. The provider refuses it from then on.
    pub fn not_after(&self) -> Wall {
        self.not_after
    }

    pub fn not_before(&self) -> Wall {
        self.not_before
    }

    /// `x5t#S256` (RFC 7515 section 4.1.8): base64url of the SHA-256 of the DER certificate.
    pub fn thumbprint_sha256(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.thumbprint_sha256)
    }

    /// `x5t` (RFC 7515 section 4.1.7).
    pub(crate) fn thumbprint_sha1(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.thumbprint_sha1)
    }

    /// What Entra's portal shows as Thumbprint: the SHA-1 of the DER certificate in upper case hex.
    pub fn portal_thumbprint(&self) -> String {
        self.thumbprint_sha1
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub(crate) fn key(&self) -> &RsaKey {
        &self.key
    }

    fn fit(certificates: &[CertificateDer<'_>], key: &KeyDer) -> Result<Self, CertificateError> {
        let key = RsaKey::read(key)?;
        let mut problem = CertificateError::EllipticCurve;
        for der in certificates {
            let (_, parsed) = x509_parser::parse_x509_certificate(der)
                .map_err(|_| CertificateError::BrokenCertificate)?;
            let public = parsed.public_key();
            if public.subject_public_key.data.as_ref() == key.public() {
                return Ok(Self::new(der, &parsed, key));
            }
            if public.algorithm.algorithm != oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY {
                problem = CertificateError::Mismatch;
            }
        }
        Err(problem)
    }

    fn new(der: &CertificateDer<'_>, parsed: &X509Certificate<'_>, key: RsaKey) -> Self {
        let validity = parsed.validity();
        Self {
            key,
            thumbprint_sha256: hash(&digest::SHA256, der),
            thumbprint_sha1: hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, der),
            not_before: Wall::from_seconds(validity.not_before.timestamp()),
            not_after: Wall::from_seconds(validity.not_after.timestamp()),
            subject: crate::error::one_line(&parsed.subject().to_string()),
        }
    }
}

/// A private key alone.
pub(crate) fn key_from_pem(text: &[u8]) -> Result<RsaKey, CertificateError> {
    RsaKey::read(&pem::key(text)?)
}

fn hash<const N: usize>(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> [u8; N] {
    let mut hash = [0; N];
    // Zip instead of an indexed copy: lengths agree for the two algorithms used above.
    for (to, from) in hash
        .iter_mut()
        .zip(digest::digest(algorithm, bytes).as_ref())
    {
        *to = *from;
    }
    hash
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject)
            .field("not_after", &self.not_after)
            .field("thumbprint", &self.portal_thumbprint())
            .finish_non_exhaustive()
    }
}
