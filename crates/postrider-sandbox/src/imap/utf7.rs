//! Folder names on the wire: modified UTF-7 (RFC 3501 §5.1.3), both ways.

use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD},
};

const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);

pub(super) fn encode(name: &str) -> String {
    encode_but(name, |char| matches!(char, ' '..='~'))
}

/// As Exchange has been seen to do it: control characters stand as they are.
pub(super) fn encode_carelessly(name: &str) -> String {
    encode_but(name, |char| char.is_ascii())
}

fn encode_but(name: &str, stands: impl Fn(char) -> bool) -> String {
    let mut wire = String::with_capacity(name.len());
    let mut shifted = Vec::new();
    for char in name.chars() {
        if stands(char) {
            unshift(&mut shifted, &mut wire);
            wire.push(char);
            if char == '&' {
                wire.push('-');
            }
        } else {
            let mut units = [0; 2];
            let units = char.encode_utf16(&mut units);
            shifted.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    unshift(&mut shifted, &mut wire);
    wire
}

fn unshift(shifted: &mut Vec<u8>, wire: &mut String) {
    if !shifted.is_empty() {
        wire.push('&');
        wire.push_str(&BASE64.encode(&shifted));
        wire.push('-');
        shifted.clear();
    }
}

/// `None` where it is no modified UTF-7: a server may not guess.
pub(super) fn decode(wire: &str) -> Option<String> {
    if !wire.is_ascii() {
        return None;
    }
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((plain, shifted)) = rest.split_once('&') {
        name.push_str(plain);
        let (encoded, after) = shifted.split_once('-')?;
        rest = after;
        if encoded.is_empty() {
            name.push('&');
            continue;
        }
        let bytes = BASE64.decode(encoded).ok()?;
        if bytes.len() % 2 != 0 {
            return None;
        }
        let units = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        for char in char::decode_utf16(units) {
            // What is ASCII must not be hidden in base64.
            name.push(char.ok().filter(|char| !matches!(char, ' '..='~'))?);
        }
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("R&D", "R&-D"),
            ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
            ("台北/日本語", "&U,BTFw-/&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
            ("odd\u{1}", "odd&AAE-"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire).as_deref(), Some(name));
        }
        assert_eq!(encode_carelessly("odd\u{1}ä"), "odd\u{1}&AOQ-");
        for wrong in ["R&D", "&AGE-", "&AM-", "é", "&2D0-"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
