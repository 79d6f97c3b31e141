//! Counting after a break of continuity: before anything of a folder is sent, how much of it is
//! unknown and old. Past the limit the watch holds; the cursor has not moved then. What cannot be
//! told counts as old: the count may be too high, and is never too low.

use std::{collections::HashMap, mem};

use super::{
    Answer, At, Effect, Facts, Failure, Hold, Input, Known, Notice, Part, PauseReason, Reply,
    State, Watch,
    batch::items,
    commit::Then,
    round::{Round, Work},
    sieve::{Age, Matches, Sifted, word_on},
    trouble::{Mark, Pick, Seen},
};
use crate::{cursor::Break, fingerprint::Fingerprint, ids::Uid};

/// Whether what a survey listed may be taken.
#[derive(Debug)]
pub(super) enum Count {
    Undecided,
    Running(Box<Tally>),
    Done,
}

/// The count so far. Its size is bounded by the folder: 48 bytes for each message recognised.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many of the round's list are counted.
    next: usize,
    /// Ledger entries match once, also across batches.
    used: HashMap<Fingerprint, u32>,
    messages: u32,
    old: u32,
}

/// One batch of a count.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) uids: Vec<Uid>,
    pub(super) mark: Mark,
    /// Where in the list it began.
    from: usize,
    facts: Vec<(Uid, Facts)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Read,
    Recall,
}

impl Watch {
    /// Whether the round has to be counted first.
    pub(super) fn count_for(&self, broken: Option<Break>, round: &Round) -> Count {
        let Some(broken) = broken else {
            return Count::Done;
        };
        let open = round
            .todo
            .iter()
            .filter(|uid| word_on(&broken, **uid).is_none())
            .count();
        let left = self.policy.flood_limit.saturating_sub(broken.old);
        let open = open + self.gaps_unspoken(&broken).len();
        if open > usize::try_from(left).unwrap_or(usize::MAX) {
            Count::Running(Box::default())
        } else {
            Count::Done
        }
    }

    /// Open gaps of an epoch that has to be counted: each may turn out to be old.
    fn gaps_unspoken(&self, broken: &Break) -> Vec<Uid> {
        let gaps = self.cursor.iter().flat_map(|cursor| &cursor.gaps);
        gaps.copied()
            .filter(|gap| word_on(broken, *gap).is_none())
            .collect()
    }

    pub(super) fn count_on(
        &mut self,
        mut round: Box<Round>,
        mut tally: Box<Tally>,
        at: At,
    ) -> Effect {
        let Some(broken) = self.broken() else {
            round.count = Count::Done;
            return self.advance(round, at);
        };
        loop {
            let rest = round.todo.iter().rev().copied().skip(tally.next);
            let spoken = rest
                .clone()
                .take_while(|uid| word_on(&broken, *uid).is_some())
                .count();
            let from = tally.next + spoken;
            let pick = self.pick(rest.skip(spoken), at);
            if pick.taken == 0 {
                return self.counted(round, &tally, broken, at);
            }
            // What cannot be read now may be anything: it counts against the limit.
            let passed = u32::try_from(pick.passed.len()).unwrap_or(u32::MAX);
            tally.messages = tally.messages.saturating_add(passed);
            tally.old = tally.old.saturating_add(passed);
            tally.next = from + pick.taken;
            let Pick { uids, mark, .. } = pick;
            if uids.is_empty() {
                continue;
            }
            let step = Step {
                uids,
                mark,
                from,
                facts: Vec::new(),
                phase: Phase::Read,
            };
            round.count = Count::Running(tally);
            return self.count_step(round, step, at);
        }
    }

    fn count_step(&mut self, mut round: Box<Round>, step: Step, at: At) -> Effect {
        let entry = self.mark(&step.uids, step.mark);
        round.work = Work::Count(step);
        match entry {
            Some(entry) => self.commit(entry, Then::Round(round), at),
            None => self.go_on(round, at),
        }
    }

    /// Goes on with a step after a commit.
    pub(super) fn count_go_on(&mut self, mut round: Box<Round>, step: Step, at: At) -> Effect {
        let effect = match step.phase {
            Phase::Read => Effect::Read {
                items: items(&step.uids),
                part: Part::Facts,
            },
            Phase::Recall if step.facts.is_empty() => return self.advance(round, at),
            Phase::Recall => {
                let asked = step.facts.iter().map(|(_, it)| it.fingerprint);
                Effect::Recall(asked.collect())
            }
        };
        round.work = Work::Count(step);
        self.state = State::Working(round);
        effect
    }

