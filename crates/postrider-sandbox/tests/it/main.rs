//! The sandbox behaves as it says, seen by a client that shares no code with it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod client;
mod imap;
