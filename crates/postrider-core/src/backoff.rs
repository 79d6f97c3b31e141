//! How long to wait before the next try: capped exponential growth with jitter.

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

impl Chance {
    /// A part of `span` between `low` (a fraction of it) and all of it.
    pub fn between(self, low: f64, span: Duration) -> Duration {
        let drawn = if self.0.is_finite() {
            self.0.clamp(0.0, 1.0)
        } else {
            1.0
        };
        let low = low.clamp(0.0, 1.0);
        span.mul_f64(low + (1.0 - low) * drawn)
    }
}

impl Backoff {
    /// The wait before try number `failures + 1`, between half of the step and the step.
    pub fn wait(&self, failures: u32, chance: Chance) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let step = self.first.saturating_mul(1 << doublings).min(self.max);
        chance.between(0.5, step)
    }

    /// The streak of failures as it is after a success that lasted for `lasted`.
    pub fn after_success(&self, failures: u32, lasted: Duration) -> u32 {
        if lasted >= self.stable { 0 } else { failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        stable: Duration::from_secs(300),
    };

    #[test]
    fn waits_double_up_to_the_cap_and_are_never_less_than_half_of_the_step() {
        let highest = |failures| BACKOFF.wait(failures, Chance(1.0)).as_secs_f64();
        assert_eq!(
            [0, 1, 2, 3, 6, 7, 60, u32::MAX].map(highest),
            [1.0, 1.0, 2.0, 4.0, 32.0, 60.0, 60.0, 60.0]
        );
        assert_eq!(BACKOFF.wait(3, Chance(0.0)), Duration::from_secs(2));
        assert_eq!(
            BACKOFF.wait(3, Chance(f64::NAN)),
            Duration::from_secs(4),
            "no drawn number turns into a panic"
        );
    }

    #[test]
    fn a_short_success_does_not_end_the_streak() {
        assert_eq!(BACKOFF.after_success(5, Duration::from_secs(299)), 5);
        assert_eq!(BACKOFF.after_success(5, Duration::from_secs(300)), 0);
    }
}
