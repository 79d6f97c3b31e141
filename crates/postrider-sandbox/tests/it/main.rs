//! The sandbox behaves as it says, seen by a client that shares no code with it.

mod client;
mod imap;
