//! What is done after delivery, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done with a message in its mailbox once an endpoint accepted its event. Exactly one of `move_to`, `add_flag` and `keyword`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct After {
    /// The endpoint whose acceptance is waited for; one of the mailbox's.
    pub(crate) endpoint: Option<String>,
    /// The folder to move the message to, by its full name.
    pub(crate) move_to: Option<String>,
    /// The flag to set: `\\Seen`, `\\Flagged` or `\\Answered`.
    pub(crate) add_flag: Option<String>,
    /// The keyword to set, such as `Ticketed`. Exchange has none of one's own.
    pub(crate) keyword: Option<String>,
}
