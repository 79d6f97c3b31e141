//! Single behaviours of the watch, step by step: what the seeds reach only in passing.

mod breaks;
mod reading;
mod sessions;

use std::{sync::Arc, time::Duration};

use postrider_core::{
    backoff::{Backoff, Chance},
    cursor::{Cursor, Epoch, Sieve},
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    time::{Monotonic, Now, Wall},
    watch::*,
};

pub(crate) const BEGIN: i64 = 1_700_000_000_000;
pub(crate) const DAY: i64 = 86_400_000;

pub(crate) struct Bench {
    watch: Watch,
    pub(crate) now: Now,
}

pub(crate) fn policy() -> Policy {
    Policy {
        start: Start::New,
        cycle: Duration::from_secs(300),
        examine_every: Duration::from_secs(1_800),
        batch_max: 4,
        gaps_max: 8,
        flood_limit: 2,
        flood_age: Duration::from_secs(86_400),
        suspect_tries_max: 3,
        backoff: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            stable: Duration::from_secs(30),
        },
        standby_lead_max: Duration::from_secs(300),
    }
}

pub(crate) fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

pub(crate) fn uids(numbers: impl IntoIterator<Item = u32>) -> Vec<Uid> {
    numbers.into_iter().map(uid).collect()
}

pub(crate) fn facts(name: u32, age_days: i64) -> Facts {
    let internal_date = Some(Wall(BEGIN - age_days * DAY));
    let id = format!("{name}@example.org");
    Facts {
        fingerprint: Fingerprint::of(Some(&id), "", "", "", internal_date),
        internal_date,
    }
}

pub(crate) fn cursor(last: u32) -> Cursor {
    Cursor {
        last: Uid::new(last),
        floor: Uid::new(last),
        ..Cursor::begin(UidValidity(4), Epoch(1))
    }
}

pub(crate) fn stored(last: u32) -> Stored {
    Stored {
        cursor: Some(cursor(last)),
        first_sight: Some(Wall(BEGIN - 30 * DAY)),
        last_proven: Some(Wall(BEGIN)),
        ..Stored::default()
    }
}

pub(crate) fn selected(validity: u32, highest: u32) -> Input {
    Input::Opened(Selected {
        uid_validity: UidValidity(validity),
        uid_next: Uid::new(highest + 1),
        exists: highest,
        highest: Uid::new(highest),
        session_ends: None,
    })
}

pub(crate) fn surveyed(numbers: impl IntoIterator<Item = u32>) -> Input {
    Input::Surveyed(Survey {
        uids: uids(numbers),
    })
}

impl Bench {
    pub(crate) fn start(stored: Stored) -> (Self, Effect) {
        let mut bench = Self {
            watch: Watch::new(Arc::new(policy())),
            now: Now {
                monotonic: Monotonic(1_000_000),
                wall: Wall(BEGIN),
            },
        };
        let effect = bench.step(Input::Start(Box::new(stored)));
        (bench, effect)
    }

    pub(crate) fn step(&mut self, input: Input) -> Effect {
        self.step_with(input, 0.5)
    }

    pub(crate) fn step_with(&mut self, input: Input, chance: f64) -> Effect {
        self.watch.step(input, self.now, Chance(chance))
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now.monotonic = self.now.monotonic + duration;
        self.now.wall = self.now.wall + duration;
    }

    /// Waits out a pause and opens again.
    pub(crate) fn reopen(&mut self, effect: &Effect, highest: u32) -> Effect {
        let Effect::Pause {
            until: Some(until), ..
        } = effect
        else {
            panic!("{effect:?} is no pause with an end");
        };
        self.pass(*until - self.now.monotonic);
        assert_eq!(self.step(Input::Woken(Wake::Elapsed)), Effect::Open);
        self.step(selected(4, highest))
    }

    /// Answers a read: the given way for each UID.
    pub(crate) fn answer(&mut self, effect: &Effect, reply: impl Fn(u32) -> Reply) -> Effect {
        let Effect::Read { items, .. } = effect else {
            panic!("{effect:?} is no read");
        };
        let answers = items.iter().map(|ItemKey::Uid(uid)| Answer {
            key: ItemKey::Uid(*uid),
            reply: reply(uid.get()),
        });
        let answers = answers.collect();
        self.step(Input::Read(answers))
    }
}

pub(crate) fn read(effect: &Effect) -> Vec<u32> {
    match effect {
        Effect::Read { items, .. } => items.iter().map(|ItemKey::Uid(uid)| uid.get()).collect(),
        effect => panic!("{effect:?} is no read"),
    }
}

pub(crate) fn commit(effect: &Effect) -> &Entry {
    match effect {
        Effect::Commit(entry) => entry,
        effect => panic!("{effect:?} is no commit"),
    }
}

pub(crate) fn outcomes(effect: &Effect) -> Vec<(u32, Outcome)> {
    let list = commit(effect).outcomes.iter();
    list.map(|(ItemKey::Uid(uid), outcome)| (uid.get(), *outcome))
        .collect()
}

pub(crate) fn whole(number: u32) -> Reply {
    Reply::Whole(facts(number, 0))
}

#[test]
fn an_idle_watch_is_small() {
    let size = size_of::<Watch>();
    assert!(size <= 288, "{size} bytes");
}
