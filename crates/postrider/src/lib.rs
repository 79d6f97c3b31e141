//! The daemon: configuration, supervisor, watchers, dispatcher, tokens, admin API and command line.

pub mod cli;
pub mod run;

pub mod config;
pub mod directory;
pub mod supervisor;

pub mod gate;
pub mod routing;
pub mod shared;
mod side;
pub mod system_events;
pub mod watch_line;
pub mod watcher;

pub mod after;
pub mod diagnosis;
pub mod dispatcher;
pub mod doctor;

pub mod network;
pub mod secrets;
pub mod tls;
pub mod tokens;
pub mod vault;

pub mod admin;
pub mod gauges;
pub mod heartbeat;
pub mod http;
pub mod links;
pub mod telemetry;

pub mod clock;
pub mod die;

pub mod demo;
pub mod setup;
