//! What is done with a message in its mailbox after delivery.

use postrider_core::ids::{EndpointKey, FolderName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Never before this endpoint accepted the event.
    pub endpoint: EndpointKey,
    pub action: AfterAction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterAction {
    MoveTo(FolderName),
    /// A system flag with its backslash, or a keyword.
    AddFlag(String),
}

impl std::fmt::Display for AfterAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MoveTo(folder) => write!(f, "move to {folder}"),
            Self::AddFlag(flag) => write!(f, "add {flag}"),
        }
    }
}
