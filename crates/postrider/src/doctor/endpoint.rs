//! The last step: a signed `ping` event to the endpoint.

use std::sync::Arc;

use super::{
    Ping,
    report::{Outcome, Step, StepName},
};
use crate::{
    clock,
    config::Endpoint,
    diagnosis::{Cause, Diagnosis},
    dispatcher,
    secrets::Secrets,
};

pub(super) struct Pinged {
    pub(super) step: Step,
    pub(super) diagnosis: Option<Diagnosis>,
}

pub(super) async fn ping(
    ping: Ping,
    instance: &Arc<str>,
    endpoint: Option<&Arc<Endpoint>>,
    secrets: &Secrets,
) -> Pinged {
    let (Some(endpoint), Ping::Yes) = (endpoint, ping) else {
        return Pinged {
            step: Step::skipped(StepName::Endpoint, "not asked for"),
            diagnosis: None,
        };
    };
    let started = clock::monotonic();
    if endpoint.needs_message() {
        let note = format!(
            "{}: it gets messages alone, and a ping is none: nothing was sent; `postrider test-route FILE.eml` shows the request",
            endpoint.key
        );
        return Pinged {
            step: Step::skipped(StepName::Endpoint, &note),
            diagnosis: None,
        };
    }
    let list = secrets.watch(&endpoint.secrets()).borrow().clone();
    let pinged = dispatcher::ping(instance, endpoint, &list).await;
    let took = clock::monotonic() - started;
    let key = endpoint.key.as_str();
    if pinged.outcome == "delivered" {
        let note = format!("{key}: {}", pinged.note);
        return Pinged {
            step: Step::new(StepName::Endpoint, Outcome::Ok, took, note),
            diagnosis: None,
        };
    }
    let note = format!("{key}: not accepted");
    Pinged {
        step: Step::new(StepName::Endpoint, Outcome::Failed, took, note),
        diagnosis: Some(diagnose(key, pinged.status, &pinged.note)),
    }
}

fn diagnose(key: &str, status: Option<u16>, note: &str) -> Diagnosis {
    let told = |cause, what: String, fix: &[&str]| Diagnosis {
        cause,
        what,
        evidence: vec![note.to_owned()],
        fix: fix.iter().map(|line| (*line).to_owned()).collect(),
        or: Vec::new(),
    };
    let settings = format!("check [endpoints.{key}]");
    match status {
        None => told(
            Cause::EndpointUnreachable,
            format!("the endpoint {key} cannot be reached"),
            &[&format!(
                "{settings}: url, ca_file, proxy; and the way to it (firewall, DNS)"
            )],
        ),
        Some(401 | 403) => told(
            Cause::EndpointRefuses,
            format!("the endpoint {key} refuses the signature, or the request"),
            &[
                &format!("{settings} secret: it must be the receiver's own"),
                "the receiver must verify the raw body, and its clock must be right (`webhook-timestamp`)",
            ],
        ),
        Some(429 | 500..=599) => told(
            Cause::EndpointFails,
            format!("the endpoint {key} is in trouble for the moment"),
            &["nothing to do if it passes: events wait and are sent again"],
        ),
        Some(status) => told(
            Cause::EndpointRefuses,
            format!(
                "the endpoint {key} answers {status}: it does not take this product's events there"
            ),
            &[&format!(
                "{settings} url: path and method (POST) must be the receiver's; redirects are not followed"
            )],
        ),
    }
}
