//! Content-Transfer-Encoding (RFC 2045 section 6), decoded in pieces: an attachment is measured
//! and hashed without a copy of it. Errors are skipped over and told.

use sha2::{Digest, Sha256};

use super::{Warning, Warnings};
use crate::fingerprint::hex;

/// How a part's bytes are written in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    Unknown,
}

impl Encoding {
    pub(super) fn of(value: &str) -> Self {
        let word = value.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | ';'));
        match word.to_ascii_lowercase().as_str() {
            "" | "7bit" | "8bit" | "binary" | "7-bit" | "8-bit" => Self::Identity,
            "base64" => Self::Base64,
            "quoted-printable" => Self::QuotedPrintable,
            _ => Self::Unknown,
        }
    }
}

/// Decoded bytes that are handed on at a time.
const PIECE_BYTES: usize = 8 << 10;

/// The first `max` decoded bytes, and whether there are more.
pub(super) fn decode_start(
    body: &[u8],
    encoding: Encoding,
    max: usize,
    warnings: &mut Warnings,
) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(body.len().min(max.saturating_add(PIECE_BYTES)));
    decode(body, encoding, warnings, &mut |piece| {
        bytes.extend_from_slice(&piece[..piece.len().min(max + 1 - bytes.len())]);
        bytes.len() <= max
    });
    let more = bytes.len() > max;
    bytes.truncate(max);
    (bytes, more)
}

/// Length and SHA-256 of the decoded bytes.
pub(super) fn measure(body: &[u8], encoding: Encoding, warnings: &mut Warnings) -> (u64, String) {
    let mut hash = Sha256::new();
    let mut size = 0;
    decode(body, encoding, warnings, &mut |piece| {
        hash.update(piece);
        size += piece.len() as u64;
        true
    });
    (size, hex(&hash.finalize()))
}

/// Hands decoded pieces to `sink` until it returns false.
fn decode(
    body: &[u8],
    encoding: Encoding,
    warnings: &mut Warnings,
    sink: &mut dyn FnMut(&[u8]) -> bool,
) {
    if encoding == Encoding::Unknown {
        warnings.add(Warning::EncodingUnknown);
    }
    let mut decoder = Decoder::new(encoding);
    let mut piece = Vec::with_capacity(PIECE_BYTES + 3);
    let mut on = true;
    for bytes in body.chunks(PIECE_BYTES) {
        piece.clear();
        decoder.push(bytes, &mut piece);
        on = sink(&piece);
        if !on {
            break;
        }
    }
    if on {
        piece.clear();
        decoder.finish(&mut piece);
        if !piece.is_empty() {
            sink(&piece);
        }
    }
    if decoder.is_broken() {
        warnings.add(Warning::EncodingBroken);
    }
}

/// A quoted-printable line that is longer is decoded in pieces.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Decodes what comes in pieces of any size; it keeps no more than a line. Errors are passed over.
#[derive(Clone, Debug)]
pub struct Decoder {
    encoding: Encoding,
    /// base64: digits that are no whole group yet.
    bits: u32,
    digits: u8,
    /// quoted-printable: the line so far.
    line: Vec<u8>,
    broken: bool,
}

