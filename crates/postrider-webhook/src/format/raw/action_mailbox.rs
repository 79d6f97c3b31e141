//! Rails Action Mailbox, relay ingress (Chatwoot and many applications of one's own):
//! `POST /rails/action_mailbox/relay/inbound_emails`, the message as the body.
//!
//! Source: Rails `actionmailbox/app/controllers/action_mailbox/ingresses/relay/inbound_emails_controller.rb`.
//! - Basic authentication; the user is always `actionmailbox`, the password the ingress' own.
//! - 204: taken; a message that is there already as well. 401: wrong password. 404: the relay ingress
//!   is not the one that is switched on. 415: the type is not `message/rfc822`, which it always is:
//!   then something else answers. 422: no body. 500: the application is not in order.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::AUTHORIZATION;

use super::{Key, Shape, other_success, rule, sensitive, whole};
use crate::{body::RawMessage, format::RenderError};

pub(super) const PATH: &str = "/rails/action_mailbox/relay/inbound_emails";

pub(super) fn request(message: &RawMessage, user: &str, key: &Key) -> Shape {
    let (mut headers, body) = whole(message, "message/rfc822");
    let login = STANDARD.encode(format!("{user}:{}", key.text()));
    let login = sensitive(&format!("Basic {login}")).map_err(RenderError::Other)?;
    headers.insert(AUTHORIZATION, login);
    Ok((headers, body))
}

pub(super) fn answers() -> Vec<Rule> {
    vec![
        rule(&[(204, 204)], Text::Any, Class::Delivered),
        other_success(),
        rule(&[(415, 415)], Text::Any, Class::Trouble),
    ]
}
