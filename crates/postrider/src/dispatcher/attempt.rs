//! One attempt: load, render, sign, post. What cannot even be sent is an outcome like any other.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    delivery::{Attempt, Class, Failure, classify::Classifier},
    event::EventType,
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use postrider_store::{Claimed, EventRow, Raw, Store};
use postrider_webhook::{
    address::Names,
    body::RawMessage,
    client::{Client, Proxy, Sent, Settings},
    format::{
        Format, RenderError, Shape, Source, contents::Contents, event::Event, postmark::Postmark,
        raw,
    },
    payload,
    sign::Signer,
};
use secrecy::SecretString;

use super::{Outlook, Preview, transport};
use crate::{
    clock, config,
    config::{Endpoint, EndpointFormat},
    secrets::SecretList,
};

/// All that an attempt needs of its endpoint.
pub(super) struct Post {
    instance: Arc<str>,
    /// Where messages are kept; none for what is sent past the store.
    store: Option<Store>,
    format: Format,
    client: Client,
    /// `None`: the endpoint has no signing secret, and needs none.
    signer: Option<Signer>,
}

/// The message of an event, as far as its format needs it.
#[derive(Default)]
struct Kept {
    raw: Option<RawMessage>,
    contents: Option<Contents>,
}

impl Post {
    /// Reads the CA file and keys the signer; the error says what an operator can mend.
    pub(super) fn new(
        instance: &Arc<str>,
        store: impl Into<Option<Store>>,
        endpoint: &Endpoint,
        secrets: &SecretList,
    ) -> Result<Self, String> {
        let format = format(endpoint, secrets).map_err(|error| explained(error, secrets))?;
        let mut classifier = endpoint.classifier.clone();
        let Classifier { rules } = format.classifier();
        classifier.rules.extend(rules);
        let settings = Settings {
            url: endpoint.url.clone(),
            timeout: endpoint.timeout,
            connections_max: usize::try_from(endpoint.max_in_flight).unwrap_or(usize::MAX),
            ca_file: endpoint.ca_file.clone(),
            identity: transport::identity(endpoint, secrets)?,
            headers: transport::headers(endpoint, secrets)?,
            addresses: endpoint.transport.addresses,
            names: Names::System,
            proxy: match &endpoint.proxy {
                config::Proxy::None => Proxy::None,
                config::Proxy::Env => Proxy::Env,
                config::Proxy::Url(url) => Proxy::Url(url.clone()),
            },
            classifier,
        };
        let mut client = Client::new(&settings)
            .map_err(|error| error.to_string())?
            .keeping_secret(transport::confidential(endpoint, secrets));
        if let Some(bytes) = format.answer_bytes_max() {
            client = client.answers_up_to(bytes);
        }
        Ok(Self {
            instance: Arc::clone(instance),
            store: store.into(),
            format,
            client,
            signer: signer(endpoint, secrets).map_err(|error| explained(error, secrets))?,
        })
    }

