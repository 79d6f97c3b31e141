//! The event's body: `data` as it is stored once, and the whole JSON as it is sent at each
//! attempt. Owns the names of all keys. Every key is always there, null rather than missing;
//! whatever is cut is marked; and nothing that a sender wrote can leave its string.

use std::collections::BTreeMap;

use bytes::Bytes;
use postrider_core::{
    event::EventType,
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    message::Message,
    time::Wall,
};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

mod data;
mod fit;
mod machine;
mod sample;
pub mod schema;

#[cfg(test)]
mod tests;

pub use sample::sample;

/// What the rest of the body takes beside `data`, without the folder's name, which it repeats.
const ENVELOPE_BYTES: usize = 2 << 10;

/// The smallest size of a body that is kept in every case, as long as folder, address and labels
/// of the mailbox are no longer than a few hundred bytes.
pub const BODY_BYTES_MIN: usize = 12 << 10;

/// The mailbox that an event is about.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct MailboxRef<'a> {
    pub id: &'a str,
    pub address: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

/// Where a message lies, and what the server says of it.
#[derive(Clone, Copy, Debug)]
pub struct MessageContext<'a> {
    pub mailbox: MailboxRef<'a>,
    pub folder: &'a str,
    pub uid: Uid,
    pub uid_validity: UidValidity,
    pub internal_date: Option<Wall>,
    /// RFC822.SIZE as the server says it, or the bytes that were read.
    pub size: u64,
    pub flags: &'a [String],
    /// The folder's name on the server, where `folder` is a role.
    pub server_folder: &'a str,
    pub gmail: Option<GmailIds>,
    pub fingerprint: Fingerprint,
    /// Whose Authentication-Results are believed.
    pub trusted_authserv_id: Option<&'a str>,
}

/// Gmail's own ids, which are the same wherever the message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GmailIds {
    pub message_id: u64,
    pub thread_id: u64,
}

/// A complete `data` object but for `delivery`, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageData {
    pub json: Bytes,
}

/// The `data` of a `message.received` event, cut so that the whole body keeps within `max_bytes`:
/// headers first, then html, then plain text, and only then lists and short texts.
pub fn message_data(
    context: &MessageContext<'_>,
    message: &Message,
    max_bytes: usize,
) -> MessageData {
    let envelope = ENVELOPE_BYTES + fit::escaped_len(context.folder);
    let budget = max_bytes.saturating_sub(envelope);
    let mut data = data::Data::of(context, message);
    let mut json = to_json(&data);
    if json.len() > budget {
        fit::shrink(&mut data, json.len() - budget);
        json = to_json(&data);
    }
    MessageData { json: json.into() }
}

/// The facts of a system event.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct SystemFacts<'a> {
    pub mailbox: Option<MailboxRef<'a>>,
    /// What it is about: a folder, an endpoint, a credential, `store`.
    pub scope: &'a str,
    /// A stable word for programs.
    pub reason: &'a str,
    /// What happened, for people; at most 2 KiB of it are told.
    pub detail: &'a str,
    /// What to do next, where there is something to do.
    pub hint: Option<&'a str>,
    /// When the state began.
    #[serde(serialize_with = "data::wall")]
    #[schemars(with = "schema::Time")]
    pub since: Wall,
    /// Only where a login failed; else the keys are not there.
    #[serde(flatten)]
    pub diagnosis: Option<DiagnosisFacts<'a>>,
}

/// Why a login failed and what to do.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct DiagnosisFacts<'a> {
    /// A stable name.
    pub cause: &'a str,
    /// In plain words.
    pub what: &'a str,
    /// The first step to take.
    pub fix: &'a str,
}

const DETAIL_BYTES_MAX: usize = 2 << 10;

/// The `data` of a system event.
pub fn system_data(facts: &SystemFacts<'_>) -> Bytes {
    let facts = SystemFacts {
        detail: fit::clip(facts.detail, DETAIL_BYTES_MAX),
        ..*facts
    };
    to_json(&facts).into()
}

/// One attempt to deliver one event.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    pub id: Uuid,
    pub event_type: EventType,
    pub instance: &'a str,
    /// The mailbox's key; `None` for events that concern no mailbox.
    pub mailbox: Option<&'a str>,
    pub subject: &'a str,
    pub time: Wall,
    pub stored_at: Wall,
    /// The stored object, complete but for `test` and `delivery`.
    pub data: &'a [u8],
    /// Per endpoint, gapless, from 1.
    pub sequence: i64,
    /// From 1.
    pub attempt: u32,
    pub first_attempt_at: Option<Wall>,
    /// The mark of a replay, as JSON.
    pub replay: Option<&'a str>,
    /// It failed for so long that events behind it have overtaken it.
    pub stepped_aside: bool,
    /// The endpoint's `when` could not be evaluated for it.
    pub when_failed: bool,
    /// It is made up, to try a receiver.
    pub test: bool,
}

/// The body as it is sent: a CloudEvents 1.0 event in structured mode (JSON event format), which
/// Standard Webhooks accepts as a payload. `data` is spliced in as it is stored.
pub fn render(input: &RenderInput<'_>) -> Bytes {
    render_at(input).0
}

/// The same, and where in it `data` begins.
pub(crate) fn render_at(input: &RenderInput<'_>) -> (Bytes, usize) {
    let mut body = Vec::with_capacity(input.data.len() + ENVELOPE_BYTES);
    let envelope = data::Envelope::of(input);
    write_json(&mut body, &envelope);
    // Opens the envelope again.
    body.pop();
    body.extend_from_slice(b",\"data\":");
    let data = input.data.trim_ascii();
    let inner = data
        .strip_prefix(b"{")
        .and_then(|data| data.strip_suffix(b"}"));
    debug_assert!(inner.is_some(), "stored data is no object");
    let at = body.len();
    body.push(b'{');
    let inner = inner.unwrap_or_default().trim_ascii();
    body.extend_from_slice(inner);
    if !inner.is_empty() {
        body.push(b',');
    }
    let mark: &[u8] = match input.test {
        true => b"\"test\":true,\"delivery\":",
        false => b"\"test\":false,\"delivery\":",
    };
    body.extend_from_slice(mark);
    write_json(&mut body, &data::Delivery::of(input));
    body.extend_from_slice(b"}}");
    (body.into(), at)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(8 << 10);
    write_json(&mut json, value);
    json
}

#[expect(
    clippy::expect_used,
    reason = "our own structs into memory: neither a map with odd keys nor a failing writer"
)]
fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("the body's structs serialise into memory");
}
