//! What postrider's things are, and what to do next.
//!
//! Pure: no IO, no clock, no chance, no serde, no SQL, no logging. Time and jitter are
//! arguments; the answers are values. The shells (`postrider-imap`, `-store`, `-webhook`,
//! `-oauth` and the daemon) act on them.

pub mod ids;
pub mod time;

pub mod fingerprint;
pub mod message;

pub mod cursor;
pub mod gate;
pub mod watch;

pub mod backoff;
pub mod delivery;
pub mod event;
pub mod token;
