//! Sending again, giving up, reading again; who did it; and tokens for those who may.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every part narrows what is meant; times are when it was delivered, given up or stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Narrow {
    pub endpoint: Option<String>,
    pub mailbox: Option<String>,
    /// At or after this time.
    pub since: Option<String>,
    /// Before this time.
    pub until: Option<String>,
}

/// What is to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "select", rename_all = "snake_case")]
pub enum ReplaySelect {
    /// One event, to every endpoint that it was for, or to one of them.
    Event {
        id: String,
        #[serde(default)]
        endpoint: Option<String>,
    },
    /// Dead deliveries.
    Dead(Narrow),
    /// Deliveries that were accepted; the endpoint has to be named.
    Delivered(Narrow),
    /// Deliveries that an operator gave up; the endpoint has to be named.
    Discarded(Narrow),
    /// Events of mailboxes that have this endpoint now and that it was never owed, such as those
    /// from before it was configured; times are when they were stored.
    Never(Narrow),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayRequest {
    #[serde(flatten)]
    pub select: ReplaySelect,
    /// Under a new id, for a receiver that remembers ids whose events it has lost.
    #[serde(default)]
    pub as_new: bool,
    /// At most so many per second; as fast as the endpoint takes them where there is none.
    #[serde(default)]
    pub rate: Option<u32>,
    /// For the audit.
    #[serde(default)]
    pub why: Option<String>,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    pub dry_run: bool,
    /// Its number, by which it can be taken back; null where nothing was done.
    pub replay: Option<i64>,
    pub deliveries: u64,
    /// The first thousand of them.
    pub events: Vec<String>,
    /// How many for each endpoint.
    pub endpoints: BTreeMap<String, u64>,
    /// How long the asked rate spreads them.
    pub lasts_seconds: u64,
}

/// The mark of a replayed event, as it goes into `data.delivery.replay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayMark {
    pub at: String,
    /// Who ordered it: a user's name, or a token's.
    #[serde(default)]
    pub by: Option<String>,
    /// Which replay of this delivery it is.
    pub number: u32,
    #[serde(default)]
    pub as_new: bool,
    /// The event's own id, where it goes out under another one.
    #[serde(default)]
    pub of: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CancelRequest {
    /// For the audit.
    pub why: Option<String>,
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    pub dry_run: bool,
    pub replay: i64,
    /// Deliveries that are again what they were before.
    pub taken_back: u64,
    /// Being sent at this moment, and not taken back.
    pub in_flight: u64,
    /// Sent, or given up, before.
    pub over: u64,
}

/// What is to be given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "select", rename_all = "snake_case")]
pub enum DiscardSelect {
    /// What is pending or dead of these events, for every endpoint or for one.
    Events {
        ids: Vec<String>,
        #[serde(default)]
        endpoint: Option<String>,
    },
    /// Dead deliveries; the endpoint has to be named.
    Dead(Narrow),
    /// Deliveries that wait; the endpoint has to be named.
    Pending(Narrow),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscardRequest {
    #[serde(flatten)]
    pub select: DiscardSelect,
    /// For the audit.
    pub reason: String,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discarded {
    pub dry_run: bool,
    pub deliveries: u64,
    /// The first thousand of them.
    pub events: Vec<String>,
    /// How many for each endpoint.
    pub endpoints: BTreeMap<String, u64>,
}

/// Which messages are to be read again from the server: a set of UIDs, or days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RereadRequest {
    /// The mailbox's only folder where there is none.
    pub folder: Option<String>,
    /// `1:100,200,300:*`
    pub uids: Option<String>,
    /// Arrived (INTERNALDATE) on or after this day.
    pub since: Option<String>,
    /// Arrived before this day.
    pub until: Option<String>,
    /// For the audit.
    pub why: Option<String>,
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reread {
    pub dry_run: bool,
    pub folder: String,
    /// Messages of the range that are on the server.
    pub found: u64,
    /// Those of them that are read now: no event is stored of them, and they are sent under the id that
    /// they always have; or the message itself is needed and not kept any more.
    pub read: u64,
    /// Those of them that an event is stored of.
    pub known: u64,
    /// Deliveries of these that are sent again; what is pending is left alone.
    pub sent_again: u64,
    /// The numbers of these replays.
    pub replays: Vec<i64>,
}

// ---------------------------------------------------------------- audit

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditQuery {
    pub since: Option<String>,
    pub limit: Option<u32>,
}

/// What operators did, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    pub audit: Vec<AuditEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Of a replay: its number.
    pub id: i64,
    pub at: String,
    /// A user's name, or a token's.
    pub who: String,
    /// The socket with user and group, or a token and its address.
    pub through: String,
    pub what: String,
    pub selector: String,
    /// To how many deliveries, folders or whatever it is about.
    pub affected: u64,
    pub why: Option<String>,
}

// ---------------------------------------------------------------- tokens

/// What a token may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look.
    Read,
    /// Look, send again and take back.
    Replay,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: &'static [Self] = &[Self::Read, Self::Replay, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Replay => "replay",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|scope| scope.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateToken {
    /// `[a-z0-9][a-z0-9-]{0,62}`
    pub name: String,
    pub scope: Scope,
    /// When it ends by itself.
    #[serde(default)]
    pub expires: Option<String>,
}

/// The only time that the token is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    pub name: String,
    pub token: String,
    pub scope: Scope,
    pub expires: Option<String>,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken")
            .field("name", &self.name)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub name: String,
    pub scope: String,
    /// live, expired or revoked.
    pub state: String,
    pub created_at: String,
    pub created_by: String,
    pub expires: Option<String>,
    pub revoked: Option<String>,
}
