//! Logs: one line per happening on standard error, and panics without their payload, which may
//! hold what a server or sender wrote.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::{
    config::{LogConfig, LogFormat},
    telemetry::plain::{Colours, Lines, fields},
};

/// Libraries that would tell of bytes on the wire, or of every statement. A level for one of them
/// in `log.level` wins.
const QUIET: &str = "async_imap=off,imap_proto=off,sqlx=warn,hyper=warn,hyper_util=warn,h2=warn,reqwest=warn,rustls=warn";

/// Starts logging for the life of the process; the first call wins.
pub fn start(log: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.level))?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let ansi = !json && stderr().is_terminal();
    let colours = match ansi {
        true => Colours::Formatters,
        false => Colours::None,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines {
            to: stderr,
            colours,
        });
    let started = match json {
        true => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        false => lines.with_ansi(ansi).fmt_fields(fields()).try_init(),
    };
    // A test or a demo may have started it before.
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let at = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(at, "a task panicked; what it did is taken up again");
        }));
    }
    Ok(())
}
