//! The grammar of `events replay` and `events discard`.

use clap::{ArgGroup, Args};

use super::date;

#[derive(Debug, Default, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(false))]
pub(crate) struct ReplayArgs {
    /// One event, by its id
    #[arg(group = "which", conflicts_with_all = ["since", "until"])]
    pub(crate) id: Option<String>,
    /// Dead deliveries
    #[arg(long, group = "which")]
    pub(crate) dead: bool,
    /// Deliveries that the endpoint accepted
    #[arg(long, group = "which", requires = "endpoint")]
    pub(crate) delivered: bool,
    /// Deliveries that were discarded
    #[arg(long, group = "which", requires = "endpoint")]
    pub(crate) discarded: bool,
    /// Events that the endpoint was never owed, such as those from before it was configured
    #[arg(long, group = "which", requires = "endpoint")]
    pub(crate) never: bool,
    /// Messages that are read again from this mailbox on the server
    #[arg(long, group = "which", value_name = "MAILBOX", conflicts_with_all = ["endpoint", "mailbox", "as_new", "rate"])]
    pub(crate) from_mailbox: Option<String>,
    /// Take back what the replay of this number has not sent yet
    #[arg(long, group = "which", value_name = "NUMBER", conflicts_with_all = ["endpoint", "mailbox", "since", "until", "as_new", "rate"])]
    pub(crate) cancel: Option<i64>,
    /// Only to this endpoint
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// Only of this mailbox
    #[arg(long, conflicts_with = "id")]
    pub(crate) mailbox: Option<String>,
    /// Delivered, dead, or stored at or after this date or RFC 3339 time; with --from-mailbox: arrived
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) since: Option<String>,
    /// Before this date or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) until: Option<String>,
    /// The folder to read again [default: the mailbox's only one]
    #[arg(long, requires = "from_mailbox", conflicts_with_all = ["id", "dead", "delivered", "discarded", "never", "cancel"])]
    pub(crate) folder: Option<String>,
    /// The UIDs to read again, such as 1:100,200
    #[arg(long, requires = "from_mailbox", conflicts_with_all = ["id", "dead", "delivered", "discarded", "never", "cancel", "since", "until"])]
    pub(crate) uids: Option<String>,
    /// Under new ids, for a receiver that remembers ids whose events it has lost
    #[arg(long, conflicts_with = "never")]
    pub(crate) as_new: bool,
    /// At most so many per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: Option<u32>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(false))]
pub(crate) struct DiscardArgs {
    /// Events, by their ids
    #[arg(group = "which", conflicts_with_all = ["mailbox", "since", "until"])]
    pub(crate) id: Vec<String>,
    /// Dead deliveries
    #[arg(long, group = "which", requires = "endpoint")]
    pub(crate) dead: bool,
    /// Deliveries that wait
    #[arg(long, group = "which", requires = "endpoint")]
    pub(crate) pending: bool,
    /// Only to this endpoint
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// Only of this mailbox
    #[arg(long)]
    pub(crate) mailbox: Option<String>,
    /// Dead, or stored, at or after this date or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) since: Option<String>,
    /// Before this date or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) until: Option<String>,
    /// Why nobody needs them, for the audit
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Say what would be given up, and give up nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::args::Cli;

    fn parses(words: &str) -> bool {
        let words = ["postrider", "events"].into_iter().chain(words.split(' '));
        Cli::try_parse_from(words).is_ok()
    }

    #[test]
    fn a_replay_says_exactly_what_is_meant() {
        for words in [
            "replay 5b6f --dry-run",
            "replay 5b6f --endpoint tickets --as-new",
            "replay --dead",
            "replay --dead --endpoint tickets --since 2026-05-01 --rate 5",
            "replay --delivered --endpoint tickets --since 2026-05-01 --until 2026-05-02",
            "replay --never --endpoint tickets",
            "replay --from-mailbox support --uids 1:100",
            "replay --from-mailbox support --since 2026-05-01 --folder INBOX",
            "replay --cancel 17",
        ] {
            assert!(parses(words), "{words}");
        }
        for words in [
            "replay",
            "replay --dry-run",
            "replay --endpoint tickets",
            "replay 5b6f --dead",
            "replay --delivered",
            "replay --never --endpoint tickets --as-new",
            "replay --dead --uids 1",
            "replay --dead --rate 0",
            "replay --cancel 17 --rate 5",
        ] {
            assert!(!parses(words), "{words}");
        }
    }

    #[test]
    fn nothing_is_given_up_without_a_reason() {
        assert!(parses("discard 5b6f 5b70 --reason spam"));
        assert!(parses("discard --dead --endpoint tickets --reason gone"));
        assert!(!parses("discard 5b6f"));
        assert!(!parses("discard --dead --reason gone"));
        assert!(!parses("discard --reason gone"));
    }
}
