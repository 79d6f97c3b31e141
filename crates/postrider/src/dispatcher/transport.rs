//! The live secrets of an endpoint's transport: its headers' values, and its client certificate. A
//! value that cannot be read is told by its reference, never by what it is.

use postrider_webhook::link::{Keys, Linker};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::{Endpoint, NoHeaderValue},
    secrets::SecretList,
    tls::Stamp,
};

/// Tells whether the file of the endpoint's own authorities has changed. `None` as well where it
/// cannot be read: what was read of it serves on.
pub(super) fn authorities(endpoint: &Endpoint) -> Option<Stamp> {
    Stamp::of(endpoint.ca_file.as_deref()?).ok()
}

/// Where the transport's secrets begin among the endpoint's.
fn first(endpoint: &Endpoint) -> usize {
    links_first(endpoint) - endpoint.transport.secrets().count()
}

/// Where the keys of its links begin.
fn links_first(endpoint: &Endpoint) -> usize {
    let keys = endpoint.links.as_ref().map_or(0, |links| links.key.len());
    endpoint.secrets().len() - keys
}

/// What an endpoint is told in confidence. The path of a webhook often is its secret, as is what its
/// query says.
pub(super) fn confidential(endpoint: &Endpoint, secrets: &SecretList) -> Vec<SecretString> {
    let url = &endpoint.url;
    let asked = url.query_pairs().map(|(_, value)| value.into_owned());
    let places = [url.path().to_owned()].into_iter().chain(asked);
    let places = places.map(SecretString::from);
    secrets.live().cloned().chain(places).collect()
}

/// What makes the links of an event, where the endpoint gets any.
pub(super) fn linker(endpoint: &Endpoint, secrets: &SecretList) -> Result<Option<Linker>, String> {
    let Some(links) = &endpoint.links else {
        return Ok(None);
    };
    let first = links_first(endpoint);
    let keys = (first..first + links.key.len()).filter_map(|index| secrets.get(index));
    let keys = Keys::new(keys).map_err(|error| {
        let problems: Vec<String> = secrets.problems().collect();
        match problems.is_empty() {
            true => error.to_string(),
            false => problems.join("; "),
        }
    })?;
    Ok(Some(Linker {
        keys,
        public_url: links.public_url.clone(),
        life: links.expires,
    }))
}

/// One of the transport's secrets.
fn live(
    endpoint: &Endpoint,
    secrets: &SecretList,
    index: usize,
    what: &str,
) -> Result<SecretString, String> {
    let found = secrets.get(first(endpoint) + index).cloned();
    found.ok_or_else(|| {
        let problems: Vec<String> = secrets.problems().collect();
        format!("{what} is missing: {}", problems.join("; "))
    })
}

pub(super) fn headers(endpoint: &Endpoint, secrets: &SecretList) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (index, (name, _)) in endpoint.transport.headers.iter().enumerate() {
        let what = format!("the value of the header {name}");
        let value = live(endpoint, secrets, index, &what)?;
        let value = HeaderValue::from_str(value.expose_secret());
        let mut value = value.map_err(|_| NoHeaderValue(name.clone()).to_string())?;
        // Whoever prints the request prints `Sensitive`.
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// PEM with the certificates first, then the key.
pub(super) fn identity(
    endpoint: &Endpoint,
    secrets: &SecretList,
) -> Result<Option<SecretString>, String> {
    let Some(certificate) = &endpoint.transport.client_certificate else {
        return Ok(None);
    };
    let index = endpoint.transport.headers.len();
    let mut pem = live(endpoint, secrets, index, "the client certificate")?
        .expose_secret()
        .to_owned();
    if certificate.key.is_some() {
        let key = live(endpoint, secrets, index + 1, "the client certificate's key")?;
        pem.push('\n');
        pem.push_str(key.expose_secret());
    }
    pem.push('\n');
    Ok(Some(SecretString::from(pem)))
}
