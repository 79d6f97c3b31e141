//! The dispatcher with a real store and a receiver over TCP that misbehaves as asked.

mod faults;
mod leases;
mod orders;
mod receiver;
mod restart;
mod waits;
mod world;
