//! Where the play is told, and its one deadline. It must never wait beyond it.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// With its indent, a quote fits into a hundred columns.
const QUOTE_CHARS_MAX: usize = 88;
/// Between two looks at a condition that nobody announces.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) struct Stage {
    started: Instant,
    /// The play ends before this, whatever happens.
    play_max: Duration,
}

impl Stage {
    pub(super) fn new(play_max: Duration) -> Self {
        Self {
            started: Instant::now(),
            play_max,
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

    /// What somebody else says, in lines that fit a terminal.
    pub(super) fn quote(&self, who: &str, text: &str) -> anyhow::Result<()> {
        let mut lines = vec![format!("{who}:")];
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.chars().count() + word.chars().count() < QUOTE_CHARS_MAX => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(format!("  {word}")),
            }
        }
        let told: Vec<String> = lines
            .iter()
            .map(|line| format!("          {line}"))
            .collect();
        self.tell(&told.join("\n"))
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        self.play_max.saturating_sub(self.started.elapsed())
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
