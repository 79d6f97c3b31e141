//! A round: what one survey listed, taken batch by batch until nothing of it is left.

use std::{mem, time::Duration};

use super::{
    At, Effect, Entry, Failure, Input, ItemKey, Notice, Outcome, Part, Reply, State, Survey, Watch,
    batch::{Batch, Origin, reply},
    commit::Then,
    counting::{Count, Step},
    trouble::{Caution, Danger, GapsFull, Mark, Pick, Probed, Seen, Trouble, wait},
};
use crate::{
    cursor::{Break, Cursor},
    ids::Uid,
    time::Monotonic,
};

/// Reads that a server refuses in a row before the session is given up. A batch shrinks to one
/// message in three, so a single message that the server refuses does not end the session.
const REFUSED_IN_ROW_MAX: u8 = 4;

#[derive(Debug)]
pub(super) struct Round {
    /// UIDs above the cursor, the next one last.
    pub(super) todo: Vec<Uid>,
    /// Gaps that are due, the next one last.
    pub(super) gaps: Vec<Uid>,
    pub(super) count: Count,
    pub(super) work: Work,
}

/// What is under way.
#[derive(Debug)]
pub(super) enum Work {
    Idle,
    Count(Step),
    Batch(Batch),
    /// A message is read only to see whether any can be.
    Probe(Uid),
}

impl Watch {
    /// Lists what there is; before that, what the audit wants read becomes a gap.
    pub(super) fn survey(&mut self, at: At) -> Effect {
        if let Some(entry) = self.audit_gaps() {
            return self.commit(entry, Then::Survey, at);
        }
        self.state = State::Surveying { tries: 0 };
        self.survey_effect()
    }

    pub(super) fn survey_again(&mut self) -> Effect {
        self.state = State::Surveying { tries: 1 };
        self.survey_effect()
    }

    fn survey_effect(&mut self) -> Effect {
        match self.cursor.clone() {
            Some(after) => Effect::Survey { after },
            None => self.open(),
        }
    }

    fn audit_gaps(&mut self) -> Option<Entry> {
        let room = self.room();
        let cursor = self.cursor.as_ref()?;
        let trouble = self.trouble.as_deref_mut()?;
        let uids = trouble.next_reread(cursor, room);
        if uids.is_empty() {
            return None;
        }
        let mut cursor = cursor.clone();
        cursor.gaps.extend(&uids);
        cursor.gaps.sort_unstable();
        let mut entry = self.entry(cursor);
        let suspect = Outcome::Suspect { tries: 0 };
        entry.outcomes = uids
            .iter()
            .map(|uid| (ItemKey::Uid(*uid), suspect))
            .collect();
        Some(entry)
    }

    pub(super) fn surveyed(&mut self, survey: Survey, at: At) -> Effect {
        let Some(cursor) = self.cursor.as_ref() else {
            return self.failed(Failure::Connection, at);
        };
        let mut listed = survey.uids;
        listed.sort_unstable();
        listed.dedup();
        let is_listed = |uid: &Uid| listed.binary_search(uid).is_ok();
        let trouble = self.trouble.as_deref();
        let is_due = |uid: &Uid| trouble.is_none_or(|trouble| trouble.is_due(*uid, at.now));
        let gaps = cursor.gaps.iter().copied();
        let due = gaps
            .clone()
            .filter(is_listed)
            .filter(is_due)
            .rev()
            .collect();
        let mut gone: Vec<Uid> = gaps.filter(|uid| !is_listed(uid)).collect();
        gone.extend(
            trouble
                .into_iter()
                .flat_map(|it| it.gone(cursor.last, &listed)),
        );
        let todo = listed
            .iter()
            .copied()
            .filter(|uid| cursor.is_above(*uid))
            .rev()
            .collect();
        let round = Box::new(Round {
            todo,
            gaps: due,
            count: Count::Undecided,
            work: Work::Idle,
        });
        if !gone.is_empty() {
            let entry = self.vanished(cursor.clone(), &gone, &round);
            return self.commit(entry, Then::Round(round), at);
        }
        if (!round.todo.is_empty() && self.room() > 0) || !round.gaps.is_empty() {
            return self.advance(round, at);
        }
        if round.todo.is_empty() {
            self.settle(at)
        } else {
            self.gaps_full(at)
        }
    }

