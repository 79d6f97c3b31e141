//! Encoded words (RFC 2047). Neighbouring words of one charset are joined before they are
//! decoded, because many senders split a character between two words. Linear in the text.

use super::{Warnings, charset, transfer};

enum Segment<'a> {
    Literal(&'a str),
    Decoded(String),
}

/// Encoded words of an unstructured value become text.
pub(super) fn decode(text: &str, warnings: &mut Warnings) -> String {
    let mut out = String::with_capacity(text.len());
    for segment in segments(text, warnings) {
        match segment {
            Segment::Literal(literal) => out.push_str(literal),
            Segment::Decoded(decoded) => out.push_str(&decoded),
        }
    }
    out
}

/// Encoded words of a structured value become quoted strings, so that a comma or a bracket that
/// was encoded keeps meaning itself. Nothing that looks like an encoded word is left.
pub(super) fn quote(text: &str, warnings: &mut Warnings) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut place = Place::default();
    for segment in segments(text, warnings) {
        match segment {
            Segment::Literal(literal) => {
                place.follow(literal);
                match literal.contains("=?") {
                    true => out.push_str(&literal.replace("=?", "=_")),
                    false => out.push_str(literal),
                }
            }
            Segment::Decoded(decoded) => place.put(&mut out, &decoded),
        }
    }
    out
}

/// Where in a structured value the scan stands.
#[derive(Default)]
struct Place {
    quoted: bool,
    escaped: bool,
    comments: u32,
}

impl Place {
    fn follow(&mut self, literal: &str) {
        for byte in literal.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted || self.comments > 0 => self.escaped = true,
                b'"' if self.comments == 0 => self.quoted = !self.quoted,
                b'(' if !self.quoted => self.comments += 1,
                b')' if !self.quoted => self.comments = self.comments.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn put(&self, out: &mut String, decoded: &str) {
        let bare = self.quoted || self.comments > 0;
        if !bare {
            let joined = !matches!(
                out.trim_end().chars().next_back(),
                None | Some(',' | ':' | ';' | '<' | '=')
            );
            out.push_str(if joined { "\" " } else { "\"" });
        }
        for c in decoded.chars() {
            match c {
                '(' | ')' | '\\' | '"' if self.comments > 0 => {}
                '"' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                '?' if out.ends_with('=') => out.push('_'),
                c if c.is_control() => out.push(' '),
                c => out.push(c),
            }
        }
        if !bare {
            out.push('"');
        }
    }
}

fn segments<'a>(text: &'a str, warnings: &mut Warnings) -> Vec<Segment<'a>> {
    let mut found = Vec::new();
    let mut run: Option<(&str, Vec<u8>)> = None;
    let mut rest = text;
    while let Some(at) = rest.find("=?") {
        let (before, from_word) = rest.split_at(at);
        let Some((word, length)) = word_at(from_word, warnings) else {
            let keep = at + 2;
            flush(&mut run, &mut found, warnings);
            found.push(Segment::Literal(&rest[..keep]));
            rest = &rest[keep..];
            continue;
        };
        let adjacent = run.is_some() && before.bytes().all(|byte| byte.is_ascii_whitespace());
        if !adjacent {
            flush(&mut run, &mut found, warnings);
            found.push(Segment::Literal(before));
        }
        match &mut run {
            Some((charset, bytes)) if charset.eq_ignore_ascii_case(word.charset) => {
                bytes.extend_from_slice(&word.bytes)
            }
            _ => {
                flush(&mut run, &mut found, warnings);
                run = Some((word.charset, word.bytes));
            }
        }
        rest = &from_word[length..];
    }
    flush(&mut run, &mut found, warnings);
    found.push(Segment::Literal(rest));
    found
}

fn flush(run: &mut Option<(&str, Vec<u8>)>, found: &mut Vec<Segment<'_>>, warnings: &mut Warnings) {
    if let Some((charset, bytes)) = run.take() {
        found.push(Segment::Decoded(charset::decode(
            &bytes,
            Some(charset),
            warnings,
        )));
    }
}

struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

/// The encoded word that `text` (from its `=?` on) begins with, and its length.
fn word_at<'a>(text: &'a str, warnings: &mut Warnings) -> Option<(Word<'a>, usize)> {
    let inner = &text[2..];
    let mark = inner.bytes().take(64).position(|byte| byte == b'?')?;
    // RFC 2231 section 5: a language may follow the charset.
    let charset = inner[..mark].split('*').next().unwrap_or_default();
    let encoding = *inner.as_bytes().get(mark + 1)?;
    if charset.is_empty() || inner.as_bytes().get(mark + 2) != Some(&b'?') {
        return None;
    }
    let data_at = mark + 3;
    let data = &inner[data_at..];
    let length = data_length(data)?;
    let data = &data[..length];
    let bytes = match encoding {
        b'b' | b'B' => transfer::base64_all(data.as_bytes(), warnings),
        b'q' | b'Q' => transfer::q_word(data.as_bytes(), warnings),
        _ => return None,
    };
    Some((Word { charset, bytes }, 2 + data_at + length + 2))
}

/// Up to the `?=` that ends the word. The start of another word before that means it has none.
fn data_length(data: &str) -> Option<usize> {
    let bytes = data.as_bytes();
    memchr::memchr_iter(b'?', bytes)
        .find(|&at| bytes.get(at + 1) == Some(&b'=') || (at > 0 && bytes[at - 1] == b'='))
        .filter(|&at| bytes.get(at + 1) == Some(&b'='))
}
