//! The start of a foreign answer, made fit to be stored, shown and logged: short, one line, no
//! control characters, no secrets, no mail addresses.

use secrecy::{ExposeSecret as _, SecretString};

/// Characters of an answer that are kept: enough for a message of error, too little for a page.
const CHARACTERS_MAX: usize = 200;

/// Bytes that are looked at for them: words are judged whole, also the last one.
const BYTES_MAX: usize = 4096;

/// A shorter one stands in any text by chance.
const SECRET_BYTES_MIN: usize = 6;

/// The first characters of an answer, redacted. `secrets`: what the endpoint was sent and may have
/// put into its answer.
pub(crate) fn excerpt(answer: &[u8], secrets: &[SecretString]) -> String {
    let mut text = String::from_utf8_lossy(&answer[..answer.len().min(BYTES_MAX)]).into_owned();
    for secret in secrets.iter().map(|one| one.expose_secret().trim()) {
        if secret.len() >= SECRET_BYTES_MIN && text.contains(secret) {
            text = text.replace(secret, "[redacted]");
        }
    }
    let mut out = String::new();
    let mut length = 0;
    let mut secret_follows = false;
    for word in text.split_whitespace() {
        let word = if std::mem::take(&mut secret_follows) {
            "[redacted]"
        } else {
            redacted(word)
        };
        secret_follows = announces_secret(word);
        if !out.is_empty() {
            out.push(' ');
            length += 1;
        }
        for character in word.chars().flat_map(visible) {
            if length >= CHARACTERS_MAX {
                out.push('…');
                return out;
            }
            out.push(character);
            length += 1;
        }
    }
    out
}

fn redacted(word: &str) -> &str {
    let at = word.contains('@');
    let is_secret = ["whsec_", "whsk_", "v1,", "v1a,"]
        .iter()
        .any(|mark| word.contains(mark));
    if is_secret || (at && word.contains("://")) {
        "[redacted]"
    } else if at {
        "[address]"
    } else {
        word
    }
}

/// `Bearer x`, `Authorization: Basic x` and the like.
fn announces_secret(word: &str) -> bool {
    let word = word.trim_start_matches(['"', '\'', '(']);
    let last = word.rsplit([':', '=', '"']).next().unwrap_or(word);
    ["bearer", "basic"]
        .iter()
        .any(|scheme| last.eq_ignore_ascii_case(scheme))
}

/// Control characters, which drive terminals and end lines, and those that nobody sees or that turn
/// the direction of the text around them (UAX #9).
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// What is hidden is shown as what it is.
fn visible(character: char) -> impl Iterator<Item = char> {
    let hidden = is_hidden(character);
    let escaped = hidden.then(|| character.escape_unicode());
    let plain = (!hidden).then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_one_short_line() {
        assert_eq!(excerpt(b"  no such\r\n\tqueue\n", &[]), "no such queue");
        assert_eq!(excerpt(b"", &[]), "");
        assert_eq!(
            excerpt("x".repeat(5000).as_bytes(), &[]),
            format!("{}…", "x".repeat(200))
        );
        assert_eq!(
            excerpt("ä".repeat(2000).as_bytes(), &[]).chars().count(),
            201
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(excerpt(b"a\x1b[31mred\x00", &[]), "a\\u{1b}[31mred\\u{0}");
        assert_eq!(excerpt("\u{202e}evil".as_bytes(), &[]), "\\u{202e}evil");
        assert_eq!(excerpt(b"\xff\xfe", &[]), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn secrets_and_addresses_are_left_out() {
        for (answer, kept) in [
            (
                "unknown customer kim@example.org, sorry",
                "unknown customer [address] sorry",
            ),
            (
                "Authorization: Bearer abc.def",
                "Authorization: Bearer [redacted]",
            ),
            (
                r#"{"auth":"Basic dXNlcg=="}"#,
                r#"{"auth":"Basic [redacted]"#,
            ),
            ("see https://user:word@host/path", "see [redacted]"),
            ("got whsec_abc", "got [redacted]"),
            ("got whsk_abc", "got [redacted]"),
            ("got v1a,K5oZfzN95Z9UVu1E==", "got [redacted]"),
            (
                "got v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
                "got [redacted]",
            ),
        ] {
            assert_eq!(excerpt(answer.as_bytes(), &[]), kept);
        }
    }

    #[test]
    fn what_the_endpoint_was_sent_in_confidence_is_left_out_wherever_it_says_it_again() {
        let secrets = ["hunter-22", "two words", "tiny"].map(SecretString::from);
        let answer =
            r#"{"x-api-key":["hunter-22"],"q":"?key=hunter-22&x","also":"two words, tiny"}"#;
        assert_eq!(
            excerpt(answer.as_bytes(), &secrets),
            r#"{"x-api-key":["[redacted]"],"q":"?key=[redacted]&x","also":"[redacted], tiny"}"#
        );
        // One that is cut at the end of what is looked at is behind what is kept.
        let long = format!("{}hunter-22", " x".repeat(2_045));
        assert!(!excerpt(long.as_bytes(), &secrets).contains("hunter"));
    }
}
