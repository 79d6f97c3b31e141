//! What goes into the store and what comes out of it.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use postrider_core::{
    delivery::order::OrderKey,
    event::{EventType, Identity},
    fingerprint::Fingerprint,
    ids::{EndpointKey, MailboxKey, Uid, UidValidity, WatchKey},
    time::Wall,
    watch::{Entry, ItemKey},
};
use uuid::Uuid;

use crate::audit::{Act, Deed};

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    pub path: PathBuf,
    /// Where large and quarantined messages lie; beside the database by default.
    pub spool: PathBuf,
    pub allow_network_filesystem: bool,
    /// Bytes kept aside so that settling, pruning and discarding go on when the disk is full.
    pub reserve_bytes: u64,
    /// A bound for database and spool together.
    pub budget_bytes: Option<u64>,
    pub budget_action: BudgetAction,
    /// Longest delay that a due time may lie ahead; what is further away is due now. It may be
    /// changed later.
    pub due_ahead_max: Duration,
}

/// What happens at the end of the budget. Nothing is dropped in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetAction {
    /// Reading stops (`StoreError::Full`): the mailboxes keep the mail.
    #[default]
    PauseReading,
    /// Reading goes on until the disk itself is full; that room is used up is only told.
    Warn,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is in use by another postrider; hint: stop it, or give this one a store of its own"
    )]
    Locked { path: PathBuf },
    #[error(
        "{path} lies on {filesystem}, a network file system, where SQLite's locks cannot be trusted; \
         hint: use a local disk, or set store.allow_network_filesystem if only one machine ever mounts it"
    )]
    NetworkFilesystem { path: PathBuf, filesystem: String },
    #[error(
        "{path} was written by a newer postrider; the oldest version that can read it is {min_reader}; \
         hint: run that version or a later one, or put back the copy {path}.before-NNNN"
    )]
    TooNew { path: PathBuf, min_reader: String },
    #[error(
        "{path} was brought up to date by another build, whose migration {migration} is not this one's; \
         hint: run the postrider that wrote it, or put back the copy {path}.before-NNNN"
    )]
    OtherBuild { path: PathBuf, migration: i64 },
    #[error("{path} is damaged: {detail}; hint: keep it aside and restore a backup")]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "{path} cannot be written: {detail}; hint: look at the owner and mode of the file and its \
         directory, and at how the disk is mounted"
    )]
    ReadOnly { path: PathBuf, detail: String },
    #[error("the disk that holds {path} is full; hint: free some of it")]
    Full { path: PathBuf },
    #[error("{path}: {detail}")]
    Other { path: PathBuf, detail: String },
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was stored; try again when there is room.
    #[error("no room: {0}")]
    Full(String),
    /// SQLITE_IOERR, CORRUPT, NOTADB: the process has to end and start anew.
    #[error("the database file failed: {0}")]
    Fatal(String),
    /// A reader took too long, or the writer is gone because the store is closing.
    #[error("the store is busy: {0}")]
    Busy(String),
    #[error("store: {0}")]
    Other(String),
}

/// The account that stands behind a mailbox key. Another one holds the mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub server: String,
    pub username: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoundBy {
    /// An announcement in IDLE.
    Idle,
    /// The survey at the end of a cycle, without an announcement before.
    Cycle,
    /// The survey after opening a session.
    Start,
    /// Read again by order of an operator.
    Order,
    /// Taken before, and missing in the ledger since: such a commit holds nothing else.
    Audit,
}

/// One watch's transaction. Grouped with others', it is durable when the call returns.
#[derive(Debug)]
pub struct Commit {
    pub watch: WatchKey,
    pub entry: Entry,
    pub found_by: FoundBy,
    pub now: Wall,
    /// Facts of each item in `entry.outcomes` that has any.
    pub facts: Vec<LedgerFacts>,
    /// One for each `Outcome::Event`, and system events that this commit gives rise to.
    pub events: Vec<NewEvent>,
    /// Raw bytes of what is quarantined, where there are any.
    pub quarantined: Vec<(ItemKey, SpoolKey)>,
    /// The operator's order that this carries out.
    pub ordered: Option<Ordered>,
}

/// What an audit row tells of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    pub act: Act,
    pub deed: Deed,
    pub selector: String,
}

#[derive(Clone, Debug)]
pub struct LedgerFacts {
    pub key: ItemKey,
    pub fingerprint: Fingerprint,
    pub internal_date: Option<Wall>,
}

#[derive(Clone, Debug)]
pub enum EventIdentity {
    Message(Box<Identity>),
    System { id: Uuid },
}

