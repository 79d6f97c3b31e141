//! What requests to an endpoint carry beside their format, and where they may go.

use std::{fmt, num::NonZeroU32};

use postrider_webhook::address;
use reqwest::header::HeaderName;

use super::SecretRef;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transport {
    /// Sent with each request, in the order of their names.
    pub headers: Vec<(HeaderName, SecretRef)>,
    pub client_certificate: Option<ClientCertificate>,
    pub addresses: address::Policy,
    /// Attempts per second.
    pub rate: Option<NonZeroU32>,
}

/// PEM: the certificate with those that it was signed by, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: SecretRef,
    /// `None`: it is in the same file.
    pub key: Option<SecretRef>,
}

impl Transport {
    /// Every secret of it: the headers' values, then the certificate, then its key.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let certificate = self
            .client_certificate
            .iter()
            .flat_map(|one| std::iter::once(&one.certificate).chain(&one.key));
        headers.chain(certificate)
    }
}

/// Headers that only postrider itself may write: of its protocol, of HTTP, and of signatures.
pub fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 14] = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "expect",
        "te",
        "trailer",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
        "idempotency-key",
        "traceparent",
    ];
    name.as_str().starts_with("webhook-") || RESERVED.contains(&name.as_str())
}

/// A header's value that cannot be one; the value itself is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoHeaderValue(pub HeaderName);

impl fmt::Display for NoHeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the value of the header {} holds characters that no header can carry; hint: it is one line of plain text",
            self.0
        )
    }
}
