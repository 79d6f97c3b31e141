//! One IMAP connection, from the socket to the messages: IMAP4rev1 (RFC 3501) as a watcher needs it.
//!
//! The way of a server's bytes: `connect` carries them, `framer` cuts them into responses within
//! bounds, `parse` turns each into a small value (by `async_imap::imap_proto`, isolated), `conversation`
//! runs one command at a time to its explicit end. Above it: log in, examine, survey, read, wait.
//!
//! What it must never do: change a mailbox (but for `change`, which is there for nothing else), take a NO, an end of stream or an unreadable response
//! for an empty result, or hold memory by a server's choice. At most, one connection holds 16 KiB
//! received and not yet framed, one response of 64 KiB (1 MiB where it is a SEARCH), 64 KiB of
//! literals that nobody asked for, the UIDs of one search (4 bytes each, at most 1,000,000), and what
//! [`read::Memory`] allows for bodies. While idle it holds none of these: about 8 KiB with TLS,
//! nearly all of it the TLS session's own.

pub mod error;
pub mod server;

mod framer;
pub mod parse;

mod conversation;
mod stream;
mod tls;

mod auth;
pub mod change;
mod connect;
pub mod list;
mod logout;
mod name;
mod proxy;
pub mod read;
mod redact;
pub mod role;
mod search;
mod select;
pub mod session;
mod survey;
pub mod wait;