impl Decoder {
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            bits: 0,
            digits: 0,
            line: Vec::new(),
            broken: false,
        }
    }

    /// Appends what `bytes` add.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Identity | Encoding::Unknown => out.extend_from_slice(bytes),
            Encoding::Base64 => self.base64(bytes, out),
            Encoding::QuotedPrintable => self.quoted_printable(bytes, out),
        }
    }

    /// Appends what was held back. There is nothing after it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.broken |= end_group(self.bits, self.digits, out);
        (self.bits, self.digits) = (0, 0);
        let line = std::mem::take(&mut self.line);
        self.end_line(&line, out);
    }

    fn is_broken(&self) -> bool {
        self.broken
    }

    /// base64 with anything between its digits; padding may be missing or come early.
    fn base64(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.digits == 0 {
                let before = rest;
                rest = whole_groups(rest, out);
                if rest.len() < before.len() {
                    continue;
                }
            }
            rest = tail;
            match VALUES[usize::from(byte)] {
                value @ 0..64 => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.digits += 1;
                    if self.digits == 4 {
                        out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                        (self.bits, self.digits) = (0, 0);
                    }
                }
                PAD => {
                    self.broken |= end_group(self.bits, self.digits, out);
                    (self.bits, self.digits) = (0, 0);
                }
                SPACE => {}
                _ => self.broken = true,
            }
        }
    }

    /// Quoted-printable (RFC 2045 section 6.7); an `=` that introduces nothing stands for itself.
    fn quoted_printable(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, out);
                self.line = line;
                self.line.clear();
            } else if self.line.len() > LINE_BYTES_MAX {
                self.flush(out);
            }
        }
    }

    fn end_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let (line, end): (&[u8], &[u8]) = match line {
            [line @ .., b'\r', b'\n'] => (line, b"\r\n"),
            [line @ .., b'\n'] => (line, b"\n"),
            line => (line, b""),
        };
        let line = line.trim_ascii_end();
        match line.strip_suffix(b"=") {
            Some(line) => self.broken |= unescape(line, out),
            None => {
                self.broken |= unescape(line, out);
                out.extend_from_slice(end);
            }
        }
    }

    /// Decodes the start of an endless line. White space and an `=` may belong to its end.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let text = self.line.trim_ascii_end();
        let tail = &text[text.len().saturating_sub(2)..];
        let open = memchr::memrchr(b'=', tail).map_or(0, |at| tail.len() - at);
        let at = match text.len() - open {
            // Nothing but white space: it will not be the end of a line that matters.
            0 => self.line.len(),
            at => at,
        };
        self.broken |= unescape(&self.line[..at], out);
        self.line.drain(..at);
    }
}

const PAD: u8 = 0x80;
const SPACE: u8 = 0x81;
const INVALID: u8 = 0xff;
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [INVALID; 256];
    let mut value = 0;
    while value < 64 {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table[b'=' as usize] = PAD;
    table[b' ' as usize] = SPACE;
    table[b'\t' as usize] = SPACE;
    table[b'\r' as usize] = SPACE;
    table[b'\n' as usize] = SPACE;
    table
}

/// Decodes groups of four digits until something else comes.
fn whole_groups<'a>(mut rest: &'a [u8], piece: &mut Vec<u8>) -> &'a [u8] {
    while let [a, b, c, d, tail @ ..] = rest {
        let [a, b, c, d] = [a, b, c, d].map(|byte| VALUES[usize::from(*byte)]);
        if (a | b | c | d) >= 64 {
            break;
        }
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        piece.extend_from_slice(&bits.to_be_bytes()[1..]);
        rest = tail;
    }
    rest
}

/// What an incomplete group holds; one digit alone holds no byte.
fn end_group(bits: u32, digits: u8, piece: &mut Vec<u8>) -> bool {
    match digits {
        2 => piece.push((bits >> 4) as u8),
        3 => piece.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => {}
    }
    digits == 1
}

fn unescape(line: &[u8], out: &mut Vec<u8>) -> bool {
    let mut broken = false;
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        match rest {
            [high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(nibble(*high) << 4 | nibble(*low));
                rest = tail;
            }
            _ => {
                broken = true;
                out.push(b'=');
            }
        }
    }
    out.extend_from_slice(rest);
    broken
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// All of a short base64 text.
pub(super) fn base64_all(text: &[u8], warnings: &mut Warnings) -> Vec<u8> {
    decode_start(text, Encoding::Base64, text.len(), warnings).0
}

