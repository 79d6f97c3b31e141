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
    /// `generation` is 0, but for an insert that met its own id with another fingerprint.
    pub fn id(&self, generation: u32) -> Uuid {
        let _ = generation;
        Uuid::nil()
    }
}

/// The id of a system event: `started` is the time stored with the change of state it tells of.
pub fn system_id(instance: &str, scope: &str, event_type: EventType, started: Wall) -> Uuid {
    let _ = (instance, scope, event_type, started);
    Uuid::nil()
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
