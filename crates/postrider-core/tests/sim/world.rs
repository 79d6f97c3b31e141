//! The world of one seed: a shell that performs the watch's effects on the model server and the
//! model store, and all that can happen meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use postrider_core::{
    backoff::{Backoff, Chance},
    cursor::Epoch,
    fingerprint::Fingerprint,
    ids::Uid,
    time::{Monotonic, Now, Wall},
    watch::*,
};

use crate::{
    dials::Dials,
    rng::Rng,
    server::{Mail, Nature, Server, days},
    store::Store,
};

/// When every world begins.
pub(crate) const BEGIN: i64 = 1_700_000_000_000;

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) dials: Dials,
    pub(crate) policy: Arc<Policy>,
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) watch: Watch,
    pub(crate) mono: u64,
    /// True time; the server's clock.
    pub(crate) time: i64,
    pub(crate) wall_offset: i64,
    /// Which numbering the open session looks at.
    pub(crate) session: Option<usize>,
    pub(crate) facts: HashMap<Uid, Facts>,
    /// Read in full by this process since the last survey.
    pub(crate) bodies: BTreeMap<Uid, u64>,
    pub(crate) seen: Seen,
    pub(crate) tally: Tally,
    pub(crate) trace: Option<Vec<String>>,
    /// The first broken rule.
    pub(crate) wrong: Option<String>,
    disk_full_until: Option<u64>,
    unclean: bool,
}

/// What the checks remember.
#[derive(Default)]
pub(crate) struct Seen {
    /// The last complete survey, as long as nothing happened that makes it stale.
    pub(crate) survey: Option<Vec<Uid>>,
    /// The last complete survey at all.
    pub(crate) listed: Vec<Uid>,
    /// Which numbering an epoch was surveyed in.
    pub(crate) epochs: BTreeMap<Epoch, usize>,
    /// Suspects whose reading, counted in the store, has not ended yet.
    pub(crate) marked: BTreeSet<Uid>,
    /// The one whose strike was stored right before its reading.
    pub(crate) armed: Option<Uid>,
    /// Readings alone that ended the connection or the process.
    pub(crate) strikes: BTreeMap<(Epoch, Uid), u8>,
    /// A process that began uncleanly has not waited yet.
    pub(crate) cautious: bool,
    /// The last effect was answered by an open folder.
    pub(crate) just_opened: bool,
    pub(crate) anchor_faults: u8,
    /// How often a UID was spoilt, alone or not: bounded, so that no readable message is condemned.
    pub(crate) spoilt: BTreeMap<(Epoch, Uid), u8>,
    /// Old unknown mail that was sent in an epoch without an operator's word.
    pub(crate) flood: BTreeMap<Epoch, u32>,
    /// Events by fingerprint, and how many there may be: as many as messages came with it.
    pub(crate) events: HashMap<Fingerprint, u32>,
    pub(crate) allowed: HashMap<Fingerprint, u32>,
    /// Rows that were taken out of the ledger, for the audit to find.
    pub(crate) missing_rows: BTreeSet<(Epoch, Uid)>,
    /// Everything that a survey listed above the cursor.
    pub(crate) surveyed: BTreeSet<(Epoch, Uid)>,
    /// Something was read since the last survey.
    pub(crate) read_since: bool,
    /// Gaps of an epoch were closed: the next commit has to begin another.
    pub(crate) closing: bool,
    /// UIDs were given out again, and the watch has not seen it.
    pub(crate) rolled_back: bool,
}

