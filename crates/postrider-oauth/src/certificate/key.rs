//! An RSA private key that can sign and nothing else.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding},
};
use rustls_pki_types::PrivateKeyDer;
use x509_parser::{
    der_parser::asn1_rs::{Any, FromDer, Integer, Sequence},
    oid_registry,
    x509::AlgorithmIdentifier,
};

use super::{Algorithm, CertificateError};

/// A private key as it came, of any kind.
pub(crate) type KeyDer = PrivateKeyDer<'static>;

pub(crate) struct RsaKey(KeyPair);

impl RsaKey {
    pub(crate) fn read(key: &KeyDer) -> Result<Self, CertificateError> {
        let pair = match key {
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                refuse_other_kinds(der)?;
                KeyPair::from_pkcs8(der)
            }
            PrivateKeyDer::Sec1(_) => return Err(CertificateError::EllipticCurve),
            _ => return Err(CertificateError::BrokenKey),
        };
        pair.map(Self)
            .map_err(|rejected| match rejected.description_() {
                "TooSmall" | "TooLarge" => CertificateError::KeySize,
                _ => CertificateError::BrokenKey,
            })
    }

    /// `RSAPublicKey` of RFC 8017, as certificates hold it.
    pub(crate) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// `None` where the cryptographic library refuses, which it does for lack of memory only.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let encoding: &'static dyn RsaEncoding = match algorithm {
            Algorithm::Ps256 => &RSA_PSS_SHA256,
            Algorithm::Rs256 => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .ok()?;
        Some(signature)
    }
}

/// `PrivateKeyInfo` of RFC 5208 names its algorithm after its version.
fn refuse_other_kinds(pkcs8: &[u8]) -> Result<(), CertificateError> {
    let broken = |_| CertificateError::BrokenKey;
    let (_, info) = Sequence::from_der(pkcs8).map_err(broken)?;
    let (rest, _version) = Integer::from_der(&info.content).map_err(broken)?;
    let (_, _) = Any::from_der(rest).map_err(broken)?;
    let (_, algorithm) =
        AlgorithmIdentifier::from_der(rest).map_err(|_| CertificateError::BrokenKey)?;
    if algorithm.algorithm == oid_registry::OID_PKCS1_RSAENCRYPTION {
        Ok(())
    } else if algorithm.algorithm == oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY {
        Err(CertificateError::EllipticCurve)
    } else {
        Err(CertificateError::NotRsa)
    }
}
