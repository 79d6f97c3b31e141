//! What the end-to-end tests stand on: real servers that the tests start and stop themselves.

pub(crate) mod dovecot;
pub(crate) mod dovecot_config;
pub(crate) mod issuer;
pub(crate) mod lmtp;
