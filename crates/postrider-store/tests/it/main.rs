//! The store against a real file system: what it promises, and what it does when the disk fails.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod after;
mod support;
mod twins;

mod backlog;
mod commits;
mod deliveries;
mod killed;
mod ledger;
mod model;
mod opening;
mod order;
mod prune;
mod repair;
mod report;
mod room;
mod spool;
mod story;