/// The `Q` encoding of encoded words (RFC 2047 section 4.2).
pub(super) fn q_word(text: &[u8], warnings: &mut Warnings) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'_' { b' ' } else { *byte })
        .collect();
    let mut out = Vec::with_capacity(text.len());
    if unescape(&spaced, &mut out) {
        warnings.add(Warning::EncodingBroken);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(encoding: Encoding, body: &[u8]) -> (String, bool) {
        let mut warnings = Warnings::default();
        let (bytes, _) = decode_start(body, encoding, 1 << 20, &mut warnings);
        (
            String::from_utf8_lossy(&bytes).into_owned(),
            warnings.has(Warning::EncodingBroken),
        )
    }

    #[test]
    fn base64_is_decoded_as_far_as_it_goes() {
        for (body, text, broken) in [
            (&b"aGVs\r\nbG8="[..], "hello", false),
            (b"aGVsbG8", "hello", false),
            (b"aG VsbG\t8=\r\n", "hello", false),
            (b"aGVsbG8=aGVsbG8=", "hellohello", false),
            (b"aG*VsbG8=", "hello", true),
            (b"aGVsbG8=\r\nA", "hello", true),
            (b"", "", false),
            (b"====", "", false),
        ] {
            assert_eq!(
                all(Encoding::Base64, body),
                (text.to_owned(), broken),
                "{body:?}"
            );
        }
    }

    #[test]
    fn long_base64_is_the_same_in_pieces() {
        let raw: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let mut text = String::new();
        use base64::Engine as _;
        for line in base64::engine::general_purpose::STANDARD
            .encode(&raw)
            .as_bytes()
            .chunks(76)
        {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push_str("\r\n");
        }
        let mut warnings = Warnings::default();
        let (size, sha) = measure(text.as_bytes(), Encoding::Base64, &mut warnings);
        assert_eq!((size, sha), (100_000, hex(&Sha256::digest(&raw))));
        assert!(warnings.is_empty());
        let (start, more) = decode_start(text.as_bytes(), Encoding::Base64, 20_000, &mut warnings);
        assert_eq!((&start[..], more), (&raw[..20_000], true));
    }

    #[test]
    fn quoted_printable_is_decoded_as_far_as_it_goes() {
        for (body, text, broken) in [
            (
                &b"f=C3=BCr=\r\n dich  \r\nend"[..],
                "für dich\r\nend",
                false,
            ),
            (b"a=\nb", "ab", false),
            (b"a=", "a", false),
            (b"1=1 =zz", "1=1 =zz", true),
            (b"=c3=bc", "ü", false),
        ] {
            assert_eq!(
                all(Encoding::QuotedPrintable, body),
                (text.to_owned(), broken),
                "{body:?}"
            );
        }
    }

    #[test]
    fn what_comes_in_pieces_is_decoded_alike_however_it_is_cut() {
        let text = "f=C3=BCr=\r\n dich  \r\nend=zz =\t\r\naGVs\r\nbG8=QQ*==".repeat(3);
        let text = format!("{text}{}={}", " x".repeat(40_000), "y".repeat(70_000));
        for encoding in [
            Encoding::Identity,
            Encoding::Base64,
            Encoding::QuotedPrintable,
            Encoding::Unknown,
        ] {
            let whole = decode_start(text.as_bytes(), encoding, 1 << 20, &mut Warnings::default());
            for size in [1, 2, 3, 7, 76, 8192, 50_000] {
                let (mut decoder, mut out) = (Decoder::new(encoding), Vec::new());
                for piece in text.as_bytes().chunks(size) {
                    decoder.push(piece, &mut out);
                }
                decoder.finish(&mut out);
                assert!(out == whole.0, "{encoding:?} by {size}");
            }
        }
    }

    #[test]
    fn names_of_encodings_are_read_leniently() {
        assert_eq!(Encoding::of(" Base64 "), Encoding::Base64);
        assert_eq!(
            Encoding::of("\"quoted-printable\";"),
            Encoding::QuotedPrintable
        );
        assert_eq!(Encoding::of("x-uuencode"), Encoding::Unknown);
    }
}
