//! What `explain` asks and is answered: a mailbox, or a message, with all that a verdict rests on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attempt, Event, Mailbox};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainQuery {
    /// Tells this message's life, with or without its angle brackets.
    pub message_id: Option<String>,
    /// The mail server is not asked.
    pub offline: bool,
}

/// Why a mailbox is silent, or where a message is: the verdict first, then what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub verdict: Verdict,
    pub mailbox: Mailbox,
    pub folders: Vec<FolderLife>,
    pub gate: Gate,
    /// Of the mailbox's credential; null for one that nobody has needed yet.
    pub credential: Option<CredentialLife>,
    /// What endpoints still owe of this mailbox's events, or gave up.
    pub owed: Vec<Owed>,
    pub server: ServerLook,
    /// Where a message was asked for.
    pub message: Option<Story>,
}

/// In plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Nothing has to be done.
    pub fine: bool,
    pub text: String,
    pub hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FolderLife {
    pub name: String,
    /// The last sign of life from the server, of this process's run.
    pub last_life: String,
    pub wake: Option<WakeLife>,
    /// Messages up to this UID were there before the folder was first looked at.
    pub before_start_uid: Option<u32>,
    /// The message with the highest UID that was taken.
    pub newest: Option<Taken>,
    /// As the server says now.
    pub server: Option<ServerFolder>,
    /// Whether the server has mail above the cursor; null where it was not asked.
    pub behind: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WakeLife {
    /// changed (the server announced it), elapsed (we looked by ourselves), standby (a new session).
    pub why: String,
    pub at: String,
    /// What was taken since, by outcome, of the newest hundred.
    pub found: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFolder {
    pub uidvalidity: u32,
    pub uidnext: Option<u32>,
    pub highest_uid: Option<u32>,
    pub messages: u32,
}

/// The gate above all folders of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// No login before, where it is shut.
    pub shut_until: Option<String>,
    /// refused, throttled or limit.
    pub why: Option<String>,
    pub sessions: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialLife {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// idle, ready, unavailable or refused.
    pub state: String,
    pub token_expires: Option<String>,
    pub last_error: Option<String>,
    pub last_error_at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owed {
    pub endpoint: String,
    /// active, open, probing or paused; null where it is not configured.
    pub endpoint_state: Option<String>,
    pub pending: u64,
    pub dead: u64,
    pub oldest_pending: Option<String>,
}

/// What came of asking the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerLook {
    /// Folders that were opened (read-only).
    pub folders: u32,
    /// Folders that there was no time for, or that could not be opened.
    pub left_out: Vec<String>,
    /// Why it was not asked, or not to the end.
    pub note: Option<String>,
}

/// A message's life here and its places on the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    pub message_id: String,
    /// Rows of the ledger that events tell of, oldest first.
    pub taken: Vec<Taken>,
    pub events: Vec<EventLife>,
    pub places: Vec<MessagePlace>,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    pub folder: String,
    pub uid: u32,
    /// In the folder's present numbering.
    pub present: bool,
    /// event, known, skipped, quarantined or vanished.
    pub outcome: String,
    pub reason: Option<String>,
    /// idle, cycle, start, order or audit.
    pub found_by: String,
    pub taken_at: String,
    pub internal_date: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventLife {
    #[serde(flatten)]
    pub event: Event,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

/// Where the message is on the server now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessagePlace {
    pub folder: String,
    pub uid: u32,
    pub watched: bool,
    /// What became of it there.
    pub taken: Option<Taken>,
}
