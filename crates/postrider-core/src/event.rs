//! Events: their types, and ids that any node computes alike.

use uuid::Uuid;

use crate::{
    fingerprint::Fingerprint,
    ids::{FolderName, MailboxKey, Uid, UidValidity},
    time::Wall,
};

/// What makes a message event itself. The id is a UUIDv5 over these, length-prefixed, so state
/// rebuilt or another node gives the same id, and another message never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub instance: std::sync::Arc<str>,
    pub mailbox: MailboxKey,
    pub folder: FolderName,
    pub uid_validity: UidValidity,
    pub uid: Uid,
    /// Holds INTERNALDATE and Message-ID or header hash.
    pub fingerprint: Fingerprint,
    pub internal_date: Option<Wall>,
}

impl Identity {
    /// The id of the `message.received` event. `generation` is 0, but for an insert that met its
    /// own id with another fingerprint.
    pub fn id(&self, generation: u32) -> Uuid {
        self.id_as(EventType::MessageReceived, generation)
    }

    /// The id of another event about the same message, such as `message.quarantined`.
    pub fn id_as(&self, event_type: EventType, generation: u32) -> Uuid {
        let internal_date = self.internal_date.map(|at| at.seconds().to_be_bytes());
        name_based(&[
            b"message",
            self.instance.as_bytes(),
            self.mailbox.as_str().as_bytes(),
            self.folder.as_str().as_bytes(),
            &self.uid_validity.0.to_be_bytes(),
            &self.uid.get().to_be_bytes(),
            internal_date
                .as_ref()
                .map_or(&[][..], |seconds| &seconds[..]),
            &self.fingerprint.0,
            event_type.as_str().as_bytes(),
            &generation.to_be_bytes(),
        ])
    }
}

/// The id of a system event: `started` is the time stored with the change of state it tells of.
pub fn system_id(instance: &str, scope: &str, event_type: EventType, started: Wall) -> Uuid {
    name_based(&[
        b"system",
        instance.as_bytes(),
        scope.as_bytes(),
        event_type.as_str().as_bytes(),
        &started.0.to_be_bytes(),
    ])
}

/// The id under which an event is sent again as a new one, for a receiver that remembers ids whose
/// events it has lost. `number` counts the replays of its delivery from 1.
pub fn replay_id(event: Uuid, number: u32) -> Uuid {
    name_based(&[b"replay", event.as_bytes(), &number.to_be_bytes()])
}

/// postrider's own namespace for name-based ids (RFC 9562 section 5.5). It is part of every id
/// ever sent: a change makes all known mail new.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d0c_93a4_51e8_4f6b_9b2e_c64f_08a1_d735);

/// Each part is preceded by its length, so no two different lists of parts make one name.
fn name_based(parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(256);
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// Every type that postrider emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    MessageReceived,
    MessageQuarantined,
    MailboxStalled,
    MailboxHeld,
    MailboxAuthFailed,
    MailboxRecovered,
    MailboxUidValidityChanged,
    MailboxAuditFound,
    CredentialRefused,
    CredentialRecovered,
    CredentialExpiring,
    CredentialViolation,
    EndpointPaused,
    EndpointRecovered,
    EndpointDeadLetter,
    StoreSpaceLow,
    StoreSpaceRecovered,
    Ping,
}