/// An event to store, with the endpoints it is owed to.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub identity: EventIdentity,
    pub event_type: EventType,
    /// `None` for events that concern no mailbox.
    pub mailbox: Option<MailboxKey>,
    /// CloudEvents `subject`: `INBOX/1714060800/4711`, or the scope of a system event.
    pub subject: String,
    pub time: Wall,
    pub message_id: Option<String>,
    /// The JSON object of `data`, complete but for `delivery`.
    pub data: Bytes,
    /// The message itself: small ones here, where an endpoint needs them; large ones in the spool.
    pub raw: Option<Bytes>,
    pub spool: Option<SpoolKey>,
    pub deliveries: Vec<NewDelivery>,
}

#[derive(Clone, Debug)]
pub struct NewDelivery {
    pub endpoint: EndpointKey,
    /// The line that it stands in, where the endpoint asks for order.
    pub order: Option<OrderKey>,
    /// A slot is reserved: the delivery is stored as leased to this process and handed back, unless
    /// it has to wait for another one of its line.
    pub leased: bool,
    /// The endpoint's condition failed on this event; it is owed all the same, and marked.
    pub when_failed: bool,
    /// If the endpoint was owed a message of the same Message-ID since this time, this delivery is
    /// stored as discarded.
    pub twins_since: Option<Wall>,
}

#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// The leased deliveries, ready to be sent.
    pub claimed: Vec<Claimed>,
    /// Events whose id was there already with the same fingerprint: nothing was stored for them.
    pub repeated: u32,
    /// Events stored as a next generation.
    pub generations: u32,
    /// Where a delivery was discarded because the endpoint has the same message already.
    pub suppressed: Vec<EndpointKey>,
    /// How long the durable part of the transaction took.
    pub commit: Duration,
}

/// A delivery that this process may now attempt.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub delivery: i64,
    pub endpoint: EndpointKey,
    /// Gapless per endpoint, from 1.
    pub sequence: i64,
    /// Attempts made before this one.
    pub attempts: u32,
    pub first_attempt_at: Option<Wall>,
    /// How often in a row the event itself was refused (400 and the like), and since when.
    pub refusals: u32,
    pub refused_since: Option<Wall>,
    /// Time that counts against the event: only while the endpoint accepted others.
    pub own_time: Duration,
    /// A mark of a replay, as it goes into `data.delivery.replay` (JSON).
    pub replay: Option<String>,
    pub order: Option<OrderKey>,
    /// It held up its line for too long: others have overtaken it.
    pub aside: bool,
    /// The endpoint's condition failed on the event.
    pub when_failed: bool,
    pub event: EventRow,
}

#[derive(Clone, Debug)]
pub struct EventRow {
    pub id: Uuid,
    pub event_type: EventType,
    pub mailbox: Option<MailboxKey>,
    pub subject: String,
    pub time: Wall,
    pub stored_at: Wall,
    pub data: Bytes,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub delivery: i64,
    /// Its line, in which the next one may go when this one is over or steps aside.
    pub order: Option<OrderKey>,
    pub at: Wall,
    pub outcome: Settled,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// What happened, in plain words, with the redacted start of the answer; at most 512 bytes.
    pub note: String,
    pub took: Duration,
    /// What follows where it was delivered.
    pub then: crate::after::Then,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Delivered,
    /// Due again; the counters as they are now.
    Retry {
        due: Wall,
        refusals: u32,
        refused_since: Option<Wall>,
        own_time: Duration,
        /// It has held up its line for long enough: the next one may go.
        aside: bool,
    },
    /// Given back without an attempt counted (shutdown, breaker opened before the send).
    Returned {
        due: Wall,
    },
    Dead {
        reason: String,
    },
}

/// A message as it was read from its mailbox.
#[derive(Clone, Debug)]
pub enum Raw {
    Bytes(Bytes),
    File { path: PathBuf, len: u64 },
}

/// The name of a file in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpoolKey(pub String);

/// The account of a mailbox: both sums of the promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

impl Sums {
    /// Messages that the first sum misses; 0, or a page.
    pub fn unaccounted_messages(&self) -> i64 {
        self.uids as i64
            - (self.event + self.known + self.skipped + self.quarantined + self.vanished) as i64
    }
    pub fn unaccounted_deliveries(&self) -> i64 {
        self.deliveries as i64 - (self.pending + self.delivered + self.dead + self.discarded) as i64
    }
}

/// Where a watch stands, as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchRow {
    pub watch: WatchKey,
    pub uid_validity: Option<UidValidity>,
    pub last: Option<Uid>,
    /// Up to here it was there before the folder was first looked at, and nothing is recorded.
    pub floor: Option<Uid>,
    pub gaps: u32,
    pub hold: Option<postrider_core::watch::Hold>,
    pub last_proven: Option<Wall>,
}

