//! Opening a folder: whether it goes on where it stood, and what is done where it does not.

use std::time::Duration;

use super::{
    At, Effect, Failure, HoldReason, Input, ItemKey, Notice, Part, Reply, Selected, Session, Start,
    State, Watch, commit::Then,
};
use crate::{
    cursor::{Break, Continuity, Cursor, Epoch, Past, Released, Sieve, anchored, reconcile},
    ids::UidValidity,
};

/// Readings of the anchor that may come to nothing before the folder is taken as it is.
const ANCHOR_TRIES_MAX: u8 = 3;
/// A session is not replaced younger than this, whatever its token says.
const SESSION_LIFE_MIN: Duration = Duration::from_secs(5);

impl Watch {
    pub(super) fn open(&mut self) -> Effect {
        self.state = State::Opening;
        Effect::Open
    }

    /// A new session is there.
    pub(super) fn opened(&mut self, selected: Selected, at: At) -> Effect {
        let now = at.now.monotonic;
        self.answered();
        if let Some(trouble) = self.trouble.as_deref_mut() {
            trouble.standby_failures = 0;
        }
        let standby_at = selected.session_ends.map(|ends| {
            let lead = self.policy.standby_lead_max.min((ends - now) / 5);
            // Sessions that share a token do not all ask for their successors at once.
            let lead = lead.mul_f64(0.5 + 0.5 * at.chance.0.clamp(0.0, 1.0));
            (now + ((ends - now) - lead)).max(now + SESSION_LIFE_MIN)
        });
        self.session = Some(Session {
            opened: now,
            examined: now,
            standby_at,
            highest: selected.highest,
        });
        self.selected(selected, at)
    }

    /// The folder was examined again on the same session.
    pub(super) fn examined(&mut self, selected: Selected, at: At) -> Effect {
        match self.session.as_mut() {
            Some(session) => {
                session.examined = at.now.monotonic;
                session.highest = selected.highest;
                self.selected(selected, at)
            }
            None => self.opened(selected, at),
        }
    }

    fn selected(&mut self, selected: Selected, at: At) -> Effect {
        let past = Past {
            cursor: self.cursor.as_ref(),
            state_lost: self.state_lost,
            account_changed: self.account_changed,
        };
        let to = selected.uid_validity;
        match reconcile(past, &selected) {
            Continuity::AccountChanged => self.hold_account(at),
            Continuity::FirstSight => self.first_sight(&selected, at),
            Continuity::StateLost => {
                self.break_off(HoldReason::StateLost, to, Some(Notice::StateLost), at)
            }
            Continuity::NewUidValidity { from, to } => self.break_off(
                HoldReason::UidValidityChanged,
                to,
                Some(Notice::UidValidityChanged { from, to }),
                at,
            ),
            Continuity::WentBack => self.went_back(&selected, at),
            Continuity::Over(why) => self.turn_over(why, &selected, at),
            continuity @ (Continuity::Unchanged | Continuity::Ahead | Continuity::Unclear) => {
                self.released(continuity, &selected, at)
            }
        }
    }

    /// An operator's word on a hold speaks of what is in the folder when it is next opened.
    fn released(&mut self, continuity: Continuity, selected: &Selected, at: At) -> Effect {
        let open = self.cursor.as_ref().and_then(|cursor| {
            let broken = cursor.broken()?;
            let released = broken.released.filter(|word| word.until.is_none())?;
            Some((cursor, broken, released))
        });
        let Some((cursor, broken, word)) = open else {
            return self.anchor(continuity, at);
        };
        let released = selected.highest.map(|highest| Released {
            until: Some(highest),
            ..word
        });
        let cursor = Cursor {
            sieve: Some(Box::new(Sieve::Break(Break { released, ..broken }))),
            ..cursor.clone()
        };
        let entry = self.entry(cursor);
        self.commit(entry, Then::Anchor(continuity), at)
    }

    /// Reads the newest message that was taken, to see whether it is still the same.
    pub(super) fn anchor(&mut self, continuity: Continuity, at: At) -> Effect {
        let anchor = self.cursor.as_ref().and_then(|cursor| cursor.anchor);
        let validity = self.cursor.as_ref().map(|cursor| cursor.uid_validity);
        let given_up = self
            .trouble
            .as_deref()
            .is_some_and(|trouble| trouble.anchor_failures >= ANCHOR_TRIES_MAX);
        match anchor {
            // It could be read once, and now it ends the connection: it may be another message.
            Some(_) if given_up => self.lost_anchor(validity, at),
            Some((uid, _)) => {
                self.state = State::Anchoring {
                    continuity,
                    tries: 0,
                };
                Effect::Read {
                    items: vec![ItemKey::Uid(uid)],
                    part: Part::Facts,
                }
            }
            None => self.unanchored(continuity, at),
        }
    }

    /// There is nothing to hold the folder against.
    fn unanchored(&mut self, continuity: Continuity, at: At) -> Effect {
        match (continuity, self.cursor.as_ref()) {
            (Continuity::Unclear, Some(cursor)) => {
                let to = cursor.uid_validity;
                self.lost_anchor(Some(to), at)
            }
            (_, _) => self.survey(at),
        }
    }