impl EventType {
    pub const ALL: &'static [Self] = &[
        Self::MessageReceived,
        Self::MessageQuarantined,
        Self::MailboxStalled,
        Self::MailboxHeld,
        Self::MailboxAuthFailed,
        Self::MailboxRecovered,
        Self::MailboxUidValidityChanged,
        Self::MailboxAuditFound,
        Self::CredentialRefused,
        Self::CredentialRecovered,
        Self::CredentialExpiring,
        Self::CredentialViolation,
        Self::EndpointPaused,
        Self::EndpointRecovered,
        Self::EndpointDeadLetter,
        Self::StoreSpaceLow,
        Self::StoreSpaceRecovered,
        Self::Ping,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
            Self::MessageQuarantined => "message.quarantined",
            Self::MailboxStalled => "mailbox.stalled",
            Self::MailboxHeld => "mailbox.held",
            Self::MailboxAuthFailed => "mailbox.auth_failed",
            Self::MailboxRecovered => "mailbox.recovered",
            Self::MailboxUidValidityChanged => "mailbox.uidvalidity_changed",
            Self::MailboxAuditFound => "mailbox.audit_found",
            Self::CredentialRefused => "credential.refused",
            Self::CredentialRecovered => "credential.recovered",
            Self::CredentialExpiring => "credential.expiring",
            Self::CredentialViolation => "credential.violation",
            Self::EndpointPaused => "endpoint.paused",
            Self::EndpointRecovered => "endpoint.recovered",
            Self::EndpointDeadLetter => "endpoint.dead_letter",
            Self::StoreSpaceLow => "store.space_low",
            Self::StoreSpaceRecovered => "store.space_recovered",
            Self::Ping => "ping",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            instance: "prod".into(),
            mailbox: "support".into(),
            folder: "INBOX".into(),
            uid_validity: UidValidity(1_714_060_800),
            uid: Uid::new(4711).unwrap(),
            fingerprint: Fingerprint([7; 32]),
            internal_date: Some(Wall::from_seconds(1_714_060_801)),
        }
    }

    #[test]
    fn an_id_stays_what_it_was_in_every_version() {
        assert_eq!(
            identity().id(0).to_string(),
            "83a1da68-84c5-5454-b660-aca886367aee"
        );
        assert_eq!(
            system_id(
                "prod",
                "support",
                EventType::MailboxHeld,
                Wall(1_714_060_801_500)
            )
            .to_string(),
            "207c6242-af10-5548-b53a-0f102e6c97a7"
        );
    }

    #[test]
    fn every_part_counts() {
        let same = identity();
        assert_eq!(same.id(0), identity().id(0));
        let changed: Vec<(&str, Identity)> = vec![
            (
                "instance",
                Identity {
                    instance: "test".into(),
                    ..identity()
                },
            ),
            (
                "mailbox",
                Identity {
                    mailbox: "sales".into(),
                    ..identity()
                },
            ),
            (
                "folder",
                Identity {
                    folder: "Archive".into(),
                    ..identity()
                },
            ),
            (
                "uid validity",
                Identity {
                    uid_validity: UidValidity(1),
                    ..identity()
                },
            ),
            (
                "uid",
                Identity {
                    uid: Uid::new(4712).unwrap(),
                    ..identity()
                },
            ),
            (
                "fingerprint",
                Identity {
                    fingerprint: Fingerprint([8; 32]),
                    ..identity()
                },
            ),
            (
                "internal date",
                Identity {
                    internal_date: Some(Wall::from_seconds(5)),
                    ..identity()
                },
            ),
            (
                "no internal date",
                Identity {
                    internal_date: None,
                    ..identity()
                },
            ),
        ];
        let mut ids = vec![
            same.id(0),
            same.id(1),
            same.id_as(EventType::MessageQuarantined, 0),
        ];
        for (what, other) in changed {
            assert!(!ids.contains(&other.id(0)), "{what} does not change the id");
            ids.push(other.id(0));
        }
    }

    #[test]
    fn milliseconds_of_the_internal_date_do_not_count() {
        let later = Identity {
            internal_date: Some(Wall(1_714_060_801_900)),
            ..identity()
        };
        assert_eq!(later.id(0), identity().id(0));
    }

    #[test]
    fn text_moved_between_neighbouring_parts_changes_the_id() {
        let with = |instance: &str, mailbox: &str, folder: &str| {
            Identity {
                instance: instance.into(),
                mailbox: mailbox.into(),
                folder: folder.into(),
                ..identity()
            }
            .id(0)
        };
        let cases = [
            (
                with("prod", "support", "INBOX"),
                with("prods", "upport", "INBOX"),
            ),
            (
                with("prod", "support", "INBOX"),
                with("prod", "supportI", "NBOX"),
            ),
            (with("prod", "support", ""), with("prod", "", "support")),
            (
                with("", "prodsupport", "INBOX"),
                with("prodsupport", "", "INBOX"),
            ),
        ];
        for (left, right) in cases {
            assert_ne!(left, right);
        }
        let at = Wall(1);
        assert_ne!(
            system_id("prod", "support", EventType::Ping, at),
            system_id("prods", "upport", EventType::Ping, at)
        );
        assert_ne!(name_based(&[b"a", b""]), name_based(&[b"", b"a"]));
        assert_ne!(name_based(&[b"a"]), name_based(&[b"a", b""]));
    }

    #[test]
    fn system_ids_differ_by_type_and_start() {
        let id = |kind, at| system_id("prod", "support", kind, Wall(at));
        assert_ne!(id(EventType::MailboxHeld, 1), id(EventType::MailboxHeld, 2));
        assert_ne!(
            id(EventType::MailboxHeld, 1),
            id(EventType::MailboxStalled, 1)
        );
        assert_eq!(id(EventType::MailboxHeld, 1), id(EventType::MailboxHeld, 1));
    }

    #[test]
    fn each_replay_as_new_has_an_id_of_its_own() {
        let event = identity().id(0);
        assert_eq!(replay_id(event, 1), replay_id(event, 1));
        assert_ne!(replay_id(event, 1), replay_id(event, 2));
        assert_ne!(replay_id(event, 1), event);
        assert_ne!(replay_id(event, 1), replay_id(identity().id(1), 1));
    }

    #[test]
    fn every_type_is_read_back_from_its_name() {
        for kind in EventType::ALL {
            assert_eq!(EventType::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(EventType::parse("message.deleted"), None);
    }
}
