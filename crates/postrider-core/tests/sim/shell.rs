//! The shell of the world: it performs the watch's effects on the model server and the model
//! store, with the faults that the dials allow.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use postrider_core::{
    ids::Uid,
    time::{Monotonic, Wall},
    watch::*,
};

use crate::{
    server::{Nature, days},
    world::{Happening, World},
};

impl World {
    /// Performs an effect, or whatever comes between.
    pub(crate) fn perform(&mut self, effect: Effect) -> Happening {
        self.pass_some(1, 40);
        self.meddle();
        if self.rng.chance(self.dials.crash) {
            return Happening::Crash;
        }
        let happening = self.act(effect);
        if self.rng.chance(self.dials.crash) {
            return Happening::Crash;
        }
        happening
    }

    fn act(&mut self, effect: Effect) -> Happening {
        let just_opened = std::mem::replace(&mut self.seen.just_opened, false);
        self.check_effect(&effect);
        let input = match effect {
            Effect::Pause { until, why } => return self.act_pause(until, why),
            Effect::Wait { until, standby_at } => self.act_wait(until, standby_at),
            Effect::Open => self.act_open(),
            Effect::Adopt => self.act_adopt(),
            Effect::Examine => self.act_examine(),
            Effect::Survey { after } => self.act_survey(&after),
            Effect::Recall(asked) => match self.rng.chance(self.dials.store) {
                true => Input::Failed(Failure::Store),
                false => Input::Recalled(self.store.recall(&asked)),
            },
            Effect::Read { items, part } => {
                let anchor = just_opened && part == Part::Facts;
                return self.act_read(&items, part, anchor);
            }
            Effect::Commit(entry) => self.act_commit(&entry),
            Effect::Close => {
                self.session = None;
                Input::Closed
            }
            Effect::Finish => return Happening::Finished,
        };
        if matches!(input, Input::Opened(_)) {
            self.seen.just_opened = true;
        }
        // Commits between an open folder and its anchor do not end "just opened".
        if matches!(input, Input::Committed) {
            self.seen.just_opened = just_opened;
        }
        Happening::Input(input)
    }

    fn act_commit(&mut self, entry: &Entry) -> Input {
        if self.disk_full_until.is_some_and(|until| self.mono < until) {
            self.tally.add("disk full");
            return Input::Failed(Failure::StoreFull);
        }
        if self.rng.chance(self.dials.store) {
            return Input::Failed(Failure::Store);
        }
        let now = self.now().wall;
        self.note_commit(entry);
        let facts = std::mem::take(&mut self.facts);
        let stored = self.store.commit(entry, &facts, now);
        self.facts = facts;
        if let Err(wrong) = stored {
            self.violate(wrong);
        }
        Input::Committed
    }

    /// A fault of the session, if one comes now.
    fn session_fault(&mut self) -> Option<Failure> {
        if self.session.is_none() || self.rng.chance(self.dials.cut) {
            self.session = None;
            self.tally.add("connection lost");
            return Some(Failure::Connection);
        }
        if self.rng.chance(self.dials.expire) {
            self.session = None;
            self.tally.add("token expired");
            return Some(Failure::TokenExpired);
        }
        if self.rng.chance(self.dials.throttle) {
            self.tally.add("throttled");
            let retry_after = self.rng.chance(0.5).then_some(Duration::from_secs(90));
            return Some(Failure::Throttled { retry_after });
        }
        None
    }

    fn act_open(&mut self) -> Input {
        let fault = self.rng.chance(self.dials.login).then(|| {
            let retry_after = Some(Duration::from_secs(self.rng.range(1, 100)));
            match self.rng.range(0, 6) {
                0 => Failure::LoginRefused,
                1 => Failure::CredentialRefused,
                2 => Failure::CredentialUnavailable { retry_after },
                3 => Failure::Throttled { retry_after: None },
                4 => Failure::ConnectionLimit,
                5 => Failure::FolderMissing,
                _ => Failure::Connection,
            }
        });
        if let Some(fault) = fault {
            self.tally.add("login failed");
            return Input::Failed(fault);
        }
        self.session = Some(self.server.current());
        self.select()
    }

    fn act_adopt(&mut self) -> Input {
        self.session = Some(self.server.current());
        self.tally.add("adopted");
        if let Some(fault) = self.session_fault() {
            return Input::Failed(fault);
        }
        self.select()
    }

    /// EXAMINE shows what is there now, also to a session that looked at something else.
    fn act_examine(&mut self) -> Input {
        if let Some(fault) = self.session_fault() {
            return Input::Failed(fault);
        }
        if self.rng.chance(self.dials.refuse) {
            return Input::Failed(Failure::Refused);
        }
        self.session = Some(self.server.current());
        self.select()
    }

    fn select(&mut self) -> Input {
        let folder = self.server.current();
        let mut selected = self.server.selected(folder);
        if self.rng.chance(0.3) {
            let life = Duration::from_secs(self.rng.range(1, 3_600));
            selected.session_ends = Some(Monotonic(self.mono) + life);
        }
        Input::Opened(selected)
    }

