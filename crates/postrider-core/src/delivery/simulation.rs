//! Random weeks of an endpoint's life, by seed: whatever the outages, nothing ends but what is
//! wrong itself, and what waits goes out soon after each recovery.
//!
//! One seed again: `SEED=7 cargo test -p postrider-core delivery::simulation`.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    Attempt, Failure, RetryAfter, RetryPolicy,
    health::{Allowed, Change, DeadReason, EndpointHealth, Owed, State, Verdict},
};
use crate::{
    backoff::Chance,
    time::{Monotonic, Now, Wall},
};

const HOUR: u64 = 3_600_000;

struct Pending {
    owed: Owed,
    due: u64,
    poison: Option<Attempt>,
    created: u64,
}

/// A stretch of time in which the endpoint answers everything alike, or is well.
struct Phase {
    until: u64,
    outage: Option<Attempt>,
}

struct World {
    rng: StdRng,
    health: EndpointHealth,
    /// Milliseconds.
    now: u64,
    pending: BTreeMap<i64, Pending>,
    next_delivery: i64,
    phases: Vec<Phase>,
    delivered: u64,
    dead: Vec<(i64, DeadReason, u64)>,
    recovered_at: u64,
    /// How many at once while recovering, as it grew.
    ramp: Vec<u32>,
    wall_offset: i64,
}

fn answered(status: u16) -> Attempt {
    Attempt::answered(status, RetryAfter::Absent)
}

const OUTAGES: [Attempt; 8] = [
    Attempt::Failed(Failure::Connect),
    Attempt::Failed(Failure::Dns),
    Attempt::Failed(Failure::Timeout),
    Attempt::Failed(Failure::ResetAfter),
    Attempt::answered(500, RetryAfter::Absent),
    Attempt::answered(404, RetryAfter::Absent),
    Attempt::answered(422, RetryAfter::Absent),
    Attempt::answered(429, RetryAfter::Seconds(20)),
];

impl World {
    fn new(seed: u64, days: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut phases = Vec::new();
        let mut at = 0;
        while at < days * 24 * HOUR {
            at += rng.random_range(HOUR / 4..12 * HOUR);
            phases.push(Phase {
                until: at,
                outage: None,
            });
            // From a blink to days.
            at += 1000 * 2u64.pow(rng.random_range(0..17)) + rng.random_range(0..60_000);
            phases.push(Phase {
                until: at,
                outage: Some(OUTAGES[rng.random_range(0..OUTAGES.len())]),
            });
        }
        phases.push(Phase {
            until: u64::MAX,
            outage: None,
        });
        Self {
            health: EndpointHealth::new(RetryPolicy::default(), rng.random_range(1..20)),
            rng,
            now: 0,
            pending: BTreeMap::new(),
            next_delivery: 1,
            phases,
            delivered: 0,
            dead: Vec::new(),
            recovered_at: 0,
            ramp: Vec::new(),
            wall_offset: 1_790_000_000_000,
        }
    }

    fn clock(&self) -> Now {
        Now {
            monotonic: Monotonic(self.now),
            wall: Wall(self.wall_offset + i64::try_from(self.now).unwrap()),
        }
    }

    fn mail(&mut self, poison: Option<Attempt>) {
        let delivery = self.next_delivery;
        self.next_delivery += 1;
        let owed = Owed {
            delivery,
            refusals: 0,
            refused_since: None,
            own_time: Duration::ZERO,
        };
        self.pending.insert(
            delivery,
            Pending {
                owed,
                due: self.now,
                poison,
                created: self.now,
            },
        );
    }

    fn outage(&mut self) -> Option<Attempt> {
        while self.phases[0].until <= self.now {
            if self.phases.remove(0).outage.is_some() {
                self.recovered_at = self.now;
            }
        }
        self.phases[0].outage
    }

    fn earliest_due(&self) -> Option<(u64, i64)> {
        self.pending
            .iter()
            .map(|(delivery, pending)| (pending.due, *delivery))
            .min()
    }

