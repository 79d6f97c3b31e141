//! Scenarios with the real daemon: a process of its own, watched from outside as an operator and a
//! receiver would see it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod account;
mod admin_api;
mod after;
mod continuity;
mod crash;
mod delivery;
mod disk;
mod doctor;
mod endpoint_faults;
mod exchange;
mod expiry;
mod explain;
mod formats;
mod gmail;
mod hostile;
mod links;
mod login;
mod operator;
mod order;
mod outside;
mod repair;
mod routing;
#[path = "../support/schema.rs"]
mod schema;
mod server;
mod sessions;
mod settings;
mod tenant;
mod token;
mod tokens;
mod transport;
mod world;

mod faults;
mod inject;
mod lag;
mod listed;
mod places;
mod post;
mod prove;
mod quirks;
mod receivers;
mod recipes;
mod reliability;
