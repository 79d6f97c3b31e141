//! The daemon: configuration, supervisor, watchers, dispatcher, tokens, admin API and command line.

pub mod clock;
pub mod config;
pub mod telemetry;
