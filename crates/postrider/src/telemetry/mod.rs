//! What happened: each happening is one function here that both logs and counts, so that log line
//! and metric cannot drift apart. The metrics reference is generated from this catalogue.

use catalogue::Catalogue;

pub mod after;
pub mod catalogue;
pub mod delivery;
pub mod links;
pub mod mail;
pub(crate) mod plain;
pub mod process;
pub mod quiet;
pub mod tokens;

/// The handle that every part of the daemon tells its happenings to.
pub struct Telemetry {
    pub catalogue: Catalogue,
    pub mail: mail::Mail,
    pub delivery: delivery::Delivery,
    pub tokens: tokens::Tokens,
    pub process: process::Process,
    pub after: after::After,
    pub links: links::Links,
}

impl Telemetry {
    pub fn new() -> anyhow::Result<Self> {
        let catalogue = Catalogue::new()?;
        Ok(Self {
            mail: mail::Mail::new(&catalogue)?,
            delivery: delivery::Delivery::new(&catalogue)?,
            tokens: tokens::Tokens::new(&catalogue)?,
            process: process::Process::new(&catalogue)?,
            after: after::After::new(&catalogue)?,
            links: links::Links::new(&catalogue)?,
            catalogue,
        })
    }
}