    fn act_survey(&mut self, after: &postrider_core::cursor::Cursor) -> Input {
        if let Some(fault) = self.session_fault() {
            return Input::Failed(fault);
        }
        if self.rng.chance(self.dials.refuse) {
            self.tally.add("survey refused");
            return Input::Failed(Failure::Refused);
        }
        let Some(folder) = self.session else {
            return Input::Failed(Failure::Connection);
        };
        self.note_survey(after.epoch, folder);
        let uids: Vec<Uid> = self.server.folders[folder]
            .mails
            .keys()
            .filter_map(|uid| Uid::new(*uid))
            .filter(|uid| after.is_above(*uid) || after.gaps.contains(uid))
            .collect();
        // What an earlier survey listed, nothing was stored of, and is gone now, is forgotten.
        self.seen
            .surveyed
            .retain(|(epoch, uid)| *epoch == after.epoch && !after.is_above(*uid));
        self.seen
            .surveyed
            .extend(uids.iter().map(|uid| (after.epoch, *uid)));
        Input::Surveyed(Survey { uids })
    }

    /// Whether a fault may spoil the reading of a UID; each can be spoilt so often only.
    fn spoil(&mut self, uid: Uid, anchor: bool) -> bool {
        if !self.rng.chance(self.dials.spoil) {
            return false;
        }
        if anchor {
            self.seen.anchor_faults += 1;
            return self.seen.anchor_faults <= 2;
        }
        let Some(epoch) = self.epoch() else {
            return false;
        };
        let count = self.seen.spoilt.entry((epoch, uid)).or_default();
        *count += 1;
        *count <= 2
    }

    fn act_read(&mut self, items: &[ItemKey], part: Part, anchor: bool) -> Happening {
        let uids: Vec<Uid> = items.iter().map(|ItemKey::Uid(uid)| *uid).collect();
        self.check_read(&uids, part, anchor);
        if !(anchor && self.seen.anchor_faults >= 2) {
            if let Some(fault) = self.session_fault() {
                if anchor {
                    self.seen.anchor_faults += 1;
                    self.seen.just_opened = false;
                }
                self.note_read_failed(&uids, &fault);
                return Happening::Input(Input::Failed(fault));
            }
            if self.rng.chance(self.dials.refuse) && uids.iter().all(|uid| self.spoil(*uid, anchor))
            {
                self.tally.add("read refused");
                self.seen.just_opened = anchor;
                return Happening::Input(Input::Failed(Failure::Refused));
            }
        }
        if part == Part::Whole && self.mono < self.bodies_down_until {
            self.tally.add("bodies refused");
            return Happening::Input(Input::Failed(Failure::Refused));
        }
        let Some(folder) = self.session else {
            return Happening::Input(Input::Failed(Failure::Connection));
        };
        let natures = uids.iter().filter_map(|uid| {
            let mail = self.server.folders[folder].mails.get(&uid.get())?;
            (part == Part::Whole || self.dials.facts_bite).then_some(mail.nature)
        });
        let natures: BTreeSet<&str> = natures.map(bite).collect();
        if natures.contains("kills") {
            self.tally.add("killed by a message");
            return Happening::Crash;
        }
        if natures.contains("cuts") {
            self.tally.add("cut by a message");
            self.session = None;
            self.note_read_failed(&uids, &Failure::Connection);
            return Happening::Input(Input::Failed(Failure::Connection));
        }
        if natures.contains("refused") {
            return Happening::Input(Input::Failed(Failure::Refused));
        }
        let answers: Vec<Answer> = uids
            .iter()
            .map(|uid| Answer {
                key: ItemKey::Uid(*uid),
                reply: self.reply(folder, *uid, part, anchor, uids.len()),
            })
            .collect();
        if anchor {
            let is_answered = answers
                .iter()
                .all(|answer| matches!(answer.reply, Reply::Whole(_) | Reply::Empty(_)));
            if is_answered {
                self.seen.anchor_faults = 0;
            }
            self.seen.just_opened = !is_answered;
        }
        Happening::Input(Input::Read(answers))
    }

    fn reply(&mut self, folder: usize, uid: Uid, part: Part, anchor: bool, count: usize) -> Reply {
        let Some(mail) = self.server.folders[folder].mails.get(&uid.get()).cloned() else {
            self.tally.add("expunged before it was read");
            return Reply::Missing;
        };
        match mail.nature {
            Nature::Unreadable if part == Part::Whole => return Reply::Unreadable,
            Nature::Empty if part == Part::Whole => {
                self.facts.insert(uid, mail.facts);
                return Reply::Empty(mail.facts);
            }
            Nature::Good
            | Nature::Poison
            | Nature::Killer
            | Nature::Empty
            | Nature::Unreadable
            | Nature::Refused => {}
        }
        if self.spoil(uid, anchor) {
            self.tally.add("answer spoilt");
            // Alone, only what is not final: a replica that lags.
            match self.rng.range(0, if count > 1 { 2 } else { 0 }) {
                0 => return Reply::Missing,
                1 => return Reply::Unreadable,
                _ if part == Part::Whole => return Reply::Empty(mail.facts),
                _ => return Reply::Unreadable,
            }
        }
        self.facts.insert(uid, mail.facts);
        if part == Part::Whole {
            self.bodies.insert(uid, mail.id);
        }
        Reply::Whole(mail.facts)
    }

