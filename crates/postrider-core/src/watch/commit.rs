//! Commits: what is in memory follows what is stored, never the other way round.

use super::{At, Effect, Entry, Notice, Outcome, PauseReason, State, Watch, round::Round};
use crate::{
    cursor::{Continuity, Cursor, Sieve},
    ids::Uid,
    time::Wall,
    watch::{Hold, HoldReason, ItemKey},
};

/// A commit under way: what becomes true when it is durable, and what follows.
#[derive(Debug)]
pub(super) struct Pending {
    cursor: Cursor,
    hold: Option<Box<Hold>>,
    proven: bool,
    first_sight: bool,
    at: Wall,
    /// UIDs that have their final outcome with it.
    settled: Vec<Uid>,
    /// The last message that was read in full for it.
    read: Option<Uid>,
    then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    Open,
    Anchor(Continuity),
    Examine,
    Survey,
    Round(Box<Round>),
    Wait,
    Pause(PauseReason),
    /// A second entry, which turns to another epoch.
    Turn(Box<(Entry, Then)>),
}

impl Watch {
    /// An entry that changes nothing yet.
    pub(super) fn entry(&self, cursor: Cursor) -> Entry {
        Entry {
            outcomes: Vec::new(),
            cursor,
            hold: self.hold.as_deref().cloned(),
            notices: Vec::new(),
            proven: false,
        }
    }

    pub(super) fn commit(&mut self, entry: Entry, then: Then, at: At) -> Effect {
        let is_final = |outcome: &Outcome| match outcome {
            Outcome::Suspect { .. } => false,
            Outcome::Event
            | Outcome::Known
            | Outcome::Skipped(_)
            | Outcome::Quarantined(_)
            | Outcome::Vanished => true,
        };
        let suspected = self.trouble.as_deref();
        let settled = entry
            .outcomes
            .iter()
            .filter(|(_, outcome)| is_final(outcome))
            .map(|(ItemKey::Uid(uid), _)| *uid)
            .filter(|uid| suspected.is_some_and(|trouble| trouble.suspect(*uid).is_some()))
            .collect();
        self.state = State::Committing(Box::new(Pending {
            cursor: entry.cursor.clone(),
            hold: entry.hold.clone().map(Box::new),
            proven: entry.proven,
            first_sight: entry
                .notices
                .iter()
                .any(|notice| matches!(notice, Notice::FirstSight { .. })),
            at: at.now.wall,
            settled,
            read: entry
                .outcomes
                .iter()
                .rfind(|(_, outcome)| *outcome == Outcome::Event)
                .map(|(ItemKey::Uid(uid), _)| *uid),
            then,
        }));
        Effect::Commit(entry)
    }

    /// Commits an entry that may turn to another epoch. UIDs of the old one that are still owed an
    /// outcome end with it: under their numbers they are gone.
    pub(super) fn turn(&mut self, entry: Entry, then: Then, at: At) -> Effect {
        let owed = |old: &&Cursor| old.epoch != entry.cursor.epoch && !old.gaps.is_empty();
        let Some(old) = self.cursor.as_ref().filter(owed) else {
            return self.commit(entry, then, at);
        };
        // The reason may be gone when this entry is stored and the next one is not.
        let broken = entry.cursor.broken();
        let why = broken.map_or(HoldReason::AccountChanged, |broken| broken.why);
        let mut closing = self.entry(Cursor {
            gaps: Vec::new(),
            sieve: Some(Box::new(Sieve::Over(why))),
            ..old.clone()
        });
        closing.outcomes = old
            .gaps
            .iter()
            .map(|uid| (ItemKey::Uid(*uid), Outcome::Vanished))
            .collect();
        self.commit(closing, Then::Turn(Box::new((entry, then))), at)
    }

    pub(super) fn committed(&mut self, pending: Pending, at: At) -> Effect {
        let turned = self
            .cursor
            .as_ref()
            .is_some_and(|old| old.epoch != pending.cursor.epoch);
        if turned {
            self.control = None;
        }
        if pending.read.is_some() {
            self.control = pending.read;
            self.read_at = Some(at.now.monotonic);
        }
        if let Some(trouble) = self.trouble.as_deref_mut() {
            if turned {
                trouble.turn();
            }
            trouble.settle(&pending.settled, &pending.cursor);
        }
        if !matches!(pending.then, Then::Turn(_)) {
            self.owed = None;
        }
        self.state_lost = false;
        self.cursor = Some(pending.cursor);
        self.hold = pending.hold;
        if pending.first_sight {
            self.first_sight = Some(pending.at);
        }
        if pending.proven {
            self.last_proven = Some(pending.at);
        }
        match pending.then {
            Then::Open => self.open(),
            Then::Anchor(continuity) => self.anchor(continuity, at),
            Then::Examine => self.examine(),
            Then::Survey => self.survey(at),
            Then::Round(round) => self.go_on(round, at),
            Then::Wait => self.wait(at),
            Then::Pause(why) => self.rest(None, why),
            Then::Turn(turn) => {
                let (entry, then) = *turn;
                self.commit(entry, then, at)
            }
        }
    }
}
