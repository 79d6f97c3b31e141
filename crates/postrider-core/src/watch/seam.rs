//! The seam between the watch and its shell: what goes in, what comes out. Bodies stay in the
//! shell under their [`ItemKey`]; the watch sees facts only.

use std::{sync::Arc, time::Duration};

use crate::{
    cursor::Cursor,
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    time::{Monotonic, Wall},
};

// ---------------------------------------------------------------- what goes in

/// One input, the answer to the effect before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What the store knows; the first input of a watch's life.
    Start(Box<Stored>),
    /// The folder is open (answers `Open`, `Examine`, `Adopt`).
    Opened(Selected),
    /// The UIDs after the cursor (answers `Survey`); complete, or it would have been `Failed`.
    Surveyed(Survey),
    /// Which fingerprints the ledger holds (answers `Recall`).
    Recalled(Known),
    /// One answer for each item asked for, in any order (answers `Read`).
    Read(Vec<Answer>),
    /// The entry is durable (answers `Commit`).
    Committed,
    /// Waiting ended (answers `Wait` and `Pause`).
    Woken(Wake),
    /// The session is closed (answers `Close`).
    Closed,
    /// The effect did not succeed. Whatever the session had is gone unless the failure says so.
    Failed(Failure),
}

/// What the store holds of a watch.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Stored {
    /// `None`: first sight, or state that was lost (then `state_lost`).
    pub cursor: Option<Cursor>,
    pub hold: Option<Hold>,
    /// When the folder was first seen: the time of the last commit with a `Notice::FirstSight`.
    pub first_sight: Option<Wall>,
    /// When a survey last came back empty, or all of it was committed.
    pub last_proven: Option<Wall>,
    /// UIDs whose last outcome in the cursor's epoch is `Suspect`, with its count.
    pub suspects: Vec<(Uid, u8)>,
    /// The account (server, user name) stored under this key is not the configured one, and no
    /// operator has adopted it yet.
    pub account_changed: bool,
    /// The mailbox is known to the store, yet has no cursor for this folder where it had one.
    pub state_lost: bool,
    /// The process before this one did not end in order: mark suspects before reading.
    pub unclean: bool,
    /// An operator paused the watch.
    pub paused: bool,
}

/// What EXAMINE said. UIDNEXT and EXISTS are hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    pub uid_validity: UidValidity,
    pub uid_next: Option<Uid>,
    pub exists: u32,
    /// The highest UID that is in the folder, asked for by `UID SEARCH UID *` style means and
    /// confirmed by a tagged OK; `None` for an empty folder.
    pub highest: Option<Uid>,
    /// When the session's token ends, if it does: a standby is opened before.
    pub session_ends: Option<Monotonic>,
}

/// A complete list of UIDs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Survey {
    /// Ascending, without repeats; may hold UIDs at or below the cursor only where gaps were asked for.
    pub uids: Vec<Uid>,
}

/// Which of the asked fingerprints the ledger of this folder holds from before the present epoch,
/// and how often each may still match: the rows of other epochs whose outcome is neither `Known` nor
/// `Vanished` (which took nothing), less the `Known` rows of the present epoch. So each ledger entry
/// matches at most once in an epoch, also when a process died half-way. Fingerprints without a match
/// may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Known {
    pub matches: Vec<(Fingerprint, u32)>,
}

/// The one answer that each item asked for gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub key: ItemKey,
    pub reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Read in full (of the part that was asked for).
    Whole(Facts),
    /// The server answered the command with OK and did not mention this UID.
    Missing,
    /// The server mentioned it without a usable body (NIL, or empty though it has a size).
    Empty(Facts),
    /// A response was skipped as unparseable, so this UID may have been in it.
    Unreadable,
}

/// What the watch needs to know of a message to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub fingerprint: Fingerprint,
    /// INTERNALDATE; `None` where the server's was unusable.
    pub internal_date: Option<Wall>,
}

/// Why waiting ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Wake {
    /// The server announced something.
    Changed,
    /// The time is up.
    Elapsed,
    /// The standby session is selected and reading.
    StandbyReady,
    StandbyFailed(Failure),
    Order(Order),
}

/// What an operator, the audit or the supervisor wants. Only `Pause` and `Wait` return one.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Stop watching, keep everything (an operator's word, stored by the shell).
    Pause,
    Resume,
    /// Survey again from the cursor, at once.
    Resync,
    /// End a hold.
    Release(Release),
    /// Read these UIDs though they are at or below the cursor: the audit found them missing, or an
    /// operator wants them.
    Reread(Vec<Uid>),
    /// The account under this key is the same mail (`adopt`): continuity is to be proven by fingerprints.
    Adopt,
    /// Settings changed.
    Reconfigure(Arc<Policy>),
    /// The process or the mailbox ends.
    Stop,
}

/// What becomes of mail that a hold kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Send all that is not known.
    Send,
    /// Take all that is there now as `Skipped(Held)`, and go on from there.
    Skip,
    /// Send what came (INTERNALDATE) at or after this time, skip the rest.
    Since(Wall),
}

/// Why an effect failed, classified by its shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// DNS, TCP, TLS, end of stream, reset, a deadline passed, a protocol error.
    Connection,
    /// The server ended a session whose token ran out: routine.
    TokenExpired,
    /// The server refused the login, or says "authenticated but not connected".
    LoginRefused,
    /// No token or password to be had for now (outage, throttle): `retry_after` where it was told.
    CredentialUnavailable { retry_after: Option<Duration> },
    /// The token endpoint refused the credential for good (`invalid_client`).
    CredentialRefused,
    /// The server asked for slowness.
    Throttled { retry_after: Option<Duration> },
    /// Too many connections for this account.
    ConnectionLimit,
    /// The folder does not exist or cannot be selected.
    FolderMissing,
    /// A tagged NO or BAD to one command; the session is still good.
    Refused,
    /// The disk or the configured budget is full: nothing was stored, reading must stop.
    StoreFull,
    /// The store failed otherwise; nothing was stored.
    Store,
}