    /// UIDs that were surveyed, could not be taken, and are not listed any more.
    fn vanished(&self, mut cursor: Cursor, gone: &[Uid], round: &Round) -> Entry {
        cursor.gaps.retain(|uid| !gone.contains(uid));
        let proven = cursor.gaps.is_empty() && round.todo.is_empty();
        let mut entry = self.entry(cursor);
        entry.proven = proven;
        entry.outcomes = gone
            .iter()
            .map(|uid| (ItemKey::Uid(*uid), Outcome::Vanished))
            .collect();
        entry
    }

    /// No room for another gap, and none is due: mail stays where it is until one closes.
    fn gaps_full(&mut self, at: At) -> Effect {
        let Some(cursor) = self.cursor.clone() else {
            return self.wait(at);
        };
        let trouble = self.trouble();
        match mem::replace(&mut trouble.gaps_full, GapsFull::Said) {
            GapsFull::Said => self.wait(at),
            GapsFull::No => {
                let gaps = u32::try_from(cursor.gaps.len()).unwrap_or(u32::MAX);
                let mut entry = self.entry(cursor);
                entry.notices.push(Notice::GapsFull { gaps });
                self.commit(entry, Then::Wait, at)
            }
        }
    }

    /// Whether a message is at fault shows only beside another one that can be read. Where none
    /// was of late, one is read for that alone before a gap is tried: one that is kept back
    /// because the gaps are full, or the one that was read last.
    fn control(&mut self, round: &Round, at: At) -> Option<Uid> {
        let control = self.control;
        let read_at = self.read_lately(at);
        let trouble = self.trouble.as_deref_mut()?;
        let lacks = |gap: &Uid| trouble.lacks_proof(*gap, read_at);
        if !round.gaps.iter().any(lacks) || trouble.probed == Probed::Yes {
            return None;
        }
        trouble.probed = Probed::Yes;
        let last = round.todo.len().saturating_sub(1) as f64;
        let index = (last * at.chance.0.clamp(0.0, 1.0)).round() as usize;
        let kept_back = round.todo.get(index).copied();
        kept_back
            .filter(|uid| trouble.is_harmless(*uid))
            .or(control)
            .filter(|uid| trouble.is_harmless(*uid))
    }

    /// When a message was read in full, if that was a moment ago.
    fn read_lately(&self, at: At) -> Option<Monotonic> {
        self.read_at
            .filter(|read| at.now.monotonic - *read <= PROOF_LASTS)
    }

    fn begin_probe(&mut self, mut round: Box<Round>, uid: Uid, at: At) -> Effect {
        let is_careful = self
            .trouble
            .as_deref()
            .is_some_and(|trouble| trouble.caution != Caution::No);
        let mark = if is_careful { Mark::Batch } else { Mark::None };
        let is_above = self.cursor.as_ref().is_some_and(|it| it.is_above(uid));
        match self.mark(&[uid], mark).filter(|_| is_above) {
            Some(entry) => {
                round.work = Work::Probe(uid);
                self.commit(entry, Then::Round(round), at)
            }
            None => self.probe(round, uid),
        }
    }

    fn probe(&mut self, mut round: Box<Round>, uid: Uid) -> Effect {
        round.work = Work::Probe(uid);
        self.state = State::Working(round);
        Effect::Read {
            items: vec![ItemKey::Uid(uid)],
            part: Part::Whole,
        }
    }

    fn probed(&mut self, round: Box<Round>, uid: Uid, input: Input, at: At) -> Effect {
        match input {
            Input::Read(answers) => {
                self.answered();
                match reply(&answers, uid) {
                    Reply::Whole(_) => self.read_at = Some(at.now.monotonic),
                    Reply::Missing | Reply::Empty(_) | Reply::Unreadable => {}
                }
                self.advance(round, at)
            }
            Input::Failed(Failure::Refused) => self.advance(round, at),
            input => {
                if input == Input::Failed(Failure::Connection) {
                    self.lost(&[uid], Mark::None, at);
                }
                self.astray(input, at)
            }
        }
    }

