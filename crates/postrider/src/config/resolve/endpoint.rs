//! Endpoints: a URL that is safe to post to, known types, secrets.

use std::{collections::BTreeMap, sync::Arc};

use postrider_core::{delivery::order::Order, event::EventType, ids::EndpointKey};

use super::{Findings, secrets::references};
use crate::config::{
    model::{Endpoint, Proxy},
    problem::nearest,
    raw,
};

pub(super) fn endpoints(
    raw: &raw::Root,
    proxy: &Proxy,
    findings: &mut Findings<'_>,
) -> BTreeMap<EndpointKey, Arc<Endpoint>> {
    let mut endpoints = BTreeMap::new();
    for (name, written) in &raw.endpoints {
        let path = format!("endpoints.{name}");
        findings.check_key(&path, name);
        let url = url(&path, written, findings);
        let secret = references(&format!("{path}.secret"), written.secret.as_ref(), findings);
        let types = types(&path, &written.types, findings);
        let ca_file = findings.ca_file(&format!("{path}.ca_file"), written.ca_file.as_ref());
        let proxy = findings.proxy(&format!("{path}.proxy"), written.proxy.as_ref(), proxy);
        let key = EndpointKey::new(name.as_str());
        if let Some(url) = url {
            let endpoint = Endpoint {
                key: key.clone(),
                url,
                secret,
                types,
                max_in_flight: written.max_in_flight,
                timeout: written.timeout.0,
                give_up_after: written.give_up_after.0,
                order: match written.order {
                    raw::Order::None => Order::None,
                    raw::Order::Mailbox => Order::Mailbox,
                    raw::Order::Thread => Order::Thread,
                },
                order_block_max: written.order_block_max.0,
                allow_plaintext: written.allow_plaintext,
                ca_file,
                proxy,
            };
            endpoints.insert(key, Arc::new(endpoint));
        }
    }
    endpoints
}

fn url(path: &str, written: &raw::Endpoint, findings: &mut Findings<'_>) -> Option<url::Url> {
    let path = format!("{path}.url");
    let Some(text) = &written.url else {
        findings.missing(&path, "write where events are to be posted");
        return None;
    };
    let url = match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        Ok(_) | Err(_) => {
            // The text may hold a credential, so it is not repeated.
            let hint = "write \"https://HOST/PATH\"";
            findings.error(&path, format!("`{path}` is no https URL"), hint);
            return None;
        }
    };
    if url.password().is_some() || !url.username().is_empty() {
        let what = format!("`{path}` holds credentials, which would end in logs");
        let hint = "remove them: bodies are signed, the receiver checks the signature";
        findings.error(&path, what, hint);
    }
    if let Some(why) = refused_address(&url) {
        let what = format!("`{path}` is {why}, where nothing is ever posted");
        findings.error(&path, what, "write the receiver's own name or address");
    }
    if url.fragment().is_some() {
        let what = format!("`{path}` has a fragment, which is never sent");
        findings.warn(&path, what, "remove what follows #");
    }
    if url.scheme() == "http" && !is_loopback(&url) && !written.allow_plaintext {
        let what = format!("`{path}` is plain http to another machine");
        findings.error(&path, what, "write https://, or set allow_plaintext = true");
    }
    if written.allow_plaintext && url.scheme() == "https" {
        let what = format!(
            "`{}` has no effect on https",
            path.replace(".url", ".allow_plaintext")
        );
        findings.warn(&path.replace(".url", ".allow_plaintext"), what, "remove it");
    }
    Some(url)
}

/// A literal address that the sink refuses to connect to; names are judged when they are resolved.
fn refused_address(url: &url::Url) -> Option<postrider_webhook::address::Refused> {
    let address = match url.host()? {
        url::Host::Ipv4(address) => address.into(),
        url::Host::Ipv6(address) => address.into(),
        url::Host::Domain(_) => return None,
    };
    postrider_webhook::address::refused(address)
}

/// Whether a URL stays on this machine.
pub(super) fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => is_loopback_name(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// RFC 6761 section 6.3: `localhost` and everything below it.
pub(super) fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.to_lowercase().ends_with(".localhost")
}

fn types(path: &str, written: &[String], findings: &mut Findings<'_>) -> Vec<EventType> {
    let path = format!("{path}.types");
    if written.is_empty() {
        findings.warn(&path, format!("`{path}` is empty: nothing is sent"), "");
    }
    if written.iter().any(|name| name == "*") {
        return EventType::ALL.to_vec();
    }
    let mut types = Vec::new();
    for name in written {
        match EventType::parse(name) {
            Some(kind) if types.contains(&kind) => {}
            Some(kind) => types.push(kind),
            None => {
                let known = EventType::ALL.iter().map(|kind| kind.as_str());
                let hint = match nearest(name, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known: *, {}", known.collect::<Vec<_>>().join(", ")),
                };
                findings.error(&path, format!("`{path}`: there is no type `{name}`"), &hint);
            }
        }
    }
    types
}
