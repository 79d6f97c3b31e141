//! How far a folder has been taken, and what a newly opened folder means for that.
//!
//! [`reconcile`] is the one place that decides whether a folder goes on where it stood. It must
//! never call a folder unchanged whose UIDs may have been given to other messages.

use std::{fmt, str::FromStr};

use crate::{
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    time::Wall,
    watch::{HoldReason, Release, Reply, Selected},
};

/// How far a folder has been taken. Every UID above `floor` and at or below `last` has a ledger
/// row of this `epoch`, except the `gaps`: suspects that are still owed an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub uid_validity: UidValidity,
    /// Which numbering of the folder this is. Ledger rows and suspects belong to one epoch, so a
    /// row's key is (watch, epoch, UID): UIDs that went back are numbered anew under the same
    /// UIDVALIDITY.
    pub epoch: Epoch,
    /// `None`: nothing taken yet, the folder is read from its first UID.
    pub last: Option<Uid>,
    /// UIDs at or below it were there at first sight and are none of postrider's business: they
    /// have no ledger rows, and the audit leaves them out, unless an operator had them read.
    pub floor: Option<Uid>,
    /// Ascending; bounded by `watch::Policy::gaps_max`.
    pub gaps: Vec<Uid>,
    /// The newest message taken whose fingerprint is known: read again when the folder is opened,
    /// it shows whether UIDs were given to other messages meanwhile.
    pub anchor: Option<(Uid, Fingerprint)>,
    /// What every message above `last` (and every gap) is held against before it is sent.
    pub sieve: Option<Box<Sieve>>,
}

/// A numbering of a folder, named by the time at which it began (milliseconds since 1970). A new
/// one begins at first sight and whenever continuity is not proven; later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub i64);

impl Epoch {
    /// The epoch that begins now, later than the one before even if the clock was set back.
    pub fn begin(now: Wall, before: Option<Epoch>) -> Self {
        Self(before.map_or(now.0, |before| now.0.max(before.0.saturating_add(1))))
    }
}

/// What messages are held against before they are sent. It is stored with the cursor, so that a
/// process that dies half-way through a folder goes on with the same eyes. In text it is one
/// line (`Display`, `FromStr`), for a single column of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sieve {
    /// This epoch is over, though the next one is not stored yet: it begins when the folder is
    /// next opened, whatever the folder looks like by then.
    Over(HoldReason),
    /// The operator took another account under the same key for a new one: the folder is to be
    /// seen for the first time when it is next opened.
    Anew,
    /// First sight asked for a date: what came before it is skipped.
    Start { since: Wall },
    /// Continuity was not proven: what the ledger knows is not sent again.
    Break(Break),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    pub why: HoldReason,
    pub at: Wall,
    /// Old unknown messages that were sent since, towards `watch::Policy::flood_limit`.
    pub old: u32,
    /// The operator's word on what is in the folder.
    pub released: Option<Released>,
}

/// An operator's word on the mail that a hold kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    pub release: Release,
    /// The highest UID it speaks of; `None` until the folder is opened for the first time after it.
    pub until: Option<Uid>,
}

impl Cursor {
    /// A cursor at the beginning of an epoch.
    pub fn begin(uid_validity: UidValidity, epoch: Epoch) -> Self {
        Self {
            uid_validity,
            epoch,
            last: None,
            floor: None,
            gaps: Vec::new(),
            anchor: None,
            sieve: None,
        }
    }

    /// The UID is above everything taken.
    pub fn is_above(&self, uid: Uid) -> bool {
        self.last.is_none_or(|last| uid > last)
    }

    /// What the last break of continuity left to be done, if it is still on.
    pub fn broken(&self) -> Option<Break> {
        match self.sieve.as_deref() {
            Some(Sieve::Break(broken)) => Some(*broken),
            Some(Sieve::Over(_) | Sieve::Anew | Sieve::Start { .. }) | None => None,
        }
    }
}

/// What is known of the folder before it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    pub cursor: Option<&'a Cursor>,
    /// There was a cursor once, and it is gone.
    pub state_lost: bool,
    /// Another account stands under this key.
    pub account_changed: bool,
}

/// What an opened folder means for the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The folder was never seen, or an operator said to begin anew.
    FirstSight,
    /// Nothing is above the cursor.
    Unchanged,
    /// There are UIDs above the cursor.
    Ahead,
    /// The highest UID is below the cursor and no UIDNEXT tells why: the newest mail was
    /// expunged, or the UIDs went back. Only the anchor can tell.
    Unclear,
    /// The next UID to be given was given before (RFC 3501 section 2.3.1.1: UIDNEXT never
    /// goes down within one UIDVALIDITY).
    WentBack,
    NewUidValidity {
        from: UidValidity,
        to: UidValidity,
    },
    AccountChanged,
    StateLost,
    /// It was not proven when the folder was opened before.
    Over(HoldReason),
}

