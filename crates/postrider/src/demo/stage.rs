//! Where the play is told, and its one deadline. It must never wait beyond it.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// The play ends before this, whatever happens; the whole demo, with its end in order, in under
/// 30 seconds.
const PLAY_MAX: Duration = Duration::from_secs(24);
/// Between two looks at a condition that nobody announces.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) struct Stage {
    started: Instant,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// A line of the play, with the time.
    pub(super) fn say(&self, line: &str) -> anyhow::Result<()> {
        self.tell(&format!(
            "{:>5.1}s  {line}",
            self.started.elapsed().as_secs_f64()
        ))
    }

    /// Plain text. Who closes the pipe early has seen enough: that is no failure.
    pub(super) fn tell(&self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        PLAY_MAX.saturating_sub(self.started.elapsed())
    }

    /// Waits until the condition holds.
    pub(super) async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        while !holds().await? {
            anyhow::ensure!(!self.left().is_zero(), "not so in time: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// `7 ms` or `1.2 s`.
pub(super) fn shown(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!(
            "{:.*} ms",
            usize::from(millis < 10),
            time.as_secs_f64() * 1000.0
        ),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let cases = [
            (Duration::from_micros(2340), "2.3 ms"),
            (Duration::from_millis(23), "23 ms"),
            (Duration::from_millis(1250), "1.2 s"),
        ];
        for (time, text) in cases {
            assert_eq!(shown(time), text);
        }
    }
}