    /// One attempt, if one is allowed and due.
    fn attempt(&mut self) -> bool {
        let Allowed::Now(1..) = self.health.allowed(Monotonic(self.now), 0) else {
            return false;
        };
        let Some((due, delivery)) = self.earliest_due() else {
            return false;
        };
        if due > self.now {
            return false;
        }
        let outage = self.outage();
        let pending = self.pending.get_mut(&delivery).unwrap();
        let outcome = outage.or(pending.poison).unwrap_or(answered(202));
        self.health.started(delivery);
        let chance = Chance(self.rng.random());
        let now = Now {
            monotonic: Monotonic(self.now),
            wall: Wall(self.wall_offset + i64::try_from(self.now).unwrap()),
        };
        let judged = self.health.judge(&pending.owed, outcome, now, chance);
        if let State::HalfOpen { limit, .. } = self.health.state()
            && self.ramp.last() != Some(&limit)
        {
            self.ramp.push(limit);
        }
        match judged.verdict {
            Verdict::Delivered => {
                self.pending.remove(&delivery);
                self.delivered += 1;
            }
            Verdict::Retry {
                wait,
                refusals,
                refused_since,
                own_time,
                aside: _,
            } => {
                pending.owed = Owed {
                    delivery,
                    refusals,
                    refused_since,
                    own_time,
                };
                pending.due = self.now + u64::try_from(wait.as_millis()).unwrap();
            }
            Verdict::Dead(reason) => {
                let gone = self.pending.remove(&delivery).unwrap();
                assert!(
                    gone.poison.is_some(),
                    "a good event died of {reason:?} at {}",
                    self.now
                );
                assert!(outage.is_none(), "an event died in an outage");
                self.dead.push((delivery, reason, self.now - gone.created));
            }
        }
        if judged.change == Some(Change::Recovering) {
            for pending in self.pending.values_mut() {
                pending.due = pending.due.min(self.now);
            }
        }
        true
    }

    /// Everything that can happen at this moment happens.
    fn settle(&mut self) {
        while self.attempt() {
            self.now += 1;
        }
        let waiting = self.earliest_due().is_some_and(|(due, _)| due <= self.now);
        if !waiting {
            self.health.drained(self.clock());
        }
    }

    /// The next moment at which something can happen, `until` at the latest.
    fn advance(&mut self, until: u64) {
        let due = self.earliest_due().map(|(due, _)| due);
        let next = match (self.health.allowed(Monotonic(self.now), 0), due) {
            (Allowed::ProbeAt(at), Some(due)) => at.0.max(due),
            (Allowed::Now(_) | Allowed::Probing, Some(due)) => due,
            (_, None) => until,
        };
        self.now = next.clamp(self.now + 1, until.max(self.now + 1));
    }

    fn good_waiting(&self) -> usize {
        self.pending
            .values()
            .filter(|pending| pending.poison.is_none())
            .count()
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => vec![seed],
        None => (0..10).collect(),
    }
}

fn live(
    world: &mut World,
    days: u64,
    mail_every: u64,
    mut poison: impl FnMut(&mut StdRng) -> Option<Attempt>,
) {
    let end = days * 24 * HOUR;
    while world.now < end {
        let next_mail = world.now + world.rng.random_range(1..2 * mail_every);
        while world.now < next_mail {
            world.settle();
            if world.outage().is_none()
                && world.now > world.recovered_at + 40_000
                && world.recovered_at > 0
            {
                let late = world
                    .pending
                    .values()
                    .filter(|one| one.poison.is_none() && one.created < world.recovered_at)
                    .count();
                assert_eq!(
                    late, 0,
                    "not delivered 40 s after the recovery at {}",
                    world.recovered_at
                );
            }
            world.advance(next_mail);
        }
        let poison = poison(&mut world.rng);
        world.mail(poison);
    }
}

#[test]
fn no_outage_however_long_ends_an_event_and_all_is_delivered_soon_after_it() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut world = World::new(seed, 20);
        live(&mut world, 20, 300_000, |_| None);
        assert!(world.dead.is_empty());
        assert!(world.delivered > 1000);
    }
}

/// An hour in which all is well, then this, then all is well again, with mail all the while.
fn through(outage: Attempt, lasts: u64, mail_every: u64) -> World {
    let mut world = World::new(3, 0);
    world.health = EndpointHealth::new(RetryPolicy::default(), 16);
    let phase = |until, outage| Phase { until, outage };
    world.phases = vec![
        phase(HOUR, None),
        phase(HOUR + lasts, Some(outage)),
        phase(u64::MAX, None),
    ];
    while world.now < HOUR + lasts {
        world.mail(None);
        let next_mail = world.now + mail_every;
        while world.now < next_mail {
            world.settle();
            world.advance(next_mail);
        }
    }
    while !world.pending.is_empty() {
        let until = world.now + 1000;
        world.settle();
        world.advance(until);
    }
    world
}

