//! Discourse: `POST /admin/email/handle_mail`, a form with the message in base64, as its own
//! mail-receiver sends it.
//!
//! Sources: Discourse `app/controllers/admin/email_controller.rb` (`handle_mail`), and
//! `discourse/mail-receiver`.
//! - `Api-Key` and `Api-Username` are headers; the key needs the scope "receive emails".
//! - `email_encoded` is strict base64, in one line. The older field `email` could hold UTF-8 alone.
//! - 200 and a text about the email: queued. 403 and 404: the key, or its user, may not do this.
//!   429: too many requests. 400: the field is missing.

use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::{CONTENT_TYPE, HeaderName};

use super::{Key, Shape, headers, other_success, rule, sensitive};
use crate::{
    body::{Encoding, Piece, RawMessage},
    format::{RenderError, Source, multipart::Multipart},
};

pub(super) const PATH: &str = "/admin/email/handle_mail";

const API_KEY: HeaderName = HeaderName::from_static("api-key");
const API_USERNAME: HeaderName = HeaderName::from_static("api-username");

pub(super) fn request(source: &Source<'_>, message: &RawMessage, user: &str, key: &Key) -> Shape {
    let mut form = Multipart::of(source);
    form.field("email_encoded", Piece::whole(message, Encoding::Base64));
    let (kind, body) = form.finish()?;
    let list = [
        (CONTENT_TYPE, kind),
        (API_KEY, key.header().map_err(RenderError::Other)?),
        (API_USERNAME, sensitive(user).map_err(RenderError::Other)?),
    ];
    Ok((headers(list), body))
}

pub(super) fn answers() -> Vec<Rule> {
    vec![
        rule(
            &[(200, 200)],
            Text::Begins("email ".to_owned()),
            Class::Delivered,
        ),
        other_success(),
    ]
}
