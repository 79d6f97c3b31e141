//! Bytes become characters, by the charset that is declared. Nothing fails: what is not valid
//! stands as U+FFFD, and a warning says why.

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, WINDOWS_1252};
use mail_parser::decoders::charsets::{DecoderFnc, map::charset_decoder};

use super::{Warning, Warnings, transfer};

enum Charset {
    Ascii,
    Utf7,
    /// The Encoding Standard's, which is what mail programs decode by.
    Standard(&'static Encoding),
    /// Older ones that only mail still has, such as IBM850.
    Old(DecoderFnc),
}

pub(super) fn decode(bytes: &[u8], charset: Option<&str>, warnings: &mut Warnings) -> String {
    let Some(label) = charset.map(str::trim).filter(|label| !label.is_empty()) else {
        return undeclared(bytes, warnings);
    };
    match find(label) {
        Some(Charset::Ascii) => undeclared(bytes, warnings),
        Some(Charset::Utf7) => utf7(bytes),
        Some(Charset::Standard(encoding)) => {
            let (text, _, errors) = encoding.decode(bytes);
            if errors {
                warnings.add(Warning::CharsetInvalid);
            }
            text.into_owned()
        }
        Some(Charset::Old(decoder)) => decoder(bytes),
        None => {
            warnings.add(Warning::CharsetUnknown);
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

/// Raw bytes of a header that are no UTF-8: most likely in the charset that the body declares.
pub(super) fn eight_bit(bytes: &[u8], declared: Option<&str>) -> String {
    let encoding = match declared.and_then(find) {
        Some(Charset::Standard(encoding))
            if encoding != UTF_8 && encoding.is_ascii_compatible() =>
        {
            encoding
        }
        Some(Charset::Standard(_) | Charset::Ascii | Charset::Utf7 | Charset::Old(_)) | None => {
            WINDOWS_1252
        }
    };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

fn undeclared(bytes: &[u8], warnings: &mut Warnings) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        // All but the last character, which a cut may have split.
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => {
            warnings.add(Warning::CharsetGuessed);
            WINDOWS_1252.decode(bytes).0.into_owned()
        }
    }
}

fn find(label: &str) -> Option<Charset> {
    let label = label.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    let lower = label.to_ascii_lowercase();
    let standard = match lower.as_str() {
        "us-ascii" | "ascii" | "ansi_x3.4-1968" | "default" => return Some(Charset::Ascii),
        "utf-7" | "utf7" | "unicode-1-1-utf-7" => return Some(Charset::Utf7),
        "cp932" | "ms932" => "shift_jis",
        "cp936" | "ms936" => "gbk",
        "cp949" | "ms949" => "euc-kr",
        "cp950" => "big5",
        "utf8mb4" | "utf" | "unicode" => "utf-8",
        other => other,
    };
    match Encoding::for_label(standard.as_bytes()) {
        // The standard refuses these (HZ, ISO-2022-KR) and would give one U+FFFD for all.
        Some(encoding) if encoding == REPLACEMENT => None,
        Some(encoding) => Some(Charset::Standard(encoding)),
        None => charset_decoder(lower.as_bytes()).map(Charset::Old),
    }
}

/// UTF-7 (RFC 2152): base64 of UTF-16 between `+` and the first byte that is no base64; a `-`
/// there belongs to it, and `+-` is a plus.
fn utf7(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..plus]));
        rest = &rest[plus + 1..];
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let length = rest
            .iter()
            .position(|byte| !is_base64(byte))
            .unwrap_or(rest.len());
        if length == 0 {
            text.push('+');
        }
        let units = transfer::base64_all(&rest[..length], &mut Warnings::default());
        let units = units
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        text.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
        rest = rest[length..].strip_prefix(b"-").unwrap_or(&rest[length..]);
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_of_real_mail_are_decoded() {
        let cases: &[(&str, &[u8], &str)] = &[
            ("iso-2022-jp", b"\x1b$B%O%m!<\x1b(B ok", "ハロー ok"),
            ("GB18030", b"\xc4\xe3\xba\xc3", "你好"),
            ("gb2312", b"\xc4\xe3\xba\xc3", "你好"),
            ("cp936", b"\xc4\xe3\xba\xc3", "你好"),
            ("windows-1252", b"\x80 f\xfcr \x93x\x94", "€ für “x”"),
            ("iso-8859-1", b"f\xfcr", "für"),
            ("iso-8859-15", b"\xa4", "€"),
            ("koi8-r", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
            ("\"utf-8\"", "für".as_bytes(), "für"),
            ("utf-16", b"\xfe\xff\x00f\x00\xfc", "fü"),
            ("utf-7", b"f+APw-r 1 +- 2, +AOQ.", "für 1 + 2, ä."),
            ("shift_jis", b"\x83n", "ハ"),
            ("big5", b"\xa7A", "你"),
            ("euc-kr", b"\xbe\xc8", "안"),
            ("ibm850", b"\x81", "ü"),
            ("us-ascii", "für".as_bytes(), "für"),
        ];
        for (charset, bytes, text) in cases {
            let mut warnings = Warnings::default();
            assert_eq!(
                decode(bytes, Some(charset), &mut warnings),
                *text,
                "{charset}"
            );
            assert!(warnings.is_empty(), "{charset}: {warnings:?}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        let cases: &[(Option<&str>, &[u8], &str, Warning)] = &[
            (
                Some("klingon-8"),
                b"a\xfcb",
                "a\u{fffd}b",
                Warning::CharsetUnknown,
            ),
            (
                Some("hz-gb-2312"),
                b"~{a~}",
                "~{a~}",
                Warning::CharsetUnknown,
            ),
            (
                Some("utf-8"),
                b"a\xfcb",
                "a\u{fffd}b",
                Warning::CharsetInvalid,
            ),
            (None, b"a\xfcb", "aüb", Warning::CharsetGuessed),
            (Some("us-ascii"), b"a\xfcb", "aüb", Warning::CharsetGuessed),
        ];
        for (charset, bytes, text, warning) in cases {
            let mut warnings = Warnings::default();
            assert_eq!(decode(bytes, *charset, &mut warnings), *text, "{charset:?}");
            assert_eq!(
                warnings.iter().collect::<Vec<_>>(),
                [*warning],
                "{charset:?}"
            );
        }
    }
}
