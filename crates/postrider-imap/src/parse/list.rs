//! LIST responses (RFC 3501 section 7.2.2), read leniently: Exchange has been seen to send names with
//! spaces and control characters without quotes.

use crate::{
    framer::{Data, Frame},
    parse::Listed,
};

/// Of one folder: RFC 9051 and its extensions have fewer than twenty.
const ATTRIBUTES_MAX: usize = 32;

/// `text` is what follows the word LIST.
pub(crate) fn list(text: &[u8], frame: &Frame) -> Option<Listed> {
    let text = text.trim_ascii_start().strip_prefix(b"(")?;
    let end = text.iter().position(|byte| *byte == b')')?;
    let attributes = String::from_utf8_lossy(&text[..end])
        .split_ascii_whitespace()
        .take(ATTRIBUTES_MAX)
        .map(str::to_ascii_lowercase)
        .collect();
    let (delimiter, rest) = delimiter(text[end + 1..].trim_ascii_start())?;
    let name = match frame.literals.last().map(|literal| &literal.data) {
        Some(Data::Kept(bytes)) => bytes.clone(),
        Some(Data::Aside) => return None,
        None => unquoted(rest.trim_ascii()),
    };
    (!name.is_empty()).then_some(Listed {
        attributes,
        delimiter,
        name,
    })
}

fn delimiter(text: &[u8]) -> Option<(Option<char>, &[u8])> {
    if let Some((head, rest)) = text.split_at_checked(3)
        && head.eq_ignore_ascii_case(b"NIL")
    {
        return Some((None, rest));
    }
    let text = text.strip_prefix(b"\"")?;
    let text = text.strip_prefix(b"\\").unwrap_or(text);
    let (char, rest) = text.split_first()?;
    Some((Some(char::from(*char)), rest.strip_prefix(b"\"")?))
}

fn unquoted(text: &[u8]) -> Vec<u8> {
    let inner = text
        .strip_prefix(b"\"")
        .and_then(|text| text.strip_suffix(b"\""));
    match inner {
        Some(inner) => super::unquote(inner),
        None => text.to_vec(),
    }
}
