//! PKCS#12 files: their private key and all their certificates, in whatever order they are kept.

use p12_keystore::{Pkcs12Archive, error::Error};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};

use super::{CertificateError, KeyDer};

type Content = (Vec<CertificateDer<'static>>, KeyDer);

pub(super) fn open(file: &[u8], password: &SecretString) -> Result<Content, CertificateError> {
    let archive = Pkcs12Archive::from_pkcs12(file, password.expose_secret()).map_err(meaning)?;
    let key = archive.keys.first().ok_or(CertificateError::NoKey)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()));
    let certificates: Vec<_> = archive
        .certs
        .iter()
        .map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()))
        .collect();
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok((certificates, key))
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
