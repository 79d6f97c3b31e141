//! What servers wrote, before it is shown: no mail address but the mailbox's own, nothing that may
//! be a token, no control characters, one line.

/// Longer runs of token characters than any host name or id has.
const RUN_MAX: usize = 72;
const CHARS_MAX: usize = 300;

/// `own`: addresses that may stay.
pub(super) fn scrub(text: &str, own: &[&str]) -> String {
    let mut clean = String::with_capacity(text.len().min(CHARS_MAX));
    let mut word = String::new();
    for char in text.chars().take(CHARS_MAX) {
        if is_part(char) {
            word.push(char);
        } else {
            finish(&mut word, &mut clean, own);
            clean.push(if char.is_control() { ' ' } else { char });
        }
    }
    finish(&mut word, &mut clean, own);
    clean.trim().to_owned()
}

/// What an address, a token or an id is made of.
fn is_part(char: char) -> bool {
    char.is_alphanumeric() || "@._-+~/=%#$&*!^`{|}".contains(char)
}

fn finish(word: &mut String, clean: &mut String, own: &[&str]) {
    let bare = word.trim_matches(['.', '-', '/', '=', '{', '}', '|']);
    let is_own = own.iter().any(|own| own.eq_ignore_ascii_case(bare));
    let is_address = bare
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if is_own {
        clean.push_str(word);
    } else if is_address {
        clean.push_str("[address]");
    } else if word.len() > RUN_MAX || word.starts_with("eyJ") {
        clean.push_str("[token]");
    } else {
        clean.push_str(word);
    }
    word.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_address_stays() {
        let own = ["support@contoso.com"];
        let table = [
            (
                "AUTHENTICATE failed. User:ceo@contoso.com",
                "AUTHENTICATE failed. User:[address]",
            ),
            (
                "no mailbox <Support@Contoso.com>.",
                "no mailbox <Support@Contoso.com>.",
            ),
            ("a b@c d", "a [address] d"),
            (
                "User 'x.y+z@example.org' is locked",
                "User '[address]' is locked",
            ),
            ("100% sure @ noon", "100% sure @ noon"),
        ];
        for (text, expected) in table {
            assert_eq!(scrub(text, &own), expected);
        }
    }

    #[test]
    fn nothing_that_may_be_a_token_stays() {
        let token = format!("eyJ0eXAi.{}.sig", "a".repeat(40));
        assert_eq!(scrub(&format!("Bearer {token}"), &[]), "Bearer [token]");
        assert_eq!(scrub(&"Q".repeat(200), &[]), "[token]");
        let host = "FR3P281CA0157.DEUP281.PROD.OUTLOOK.COM";
        assert_eq!(scrub(host, &[]), host);
    }

    #[test]
    fn it_is_one_short_line() {
        assert_eq!(scrub("a\r\n\u{1b}[2Jb", &[]), "a   [2Jb");
        assert!(scrub(&"a ".repeat(1000), &[]).chars().count() <= CHARS_MAX);
    }
}
