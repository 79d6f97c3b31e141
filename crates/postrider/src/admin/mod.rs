//! The admin socket: what may be asked of a running daemon, in which words, and its answers.

pub mod api;
mod convert;
mod credentials;
mod endpoints;
mod events;
mod explain;
mod mailboxes;
mod process;
mod server;

pub use server::{Admin, bind, serve};
