//! A batch: UIDs that are read together, and what becomes of each of them.
//!
//! Every UID of a batch leaves it with an outcome or as an open gap; only then the cursor passes.

use super::{
    Answer, At, Effect, Facts, Failure, Input, ItemKey, Known, Notice, Outcome, Part, Reply, State,
    Watch, Why,
    commit::Then,
    round::{Round, Work},
    sieve::{Age, Matches, Rules, Sifted},
    trouble::{Mark, Passed, Pick, Seen, wait},
};
use crate::{
    cursor::{Break, Cursor, Sieve},
    fingerprint::Fingerprint,
    ids::Uid,
};

#[derive(Debug)]
pub(super) struct Batch {
    /// Still to be read, ascending.
    pub(super) uids: Vec<Uid>,
    pub(super) mark: Mark,
    origin: Origin,
    phase: Phase,
    facts: Vec<(Uid, Facts)>,
    old: Vec<Uid>,
    fates: Vec<Fate>,
}

/// Where its UIDs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From above the cursor, in order.
    New,
    /// It is one open gap.
    Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The sieve asks for the facts first.
    Facts,
    Recall,
    Whole,
}

#[derive(Clone, Copy, Debug)]
struct Fate {
    uid: Uid,
    fingerprint: Option<Fingerprint>,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Final(Outcome),
    /// A gap stays open.
    Open,
}

impl Batch {
    pub(super) fn new(origin: Origin, pick: &Pick) -> Self {
        let fates = pick.passed.iter().map(|(uid, how)| Fate {
            uid: *uid,
            fingerprint: None,
            end: match how {
                Passed::Poison => End::Final(Outcome::Quarantined(Why::Poison)),
                Passed::Postponed => End::Open,
            },
        });
        Self {
            uids: pick.uids.clone(),
            mark: pick.mark,
            origin,
            phase: Phase::Whole,
            facts: Vec::new(),
            old: Vec::new(),
            fates: fates.collect(),
        }
    }

    fn end(&mut self, uid: Uid, fingerprint: Option<Fingerprint>, end: End) {
        self.fates.push(Fate {
            uid,
            fingerprint,
            end,
        });
    }
}

impl Watch {
    /// Reads a batch: its facts first where a sieve is on.
    pub(super) fn read(&mut self, round: Box<Round>, mut batch: Batch) -> Effect {
        let sifted = self.cursor.as_ref().is_some_and(|it| it.sieve.is_some());
        batch.phase = if sifted { Phase::Facts } else { Phase::Whole };
        let part = if sifted { Part::Facts } else { Part::Whole };
        self.ask(round, batch, part)
    }

    fn ask(&mut self, mut round: Box<Round>, batch: Batch, part: Part) -> Effect {
        let items = items(&batch.uids);
        round.work = Work::Batch(batch);
        self.state = State::Working(round);
        Effect::Read { items, part }
    }

    pub(super) fn batch_answered(
        &mut self,
        round: Box<Round>,
        batch: Batch,
        input: Input,
        at: At,
    ) -> Effect {
        match (batch.phase, input) {
            (Phase::Facts, Input::Read(answers)) => self.facts_read(round, batch, &answers, at),
            (Phase::Recall, Input::Recalled(known)) => self.recalled(round, batch, known, at),
            (Phase::Whole, Input::Read(answers)) => self.whole_read(round, batch, &answers, at),
            (Phase::Facts | Phase::Whole, Input::Failed(Failure::Refused)) => {
                self.batch_refused(round, batch, at)
            }
            (Phase::Facts | Phase::Whole, Input::Failed(Failure::Connection)) => {
                self.lost(&batch.uids, batch.mark, at);
                self.failed(Failure::Connection, at)
            }
            (Phase::Facts | Phase::Recall | Phase::Whole, input) => self.astray(input, at),
        }
    }

    fn facts_read(
        &mut self,
        mut round: Box<Round>,
        mut batch: Batch,
        answers: &[Answer],
        at: At,
    ) -> Effect {
        self.answered();
        let alone = batch.uids.len() == 1;
        for uid in std::mem::take(&mut batch.uids) {
            match reply(answers, uid) {
                Reply::Whole(facts) | Reply::Empty(facts) => batch.facts.push((uid, facts)),
                Reply::Missing => self.missing(&mut batch, uid, at),
                Reply::Unreadable => self.unreadable(&mut batch, uid, alone, at),
            }
        }
        let sieve = self.cursor.as_ref().and_then(|it| it.sieve.as_deref());
        match sieve {
            Some(Sieve::Break(_)) if !batch.facts.is_empty() => {
                let asked = batch.facts.iter().map(|(_, it)| it.fingerprint).collect();
                batch.phase = Phase::Recall;
                round.work = Work::Batch(batch);
                self.state = State::Working(round);
                Effect::Recall(asked)
            }
            Some(Sieve::Break(_) | Sieve::Start { .. } | Sieve::Over(_) | Sieve::Anew) | None => {
                self.recalled(round, batch, Known::default(), at)
            }
        }
    }

