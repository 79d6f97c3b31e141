//! Status responses and capabilities (RFC 3501 sections 7.1 and 7.2.1): conditions, the few response
//! codes that matter here, and free text as bytes.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) condition: Condition,
    pub(crate) code: Option<Code>,
    /// All that follows the condition, the code included, for people.
    pub(crate) text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Ok,
    No,
    Bad,
    Preauth,
    Bye,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Capability(Vec<String>),
    UidValidity(u32),
    UidNext(u32),
    /// Upper case, without its arguments.
    Named(String),
}

impl Status {
    /// `OK [CODE …] text`, from the condition on. Exchange has been seen to leave out the `OK` before
    /// a bracket.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let (condition, rest) = if line.starts_with(b"[") {
            (Condition::Ok, line)
        } else {
            (Condition::parse(word)?, &line[word.len()..])
        };
        let text = rest.trim_ascii().to_vec();
        let code = code(&text);
        Some(Self {
            condition,
            code,
            text,
        })
    }
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Self> {
        let names: [(&[u8], Self); 5] = [
            (b"OK", Self::Ok),
            (b"NO", Self::No),
            (b"BAD", Self::Bad),
            (b"PREAUTH", Self::Preauth),
            (b"BYE", Self::Bye),
        ];
        names
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|(_, condition)| condition)
    }
}

fn code(text: &[u8]) -> Option<Code> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().position(|byte| *byte == b']')?;
    let inner = String::from_utf8_lossy(&inner[..end]).into_owned();
    let (name, arguments) = inner.split_once(' ').unwrap_or((&inner, ""));
    let name = name.to_ascii_uppercase();
    let number = || arguments.trim().parse().ok();
    match name.as_str() {
        "CAPABILITY" => Some(Code::Capability(capabilities(arguments.as_bytes()))),
        "UIDVALIDITY" => number().map(Code::UidValidity),
        "UIDNEXT" => number().map(Code::UidNext),
        _ => Some(Code::Named(name)),
    }
}

/// Names in upper case.
pub(crate) fn capabilities(names: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(names)
        .split_ascii_whitespace()
        .map(str::to_ascii_uppercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Status> {
        Status::parse(line.as_bytes())
    }

    #[test]
    fn a_multi_byte_text_after_a_code_is_text() {
        let status = parse("OK [ALERT]é").unwrap();
        assert_eq!(status.code, Some(Code::Named("ALERT".to_owned())));
        assert_eq!(status.text, "[ALERT]é".as_bytes());
    }

    #[test]
    fn exchange_bracket_at_the_end_is_no_code() {
        let status = parse("OK The Microsoft Exchange IMAP4 service is ready. [RgBSAA==]").unwrap();
        assert_eq!(status.code, None);
    }

    #[test]
    fn numbers_that_are_none_are_no_code() {
        assert_eq!(parse("OK [UIDVALIDITY many]").unwrap().code, None);
        assert_eq!(
            parse("OK [UIDNEXT 4370] The next").unwrap().code,
            Some(Code::UidNext(4370))
        );
    }

    #[test]
    fn a_condition_is_a_whole_word_in_any_case() {
        assert_eq!(parse("OKAY then"), None);
        assert_eq!(parse("bad").unwrap().condition, Condition::Bad);
    }
}
