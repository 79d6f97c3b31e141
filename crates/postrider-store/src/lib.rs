//! Every SQL statement of the project, and the spool.
//!
//! One writer task groups what many callers want stored into one durable transaction; readers
//! are separate, read-only and limited in time. Nothing here decides what to do next.

mod model;

pub use model::*;
