//! The JSON that Postmark's inbound webhook sends, which many help desks and Rails' Postmark ingress
//! read: texts, addresses and attachments in Postmark's keys, and the message itself in `RawEmail`.
//!
//! Source: postmarkapp.com/developer/webhooks/inbound-webhook, postmarkapp.com/developer/user-guide/inbound.
//! - `MessageID` is Postmark's own id, so it is the event's id here; the message's own Message-ID is
//!   among `Headers`, as with Postmark.
//! - `RawEmail` is a string of characters: bytes of the message that are no UTF-8 become U+FFFD in it.
//! - Consumers parse `Date` and store files by `Name`: what a mail lacks of them is the server's time, and a name.
//! - One key is not Postmark's: `Postrider` says what was left out or changed.

use std::borrow::Cow;

use postrider_core::message::{Address, Message};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use url::Url;

use super::{RenderError, Rendered, Source, contents::Budget, json, pieces::Pieces};
use crate::body::Encoding;

#[derive(Clone, Debug)]
pub struct Postmark {
    pub url: Url,
    /// Of all attachments together; what does not fit is named in `Postrider`.
    pub attachments_max: u64,
}

impl Postmark {
    pub(super) fn request(&self, source: &Source<'_>) -> Result<Rendered, RenderError> {
        let raw = source.raw.ok_or_else(|| source.no_message())?;
        let contents = source.contents.ok_or_else(|| source.no_message())?;
        let text = contents.text.as_ref().ok_or_else(|| source.no_message())?;
        let mailbox = mailbox(source.event.data);
        let mut body = Pieces::default();
        body.json(&Inbound::of(source, &text.message, &mailbox))?;
        body.reopen();
        body.push(",\"Attachments\":[");
        let (mut budget, mut omitted, mut any) = (Budget::new(self.attachments_max), vec![], false);
        for file in &contents.attachments {
            let described = Attachment::of(file);
            if !budget.takes(file.size) {
                omitted.push(Omitted {
                    attachment: described,
                    reason: "too_large",
                });
                continue;
            }
            body.push(if any { "," } else { "" });
            any = true;
            body.json(&described)?;
            body.reopen();
            body.push(",\"Content\":");
            body.quoted(file.piece(raw, Encoding::Base64));
            body.push("}");
        }
        body.push("],\"Postrider\":");
        body.json(&Marks {
            instance: source.event.instance,
            mailbox: source.event.mailbox,
            attempt: source.event.attempt,
            text_truncated: text.message.text.truncated,
            raw_email_replaced: text.replaced,
            attachments_omitted: omitted,
        })?;
        body.push(",\"RawEmail\":");
        body.quoted(text.json.clone());
        body.push("}");
        Ok(json(&self.url, body.finish()))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inbound<'a> {
    from_name: &'a str,
    from: &'a str,
    from_full: Full<'a>,
    to: String,
    to_full: Vec<Full<'a>>,
    cc: String,
    cc_full: Vec<Full<'a>>,
    bcc: &'static str,
    bcc_full: [(); 0],
    original_recipient: &'a str,
    reply_to: String,
    subject: &'a str,
    #[serde(rename = "MessageID")]
    message_id: String,
    mailbox_hash: &'a str,
    date: Cow<'a, str>,
    text_body: &'a str,
    html_body: &'a str,
    stripped_text_reply: &'static str,
    tag: &'static str,
    message_stream: &'static str,
    headers: Vec<Header<'a>>,
}

impl<'a> Inbound<'a> {
    fn of(source: &Source<'_>, message: &'a Message, mailbox: &'a str) -> Self {
        let nobody = Full::default();
        let full = |list: &'a [Address]| list.iter().map(Full::of).collect::<Vec<_>>();
        let reachable = message.from.iter().find(|who| who.address.is_some());
        let from = reachable.or(message.from.first()).map_or(nobody, Full::of);
        let recipient = message.delivered_to.first().map_or(mailbox, String::as_str);
        Self {
            from_name: from.name,
            from: from.email,
            from_full: from,
            to: list(&message.to),
            to_full: full(&message.to),
            cc: list(&message.cc),
            cc_full: full(&message.cc),
            bcc: "",
            bcc_full: [],
            original_recipient: recipient,
            reply_to: list(&message.reply_to),
            subject: message.subject.as_deref().unwrap_or_default(),
            message_id: source.event.id.to_string(),
            mailbox_hash: hash(recipient),
            date: date(source, message),
            text_body: message.text.plain.as_deref().unwrap_or_default(),
            html_body: message.text.html.as_deref().unwrap_or_default(),
            stripped_text_reply: "",
            tag: "",
            message_stream: "inbound",
            headers: message
                .headers
                .iter()
                .map(|(name, value)| Header { name, value })
                .collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Full<'a> {
    email: &'a str,
    name: &'a str,
    mailbox_hash: &'a str,
}

impl<'a> Full<'a> {
    fn of(who: &'a Address) -> Self {
        let email = who.address.as_deref().unwrap_or_default();
        Self {
            email,
            name: who.name.as_deref().unwrap_or_default(),
            mailbox_hash: hash(email),
        }
    }
}

/// The sender's date as it is written, if it is one; else the server's.
fn date<'a>(source: &Source<'_>, message: &'a Message) -> Cow<'a, str> {
    match (&message.date, &message.date_raw) {
        (Some(_), Some(written)) => written.into(),
        _ => OffsetDateTime::from_unix_timestamp(source.event.time.seconds())
            .ok()
            .and_then(|time| time.format(&Rfc2822).ok())
            .unwrap_or_default()
            .into(),
    }
}

/// What stands behind the plus sign of an address.
fn hash(address: &str) -> &str {
    let local = address.rsplit_once('@').map_or("", |(local, _)| local);
    local.split_once('+').map_or("", |(_, hash)| hash)
}

/// Addresses as a header has them (RFC 5322 section 3.4).
fn list(people: &[Address]) -> String {
    let one = |who: &Address| {
        let address = who.address.as_deref().unwrap_or_default();
        match who.name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => {
                let name = name.replace('\\', "\\\\").replace('"', "\\\"");
                format!("\"{name}\" <{address}>")
            }
            None => address.to_owned(),
        }
    };
    people.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment<'a> {
    name: Cow<'a, str>,
    content_type: &'a str,
    content_length: u64,
    #[serde(rename = "ContentID")]
    content_id: &'a str,
}

impl<'a> Attachment<'a> {
    fn of(file: &'a super::contents::File) -> Self {
        let located = &file.located;
        Self {
            name: file.name(),
            content_type: &located.content_type,
            content_length: file.size,
            content_id: located.content_id.as_deref().unwrap_or_default(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Marks<'a> {
    instance: &'a str,
    mailbox: Option<&'a str>,
    attempt: u32,
    text_truncated: bool,
    raw_email_replaced: bool,
    attachments_omitted: Vec<Omitted<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Omitted<'a> {
    #[serde(flatten)]
    attachment: Attachment<'a>,
    reason: &'static str,
}

/// The address of the mailbox that the message lies in, as it is stored with the event.
fn mailbox(data: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Data {
        mailbox: Mailbox,
    }
    #[derive(Deserialize)]
    struct Mailbox {
        address: String,
    }
    serde_json::from_slice::<Data>(data).map_or_else(|_| String::new(), |data| data.mailbox.address)
}
