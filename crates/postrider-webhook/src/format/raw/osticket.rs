//! osTicket: `POST /api/tickets.email`, the message as the body.
//!
//! Sources: osTicket `setup/doc/api.md`, `setup/doc/api/tickets.md`, `include/api.tickets.php`
//! (`create`, `processEmail`, `createTicket`), `include/class.api.php`.
//! - The key goes into `X-API-Key`; it is bound to the address that the request comes from.
//! - Success is 201 and the ticket's number. A Message-ID that is known, or a reply, answers with the
//!   number of the ticket that is there, so a repeat makes no second one.
//! - 401: the key or the address is wrong. 403: a filter or a ban turned this mail away. 400: it
//!   cannot be read or lacks something. osTicket's own pipe script takes 415 to 417 and 501 for
//!   errors of the mail, and all others for passing ones.

use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::HeaderName;

use super::{Key, Shape, other_success, rule, whole};
use crate::{body::RawMessage, format::RenderError};

pub(super) const PATH: &str = "/api/tickets.email";

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

pub(super) fn request(message: &RawMessage, key: &Key) -> Shape {
    let (mut headers, body) = whole(message, "message/rfc822");
    headers.insert(API_KEY, key.header().map_err(RenderError::Other)?);
    Ok((headers, body))
}

pub(super) fn answers() -> Vec<Rule> {
    vec![
        rule(&[(201, 201)], Text::Any, Class::Delivered),
        other_success(),
        rule(
            &[(400, 400), (403, 403), (415, 417), (501, 501)],
            Text::Any,
            Class::Refused,
        ),
    ]
}
