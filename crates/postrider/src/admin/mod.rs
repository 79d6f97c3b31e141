//! The admin socket: what may be asked of a running daemon, and in which words.

pub mod api;
mod convert;
