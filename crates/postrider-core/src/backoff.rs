//! How long to wait before the next try: capped exponential growth with full jitter.

use std::time::Duration;

/// Waits grow from `first` by doubling up to `max`; the streak ends only after `stable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
    /// A success counts only when it lasted this long.
    pub stable: Duration,
}

/// A number in `0.0..1.0`, drawn by the shell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance(pub f64);

impl Backoff {
    /// The wait before try number `failures + 1`, between half of the step and the step.
    pub fn wait(&self, failures: u32, chance: Chance) -> Duration {
        let step = self
            .first
            .saturating_mul(
                1u32.checked_shl(failures.saturating_sub(1).min(20))
                    .unwrap_or(u32::MAX),
            )
            .min(self.max);
        step.mul_f64(0.5 + 0.5 * chance.0.clamp(0.0, 1.0))
    }
}
