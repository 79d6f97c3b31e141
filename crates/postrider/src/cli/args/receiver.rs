//! The grammar of what helps those who write receivers and conditions.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct TestRoute {
    /// A message (RFC 5322); - for standard input
    #[arg(value_name = "FILE.eml")]
    pub(crate) file: PathBuf,
    /// The mailbox that it would come from [default: the only one]
    #[arg(long)]
    pub(crate) mailbox: Option<String>,
    /// Look at this endpoint alone
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SendTest {
    /// A message (RFC 5322); - for standard input
    #[arg(value_name = "FILE.eml")]
    pub(crate) file: PathBuf,
    /// Where to post the event
    #[arg(long)]
    pub(crate) url: url::Url,
    /// The signing secret (whsec_… or whsk_…)
    #[arg(long, env = "POSTRIDER_TEST_SECRET", hide_env_values = true)]
    pub(crate) secret: String,
    /// Send it twice with the same id: a receiver accepts both, and acts once
    #[arg(long, conflicts_with_all = ["bad_signature", "old_timestamp"])]
    pub(crate) replay: bool,
    /// Sign with another secret: a receiver has to refuse it
    #[arg(long, conflicts_with = "old_timestamp")]
    pub(crate) bad_signature: bool,
    /// Sign well for a time ten minutes ago: a receiver has to refuse it
    #[arg(long)]
    pub(crate) old_timestamp: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// The loopback port [default: a free one]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// The signing secret (whsec_… or whsk_…); again for a second one [default: a new one, printed]
    #[arg(long, env = "POSTRIDER_TEST_SECRET", hide_env_values = true)]
    pub(crate) secret: Vec<String>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<usize>,
}
