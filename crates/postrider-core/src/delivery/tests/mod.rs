//! The rules, row by row.

use std::time::Duration;

use super::{
    Attempt, RetryAfter, RetryPolicy,
    health::{EndpointHealth, Judgement, Owed, Verdict},
};
use crate::{
    backoff::Chance,
    time::{Monotonic, Now, Wall},
};

mod events;
mod recovery;

pub(super) const START: Wall = Wall(1_790_000_000_000);

pub(super) fn at(seconds: u64) -> Now {
    Now {
        monotonic: Monotonic(seconds * 1000),
        wall: START + Duration::from_secs(seconds),
    }
}

pub(super) fn answered(status: u16) -> Attempt {
    Attempt::answered(status, RetryAfter::Absent)
}

pub(super) fn fresh(delivery: i64) -> Owed {
    Owed {
        delivery,
        refusals: 0,
        refused_since: None,
        own_time: Duration::ZERO,
    }
}

pub(super) fn health() -> EndpointHealth {
    EndpointHealth::new(RetryPolicy::default(), 4)
}

/// The delivery's account after a verdict, as the store would hand it out again.
pub(super) fn next(owed: Owed, verdict: Verdict) -> Owed {
    match verdict {
        Verdict::Retry {
            refusals,
            refused_since,
            own_time,
            ..
        } => Owed {
            delivery: owed.delivery,
            refusals,
            refused_since,
            own_time,
        },
        Verdict::Delivered | Verdict::Dead(_) => panic!("{verdict:?} is no retry"),
    }
}

pub(super) fn wait(judgement: Judgement) -> Duration {
    match judgement.verdict {
        Verdict::Retry { wait, .. } => wait,
        Verdict::Delivered | Verdict::Dead(_) => panic!("{judgement:?} is no retry"),
    }
}

pub(super) fn judge(
    health: &mut EndpointHealth,
    owed: &Owed,
    attempt: Attempt,
    seconds: u64,
) -> Judgement {
    health.started(owed.delivery);
    health.judge(owed, attempt, at(seconds), Chance(1.0))
}
