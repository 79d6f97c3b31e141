//! Scenarios with the real daemon: a process of its own, watched from outside as an operator and a
//! receiver would see it.

mod account;
mod continuity;
mod crash;
mod delivery;
mod disk;
mod server;
mod settings;
mod world;