/// What happened in a run, to know that the seeds reach everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// What an effect came to.
pub(crate) enum Happening {
    Input(Input),
    /// The process is killed.
    Crash,
    Finished,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let dials = Dials::draw(&mut rng);
        let policy = Arc::new(policy(&mut rng));
        let validity = u32::try_from(rng.range(1, 20)).unwrap();
        let server = Server::new(rng.chance(0.8), validity);
        let mut world = Self {
            watch: Watch::new(Arc::clone(&policy)),
            rng,
            dials,
            policy,
            server,
            store: Store::default(),
            mono: 1_000_000,
            time: BEGIN,
            wall_offset: 0,
            session: None,
            facts: HashMap::new(),
            bodies: BTreeMap::new(),
            seen: Seen::default(),
            tally: Tally::default(),
            trace: trace.then(Vec::new),
            wrong: None,
            disk_full_until: None,
            unclean: false,
        };
        for _ in 0..world.rng.range(0, 6) {
            let date = Wall(world.time) - days(world.rng.range(1, 60));
            let nature = world.nature();
            let mut mail = world.server.mail(date, nature);
            mail.before_start = true;
            world.append(mail);
        }
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            monotonic: Monotonic(self.mono),
            wall: Wall(self.time + self.wall_offset),
        }
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let at = self.mono;
        if let Some(trace) = self.trace.as_mut() {
            trace.push(format!("{:>12.3}  {}", at as f64 / 1000.0, line()));
        }
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        self.mono += millis;
        self.time += i64::try_from(millis).unwrap();
    }

    fn pass_some(&mut self, from_ms: u64, to_ms: u64) {
        let millis = self.rng.range(from_ms, to_ms);
        self.pass(Duration::from_millis(millis));
    }

    pub(crate) fn append(&mut self, mail: Mail) {
        *self.seen.allowed.entry(mail.facts.fingerprint).or_default() += 1;
        self.server.append(mail);
    }

    pub(crate) fn full_until(&mut self, length: u64) {
        self.disk_full_until = Some(self.mono + length);
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.store.cursor.as_ref().map(|cursor| cursor.epoch)
    }

    /// Feeds the watch, and gets the next effect.
    pub(crate) fn step(&mut self, input: Input) -> Effect {
        let chance = Chance(self.rng.unit());
        self.say(|| format!("  <- {}", short(&input)));
        match &input {
            Input::Surveyed(survey) => {
                self.seen.survey = Some(survey.uids.clone());
                self.seen.listed.clone_from(&survey.uids);
                self.seen.read_since = false;
                self.seen.cautious &= !survey.uids.is_empty();
            }
            // A NO to a read takes nothing away from the survey before it.
            Input::Failed(Failure::Refused) => {}
            Input::Opened(_) | Input::Woken(_) | Input::Failed(_) | Input::Closed => {
                self.seen.survey = None;
            }
            Input::Start(_) | Input::Recalled(_) | Input::Read(_) | Input::Committed => {}
        }
        let effect = self.watch.step(input, self.now(), chance);
        self.say(|| format!("{}", short(&effect)));
        effect
    }

    /// A new process finds what is stored.
    pub(crate) fn start(&mut self) -> Effect {
        self.watch = Watch::new(Arc::clone(&self.policy));
        self.session = None;
        self.facts.clear();
        self.bodies.clear();
        self.seen.just_opened = false;
        self.seen.survey = None;
        self.seen.closing = false;
        self.seen.armed = None;
        self.seen.cautious = self.unclean;
        let stored = self.store.stored(self.unclean);
        self.step(Input::Start(Box::new(stored)))
    }

    /// The process is gone; its successor comes up a little later.
    pub(crate) fn crash(&mut self, tidy: bool) -> Effect {
        self.unclean = !tidy;
        self.say(|| {
            format!(
                "---- the process {}",
                if tidy { "stops" } else { "is killed" }
            )
        });
        if !tidy {
            self.tally.add("crash");
        }
        // The store cannot know whether a reading that it was told of has ended.
        if let Some(epoch) = self.epoch() {
            for uid in std::mem::take(&mut self.seen.marked) {
                *self.seen.strikes.entry((epoch, uid)).or_default() += 1;
            }
        }
        let down = if self.rng.chance(0.05) {
            self.tally.add("down for days");
            self.rng.range(1, 48) * 3_600_000
        } else {
            self.rng.range(10, 60_000)
        };
        self.pass(Duration::from_millis(down));
        self.meddle();
        self.meddle_with_store();
        self.start()
    }

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
        *count <= 3
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

fn policy(rng: &mut Rng) -> Policy {
    let start = match rng.range(0, 4) {
        0 => Start::All,
        1 => Start::Since(Wall(BEGIN) - days(rng.range(0, 30))),
        _ => Start::New,
    };
    Policy {
        start,
        cycle: Duration::from_secs(rng.range(30, 300)),
        examine_every: Duration::from_secs(rng.range(100, 1_800)),
        batch_max: usize::try_from(rng.range(1, 10)).unwrap(),
        gaps_max: usize::try_from(rng.range(1, 8)).unwrap(),
        flood_limit: u32::try_from(rng.range(0, 6)).unwrap(),
        flood_age: days(1),
        suspect_tries_max: 3,
        backoff: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            stable: Duration::from_secs(30),
        },
        standby_lead_max: Duration::from_secs(300),
    }
}

/// A line of the trace.
fn short(value: &impl std::fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if text.len() > 700 {
        let cut = (0..=700)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
