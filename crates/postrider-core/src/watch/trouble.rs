//! What a watch remembers while something is wrong with single messages or with its connection:
//! suspects, how small the next reads are, what the audit wants read. Gone when all is well.

use std::time::Duration;

use super::{At, Policy};
use crate::{
    cursor::Cursor,
    ids::Uid,
    time::{Monotonic, Now},
};

/// A batch whose reading ended the connection is read again in this many parts.
const PARTS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Ascending by UID.
    suspects: Vec<Suspect>,
    doubt: Option<Doubt>,
    pub(super) caution: Caution,
    /// UIDs at or below the cursor that the audit, or an operator, wants read.
    reread: Vec<Uid>,
    pub(super) refused_in_row: u8,
    pub(super) anchor_failures: u8,
    pub(super) standby_failures: u8,
    pub(super) gaps_full: GapsFull,
    pub(super) probed: Probed,
}

/// A UID that was not simply read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    pub(super) uid: Uid,
    /// Readings, alone, that ended the connection or the process, as the store counts them.
    pub(super) strikes: u8,
    /// Readings, alone, that came to nothing while other messages could be read.
    pub(super) misses: u8,
    /// All readings, alone, that came to nothing: it rests longer after each.
    pub(super) tries: u8,
    pub(super) seen: Seen,
    /// Its reading may end the connection or the process: a strike is stored before it.
    pub(super) dangerous: Danger,
    pub(super) tried: Monotonic,
    pub(super) due: Monotonic,
}

/// What the last reading of a suspect brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Missing,
    Empty,
    Unreadable,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Danger {
    No,
    Yes,
}

/// These UIDs were in a batch that could not be read as one.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    from: Uid,
    upto: Uid,
    limit: usize,
    danger: Danger,
}

/// After a process that did not end in order: what it was reading may have been the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Caution {
    #[default]
    No,
    /// So many more are read alone, each with a strike stored before: the batch in which the
    /// process died is among them.
    Alone(usize),
    /// Batches are stored as suspects, without a strike, before they are read.
    Batches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum GapsFull {
    #[default]
    No,
    /// The operator was told.
    Said,
}

/// Whether another message was tried since a suspect was tried last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Probed {
    #[default]
    No,
    Yes,
}

/// What is stored before a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    /// All of the batch is suspect, nothing is counted.
    Batch,
    /// The one UID has one strike more.
    Strike,
}

/// The next UIDs to read, from the front of a list.
#[derive(Debug)]
pub(super) struct Pick {
    /// To be read together, ascending.
    pub(super) uids: Vec<Uid>,
    pub(super) mark: Mark,
    /// Passed over on the way.
    pub(super) passed: Vec<(Uid, Passed)>,
    /// How many of the list are in `uids` and `passed`.
    pub(super) taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It has used up its tries.
    Poison,
    /// It is not due yet.
    Postponed,
}

impl Trouble {
    /// Takes up the suspects that the store remembers.
    pub(super) fn recall(&mut self, stored: &[(Uid, u8)], policy: &Policy, at: At) {
        for (uid, tries) in stored {
            let suspect = self.suspect_mut(*uid);
            suspect.strikes = *tries;
            suspect.dangerous = Danger::Yes;
            if *tries > 0 {
                suspect.due = at.now.monotonic + wait(policy, *tries, at);
            }
        }
    }

    pub(super) fn suspect(&self, uid: Uid) -> Option<&Suspect> {
        let index = self.suspects.binary_search_by_key(&uid, |it| it.uid).ok()?;
        self.suspects.get(index)
    }

    pub(super) fn suspect_mut(&mut self, uid: Uid) -> &mut Suspect {
        let index = match self.suspects.binary_search_by_key(&uid, |it| it.uid) {
            Ok(index) => index,
            Err(index) => {
                self.suspects.insert(index, Suspect::new(uid));
                index
            }
        };
        &mut self.suspects[index]
    }

    /// Suspects above the cursor that a survey does not list any more.
    pub(super) fn gone(&self, last: Option<Uid>, listed: &[Uid]) -> Vec<Uid> {
        let above = |uid: Uid| last.is_none_or(|last| uid > last);
        self.suspects
            .iter()
            .map(|suspect| suspect.uid)
            .filter(|uid| above(*uid) && listed.binary_search(uid).is_err())
            .collect()
    }

    /// These have their outcome, and the cursor is stored as it is.
    pub(super) fn settle(&mut self, settled: &[Uid], cursor: &Cursor) {
        self.suspects.retain(|it| !settled.contains(&it.uid));
        self.doubt = self.doubt.filter(|doubt| cursor.is_above(doubt.upto));
        self.reread
            .retain(|uid| cursor.gaps.binary_search(uid).is_err());
    }

    /// Another epoch has begun: its UIDs are other messages.
    pub(super) fn turn(&mut self) {
        self.suspects.clear();
        self.reread.clear();
        self.doubt = None;
    }

    /// A read ended with the connection, or (no danger) with a NO, though not because of one
    /// message for certain: smaller reads from now on.
    pub(super) fn narrow(&mut self, uids: &[Uid], danger: Danger) {
        let (Some(from), Some(upto)) = (uids.first(), uids.last()) else {
            return;
        };
        // Reading goes upwards: a batch above the doubtful ones means that those could be read.
        let before = self.doubt.filter(|doubt| *from <= doubt.upto);
        let danger = match (before.map(|doubt| doubt.danger), danger) {
            (Some(Danger::Yes), _) | (_, Danger::Yes) => Danger::Yes,
            (Some(Danger::No) | None, Danger::No) => Danger::No,
        };
        self.doubt = Some(Doubt {
            from: before.map_or(*from, |doubt| doubt.from.min(*from)),
            upto: before.map_or(*upto, |doubt| doubt.upto.max(*upto)),
            limit: (uids.len() / PARTS).max(1),
            danger,
        });
    }

