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
    server::{Mail, Server, days},
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
    pub(crate) disk_full_until: Option<u64>,
    /// Until then the server has headers and no bodies.
    pub(crate) bodies_down_until: u64,
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
    /// Epochs whose gaps were closed.
    pub(crate) ended: BTreeSet<Epoch>,
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
            bodies_down_until: 0,
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

    pub(crate) fn pass_some(&mut self, from_ms: u64, to_ms: u64) {
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
        self.say(|| short(&effect));
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
