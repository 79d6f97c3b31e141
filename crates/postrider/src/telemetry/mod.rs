//! What happened: each happening is one function here that both logs and counts, so that log line
//! and metric cannot drift apart. The metrics reference is generated from this catalogue.

use prometheus::Registry;

pub mod delivery;
pub mod mail;
pub mod process;
pub mod quiet;
pub mod tokens;

/// The handle that every part of the daemon tells its happenings to.
pub struct Telemetry {
    pub registry: Registry,
    pub mail: mail::Mail,
    pub delivery: delivery::Delivery,
    pub tokens: tokens::Tokens,
    pub process: process::Process,
}

impl Telemetry {
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new_custom(Some("postrider".to_owned()), None)?;
        Ok(Self {
            mail: mail::Mail::new(&registry)?,
            delivery: delivery::Delivery::new(&registry)?,
            tokens: tokens::Tokens::new(&registry)?,
            process: process::Process::new(&registry)?,
            registry,
        })
    }
}
