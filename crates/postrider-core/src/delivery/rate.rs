//! How many attempts per second an endpoint gets: as many as come at once up to a second's number,
//! then evenly spread (the generic cell rate algorithm). What waits costs nothing until its time.

use std::num::NonZeroU32;

use crate::time::Monotonic;

const SECOND_MICROS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU32,
    /// When all attempts so far would have been made, had each waited for its turn.
    paid_micros: u64,
}

impl Rate {
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            per_second,
            paid_micros: 0,
        }
    }

    /// Another rate from now on; what was done counts.
    pub fn set(&mut self, per_second: NonZeroU32) {
        self.per_second = per_second;
    }

    fn interval_micros(&self) -> u64 {
        SECOND_MICROS / u64::from(self.per_second.get())
    }

    /// When the next attempt may start; in the past: at once.
    pub fn ready_at(&self) -> Monotonic {
        let ahead = SECOND_MICROS - self.interval_micros();
        Monotonic(self.paid_micros.saturating_sub(ahead).div_ceil(1000))
    }

    /// Starts an attempt, if one may start now.
    pub fn take(&mut self, now: Monotonic) -> bool {
        let is_ready = self.ready_at() <= now;
        if is_ready {
            let begun = self.paid_micros.max(now.0.saturating_mul(1000));
            self.paid_micros = begun.saturating_add(self.interval_micros());
        }
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_second).unwrap())
    }

    /// The times at which attempts start, where something always waits.
    fn starts(rate: &mut Rate, from: u64, count: usize) -> Vec<u64> {
        let mut now = from;
        let mut starts = Vec::new();
        while starts.len() < count {
            while rate.take(Monotonic(now)) {
                starts.push(now);
            }
            now = rate.ready_at().0;
        }
        starts.truncate(count);
        starts
    }

    #[test]
    fn a_seconds_number_goes_at_once_and_the_rest_evenly() {
        let began = 5_000;
        let starts = starts(&mut rate(10), began, 31);
        assert!(starts[..10].iter().all(|at| *at == began), "{starts:?}");
        for (number, at) in starts[10..].iter().enumerate() {
            assert_eq!(*at, began + 100 * (number as u64 + 1));
        }
    }

    #[test]
    fn over_any_long_time_there_are_no_more_than_the_rate_allows() {
        for per_second in [1, 3, 7, 250, 999, 10_000] {
            let count = per_second as usize * 20;
            let starts = starts(&mut rate(per_second), 1, count);
            let took = starts[count - 1] - starts[0];
            assert!((18_900..=19_100).contains(&took), "{per_second}/s: {took}");
            let second = per_second as usize;
            for window in starts[second..].windows(second + 1) {
                assert!(window[second] - window[0] >= 999, "{per_second}/s");
            }
        }
    }

    #[test]
    fn after_a_rest_a_burst_of_one_second_is_allowed_again_and_no_more() {
        let mut rate = rate(5);
        starts(&mut rate, 1_000, 20);
        let later = 1_000_000;
        let burst = starts(&mut rate, later, 7);
        assert_eq!(burst[..5], [later; 5]);
        assert_eq!(burst[5..], [later + 200, later + 400]);
        assert_eq!(rate.ready_at(), Monotonic(later + 600));
    }
}
