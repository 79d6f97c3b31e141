//! Where the attachments of a message lie, found while its bytes go by: for messages that are not to
//! be in memory. It lists what [`parse`](super::parse) lists, in the same order, within the same limits.

use super::{
    ParseLimits, Warnings,
    field::{Line, Reading, Scan},
    part::Head,
    text::is_body,
    transfer::Encoding,
    walk::{Delimiter, Leaf, Level},
};

/// An attachment, and its bytes in the raw message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// As in [`Attachment`](super::Attachment).
    pub index: u32,
    pub filename: Option<String>,
    pub content_type: String,
    pub disposition: Option<String>,
    pub content_id: Option<String>,
    /// From here to before `end` its bytes stand in the message, in this encoding.
    pub start: u64,
    pub end: u64,
    pub encoding: Encoding,
}

/// Bytes of one header that are kept. Real ones stay far below; what comes after is not seen.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// Bytes of a line that are looked at for a delimiter: a boundary has 200 at most.
const LINE_BYTES_MAX: usize = 1 << 10;

pub struct Locator {
    limits: ParseLimits,
    levels: Vec<Level>,
    groups: u32,
    /// What the message's own header declares; it holds for names in its parts as well.
    charset: Option<String>,
    leaves: usize,
    found: Vec<Located>,
    place: Place,
    /// Bytes that went by before the current line, and in it so far.
    line_start: u64,
    line_length: u64,
    /// Its beginning, as far as it is looked at.
    pub(super) line: Vec<u8>,
    /// The last byte of the line so far, and how long the end of the line before was.
    last: u8,
    ending: u64,
}

enum Place {
    /// In a header that began at `start`.
    Header {
        start: u64,
        bytes: Vec<u8>,
        top: bool,
    },
    /// In what is no part: before the first delimiter of the innermost multipart, whose own header
    /// said `head`, and whose body began at `start`.
    Preamble {
        head: Box<Head>,
        start: u64,
        top: bool,
    },
    /// After the last delimiter of a multipart.
    Epilogue,
    /// In a part that is no multipart.
    Body {
        head: Box<Head>,
        start: u64,
        top: bool,
    },
    /// What comes is not looked at.
    Over,
}

impl Locator {
    pub fn new(limits: &ParseLimits) -> Self {
        Self {
            limits: *limits,
            levels: Vec::new(),
            groups: 0,
            charset: None,
            leaves: 0,
            found: Vec::new(),
            place: Place::Header {
                start: 0,
                bytes: Vec::new(),
                top: true,
            },
            line_start: 0,
            line_length: 0,
            line: Vec::new(),
            last: 0,
            ending: 0,
        }
    }

