//! Cuts a server's bytes into responses, within bounds, looking at each byte once.
//!
//! Literals never stay in a response's text: each is kept beside it or streamed aside, and `{0}` is
//! left in its place. So what a message contains never reaches the parser, however it is announced.

use crate::error::Breach;

/// A line, and all lines of one response together, literals apart. What we ask for has its long
/// parts in literals, so this is ample.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;
/// A SEARCH reply lists its UIDs in one line; `search` asks for no more than 80,000 at a time.
pub(crate) const SEARCH_BYTES_MAX: usize = 1024 * 1024;
/// Literals that nobody asked for, of one response together (mailbox names, for example).
pub(crate) const KEPT_BYTES_MAX: u64 = 64 * 1024;
/// One body. Exchange Online's limit is 150 MB.
pub(crate) const LITERAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
const LITERALS_MAX: usize = 64;

/// One whole response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Ends with CRLF; every literal is `{0}`.
    pub(crate) text: Vec<u8>,
    pub(crate) literals: Vec<Literal>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Where in the text its bytes would begin.
    pub(crate) at: usize,
    pub(crate) data: Data,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Kept(Vec<u8>),
    /// Whoever drives the framer took the bytes.
    Aside,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All that came is used up.
    More,
    Frame(Frame),
    /// A body's literal, or one above the limit of what is kept unasked, follows `text()`: answer
    /// with `keep` or `put_aside`, or give up.
    Announced(u64),
    /// Bytes of a literal put aside are there: `aside_bytes`, then `aside_taken`.
    Aside,
}

#[derive(Default)]
pub(crate) struct Framer {
    /// Received and not yet looked at, from `start` on.
    inbox: Vec<u8>,
    start: usize,
    text: Vec<u8>,
    literals: Vec<Literal>,
    kept: u64,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Line,
    Announced {
        size: u64,
    },
    Keeping {
        data: Vec<u8>,
        left: usize,
    },
    Aside {
        left: u64,
    },
}

impl Framer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
    }

    /// Nothing received waits to be looked at, and no response has begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.inbox.len() && self.text.is_empty()
    }

    /// The response so far.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn step(&mut self) -> Result<Step, Breach> {
        loop {
            match &mut self.state {
                State::Line => match self.line()? {
                    Line::Unfinished => return Ok(self.more()),
                    Line::Last => return Ok(Step::Frame(self.take_frame())),
                    Line::Literal(size) => self.announced(size)?,
                },
                State::Announced { size } => return Ok(Step::Announced(*size)),
                State::Keeping { data, left } => {
                    let waiting = &self.inbox[self.start..];
                    let part = &waiting[..waiting.len().min(*left)];
                    keep_part(data, part, *left);
                    self.start += part.len();
                    *left -= part.len();
                    if *left > 0 {
                        return Ok(self.more());
                    }
                    let data = Data::Kept(std::mem::take(data));
                    self.finish_literal(data);
                }
                State::Aside { left: 0 } => self.finish_literal(Data::Aside),
                State::Aside { .. } if self.start == self.inbox.len() => return Ok(self.more()),
                State::Aside { .. } => return Ok(Step::Aside),
            }
        }
    }

    /// Whether the announced literal fits the limit of what is kept unasked.
    pub(crate) fn has_room(&self) -> bool {
        match self.state {
            State::Announced { size } => self.kept + size <= KEPT_BYTES_MAX,
            State::Line | State::Keeping { .. } | State::Aside { .. } => false,
        }
    }

    /// Keep the announced literal in memory; the caller has checked its size.
    pub(crate) fn keep(&mut self) {
        if let State::Announced { size } = self.state {
            self.begin_keeping(size);
        }
    }

    /// Stream the announced literal aside.
    pub(crate) fn put_aside(&mut self) {
        if let State::Announced { size } = self.state {
            self.state = State::Aside { left: size };
        }
    }

    pub(crate) fn aside_bytes(&self) -> &[u8] {
        let waiting = &self.inbox[self.start..];
        match self.state {
            State::Aside { left } => {
                &waiting[..usize::try_from(left).map_or(waiting.len(), |n| n.min(waiting.len()))]
            }
            State::Line | State::Announced { .. } | State::Keeping { .. } => &[],
        }
    }

    pub(crate) fn aside_taken(&mut self, count: usize) {
        if let State::Aside { left } = &mut self.state {
            *left = left.saturating_sub(count as u64);
            self.start += count;
        }
    }

    /// Frees the inbox, so that nothing is held while waiting.
    fn more(&mut self) -> Step {
        self.inbox = Vec::new();
        self.start = 0;
        Step::More
    }

    fn line(&mut self) -> Result<Line, Breach> {
        let waiting = &self.inbox[self.start..];
        let end = waiting.iter().position(|byte| *byte == b'\n');
        let part = &waiting[..end.unwrap_or(waiting.len())];
        self.text.extend_from_slice(part);
        self.start += part.len() + usize::from(end.is_some());
        if self.text.len() > LINE_BYTES_MAX {
            let limit = if is_search(&self.text) {
                SEARCH_BYTES_MAX
            } else {
                LINE_BYTES_MAX
            };
            if self.text.len() > limit {
                return Err(Breach::LineTooLong(limit));
            }
        }
        if end.is_none() {
            return Ok(Line::Unfinished);
        }
        // Some servers end lines with a bare LF.
        if self.text.last() == Some(&b'\r') {
            self.text.pop();
        }
        if can_carry_literals(&self.text)
            && let Some((at, size)) = literal_at_end(&self.text)
        {
            self.text.truncate(at);
            return Ok(Line::Literal(size));
        }
        self.text.extend_from_slice(b"\r\n");
        Ok(Line::Last)
    }

    fn announced(&mut self, size: u64) -> Result<(), Breach> {
        if size > LITERAL_BYTES_MAX {
            return Err(Breach::LiteralTooLarge(size));
        }
        if self.literals.len() == LITERALS_MAX {
            return Err(Breach::TooManyLiterals(LITERALS_MAX));
        }
        if self.kept + size <= KEPT_BYTES_MAX && !is_body(&self.text) {
            self.begin_keeping(size);
        } else {
            self.state = State::Announced { size };
        }
        Ok(())
    }

    fn begin_keeping(&mut self, size: u64) {
        self.kept += size;
        let left = usize::try_from(size).unwrap_or(usize::MAX);
        // An announcement alone takes no memory to speak of.
        let data = Vec::with_capacity(left.min(KEPT_BYTES_MAX as usize));
        self.state = State::Keeping { data, left };
    }

    fn finish_literal(&mut self, data: Data) {
        self.text.extend_from_slice(b"{0}\r\n");
        let at = self.text.len();
        self.literals.push(Literal { at, data });
        self.state = State::Line;
    }

    fn take_frame(&mut self) -> Frame {
        self.kept = 0;
        Frame {
            text: std::mem::take(&mut self.text),
            literals: std::mem::take(&mut self.literals),
        }
    }
}

