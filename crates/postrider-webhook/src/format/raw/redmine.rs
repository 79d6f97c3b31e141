//! Redmine: `POST /mail_handler`, a form with the message as the field `email`.
//!
//! Sources: Redmine `app/controllers/mail_handler_controller.rb`,
//! `extra/mail_handler/rdm-mailhandler.rb`.
//! - The key is the field `key` (Administration, Settings, Incoming emails). `issue[project]` and its
//!   like set attributes; `unknown_user`, `allow_override`, `no_permission_check` and others say what
//!   is allowed. All of them may stand in `fields`.
//! - 201: taken. 403: the key is wrong or the service is off. 422: Redmine will not have this mail
//!   (unknown user, no permission, its own rules), and never will.
//! - Redmine's own script sends a form that triples the size of attachments; multipart does not.
//!   `email` must not be a file to Rails, so it has no file name. Rack takes a field for UTF-8, and Rails answers 400 to
//!   what is none (a mail in Latin-1 by `8bit`), unless its type names a charset: in ISO 8859-1 all bytes
//!   are valid, and Redmine takes them as bytes.

use std::collections::BTreeMap;

use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::CONTENT_TYPE;

use super::{Key, Shape, headers, other_success, rule};
use crate::{
    body::{Encoding, Piece, RawMessage},
    format::{Source, multipart::Multipart},
};

pub(super) const PATH: &str = "/mail_handler";

pub(super) fn request(
    source: &Source<'_>,
    message: &RawMessage,
    key: &Key,
    project: Option<&str>,
    fields: &BTreeMap<String, String>,
) -> Shape {
    let mut form = Multipart::of(source);
    form.text("key", key.text());
    if let Some(project) = project {
        form.text("issue[project]", project);
    }
    for (name, value) in fields {
        form.text(name, value);
    }
    let content = Piece::whole(message, Encoding::AsIs);
    form.typed("email", "text/plain; charset=ISO-8859-1", content);
    let (kind, body) = form.finish()?;
    Ok((headers([(CONTENT_TYPE, kind)]), body))
}

pub(super) fn answers() -> Vec<Rule> {
    vec![
        rule(&[(201, 201)], Text::Any, Class::Delivered),
        other_success(),
    ]
}
