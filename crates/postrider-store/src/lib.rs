//! Every SQL statement of the project, and the spool.
//!
//! One writer task groups what many callers want stored into one durable transaction; readers
//! are separate, read-only and limited in time. Nothing here decides what to do next.

mod model;
mod store;

mod filesystem;
mod migrate;
mod open;
mod room;
mod spool;

mod codec;
mod error;
mod plan;
mod rows;
mod shapes;
mod state;
mod writer;

mod ledger;
mod outbox;
mod rare;
mod readers;
mod report;
mod story;
mod sums;

pub use model::*;
pub use spool::{Spool, SpoolWriter};
pub use store::Store;
