//! The admin socket: what may be asked of a running daemon, in which words, and its answers.

pub mod api;
pub mod openapi;
mod routes;

mod audit;
mod caller;
mod convert;
mod credentials;
mod endpoints;
mod events;
mod explain;
mod mailboxes;
mod named;
mod orderly;
mod process;
mod repair;
mod reread;
mod server;
pub(crate) mod tcp;

pub use server::{Admin, bind, serve};
