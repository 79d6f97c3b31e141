//! What a message says: its facts, read from raw bytes without ever failing.
//!
//! Owns the walk over headers and MIME parts, all limits on it, and what an event may say of a
//! message. Headers of structured form are read by `mail-parser`. Its tree of parts is not used:
//! it holds a decoded copy of every attachment and is as deep as a sender nests messages, deeper
//! than a stack. The walk here keeps slices, descends into multiparts only, and counts.

use std::fmt;

mod address;
mod authentication;
mod auto;
mod charset;
mod facts;
mod field;
mod html;
mod locate;
mod parse;
mod part;
mod report;
mod salvage;
mod text;
mod transfer;
mod walk;
mod warning;
mod words;

#[cfg(test)]
mod tests;

pub use facts::{HeaderFacts, facts_from_headers, fingerprint};
pub use locate::{Located, Locator};
pub use parse::{parse, parse_prefix};
pub use salvage::salvage;
pub use transfer::{Decoder, Encoding};
pub use warning::{Warning, Warnings};

/// What bounds a parsed message. The defaults suit an event of 64 KiB to a few MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    /// A message above this is read only up to here (`Status::Partial`).
    pub parse_bytes: u64,
    /// Decoded bytes that are kept of the plain text, and again of the html. An event can hold no
    /// more than its own size, so a caller may set that.
    pub text_bytes: usize,
    /// Decoded bytes of headers that are kept for the event.
    pub header_bytes: usize,
    /// Header fields that are kept for the event.
    pub headers: usize,
    /// Parts that are looked at. Real mail stays below 100.
    pub parts: usize,
    /// Multiparts inside each other. Real mail stays below 10.
    pub nesting: usize,
    /// Attachments that are listed and hashed.
    pub attachments: usize,
    /// Addresses per list.
    pub addresses: usize,
    /// Message-IDs in References: the first, and the last ones.
    pub references: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            parse_bytes: 32 << 20,
            text_bytes: 1 << 20,
            header_bytes: 1 << 20,
            headers: 1_000,
            parts: 1_000,
            nesting: 64,
            attachments: 200,
            addresses: 500,
            references: 100,
        }
    }
}

/// A message as an event tells it. No text in it holds NUL; one-line texts hold no control
/// characters at all. Its size is bounded by [`ParseLimits`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// Without angle brackets, as are all ids here.
    pub message_id: Option<String>,
    pub in_reply_to: Option<String>,
    pub references: Vec<String>,
    /// The first of References, else In-Reply-To, else Message-ID, as it is written: the same for
    /// all messages of a thread whose mail programs keep References.
    pub thread_key: Option<String>,
    pub subject: Option<String>,
    /// RFC 3339, with the sender's own offset. `None` for what is no date.
    pub date: Option<String>,
    pub date_raw: Option<String>,
    pub from: Vec<Address>,
    pub sender: Option<Address>,
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub reply_to: Vec<Address>,
    /// Addresses of Delivered-To, X-Original-To and Envelope-To, without repeats.
    pub delivered_to: Vec<String>,
    pub text: Text,
    pub attachments: Vec<Attachment>,
    pub auto: Auto,
    /// What servers on the way say of the sender, the latest first. Anybody can write such fields.
    pub authentication: Vec<Authentication>,
    /// Names as written, values decoded, in order.
    pub headers: Vec<(String, String)>,
    pub status: Status,
    pub warnings: Warnings,
    /// Bytes of the raw message.
    pub size: u64,
}

/// Name and address as the sender wrote them; either may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Address {
    pub name: Option<String>,
    pub address: Option<String>,
}

/// The message's text. Line ends are `\n`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Text {
    pub plain: Option<String>,
    /// `None` where there is no plain text.
    pub plain_source: Option<PlainSource>,
    pub html: Option<String>,
    pub truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainSource {
    /// The message has a text part of its own.
    Part,
    /// Made from the html.
    Html,
}

impl PlainSource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Html => "html",
        }
    }
}

/// A part that is not the message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub index: u32,
    /// The last component of what the sender wrote, at most 255 bytes.
    pub filename: Option<String>,
    /// Type and subtype, lower case.
    pub content_type: String,
    /// Decoded bytes; `None` where the part was not seen whole.
    pub size: Option<u64>,
    /// Of the decoded bytes, lower-case hexadecimal; `None` where the part was not seen whole.
    pub sha256: Option<String>,
    /// `attachment`, `inline` or what else is written, lower case.
    pub disposition: Option<String>,
    pub content_id: Option<String>,
}

/// Signs that a machine wrote.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Auto {
    /// Auto-Submitted (RFC 3834 section 5), lower case, without parameters.
    pub auto_submitted: Option<String>,
    pub is_bounce: bool,
    /// List-Id (RFC 2919) without angle brackets.
    pub list_id: Option<String>,
    /// `bulk`, `list`, `junk` or what else is written, lower case.
    pub precedence: Option<String>,
    /// It came through a mailing list: any List- field (RFC 2919, RFC 2369), or its precedence.
    pub is_list: bool,
    /// A person's absence answers, or another machine that replies to each mail. Never judged by a
    /// subject.
    pub out_of_office: bool,
    /// There is a part of the type text/calendar.
    pub is_calendar: bool,
    /// `REQUEST`, `REPLY`, `CANCEL` and the like (RFC 5546), upper case.
    pub calendar_method: Option<String>,
    /// What a bounce tells; only of bounces.
    pub bounce: Option<Bounce>,
}

/// Which message did not arrive, and where.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bounce {
    /// Of the returned message, without angle brackets.
    pub original_message_id: Option<String>,
    pub recipients: Vec<Recipient>,
}

/// One recipient of a message that bounced.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Recipient {
    /// As the message was sent to, else where it ended.
    pub address: Option<String>,
    /// `failed`, `delayed`, `delivered`, `relayed` or `expanded` (RFC 3464 section 2.3.3).
    pub action: Option<String>,
    /// `5.1.1` and the like (RFC 3463).
    pub status: Option<String>,
    /// The other server's own words.
    pub diagnostic: Option<String>,
}

/// One Authentication-Results field (RFC 8601).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Authentication {
    /// Which server says so, by its own name for itself; empty where it does not tell.
    pub authserv_id: String,
    pub results: Vec<AuthResult>,
}

/// `spf=pass smtp.mailfrom=example.org`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AuthResult {
    /// `spf`, `dkim`, `dmarc`, `arc` and others, lower case.
    pub method: String,
    /// `pass`, `fail`, `none` and others, lower case.
    pub result: String,
    /// `header.d`, `smtp.mailfrom` and others, in order.
    pub properties: Vec<(String, String)>,
}

/// How much of the message was understood. Warnings may come with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// All of it was looked at.
    #[default]
    Ok,
    /// Something was not looked at: too large, too many parts, nested too deep.
    Partial,
    /// It does not read as mail; what could be had is there.
    Failed,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The longest prefix of `text` of at most `max` bytes that ends between characters.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