    /// How many more gaps may be open.
    pub(super) fn room(&self) -> usize {
        let open = self.cursor.as_ref().map_or(0, |cursor| cursor.gaps.len());
        self.policy.gaps_max.max(1).saturating_sub(open)
    }

    pub(super) fn broken(&self) -> Option<Break> {
        self.cursor.as_ref().and_then(Cursor::broken)
    }

    /// The next batch: new mail first, so that a bad message does not keep others waiting.
    pub(super) fn advance(&mut self, mut round: Box<Round>, at: At) -> Effect {
        if !round.todo.is_empty() && self.room() > 0 {
            return self.advance_new(round, at);
        }
        if let Some(uid) = self.control(&round, at) {
            return self.begin_probe(round, uid, at);
        }
        match round.gaps.pop() {
            Some(gap) => {
                let pick = self.pick_gap(gap, at);
                self.begin(round, Origin::Gap, pick, at)
            }
            None => self.survey(at),
        }
    }

    fn advance_new(&mut self, mut round: Box<Round>, at: At) -> Effect {
        let count = match mem::replace(&mut round.count, Count::Undecided) {
            Count::Undecided => self.count_for(self.broken(), &round),
            count @ (Count::Running(_) | Count::Done) => count,
        };
        if let Count::Running(tally) = count {
            return self.count_on(round, tally, at);
        }
        round.count = Count::Done;
        if let Some(trouble) = self.trouble.as_deref_mut() {
            trouble.gaps_full = GapsFull::No;
        }
        let pick = self.pick(round.todo.iter().rev().copied(), at);
        let left = round.todo.len() - pick.taken;
        round.todo.truncate(left);
        self.begin(round, Origin::New, pick, at)
    }

    pub(super) fn pick(&mut self, list: impl Iterator<Item = Uid>, at: At) -> Pick {
        let policy = std::sync::Arc::clone(&self.policy);
        match self.trouble.as_deref_mut() {
            Some(trouble) => trouble.pick(list, &policy, at.now),
            None => Trouble::default().pick(list, &policy, at.now),
        }
    }

    /// A gap is read alone.
    fn pick_gap(&mut self, gap: Uid, at: At) -> Pick {
        self.trouble().suspect_mut(gap);
        self.pick(std::iter::once(gap), at)
    }

    fn begin(&mut self, mut round: Box<Round>, origin: Origin, pick: Pick, at: At) -> Effect {
        let batch = Batch::new(origin, &pick);
        if batch.uids.is_empty() {
            return self.store(round, batch, at);
        }
        let entry = self.mark(&batch.uids, batch.mark);
        round.work = Work::Batch(batch);
        match entry {
            Some(entry) => self.commit(entry, Then::Round(round), at),
            None => self.go_on(round, at),
        }
    }

    /// Suspicion is stored before the reading that may prove it. The cursor does not move.
    pub(super) fn mark(&mut self, uids: &[Uid], mark: Mark) -> Option<Entry> {
        if let (Mark::Strike, [uid]) = (mark, uids) {
            self.trouble().suspect_mut(*uid).dangerous = Danger::Yes;
        }
        let strikes = |uid: Uid| {
            let suspect = self.trouble.as_deref().and_then(|it| it.suspect(uid));
            suspect.map_or(0, |it| it.strikes)
        };
        let tries = |uid: Uid| match mark {
            Mark::None | Mark::Batch => strikes(uid),
            Mark::Strike => strikes(uid).saturating_add(1),
        };
        if mark == Mark::None {
            return None;
        }
        let mut entry = self.entry(self.cursor.clone()?);
        entry.outcomes = uids
            .iter()
            .map(|uid| (ItemKey::Uid(*uid), Outcome::Suspect { tries: tries(*uid) }))
            .collect();
        Some(entry)
    }

