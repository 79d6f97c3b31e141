//! PEM texts (RFC 7468): certificates and a private key, in any order, with anything between them.

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::{CertificateError, KeyDer};

pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates = CertificateDer::pem_slice_iter(&without_marks(text))
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
    PrivateKeyDer::from_pem_slice(&without_marks(text)).map_err(|error| match error {
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

/// Editors of Windows put a byte order mark before the first line, which may be in the middle after
/// two files were joined.
fn without_marks(text: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(MARK) {
            rest = after;
        } else {
            clean.push(*first);
            rest = others;
        }
    }
    clean
}
