//! Takes out of a server's words what must not be printed: what was sent to it, anything that looks
//! like a token, and a URL's user and password. What is left is one short printable line.

use std::cmp::Reverse;

use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use crate::error::one_line;

/// Fewer characters are no secret, and would be taken out of every other word.
const SECRET_BYTES_MIN: usize = 4;

/// Of a long secret so much is enough to be known again where a server cuts it short.
const HEAD_BYTES: usize = 6;

/// More is not looked at: a line of a few hundred characters is what comes out.
const WORDS_BYTES_MAX: usize = 8 * 1024;

/// The secret parts of one request.
#[derive(Debug, Default)]
pub(crate) struct Sent(Vec<SecretString>);

impl Sent {
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() < SECRET_BYTES_MIN {
            return;
        }
        self.0.push(SecretString::from(secret));
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        if encoded != secret {
            self.0.push(SecretString::from(encoded));
        }
    }

    pub(crate) fn clean(&self, words: &str) -> String {
        let words = &words[..words.floor_char_boundary(WORDS_BYTES_MAX)];
        // Before the search: a secret must not come together when they are left out later.
        let words: String = words
            .chars()
            .filter(|c| *c == '\n' || !c.is_control())
            .collect();
        let mut clean = String::with_capacity(words.len());
        let mut rest = words.as_str();
        while let Some((start, length)) = self.first_in(rest) {
            clean.push_str(&rest[..start]);
            clean.push_str("[secret]");
            rest = &rest[start + length..];
        }
        clean.push_str(rest);
        one_line(&without_user_info(&without_tokens(&clean)))
    }

    /// Where the first secret is, and how much of it: of several that begin there, the most.
    fn first_in(&self, words: &str) -> Option<(usize, usize)> {
        self.0
            .iter()
            .map(ExposeSecret::expose_secret)
            .filter_map(|secret| Some((words.find(head(secret))?, secret)))
            .map(|(start, secret)| (start, Reverse(same(&words[start..], secret))))
            .min()
            .map(|(start, Reverse(length))| (start, length))
    }
}

/// By what a secret is known.
fn head(secret: &str) -> &str {
    if secret.len() < 2 * HEAD_BYTES {
        secret
    } else {
        &secret[..secret.ceil_char_boundary(HEAD_BYTES)]
    }
}

/// Bytes of `words` that are as the secret begins.
fn same(words: &str, secret: &str) -> usize {
    words
        .chars()
        .zip(secret.chars())
        .take_while(|(said, ours)| said == ours)
        .map(|(said, _)| said.len_utf8())
        .sum()
}

/// A JWT begins with `eyJ`, the base64url of `{"`. One that is cut off in the middle counts as well.
fn without_tokens(words: &str) -> String {
    let mut clean = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find("eyJ") {
        let (before, token) = rest.split_at(start);
        let end = token
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=')))
            .unwrap_or(token.len());
        clean.push_str(before);
        clean.push_str(if end >= 12 { "[token]" } else { &token[..end] });
        rest = &token[end..];
    }
    clean.push_str(rest);
    clean
}

/// `https://user:password@host` becomes `https://[secret]@host`.
fn without_user_info(words: &str) -> String {
    let mut clean = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''))
            .unwrap_or(after.len());
        if let Some(at) = after[..end].rfind('@') {
            clean.push_str("[secret]");
            rest = &after[at..];
        } else {
            rest = after;
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_sent_is_taken_out_plain_and_encoded() {
        let mut sent = Sent::default();
        sent.add("p~ss+word/1 & more");
        sent.add("e");
        sent.add("p~ss");
        let table = [
            ("bad p~ss+word/1 & more given", "bad [secret] given"),
            ("bad p%7Ess%2Bword%2F1+%26+more given", "bad [secret] given"),
            ("bad p~ss, too", "bad [secret], too"),
            (
                "it begins with p~ss+wo... they say",
                "it begins with [secret]... they say",
            ),
            ("cut: p%7Ess%2", "cut: [secret]"),
            ("nothing here", "nothing here"),
        ];
        for (words, expected) in table {
            assert_eq!(sent.clean(words), expected);
        }
    }

    proptest! {
        #[test]
        fn no_words_bring_a_secret_back(
            before in ".{0,40}", after in ".{0,40}", secret in "[0-9äß~+]{4,40}", cut in 0..80_usize,
        ) {
            let mut sent = Sent::default();
            sent.add(&secret);
            let words = format!("{before}{secret}{after}{secret}");
            let end = words.ceil_char_boundary(cut.min(words.len()));
            for words in [words.as_str(), &words[..end], &words[end..]] {
                prop_assert!(!sent.clean(words).contains(&secret));
            }
            let control: String = words.chars().flat_map(|c| [c, '\u{1}']).collect();
            prop_assert!(!sent.clean(&control).contains(&secret));
        }
    }

    #[test]
    fn endless_words_are_cleaned_in_no_time() {
        let mut sent = Sent::default();
        sent.add("s3cret-and-long");
        sent.add("another-secret");
        let words = "s3cretä".repeat(200_000);
        let clean = sent.clean(&words);
        assert!(!clean.contains("s3cret") && clean.len() < 1000);
    }

    #[test]
    fn tokens_and_passwords_in_urls_are_taken_out_whoever_sent_them() {
        let sent = Sent::default();
        let table = [
            (
                "token eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln is bad",
                "token [token] is bad",
            ),
            ("cut eyJhbGciOiJSUzI1", "cut [token]"),
            ("eyJ is how one begins", "eyJ is how one begins"),
            (
                "two eyJhbGciOiJSUzI1.a eyJhbGciOiJSUzI1.b",
                "two [token] [token]",
            ),
            (
                "via http://u:p@proxy:1/x?y=z@a",
                "via http://[secret]@proxy:1/x?y=z@a",
            ),
            (
                "see https://aka.ms/x or a@b.example",
                "see https://aka.ms/x or a@b.example",
            ),
            ("end ://", "end ://"),
        ];
        for (words, expected) in table {
            assert_eq!(sent.clean(words), expected);
        }
    }
}
