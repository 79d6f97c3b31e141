//! What is done to a message's bytes on their way into a body, in pieces of any size.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_core::message::{self, Decoder};

use super::Encoding;

/// The bytes that stand for those that are no UTF-8.
const REPLACEMENT: &str = "\u{fffd}";

pub(super) enum Coder {
    Plain,
    Base64(Triples),
    Part(Box<Decoder>, Option<Triples>),
    Json(Text),
}

impl Coder {
    pub(super) fn plain(encoding: Encoding) -> Self {
        match encoding {
            Encoding::AsIs => Self::Plain,
            Encoding::Base64 => Self::Base64(Triples::default()),
        }
    }

    pub(super) fn part(transfer: message::Encoding, encoding: Encoding) -> Self {
        let decoder = Box::new(Decoder::new(transfer));
        match encoding {
            Encoding::AsIs => Self::Part(decoder, None),
            Encoding::Base64 => Self::Part(decoder, Some(Triples::default())),
        }
    }

    pub(super) fn json() -> Self {
        Self::Json(Text::default())
    }

    /// It changes nothing.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    pub(super) fn has_replaced(&self) -> bool {
        matches!(self, Self::Json(Text { replaced: true, .. }))
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(bytes),
            Self::Base64(triples) => triples.push(bytes, out),
            Self::Part(decoder, None) => decoder.push(bytes, out),
            Self::Part(decoder, Some(triples)) => {
                let mut decoded = Vec::with_capacity(bytes.len());
                decoder.push(bytes, &mut decoded);
                triples.push(&decoded, out);
            }
            Self::Json(text) => text.push(bytes, out),
        }
    }

    /// What was held back.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Plain => {}
            Self::Base64(triples) => triples.finish(out),
            Self::Part(decoder, None) => decoder.finish(out),
            Self::Part(decoder, Some(triples)) => {
                let mut decoded = Vec::new();
                decoder.finish(&mut decoded);
                triples.push(&decoded, out);
                triples.finish(out);
            }
            Self::Json(text) => text.finish(out),
        }
    }
}

/// base64 in one line: three bytes at a time, so that padding comes at the end alone.
#[derive(Default)]
pub(super) struct Triples {
    rest: Vec<u8>,
}

impl Triples {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            let wanted = (3 - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.rest.len() < 3 {
                return;
            }
            encode(&self.rest, out);
            self.rest.clear();
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 3 * 3);
        encode(whole, out);
        self.rest.extend_from_slice(rest);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        encode(&self.rest, out);
        self.rest.clear();
    }
}

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly what it takes.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert!(written.is_ok());
}

/// Bytes inside a JSON string (RFC 8259 section 7), those that are no UTF-8 as U+FFFD.
#[derive(Default)]
pub(super) struct Text {
    /// The beginning of a character, perhaps.
    rest: Vec<u8>,
    replaced: bool,
}

impl Text {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.rest.is_empty() {
            self.escape(bytes, out);
        } else {
            let mut joined = std::mem::take(&mut self.rest);
            joined.extend_from_slice(bytes);
            self.escape(&joined, out);
        }
    }

    fn escape(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut seen = 0;
        for chunk in bytes.utf8_chunks() {
            seen += chunk.valid().len() + chunk.invalid().len();
            escape(chunk.valid(), out);
            if chunk.invalid().is_empty() {
                continue;
            }
            if seen == bytes.len() {
                self.rest = chunk.invalid().to_vec();
            } else {
                self.replaced = true;
                out.extend_from_slice(REPLACEMENT.as_bytes());
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            self.replaced = true;
            self.rest.clear();
            out.extend_from_slice(REPLACEMENT.as_bytes());
        }
    }
}

fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
    {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coded(mut coder: Coder, bytes: &[u8], size: usize) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        for piece in bytes.chunks(size) {
            coder.push(piece, &mut out);
        }
        coder.finish(&mut out);
        (out, coder.has_replaced())
    }

    /// Bytes among which are the ends and beginnings of characters.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|character| character.to_string().into_bytes()),
            Just("\"\\\r\n\u{1}".as_bytes().to_vec()),
            Just("€😀".as_bytes()[..5].to_vec()),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_however_it_comes(bytes in bytes(), size in 1usize..9) {
            let (out, replaced) = coded(Coder::json(), &bytes, size);
            let json = [b"\"".as_slice(), &out, b"\""].concat();
            let text: String = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            prop_assert_eq!(replaced, std::str::from_utf8(&bytes).is_err());
        }

        #[test]
        fn base64_is_the_same_however_it_comes(bytes in bytes(), size in 1usize..9) {
            let (out, _) = coded(Coder::plain(Encoding::Base64), &bytes, size);
            prop_assert_eq!(out, STANDARD.encode(&bytes).into_bytes());
            let written = STANDARD.encode(&bytes);
            let part = Coder::part(message::Encoding::Base64, Encoding::Base64);
            let (out, _) = coded(part, written.as_bytes(), size);
            prop_assert_eq!(out, written.into_bytes());
        }
    }
}
