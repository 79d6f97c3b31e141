//! Headers, client certificate, addresses and rate of an endpoint.

use std::num::NonZeroU32;

use postrider_webhook::address::Policy;
use reqwest::header::HeaderName;

use super::{Findings, secrets::one};
use crate::config::{
    model::{ClientCertificate, SecretRef, Transport, is_reserved},
    raw,
};

pub(super) fn transport(
    path: &str,
    written: &raw::Endpoint,
    findings: &mut Findings<'_>,
) -> Transport {
    Transport {
        headers: headers(path, written, findings),
        client_certificate: client_certificate(path, written, findings),
        addresses: match written.strict_addresses {
            true => Policy::Public,
            false => Policy::Operator,
        },
        rate: written.rate.and_then(NonZeroU32::new),
    }
}

fn headers(
    path: &str,
    written: &raw::Endpoint,
    findings: &mut Findings<'_>,
) -> Vec<(HeaderName, SecretRef)> {
    let mut headers: Vec<(HeaderName, SecretRef)> = Vec::new();
    for (text, value) in &written.headers {
        let path = format!("{path}.headers.{text}");
        let value = one(&path, value, findings);
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            let what = format!("`{path}` is no name of a header");
            findings.error(&path, what, "letters, digits and - (RFC 9110 section 5.1)");
            continue;
        };
        if is_reserved(&name) {
            let what = format!("`{path}`: postrider alone writes this header");
            findings.error(&path, what, "remove it");
        } else if headers.iter().any(|(known, _)| *known == name) {
            let what = format!("`{path}` is there twice: case does not count");
            findings.error(&path, what, "remove one of them");
        } else if let Some(value) = value {
            headers.push((name, value));
        }
    }
    headers
}

fn client_certificate(
    path: &str,
    written: &raw::Endpoint,
    findings: &mut Findings<'_>,
) -> Option<ClientCertificate> {
    let written_certificate = written.client_certificate.as_ref()?;
    let path = format!("{path}.client_certificate");
    let key = written_certificate.key.as_ref();
    let key = key.and_then(|key| one(&format!("{path}.key"), key, findings));
    let Some(file) = &written_certificate.file else {
        findings.missing(
            &format!("{path}.file"),
            "write the file of the certificate (PEM)",
        );
        return None;
    };
    let file = findings.path(file);
    if let Err(error) = std::fs::metadata(&file) {
        let what = format!("`{path}.file`: {}: {error}", file.display());
        findings.warn(&format!("{path}.file"), what, "");
    }
    if key.is_none() && written_certificate.key.is_none() {
        super::secrets::look_at_mode(&format!("{path}.file"), &file, findings);
    }
    if written
        .url
        .as_ref()
        .is_some_and(|url| url.starts_with("http://"))
    {
        let what = format!("`{path}` has no effect on http");
        findings.warn(&path, what, "write https:// in `url`");
    }
    Some(ClientCertificate {
        certificate: SecretRef::File(file),
        key,
    })
}
