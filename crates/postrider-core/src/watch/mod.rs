//! The watch of one folder: a state machine that is fed inputs and answers with the next effect.
//!
//! It owns the order of things: what is read, when something is committed, when there is nothing
//! left but to wait. The cursor moves only by a commit that carries an outcome for every UID it
//! passes; a failure is never an empty answer; only an empty survey leads to a wait. Whatever it
//! was about to do when its process died is done again from what is stored.

mod seam;

mod commit;
mod opening;
mod pausing;
mod waiting;

mod batch;
mod counting;
mod round;
mod sieve;
mod trouble;

use std::{mem, sync::Arc};

pub use seam::*;

use self::{
    commit::Pending,
    round::Round,
    trouble::{Caution, Trouble},
};
use crate::{
    backoff::Chance,
    cursor::{Continuity, Cursor},
    ids::Uid,
    time::{Monotonic, Now, Wall},
};

/// The watch of one folder. Feed it [`Input::Start`] first, then the answer to each effect.
///
/// It may be dropped at any moment, and a new one started from what is stored: after any effect
/// nothing is lost, and nothing is taken twice.
#[derive(Debug)]
pub struct Watch {
    policy: Arc<Policy>,
    cursor: Option<Cursor>,
    hold: Option<Box<Hold>>,
    first_sight: Option<Wall>,
    last_proven: Option<Wall>,
    /// There is one while there is a session.
    session: Option<Session>,
    /// `None` while all is well.
    trouble: Option<Box<Trouble>>,
    /// An order whose commit failed, to be tried again.
    owed: Option<Box<Order>>,
    /// When a message was last read in full: only beside it another one's silence means anything.
    read_at: Option<Monotonic>,
    /// The last message of this epoch that was taken in full, to be read again for that purpose.
    control: Option<Uid>,
    /// Failures in a row; a success counts only when it lasted `Policy::backoff.stable`.
    failures: u32,
    state_lost: bool,
    account_changed: bool,
    /// An operator paused it, whatever else keeps it from reading.
    paused: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    opened: Monotonic,
    examined: Monotonic,
    /// When to open its successor.
    standby_at: Option<Monotonic>,
    highest: Option<Uid>,
}

#[derive(Debug)]
enum State {
    New,
    Pausing {
        until: Option<Monotonic>,
        why: PauseReason,
    },
    Opening,
    Examining,
    /// The anchor is read, to see whether UIDs were given to other messages.
    Anchoring {
        continuity: Continuity,
        tries: u8,
    },
    Surveying {
        tries: u8,
    },
    Working(Box<Round>),
    Committing(Box<Pending>),
    Waiting,
    Closing(Next),
    Finished,
}

/// What follows a session's end.
#[derive(Clone, Copy, Debug)]
enum Next {
    Pause {
        until: Option<Monotonic>,
        why: PauseReason,
    },
    Finish,
}

/// The moment of a step.
#[derive(Clone, Copy, Debug)]
struct At {
    now: Now,
    chance: Chance,
}

impl Watch {
    pub fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            cursor: None,
            hold: None,
            first_sight: None,
            last_proven: None,
            session: None,
            trouble: None,
            owed: None,
            read_at: None,
            control: None,
            failures: 0,
            state_lost: false,
            account_changed: false,
            paused: false,
            state: State::New,
        }
    }

    /// Takes the answer to the last effect and says what to do next.
    ///
    /// An input that does not answer the last effect is taken for a lost connection; before
    /// [`Input::Start`], when nothing is known of the folder, it ends the watch.
    pub fn step(&mut self, input: Input, now: Now, chance: Chance) -> Effect {
        let at = At { now, chance };
        match mem::replace(&mut self.state, State::Finished) {
            State::New => match input {
                Input::Start(stored) => self.start(*stored, at),
                Input::Opened(_)
                | Input::Surveyed(_)
                | Input::Recalled(_)
                | Input::Read(_)
                | Input::Committed
                | Input::Woken(_)
                | Input::Closed
                | Input::Failed(_) => self.finish(),
            },
            State::Pausing { until, why } => match input {
                Input::Woken(wake) => self.roused(until, why, wake, at),
                input => self.astray(input, at),
            },
            State::Opening => match input {
                Input::Opened(selected) => self.opened(selected, at),
                input => self.astray(input, at),
            },
            State::Examining => match input {
                Input::Opened(selected) => self.examined(selected, at),
                input => self.astray(input, at),
            },
            State::Anchoring { continuity, tries } => {
                self.anchor_answered(continuity, tries, input, at)
            }
            State::Surveying { tries } => match input {
                Input::Surveyed(survey) => self.surveyed(survey, at),
                Input::Failed(Failure::Refused) if tries == 0 => self.survey_again(),
                input => self.astray(input, at),
            },
            State::Working(round) => self.work(round, input, at),
            State::Committing(pending) => match input {
                Input::Committed => self.committed(*pending, at),
                input => self.astray(input, at),
            },
            State::Waiting => match input {
                Input::Woken(wake) => self.woken(wake, at),
                input => self.astray(input, at),
            },
            // A session that cannot be logged out is gone as well.
            State::Closing(next) => self.closed(next),
            State::Finished => self.finish(),
        }
    }

    /// The cursor as it is stored.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// As many gaps are open as there may be, so what came after them is not read.
    pub fn is_behind(&self) -> bool {
        let gaps = self.cursor.as_ref().map_or(0, |cursor| cursor.gaps.len());
        gaps >= self.policy.gaps_max.max(1)
    }

    /// The hold as it is stored.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_deref()
    }

    /// A failure, or an answer to something that was not asked.
    fn astray(&mut self, input: Input, at: At) -> Effect {
        match input {
            Input::Failed(failure) => self.failed(failure, at),
            Input::Start(_)
            | Input::Opened(_)
            | Input::Surveyed(_)
            | Input::Recalled(_)
            | Input::Read(_)
            | Input::Committed
            | Input::Woken(_)
            | Input::Closed => self.failed(Failure::Connection, at),
        }
    }

    fn start(&mut self, stored: Stored, at: At) -> Effect {
        self.cursor = stored.cursor;
        self.hold = stored.hold.map(Box::new);
        self.first_sight = stored.first_sight;
        self.last_proven = stored.last_proven;
        self.state_lost = stored.state_lost;
        self.account_changed = stored.account_changed;
        let mut suspects = stored.suspects;
        suspects.retain(|(uid, _)| {
            let cursor = self.cursor.as_ref();
            cursor.is_some_and(|it| it.is_above(*uid) || it.gaps.contains(uid))
        });
        if !suspects.is_empty() || stored.unclean {
            let policy = Arc::clone(&self.policy);
            let trouble = self.trouble();
            trouble.recall(&suspects, &policy, at);
            if stored.unclean {
                trouble.caution = Caution::Alone(policy.batch_max.max(1));
            }
        }
        self.paused = stored.paused;
        self.resume(at)
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    fn finish(&mut self) -> Effect {
        self.state = State::Finished;
        Effect::Finish
    }
}