    pub(super) async fn send(self: Arc<Self>, claimed: &Claimed) -> Sent {
        let message = match self.message(claimed).await {
            Ok(message) => message,
            Err(why) => return failed(Failure::Unsendable, why),
        };
        let mut answers = Vec::new();
        let mut sent = None;
        loop {
            let now = clock::wall();
            let source = self.source(claimed, &message, now);
            match self.format.request(&source, &answers) {
                Ok(Some(rendered)) => {
                    let signer = self.signer.as_ref();
                    crate::die::at("attempt-rendered");
                    let one = self
                        .client
                        .send(signer, claimed.event.id, now.seconds(), rendered)
                        .await;
                    crate::die::at("attempt-answered");
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
                Err(error) => {
                    let failure = match error {
                        RenderError::NoMessage | RenderError::NotAMessage(_) => Failure::Unfit,
                        RenderError::Other(_) => Failure::Unsendable,
                    };
                    return failed(failure, error.to_string());
                }
            }
        }
    }

    /// All requests, as they would be sent now; nothing is sent.
    pub(super) async fn foresee(
        &self,
        claimed: &Claimed,
        raw: RawMessage,
    ) -> Result<Vec<Preview>, String> {
        let contents = self.format.look(&raw).await;
        let contents = contents.map_err(|error| error.to_string())?;
        let kept = Kept {
            raw: self.format.needs_raw().then_some(raw),
            contents,
        };
        let source = self.source(claimed, &kept, clock::wall());
        let foreseen = self.format.foresee(&source);
        let mut previews = Vec::new();
        for one in foreseen.map_err(|error| error.to_string())? {
            let outlook = match one.shape {
                Shape::Request(rendered) => {
                    let body = rendered.body.clone();
                    let (id, now) = (claimed.event.id, source.now.seconds());
                    let signer = self.signer.as_ref();
                    let request = self.client.request(signer, id, now, rendered).await?;
                    Outlook::Request {
                        method: request.method().clone(),
                        url: Box::new(request.url().clone()),
                        headers: request.headers().clone(),
                        body,
                    }
                }
                Shape::Written { method, templates } => Outlook::Written { method, templates },
                Shape::Fails(why) => Outlook::Fails(why),
            };
            previews.push(Preview {
                step: one.step,
                only_if: one.only_if,
                outlook,
            });
        }
        Ok(previews)
    }

    /// The message itself, where the format takes it and it is kept.
    async fn message(&self, claimed: &Claimed) -> Result<Kept, String> {
        let event = &claimed.event;
        let Some(store) = self
            .store
            .as_ref()
            .filter(|_| self.format.needs_raw() && event.event_type == EventType::MessageReceived)
        else {
            return Ok(Kept::default());
        };
        let unreadable =
            |error: &dyn std::fmt::Display| format!("the message cannot be read: {error}");
        let raw = store
            .raw(event.id)
            .await
            .map_err(|error| unreadable(&error))?;
        let raw = raw.map(|raw| match raw {
            Raw::Bytes(bytes) => RawMessage::Bytes(bytes),
            Raw::File { path, len } => RawMessage::File { path, len },
        });
        let contents = match &raw {
            Some(raw) => self.format.look(raw).await,
            None => Ok(None),
        };
        let contents = contents.map_err(|error| unreadable(&error))?;
        Ok(Kept { raw, contents })
    }

    fn source<'a>(&'a self, claimed: &'a Claimed, message: &'a Kept, now: Wall) -> Source<'a> {
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
            when_failed: claimed.when_failed,
            test: false,
        };
        Source {
            event,
            raw: message.raw.as_ref(),
            contents: message.contents.as_ref(),
            now,
        }
    }
}

/// The format with its live secrets, which come after those that sign.
fn format(endpoint: &Endpoint, secrets: &SecretList) -> Result<Format, String> {
    let url = endpoint.url.clone();
    Ok(match &endpoint.format {
        EndpointFormat::Event { texts, attachments } => Format::Event(Event {
            url,
            texts: *texts,
            attachments: *attachments,
            linker: transport::linker(endpoint, secrets)?,
        }),
        EndpointFormat::Postmark { attachments_max } => Format::Postmark(Postmark {
            url,
            attachments_max: *attachments_max,
        }),
        EndpointFormat::Template(template) => Format::Template(template.clone()),
        EndpointFormat::Raw { profile, .. } => {
            let key = secrets.get(endpoint.secret.len());
            Format::Raw(raw::Raw::new(profile.clone(), &url, key)?)
        }
    })
}

fn signer(endpoint: &Endpoint, secrets: &SecretList) -> Result<Option<Signer>, String> {
    let has_own = matches!(
        endpoint.format,
        EndpointFormat::Raw { .. } | EndpointFormat::Template(_)
    );
    if endpoint.secret.is_empty() && has_own {
        return Ok(None);
    }
    let live: Vec<SecretString> = (0..endpoint.secret.len())
        .filter_map(|index| secrets.get(index).cloned())
        .collect();
    let signer = Signer::new(&live).map_err(|error| error.to_string())?;
    Ok(Some(signer))
}

/// What is wrong with the references says more than what is missing for it.
fn explained(error: String, secrets: &SecretList) -> String {
    let problems: Vec<String> = secrets.problems().collect();
    if problems.is_empty() {
        error
    } else {
        problems.join("; ")
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
        when_failed: false,
        event,
    }
}
