//! Why a request was not answered: which kind of failure it is, and in words for an operator that
//! carry no URL and nothing unescaped.

use postrider_core::delivery::Failure;

use crate::{address, answer};

/// What kind of failure it is, and in words that carry no URL.
pub(crate) fn classify(error: reqwest::Error) -> (Failure, String) {
    let error = error.without_url();
    let mut refused = None;
    let mut not_resolved = false;
    let mut tls = None;
    let mut unsent = false;
    walk(&error, &mut |cause| {
        refused = refused.take().or_else(|| {
            cause
                .downcast_ref::<address::AddressRefused>()
                .map(ToString::to_string)
        });
        not_resolved |= cause.is::<address::NotResolved>();
        tls = tls.or_else(|| cause.downcast_ref().map(tls_hint));
        unsent |= cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled);
    });
    if let Some(refused) = refused {
        return (Failure::AddressRefused, refused);
    }
    let (failure, words) = if error.is_builder() {
        (Failure::Unsendable, "the request cannot be built")
    } else if not_resolved || error.is_dns() {
        (Failure::Dns, "the name cannot be resolved")
    } else if tls.is_some() {
        (Failure::Tls, "TLS failed")
    } else if error.is_connect() {
        (
            Failure::Connect,
            if error.is_timeout() {
                "no connection in time"
            } else {
                "no connection"
            },
        )
    } else if error.is_timeout() {
        (Failure::Timeout, "no answer in time")
    } else if unsent {
        (
            Failure::ResetBefore,
            "the connection ended before the request was sent",
        )
    } else {
        (
            Failure::ResetAfter,
            "the connection ended after the request was sent, it may have been taken",
        )
    };
    let cause = answer::excerpt(root(&error).as_bytes(), &[]);
    let hint = tls.unwrap_or_default();
    (failure, format!("{words}: {cause}{hint}"))
}

/// What an operator can do about it, where that is known.
fn tls_hint(error: &rustls::Error) -> &'static str {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    match error {
        // A signature that does not fit is that of another authority of the same name.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            ", no authority that is trusted here has signed its certificate; hint: a private one stands in `ca_file`"
        }
        Error::AlertReceived(Alert::CertificateRequired) => {
            ", the receiver asks for a certificate; hint: set `client_certificate`"
        }
        Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::DecryptError,
        ) => ", the receiver does not take our certificate; hint: look at `client_certificate`",
        _ => "",
    }
}

/// Visits an error and everything behind it, also what an IO error wraps.
fn walk(
    error: &(dyn std::error::Error + 'static),
    visit: &mut impl FnMut(&(dyn std::error::Error + 'static)),
) {
    visit(error);
    if let Some(wrapped) = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        walk(wrapped, visit);
    } else if let Some(source) = error.source() {
        walk(source, visit);
    }
}

/// The innermost cause.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    walk(error, &mut |cause| text = cause.to_string());
    text
}

/// All causes, the outermost first.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    walk(error, &mut |cause| {
        let text = cause.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
    });
    parts.join(": ")
}
