//! Random histories of a token cache, by seed.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Any history of 400 steps keeps the sentences that the daemon leans on.
#[test]
fn any_history_keeps_one_request_and_bounded_drops() {
    for seed in 0..500 {
        random_history(seed);
    }
}

fn random_history(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cache = Cache::new(TokenPolicy::default());
    let mut now = Monotonic(0);
    let mut flight: Option<Flight> = None;
    let mut last_unproven_drop: Option<Monotonic> = None;
    let mut latest = Generation(0);
    for _ in 0..400 {
        now = now + secs(random.random_range(0..200));
        let who = MailboxKey::new(["a", "b", "c"][random.random_range(0..3)]);
        let chance = Chance(random.random());
        match random.random_range(0..8) {
            0 => cache.secret_changed(),
            1 => cache.accepted(&who, latest),
            2 => match cache.refused(&who, latest, now) {
                Refusal::DroppedUnproven => {
                    assert!(
                        last_unproven_drop.is_none_or(|last| now - last >= secs(300)),
                        "seed {seed}"
                    );
                    last_unproven_drop = Some(now);
                }
                Refusal::DroppedProven | Refusal::Kept | Refusal::Stale => {}
            },
            3 | 4 => {
                if let Some(started) = flight.take() {
                    let kind = match random.random_range(0..3) {
                        0 => Failure::Refused,
                        1 => Failure::Outage { retry_after: None },
                        _ => Failure::Throttled {
                            retry_after: Some(secs(random.random_range(0..9999))),
                        },
                    };
                    cache.failed(&started, kind, now, chance);
                }
            }
            5 => {
                if let Some(started) = flight.take()
                    && let Granted::Token { generation, .. } =
                        cache.granted(&started, now, secs(3600), None, chance)
                {
                    assert!(generation > latest, "seed {seed}");
                    latest = generation;
                }
            }
            _ => {
                let answer = cache.ask(now);
                let started = cache.start(now);
                assert!(
                    flight.is_none() || started.is_none(),
                    "seed {seed}: two requests in flight"
                );
                flight = flight.or(started);
                match answer {
                    Ask::Use(generation) => {
                        assert_eq!(cache.held().unwrap().0, generation, "seed {seed}")
                    }
                    Ask::Wait => assert!(flight.is_some(), "seed {seed}: waiting for nothing"),
                    Ask::Later { until, .. } => {
                        assert!(until > now && until - now <= secs(3600), "seed {seed}");
                    }
                }
            }
        }
    }
}
