//! The body's keys, in the order in which they are sent.

use postrider_core::{
    message::{Address, Attachment, Message, Warnings},
    time::Wall,
};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    MailboxRef, MessageContext, RenderInput,
    machine::{Authenticated, Auto},
    schema::{ReplayMark, Time},
};

/// What CloudEvents and Standard Webhooks ask for, around `data`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Envelope<'a> {
    specversion: &'static str,
    #[serde(serialize_with = "display")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: uuid::Uuid,
    source: String,
    r#type: &'static str,
    subject: &'a str,
    #[serde(serialize_with = "wall")]
    #[schemars(with = "Time")]
    time: Wall,
    #[serde(serialize_with = "wall")]
    #[schemars(with = "Time")]
    timestamp: Wall,
    dataschema: String,
    partitionkey: Option<&'a str>,
    sequence: String,
}

impl<'a> Envelope<'a> {
    pub(super) fn of(input: &RenderInput<'a>) -> Self {
        let event_type = input.event_type.as_str();
        let mut source = format!("urn:postrider:{}", urn(input.instance));
        if let Some(mailbox) = input.mailbox {
            source.push(':');
            source.push_str(&urn(mailbox));
        }
        Self {
            specversion: "1.0",
            id: input.id,
            source,
            r#type: event_type,
            subject: input.subject,
            time: input.time,
            timestamp: input.stored_at,
            dataschema: format!("urn:postrider:schema/{event_type}.v1.json"),
            partitionkey: input.mailbox,
            // CloudEvents' sequence extension is a string that sorts as text.
            sequence: format!("{:020}", input.sequence),
        }
    }
}

/// A component of a URN (RFC 8141 section 2): unreserved characters as they are, the rest encoded.
fn urn(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What differs from attempt to attempt.
#[derive(Serialize, JsonSchema)]
pub(super) struct Delivery<'a> {
    attempt: u32,
    #[serde(serialize_with = "wall_or_null")]
    #[schemars(with = "Option<Time>")]
    first_attempt_at: Option<Wall>,
    #[schemars(with = "Option<ReplayMark>")]
    replay: Option<Replay<'a>>,
    stepped_aside: bool,
    when_failed: bool,
}

/// A mark that is no JSON is sent as the text that it is.
#[derive(Serialize)]
#[serde(untagged)]
enum Replay<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> Delivery<'a> {
    pub(super) fn of(input: &RenderInput<'a>) -> Self {
        Self {
            attempt: input.attempt,
            first_attempt_at: input.first_attempt_at,
            replay: input
                .replay
                .map(|mark| serde_json::from_str(mark).map_or(Replay::Text(mark), Replay::Json)),
            stepped_aside: input.stepped_aside,
            when_failed: input.when_failed,
        }
    }
}

/// `data` of a `message.received` event. References only; what is cut is cut here.
#[derive(Serialize, JsonSchema)]
pub(super) struct Data<'a> {
    mailbox: MailboxRef<'a>,
    folder: &'a str,
    pub(super) imap: Imap<'a>,
    pub(super) message: Identity<'a>,
    #[schemars(with = "Vec<Person<'a>>")]
    pub(super) from: People<'a>,
    pub(super) sender: Option<Person<'a>>,
    #[schemars(with = "Vec<Person<'a>>")]
    pub(super) to: People<'a>,
    #[schemars(with = "Vec<Person<'a>>")]
    pub(super) cc: People<'a>,
    #[schemars(with = "Vec<Person<'a>>")]
    pub(super) reply_to: People<'a>,
    #[schemars(with = "Vec<String>")]
    pub(super) delivered_to: &'a [String],
    pub(super) text: Text<'a>,
    #[schemars(with = "Vec<File<'a>>")]
    pub(super) attachments: Files<'a>,
    pub(super) auto: Auto<'a>,
    pub(super) authentication: Option<Authenticated<'a>>,
    #[schemars(with = "Vec<(String, String)>")]
    pub(super) headers: &'a [(String, String)],
    pub(super) parse: Parse,
    /// The message itself, where an endpoint has it put in.
    #[schemars(with = "Option<super::schema::Whole>")]
    raw: Option<()>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Imap<'a> {
    uid: u32,
    uidvalidity: u32,
    #[serde(serialize_with = "wall_or_null")]
    #[schemars(with = "Option<Time>")]
    internal_date: Option<Wall>,
    size: u64,
    #[schemars(with = "Vec<String>")]
    pub(super) flags: &'a [String],
    folder: &'a str,
    gmail: Option<Gmail>,
}