    fn recalled(&mut self, round: Box<Round>, mut batch: Batch, known: Known, at: At) -> Effect {
        let mut matches = Matches::new(known);
        for (uid, facts) in std::mem::take(&mut batch.facts) {
            let sifted = if matches.take(facts.fingerprint) {
                Sifted::Known
            } else {
                self.sift(uid, facts)
            };
            let fingerprint = Some(facts.fingerprint);
            match sifted {
                Sifted::Known => batch.end(uid, fingerprint, End::Final(Outcome::Known)),
                Sifted::Skip(reason) => {
                    batch.end(uid, fingerprint, End::Final(Outcome::Skipped(reason)));
                }
                Sifted::Send(age) => {
                    batch.uids.push(uid);
                    match age {
                        Age::Recent => {}
                        Age::Old => batch.old.push(uid),
                    }
                }
            }
        }
        if batch.uids.is_empty() {
            return self.store(round, batch, at);
        }
        batch.phase = Phase::Whole;
        self.ask(round, batch, Part::Whole)
    }

    pub(super) fn sift(&self, uid: Uid, facts: Facts) -> Sifted {
        let sieve = self.cursor.as_ref().and_then(|it| it.sieve.as_deref());
        let rules = Rules {
            policy: &self.policy,
            first_sight: self.first_sight,
            last_proven: self.last_proven,
        };
        rules.sift(sieve, uid, facts)
    }

    fn whole_read(
        &mut self,
        round: Box<Round>,
        mut batch: Batch,
        answers: &[Answer],
        at: At,
    ) -> Effect {
        self.answered();
        let alone = batch.uids.len() == 1;
        for uid in std::mem::take(&mut batch.uids) {
            match reply(answers, uid) {
                Reply::Whole(facts) => {
                    batch.end(uid, Some(facts.fingerprint), End::Final(Outcome::Event));
                }
                Reply::Empty(facts) => self.empty(&mut batch, uid, facts, at),
                Reply::Missing => self.missing(&mut batch, uid, at),
                Reply::Unreadable => self.unreadable(&mut batch, uid, alone, at),
            }
        }
        self.store(round, batch, at)
    }

    /// Not mentioned in a complete answer. Whether it is gone, the next survey tells.
    fn missing(&mut self, batch: &mut Batch, uid: Uid, at: At) {
        let given_up = match batch.origin {
            // The survey has just listed it.
            Origin::Gap => self.miss(uid, Seen::Missing, at),
            Origin::New => {
                let suspect = self.trouble().suspect_mut(uid);
                suspect.seen = Seen::Missing;
                suspect.due = at.now.monotonic;
                false
            }
        };
        let end = if given_up {
            End::Final(Outcome::Quarantined(Why::NoBody))
        } else {
            End::Open
        };
        batch.end(uid, None, end);
    }

    /// No body where there should be one: once more, alone and a little later.
    fn empty(&mut self, batch: &mut Batch, uid: Uid, facts: Facts, at: At) {
        let policy = std::sync::Arc::clone(&self.policy);
        let origin = batch.origin;
        let suspect = self.trouble().suspect_mut(uid);
        let again = origin == Origin::Gap && suspect.seen == Seen::Empty;
        suspect.seen = Seen::Empty;
        suspect.tried = at.now.monotonic;
        suspect.due = at.now.monotonic + wait(&policy, 1, at);
        let end = if again {
            End::Final(Outcome::Quarantined(Why::NoBody))
        } else {
            End::Open
        };
        batch.end(uid, Some(facts.fingerprint), end);
    }

    /// Its answer may have been among what does not parse: once more, alone.
    fn unreadable(&mut self, batch: &mut Batch, uid: Uid, alone: bool, at: At) {
        let suspect = self.trouble().suspect_mut(uid);
        let again = alone && suspect.seen == Seen::Unreadable;
        suspect.seen = Seen::Unreadable;
        suspect.tried = at.now.monotonic;
        suspect.due = at.now.monotonic;
        let end = if again {
            End::Final(Outcome::Quarantined(Why::Unparseable))
        } else {
            End::Open
        };
        batch.end(uid, None, end);
    }

