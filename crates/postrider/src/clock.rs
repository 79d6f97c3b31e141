//! The shell's clocks. Waiting is measured on `CLOCK_BOOTTIME`, which counts suspend.

use std::time::Duration;

use postrider_core::time::{Monotonic, Now, Wall};
use rustix::time::{ClockId, clock_gettime};

pub fn monotonic() -> Monotonic {
    let at = clock_gettime(ClockId::Boottime);
    Monotonic(
        u64::try_from(at.tv_sec).unwrap_or(0) * 1000
            + u64::try_from(at.tv_nsec).unwrap_or(0) / 1_000_000,
    )
}

pub fn wall() -> Wall {
    let at = clock_gettime(ClockId::Realtime);
    Wall(at.tv_sec * 1000 + at.tv_nsec / 1_000_000)
}

pub fn now() -> Now {
    Now {
        monotonic: monotonic(),
        wall: wall(),
    }
}

/// The runtime's instant for a monotonic time; in the past if that time has passed.
pub fn instant(at: Monotonic) -> tokio::time::Instant {
    tokio::time::Instant::now() + (at - monotonic())
}

/// A drawn number for jitter.
pub fn chance() -> postrider_core::backoff::Chance {
    postrider_core::backoff::Chance(rand::random::<f64>())
}

pub const SECOND: Duration = Duration::from_secs(1);
