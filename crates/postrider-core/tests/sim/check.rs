//! The rules: what is checked at every effect, and at the end when all is calm.

use postrider_core::{
    cursor::{Break, Cursor, Epoch, Released, Sieve},
    ids::Uid,
    time::{Monotonic, Wall},
    watch::*,
};

use crate::{
    server::{Mail, Nature, days},
    world::World,
};

impl World {
    pub(crate) fn violate(&mut self, wrong: String) {
        self.say(|| format!("!!!! {wrong}"));
        self.wrong.get_or_insert(wrong);
    }

    fn demand(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            self.violate(wrong());
        }
    }

    pub(crate) fn check_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Open | Effect::Adopt | Effect::Examine => {
                self.seen.armed = None;
                let may = !self.store.paused && self.store.hold.is_none();
                self.demand(may, || "opened in spite of a pause or a hold".to_owned());
                let same = !self.store.account_changed;
                self.demand(same, || "opened another account's mailbox".to_owned());
            }
            Effect::Recall(asked) => {
                let most = self.policy.batch_max.max(10);
                self.demand(asked.len() <= most, || {
                    "too many fingerprints at once".to_owned()
                });
            }
            Effect::Survey { after } => {
                self.seen.armed = None;
                let same = self.store.cursor.as_ref() == Some(after);
                self.demand(same, || {
                    "surveyed after a cursor that is not stored".to_owned()
                });
            }
            Effect::Read { .. }
            | Effect::Commit(_)
            | Effect::Wait { .. }
            | Effect::Pause { .. }
            | Effect::Close
            | Effect::Finish => {}
        }
    }

    /// An epoch has one numbering: that UIDs were given to other messages must not go unnoticed.
    pub(crate) fn note_survey(&mut self, epoch: Epoch, folder: usize) {
        let before = *self.seen.epochs.entry(epoch).or_insert(folder);
        self.demand(before == folder, || {
            "a folder that was numbered anew was surveyed as if it were the same".to_owned()
        });
    }

    pub(crate) fn check_read(&mut self, uids: &[Uid], part: Part, anchor: bool) {
        if anchor {
            return;
        }
        self.seen.read_since = true;
        if let (Part::Whole, [uid]) = (part, uids)
            && self.bodies.contains_key(uid)
            && !self.seen.listed.contains(uid)
        {
            // It is read once more, to see whether anything can be.
            return;
        }
        self.demand(uids.len() <= 10 && !uids.is_empty(), || {
            "an odd batch".to_owned()
        });
        let Some(epoch) = self.epoch() else {
            self.violate("read without a cursor".to_owned());
            return;
        };
        for uid in uids {
            let listed = self.seen.listed.contains(uid);
            self.demand(listed, || format!("UID {uid} is read and was not surveyed"));
            let stored = self.store.suspects.get(uid).copied();
            let strikes = self.seen.strikes.get(&(epoch, *uid)).copied().unwrap_or(0);
            if self.seen.cautious {
                self.demand(stored.is_some(), || {
                    format!("after a crash UID {uid} is read without a mark")
                });
            }
            if strikes > 0 {
                self.demand(uids.len() == 1, || {
                    format!("a suspect, UID {uid}, is not read alone")
                });
                self.demand(stored > Some(strikes), || {
                    format!("UID {uid}, {strikes} strikes, is read and the store says {stored:?}")
                });
            }
        }
    }

    pub(crate) fn note_read_failed(&mut self, uids: &[Uid], failure: &Failure) {
        let (Some(epoch), [uid], Failure::Connection) = (self.epoch(), uids, failure) else {
            return;
        };
        if self.seen.armed == Some(*uid) {
            self.seen.marked.remove(uid);
            let strikes = self.seen.strikes.entry((epoch, *uid)).or_default();
            *strikes += 1;
            let strikes = *strikes;
            self.demand(strikes <= 3, || {
                format!("UID {uid} was read {strikes} times in vain")
            });
        }
    }

    pub(crate) fn check_pause(&mut self, why: PauseReason) {
        match why {
            PauseReason::Held => {
                let held = self.store.hold.is_some()
                    || (self.store.cursor.is_none() && self.store.account_changed);
                self.demand(held, || "held, and no hold is stored".to_owned());
            }
            PauseReason::Paused => {
                let paused = self.store.paused;
                self.demand(paused, || "paused, and nobody said so".to_owned());
            }
            PauseReason::Backoff
            | PauseReason::LoginRefused
            | PauseReason::Throttled
            | PauseReason::FolderMissing
            | PauseReason::StoreFull => {}
        }
    }

    /// Only a fresh survey that lists nothing new leads to a wait.
    pub(crate) fn check_wait(&mut self, until: Monotonic) {
        let Some(cursor) = self.store.cursor.clone() else {
            self.violate("waiting without a cursor".to_owned());
            return;
        };
        let fresh = self.seen.survey.clone().filter(|_| !self.seen.read_since);
        let full = cursor.gaps.len() >= self.policy.gaps_max;
        match fresh {
            None => self.violate("waiting without a fresh survey".to_owned()),
            Some(uids) => {
                let above = uids.iter().any(|uid| cursor.is_above(*uid));
                self.demand(!above || full, || {
                    "waiting though there is new mail".to_owned()
                });
            }
        }
        let longest = Monotonic(self.mono) + self.policy.cycle;
        self.demand(until <= longest, || "a wait without an end".to_owned());
    }

    pub(crate) fn note_commit(&mut self, entry: &Entry) {
        let cursor = &entry.cursor;
        let epoch = cursor.epoch;
        self.seen.armed = None;
        let old = self.store.cursor.clone();
        match old.as_ref().filter(|old| old.epoch == epoch) {
            Some(old) => self.check_advance(old, cursor),
            None => self.note_turn(old.as_ref(), entry),
        }
        if old.as_ref().is_some_and(|old| old.epoch == epoch) {
            let closing = self.seen.closing;
            self.demand(!closing, || {
                "gaps were closed, and the epoch goes on".to_owned()
            });
        }
        if entry.hold.is_some() && self.store.hold.is_none() {
            self.tally.add("held");
        }
        self.note_closing(entry);
        for (ItemKey::Uid(uid), outcome) in &entry.outcomes {
            self.note_outcome(entry, *uid, *outcome);
        }
        self.check_taken(entry);
        let most = self.policy.gaps_max + 4 * 10;
        let suspects = self.store.suspects.len();
        self.demand(suspects <= most, || {
            format!("{suspects} suspects are stored")
        });
        if entry.proven {
            let listed = self.seen.survey.clone();
            let all = listed.is_some_and(|uids| {
                uids.iter().all(|uid| !cursor.is_above(*uid)) && cursor.gaps.is_empty()
            });
            self.demand(all, || "proven, though not all of it is taken".to_owned());
        }
    }

    fn check_advance(&mut self, old: &Cursor, new: &Cursor) {
        let forward =
            new.last >= old.last && new.floor == old.floor && new.uid_validity == old.uid_validity;
        self.demand(forward, || "the cursor went back".to_owned());
        let sorted = new.gaps.is_sorted() && new.gaps.iter().all(|gap| !new.is_above(*gap));
        self.demand(sorted, || "gaps out of order".to_owned());
        let most = self.policy.gaps_max;
        self.demand(new.gaps.len() <= most, || "too many gaps".to_owned());
    }

    fn note_turn(&mut self, old: Option<&Cursor>, entry: &Entry) {
        let later = old.is_none_or(|old| old.epoch < entry.cursor.epoch);
        self.demand(later, || {
            "an epoch is not later than the one before".to_owned()
        });
        let owed = old.map_or(0, |old| old.gaps.len());
        self.demand(owed == 0, || {
            format!("an epoch ends, and {owed} gaps of it are owed")
        });
        let empty = entry.outcomes.is_empty() && entry.cursor.gaps.is_empty();
        self.demand(empty, || "an epoch begins with outcomes".to_owned());
        if entry.cursor.broken().is_some() {
            self.tally.add("continuity broken");
            let nothing = entry.cursor.last.is_none();
            self.demand(nothing, || "a break that leaves something out".to_owned());
        }
        self.seen.closing = false;
        self.seen.rolled_back = false;
        self.seen.marked.clear();
    }

    /// When an epoch ends, its gaps end as vanished; nothing else may end so without a survey.
    fn note_closing(&mut self, entry: &Entry) {
        let all = entry
            .outcomes
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Vanished);
        if all && !entry.outcomes.is_empty() && self.seen.survey.is_none() {
            self.seen.closing = true;
            self.seen.ended.insert(entry.cursor.epoch);
        } else if !entry.outcomes.is_empty() {
            let ended = self.seen.ended.contains(&entry.cursor.epoch);
            self.demand(!ended, || "an epoch that was ended goes on".to_owned());
        }
    }

    fn note_outcome(&mut self, entry: &Entry, uid: Uid, outcome: Outcome) {
        let epoch = entry.cursor.epoch;
        if self.store.hold.is_some() && !self.seen.closing {
            self.violate(format!("{outcome:?} for UID {uid} in spite of a hold"));
        }
        let strikes = self.seen.strikes.get(&(epoch, uid)).copied().unwrap_or(0);
        let mail = self.mail(epoch, uid);
        match outcome {
            Outcome::Event => self.note_event(entry, uid, mail),
            Outcome::Known => self.check_known(entry, uid),
            Outcome::Skipped(reason) => self.check_skipped(entry, uid, reason, mail),
            Outcome::Quarantined(why) => self.check_quarantined(uid, why, strikes, mail),
            Outcome::Vanished => {
                self.tally.add("vanished");
                let listed = self.seen.survey.as_ref().map(|uids| uids.contains(&uid));
                let gone = self.seen.closing || listed == Some(false);
                self.demand(gone, || format!("UID {uid} vanished and is there"));
            }
            Outcome::Suspect { tries } => {
                let cursor = &entry.cursor;
                let open = cursor.is_above(uid) || cursor.gaps.contains(&uid);
                self.demand(open, || format!("suspect UID {uid} has no gap"));
                self.demand(tries <= strikes + 1, || {
                    format!("UID {uid}: {tries} is too many")
                });
                if tries > strikes {
                    self.seen.marked.insert(uid);
                    self.seen.armed = Some(uid);
                } else {
                    self.seen.marked.remove(&uid);
                }
                return;
            }
        }
        self.seen.marked.remove(&uid);
        self.seen.missing_rows.remove(&(epoch, uid));
        self.seen.strikes.remove(&(epoch, uid));
    }

    /// The message that an epoch knows by a UID, unless it has been expunged.
    fn mail(&self, epoch: Epoch, uid: Uid) -> Option<Mail> {
        let folder = self.seen.epochs.get(&epoch)?;
        self.server.folders[*folder].mails.get(&uid.get()).cloned()
    }

    fn note_event(&mut self, entry: &Entry, uid: Uid, mail: Option<Mail>) {
        self.tally.add("event");
        let read = self.bodies.contains_key(&uid);
        self.demand(read, || format!("UID {uid} is an event and was not read"));
        let Some(facts) = self.facts.get(&uid).copied() else {
            return;
        };
        let count = self.seen.events.entry(facts.fingerprint).or_default();
        *count += 1;
        let count = *count;
        let most = self
            .seen
            .allowed
            .get(&facts.fingerprint)
            .copied()
            .unwrap_or(0);
        self.demand(count <= most, || {
            format!("UID {uid} is sent again: {count} of {most}")
        });
        let told = self.policy.start == Start::New && !self.dials.wild_clock;
        if told && mail.is_some_and(|mail| mail.before_start) {
            self.violate(format!("UID {uid} was there before the start, and is sent"));
        }
        self.note_flood(entry, uid, facts);
    }

    /// Old mail is sent without an operator's word up to the limit only.
    fn note_flood(&mut self, entry: &Entry, uid: Uid, facts: Facts) {
        let sieve = self
            .store
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.sieve.clone());
        let Some(Sieve::Break(Break { released, .. })) = sieve.as_deref() else {
            return;
        };
        // What is old is told by the wall clock, so a clock that jumps by days tells nothing.
        let again = self.seen.missing_rows.contains(&(entry.cursor.epoch, uid));
        if spoken(released, uid) || self.dials.wild_clock || again {
            return;
        }
        let proven = self.store.last_proven.max(self.store.first_sight);
        let proven = proven.map(|at| at - days(1));
        let recent = proven.is_some_and(|at| facts.internal_date.is_some_and(|date| date >= at));
        if !recent {
            let count = self.seen.flood.entry(entry.cursor.epoch).or_default();
            *count += 1;
            let flood = *count > self.policy.flood_limit;
            self.demand(!flood, || format!("UID {uid} makes it a flood"));
        }
    }

    /// Each ledger entry matches at most once in an epoch.
    fn check_known(&mut self, entry: &Entry, uid: Uid) {
        let epoch = entry.cursor.epoch;
        self.tally.add("known");
        let Some(fingerprint) = self.facts.get(&uid).map(|facts| facts.fingerprint) else {
            self.violate(format!("UID {uid} is known and was not read"));
            return;
        };
        let same = |(ItemKey::Uid(other), outcome): &&(ItemKey, Outcome)| {
            let facts = self.facts.get(other);
            *outcome == Outcome::Known && facts.is_some_and(|it| it.fingerprint == fingerprint)
        };
        let (mut used, mut there) = (entry.outcomes.iter().filter(same).count(), 0);
        for ((row_epoch, _), row) in &self.store.ledger {
            if row.fingerprint != Some(fingerprint) || row.outcome == Outcome::Vanished {
                continue;
            }
            match (row.outcome == Outcome::Known, *row_epoch == epoch) {
                (true, true) => used += 1,
                (false, false) => there += 1,
                (true, false) | (false, true) => {}
            }
        }
        let once = used <= there;
        self.demand(once, || {
            format!("UID {uid} is known {used} times, and was taken {there} times")
        });
    }

    fn check_skipped(&mut self, entry: &Entry, uid: Uid, reason: Reason, mail: Option<Mail>) {
        let sieve = self
            .store
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.sieve.clone());
        match reason {
            Reason::BeforeStart => {
                self.tally.add("skipped: before the start");
                let fresh = mail.is_some_and(|mail| {
                    let date = mail.facts.internal_date;
                    let early = match self.policy.start {
                        Start::Since(since) => date < Some(since),
                        Start::New => date < self.store.first_sight,
                        Start::All => false,
                    };
                    !mail.before_start && !early
                });
                self.demand(!fresh, || {
                    format!("UID {uid} came after the start, and is skipped")
                });
            }
            Reason::Held => {
                self.tally.add("skipped: held");
                let word = match sieve.as_deref() {
                    Some(Sieve::Break(Break { released, .. })) => spoken(released, uid),
                    Some(Sieve::Start { .. } | Sieve::Over(_) | Sieve::Anew) | None => false,
                };
                self.demand(word, || {
                    format!("UID {uid} is kept back, and nobody said so")
                });
            }
        }
        let _ = entry;
    }

    fn check_quarantined(&mut self, uid: Uid, why: Why, strikes: u8, mail: Option<Mail>) {
        let nature = mail.map(|mail| mail.nature);
        let fair = match why {
            Why::Poison => {
                self.tally.add("quarantined: poison");
                strikes >= self.policy.suspect_tries_max
            }
            Why::NoBody => {
                self.tally.add("quarantined: no body");
                matches!(nature, None | Some(Nature::Empty | Nature::Refused))
            }
            Why::Unparseable => {
                self.tally.add("quarantined: unparseable");
                matches!(nature, None | Some(Nature::Unreadable))
            }
        };
        self.demand(fair, || {
            format!("UID {uid} is {nature:?}, {strikes} strikes: {why:?}")
        });
    }

    /// No UID that was ever surveyed lies at or below the cursor without an outcome or a gap;
    /// nor does any that is there.
    fn check_taken(&mut self, entry: &Entry) {
        let cursor = &entry.cursor;
        let Some(folder) = self.seen.epochs.get(&cursor.epoch) else {
            return;
        };
        let there = self.server.folders[*folder]
            .mails
            .keys()
            .filter_map(|uid| Uid::new(*uid));
        let from = (cursor.epoch, Uid::new(1).unwrap());
        let listed = self
            .seen
            .surveyed
            .range(from..)
            .map_while(|(epoch, uid)| (*epoch == cursor.epoch).then_some(*uid));
        let has_outcome = |uid: Uid| {
            self.store.ledger.contains_key(&(cursor.epoch, uid))
                || self.seen.missing_rows.contains(&(cursor.epoch, uid))
                || entry.outcomes.iter().any(|(ItemKey::Uid(it), outcome)| {
                    *it == uid && !matches!(outcome, Outcome::Suspect { .. })
                })
        };
        let lost = there
            .chain(listed)
            .filter(|uid| !cursor.is_above(*uid) && cursor.floor.is_none_or(|floor| *uid > floor))
            .find(|uid| !has_outcome(*uid) && !cursor.gaps.contains(uid));
        if let Some(uid) = lost {
            self.violate(format!("the cursor passes UID {uid} without an outcome"));
        }
    }

    /// All is calm: every message has its outcome, and none is owed one.
    pub(crate) fn check_end(&mut self) {
        let Some(cursor) = self.store.cursor.clone() else {
            self.violate("no cursor at the end".to_owned());
            return;
        };
        let folder = self.server.current();
        let seen = self.seen.epochs.get(&cursor.epoch).copied();
        self.demand(seen == Some(folder), || {
            "the end looks at a folder that is gone".to_owned()
        });
        let uids: Vec<u32> = self.server.folders[folder].mails.keys().copied().collect();
        for uid in uids.into_iter().filter_map(Uid::new) {
            let below = cursor.floor.is_some_and(|floor| uid <= floor);
            let missing = self.seen.missing_rows.contains(&(cursor.epoch, uid));
            let taken = self.store.row(uid).is_some();
            let open = cursor.gaps.contains(&uid);
            self.demand(taken || below || missing || open, || {
                format!("UID {uid} is lost")
            });
        }
        // One without tries above the cursor goes with the next commit.
        let owed = |(uid, tries): &(&Uid, &u8)| {
            (**tries > 0 || !cursor.is_above(**uid)) && !cursor.gaps.contains(uid)
        };
        let suspects = self.store.suspects.iter().filter(owed).count();
        self.demand(suspects == 0, || format!("{suspects} suspects are left"));
    }

    /// Gaps that have to close before all is at rest. Where the clock was wrong by days at first
    /// sight, all mail may be skipped; then nothing is read beside what the server refuses.
    pub(crate) fn owed_gaps(&self, calm_since: u64) -> usize {
        let Some(cursor) = self.store.cursor.as_ref() else {
            return 0;
        };
        let is_hopeless = |uid: &Uid| {
            let mail = self.mail(cursor.epoch, *uid);
            let refused = mail.is_some_and(|mail| mail.nature == Nature::Refused);
            let room = cursor.gaps.len() < self.policy.gaps_max;
            refused && room && self.dials.wild_clock && self.mono > calm_since + 86_400_000
        };
        cursor.gaps.iter().filter(|uid| !is_hopeless(uid)).count()
    }

    pub(crate) fn true_time(&self) -> Wall {
        Wall(self.time)
    }
}

/// The operator's word covers this UID.
fn spoken(released: &Option<Released>, uid: Uid) -> bool {
    released.is_some_and(|word| word.until.is_some_and(|until| uid <= until))
}
