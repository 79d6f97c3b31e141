//! The sandbox behaves as it says, seen by clients that share no code with it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod client;
mod post;
mod world;

mod faults;
mod imap;
mod mail;
mod profiles;
mod proxy;
mod receiver;
mod token_client;
mod token_endpoint;
mod token_others;
mod token_proofs;
mod token_sign_ins;
mod token_troubles;
