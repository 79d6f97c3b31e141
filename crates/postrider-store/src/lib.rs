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

mod admin_tokens;
mod after;
mod audit;
mod ledger;
mod outbox;
mod rare;
mod readers;
mod repair;
mod report;
mod story;
mod sums;
mod twins;

pub use admin_tokens::{NewToken, TokenRow};
pub use after::{AfterCount, AfterRow, Then, Tried};
pub use audit::{Act, AuditRow, Deed};
pub use model::*;
pub use repair::{
    Cancelled, DeliveryState, Discarded, Found, Id, Never, Pace, RepairError, Replay, Replayed,
    Selection, Sift, Sifted,
};
pub use room::Level;
pub use spool::{Spool, SpoolFile, SpoolWriter};
pub use store::Store;
