//! One attempt: render, sign, post. What cannot even be sent is an outcome like any other.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    delivery::{Attempt, Class, Failure},
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use postrider_store::{Claimed, EventRow};
use postrider_webhook::{
    client::{Client, Proxy, Sent, Settings},
    format::{Format, Source},
    payload,
    sign::Signer,
};
use secrecy::SecretString;

use crate::{clock, config, config::Endpoint, secrets::SecretList};

/// All that an attempt needs of its endpoint.
pub(super) struct Post {
    instance: Arc<str>,
    format: Format,
    client: Client,
    signer: Signer,
}

impl Post {
    /// Reads the CA file and keys the signer; the error says what an operator can mend.
    pub(super) fn new(
        instance: &Arc<str>,
        endpoint: &Endpoint,
        secrets: &SecretList,
    ) -> Result<Self, String> {
        let live: Vec<SecretString> = secrets.live().cloned().collect();
        let signer = Signer::new(&live).map_err(|error| {
            let problems: Vec<String> = secrets.problems().collect();
            if problems.is_empty() {
                error.to_string()
            } else {
                problems.join("; ")
            }
        })?;
        let settings = Settings {
            url: endpoint.url.clone(),
            timeout: endpoint.timeout,
            connections_max: usize::try_from(endpoint.max_in_flight).unwrap_or(usize::MAX),
            ca_file: endpoint.ca_file.clone(),
            proxy: match &endpoint.proxy {
                config::Proxy::None => Proxy::None,
                config::Proxy::Env => Proxy::Env,
                config::Proxy::Url(url) => Proxy::Url(url.clone()),
            },
            classifier: endpoint.classifier.clone(),
        };
        let client = Client::new(&settings).map_err(|error| error.to_string())?;
        Ok(Self {
            instance: Arc::clone(instance),
            format: Format::Event {
                url: endpoint.url.clone(),
            },
            client,
            signer,
        })
    }

    pub(super) async fn send(self: Arc<Self>, claimed: &Claimed) -> Sent {
        let mut answers = Vec::new();
        let mut sent = None;
        loop {
            let now = clock::wall();
            let source = self.source(claimed, now);
            match self.format.request(&source, &answers) {
                Ok(Some(rendered)) => {
                    let one = self
                        .client
                        .send(&self.signer, claimed.event.id, now.seconds(), rendered)
                        .await;
                    if one.attempt.class() != Class::Delivered {
                        return one;
                    }
                    answers.extend(one.answer.clone());
                    sent = Some(one);
                }
                Ok(None) => {
                    let nothing =
                        || failed(Failure::Unsendable, "there is nothing to send".to_owned());
                    return sent.unwrap_or_else(nothing);
                }
                Err(error) => return failed(Failure::Unsendable, error.to_string()),
            }
        }
    }

    fn source<'a>(&'a self, claimed: &'a Claimed, now: Wall) -> Source<'a> {
        let event = &claimed.event;
        let event = payload::RenderInput {
            id: event.id,
            event_type: event.event_type,
            instance: &self.instance,
            mailbox: event.mailbox.as_ref().map(MailboxKey::as_str),
            subject: &event.subject,
            time: event.time,
            stored_at: event.stored_at,
            data: &event.data,
            sequence: claimed.sequence,
            attempt: claimed.attempts.saturating_add(1),
            first_attempt_at: claimed.first_attempt_at.or(Some(now)),
            replay: claimed.replay.as_deref(),
            stepped_aside: claimed.aside && claimed.replay.is_none(),
        };
        Source {
            event,
            raw: None,
            now,
        }
    }
}

/// An attempt that was not made, for want of something to make it with.
pub(super) fn not_sent(why: String) -> Sent {
    failed(Failure::Settings, why)
}

pub(super) fn failed(failure: Failure, note: String) -> Sent {
    Sent {
        attempt: Attempt::Failed(failure),
        date: None,
        took: Duration::ZERO,
        note,
        answer: None,
    }
}

/// A delivery that no table knows of: a ping.
pub(super) fn unstored(endpoint: &EndpointKey, event: EventRow) -> Claimed {
    Claimed {
        delivery: 0,
        endpoint: endpoint.clone(),
        sequence: 0,
        attempts: 0,
        first_attempt_at: None,
        refusals: 0,
        refused_since: None,
        own_time: Duration::ZERO,
        replay: None,
        order: None,
        aside: false,
        event,
    }
}