/// Decides by what EXAMINE says. Where it answers [`Continuity::Unchanged`], `Ahead` or
/// `Unclear`, [`anchored`] has the last word.
pub fn reconcile(past: Past<'_>, selected: &Selected) -> Continuity {
    if past.account_changed {
        return Continuity::AccountChanged;
    }
    let Some(cursor) = past.cursor else {
        return if past.state_lost {
            Continuity::StateLost
        } else {
            Continuity::FirstSight
        };
    };
    match cursor.sieve.as_deref() {
        Some(Sieve::Anew) => return Continuity::FirstSight,
        Some(Sieve::Over(why)) => return Continuity::Over(*why),
        Some(Sieve::Start { .. } | Sieve::Break(_)) | None => {}
    }
    if cursor.uid_validity != selected.uid_validity {
        return Continuity::NewUidValidity {
            from: cursor.uid_validity,
            to: selected.uid_validity,
        };
    }
    let Some(last) = cursor.last else {
        return match selected.highest {
            Some(_) => Continuity::Ahead,
            None => Continuity::Unchanged,
        };
    };
    if selected.highest.is_some_and(|highest| highest > last) {
        return Continuity::Ahead;
    }
    match (selected.uid_next, selected.highest) {
        (Some(next), _) if next > last => Continuity::Unchanged,
        (_, Some(highest)) if highest == last => Continuity::Unchanged,
        (Some(_), _) => Continuity::WentBack,
        (None, _) => Continuity::Unclear,
    }
}

/// Whether the message under the anchor's UID is still the one that was taken. A missing one
/// proves nothing: then the folder goes on, unless the rest was unclear. One that cannot be read
/// any more is taken for another.
pub fn anchored(anchor: Fingerprint, reply: &Reply, continuity: Continuity) -> bool {
    match reply {
        Reply::Whole(facts) | Reply::Empty(facts) => facts.fingerprint == anchor,
        Reply::Missing => continuity != Continuity::Unclear,
        Reply::Unreadable => false,
    }
}

impl fmt::Display for Sieve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(why) => write!(f, "over {}", why.as_str()),
            Self::Anew => f.write_str("anew"),
            Self::Start { since } => write!(f, "start {}", since.0),
            Self::Break(broken) => {
                write!(
                    f,
                    "break {} {} {}",
                    broken.why.as_str(),
                    broken.at.0,
                    broken.old
                )?;
                let Some(released) = broken.released else {
                    return Ok(());
                };
                match released.release {
                    Release::Send => write!(f, " send")?,
                    Release::Skip => write!(f, " skip")?,
                    Release::Since(time) => write!(f, " since={}", time.0)?,
                }
                match released.until {
                    Some(until) => write!(f, " {until}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The text is not one that [`Sieve`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSieve;

impl fmt::Display for NoSieve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a sieve as the cursor stores it")
    }
}

impl std::error::Error for NoSieve {}

impl FromStr for Sieve {
    type Err = NoSieve;

    fn from_str(text: &str) -> Result<Self, NoSieve> {
        let mut words = text.split(' ');
        let sieve = match words.next() {
            Some("over") => Self::Over(words.next().and_then(HoldReason::parse).ok_or(NoSieve)?),
            Some("anew") => Self::Anew,
            Some("start") => Self::Start {
                since: Wall(number(words.next())?),
            },
            Some("break") => Self::Break(Break {
                why: words.next().and_then(HoldReason::parse).ok_or(NoSieve)?,
                at: Wall(number(words.next())?),
                old: number(words.next())?,
                released: words
                    .next()
                    .map(|word| released(word, words.next()))
                    .transpose()?,
            }),
            Some(_) | None => return Err(NoSieve),
        };
        match words.next() {
            None => Ok(sieve),
            Some(_) => Err(NoSieve),
        }
    }
}

fn released(release: &str, until: Option<&str>) -> Result<Released, NoSieve> {
    let release = match release {
        "send" => Release::Send,
        "skip" => Release::Skip,
        since => Release::Since(Wall(number(since.strip_prefix("since="))?)),
    };
    let until = match until {
        Some(until) => Some(Uid::new(number(Some(until))?).ok_or(NoSieve)?),
        None => None,
    };
    Ok(Released { release, until })
}

fn number<N: FromStr>(word: Option<&str>) -> Result<N, NoSieve> {
    word.and_then(|word| word.parse().ok()).ok_or(NoSieve)
}