    fn act_pause(&mut self, until: Option<Monotonic>, why: PauseReason) -> Happening {
        self.check_pause(why);
        if self.rng.chance(self.dials.order) && why != PauseReason::Held {
            let order = match self.rng.range(0, 3) {
                0 => Order::Resync,
                1 => self.reconfigured(),
                2 => Order::Stop,
                _ => Order::Resume,
            };
            if order == Order::Resume {
                self.store.paused = false;
            }
            return Happening::Input(Input::Woken(Wake::Order(order)));
        }
        match why {
            PauseReason::Paused => {
                self.pass_some(1_000, 4_000_000);
                self.store.paused = false;
                Happening::Input(Input::Woken(Wake::Order(Order::Resume)))
            }
            PauseReason::Held => {
                self.pass_some(1_000, 4_000_000);
                let order = self.release();
                Happening::Input(Input::Woken(Wake::Order(order)))
            }
            PauseReason::Backoff
            | PauseReason::LoginRefused
            | PauseReason::Throttled
            | PauseReason::FolderMissing
            | PauseReason::StoreFull => {
                let until = until.map_or(self.mono, |until| until.0);
                self.pass(Duration::from_millis(until.saturating_sub(self.mono)));
                Happening::Input(Input::Woken(Wake::Elapsed))
            }
        }
    }

    fn reconfigured(&mut self) -> Order {
        let batch_max = usize::try_from(self.rng.range(1, 8)).unwrap();
        self.policy = Arc::new(Policy {
            batch_max,
            ..Policy::clone(&self.policy)
        });
        Order::Reconfigure(Arc::clone(&self.policy))
    }

    /// The operator looks at a hold.
    fn release(&mut self) -> Order {
        let hold = self.store.hold.as_ref();
        let account =
            hold.is_none_or(|hold| hold.why == HoldReason::AccountChanged && hold.messages == 0);
        if account {
            self.store.account_changed = false;
            if self.rng.chance(0.6) {
                self.tally.add("adopted an account");
                return Order::Adopt;
            }
        }
        let release = match self.rng.range(0, 2) {
            0 => Release::Send,
            1 => Release::Skip,
            _ => Release::Since(Wall(self.time) - days(self.rng.range(0, 20))),
        };
        if account && release == Release::Skip {
            self.tally.add("a new account");
            // Its mail is new mail, even if it happens to be the same.
            for mail in self.server.folder().mails.values() {
                *self.seen.allowed.entry(mail.facts.fingerprint).or_default() += 1;
            }
        }
        self.tally.add("released");
        Order::Release(release)
    }

    fn act_wait(&mut self, until: Monotonic, standby_at: Option<Monotonic>) -> Input {
        self.check_wait(until);
        self.tally.add("waited");
        let cursor = self.store.cursor.as_ref();
        let above = |uid: &Uid| cursor.is_some_and(|cursor| cursor.is_above(*uid));
        self.seen.cautious &= self.seen.listed.iter().any(above);
        let length = until.0.saturating_sub(self.mono);
        let part = Duration::from_millis(self.rng.range(0, length));
        if let Some(at) = standby_at.filter(|at| *at < until && self.rng.chance(0.7)) {
            self.pass(at - Monotonic(self.mono));
            return Input::Woken(match self.rng.chance(0.3) {
                true => Wake::StandbyFailed(Failure::Connection),
                false => Wake::StandbyReady,
            });
        }
        if self.rng.chance(self.dials.order) {
            self.pass(part);
            let order = self.order();
            return Input::Woken(Wake::Order(order));
        }
        if self.rng.chance(self.dials.cut + self.dials.expire) {
            self.pass(part);
            self.session = None;
            return Input::Failed(match self.rng.chance(0.5) {
                true => Failure::Connection,
                false => Failure::TokenExpired,
            });
        }
        // A few arrivals while waiting; the server may or may not announce them.
        if self.rng.chance(self.dials.arrive) {
            self.pass(part);
            self.arrive();
            let is_fresh = self.session == Some(self.server.current());
            if is_fresh && self.rng.chance(0.8) {
                return Input::Woken(Wake::Changed);
            }
        }
        self.pass(Duration::from_millis(until.0.saturating_sub(self.mono)));
        Input::Woken(Wake::Elapsed)
    }

    fn order(&mut self) -> Order {
        match self.rng.range(0, 4) {
            0 => {
                self.store.paused = true;
                Order::Pause
            }
            1 => Order::Resync,
            2 => self.reconfigured(),
            3 => self.audit(),
            _ => Order::Stop,
        }
    }
}

fn bite(nature: Nature) -> &'static str {
    match nature {
        Nature::Killer => "kills",
        Nature::Poison => "cuts",
        Nature::Refused => "refused",
        Nature::Good | Nature::Empty | Nature::Unreadable => "harmless",
    }
}
