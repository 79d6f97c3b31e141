//! One token request, per provider: what is sent, what the answer means, what an operator can do.
//!
//! When to ask, and how long to use a token, is decided elsewhere (`postrider_core::token`). Nothing
//! here keeps a token or a secret, and nothing here prints one. The HTTP client is handed in: the
//! way to the outside (proxy, certificates) is the daemon's business.

pub mod client;
pub mod proof;

mod assertion;
pub mod certificate;
mod form;
pub mod service_account;

pub mod authorization;
pub mod device;

pub mod claims;
pub mod grant;

pub mod advice;
pub mod authority;
pub mod error;
mod redact;
