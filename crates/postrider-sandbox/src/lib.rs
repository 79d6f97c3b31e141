//! A mail server, a token endpoint, a receiver and a breakable network, all in this process and on
//! loopback ports, with switchable faults. It knows none of the other crates, so nothing here can
//! agree with the daemon by sharing a mistake.

pub mod error;
pub mod tls;

pub mod authority;
pub mod imap;
pub mod mailboxes;
pub mod token_endpoint;

pub mod mail;
pub mod proxy;
pub mod receiver;

mod http;
mod port;
mod sync;