    /// After a commit of the round: reads what was marked, or chooses the next batch.
    pub(super) fn go_on(&mut self, mut round: Box<Round>, at: At) -> Effect {
        match mem::replace(&mut round.work, Work::Idle) {
            Work::Idle => self.advance(round, at),
            Work::Count(step) => self.count_go_on(round, step, at),
            Work::Batch(batch) => self.read(round, batch),
            Work::Probe(uid) => self.probe(round, uid),
        }
    }

    pub(super) fn work(&mut self, mut round: Box<Round>, input: Input, at: At) -> Effect {
        match mem::replace(&mut round.work, Work::Idle) {
            Work::Count(step) => self.count_answered(round, step, input, at),
            Work::Batch(batch) => self.batch_answered(round, batch, input, at),
            Work::Probe(uid) => self.probed(round, uid, input, at),
            Work::Idle => self.astray(input, at),
        }
    }

    /// The connection ended while these were read.
    pub(super) fn lost(&mut self, uids: &[Uid], mark: Mark, at: At) {
        let policy = std::sync::Arc::clone(&self.policy);
        let trouble = self.trouble();
        match (uids, mark) {
            ([uid], Mark::Strike) => {
                let suspect = trouble.suspect_mut(*uid);
                suspect.strikes = suspect.strikes.saturating_add(1);
                suspect.dangerous = Danger::Yes;
                suspect.tried = at.now.monotonic;
                suspect.due = at.now.monotonic + wait(&policy, suspect.strikes, at);
            }
            ([uid], Mark::None | Mark::Batch) if trouble.suspect(*uid).is_some() => {
                let suspect = trouble.suspect_mut(*uid);
                suspect.dangerous = Danger::Yes;
                suspect.tried = at.now.monotonic;
                suspect.due = at.now.monotonic + wait(&policy, 1, at);
            }
            (uids, Mark::None | Mark::Batch | Mark::Strike) => trouble.narrow(uids, Danger::Yes),
        }
    }

    /// The server said NO to reading these. Whether that is so often that the session goes: a
    /// message that was refused before says nothing new of the session.
    pub(super) fn refused(&mut self, uids: &[Uid]) -> bool {
        let trouble = self.trouble();
        let suspect = uids.first().and_then(|uid| trouble.suspect(*uid));
        if suspect.is_some_and(|it| it.seen == Seen::Refused) {
            return false;
        }
        trouble.refused_in_row = trouble.refused_in_row.saturating_add(1);
        if uids.len() > 1 {
            trouble.narrow(uids, Danger::No);
        }
        trouble.refused_in_row >= REFUSED_IN_ROW_MAX
    }

    /// A read was answered.
    pub(super) fn answered(&mut self) {
        if let Some(trouble) = self.trouble.as_deref_mut() {
            trouble.refused_in_row = 0;
        }
    }

    /// A message that is there could not be had, alone. It counts against the message only if
    /// another one could be read just before, after its last try, and ends after `MISSES_MAX` such tries.
    pub(super) fn miss(&mut self, uid: Uid, seen: Seen, at: At) -> bool {
        let policy = std::sync::Arc::clone(&self.policy);
        let read_at = self.read_lately(at);
        let suspect = self.trouble().suspect_mut(uid);
        if read_at.is_some_and(|read| read > suspect.tried) {
            suspect.misses = suspect.misses.saturating_add(1);
        }
        suspect.seen = seen;
        suspect.tried = at.now.monotonic;
        suspect.tries = suspect.tries.saturating_add(1);
        suspect.due = at.now.monotonic + wait(&policy, suspect.tries, at);
        let given_up = suspect.misses >= MISSES_MAX;
        self.trouble().probed = Probed::No;
        given_up
    }
}

/// With the waits between them these last a quarter of an hour: longer than a replica lags.
const MISSES_MAX: u8 = 5;
/// How long a message that was read speaks for the server: longer than a round takes from one
/// read to the next, shorter than most troubles of a server.
const PROOF_LASTS: Duration = Duration::from_secs(30);
