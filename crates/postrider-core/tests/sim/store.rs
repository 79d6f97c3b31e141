//! A store as the watch relies on it: atomic commits, a ledger with fingerprints, suspects.

use std::collections::{BTreeMap, HashMap};

use postrider_core::{
    cursor::{Cursor, Epoch},
    fingerprint::Fingerprint,
    ids::Uid,
    time::Wall,
    watch::{Entry, Facts, Hold, ItemKey, Known, Notice, Outcome, Stored},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) outcome: Outcome,
    pub(crate) fingerprint: Option<Fingerprint>,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) hold: Option<Hold>,
    pub(crate) first_sight: Option<Wall>,
    pub(crate) last_proven: Option<Wall>,
    pub(crate) suspects: BTreeMap<Uid, u8>,
    pub(crate) ledger: BTreeMap<(Epoch, Uid), Row>,
    pub(crate) account_changed: bool,
    pub(crate) state_lost: bool,
    pub(crate) paused: bool,
}

impl Store {
    /// What a new process finds.
    pub(crate) fn stored(&self, unclean: bool) -> Stored {
        Stored {
            cursor: self.cursor.clone(),
            hold: self.hold.clone(),
            first_sight: self.first_sight,
            last_proven: self.last_proven,
            suspects: self
                .suspects
                .iter()
                .map(|(uid, tries)| (*uid, *tries))
                .collect(),
            account_changed: self.account_changed,
            state_lost: self.state_lost,
            unclean,
            paused: self.paused,
        }
    }

    pub(crate) fn recall(&self, asked: &[Fingerprint]) -> Known {
        let epoch = self.cursor.as_ref().map(|cursor| cursor.epoch);
        let mut known: HashMap<Fingerprint, i64> = HashMap::new();
        for ((row_epoch, _), row) in &self.ledger {
            let Some(fingerprint) = row.fingerprint.filter(|it| asked.contains(it)) else {
                continue;
            };
            if row.outcome == Outcome::Vanished {
                continue;
            }
            let is_known = row.outcome == Outcome::Known;
            let is_here = Some(*row_epoch) == epoch;
            *known.entry(fingerprint).or_default() += match (is_known, is_here) {
                (false, false) => 1,
                (true, true) => -1,
                (true, false) | (false, true) => 0,
            };
        }
        let matches = known
            .into_iter()
            .filter_map(|(fingerprint, count)| Some((fingerprint, u32::try_from(count).ok()?)))
            .collect();
        Known { matches }
    }

    /// Stores an entry. `Err` names what no entry may do.
    pub(crate) fn commit(
        &mut self,
        entry: &Entry,
        facts: &HashMap<Uid, Facts>,
        now: Wall,
    ) -> Result<(), String> {
        let epoch = entry.cursor.epoch;
        if self.cursor.as_ref().is_some_and(|old| old.epoch != epoch) {
            self.suspects.clear();
        }
        for (ItemKey::Uid(uid), outcome) in &entry.outcomes {
            if self.ledger.contains_key(&(epoch, *uid)) {
                return Err(format!(
                    "UID {uid} has an outcome already, and now {outcome:?}"
                ));
            }
            if let Outcome::Suspect { tries } = outcome {
                self.suspects.insert(*uid, *tries);
                continue;
            }
            self.suspects.remove(uid);
            let row = Row {
                outcome: *outcome,
                fingerprint: facts.get(uid).map(|facts| facts.fingerprint),
            };
            self.ledger.insert((epoch, *uid), row);
        }
        let named = |uid| {
            entry
                .outcomes
                .iter()
                .any(|(ItemKey::Uid(it), _)| *it == uid)
        };
        self.suspects
            .retain(|uid, tries| *tries > 0 || named(*uid) || entry.cursor.gaps.contains(uid));
        for notice in &entry.notices {
            if matches!(notice, Notice::FirstSight { .. }) {
                self.first_sight = Some(now);
            }
        }
        self.cursor = Some(entry.cursor.clone());
        self.hold = entry.hold.clone();
        self.state_lost = false;
        if entry.proven {
            self.last_proven = Some(now);
        }
        Ok(())
    }

    pub(crate) fn row(&self, uid: Uid) -> Option<&Row> {
        let epoch = self.cursor.as_ref()?.epoch;
        self.ledger.get(&(epoch, uid))
    }
}