enum Line {
    Unfinished,
    /// The response's last line.
    Last,
    Literal(u64),
}

/// Grows to the full size only once the first part has really arrived.
fn keep_part(data: &mut Vec<u8>, part: &[u8], left: usize) {
    if data.len() + part.len() > data.capacity() {
        data.reserve_exact(left);
    }
    data.extend_from_slice(part);
}

/// `BODY[…]` right before a literal: its place is decided by who asked for it.
pub(crate) fn is_body(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let open = text.iter().rposition(|byte| *byte == b'[');
    let name = open.and_then(|open| text[..open].last_chunk::<5>());
    text.ends_with(b"]")
        && name.is_some_and(|[before, name @ ..]| {
            matches!(before, b' ' | b'(') && name.eq_ignore_ascii_case(b"BODY")
        })
        && is_fetch(text)
}

/// `* 12 FETCH …`
pub(crate) fn is_fetch(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"* ") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0
        && rest
            .get(digits..digits + 6)
            .is_some_and(|word| word.eq_ignore_ascii_case(b" FETCH"))
}

pub(crate) fn is_search(text: &[u8]) -> bool {
    let has = |word: &[u8]| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    has(b"* SEARCH") || has(b"* ESEARCH")
}

/// Never a status response (its text is free), a continuation or a tagged reply: RFC 3501 section 7.
fn can_carry_literals(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"* ") else {
        return false;
    };
    let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    let status: [&[u8]; 5] = [b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"];
    !status.iter().any(|name| word.eq_ignore_ascii_case(name)) && !word.starts_with(b"[")
}

/// `{n}`, `{n+}` (RFC 7888) and `~{n}` (RFC 3516) at the end: where it begins, and n.
fn literal_at_end(text: &[u8]) -> Option<(usize, u64)> {
    let inner = text.strip_suffix(b"}")?;
    let inner = inner.strip_suffix(b"+").unwrap_or(inner);
    let digits = inner
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let open = inner.len().checked_sub(digits + 1)?;
    if digits == 0 || inner[open] != b'{' {
        return None;
    }
    let size = inner[open + 1..].iter().fold(0u64, |size, digit| {
        size.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    let at = if text[..open].ends_with(b"~") {
        open - 1
    } else {
        open
    };
    Some((at, size))
}

#[cfg(test)]
mod tests;
