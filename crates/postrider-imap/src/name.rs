//! Folder names on the wire and for people: modified UTF-7 (RFC 3501 section 5.1.3) both ways.

use base64::{
    Engine, alphabet, engine::general_purpose::GeneralPurpose, engine::general_purpose::NO_PAD,
};

const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);

/// INBOX is the same in any case.
pub(crate) fn wire_name(name: &str) -> String {
    if name.eq_ignore_ascii_case("INBOX") {
        return "INBOX".to_owned();
    }
    let mut wire = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    let unshift = |shifted: &mut Vec<u8>, wire: &mut String| {
        if !shifted.is_empty() {
            wire.push('&');
            wire.push_str(&BASE64.encode(&shifted));
            wire.push('-');
            shifted.clear();
        }
    };
    for char in name.chars() {
        // CR, LF and NUL stay as they are, for `argument` to refuse.
        if matches!(char, ' '..='~' | '\r' | '\n' | '\0') {
            unshift(&mut shifted, &mut wire);
            wire.push(char);
            if char == '&' {
                wire.push('-');
            }
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    unshift(&mut shifted, &mut wire);
    wire
}

/// The name as people write it; `None` where it would go out as another name than it came in, so
/// that it cannot be opened under what is shown.
pub(crate) fn shown_name(wire: &[u8]) -> Option<String> {
    let wire = std::str::from_utf8(wire).ok()?;
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((plain, after)) = rest.split_once('&') {
        name.push_str(plain);
        let (shifted, after) = after.split_once('-')?;
        if shifted.is_empty() {
            name.push('&');
        } else {
            name.push_str(&unshifted(shifted)?);
        }
        rest = after;
    }
    name.push_str(rest);
    let same = name.eq_ignore_ascii_case("INBOX") || wire_name(&name) == wire;
    same.then_some(name)
}

fn unshifted(text: &str) -> Option<String> {
    let bytes = BASE64.decode(text).ok()?;
    let (units, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_go_out_in_modified_utf_7() {
        assert_eq!(wire_name("inbox"), "INBOX");
        assert_eq!(
            wire_name("Éléments envoyés"),
            "&AMk-l&AOk-ments envoy&AOk-s"
        );
        assert_eq!(wire_name("R&D"), "R&-D");
        assert_eq!(wire_name("台北/日本語"), "&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(wire_name("😀"), "&2D3eAA-");
    }

    #[test]
    fn folder_names_are_shown_as_they_are_written() {
        for name in [
            "INBOX",
            "Éléments envoyés",
            "R&D",
            "台北/日本語",
            "😀",
            "a b",
        ] {
            let wire = wire_name(name);
            assert_eq!(shown_name(wire.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_name_that_would_go_out_otherwise_is_not_shown() {
        // An open shift, half a character, a plain letter in base64, raw 8-bit text.
        for wire in ["R&D", "&2D0-", "&AGE-", "&!!-", "Entw\u{fc}rfe"] {
            assert_eq!(shown_name(wire.as_bytes()), None, "{wire}");
        }
        assert_eq!(shown_name(b"\xff"), None);
    }
}
