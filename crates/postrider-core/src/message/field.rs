//! Header fields as bytes: where the header ends, which fields it has, and how a raw value
//! becomes one line of text. Every scan is linear, whatever the bytes are.

use std::borrow::Cow;

use memchr::memchr;

use super::{Warning, Warnings, charset, walk::Level, words};

/// A field; the value still holds its folds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a [u8],
}

impl Field<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// What mailing lists add (RFC 2369, RFC 2919, RFC 8058).
    pub(super) fn is_of_list(&self) -> bool {
        let start = self.name.get(.."list-".len());
        start.is_some_and(|start| start.eq_ignore_ascii_case("list-"))
    }
}

#[derive(Debug)]
pub(super) enum Line<'a> {
    Field(Field<'a>),
    /// No field, and no continuation of one.
    Other,
}

/// Goes through a header, line by line, until the empty line.
pub(super) struct Scan<'a> {
    data: &'a [u8],
    at: usize,
    /// A boundary of these ends the header of a part, too.
    levels: &'a [Level],
    /// Where the body begins, once the empty line (or a boundary) was met.
    pub(super) body: Option<usize>,
    /// Where the first line that is no field begins.
    pub(super) other_at: Option<usize>,
}

/// The longest field name. Longer ones are no names but text with a colon in it.
const NAME_BYTES_MAX: usize = 128;

impl<'a> Scan<'a> {
    pub(super) fn new(data: &'a [u8], start: usize, levels: &'a [Level]) -> Self {
        Self {
            data,
            at: start,
            levels,
            body: None,
            other_at: None,
        }
    }

    /// The end of the line that begins at `from` (behind its LF), and the line without CR and LF.
    fn line(&self, from: usize) -> (usize, &'a [u8]) {
        let rest = &self.data[from..];
        let (end, line) = match memchr(b'\n', rest) {
            Some(length) => (from + length + 1, &rest[..length]),
            None => (self.data.len(), rest),
        };
        (end, line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Where the body begins, after the scan has ended. Without an empty line it begins with the
    /// first line that is no field, or nowhere.
    pub(super) fn body_start(&self) -> usize {
        self.body.or(self.other_at).unwrap_or(self.data.len())
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.body.is_some() || self.at >= self.data.len() {
            return None;
        }
        let start = self.at;
        let (mut end, line) = self.line(start);
        if line.is_empty() {
            self.body = Some(end);
            return None;
        }
        if line.starts_with(b"--")
            && self
                .levels
                .iter()
                .any(|level| level.matches(line).is_some())
        {
            // A part without an empty line: what is no field is its body.
            self.body = Some(self.other_at.unwrap_or(start));
            return None;
        }
        let Some((name, value_at)) = name_of(line) else {
            self.at = end;
            self.other_at.get_or_insert(start);
            return Some(Line::Other);
        };
        let mut value_end = start + line.len();
        while matches!(self.data.get(end), Some(b' ' | b'\t')) {
            let (next, continuation) = self.line(end);
            value_end = end + continuation.len();
            end = next;
        }
        self.at = end;
        Some(Line::Field(Field {
            name,
            value: &self.data[start + value_at..value_end],
        }))
    }
}

/// A field's name (RFC 5322 section 2.2: printable ASCII without colon) and where its value begins.
fn name_of(line: &[u8]) -> Option<(&str, usize)> {
    let head = &line[..line.len().min(NAME_BYTES_MAX + 8)];
    let colon = memchr(b':', head)?;
    let name = head[..colon].trim_ascii_end();
    let valid =
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| valid)?;
    Some((name, colon + 1))
}

/// A raw value on one line: folds and other line ends become one space (RFC 5322 section 2.2.3).
pub(super) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if !value.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(value);
    }
    let mut line = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if matches!(byte, b'\n' | b'\r') {
            while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
            line.push(b' ');
        } else {
            line.push(byte);
        }
    }
    Cow::Owned(line)
}

/// How values become text: the charset to believe where a sender put raw bytes into a header.
#[derive(Clone, Copy, Default)]
pub(super) struct Reading<'a> {
    pub(super) charset: Option<&'a str>,
}

/// Bytes of one value that are looked at: 500 long addresses fit, and decoding stays quick.
const VALUE_BYTES_MAX: usize = 64 << 10;

impl Reading<'_> {
    /// The value on one line, as characters, encoded words still in it.
    pub(super) fn raw<'v>(self, value: &'v [u8], warnings: &mut Warnings) -> Cow<'v, str> {
        if value.len() > VALUE_BYTES_MAX {
            warnings.add(Warning::HeadersCut);
        }
        match unfold(&value[..value.len().min(VALUE_BYTES_MAX)]) {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => Cow::Owned(self.eight_bit(bytes, warnings)),
            },
            Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => self.eight_bit(error.as_bytes(), warnings),
            }),
        }
    }

    fn eight_bit(self, bytes: &[u8], warnings: &mut Warnings) -> String {
        // A cut inside a character is no foreign charset.
        if let Err(error) = std::str::from_utf8(bytes)
            && error.error_len().is_none()
            && error.valid_up_to() + 4 > bytes.len()
            && bytes.len() + 4 > VALUE_BYTES_MAX
        {
            return String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
        }
        warnings.add(Warning::Header8bit);
        charset::eight_bit(bytes, self.charset)
    }

    /// The value as text: unfolded, encoded words decoded (RFC 2047), no control characters.
    pub(super) fn text(self, value: &[u8], warnings: &mut Warnings) -> String {
        let raw = self.raw(value, warnings);
        let text = if raw.contains("=?") {
            words::decode(&raw, warnings)
        } else {
            raw.into_owned()
        };
        one_line(text, warnings)
    }
}

/// Text without control characters: NUL becomes U+FFFD, the others a space. So nothing that was
/// smuggled in by an encoding can end a line of whatever a receiver writes.
pub(super) fn one_line(text: String, warnings: &mut Warnings) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(odd) {
        return trimmed(text);
    }
    let clean = text
        .chars()
        .map(|c| match c {
            '\0' => {
                warnings.add(Warning::NulReplaced);
                char::REPLACEMENT_CHARACTER
            }
            c if odd(c) => ' ',
            c => c,
        })
        .collect();
    trimmed(clean)
}

fn trimmed(text: String) -> String {
    let inner = text.trim();
    if inner.len() == text.len() {
        text
    } else {
        inner.to_owned()
    }
}
