//! How far a folder has been taken, and what a newly opened folder means for that.

use crate::ids::{Uid, UidValidity};

/// How far a folder has been taken. Every UID at or below `last` has a ledger row, except the
/// `gaps`: suspects that are still owed an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub uid_validity: UidValidity,
    /// `None`: nothing taken yet, the folder is read from its first UID.
    pub last: Option<Uid>,
    /// Ascending; bounded by `watch::Policy::gaps_max`.
    pub gaps: Vec<Uid>,
}
