//! PKCS#12 files: their private keys and all their certificates, in whatever order they are kept.

use p12_keystore::{Pkcs12Archive, error::Error};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};

use super::{CertificateError, KeyDer};

type Content = (Vec<CertificateDer<'static>>, Vec<KeyDer>);

pub(super) fn open(file: &[u8], password: &SecretString) -> Result<Content, CertificateError> {
    let archive = Pkcs12Archive::from_pkcs12(file, password.expose_secret()).map_err(meaning)?;
    let keys: Vec<KeyDer> = archive
        .keys
        .iter()
        .map(|bag| PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()).into())
        .collect();
    let certificates: Vec<_> = archive
        .certs
        .iter()
        .map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()))
        .collect();
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok((certificates, keys))
}

fn meaning(error: Error) -> CertificateError {
    match error {
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => CertificateError::Password,
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            CertificateError::Pkcs12Encryption
        }
        Error::InvalidPrivateKey => CertificateError::BrokenKey,
        Error::X509Error(_) | Error::UnsupportedCertificateType => {
            CertificateError::BrokenCertificate
        }
        Error::IoError(_)
        | Error::DerError(_)
        | Error::InvalidVersion
        | Error::UnsupportedContentType
        | Error::InvalidLength
        | Error::InvalidParameters
        | Error::InvalidData => CertificateError::NotPkcs12,
    }
}
