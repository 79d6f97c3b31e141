//! Setting up Exchange Online for an application: the steps in the portal, one script for Exchange,
//! and the page for whoever keeps the firewall. It makes text from what it is told, and does nothing
//! itself: no network, no files, and no secret is ever part of it.

pub mod firewall;
pub mod script;
pub mod steps;

mod cloud;
mod value;

#[cfg(test)]
mod tests;

pub use value::{Address, ClientId, Invalid, ObjectId, Tenant};

use crate::config::Cloud;

/// What is to be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The credential's name in the configuration, where there is one.
    pub credential: Option<String>,
    pub cloud: Cloud,
    pub tenant: Tenant,
    /// `None`: the script says where it is to be filled in, and does nothing before it is.
    pub client_id: Option<ClientId>,
    /// The enterprise application's, which is the `oid` of its tokens. `None`: as for `client_id`
    /// where Exchange does not know the application, else what Exchange has is not checked.
    pub object_id: Option<ObjectId>,
    /// Without repeats.
    pub mailboxes: Vec<Address>,
    pub identity: Identity,
    pub protocols: Protocols,
    pub read_receipts: ReadReceipts,
    pub reach: Reach,
    pub removed: Removed,
}

/// How the application shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not said: the steps name the choices.
    Open,
    Secret,
    Certificate,
    Federation,
    Managed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Imap,
    ImapAndPop,
}

/// Whether Exchange may answer read-receipt requests when a message is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadReceipts {
    Keep,
    Suppress,
}

/// Which of the mailboxes the script touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    /// Those without a grant; the others are left wholly alone.
    OnlyMissing,
}

/// What becomes of grants to mailboxes that are not in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Leave,
    Revoke,
}

impl Protocols {
    /// The application permissions, as the portal lists them.
    pub fn permissions(self) -> &'static [&'static str] {
        match self {
            Self::Imap => &["IMAP.AccessAsApp"],
            Self::ImapAndPop => &["IMAP.AccessAsApp", "POP.AccessAsApp"],
        }
    }
}