    pub(super) fn anchor_answered(
        &mut self,
        continuity: Continuity,
        tries: u8,
        input: Input,
        at: At,
    ) -> Effect {
        let anchor = self
            .cursor
            .as_ref()
            .and_then(|cursor| Some((cursor.uid_validity, cursor.anchor?)));
        let Some((validity, (uid, fingerprint))) = anchor else {
            return self.survey(at);
        };
        let reply = match input {
            Input::Read(answers) => answers
                .into_iter()
                .find(|answer| answer.key == ItemKey::Uid(uid))
                .map_or(Reply::Unreadable, |answer| answer.reply),
            // A server that refuses to read says nothing of the message; it is asked again when
            // the folder is next examined.
            Input::Failed(Failure::Refused) => Reply::Missing,
            input => {
                if input == Input::Failed(Failure::Connection) {
                    let trouble = self.trouble();
                    trouble.anchor_failures = trouble.anchor_failures.saturating_add(1);
                }
                return self.astray(input, at);
            }
        };
        match reply {
            Reply::Missing | Reply::Unreadable if tries + 1 < ANCHOR_TRIES_MAX => {
                self.state = State::Anchoring {
                    continuity,
                    tries: tries + 1,
                };
                return Effect::Read {
                    items: vec![ItemKey::Uid(uid)],
                    part: Part::Facts,
                };
            }
            Reply::Missing | Reply::Unreadable | Reply::Whole(_) | Reply::Empty(_) => {}
        }
        if let Some(trouble) = self.trouble.as_deref_mut() {
            trouble.anchor_failures = 0;
        }
        if anchored(fingerprint, &reply, continuity) {
            self.survey(at)
        } else {
            self.lost_anchor(Some(validity), at)
        }
    }

    fn lost_anchor(&mut self, to: Option<UidValidity>, at: At) -> Effect {
        if let Some(trouble) = self.trouble.as_deref_mut() {
            trouble.anchor_failures = 0;
        }
        let highest = self.session.and_then(|session| session.highest);
        match self.cursor.as_ref().and_then(|cursor| cursor.last).zip(to) {
            Some((last, to)) => {
                let notice = Notice::UidsWentBack { last, highest };
                self.break_off(HoldReason::UidsWentBack, to, Some(notice), at)
            }
            None => self.survey(at),
        }
    }

    fn went_back(&mut self, selected: &Selected, at: At) -> Effect {
        match self.cursor.as_ref().and_then(|cursor| cursor.last) {
            Some(last) => {
                let notice = Notice::UidsWentBack {
                    last,
                    highest: selected.highest,
                };
                self.break_off(
                    HoldReason::UidsWentBack,
                    selected.uid_validity,
                    Some(notice),
                    at,
                )
            }
            None => self.survey(at),
        }
    }

    /// The epoch ended when the folder was opened before, and the next one was not stored.
    fn turn_over(&mut self, why: HoldReason, selected: &Selected, at: At) -> Effect {
        let to = selected.uid_validity;
        let cursor = self.cursor.as_ref();
        let from = cursor.map_or(to, |cursor| cursor.uid_validity);
        match why {
            HoldReason::UidsWentBack => self.went_back(selected, at),
            HoldReason::UidValidityChanged => {
                self.break_off(why, to, Some(Notice::UidValidityChanged { from, to }), at)
            }
            HoldReason::StateLost => self.break_off(why, to, Some(Notice::StateLost), at),
            HoldReason::AccountChanged => self.break_off(why, to, None, at),
        }
    }

    /// Continuity is not proven: an epoch begins in which everything is matched by fingerprint.
    /// That it began is stored before anything is read.
    fn break_off(
        &mut self,
        why: HoldReason,
        to: UidValidity,
        notice: Option<Notice>,
        at: At,
    ) -> Effect {
        let old = self.cursor.as_ref();
        // An account that was taken over is opened for the first time: another numbering is no
        // news then, and the operator's word on it stands.
        let pending = old
            .and_then(Cursor::broken)
            .filter(|broken| broken.why == HoldReason::AccountChanged)
            .filter(|_| old.is_some_and(|old| old.last.is_none() && old.gaps.is_empty()));
        let released = old
            .and_then(Cursor::broken)
            .and_then(|broken| broken.released)
            .filter(|word| word.until.is_none());
        let broken = Break {
            why: pending.map_or(why, |pending| pending.why),
            at: at.now.wall,
            old: 0,
            released,
        };
        let mut cursor = Cursor::begin(to, Epoch::begin(at.now.wall, old.map(|old| old.epoch)));
        cursor.sieve = Some(Box::new(Sieve::Break(broken)));
        let mut entry = self.entry(cursor);
        if pending.is_none() {
            entry.notices.extend(notice);
        }
        // `released` goes by the highest UID; a folder just opened is examined for it.
        let then = if released.is_some() {
            Then::Examine
        } else {
            Then::Survey
        };
        self.turn(entry, then, at)
    }

    fn first_sight(&mut self, selected: &Selected, at: At) -> Effect {
        let before = self.cursor.as_ref().map(|old| old.epoch);
        let mut cursor = Cursor::begin(selected.uid_validity, Epoch::begin(at.now.wall, before));
        match self.policy.start {
            Start::New => {
                cursor.last = selected.highest;
                cursor.floor = selected.highest;
            }
            Start::All => {}
            Start::Since(since) => cursor.sieve = Some(Box::new(Sieve::Start { since })),
        }
        let mut entry = self.entry(cursor);
        entry.notices.push(Notice::FirstSight {
            highest: selected.highest,
        });
        self.turn(entry, Then::Survey, at)
    }
}
