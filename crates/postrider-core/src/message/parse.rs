//! From raw bytes to a [`Message`]: header, parts, text, in that order, each within its limits.

use super::{
    Message, ParseLimits, Status, Warning, Warnings,
    address::{self, ID_BYTES_MAX, short},
    authentication, auto, facts,
    field::{Field, Line, Reading, Scan},
    part::Head,
    text,
    walk::Walk,
};

const SUBJECT_BYTES_MAX: usize = 2 << 10;
const DATE_BYTES_MAX: usize = 128;
/// Addresses of Delivered-To and its like; forwarding chains are short.
const DELIVERED_TO_MAX: usize = 50;

/// Reads a whole message. Never fails: what cannot be read is left out and warned of.
pub fn parse(raw: &[u8], limits: &ParseLimits) -> Message {
    parse_prefix(raw, raw.len() as u64, limits)
}

/// Reads the first bytes of a message of `total_size`, for a caller that holds only these. They
/// should hold the header; of a part that does not end in them, size and hash stay unknown.
pub fn parse_prefix(prefix: &[u8], total_size: u64, limits: &ParseLimits) -> Message {
    let budget = usize::try_from(limits.parse_bytes).unwrap_or(usize::MAX);
    let raw = &prefix[..prefix.len().min(budget)];
    let whole = raw.len() as u64 >= total_size;
    let mut message = read(raw, whole, limits);
    message.size = total_size.max(prefix.len() as u64);
    if !whole {
        message.warnings.add(Warning::OverParseBudget);
    }
    message
}

fn read(raw: &[u8], whole: bool, limits: &ParseLimits) -> Message {
    let mut warnings = Warnings::default();
    let header = Header::read(raw, limits, &mut warnings);
    let mut head = Head::default();
    for field in &header.fields {
        head.take(field, Reading::default(), &mut warnings);
    }
    let charset = head.charset.clone();
    let reading = Reading {
        charset: charset.as_deref(),
    };

    let mut walk = Walk::new(raw, whole, reading, limits);
    let leaves = walk.leaves(head.clone(), header.body);
    let cut = walk.cut;
    warnings.merge(walk.warnings);
    if header.body >= raw.len() && whole {
        warnings.add(Warning::NoBody);
    }
    let text = text::collect(&leaves, limits, &mut warnings);
    let attachments = text::attachments(&leaves, limits, &mut warnings);

    let from = header.addresses("from", limits, reading, &mut warnings);
    let auto = auto::read(
        &header.fields,
        &from,
        &head,
        &leaves,
        reading,
        &mut warnings,
    );
    let mut message = Message {
        sender: header
            .addresses("sender", limits, reading, &mut warnings)
            .into_iter()
            .next(),
        to: header.addresses("to", limits, reading, &mut warnings),
        cc: header.addresses("cc", limits, reading, &mut warnings),
        reply_to: header.addresses("reply-to", limits, reading, &mut warnings),
        delivered_to: header.delivered_to(reading, &mut warnings),
        headers: header.pairs(limits, reading, &mut warnings),
        from,
        text,
        attachments,
        auto,
        authentication: authentication::read(&header.fields, reading, &mut warnings),
        status: match (header.fields.is_empty(), whole && !cut) {
            (true, _) => Status::Failed,
            (false, true) => Status::Ok,
            (false, false) => Status::Partial,
        },
        ..Message::default()
    };
    header.identify(&mut message, limits, reading, &mut warnings);
    message.warnings = warnings;
    message
}

/// The message's header.
struct Header<'a> {
    fields: Vec<Field<'a>>,
    /// Where the body begins.
    body: usize,
}

