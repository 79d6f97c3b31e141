//! Transcripts over real TCP: a scripted server says what servers say, and worse. What is claimed of
//! a session here is claimed of a socket, not of a mock.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod script;

mod changes;
mod encryption;
mod folders;
mod hoodiecrow;
mod hostile;
mod logins;
mod memory;
mod network;
mod providers;
mod reading;
mod refusals;
mod waiting;
