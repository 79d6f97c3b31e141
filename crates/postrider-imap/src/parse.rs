//! One frame in, one small value out. Status lines, CAPABILITY and SEARCH are read here; everything
//! else is async-imap's parser's, which must consume the whole frame.
//!
//! That parser recurses and panics on some inputs, so it sees no literal's bytes, no frame with more
//! than [`NESTING_MAX`] opening parentheses, and runs isolated. A panic hook asks [`parsing`] and
//! then prints nothing of the panic's message, which may quote a server's bytes.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use async_imap::imap_proto::{self, AttributeValue, MailboxDatum, MessageSection, SectionPath};
use postrider_core::{ids::Uid, time::Wall};

use crate::{
    error::{Breach, ServerText},
    framer::{Frame, is_fetch, is_search},
    parse::{
        date::internal_date,
        status::{Code, Condition, Status},
    },
};

pub(crate) mod date;
mod list;
pub(crate) mod numbers;
pub(crate) mod status;

/// The parser cannot nest deeper than it is given parentheses. No response that we ask for has
/// more than a few; 300 are known to be survived on a 2 MiB stack.
const NESTING_MAX: usize = 64;

thread_local! {
    static PARSING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside the foreign parser: a panic now is caught, and its message may
/// hold a server's bytes.
pub fn parsing() -> bool {
    PARSING.with(Cell::get)
}

#[derive(Debug, PartialEq)]
pub(crate) enum Response {
    Tagged {
        tag: Vec<u8>,
        status: Status,
    },
    Continue(Vec<u8>),
    Untagged(Untagged),
    /// It does not parse; nothing of it is known but what it may have been.
    Skipped(Skipped),
    /// Neither tagged nor untagged, such as Exchange's `Server Unavailable. 15`.
    Bare(Vec<u8>),
}

#[derive(Debug, PartialEq)]
pub(crate) enum Untagged {
    Status(Status),
    Capability(Vec<String>),
    Exists(u32),
    Expunge,
    Search(Vec<u32>),
    List(Listed),
    /// What STATUS told.
    UidNext(u32),
    Fetch(Box<Fetch>),
    /// Understood, and of no interest here.
    Other,
}

/// A folder, its name as it is on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) attributes: Vec<String>,
    pub(crate) delimiter: Option<char>,
    pub(crate) name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    Fetch,
    Search,
    Other,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fetch {
    pub(crate) uid: Option<Uid>,
    pub(crate) internal_date: Option<Wall>,
    pub(crate) size: Option<u32>,
    pub(crate) flags: Vec<String>,
    pub(crate) gmail_message_id: Option<u64>,
    pub(crate) gmail_thread_id: Option<u64>,
    /// `BODY[]`.
    pub(crate) whole: Section,
    /// `BODY[HEADER…]`.
    pub(crate) header: Section,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) enum Section {
    /// The response does not speak of it.
    #[default]
    Absent,
    Nil,
    Quoted(Vec<u8>),
    /// The frame's literal of this index.
    Literal(usize),
}

/// `Err`: a reply to SEARCH with more results than can be held.
pub(crate) fn parse(frame: &Frame) -> Result<Response, Breach> {
    let line = frame.text.trim_ascii_end();
    if let Some(rest) = line.strip_prefix(b"+") {
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        return Ok(Response::Continue(rest.to_vec()));
    }
    let Some(rest) = line.strip_prefix(b"* ") else {
        return Ok(not_untagged(line));
    };
    if let Some(status) = Status::parse(rest) {
        return Ok(Response::Untagged(Untagged::Status(status)));
    }
    if let Some(names) = strip_word(rest, b"CAPABILITY") {
        return Ok(Response::Untagged(Untagged::Capability(
            status::capabilities(names),
        )));
    }
    if strip_word(rest, b"NAMESPACE").is_some() {
        return Ok(Response::Untagged(Untagged::Other));
    }
    if let Some(results) = strip_word(rest, b"SEARCH") {
        return numbers::search(results).map(found);
    }
    if let Some(results) = strip_word(rest, b"ESEARCH") {
        return numbers::esearch(results).map(found);
    }
    if let Some(rest) = strip_word(rest, b"LIST") {
        let listed = list::list(rest, frame).map(Untagged::List);
        return Ok(listed.map_or(Response::Skipped(Skipped::Other), Response::Untagged));
    }
    if let Some(next) = strip_word(rest, b"STATUS").and_then(numbers::status_uid_next) {
        return Ok(Response::Untagged(Untagged::UidNext(next)));
    }
    Ok(foreign(frame))
}

fn not_untagged(line: &[u8]) -> Response {
    if line.is_empty() || line.starts_with(b"*") {
        return Response::Skipped(Skipped::Other);
    }
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let (tag, rest) = (parts.next(), parts.next());
    match (tag, rest.and_then(Status::parse)) {
        (Some(tag), Some(status)) if status.condition.is_tagged() => Response::Tagged {
            tag: tag.to_vec(),
            status,
        },
        _ => Response::Bare(line.to_vec()),
    }
}

fn found(uids: Option<Vec<u32>>) -> Response {
    match uids {
        Some(uids) => Response::Untagged(Untagged::Search(uids)),
        None => Response::Skipped(Skipped::Search),
    }
}

/// What follows the word, where the line begins with it as a whole word.
fn strip_word<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(word.len())?;
    (head.eq_ignore_ascii_case(word) && (rest.is_empty() || rest[0] == b' ')).then_some(rest)
}

