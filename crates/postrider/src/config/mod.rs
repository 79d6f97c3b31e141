//! The configuration: read whole, checked whole, then handed out as shared, comparable pieces.

pub mod model;

pub use model::*;
