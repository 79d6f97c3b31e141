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
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
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
