//! The admin socket: what may be asked of a running daemon, in which words, and its answers.

pub mod api;
mod convert;
mod endpoints;
mod events;
mod mailboxes;
mod process;
mod server;

pub use server::{Admin, bind, serve};
