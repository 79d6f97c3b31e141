//! The grammar of `admin`.

use clap::{Args, Subcommand, ValueEnum};

use super::date;
use crate::admin::api::Scope;

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Who replayed, discarded, released or paused what, when, by what and why
    Audit {
        /// At or after this date or RFC 3339 time
        #[arg(long, value_name = "DATE", value_parser = date)]
        since: Option<String>,
        /// So many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Tokens for the admin API over TCP
    Token {
        #[command(subcommand)]
        command: Tokens,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Make one; it is told once and stored as a hash
    Create(CreateToken),
    /// All tokens, by name
    List,
    /// End one at once
    Revoke {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    /// Lower-case letters, digits and -
    pub(crate) name: String,
    /// What it may do
    #[arg(long, value_enum)]
    pub(crate) scope: TokenScope,
    /// When it ends: days (90d), a date or an RFC 3339 time [default: never]
    #[arg(long, value_name = "WHEN", value_parser = end)]
    pub(crate) expires: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TokenScope {
    /// Look
    Read,
    /// Look, send again and take back
    Replay,
    /// Everything
    Admin,
}

impl TokenScope {
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Replay => Scope::Replay,
            Self::Admin => Scope::Admin,
        }
    }
}

/// Sent on as RFC 3339.
fn end(text: &str) -> Result<String, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    match days {
        Some(days @ 1_u64..=3650) => {
            let time = std::time::Duration::from_secs(days * 86_400);
            Ok((crate::clock::wall() + time).rfc3339())
        }
        Some(_) | None => date(text).map_err(|_| "write 90d or 2027-05-01".to_owned()),
    }
}
