//! The watch against a model server and a model store, from seeds.
//!
//! Each seed is a world: mail comes and goes at every moment, connections, tokens and disks fail,
//! processes die between any two effects, folders are numbered anew. After every step the rules
//! of `check` are held against what was stored; at the end the world calms down, and every
//! message has to have its one outcome.
//!
//! A seed that fails is printed with the command that replays it with a trace:
//! `POSTRIDER_SEED=123 cargo nextest run -p postrider-core --test sim replay --no-capture`.
//! More seeds: `POSTRIDER_SIM_SEEDS=100000 cargo nextest run -p postrider-core --test sim seeds`.
//! Millions take longer than nextest allows: `POSTRIDER_SIM_SEEDS=2000000 cargo test -p postrider-core --test sim seeds_break`,
//! from `POSTRIDER_SIM_FROM` on.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, and most of their functions are no test functions"
)]

mod check;
mod continuity;
mod dials;
mod gate;
mod meddle;
mod rng;
mod sentences;
mod server;
mod shell;
mod store;
mod world;

use std::{env, thread};

use postrider_core::watch::Effect;

use crate::{
    server::Nature,
    world::{Happening, Tally, World},
};

/// Seeds that failed once, or that fail as soon as what is named beside them is taken away.
const REGRESSIONS: &[u64] = &[
    5,      // the gaps of an epoch that ends get their outcome
    6,      // a strike is stored before a suspect is read; a full set of gaps ends no caution
    10,     // the anchor is looked at
    13,     // a stored hold is not opened
    67,     // old mail is counted before any is sent
    125,    // a control message is read where no other is
    183,    // without UIDNEXT a lower highest UID is looked into
    200,    // a ledger entry matches once, also within a batch
    8_230,  // a message missing at the count is not sent beyond the limit
    37_711, // an epoch that has ended stays ended when the next one could not be stored
];

/// How many seeds a plain test run takes.
const SEEDS: u64 = 10_000;
/// Steps in which everything may happen.
const STORMY: u64 = 400;
/// Steps in which a calm world must have come to rest.
const CALM: u64 = 100_000;

/// What the seeds must have come across, or they prove nothing.
const REACHED: &[&str] = &[
    "a copy arrived",
    "a new account",
    "account changed",
    "adopted",
    "adopted an account",
    "answer spoilt",
    "audited",
    "bodies refused",
    "connection lost",
    "continuity broken",
    "crash",
    "cut by a message",
    "disk full",
    "down for days",
    "event",
    "expunged before it was read",
    "held",
    "killed by a message",
    "known",
    "login failed",
    "quarantined: no body",
    "quarantined: poison",
    "quarantined: unparseable",
    "read refused",
    "released",
    "skipped: before the start",
    "skipped: held",
    "state lost",
    "survey refused",
    "throttled",
    "token expired",
    "UIDs went back",
    "UIDVALIDITY changed",
    "vanished",
    "waited",
    "wall clock jumped",
];

struct Run {
    wrong: Option<String>,
    tally: Tally,
    trace: Vec<String>,
}

/// Runs one seed to its end or to the first broken rule.
fn run(seed: u64, trace: bool) -> Run {
    let mut world = World::new(seed, trace);
    let mut effect = world.start();
    let steps = world.rng.range(20, STORMY);
    for _ in 0..steps {
        effect = turn(&mut world, effect);
        if world.wrong.is_some() {
            break;
        }
    }
    if world.wrong.is_none() {
        calm_down(&mut world, effect);
    }
    Run {
        wrong: world.wrong,
        tally: world.tally,
        trace: world.trace.unwrap_or_default(),
    }
}

fn turn(world: &mut World, effect: Effect) -> Effect {
    match world.perform(effect) {
        Happening::Input(input) => world.step(input),
        Happening::Crash => world.crash(false),
        Happening::Finished => world.crash(true),
    }
}

/// No more faults: the watch has to come to rest with everything taken.
fn calm_down(world: &mut World, mut effect: Effect) {
    world.say(|| "==== calm".to_owned());
    world.dials = world.dials.calm();
    world.full_until(0);
    world.bodies_down_until = 0;
    let since = world.mono;
    let long = u64::try_from(world.policy.examine_every.as_millis()).unwrap();
    for _ in 0..CALM {
        if let Effect::Wait { .. } = effect {
            let gaps = world.owed_gaps(since);
            let examined = world.mono > since + 2 * long;
            let is_current = world.session == Some(world.server.current());
            if gaps == 0 && examined && is_current {
                let seen = world.true_time();
                world.say(|| format!("==== at rest at {}", seen.rfc3339()));
                world.check_end();
                return;
            }
            // A message that the server refuses is condemned only beside one that it gives.
            let mail = world.server.mail(world.true_time(), Nature::Good);
            if gaps > 0 {
                world.append(mail);
            }
        }
        effect = turn(world, effect);
        if world.wrong.is_some() {
            return;
        }
    }
    world.violate("it does not come to rest".to_owned());
}

fn report(seed: u64, wrong: &str) -> String {
    let run = run(seed, true);
    let tail = run.trace.len().saturating_sub(60);
    format!(
        "seed {seed}: {wrong}\n{}\nreplay: POSTRIDER_SEED={seed} cargo nextest run -p postrider-core --test sim replay --no-capture",
        run.trace[tail..].join("\n")
    )
}

fn run_all(from: u64, count: u64) -> Tally {
    let workers = 2;
    let tallies = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mut all = Tally::default();
                    for seed in (from..from + count).skip(worker).step_by(workers) {
                        let run = run(seed, false);
                        if let Some(wrong) = run.wrong {
                            panic!("{}", report(seed, &wrong));
                        }
                        for (what, count) in run.tally.0 {
                            *all.0.entry(what).or_default() += count;
                        }
                    }
                    all
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join())
            .collect::<Vec<_>>()
    });
    let mut all = Tally::default();
    for tally in tallies {
        let tally = tally.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for (what, count) in tally.0 {
            *all.0.entry(what).or_default() += count;
        }
    }
    all
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn seeds_break_no_rule_and_reach_everything() {
    let tally = run_all(
        number("POSTRIDER_SIM_FROM").unwrap_or(0),
        number("POSTRIDER_SIM_SEEDS").unwrap_or(SEEDS),
    );
    println!("{tally:#?}");
    for what in REACHED {
        assert!(tally.0.contains_key(what), "no seed came across: {what}");
    }
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    for seed in REGRESSIONS {
        if let Some(wrong) = run(*seed, false).wrong {
            panic!("{}", report(*seed, &wrong));
        }
    }
}

#[test]
fn replay() {
    let Some(seed) = number("POSTRIDER_SEED") else {
        return;
    };
    let run = run(seed, true);
    println!("{}", run.trace.join("\n"));
    assert_eq!(run.wrong, None, "seed {seed}");
}
