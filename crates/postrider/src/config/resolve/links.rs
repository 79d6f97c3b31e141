//! Links to messages: a listener, where it is reached, and a key.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use postrider_core::ids::EndpointKey;
use postrider_webhook::format::event::Attachments;

use super::{Findings, endpoint::is_loopback, secrets::references};
use crate::config::{
    model::{Endpoint, EndpointFormat, Links, StoreConfig},
    raw,
};

/// `None`: there are none.
pub(super) fn links(written: &raw::Links, findings: &mut Findings<'_>) -> Option<Arc<Links>> {
    let is_written =
        written.listen.is_some() || written.public_url.is_some() || written.key.is_some();
    if !is_written {
        return None;
    }
    let listen = listen(written, findings);
    let public_url = public_url(written, findings);
    let key = references("links.key", written.key.as_ref(), findings);
    Some(Arc::new(Links {
        listen: listen?,
        public_url: public_url?,
        key,
        expires: written.expires.0,
    }))
}

fn listen(written: &raw::Links, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    let path = "links.listen";
    let Some(text) = &written.listen else {
        findings.missing(path, "write \"127.0.0.1:9421\"");
        return None;
    };
    let parsed = text.parse();
    if parsed.is_err() {
        let what = format!("`{path}` is no ADDRESS:PORT");
        findings.error(path, what, "write \"127.0.0.1:9421\"");
    }
    parsed.ok()
}

fn public_url(written: &raw::Links, findings: &mut Findings<'_>) -> Option<url::Url> {
    let path = "links.public_url";
    let Some(text) = &written.public_url else {
        findings.missing(path, "write where the listener is reached from outside");
        return None;
    };
    let url = url::Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let plain = |url: &url::Url| {
        url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    let Some(url) = url.filter(plain) else {
        let what = format!("`{path}` is no https URL without query");
        findings.error(path, what, "write \"https://HOST/PATH\"");
        return None;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let what = format!("`{path}` is plain http: whoever sees a link can use it");
        findings.warn(
            path,
            what,
            "put the listener behind a proxy that speaks TLS",
        );
    }
    Some(url)
}

/// Gives the endpoints that send links what they need for it.
pub(super) fn tell(
    endpoints: &mut BTreeMap<EndpointKey, Arc<Endpoint>>,
    links: Option<&Arc<Links>>,
    store: &StoreConfig,
    findings: &mut Findings<'_>,
) {
    let mut is_used = false;
    for (key, endpoint) in endpoints {
        let links_wanted = matches!(
            endpoint.format,
            EndpointFormat::Event {
                attachments: Attachments::Link,
                ..
            }
        );
        if !links_wanted {
            continue;
        }
        is_used = true;
        if links.is_none() && findings.problems.is_empty() {
            let path = format!("endpoints.{key}.attachments");
            let what = format!("`{path}` is \"link\", and there is no [links]");
            findings.error(&path, what, "add [links] with listen, public_url and key");
        }
        Arc::make_mut(endpoint).links = links.cloned();
    }
    if let Some(links) = links {
        if !is_used {
            let what = "`links` is used by no endpoint";
            findings.warn("links", what, "write attachments = \"link\" in one");
        }
        if links.expires > store.keep_delivered && is_used {
            let what = "`links.expires` is longer than `store.keep_delivered`: events are kept as long as their links";
            findings.warn("links.expires", what, "make both alike");
        }
    }
}
