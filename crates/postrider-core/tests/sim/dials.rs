//! How bad the world of a seed is: each kind of fault is off in half of the seeds, so that
//! each is seen with and without the others.

use crate::rng::Rng;

#[derive(Clone, Debug, Default)]
pub(crate) struct Dials {
    pub(crate) crash: f64,
    pub(crate) cut: f64,
    pub(crate) expire: f64,
    pub(crate) throttle: f64,
    pub(crate) refuse: f64,
    /// The server refuses to give any body, for an hour at most.
    pub(crate) outage: f64,
    pub(crate) login: f64,
    pub(crate) store: f64,
    pub(crate) disk: f64,
    pub(crate) spoil: f64,
    pub(crate) order: f64,
    pub(crate) arrive: f64,
    pub(crate) expunge: f64,
    pub(crate) odd: f64,
    /// UIDVALIDITY changes, UIDs go back, accounts change, state is lost.
    pub(crate) breaks: f64,
    /// Wall-clock jumps of days; only where nothing breaks, because INTERNALDATE is held against
    /// that clock then.
    pub(crate) jumps: f64,
    pub(crate) wild_clock: bool,
    /// Odd messages bite already when only their headers are read.
    pub(crate) facts_bite: bool,
}

impl Dials {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut dial = |most: f64| {
            let share = rng.unit();
            if rng.chance(0.5) { share * most } else { 0.0 }
        };
        let mut dials = Self {
            crash: dial(0.03),
            cut: dial(0.08),
            expire: dial(0.03),
            throttle: dial(0.02),
            refuse: dial(0.15),
            outage: dial(0.01),
            login: dial(0.5),
            store: dial(0.04),
            disk: dial(0.02),
            spoil: dial(0.3),
            order: dial(0.15),
            arrive: 0.15,
            expunge: dial(0.08),
            odd: dial(0.2),
            breaks: dial(0.015),
            jumps: 0.0,
            wild_clock: false,
            facts_bite: false,
        };
        dials.arrive += dial(0.4);
        if dials.breaks == 0.0 {
            dials.jumps = dial(0.02);
        }
        dials.wild_clock = dials.jumps > 0.0;
        dials.facts_bite = rng.chance(0.5);
        dials
    }

    /// All is well from now on.
    pub(crate) fn calm(&self) -> Self {
        Self {
            wild_clock: self.wild_clock,
            facts_bite: self.facts_bite,
            ..Self::default()
        }
    }
}
