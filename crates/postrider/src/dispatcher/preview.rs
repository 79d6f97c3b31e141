//! What an endpoint would get, for whoever asks before anything is sent.

use std::sync::Arc;

use postrider_store::{Claimed, EventRow};

use super::attempt::{self, Post};
use crate::{config::Endpoint, secrets::SecretList};

/// A request as far as it is known before anything is sent.
pub struct Preview {
    /// A template's step.
    pub step: Option<String>,
    /// It is sent only where this is true, which hangs on an answer.
    pub only_if: Option<String>,
    pub outlook: Outlook,
}

pub enum Outlook {
    /// As it would be sent; what answers would tell stands in it by name.
    Request {
        method: reqwest::Method,
        url: Box<url::Url>,
        headers: reqwest::header::HeaderMap,
        body: postrider_webhook::body::Body,
    },
    /// All of it hangs on answers: its templates, by their keys, as they are written.
    Written {
        method: reqwest::Method,
        templates: Vec<(String, String)>,
    },
    Fails(String),
}

/// The requests that the endpoint would get for this event; nothing is sent.
pub async fn preview(
    instance: &Arc<str>,
    settings: &Endpoint,
    secrets: &SecretList,
    event: EventRow,
    when_failed: bool,
    raw: postrider_webhook::body::RawMessage,
) -> Result<Vec<Preview>, String> {
    let claimed = Claimed {
        sequence: 1,
        when_failed,
        ..attempt::unstored(&settings.key, event)
    };
    let post = Post::new(instance, None, settings, secrets)?;
    post.foresee(&claimed, raw).await
}
