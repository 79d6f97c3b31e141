//! The walk over the parts of a message (RFC 2046 section 5.1). It descends into multiparts,
//! never into attached messages, keeps slices only, and is linear whatever the boundaries are.

use memchr::memmem;

use super::{
    ParseLimits, Warning, Warnings,
    field::{Line, Reading, Scan},
    part::Head,
};

/// A part that is no multipart.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) head: Head,
    pub(super) body: &'a [u8],
    /// Its end was seen.
    pub(super) complete: bool,
    /// The innermost multipart/alternative around it, numbered from 1; 0 for none.
    pub(super) group: u32,
    /// It is the message itself.
    pub(super) root: bool,
}

/// An open multipart.
pub(super) struct Level {
    boundary: Vec<u8>,
    group: u32,
    digest: bool,
}

impl Level {
    /// The multipart of this header, inside `around`.
    pub(super) fn open(
        boundary: Vec<u8>,
        head: &Head,
        around: Option<&Self>,
        groups: &mut u32,
    ) -> Self {
        let group = if head.is("multipart/alternative") {
            *groups += 1;
            *groups
        } else {
            around.map_or(0, |level| level.group)
        };
        Self {
            boundary,
            group,
            digest: head.is("multipart/digest"),
        }
    }

    pub(super) fn is_digest(&self) -> bool {
        self.digest
    }

