//! The JSON that travels over the admin socket: the daemon answers with it, commands read it.
//! Times are RFC 3339 in UTC. Nothing here decides or does anything.
//!
//! Which request is answered with which of these is in `routes`, and in the OpenAPI document that is
//! made from it (`GET /v1/openapi.json`, `postrider schema admin`).
//!
//! What fails is answered with [`Failure`]: 400 for a request that makes no sense, 401 and 403 for
//! who may not ask it, 404 for what is not there, 409 for what cannot be done in this state, 422 for a configuration that was
//! refused, 503 while the store is full or closing, 500 else.

mod explain;
mod repair;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use explain::*;
pub use repair::*;

/// The body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub error: String,
    #[serde(default)]
    pub hint: Option<String>,
    /// The errors of a refused configuration, one by one.
    #[serde(default)]
    pub details: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub instance: String,
    pub started_at: String,
    /// When the configuration in force was read.
    pub config_loaded_at: String,
    /// The last reload was refused: the configuration in force is older than the files.
    pub config_refused: bool,
    pub mailboxes: u64,
    /// Mailboxes by the worst state of their folders.
    pub states: BTreeMap<String, u64>,
    /// The mailbox that was proven up to date the longest ago; null where one never was.
    pub oldest_proven: Option<String>,
    pub sums: Sums,
    pub store: Space,
}

/// What was taken and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sums {
    pub uids: u64,
    pub event: u64,
    pub known: u64,
    pub skipped: u64,
    pub quarantined: u64,
    pub vanished: u64,
    pub deliveries: u64,
    pub pending: u64,
    pub delivered: u64,
    pub dead: u64,
    pub discarded: u64,
    /// 0, or a page.
    pub unaccounted_messages: i64,
    /// 0, or a page.
    pub unaccounted_deliveries: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Space {
    pub used_bytes: u64,
    pub budget_bytes: Option<u64>,
    /// Four fifths of the budget are used.
    #[serde(default)]
    pub low: bool,
    pub disk_free_bytes: u64,
    /// Why reading is stopped, where it is.
    pub full: Option<String>,
}

// ---------------------------------------------------------------- mailboxes

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mailboxes {
    pub mailboxes: Vec<Mailbox>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mailbox {
    pub id: String,
    pub address: String,
    /// `HOST:PORT`
    pub server: String,
    pub username: String,
    pub credential: String,
    pub endpoints: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Removed from the configuration, but known to the store.
    pub orphaned: bool,
    /// The worst of its folders: watching, syncing, connecting, backoff, auth_failed, throttled,
    /// held, paused, store_full; orphaned.
    pub state: String,
    pub since: Option<String>,
    pub folders: Vec<Folder>,
    pub last_error: Option<Trouble>,
    pub sums: Sums,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Folder {
    pub name: String,
    pub state: String,
    pub since: Option<String>,
    /// idle, polling or busy.
    pub mode: Option<String>,
    pub uidvalidity: Option<u32>,
    pub last_uid: Option<u32>,
    /// Messages that are still owed an outcome.
    pub gaps: u32,
    pub hold: Option<Hold>,
    /// When the folder was last known to be taken up to date.
    pub last_proven: Option<String>,
    /// When a waiting watch goes on by itself.
    pub next_try: Option<String>,
    pub last_error: Option<Trouble>,
}

/// A stop that waits for `mailboxes release`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// uidvalidity_changed, uids_went_back, state_lost or account_changed.
    pub why: String,
    pub since: String,
    /// What `--send` would send.
    pub messages: u32,
    /// How much of it is old.
    pub old: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    pub cause: String,
    pub detail: String,
    pub hint: Option<String>,
    /// When it began.
    pub since: String,
    /// When it was seen last.
    pub at: String,
    /// What it means and what to do, where a login failed.
    #[serde(default)]
    pub diagnosis: Option<Diagnosis>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// A stable name.
    pub cause: String,
    pub what: String,
    /// The first step; `postrider doctor` tells all.
    pub fix: String,
}

/// What becomes of mail that a hold kept back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "release", rename_all = "snake_case")]
pub enum Release {
    /// Send all that is not known.
    Send,
    /// Send none of it, and go on from there.
    Skip,
    /// Send what came at or after this time, skip the rest.
    Since { at: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRequest {
    #[serde(flatten)]
    pub release: Release,
    /// All held folders of the mailbox where there is none.
    #[serde(default)]
    pub folder: Option<String>,
    /// For the audit.
    #[serde(default)]
    pub why: Option<String>,
}

/// Why an order is given, for the audit; the whole body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reason {
    pub why: Option<String>,
}

/// An order was taken; it is carried out by the running watches, which may take a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    pub id: String,
    /// In the past tense: `paused`, `released`.
    pub done: String,
    /// The folders that it concerns, for a mailbox.
    #[serde(default)]
    pub folders: Vec<String>,
}

// ---------------------------------------------------------------- events

/// Every part narrows the list; the newest come first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventQuery {
    pub mailbox: Option<String>,
    pub endpoint: Option<String>,
    /// pending, delivered, dead or discarded
    pub state: Option<String>,
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    pub message_id: Option<String>,
    /// Stored at or after this time.
    pub since: Option<String>,
    /// Stored before this time.
    pub until: Option<String>,
    /// Older than this event: the last one of a list leads to the next.
    pub before: Option<String>,
    pub limit: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub mailbox: Option<String>,
    /// `FOLDER/UIDVALIDITY/UID`, or what a system event is about.
    pub subject: String,
    pub time: String,
    pub stored_at: String,
    pub message_id: Option<String>,
    pub deliveries: Vec<Delivery>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    pub endpoint: String,
    pub sequence: i64,
    pub state: String,
    pub attempts: u32,
    pub due: Option<String>,
    pub delivered_at: Option<String>,
    pub dead_reason: Option<String>,
    pub last_status: Option<u16>,
    /// What happened last, with the start of the answer.
    pub last_note: Option<String>,
    #[serde(default)]
    pub first_attempt_at: Option<String>,
    /// It waits for another one of its line.
    #[serde(default)]
    pub blocked: bool,
    /// Others of its line have overtaken it.
    #[serde(default)]
    pub stepped_aside: bool,
    /// The replay that it was sent again by, for `events replay --cancel`.
    #[serde(default)]
    pub replay: Option<i64>,
    /// The mark that a replayed event carries.
    #[serde(default)]
    pub replay_mark: Option<ReplayMark>,
    /// The id that it goes out under, where that is not the event's own.
    #[serde(default)]
    pub as_id: Option<String>,
}

