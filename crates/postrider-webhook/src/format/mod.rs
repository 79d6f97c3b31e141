//! What an endpoint gets: one event becomes one or several requests, in the form that the receiver
//! takes. A format knows shapes; it sends nothing, and decides nothing about what came of it.

pub mod contents;
pub mod event;
pub mod multipart;
pub mod postmark;
pub mod raw;
pub mod template;

mod pieces;

use std::io;

use bytes::Bytes;
use postrider_core::{delivery::classify::Classifier, event::EventType, time::Wall};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use url::Url;

use crate::{
    body::{Body, RawMessage},
    payload::RenderInput,
};
use contents::Contents;
use event::Event;
use postmark::Postmark;

/// What a request is made of.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub event: RenderInput<'a>,
    /// The message itself, where the format needs it and the event has one.
    pub raw: Option<&'a RawMessage>,
    /// What is in it, where the format needs that.
    pub contents: Option<&'a Contents>,
    /// The time of this attempt.
    pub now: Wall,
}

impl Source<'_> {
    /// What it means that the message is not at hand.
    fn no_message(&self) -> RenderError {
        match self.event.event_type {
            EventType::MessageReceived => RenderError::NoMessage,
            other => RenderError::NotAMessage(other),
        }
    }
}

/// One request, ready to be signed and sent.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Body,
}

/// What the receiver answered to a request before: the start of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// All of the body is there.
    pub whole: bool,
}

/// A request as far as it is known before anything is sent.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// The template's step.
    pub step: Option<String>,
    /// It is sent only where this is true, which asks for an answer.
    pub only_if: Option<String>,
    pub shape: Shape,
}

#[derive(Clone, Debug)]
pub enum Shape {
    /// What answers would tell stands in it as `[answers.STEP.…]`.
    Request(Rendered),
    /// Too much hangs on answers: its templates, by their keys, as they are written.
    Written {
        method: Method,
        templates: Vec<(String, String)>,
    },
    /// It cannot be made of this event.
    Fails(String),
}

/// Why an event cannot be put into this form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error(
        "the message itself is not stored any more; hint: `postrider events replay --from-mailbox`"
    )]
    NoMessage,
    #[error(
        "the endpoint takes messages alone, and {} is none; hint: `types = [\"message.received\"]`, another endpoint for the others", .0.as_str()
    )]
    NotAMessage(EventType),
    /// It is tried again like any failure of its own.
    #[error("{0}")]
    Other(String),
}

/// The form in which an endpoint takes events.
#[derive(Clone, Debug)]
pub enum Format {
    /// CloudEvents and Standard Webhooks in one JSON body.
    Event(Event),
    /// The JSON that Postmark sends for inbound mail.
    Postmark(Postmark),
    /// The message itself, as one product takes it.
    Raw(raw::Raw),
    /// What the operator's templates make of it.
    Template(template::Template),
}

impl Format {
    /// Whether the message itself has to be kept for it.
    pub fn needs_raw(&self) -> bool {
        match self {
            Self::Event(event) => event.needs_raw(),
            Self::Raw(_) | Self::Postmark(_) => true,
            Self::Template(template) => template.needs_raw(),
        }
    }

    /// Looks into the message, where the format has to know what is in it.
    pub async fn look(&self, raw: &RawMessage) -> io::Result<Option<Contents>> {
        let looks = match self {
            Self::Postmark(_) => return Contents::with_text(raw).await.map(Some),
            Self::Event(event) => event.needs_contents(),
            Self::Template(template) => template.needs_raw(),
            Self::Raw(_) => false,
        };
        if looks {
            Contents::of(raw).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// How much of an answer's body has to be seen: for what it means, or for the requests after it.
    pub fn answer_bytes_max(&self) -> Option<usize> {
        match self {
            Self::Event(_) | Self::Postmark(_) => None,
            Self::Raw(_) => Some(raw::ANSWER_BYTES_MAX),
            Self::Template(_) => Some(template::ANSWER_BYTES_MAX),
        }
    }

    /// What its answers mean, after the endpoint's own rules.
    pub fn classifier(&self) -> Classifier {
        match self {
            Self::Event(_) | Self::Postmark(_) => Classifier::default(),
            Self::Raw(raw) => raw.classifier(),
            Self::Template(template) => template.classifier(),
        }
    }

    /// The next request, after these answers to the ones before it; `None`: all is sent.
    pub fn request(
        &self,
        source: &Source<'_>,
        answers: &[Answer],
    ) -> Result<Option<Rendered>, RenderError> {
        match self {
            // One request is all there is to send.
            Self::Event(_) | Self::Postmark(_) | Self::Raw(_) if !answers.is_empty() => Ok(None),
            Self::Event(event) => event.request(source).map(Some),
            Self::Postmark(postmark) => postmark.request(source).map(Some),
            Self::Raw(raw) => raw.request(source).map(Some),
            Self::Template(template) => template.request(source, answers),
        }
    }
}

impl Format {
    /// All requests that the event would become; empty: none.
    pub fn foresee(&self, source: &Source<'_>) -> Result<Vec<Foreseen>, RenderError> {
        if let Self::Template(template) = self {
            return template.foresee(source);
        }
        let request = self.request(source, &[])?.into_iter();
        Ok(request
            .map(|request| Foreseen {
                step: None,
                only_if: None,
                shape: Shape::Request(request),
            })
            .collect())
    }
}

/// A request with a JSON body.
fn json(url: &Url, body: Body) -> Rendered {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Rendered {
        method: Method::POST,
        url: url.clone(),
        headers,
        body,
    }
}