    pub(super) fn reread(&mut self, uids: Vec<Uid>) {
        self.reread.extend(uids);
        self.reread.sort_unstable();
        self.reread.dedup();
    }

    /// Up to `room` of what is to be read again, as far as it is the cursor's business. What was there
    /// before first sight is nobody's but an operator's, who may ask for it.
    pub(super) fn next_reread(&mut self, cursor: &Cursor, room: usize) -> Vec<Uid> {
        self.reread
            .retain(|uid| !cursor.is_above(*uid) && cursor.gaps.binary_search(uid).is_err());
        self.reread.iter().copied().take(room).collect()
    }

    /// There was nothing left to read: the process survived what it had been reading.
    pub(super) fn calm(&mut self) {
        self.caution = Caution::No;
    }

    pub(super) fn is_over(&self) -> bool {
        self.suspects.is_empty()
            && self.doubt.is_none()
            && self.caution == Caution::No
            && self.reread.is_empty()
            && self.anchor_failures == 0
            && self.standby_failures == 0
            && self.gaps_full == GapsFull::No
    }

    /// When the first of the gaps may be tried again.
    pub(super) fn next_due(&self, gaps: &[Uid]) -> Option<Monotonic> {
        gaps.iter()
            .map(|uid| self.suspect(*uid).map_or(Monotonic(0), |it| it.due))
            .min()
    }

    pub(super) fn is_due(&self, uid: Uid, now: Now) -> bool {
        self.suspect(uid).is_none_or(|it| it.due <= now.monotonic)
    }

    /// Another try of this suspect would prove nothing: no message was read since the last one.
    pub(super) fn lacks_proof(&self, uid: Uid, read_at: Option<Monotonic>) -> bool {
        self.suspect(uid).is_some_and(|it| {
            let is_silent = matches!(it.seen, Seen::Missing | Seen::Refused);
            is_silent && read_at.is_none_or(|read| read <= it.tried)
        })
    }

    /// Nothing speaks against reading it.
    pub(super) fn is_harmless(&self, uid: Uid) -> bool {
        let in_doubt = self.doubt.is_some_and(|doubt| doubt.covers(uid));
        self.suspect(uid).is_none() && !in_doubt
    }

    /// Chooses what is read next. What belongs together by its risk is read together.
    pub(super) fn pick(
        &mut self,
        list: impl Iterator<Item = Uid>,
        policy: &Policy,
        now: Now,
    ) -> Pick {
        let mut pick = Pick::new();
        let mut group = None;
        let most = policy.batch_max.max(1);
        for uid in list {
            if pick.taken >= most {
                break;
            }
            let suspect = self.suspect(uid);
            if suspect.is_some_and(|it| it.strikes >= policy.suspect_tries_max) {
                pick.pass(uid, Passed::Poison);
            } else if suspect.is_some_and(|it| it.due > now.monotonic) {
                pick.pass(uid, Passed::Postponed);
            } else {
                let (limit, mark) = self.risk(uid, most);
                if *group.get_or_insert((limit, mark)) != (limit, mark) {
                    break;
                }
                pick.take(uid, mark);
                if pick.uids.len() >= limit {
                    break;
                }
            }
        }
        if let (Caution::Alone(left), false) = (self.caution, pick.uids.is_empty()) {
            self.caution = match left {
                0 | 1 => Caution::Batches,
                left => Caution::Alone(left - 1),
            };
        }
        pick
    }

    /// With how many others a UID may be read, and what is stored before.
    fn risk(&self, uid: Uid, most: usize) -> (usize, Mark) {
        let suspect = self.suspect(uid);
        let doubt = self.doubt.filter(|doubt| doubt.covers(uid));
        let alone = matches!(self.caution, Caution::Alone(_));
        let limit = match (suspect, doubt) {
            _ if alone => 1,
            (Some(_), _) => 1,
            (None, Some(doubt)) => doubt.limit.min(most),
            (None, None) => most,
        };
        let is_dangerous = alone
            || suspect.is_some_and(|it| it.dangerous == Danger::Yes)
            || doubt.is_some_and(|doubt| doubt.danger == Danger::Yes);
        let mark = match (limit, is_dangerous, self.caution) {
            (1, true, _) => Mark::Strike,
            (_, _, Caution::Batches) => Mark::Batch,
            (_, _, Caution::No | Caution::Alone(_)) => Mark::None,
        };
        (limit, mark)
    }
}

impl Doubt {
    fn covers(&self, uid: Uid) -> bool {
        (self.from..=self.upto).contains(&uid)
    }
}

impl Suspect {
    fn new(uid: Uid) -> Self {
        Self {
            uid,
            strikes: 0,
            misses: 0,
            tries: 0,
            seen: Seen::Nothing,
            dangerous: Danger::No,
            tried: Monotonic(0),
            due: Monotonic(0),
        }
    }
}

impl Pick {
    fn new() -> Self {
        Self {
            uids: Vec::new(),
            mark: Mark::None,
            passed: Vec::new(),
            taken: 0,
        }
    }

    fn pass(&mut self, uid: Uid, how: Passed) {
        self.passed.push((uid, how));
        self.taken += 1;
    }

    fn take(&mut self, uid: Uid, mark: Mark) {
        self.uids.push(uid);
        self.mark = mark;
        self.taken += 1;
    }
}

/// How long a suspect rests before its next try: eight times longer each time, because what
/// troubles the server then may pass.
pub(super) fn wait(policy: &Policy, tries: u8, at: At) -> Duration {
    policy
        .backoff
        .wait(u32::from(tries).saturating_mul(3), at.chance)
}
