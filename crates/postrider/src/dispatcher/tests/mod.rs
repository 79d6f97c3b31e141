//! The dispatcher with a real store and a receiver over TCP that misbehaves as asked.

mod faults;
mod orders;
mod receiver;
mod restart;
mod world;