    /// A NO to a batch: smaller ones. A NO to a single message: a gap, while others are read.
    /// Only new mail that is refused again and again speaks against the session.
    fn batch_refused(&mut self, mut round: Box<Round>, mut batch: Batch, at: At) -> Effect {
        let too_often = batch.origin == Origin::New && self.refused(&batch.uids);
        if let [uid] = *batch.uids.as_slice() {
            let given_up = self.miss(uid, Seen::Refused, at);
            if !too_often {
                let end = if given_up {
                    End::Final(Outcome::Quarantined(Why::NoBody))
                } else {
                    End::Open
                };
                batch.uids.clear();
                batch.end(uid, None, end);
                return self.store(round, batch, at);
            }
        }
        if too_often {
            return self.failed(Failure::Refused, at);
        }
        let mut back: Vec<Uid> = batch.fates.iter().map(|fate| fate.uid).collect();
        back.extend(&batch.uids);
        back.sort_unstable();
        round.todo.extend(back.iter().rev());
        self.advance(round, at)
    }

    /// Commits what the batch came to.
    pub(super) fn store(&mut self, mut round: Box<Round>, mut batch: Batch, at: At) -> Effect {
        let Some(mut cursor) = self.cursor.clone() else {
            return self.failed(Failure::Connection, at);
        };
        batch.fates.sort_unstable_by_key(|fate| fate.uid);
        if batch.origin == Origin::New {
            let kept = fitting(&batch.fates, self.room());
            round
                .todo
                .extend(batch.fates.drain(kept..).rev().map(|fate| fate.uid));
            cursor.last = batch.fates.last().map(|fate| fate.uid).or(cursor.last);
        }
        let mut outcomes = Vec::with_capacity(batch.fates.len());
        let mut notices = Vec::new();
        for fate in &batch.fates {
            let uid = fate.uid;
            let suspect = self.trouble.as_deref().and_then(|it| it.suspect(uid));
            let outcome = match fate.end {
                End::Final(outcome) => {
                    cursor.gaps.retain(|gap| *gap != uid);
                    if let Outcome::Quarantined(why) = outcome {
                        notices.push(Notice::Quarantined { uid, why });
                    } else if suspect.is_some_and(|it| it.strikes > 0 || it.misses > 0) {
                        notices.push(Notice::GapClosed { uid });
                    }
                    anchor(&mut cursor, uid, fate.fingerprint);
                    outcome
                }
                End::Open => {
                    if let Err(index) = cursor.gaps.binary_search(&uid) {
                        cursor.gaps.insert(index, uid);
                    }
                    Outcome::Suspect {
                        tries: suspect.map_or(0, |it| it.strikes),
                    }
                }
            };
            outcomes.push((ItemKey::Uid(uid), outcome));
        }
        sifted(&mut cursor, &batch);
        let proven = round.todo.is_empty() && round.gaps.is_empty() && cursor.gaps.is_empty();
        let mut entry = self.entry(cursor);
        entry.outcomes = outcomes;
        entry.notices = notices;
        entry.proven = proven;
        self.commit(entry, Then::Round(round), at)
    }
}

/// How many of the fates can be taken before there are more gaps than there is room for.
fn fitting(fates: &[Fate], room: usize) -> usize {
    let mut open = 0;
    fates
        .iter()
        .position(|fate| {
            if matches!(fate.end, End::Open) {
                open += 1;
            }
            open > room
        })
        .unwrap_or(fates.len())
}

/// The newest message taken shows later whether the folder is still the same.
fn anchor(cursor: &mut Cursor, uid: Uid, fingerprint: Option<Fingerprint>) {
    let is_newer = cursor.anchor.is_none_or(|(anchor, _)| uid >= anchor);
    if let Some(fingerprint) = fingerprint.filter(|_| is_newer) {
        cursor.anchor = Some((uid, fingerprint));
    }
}

/// What the batch does to the sieve: old mail sent counts, a release that is done with goes.
fn sifted(cursor: &mut Cursor, batch: &Batch) {
    let Some(broken) = cursor.broken() else {
        return;
    };
    let is_sent = |fate: &&Fate| {
        matches!(fate.end, End::Final(Outcome::Event)) && batch.old.contains(&fate.uid)
    };
    let old = u32::try_from(batch.fates.iter().filter(is_sent).count()).unwrap_or(u32::MAX);
    let is_done = |until: Uid| {
        cursor.last.is_some_and(|last| last >= until) && cursor.gaps.iter().all(|gap| *gap > until)
    };
    let released = broken
        .released
        .filter(|word| !word.until.is_some_and(is_done));
    let old = broken.old.saturating_add(old);
    cursor.sieve = Some(Box::new(Sieve::Break(Break {
        old,
        released,
        ..broken
    })));
}

pub(super) fn items(uids: &[Uid]) -> Vec<ItemKey> {
    uids.iter().copied().map(ItemKey::Uid).collect()
}

/// The answer for a UID. One that is not answered at all may have been in what did not parse.
pub(super) fn reply(answers: &[Answer], uid: Uid) -> Reply {
    answers
        .iter()
        .find(|answer| answer.key == ItemKey::Uid(uid))
        .map_or(Reply::Unreadable, |answer| answer.reply.clone())
}