    pub(super) fn count_answered(
        &mut self,
        mut round: Box<Round>,
        mut step: Step,
        input: Input,
        at: At,
    ) -> Effect {
        let Count::Running(mut tally) = mem::replace(&mut round.count, Count::Undecided) else {
            return self.astray(input, at);
        };
        match input {
            Input::Read(answers) => {
                self.answered();
                note(&mut step, &mut tally, &answers);
                step.phase = Phase::Recall;
                round.count = Count::Running(tally);
                self.unmark(round, step, at)
            }
            Input::Recalled(known) => {
                self.tell(&step, &mut tally, known);
                self.count_on(round, tally, at)
            }
            Input::Failed(Failure::Refused) => {
                if self.refused(&step.uids) {
                    return self.failed(Failure::Refused, at);
                }
                if let [uid] = step.uids.as_slice() {
                    self.miss(*uid, Seen::Refused, at);
                    tally.messages = tally.messages.saturating_add(1);
                    tally.old = tally.old.saturating_add(1);
                } else {
                    tally.next = step.from;
                }
                self.count_on(round, tally, at)
            }
            Input::Failed(Failure::Connection) => {
                self.lost(&step.uids, step.mark, at);
                self.failed(Failure::Connection, at)
            }
            input => self.astray(input, at),
        }
    }

    /// A message that was answered for has no strike more than before. It is not taken yet, so
    /// nothing else would say that.
    fn unmark(&mut self, mut round: Box<Round>, step: Step, at: At) -> Effect {
        match step.mark {
            Mark::None | Mark::Batch => self.count_go_on(round, step, at),
            Mark::Strike => {
                let entry = self.mark(&step.uids, Mark::Batch);
                round.work = Work::Count(step);
                match entry {
                    Some(entry) => self.commit(entry, Then::Round(round), at),
                    None => self.go_on(round, at),
                }
            }
        }
    }

    /// Counts a batch whose fingerprints were looked up.
    fn tell(&self, step: &Step, tally: &mut Tally, known: Known) {
        let matches = Matches::new(known);
        for (uid, facts) in &step.facts {
            let used = tally.used.get(&facts.fingerprint).copied().unwrap_or(0);
            if used < matches.count(facts.fingerprint) {
                tally.used.insert(facts.fingerprint, used + 1);
                continue;
            }
            match self.sift(*uid, *facts) {
                Sifted::Known | Sifted::Skip(_) => {}
                Sifted::Send(age) => {
                    tally.messages = tally.messages.saturating_add(1);
                    match age {
                        Age::Recent => {}
                        Age::Old => tally.old = tally.old.saturating_add(1),
                    }
                }
            }
        }
    }

    fn counted(&mut self, mut round: Box<Round>, tally: &Tally, broken: Break, at: At) -> Effect {
        let gaps = u32::try_from(self.gaps_unspoken(&broken).len()).unwrap_or(u32::MAX);
        let old = tally.old.saturating_add(gaps);
        if broken.old.saturating_add(old) <= self.policy.flood_limit {
            round.count = Count::Done;
            return self.advance(round, at);
        }
        let Some(cursor) = self.cursor.clone() else {
            return self.failed(Failure::Connection, at);
        };
        let hold = Hold {
            why: broken.why,
            since: at.now.wall,
            messages: tally.messages.saturating_add(gaps),
            old,
        };
        let mut entry = self.entry(cursor);
        entry.notices.push(Notice::Held(hold.clone()));
        entry.hold = Some(hold);
        self.commit(entry, Then::Pause(PauseReason::Held), at)
    }
}

/// Sorts the answers: what has no facts but is there counts against the limit.
fn note(step: &mut Step, tally: &mut Tally, answers: &[Answer]) {
    for uid in &step.uids {
        match super::batch::reply(answers, *uid) {
            Reply::Whole(facts) | Reply::Empty(facts) => step.facts.push((*uid, facts)),
            // It may be there all the same, when it is read.
            Reply::Missing | Reply::Unreadable => {
                tally.messages = tally.messages.saturating_add(1);
                tally.old = tally.old.saturating_add(1);
            }
        }
    }
}
