//! Tests of what a message says, by kind: ordinary mail, hostile mail, random bytes.

use super::*;

mod hostile;
mod located;
mod machines;
mod random;
mod reading;

fn read(raw: impl AsRef<[u8]>) -> Message {
    let message = parse(raw.as_ref(), &ParseLimits::default());
    located::agrees(raw.as_ref(), &message);
    message
}

fn warned(message: &Message) -> Vec<&'static str> {
    message.warnings.iter().map(Warning::as_str).collect()
}

fn who(name: &str, address: &str) -> Address {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Address {
        name: some(name),
        address: some(address),
    }
}

/// A multipart with the given type and parts, all lines ended by CRLF.
fn multipart(kind: &str, parts: &[&str]) -> String {
    let mut raw =
        format!("From: a@b.example\r\nContent-Type: {kind}; boundary=\"=_x\"\r\n\r\npreamble\r\n");
    for part in parts {
        raw.push_str("--=_x\r\n");
        raw.push_str(part);
        raw.push_str("\r\n");
    }
    raw + "--=_x--\r\nepilogue\r\n"
}
