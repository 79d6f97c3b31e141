//! Request Tracker: `POST /REST/1.0/NoAuth/mail-gateway`, a form with the message in a field.
//!
//! Sources: RT `share/html/REST/1.0/NoAuth/mail-gateway`, `bin/rt-mailgate.in`; CGI.pm
//! `read_multipart`, which RT reads forms with, and HTTP::Request::Common, which rt-mailgate uses.
//! - The fields are `queue`, `action`, `SessionType=REST` (no login box) and `message`. There is no
//!   key: access is a matter of the network.
//! - `message` has a type and no file name: CGI.pm would make a file of one with a name, and RT
//!   would take the name for the message.
//! - The status is always 200. The body begins with `ok`, with `not ok - …` (RT will not have this
//!   mail) or with `temporary failure - …`. RT's own client takes `not ok` for done, because RT has
//!   written to somebody about it; here it is a refusal, so that an operator sees it.
//! - Any other body is not of the gateway. RT's own client keeps the mail then, and so does this.

use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::CONTENT_TYPE;

use super::{Shape, headers, other_success, rule};
use crate::{
    body::{Encoding, Piece, RawMessage},
    format::{Source, multipart::Multipart},
};

pub(super) const PATH: &str = "/REST/1.0/NoAuth/mail-gateway";

pub(super) fn request(
    source: &Source<'_>,
    message: &RawMessage,
    queue: Option<&str>,
    action: &str,
) -> Shape {
    let mut form = Multipart::of(source);
    if let Some(queue) = queue {
        form.text("queue", queue);
    }
    form.text("action", action);
    form.text("SessionType", "REST");
    let content = Piece::whole(message, Encoding::AsIs);
    form.typed("message", "application/octet-stream", content);
    let (kind, body) = form.finish()?;
    Ok((headers([(CONTENT_TYPE, kind)]), body))
}

pub(super) fn answers() -> Vec<Rule> {
    let said = |text: &str, class| rule(&[(200, 299)], Text::Begins(text.to_owned()), class);
    vec![
        said("ok", Class::Delivered),
        said("not ok", Class::Refused),
        said("temporary failure", Class::Failing),
        other_success(),
    ]
}
