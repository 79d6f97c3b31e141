//! The daemon: configuration, supervisor, watchers, dispatcher, tokens, admin API and command line.

pub mod clock;
pub mod config;
pub mod telemetry;
pub mod network;
pub mod secrets;
pub mod tls;
pub mod tokens;
