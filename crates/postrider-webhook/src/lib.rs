//! One signed POST: what is sent, how it is signed, where it may go, and what came of it.
//!
//! Nothing here decides what to do next, retries or follows a redirect, and no error carries a
//! URL or a secret.

pub mod body;
pub mod format;
pub mod link;
pub mod payload;
pub mod sign;
pub mod verify;

pub mod address;
pub mod answer;
pub mod client;

mod failure;
