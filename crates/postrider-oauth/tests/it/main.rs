//! Token requests over real HTTP, certificates in the files that people have, and assertions as an
//! independent library judges them.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod endpoint;
mod pki;

mod answers;
mod assertions;
mod certificates;
mod echoes;
mod generic;
mod google;
mod identity;
mod sign_in;