fn assert_all_delivered_soon_after(world: &World, outage: Attempt, lasts: u64, mail_every: u64) {
    assert!(world.dead.is_empty(), "{outage:?}: {:?}", world.dead);
    let mails = (HOUR + lasts) / mail_every;
    assert!(world.delivered >= mails, "{outage:?}: {}", world.delivered);
    // The last probe is at most 15 s old; what waits goes at one per millisecond here.
    let late = world.now - HOUR - lasts;
    assert!(late < 40_000 + 2 * mails, "{outage:?}: {late} ms");
    assert_eq!(world.health.state(), State::Closed, "{outage:?}");
}

#[test]
fn an_outage_of_a_week_ends_with_everything_delivered_ramped_up_and_nothing_dead() {
    for outage in OUTAGES {
        let (week, mail_every) = (7 * 24 * HOUR, HOUR / 2);
        let world = through(outage, week, mail_every);
        assert_all_delivered_soon_after(&world, outage, week, mail_every);
        assert_eq!(world.ramp, [2, 4, 8, 16], "{outage:?}");
    }
}

#[test]
fn a_deploy_that_answers_404_for_an_hour_leaves_nothing_dead() {
    for status in [404, 401, 403, 405, 410, 302, 400, 500, 502, 503] {
        let (outage, mail_every) = (answered(status), HOUR / 60);
        let world = through(outage, HOUR, mail_every);
        assert_all_delivered_soon_after(&world, outage, HOUR, mail_every);
    }
}

#[test]
fn two_months_of_outage_end_nothing() {
    for outage in OUTAGES {
        let mut world = World::new(1, 0);
        world.phases = vec![
            Phase {
                until: 60 * 24 * HOUR,
                outage: Some(outage),
            },
            Phase {
                until: u64::MAX,
                outage: None,
            },
        ];
        for _ in 0..8 {
            world.mail(None);
        }
        world.settle();
        while !world.pending.is_empty() {
            world.advance(u64::MAX - 1);
            world.settle();
        }
        assert_eq!(world.delivered, 8);
        let late = world.now - 60 * 24 * HOUR;
        assert!(
            late < 25_000,
            "{outage:?}: the last one came {late} ms after the recovery"
        );
    }
}

#[test]
fn a_poisoned_event_ends_after_its_time_and_no_other_does() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut world = World::new(seed, 30);
        let mut count = 0;
        live(&mut world, 30, 300_000, |rng| {
            count += 1;
            let kinds = [
                answered(500),
                answered(422),
                answered(413),
                Attempt::Failed(Failure::ResetAfter),
                answered(403),
            ];
            (count % 2000 == 100).then(|| kinds[rng.random_range(0..kinds.len())])
        });
        assert!(
            !world.dead.is_empty(),
            "poison that was there for weeks is still tried"
        );
        for (delivery, reason, age) in &world.dead {
            let least = match reason {
                DeadReason::Refused => HOUR,
                DeadReason::GivenUp => 5 * 24 * HOUR,
                DeadReason::Aborted => unreachable!("no receiver of this world aborts"),
                DeadReason::Unfit => unreachable!("every format of this world carries every event"),
            };
            assert!(
                *age >= least,
                "delivery {delivery} ended of {reason:?} after {age} ms"
            );
        }
        let old = world
            .pending
            .values()
            .filter(|one| one.poison.is_some() && world.now - one.created > 25 * 24 * HOUR)
            .count();
        assert_eq!(old, 0, "poison must end while others are accepted");
    }
}

#[test]
fn good_mail_gets_through_beside_many_poisoned_events() {
    for seed in seeds() {
        let mut world = World::new(seed, 0);
        world.phases = vec![Phase {
            until: u64::MAX,
            outage: None,
        }];
        for status in [500, 422, 403, 404, 400, 503, 302, 413] {
            world.mail(Some(answered(status)));
        }
        live(&mut world, 2, 600_000, |_| None);
        for _ in 0..200 {
            world.settle();
            let until = world.now + 60_000;
            world.advance(until);
        }
        assert_eq!(world.good_waiting(), 0, "seed {seed}");
        assert!(world.delivered > 100);
        let state = world.health.state();
        assert!(matches!(
            state,
            State::Closed | State::Open { .. } | State::HalfOpen { .. }
        ));
    }
}