/// An event with its whole story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventDetail {
    #[serde(flatten)]
    pub event: Event,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    pub data: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    pub endpoint: String,
    pub at: String,
    pub took_ms: u64,
    pub status: Option<u16>,
    pub note: String,
}

// ---------------------------------------------------------------- endpoints

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoints {
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    pub id: String,
    /// Scheme and host: the path of a webhook often is its secret.
    pub origin: Option<String>,
    /// Removed from the configuration, but there are deliveries for it.
    pub orphaned: bool,
    /// active, open (in trouble, breaker open), probing, paused (by an operator); orphaned.
    pub state: String,
    pub since: Option<String>,
    pub types: Vec<String>,
    pub in_flight: u32,
    pub max_in_flight: u32,
    /// When an endpoint in trouble is probed next.
    #[serde(default)]
    pub next_probe: Option<String>,
    /// none, mailbox or thread.
    #[serde(default)]
    pub order: Option<String>,
    pub pending: u64,
    /// Those of the pending ones that wait for another one of their line.
    #[serde(default)]
    pub blocked: u64,
    pub delivered: u64,
    pub dead: u64,
    pub discarded: u64,
    /// When the oldest event that waits was stored.
    pub oldest_pending: Option<String>,
    /// When an event was accepted last, since the start of the process.
    #[serde(default)]
    pub last_delivered: Option<String>,
    /// The last attempt that was not accepted, which may be over: see `state`.
    pub last_error: Option<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pinged {
    /// The id of the `ping` event.
    pub event: String,
    /// delivered, failed, or queued where it was not sent at once.
    pub outcome: String,
    pub status: Option<u16>,
    pub took_ms: Option<u64>,
    pub detail: Option<String>,
}

// ---------------------------------------------------------------- credentials

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Credentials {
    pub credentials: Vec<Credential>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// idle, ready, unavailable (a token that is still good is in use all the same) or refused.
    pub state: String,
    /// Which secret or certificate of the list gave what is in use, counted from 1, the newest.
    pub live: Option<u32>,
    /// How many the list names.
    pub secrets: u32,
    /// References that cannot be read, each with its hint.
    pub secret_problems: Vec<String>,
    /// When the token in use ends.
    pub token_expires: Option<String>,
    /// When the last token came, since the start of the process.
    #[serde(default)]
    pub last_token: Option<String>,
    /// When the next token is asked for, while somebody uses it.
    pub next_request: Option<String>,
    /// When the secret or certificate itself ends, as far as that is known.
    pub expires: Option<String>,
    /// The certificates of the list that could be read.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Who signed in, where somebody did and the provider tells.
    #[serde(default)]
    pub account: Option<String>,
    /// When they did.
    #[serde(default)]
    pub account_since: Option<String>,
    /// Mailboxes that log in with it.
    pub mailboxes: Vec<String>,
    /// Whether `last_error` is over.
    pub trouble_over: bool,
    pub last_error: Option<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Its place in the list, counted from 1, the newest.
    pub number: u32,
    /// As Entra's portal shows it: SHA-1 in upper case hex.
    pub thumbprint: String,
    pub subject: String,
    pub expires: String,
    /// Whether it gave the token in use. A new one takes the place of the one before once it has
    /// given a token.
    pub live: bool,
}

// ---------------------------------------------------------------- reload

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    pub dry_run: bool,
    pub changes: Changes,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    pub credentials: Delta,
    pub endpoints: Delta,
    pub mailboxes: Delta,
    /// What differs of each changed mailbox.
    pub aspects: BTreeMap<String, Vec<String>>,
    pub restart_needed: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}
