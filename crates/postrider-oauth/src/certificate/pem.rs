//! PEM texts (RFC 7468): certificates and a private key, in any order, with anything between them.

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::{CertificateError, KeyDer};

pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates = CertificateDer::pem_slice_iter(without_mark(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CertificateError::BrokenPem)?;
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok(certificates)
}

pub(super) fn key(text: &[u8]) -> Result<KeyDer, CertificateError> {
    if is_encrypted(text) {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(without_mark(text)).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoKey,
        _ => CertificateError::BrokenPem,
    })
}

/// PKCS#8 says it in its label, the older form of OpenSSL in a header.
fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text
            .lines()
            .any(|line| line.starts_with("Proc-Type: 4,ENCRYPTED"))
}

/// Editors of Windows put a byte order mark before the first line.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}