fn foreign(frame: &Frame) -> Response {
    let skipped = Response::Skipped(if is_fetch(&frame.text) {
        Skipped::Fetch
    } else if is_search(&frame.text) {
        Skipped::Search
    } else {
        Skipped::Other
    });
    let nesting = frame.text.iter().filter(|byte| **byte == b'(').count();
    if nesting > NESTING_MAX {
        return skipped;
    }
    let text = if is_fetch(&frame.text) {
        mended(frame)
    } else {
        Text {
            bytes: frame.text.clone(),
            places: Vec::new(),
        }
    };
    isolated(&text).map_or(skipped, Response::Untagged)
}

/// A response as the parser sees it, and where in it the literals are.
struct Text {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

/// Runs the parser; `None` where it fails, leaves a rest, or panics.
fn isolated(text: &Text) -> Option<Untagged> {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            PARSING.with(|parsing| parsing.set(false));
        }
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        PARSING.with(|parsing| parsing.set(true));
        let _reset = Reset;
        match imap_proto::Response::parse(&text.bytes) {
            Ok(([], response)) => Some(digest(response, text)),
            Ok(_) | Err(_) => None,
        }
    }));
    outcome.ok().flatten()
}

fn digest(response: imap_proto::Response<'_>, text: &Text) -> Untagged {
    match response {
        imap_proto::Response::MailboxData(MailboxDatum::Exists(count)) => Untagged::Exists(count),
        imap_proto::Response::Expunge(_) => Untagged::Expunge,
        imap_proto::Response::Fetch(_, items) => {
            let mut fetch = Fetch::default();
            for item in items {
                fetch.take(item, text);
            }
            Untagged::Fetch(Box::new(fetch))
        }
        _ => Untagged::Other,
    }
}

impl Fetch {
    fn take(&mut self, item: AttributeValue<'_>, text: &Text) {
        match item {
            AttributeValue::Uid(uid) => self.uid = Uid::new(uid),
            AttributeValue::InternalDate(date) => self.internal_date = internal_date(&date),
            AttributeValue::Rfc822Size(size) => self.size = Some(size),
            AttributeValue::Flags(flags) => {
                self.flags = flags.into_iter().map(|flag| flag.into_owned()).collect();
            }
            AttributeValue::GmailMsgId(id) => self.gmail_message_id = Some(id),
            AttributeValue::GmailThrId(id) => self.gmail_thread_id = Some(id),
            AttributeValue::BodySection {
                section,
                index: None | Some(0),
                data,
            } => {
                let data = data
                    .as_deref()
                    .map_or(Section::Nil, |data| locate(data, text));
                match section {
                    None => self.whole = data,
                    Some(SectionPath::Full(MessageSection::Header)) => self.header = data,
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }
}

/// Whether the string stands in quotes or is one of the literals, told by where it lies in the text.
fn locate(data: &[u8], text: &Text) -> Section {
    let at = (data.as_ptr() as usize).wrapping_sub(text.bytes.as_ptr() as usize);
    match text.places.iter().position(|place| *place == at) {
        Some(index) if data.is_empty() => Section::Literal(index),
        _ => Section::Quoted(unquote(data)),
    }
}

fn unquote(data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(data.len());
    let mut bytes = data.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next().unwrap_or(byte)
        } else {
            byte
        };
        plain.push(*byte);
    }
    plain
}

/// Two harmless forms of FETCH that the parser does not take: several spaces in a row, and
/// `INTERNALDATE NIL`. What stands in quotes stays as it is.
fn mended(frame: &Frame) -> Text {
    const NIL: &[u8] = b"INTERNALDATE NIL";
    let mut text = Text {
        bytes: Vec::with_capacity(frame.text.len()),
        places: Vec::with_capacity(frame.literals.len()),
    };
    let (mut quoted, mut at) = (false, 0);
    while let Some(byte) = frame.text.get(at) {
        let next = frame.literals.get(text.places.len());
        if next.is_some_and(|literal| literal.at == at) {
            text.places.push(text.bytes.len());
        }
        let rest = &frame.text[at..];
        let is_nil = rest
            .get(..NIL.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(NIL));
        if quoted && *byte == b'\\' {
            let pair = &rest[..rest.len().min(2)];
            text.bytes.extend_from_slice(pair);
            at += pair.len();
        } else if !quoted && is_nil {
            text.bytes.extend_from_slice(b"INTERNALDATE \"\"");
            at += NIL.len();
        } else {
            if quoted || !rest.starts_with(b"  ") {
                text.bytes.push(*byte);
            }
            quoted ^= *byte == b'"';
            at += 1;
        }
    }
    text
}

impl Response {
    /// What a line that is no response says.
    pub(crate) fn stray(line: &[u8]) -> Breach {
        Breach::NoResponse(ServerText::new(line))
    }
}

impl Condition {
    fn is_tagged(self) -> bool {
        match self {
            Self::Ok | Self::No | Self::Bad => true,
            Self::Preauth | Self::Bye => false,
        }
    }
}

impl Status {
    pub(crate) fn code_name(&self) -> Option<&str> {
        match &self.code {
            Some(Code::Named(name)) => Some(name),
            Some(Code::Capability(_) | Code::UidNext(_) | Code::UidValidity(_)) | None => None,
        }
    }
}

#[cfg(test)]
mod tests;
