//! Odoo: XML-RPC at `POST /xmlrpc/2/object`, `message_process` of `mail.thread`, as Odoo's own
//! mail gateway script calls it.
//!
//! Sources: Odoo `addons/mail/static/scripts/odoo-mailgate.py`, `addons/rpc/controllers/xmlrpc.py` and
//! `addons/mail/models/mail_thread.py`; XML-RPC's specification (xmlrpc.com/spec.md).
//! - `execute_kw(database, uid, password or API key, 'mail.thread', 'message_process', [model or
//!   False, the message])`. The user is told by number.
//! - The status is 200, and the body a value or a `<fault>`: code 3 is a wrong password, 4 a user
//!   without the right to do it. `No possible route` means that no alias is there for this mail. A
//!   Message-ID that Odoo has is passed over, and answered like a success (`False`). Of an answer to a bounce of its
//!   own, and of mail that goes in circles, Odoo says `None` when it is done with it, which its XML-RPC cannot write: a
//!   fault tells that.
//! - XML-RPC is to be there until Odoo 22 (odoo.com/documentation, "External RPC API").
//! - A fault's text holds what the sender wrote, but never as markup, so the codes can be trusted.

use bytes::Bytes;
use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use super::{Key, Shape, headers, other_success, rule};
use crate::body::{Body, Encoding, Piece, RawMessage};

pub(super) const PATH: &str = "/xmlrpc/2/object";

pub(super) fn request(
    message: &RawMessage,
    key: &Key,
    database: &str,
    user: u32,
    model: Option<&str>,
) -> Shape {
    let model = match model {
        Some(model) => text(model),
        None => "<boolean>0</boolean>".to_owned(),
    };
    let parameters: String = [
        text(database),
        format!("<int>{user}</int>"),
        text(key.text()),
        text("mail.thread"),
        text("message_process"),
    ]
    .iter()
    .map(|value| format!("<param><value>{value}</value></param>"))
    .collect();
    let before = format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>execute_kw</methodName><params>{parameters}\
         <param><value><array><data><value>{model}</value><value><base64>"
    );
    let after = "</base64></value></data></array></value></param></params></methodCall>";
    let body = Body {
        pieces: vec![
            Piece::Bytes(before.into()),
            Piece::whole(message, Encoding::Base64),
            Piece::Bytes(Bytes::from_static(after.as_bytes())),
        ],
    };
    let kind = (CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    Ok((headers([kind]), body))
}

fn text(text: &str) -> String {
    let mut out = String::from("<string>");
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out.push_str("</string>");
    out
}

pub(super) fn answers() -> Vec<Rule> {
    let holds = |text: &str, class| rule(&[(200, 299)], Text::Holds(text.to_owned()), class);
    vec![
        // A value has no fault beside it, and may be 3 or 4 as well.
        holds("<params>", Class::Delivered),
        holds("<int>3</int>", Class::Trouble),
        holds("<int>4</int>", Class::Trouble),
        holds("No possible route", Class::Refused),
        holds("TypeError: cannot marshal None unless", Class::Delivered),
        holds("<fault>", Class::Failing),
        other_success(),
    ]
}