    /// Whether `line` (which begins with `--`) is this multipart's delimiter; and whether it ends it.
    pub(super) fn matches(&self, line: &[u8]) -> Option<Delimiter> {
        let rest = line.strip_prefix(b"--")?.strip_prefix(&self.boundary[..])?;
        match rest.trim_ascii() {
            b"" => Some(Delimiter::Next),
            b"--" => Some(Delimiter::Last),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    Next,
    Last,
}

/// A delimiter line that was found.
#[derive(Clone, Copy)]
struct Found {
    level: usize,
    kind: Delimiter,
    /// Where the part before it ends: the line end before the delimiter belongs to the delimiter.
    before: usize,
    after: usize,
}

pub(super) struct Walk<'a, 'c> {
    raw: &'a [u8],
    /// `raw` is the whole message.
    whole: bool,
    reading: Reading<'c>,
    limits: &'c ParseLimits,
    levels: Vec<Level>,
    groups: u32,
    leaves: Vec<Leaf<'a>>,
    pub(super) warnings: Warnings,
    /// Something was not looked at.
    pub(super) cut: bool,
}

impl<'a, 'c> Walk<'a, 'c> {
    pub(super) fn new(
        raw: &'a [u8],
        whole: bool,
        reading: Reading<'c>,
        limits: &'c ParseLimits,
    ) -> Self {
        Self {
            raw,
            whole,
            reading,
            limits,
            levels: Vec::new(),
            groups: 0,
            leaves: Vec::new(),
            warnings: Warnings::default(),
            cut: false,
        }
    }

    /// All leaves of the message whose header is `head` and whose body begins at `at`.
    pub(super) fn leaves(&mut self, mut head: Head, mut at: usize) -> Vec<Leaf<'a>> {
        let mut root = true;
        loop {
            let opened = if head.kind.starts_with("multipart/") {
                self.enter(&mut head, at)
            } else {
                None
            };
            let found = match opened {
                Some(first) => Some(first),
                None => {
                    let end = self.delimiter(at);
                    self.leaf(head, at, end, root);
                    end
                }
            };
            root = false;
            match self.advance(found) {
                Some((next, body)) => (head, at) = (next, body),
                None => return std::mem::take(&mut self.leaves),
            }
            if self.leaves.len() >= self.limits.parts {
                self.warnings.add(Warning::TooManyParts);
                self.cut = true;
                return std::mem::take(&mut self.leaves);
            }
        }
    }

    /// Opens a multipart and finds its first delimiter. `None`: it is a leaf after all.
    fn enter(&mut self, head: &mut Head, at: usize) -> Option<Found> {
        let Some(boundary) = head.boundary.take() else {
            self.warnings.add(Warning::BoundaryMissing);
            head.kind.clear();
            return None;
        };
        if self.levels.len() >= self.limits.nesting {
            self.warnings.add(Warning::NestingTooDeep);
            self.cut = true;
            return None;
        }
        let level = Level::open(boundary, head, self.levels.last(), &mut self.groups);
        self.levels.push(level);
        let found = self
            .delimiter(at)
            .filter(|found| found.level + 1 == self.levels.len());
        if found.is_none() {
            self.levels.pop();
            self.warnings.add(Warning::BoundaryMissing);
            head.kind.clear();
        }
        found
    }

    fn leaf(&mut self, head: Head, at: usize, end: Option<Found>, root: bool) {
        let before = end.map_or(self.raw.len(), |found| found.before);
        self.leaves.push(Leaf {
            head,
            body: self.raw.get(at..before.max(at)).unwrap_or_default(),
            complete: self.whole || end.is_some(),
            group: self.levels.last().map_or(0, |level| level.group),
            root,
        });
    }

    /// From a delimiter to the next part's header and body. `None`: there is no further part.
    fn advance(&mut self, mut found: Option<Found>) -> Option<(Head, usize)> {
        loop {
            let Some(delimiter) = found else {
                if !self.levels.is_empty() && self.whole {
                    self.warnings.add(Warning::MultipartUnclosed);
                }
                return None;
            };
            if delimiter.level + 1 < self.levels.len() {
                self.warnings.add(Warning::MultipartUnclosed);
                self.levels.truncate(delimiter.level + 1);
            }
            match delimiter.kind {
                Delimiter::Next if delimiter.after < self.raw.len() => {
                    return Some(self.header(delimiter.after));
                }
                Delimiter::Next => found = None,
                Delimiter::Last => {
                    self.levels.pop();
                    if self.levels.is_empty() {
                        return None;
                    }
                    found = self.delimiter(delimiter.after);
                }
            }
        }
    }

    fn header(&mut self, at: usize) -> (Head, usize) {
        let mut head = Head::default();
        let mut scan = Scan::new(self.raw, at, &self.levels);
        let mut lines = 0;
        for line in scan.by_ref() {
            lines += 1;
            match line {
                Line::Field(field) if lines <= self.limits.headers => {
                    head.take(&field, self.reading, &mut self.warnings)
                }
                Line::Field(_) | Line::Other => {}
            }
        }
        if head.kind.is_empty() && self.levels.last().is_some_and(|level| level.is_digest()) {
            "message/rfc822".clone_into(&mut head.kind);
        }
        // A part without any field or empty line is a body alone.
        let body = scan.body_start();
        (head, body)
    }

    /// The next delimiter line of any open multipart at or after `from`, which begins a line.
    fn delimiter(&self, from: usize) -> Option<Found> {
        if self.levels.is_empty() || from > self.raw.len() {
            return None;
        }
        let at_start = self.raw[from..].starts_with(b"--").then_some(from);
        let later = memmem::find_iter(&self.raw[from..], b"\n--").map(|at| from + at + 1);
        at_start
            .into_iter()
            .chain(later)
            .find_map(|start| self.delimiter_at(start, from))
    }

    fn delimiter_at(&self, start: usize, from: usize) -> Option<Found> {
        let rest = &self.raw[start..];
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (level, kind) = self
            .levels
            .iter()
            .enumerate()
            .rev()
            .find_map(|(level, open)| Some((level, open.matches(&rest[..length])?)))?;
        let before = self.raw[from..start]
            .strip_suffix(b"\n")
            .unwrap_or(&self.raw[from..start]);
        let before = before.strip_suffix(b"\r").unwrap_or(before);
        Some(Found {
            level,
            kind,
            before: from + before.len(),
            after: start + length,
        })
    }
}