// ---------------------------------------------------------------- what comes out

/// The next thing to do. The shell performs it and feeds one [`Input`] back.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Wait without a session. An order ends it early. `until: None` waits for an order alone.
    Pause {
        until: Option<Monotonic>,
        why: PauseReason,
    },
    /// Connect, log in, probe and EXAMINE. The shell asks the mailbox gate first and may take long.
    Open,
    /// EXAMINE again on the open session.
    Examine,
    /// Go on with the standby session; the old one is logged out beside.
    Adopt,
    /// List all UIDs after the cursor, and the given gaps.
    Survey {
        after: Cursor,
    },
    /// Ask the ledger of this folder for these fingerprints; see [`Known`]. At most
    /// `Policy::batch_max` of them, repeats possible.
    Recall(Vec<Fingerprint>),
    Read {
        items: Vec<ItemKey>,
        part: Part,
    },
    Commit(Entry),
    /// IDLE (or poll) until the time, a change or an order; from `standby_at` on, open a standby
    /// session beside.
    Wait {
        until: Monotonic,
        standby_at: Option<Monotonic>,
    },
    /// Log out.
    Close,
    /// The watch is over; what is pending is in the store.
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// An operator said so.
    Paused,
    /// A stored hold waits for an operator's word.
    Held,
    Backoff,
    LoginRefused,
    Throttled,
    FolderMissing,
    /// The store is full; reading goes on when there is room.
    StoreFull,
}

/// Which part of a message to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// INTERNALDATE and the few header fields of the fingerprint.
    Facts,
    /// The whole message, one `BODY.PEEK[]`.
    Whole,
}

/// What one transaction stores for a watch. Its outcomes are rows of `cursor.epoch`; `Suspect` is
/// replaced by whatever comes later for its UID, anything else is final. Forgotten with an entry
/// are the suspects of another epoch, and those without tries that it does not name and that are no
/// gap of its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub outcomes: Vec<(ItemKey, Outcome)>,
    pub cursor: Cursor,
    /// The hold as it is after this entry; `None`: there is none.
    pub hold: Option<Hold>,
    pub notices: Vec<Notice>,
    /// With this entry the folder is taken up to date (sets `last_proven`).
    pub proven: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It becomes an event.
    Event,
    /// It was recognised by its fingerprint: taken before under another UID.
    Known,
    Skipped(Reason),
    Quarantined(Why),
    /// It was surveyed and is not there any more.
    Vanished,
    /// It is being read, or its reading failed: a gap is open for it, `tries` counted so far.
    Suspect {
        tries: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was in the folder before the first sight, and the operator wants only new mail.
    BeforeStart,
    /// An operator released a hold without it.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The server's response for it does not parse, read alone.
    Unparseable,
    /// The server gives no body though the message has a size.
    NoBody,
    /// Its reading ended the connection or the process three times.
    Poison,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKey {
    Uid(Uid),
}

/// A stored stop that waits for an operator's word, because continuity cannot be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub why: HoldReason,
    pub since: Wall,
    /// Messages that would be sent on `release --send`, as far as they were counted.
    pub messages: u32,
    /// Those of them that are more than a day older than the last proven sync.
    pub old: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    UidValidityChanged,
    UidsWentBack,
    StateLost,
    AccountChanged,
}

impl HoldReason {
    pub const ALL: &'static [Self] = &[
        Self::UidValidityChanged,
        Self::UidsWentBack,
        Self::StateLost,
        Self::AccountChanged,
    ];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UidValidityChanged => "uidvalidity_changed",
            Self::UidsWentBack => "uids_went_back",
            Self::StateLost => "state_lost",
            Self::AccountChanged => "account_changed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|why| why.as_str() == text)
    }
}

/// Something worth a log line, a counter and, where the catalogue says so, a system event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    FirstSight {
        highest: Option<Uid>,
    },
    UidValidityChanged {
        from: UidValidity,
        to: UidValidity,
    },
    UidsWentBack {
        last: Uid,
        highest: Option<Uid>,
    },
    Held(Hold),
    Released(Release),
    Quarantined {
        uid: Uid,
        why: Why,
    },
    GapClosed {
        uid: Uid,
    },
    /// The mailbox is known to the store, its cursor is not there any more.
    StateLost,
    /// As many gaps are open as there may be: what comes after them is not read until one closes.
    GapsFull {
        gaps: u32,
    },
}

/// A watch's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub start: Start,
    /// IDLE is ended and a survey made after this time (absolute age); also the poll interval.
    pub cycle: Duration,
    /// The folder is EXAMINEd again at least this often.
    pub examine_every: Duration,
    /// UIDs per read. Bounds what one connection's loss can make suspect.
    pub batch_max: usize,
    /// UIDs with an open gap per folder; past it reading stops and the watch says so.
    pub gaps_max: usize,
    /// Old unknown messages that are sent without a hold.
    pub flood_limit: u32,
    /// What counts as old, before the last proven sync.
    pub flood_age: Duration,
    /// Readings of one UID that may end a connection or the process.
    pub suspect_tries_max: u8,
    pub backoff: crate::backoff::Backoff,
    /// When the session's token ends, if it does; the lead before it to open a standby.
    pub standby_lead_max: Duration,
}

/// Where a first sight starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Above the highest UID that is there.
    New,
    /// With the first message.
    All,
    /// With what came (INTERNALDATE) at or after this time.
    Since(Wall),
}
