//! How a message is known again when its UID cannot be trusted.

use sha2::{Digest, Sha256};

use crate::time::Wall;

/// Message-ID (or a hash of From, Date and Subject where there is none) and INTERNALDATE:
/// nothing that a server estimates or rebuilds, such as size or bytes.
///
/// Stored as 32 bytes; two messages with the same bytes are taken for the same message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// `message_id` without its angle brackets, as it stands in the header; `None` or blank
    /// where there is none: then the three header values stand in, as they are on the wire.
    /// INTERNALDATE counts in whole seconds, which is all that IMAP gives (RFC 3501 section 9,
    /// `date-time`). Callers use [`crate::message::fingerprint`], which reads the values alike
    /// from a whole message and from a few header fields.
    pub fn of(
        message_id: Option<&str>,
        from: &str,
        date: &str,
        subject: &str,
        internal_date: Option<Wall>,
    ) -> Self {
        let mut hash = Sha256::new();
        match message_id.map(str::trim).filter(|id| !id.is_empty()) {
            Some(id) => part(&mut hash, b"id", id.as_bytes()),
            None => {
                part(&mut hash, b"from", from.trim().as_bytes());
                part(&mut hash, b"date", date.trim().as_bytes());
                part(&mut hash, b"subject", subject.trim().as_bytes());
            }
        }
        let seconds = internal_date.map(Wall::seconds).unwrap_or(i64::MIN);
        part(&mut hash, b"internal", &seconds.to_be_bytes());
        Self(hash.finalize().into())
    }

    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({})", &self.hex()[..12])
    }
}

/// Length-prefixed, so that no two different lists of values hash alike.
fn part(hash: &mut Sha256, name: &[u8], value: &[u8]) {
    hash.update(name);
    hash.update((value.len() as u64).to_be_bytes());
    hash.update(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Option<Wall> = Some(Wall(1_714_060_800_000));

    #[test]
    fn a_message_id_stands_alone() {
        let one = Fingerprint::of(Some("a@b"), "x", "y", "z", AT);
        assert_eq!(one, Fingerprint::of(Some(" a@b "), "", "", "", AT));
        assert_ne!(one, Fingerprint::of(Some("a@c"), "x", "y", "z", AT));
    }

    #[test]
    fn without_a_message_id_the_three_headers_count_each_in_its_place() {
        let one = Fingerprint::of(None, "x", "y", "z", AT);
        assert_eq!(one, Fingerprint::of(Some("  "), " x", "y ", "z", AT));
        assert_ne!(one, Fingerprint::of(None, "xy", "", "z", AT));
        assert_ne!(one, Fingerprint::of(None, "y", "x", "z", AT));
        assert_ne!(
            Fingerprint::of(None, "", "", "", AT),
            Fingerprint::of(Some("a"), "", "", "", AT)
        );
    }

    #[test]
    fn the_internal_date_counts_in_whole_seconds() {
        let at = |ms| Fingerprint::of(Some("a@b"), "", "", "", Some(Wall(ms)));
        assert_eq!(at(1_000), at(1_999));
        assert_ne!(at(1_000), at(2_000));
        assert_ne!(at(0), Fingerprint::of(Some("a@b"), "", "", "", None));
    }

    #[test]
    fn hex_is_lower_case_and_debug_is_short() {
        let print = Fingerprint([0xAB; 32]);
        assert_eq!(print.hex(), "ab".repeat(32));
        assert_eq!(format!("{print:?}"), "Fingerprint(abababababab)");
    }
}
