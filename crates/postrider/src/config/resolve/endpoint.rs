//! Endpoints: a URL that is safe to post to, known types, secrets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use postrider_core::{
    delivery::{
        Class,
        classify::{self, Classifier, Rule, Statuses},
        order::Order,
    },
    event::EventType,
    ids::EndpointKey,
};

use super::{Findings, format, routing, secrets::references, transport};
use crate::config::{
    model::{Endpoint, Proxy, Retry},
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
        let format = format::format(&path, url.as_ref(), written, findings);
        let secret = match (written.format, &written.secret) {
            (raw::Format::Raw | raw::Format::Template, None) => Vec::new(),
            (
                raw::Format::Raw
                | raw::Format::Event
                | raw::Format::Postmark
                | raw::Format::Template,
                secret,
            ) => references(&format!("{path}.secret"), secret.as_ref(), findings),
        };
        let types = types(&path, &written.types, findings);
        let types = format::types(&path, written.format, types, findings);
        let ca_file = findings.ca_file(&format!("{path}.ca_file"), written.ca_file.as_ref());
        let proxy = findings.proxy(&format!("{path}.proxy"), written.proxy.as_ref(), proxy);
        let transport = transport::transport(&path, written, findings);
        let key = EndpointKey::new(name.as_str());
        if let (Some(url), Some(format)) = (url, format) {
            let endpoint = Endpoint {
                key: key.clone(),
                url,
                format,
                secret,
                types,
                when: routing::when(&path, written, findings),
                suppress_duplicates: routing::duplicates(
                    &path,
                    written,
                    raw.store.keep_delivered.0,
                    findings,
                ),
                max_in_flight: written.max_in_flight,
                timeout: format::timeout(written),
                retry: retry(&path, &written.retry, findings),
                classifier: classifier(&path, &written.classify, findings),
                order: match written.order {
                    raw::Order::None => Order::None,
                    raw::Order::Mailbox => Order::Mailbox,
                    raw::Order::Thread => Order::Thread,
                },
                order_block_max: written.order_block_max.0,
                allow_plaintext: written.allow_plaintext,
                ca_file,
                proxy,
                transport,
                after: Arc::default(),
                links: None,
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
    if let Some(why) = refused_address(&url, written) {
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
fn refused_address(
    url: &url::Url,
    written: &raw::Endpoint,
) -> Option<postrider_webhook::address::Refused> {
    let policy = match written.strict_addresses {
        true => postrider_webhook::address::Policy::Public,
        false => postrider_webhook::address::Policy::Operator,
    };
    policy.refused_literal(url)
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

fn retry(path: &str, written: &raw::Retry, findings: &mut Findings<'_>) -> Retry {
    let path = format!("{path}.retry.schedule");
    let schedule: Arc<[Duration]> = written.schedule.iter().map(|step| step.0).collect();
    if schedule.is_empty() {
        let what = format!("`{path}` is empty: it says when to try again");
        findings.error(
            &path,
            what,
            "write [\"5s\", \"30s\", \"2m\"], or leave it out",
        );
    } else if !schedule.is_sorted() {
        let what = format!("`{path}` has a wait that is shorter than the one before");
        findings.warn(&path, what, "waits that grow spare an endpoint in trouble");
    }
    Retry {
        schedule,
        give_up_after: written.give_up_after.0,
        retry_after_max: written.retry_after_max.0,
    }
}

fn classifier(path: &str, written: &[raw::Classify], findings: &mut Findings<'_>) -> Classifier {
    let mut rules = Vec::new();
    for (number, rule) in written.iter().enumerate() {
        let path = format!("{path}.classify[{number}]");
        let Some(class) = rule.class else {
            findings.missing(
                &format!("{path}.class"),
                "write delivered, refused, failing or trouble",
            );
            continue;
        };
        let mut ranges = Vec::new();
        for text in &rule.status {
            match statuses(text) {
                Some(range) => ranges.push(range),
                None => {
                    let path = format!("{path}.status");
                    let what = format!("`{path}`: `{text}` is no status");
                    findings.error(&path, what, "write \"409\", \"400-499\" or \"5xx\"");
                }
            }
        }
        if rule.status.is_empty() && rule.body.is_none() {
            let what = format!("`{path}` fits every answer: no other rule and no status counts");
            findings.warn(&path, what, "add `status` or `body`");
        }
        rules.push(Rule {
            statuses: if ranges.is_empty() {
                Statuses::Any
            } else {
                Statuses::Ranges(ranges)
            },
            body: rule
                .body
                .clone()
                .map_or(classify::Text::Any, classify::Text::Holds),
            class: match class {
                raw::Class::Delivered => Class::Delivered,
                raw::Class::Refused => Class::Refused,
                raw::Class::Failing => Class::Failing,
                raw::Class::Trouble => Class::Trouble,
            },
        });
    }
    Classifier { rules }
}

/// `409`, `400-499` or `5xx`.
fn statuses(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let status: u16 = text.trim().parse().ok()?;
        (100..=599).contains(&status).then_some(status)
    };
    if let Some(hundreds) = text.strip_suffix("xx") {
        let first = number(&format!("{hundreds}00"))?;
        return Some((first, first + 99));
    }
    match text.split_once('-') {
        Some((first, last)) => {
            let range = (number(first)?, number(last)?);
            (range.0 <= range.1).then_some(range)
        }
        None => number(text).map(|status| (status, status)),
    }
}
