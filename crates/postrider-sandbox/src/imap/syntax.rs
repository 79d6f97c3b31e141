//! The little of IMAP's grammar (RFC 3501 §9) that a server needs to read commands: words, strings,
//! lists, sequence sets and dates. Literals arrive here as quoted strings.

use time::{Date, Month, OffsetDateTime};

/// Why a command cannot be read; becomes the text of a BAD.
pub(crate) type Bad = &'static str;

/// Reads one command line from left to right.
pub(crate) struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self(line)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Whether the next byte was this one; it is then used up.
    pub(crate) fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    /// Whether these bytes came next, in any case; they are then used up.
    pub(crate) fn accept_word(&mut self, word: &[u8]) -> bool {
        let found = self
            .0
            .get(..word.len())
            .is_some_and(|next| next.eq_ignore_ascii_case(word));
        if found {
            self.0 = &self.0[word.len()..];
        }
        found
    }

    pub(crate) fn space(&mut self) -> Result<(), Bad> {
        if self.accept(b' ') {
            Ok(())
        } else {
            Err("a space is missing")
        }
    }

    pub(crate) fn end(&self) -> Result<(), Bad> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err("there is more than the command takes")
        }
    }

    /// The bytes up to one of these, or the end.
    pub(crate) fn until(&mut self, stops: &[u8]) -> &'a [u8] {
        let all = self.0;
        let found = all.iter().position(|byte| stops.contains(byte));
        let (word, rest) = all.split_at(found.unwrap_or(all.len()));
        self.0 = rest;
        word
    }

    /// A word in upper case; never empty.
    pub(crate) fn word(&mut self) -> Result<String, Bad> {
        match self.until(b" ()[]<>\"") {
            [] => Err("a word is missing"),
            word => Ok(String::from_utf8_lossy(word).to_ascii_uppercase()),
        }
    }

    /// An atom or a quoted string.
    pub(crate) fn string(&mut self) -> Result<String, Bad> {
        if !self.accept(b'"') {
            return match self.until(b" ()\"") {
                [] => Err("a string is missing"),
                word => Ok(String::from_utf8_lossy(word).into_owned()),
            };
        }
        let mut text = Vec::new();
        loop {
            match self.0 {
                [b'"', rest @ ..] => {
                    self.0 = rest;
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                    text.push(*byte);
                    self.0 = rest;
                }
                [] => return Err("a quoted string does not end"),
            }
        }
    }

    /// `(a b c)`.
    pub(crate) fn list(&mut self) -> Result<Vec<String>, Bad> {
        if !self.accept(b'(') {
            return Err("a list is missing");
        }
        let mut items = Vec::new();
        while !self.accept(b')') {
            if !items.is_empty() {
                self.space()?;
            }
            items.push(self.string()?);
        }
        Ok(items)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Bad> {
        let number = self.long_number()?;
        u32::try_from(number).map_err(|_| "a number is too large")
    }

    pub(crate) fn long_number(&mut self) -> Result<u64, Bad> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        let number = std::str::from_utf8(number).unwrap_or_default();
        number.parse().map_err(|_| "a number is missing")
    }

    pub(crate) fn set(&mut self) -> Result<SequenceSet, Bad> {
        let mut ranges = Vec::new();
        loop {
            let from = self.place()?;
            let to = if self.accept(b':') {
                self.place()?
            } else {
                from
            };
            ranges.push((from, to));
            if !self.accept(b',') {
                return Ok(SequenceSet(ranges));
            }
        }
    }

    fn place(&mut self) -> Result<Place, Bad> {
        if self.accept(b'*') {
            return Ok(Place::Last);
        }
        match self.number() {
            Ok(0) | Err(_) => Err("a sequence set is wrong"),
            Ok(number) => Ok(Place::Number(number)),
        }
    }

    /// `1-Feb-2024`, quoted or not.
    pub(crate) fn date(&mut self) -> Result<Date, Bad> {
        parse_date(&self.string()?).ok_or("a date is wrong")
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Number(u32),
    Last,
}

/// A set of UIDs or of sequence numbers.
#[derive(Clone, Debug)]
pub(crate) struct SequenceSet(Vec<(Place, Place)>);

impl SequenceSet {
    /// The positions in an ascending list that the set names, ascending and without repeats. `*` is
    /// the last one, whatever it is, and `n:*` names it even when `n` is above it.
    pub(crate) fn positions(&self, numbers: &[u32]) -> Vec<usize> {
        let Some(last) = numbers.last().copied() else {
            return Vec::new();
        };
        let value = |place| match place {
            Place::Number(number) => number,
            Place::Last => last,
        };
        let mut positions = Vec::new();
        for (a, b) in &self.0 {
            let (a, b) = (value(*a), value(*b));
            let from = numbers.partition_point(|number| *number < a.min(b));
            let to = numbers.partition_point(|number| *number <= a.max(b));
            positions.extend(from..to);
        }
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.trim().split('-');
    let day = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS
        .iter()
        .position(|one| one.eq_ignore_ascii_case(name))?;
    let year = parts.next()?.parse().ok()?;
    let month = Month::try_from(u8::try_from(month + 1).ok()?).ok()?;
    Date::from_calendar_date(year, month, day).ok()
}

/// `" 1-Feb-2024 10:00:00 +0000"`, without the quotes.
pub(crate) fn internal_date(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let month = MONTHS[usize::from(u8::from(at.month())) - 1];
    format!(
        "{:2}-{month}-{:04} {:02}:{:02}:{:02} +0000",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// How a literal is announced at the end of a line (RFC 3501 §4.3, RFC 7888).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The client waits for `+`.
    Waits(usize),
    /// The client sends at once.
    Comes(usize),
}

/// The literal that a line announces, and the line without the announcement.
pub(crate) fn split_literal(line: &[u8]) -> Option<(&[u8], Announced)> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|byte| *byte == b'{')?;
    let (head, count) = (&inner[..open], &inner[open + 1..]);
    let (digits, comes) = match count.strip_suffix(b"+") {
        Some(digits) => (digits, true),
        None => (count, false),
    };
    let count = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let announced = if comes {
        Announced::Comes(count)
    } else {
        Announced::Waits(count)
    };
    Some((head, announced))
}

/// A string with quotes around it, whatever bytes it holds.
pub(crate) fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + 2);
    text.push(b'"');
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    text
}