/// As decimal text: JSON's numbers do not hold 64 bits everywhere.
#[derive(Serialize, JsonSchema)]
struct Gmail {
    message_id: String,
    thread_id: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Identity<'a> {
    pub(super) message_id: Option<&'a str>,
    pub(super) in_reply_to: Option<&'a str>,
    #[schemars(with = "Vec<String>")]
    pub(super) references: &'a [String],
    pub(super) thread_key: Option<&'a str>,
    pub(super) subject: Option<&'a str>,
    date: Option<&'a str>,
    pub(super) date_raw: Option<&'a str>,
    fingerprint: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Person<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) address: Option<&'a str>,
}

impl<'a> Person<'a> {
    pub(super) fn of(who: &'a Address) -> Self {
        Self {
            name: who.name.as_deref(),
            address: who.address.as_deref(),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct People<'a>(pub(super) &'a [Address]);

impl Serialize for People<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Person::of))
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Text<'a> {
    pub(super) plain: Option<&'a str>,
    plain_source: Option<&'static str>,
    pub(super) html: Option<&'a str>,
    pub(super) truncated: bool,
    /// Why there is none here, where an endpoint gets none.
    omitted_reason: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub(super) struct Files<'a>(pub(super) &'a [Attachment]);

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(File::of))
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct File<'a> {
    index: u32,
    filename: Option<&'a str>,
    content_type: &'a str,
    size: Option<u64>,
    sha256: Option<&'a str>,
    disposition: Option<&'a str>,
    content_id: Option<&'a str>,
    /// Whether its bytes are in `content`: an endpoint that gets them has them put in.
    included: bool,
    omitted_reason: Option<&'static str>,
    content: Option<&'static str>,
    href: Option<&'static str>,
}

impl<'a> File<'a> {
    pub(super) fn of(file: &'a Attachment) -> Self {
        Self {
            index: file.index,
            filename: file.filename.as_deref(),
            content_type: &file.content_type,
            size: file.size,
            sha256: file.sha256.as_deref(),
            disposition: file.disposition.as_deref(),
            content_id: file.content_id.as_deref(),
            included: false,
            omitted_reason: Some("not_configured"),
            content: None,
            href: None,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Parse {
    status: &'static str,
    #[serde(serialize_with = "codes")]
    #[schemars(with = "Vec<String>")]
    pub(super) warnings: Warnings,
}

impl<'a> Data<'a> {
    pub(super) fn of(context: &MessageContext<'a>, message: &'a Message) -> Self {
        Self {
            mailbox: context.mailbox,
            folder: context.folder,
            imap: Imap {
                uid: context.uid.get(),
                uidvalidity: context.uid_validity.0,
                internal_date: context.internal_date,
                size: context.size,
                flags: context.flags,
                folder: context.server_folder,
                gmail: context.gmail.map(|ids| Gmail {
                    message_id: ids.message_id.to_string(),
                    thread_id: ids.thread_id.to_string(),
                }),
            },
            message: Identity {
                message_id: message.message_id.as_deref(),
                in_reply_to: message.in_reply_to.as_deref(),
                references: &message.references,
                thread_key: message.thread_key.as_deref(),
                subject: message.subject.as_deref(),
                date: message.date.as_deref(),
                date_raw: message.date_raw.as_deref(),
                fingerprint: context.fingerprint.hex(),
            },
            from: People(&message.from),
            sender: message.sender.as_ref().map(Person::of),
            to: People(&message.to),
            cc: People(&message.cc),
            reply_to: People(&message.reply_to),
            delivered_to: &message.delivered_to,
            text: Text {
                plain: message.text.plain.as_deref(),
                plain_source: message.text.plain_source.map(|source| source.as_str()),
                html: message.text.html.as_deref(),
                truncated: message.text.truncated,
                omitted_reason: None,
            },
            attachments: Files(&message.attachments),
            auto: Auto::of(&message.auto),
            authentication: Authenticated::of(&message.authentication, context.trusted_authserv_id),
            headers: &message.headers,
            parse: Parse {
                status: message.status.as_str(),
                warnings: message.warnings,
            },
            raw: None,
        }
    }
}

pub(super) fn wall<S: Serializer>(at: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

fn wall_or_null<S: Serializer>(at: &Option<Wall>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Wall::rfc3339).serialize(serializer)
}

fn display<S: Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn codes<S: Serializer>(warnings: &Warnings, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(|warning| warning.as_str()))
}
