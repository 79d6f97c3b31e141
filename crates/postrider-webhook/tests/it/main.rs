//! The client against real receivers over TCP.
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation of a test is a panic"
)]

mod answers;
mod guard;
mod hostile;
mod http2;
mod inside;
mod products;
mod receiver;
mod samples;
mod sending;