    /// The next bytes of the message.
    pub fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let max = match self.place {
                Place::Header { .. } => HEADER_BYTES_MAX,
                Place::Preamble { .. } | Place::Epilogue | Place::Body { .. } => {
                    let begins = self.line_length == 0 && part.starts_with(b"-");
                    if begins || !self.line.is_empty() {
                        LINE_BYTES_MAX
                    } else {
                        0
                    }
                }
                Place::Over => 0,
            };
            let room = max.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.line_length += part.len() as u64;
            match part {
                [.., before, b'\n'] => self.end_line(*before),
                [b'\n'] => self.end_line(self.last),
                [.., last] => self.last = *last,
                [] => {}
            }
        }
    }

    /// There are no further bytes: what was found.
    pub fn finish(mut self) -> Vec<Located> {
        if self.line_length > 0 {
            self.last = 0;
            self.take_line();
            self.ending = 0;
            self.line_start += self.line_length;
        }
        let end = self.line_start;
        match std::mem::replace(&mut self.place, Place::Over) {
            // A delimiter at the very end opens nothing.
            Place::Header {
                start, top: false, ..
            } if start >= end => {}
            Place::Header { start, bytes, top } => {
                let (head, at) = self.head(&bytes, start, end, top);
                self.enter(head, at, top);
                self.finish_part(end);
            }
            place @ (Place::Preamble { .. } | Place::Body { .. }) => {
                self.place = place;
                self.finish_part(end);
            }
            Place::Epilogue | Place::Over => {}
        }
        self.found
    }

    fn finish_part(&mut self, end: u64) {
        match std::mem::replace(&mut self.place, Place::Over) {
            Place::Preamble {
                mut head,
                start,
                top,
            } => {
                self.levels.pop();
                head.kind.clear();
                self.leaf(*head, start, end, top);
            }
            Place::Body { head, start, top } => self.leaf(*head, start, end, top),
            Place::Header { .. } | Place::Epilogue | Place::Over => {}
        }
    }

    fn end_line(&mut self, before: u8) {
        let is_crlf = before == b'\r' && self.line_length > 1;
        self.take_line();
        self.ending = if is_crlf { 2 } else { 1 };
        self.line_start += self.line_length;
        self.line_length = 0;
        self.line.clear();
        self.last = 0;
    }

    /// What a whole line means where it stands.
    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let delimiter = self.delimiter(&line);
        match &mut self.place {
            Place::Header { start, bytes, top } => {
                let blank = matches!(line.as_slice(), b"\n" | b"\r\n");
                if blank || (delimiter.is_some() && !*top) {
                    let (start, top, mut bytes) = (*start, *top, std::mem::take(bytes));
                    let body = if blank {
                        bytes.extend_from_slice(&line);
                        self.line_start + self.line_length
                    } else {
                        self.line_start
                    };
                    let (head, at) = self.head(&bytes, start, body, top);
                    self.enter(head, at, top);
                    if !blank {
                        // The multipart that this header may have opened can be meant as well.
                        let delimiter = self.delimiter(&line);
                        self.reached(delimiter);
                    }
                } else {
                    let room = HEADER_BYTES_MAX.saturating_sub(bytes.len());
                    bytes.extend_from_slice(&line[..line.len().min(room)]);
                }
            }
            Place::Preamble { .. } | Place::Epilogue | Place::Body { .. } => {
                self.reached(delimiter);
            }
            Place::Over => {}
        }
        self.line = line;
    }

    fn delimiter(&self, line: &[u8]) -> Option<(usize, Delimiter)> {
        if !line.starts_with(b"--") || self.line_length > LINE_BYTES_MAX as u64 {
            return None;
        }
        let mut levels = self.levels.iter().enumerate().rev();
        levels.find_map(|(level, open)| Some((level, open.matches(line)?)))
    }

    /// A delimiter ends what is open, and opens what follows it.
    fn reached(&mut self, delimiter: Option<(usize, Delimiter)>) {
        let Some((level, kind)) = delimiter else {
            return;
        };
        let before = |start: u64| (self.line_start - self.ending.min(self.line_start)).max(start);
        match std::mem::replace(&mut self.place, Place::Epilogue) {
            Place::Preamble { head, start, top } => {
                if level + 1 < self.levels.len() {
                    let (mut head, end) = (head, before(start));
                    self.levels.pop();
                    head.kind.clear();
                    self.leaf(*head, start, end, top);
                }
            }
            Place::Body { head, start, top } => {
                let end = before(start);
                self.leaf(*head, start, end, top);
            }
            Place::Header { .. } | Place::Epilogue | Place::Over => {}
        }
        self.levels.truncate(level + 1);
        match kind {
            Delimiter::Next => {
                self.place = Place::Header {
                    start: self.line_start + self.line_length,
                    bytes: Vec::new(),
                    top: false,
                };
            }
            Delimiter::Last => {
                self.levels.pop();
                if self.levels.is_empty() {
                    self.place = Place::Over;
                }
            }
        }
        if self.leaves >= self.limits.parts {
            self.place = Place::Over;
        }
    }

    /// What a header says, and where the body begins: after it at `body`, or with its first line
    /// that is no field where no empty line came.
    fn head(&mut self, bytes: &[u8], start: u64, body: u64, top: bool) -> (Head, u64) {
        let mut head = Head::default();
        let charset = self.charset.clone();
        let reading = Reading {
            charset: charset.as_deref(),
        };
        let mut warnings = Warnings::default();
        let separator = top && (bytes.starts_with(b"From ") || bytes.starts_with(b">From "));
        let skip = if separator {
            memchr::memchr(b'\n', bytes).map_or(0, |at| at + 1)
        } else {
            0
        };
        let mut scan = Scan::new(bytes, skip, &self.levels);
        let (mut lines, mut fields) = (0, 0);
        for line in scan.by_ref() {
            lines += 1;
            match line {
                Line::Field(field) => {
                    fields += 1;
                    if top || lines <= self.limits.headers {
                        head.take(&field, reading, &mut warnings);
                    }
                }
                // A message that does not begin with a header is a body.
                Line::Other if top && fields == 0 => return (Head::default(), 0),
                Line::Other => {}
            }
        }
        if !top && head.kind.is_empty() && self.levels.last().is_some_and(|level| level.is_digest())
        {
            "message/rfc822".clone_into(&mut head.kind);
        }
        if top {
            self.charset.clone_from(&head.charset);
        }
        let at = match (scan.body, scan.other_at) {
            (None, Some(other)) => start + other as u64,
            (None, None) | (Some(_), _) => body,
        };
        (head, at)
    }

    /// Opens a multipart, or begins a part.
    fn enter(&mut self, mut head: Head, start: u64, top: bool) {
        let is_multipart = head.kind.starts_with("multipart/");
        let boundary = head.boundary.take().filter(|_| is_multipart);
        let head = Box::new(head);
        self.place = match boundary {
            Some(boundary) if self.levels.len() < self.limits.nesting => {
                let around = self.levels.last();
                let level = Level::open(boundary, &head, around, &mut self.groups);
                self.levels.push(level);
                Place::Preamble { head, start, top }
            }
            Some(_) => Place::Body { head, start, top },
            None => {
                let mut head = head;
                if is_multipart {
                    head.kind.clear();
                }
                Place::Body { head, start, top }
            }
        };
    }

    fn leaf(&mut self, head: Head, start: u64, end: u64, root: bool) {
        self.leaves += 1;
        let leaf = Leaf {
            head,
            body: &[],
            complete: true,
            group: 0,
            root,
        };
        if is_body(&leaf) || self.found.len() >= self.limits.attachments {
            return;
        }
        let head = leaf.head;
        let kind = head.kind.as_str();
        self.found.push(Located {
            index: u32::try_from(self.found.len()).unwrap_or(u32::MAX),
            content_type: if kind.is_empty() { "text/plain" } else { kind }.to_owned(),
            filename: head.filename,
            disposition: head.disposition,
            content_id: head.content_id,
            start,
            end: end.max(start),
            encoding: head.encoding,
        });
    }
}