/// What a search over the events asks for.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub mailbox: Option<MailboxKey>,
    pub endpoint: Option<EndpointKey>,
    /// pending, delivered, dead, discarded
    pub state: Option<String>,
    pub event_type: Option<EventType>,
    pub message_id: Option<String>,
    /// Stored at or after this time.
    pub since: Option<Wall>,
    /// Stored before this time.
    pub until: Option<Wall>,
    /// Stored before this event: the last one of a list leads to the next.
    pub before: Option<Uuid>,
    pub limit: u32,
}

#[derive(Clone, Debug)]
pub struct DeliveryRow {
    pub delivery: i64,
    pub endpoint: EndpointKey,
    pub sequence: i64,
    pub state: String,
    pub attempts: u32,
    pub due: Option<Wall>,
    pub delivered_at: Option<Wall>,
    pub dead_reason: Option<String>,
    pub last_status: Option<u16>,
    pub last_note: Option<String>,
    pub first_attempt_at: Option<Wall>,
    /// It waits for another one of its line.
    pub blocked: bool,
    /// Others of its line have overtaken it.
    pub aside: bool,
    /// The mark of a replay (JSON), and the replay's number.
    pub replay: Option<String>,
    pub replay_order: Option<i64>,
    /// The id that it goes out under, where that is not the event's own.
    pub as_id: Option<Uuid>,
}

/// An event as a list shows it: without its data.
#[derive(Clone, Debug)]
pub struct EventSummary {
    pub id: Uuid,
    pub event_type: EventType,
    pub mailbox: Option<MailboxKey>,
    pub subject: String,
    pub time: Wall,
    pub stored_at: Wall,
    pub message_id: Option<String>,
    pub deliveries: Vec<DeliveryRow>,
}

#[derive(Clone, Debug)]
pub struct EventDetail {
    pub event: EventRow,
    pub message_id: Option<String>,
    /// Of a message.
    pub fingerprint: Option<Fingerprint>,
    pub spool: Option<SpoolKey>,
    pub deliveries: Vec<DeliveryRow>,
    /// Oldest first; the one that delivered is among them.
    pub attempts: Vec<AttemptRow>,
}

#[derive(Clone, Debug)]
pub struct AttemptRow {
    pub delivery: i64,
    pub endpoint: EndpointKey,
    pub at: Wall,
    pub took: Duration,
    pub status: Option<u16>,
    pub note: String,
}

/// Whether something is done, or only said what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Dry,
    Real,
}

/// Deliveries of an endpoint by state, and the oldest that waits.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    pub endpoint: EndpointKey,
    pub pending: u64,
    /// Those of the pending ones that wait for another one of their line.
    pub blocked: u64,
    pub delivered: u64,
    pub dead: u64,
    pub discarded: u64,
    /// When the event of the oldest delivery that is neither delivered nor dead was stored.
    pub oldest_pending: Option<Wall>,
    /// An operator paused the endpoint.
    pub paused: bool,
}

/// A mailbox as the store knows it, configured or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxRow {
    pub mailbox: MailboxKey,
    pub account: Account,
    pub paused: bool,
}

/// How much room the store takes and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub db_bytes: u64,
    pub wal_bytes: u64,
    pub spool_bytes: u64,
    pub budget: Option<u64>,
    /// What this process may still write on the disk of the database.
    pub disk_free: u64,
    pub reserve_present: bool,
    /// Why reading is stopped, where it is.
    pub full: Option<String>,
}

impl Space {
    pub fn used(&self) -> u64 {
        self.db_bytes + self.wal_bytes + self.spool_bytes
    }
    /// Reading is stopped: new mail is refused with `StoreError::Full`.
    pub fn low(&self) -> bool {
        self.full.is_some()
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes used", self.used())?;
        if let Some(budget) = self.budget {
            write!(f, " of {budget}")?;
        }
        write!(f, ", {} free on the disk", self.disk_free)?;
        match &self.full {
            Some(reason) => write!(f, "; {reason}"),
            None => Ok(()),
        }
    }
}

/// A row of the ledger, as operators read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub watch: WatchKey,
    pub uid: Uid,
    /// Of the folder's present numbering, in which the UID still means this message.
    pub present: bool,
    /// event, known, skipped, quarantined, vanished
    pub outcome: &'static str,
    /// before_start, held, unparseable, no_body, poison
    pub reason: Option<&'static str>,
    /// idle, cycle, start, order, audit
    pub found_by: &'static str,
    pub taken_at: Wall,
    pub internal_date: Option<Wall>,
}

/// What an endpoint still owes of one mailbox's events, or gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    pub endpoint: EndpointKey,
    pub pending: u64,
    pub dead: u64,
    /// When the oldest that waits was stored.
    pub oldest_pending: Option<Wall>,
}
