//! Takes out of a server's words what was secret in our login: some servers repeat the command that
//! they refuse, and what they said is logged and shown.

/// Fewer characters are no secret, and would be taken out of every other word.
const SECRET_BYTES_MIN: usize = 4;
/// Of a long secret so much is enough to be known again where a server, or we, cut it short.
const HEAD_BYTES: usize = 6;

const INSTEAD: &str = "[secret]";

/// Case does not matter: a server may say the line as it compared it.
pub(crate) fn without(words: &str, secrets: &[&str]) -> String {
    let lower = words.to_ascii_lowercase();
    let secrets: Vec<String> = secrets
        .iter()
        .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
        .map(|secret| secret.to_ascii_lowercase())
        .collect();
    let mut clean = String::with_capacity(words.len());
    let mut at = 0;
    while let Some((start, length)) = first(&lower[at..], &secrets) {
        clean.push_str(&words[at..at + start]);
        clean.push_str(INSTEAD);
        at += start + length;
    }
    clean.push_str(&words[at..]);
    clean
}

/// Where the first secret is, and how much of it; of several that begin there, the most.
fn first(words: &str, secrets: &[String]) -> Option<(usize, usize)> {
    secrets
        .iter()
        .filter_map(|secret| {
            let start = words.find(head(secret))?;
            let same = words[start..].chars().zip(secret.chars());
            let same = same.take_while(|(said, ours)| said == ours);
            Some((start, same.map(|(said, _)| said.len_utf8()).sum()))
        })
        .min_by_key(|(start, length)| (*start, usize::MAX - *length))
}

/// By what a secret is known. The end of a server's words may cut it shorter, which tells little.
fn head(secret: &str) -> &str {
    if secret.len() < 2 * HEAD_BYTES {
        secret
    } else {
        &secret[..secret.ceil_char_boundary(HEAD_BYTES)]
    }
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn what_a_server_repeats_of_a_login_is_taken_out() {
        let secrets = ["hunter2", "AHVzZXIAaHVudGVyMg==", "pw", "geheimäöü-lang"];
        let table = [
            (
                "BAD unknown: LOGIN user hunter2",
                "BAD unknown: LOGIN user [secret]",
            ),
            (
                "LOGIN USER HUNTER2 (hunter2)",
                "LOGIN USER [secret] ([secret])",
            ),
            (
                "AUTHENTICATE PLAIN AHVzZXIAaHVudGVyMg== no",
                "AUTHENTICATE PLAIN [secret] no",
            ),
            ("cut AHVzZXIAaHVud…", "cut [secret]…"),
            ("geheimäöü-lang!", "[secret]!"),
            ("geheimäx", "[secret]x"),
            ("pw is short", "pw is short"),
            ("", ""),
        ];
        for (words, expected) in table {
            assert_eq!(without(words, &secrets), expected);
        }
    }
}