impl<'a> Header<'a> {
    fn read(raw: &'a [u8], limits: &ParseLimits, warnings: &mut Warnings) -> Self {
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(32);
        // mbox separators are no part of the message, and common enough to pass.
        let separator = raw.starts_with(b"From ") || raw.starts_with(b">From ");
        let start = if separator {
            memchr::memchr(b'\n', raw).map_or(0, |at| at + 1)
        } else {
            0
        };
        let mut scan = Scan::new(raw, start, &[]);
        let mut left_out = false;
        // Fields are references, so twice the limit is kept: a late From is not lost behind
        // thousands of others.
        for line in scan.by_ref() {
            match line {
                Line::Field(field)
                    if fields.len() < limits.headers
                        || (is_read(&field) && fields.len() < limits.headers * 2) =>
                {
                    fields.push(field);
                }
                Line::Field(_) => left_out = true,
                Line::Other if fields.is_empty() => {
                    warnings.add(Warning::NoHeaders);
                    return Self { fields, body: 0 };
                }
                Line::Other => warnings.add(Warning::HeaderMalformed),
            }
        }
        if left_out {
            warnings.add(Warning::HeadersCut);
        }
        let body = scan.body_start();
        if fields.is_empty() {
            warnings.add(Warning::NoHeaders);
        }
        Self { fields, body }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.is(name))
            .map(|field| field.value)
    }

    /// The first field of this name, as text, where it says anything.
    fn text(&self, name: &str, reading: Reading<'_>, warnings: &mut Warnings) -> Option<String> {
        let text = reading.text(self.all(name).next()?, warnings);
        (!text.is_empty()).then_some(text)
    }

    fn addresses(
        &self,
        name: &str,
        limits: &ParseLimits,
        reading: Reading<'_>,
        warnings: &mut Warnings,
    ) -> Vec<super::Address> {
        // A second From or Reply-To is a forger's; several To and Cc are careless mail programs'.
        let fields = if matches!(name, "to" | "cc") {
            usize::MAX
        } else {
            1
        };
        address::list(
            self.all(name).take(fields),
            limits.addresses,
            reading,
            warnings,
        )
    }

    fn delivered_to(&self, reading: Reading<'_>, warnings: &mut Warnings) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for name in ["delivered-to", "x-original-to", "envelope-to"] {
            for address in address::list(self.all(name), DELIVERED_TO_MAX, reading, warnings) {
                if let Some(address) = address.address.or(address.name)
                    && !found.contains(&address)
                {
                    found.push(address);
                }
            }
        }
        found
    }

    /// The ids, the subject and the date.
    fn identify(
        &self,
        message: &mut Message,
        limits: &ParseLimits,
        reading: Reading<'_>,
        warnings: &mut Warnings,
    ) {
        for name in ["message-id", "from", "date", "subject"] {
            if self.all(name).nth(1).is_some() {
                warnings.add(Warning::HeaderDuplicate);
            }
        }
        let id = self.all("message-id").next().and_then(facts::message_id);
        message.message_id = id.map(|id| {
            short(
                &super::field::one_line(id, warnings),
                ID_BYTES_MAX,
                warnings,
            )
        });
        let raw_ids = |name: &str, warnings: &mut Warnings| -> Vec<String> {
            let texts: Vec<String> = self
                .all(name)
                .take(1)
                .map(|value| reading.text(value, warnings))
                .collect();
            texts.iter().flat_map(|text| address::ids(text)).collect()
        };
        message.in_reply_to = raw_ids("in-reply-to", warnings).into_iter().next();
        let mut references = raw_ids("references", warnings);
        if references.len() > limits.references {
            warnings.add(Warning::ListsCut);
            let middle = 1..references.len() + 1 - limits.references.max(1);
            references.drain(middle);
        }
        message.thread_key = references
            .first()
            .or(message.in_reply_to.as_ref())
            .or(message.message_id.as_ref())
            .cloned();
        message.references = references;
        message.subject = self
            .text("subject", reading, warnings)
            .map(|text| short(&text, SUBJECT_BYTES_MAX, warnings));
        let date = self.text("date", reading, warnings);
        message.date = date.as_deref().and_then(address::date);
        if date.is_some() && message.date.is_none() {
            warnings.add(Warning::DateUnreadable);
        }
        message.date_raw = date.map(|text| short(&text, DATE_BYTES_MAX, warnings));
    }

    fn pairs(
        &self,
        limits: &ParseLimits,
        reading: Reading<'_>,
        warnings: &mut Warnings,
    ) -> Vec<(String, String)> {
        let mut left = limits.header_bytes;
        let mut pairs = Vec::with_capacity(self.fields.len().min(limits.headers));
        for field in &self.fields {
            let value = reading.text(field.value, warnings);
            let cost = field.name.len() + value.len();
            if pairs.len() >= limits.headers || cost > left {
                warnings.add(Warning::HeadersCut);
                break;
            }
            left -= cost;
            pairs.push((field.name.to_owned(), value));
        }
        pairs
    }
}

/// Fields that are read for more than the list of headers.
fn is_read(field: &Field<'_>) -> bool {
    const NAMES: &[&str] = &[
        "message-id",
        "in-reply-to",
        "references",
        "subject",
        "date",
        "from",
        "sender",
        "to",
        "cc",
        "reply-to",
        "delivered-to",
        "x-original-to",
        "envelope-to",
        "auto-submitted",
        "precedence",
        "return-path",
        "x-failed-recipients",
        "x-autoreply",
        "x-autorespond",
        "x-auto-response-suppress",
        "x-ms-exchange-generated-message-source",
        "authentication-results",
        "content-type",
        "content-disposition",
        "content-transfer-encoding",
        "content-id",
    ];
    field.is_of_list() || NAMES.iter().any(|name| field.is(name))
}
