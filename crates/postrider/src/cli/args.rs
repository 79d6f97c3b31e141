//! The command line's grammar and its help. It does nothing.

mod admin;
mod receiver;
mod repair;
mod setup;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use admin::{Admin, CreateToken, Tokens};
pub(crate) use receiver::{Listen, SendTest, TestRoute};
pub(crate) use repair::{DiscardArgs, ReplayArgs};
pub(crate) use setup::{Setup, SetupCloud, SetupExchange, SetupReceipts};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   it failed; the reason is on standard error
  2   the command line makes no sense
  69  no daemon answers at the admin socket
  75  not now: try again later
  78  the configuration is wrong, or the store belongs to a newer version

Without --config, POSTRIDER_CONFIG is used, else ./postrider.toml, else
/etc/postrider/postrider.toml.";

const DOCTOR_CODES: &str = "\
It needs no running daemon, opens connections of its own, and changes nothing.

Exit codes, for an init container for instance:
  0   every mailbox can be read, and what must not open stays shut
  1   a person has to change something: cause and fix are printed
  75  nothing but what may pass by itself: network, throttling, an outage
  78  the configuration is wrong";

const FACTS: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nsources:     imap (IDLE, XOAUTH2, OAUTHBEARER, PLAIN, LOGIN)",
    "\ncredentials: microsoft, microsoft-delegated, managed-identity, google, google-delegated, oauth2, password, token",
    "\nstores:      sqlite",
    "\nTLS:         rustls, aws-lc-rs",
    "\nrust:        ",
    env!("CARGO_PKG_RUST_VERSION"),
    " or newer",
);

/// Watches mailboxes over IMAP and posts each new message as a signed event.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, long_version = FACTS, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The configuration file
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE",
        env = "POSTRIDER_CONFIG",
        hide_env = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// The running daemon's admin socket, or http(s)://HOST:PORT with a token in
    /// POSTRIDER_ADMIN_TOKEN [default: as the configuration says]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "PATH",
        env = "POSTRIDER_SOCKET",
        hide_env = true
    )]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the configured mailboxes until SIGTERM; SIGHUP reads the configuration again
    Run,
    /// Check the configuration without any network: all errors at once, with file and line
    CheckConfig(CheckConfig),
    /// See it work: a mail server, a receiver and this daemon in one process, no account needed
    Demo(Demo),
    /// The daemon at a glance: states, sums, room
    Status,
    /// What is watched, how it goes, and orders to it
    Mailboxes {
        #[command(subcommand)]
        command: Option<Mailboxes>,
    },
    /// What was sent, to whom, and what became of it
    Events {
        #[command(subcommand)]
        command: Option<Events>,
    },
    /// Where events go, and whether they arrive
    Endpoints {
        #[command(subcommand)]
        command: Option<Endpoints>,
    },
    /// Who did what, and tokens for the admin API over TCP
    Admin {
        #[command(subcommand)]
        command: Admin,
    },
    /// Walk the way of each mailbox, from its server's name to a signed ping, and name the mistake
    #[command(after_help = DOCTOR_CODES, after_long_help = DOCTOR_CODES)]
    Doctor(Doctor),
    /// Why a mailbox is silent, or where a mail went; the running daemon looks and tells
    Explain(Explain),
    /// What has to be set up elsewhere, as steps and scripts to take there; it changes nothing
    Setup {
        #[command(subcommand)]
        what: Setup,
    },
    /// How access stands: which secret is live, tokens, expiry, who uses it, what is wrong
    Credentials {
        #[command(subcommand)]
        command: Option<Credentials>,
    },
    /// Sign in for a credential that acts for a person; its refresh token goes into the vault
    Login(Login),
    /// Ask for one token, and show its decoded claims with remarks; never the token itself
    Token(Token),
    /// Put the vault's records under the newest master key
    Rekey {
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Which endpoints a message would go to, and the requests they would get; nothing is sent
    TestRoute(TestRoute),
    /// Send a receiver one signed event, made from a message; no configuration needed
    SendTest(SendTest),
    /// Receive, verify and show events on loopback
    Listen(Listen),
    /// Let the daemon read its configuration again; an error leaves the old one in force
    Reload {
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print a JSON Schema
    Schema {
        #[arg(value_enum)]
        what: Schema,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Names in the configuration [default: all]
    #[arg(value_name = "MAILBOX", conflicts_with = "all")]
    pub(crate) mailboxes: Vec<String>,
    /// All mailboxes, which is what no name means too
    #[arg(long)]
    pub(crate) all: bool,
    /// All mailboxes of a group
    #[arg(long, value_name = "GROUP", conflicts_with = "all")]
    pub(crate) group: Vec<String>,
    /// Send the endpoints a signed `ping` event, which is the default
    #[arg(long, conflicts_with = "no_ping")]
    pub(crate) endpoint_ping: bool,
    /// Leave the endpoints alone
    #[arg(long)]
    pub(crate) no_ping: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    /// Show what holds for a mailbox after inheritance, and where each setting comes from
    #[arg(long, value_name = "MAILBOX")]
    pub(crate) effective: Option<String>,
    /// Fail (exit 78) on warnings too
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Demo {
    /// Stay up until Ctrl-C instead of ending by itself
    #[arg(long)]
    pub serve: bool,
    /// What is played
    #[arg(long, value_enum, default_value_t)]
    pub profile: DemoProfile,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DemoProfile {
    /// Mail arrives, the receiver breaks, the token ends; half a minute
    #[default]
    Basic,
    /// A day with Exchange Online, in a minute
    Exchange,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mailboxes {
    /// All mailboxes, one line each
    List {
        /// Only those that are not watching
        #[arg(long)]
        problems: bool,
    },
    /// One mailbox with its folders, its trouble and its account
    Show {
        /// Its name in the configuration
        mailbox: String,
    },
    /// Stop watching; nothing is lost, the mailbox keeps its mail
    Pause {
        /// Its name in the configuration
        mailbox: String,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Watch again
    Resume {
        /// Its name in the configuration
        mailbox: String,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// End a hold: say what becomes of mail whose continuity cannot be proven
    Release(ReleaseArgs),
    /// The account behind this name is the same mail under another server or user name
    Adopt {
        /// Its name in the configuration
        mailbox: String,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Survey the folders again now
    Resync {
        /// Its name in the configuration
        mailbox: String,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct ReleaseArgs {
    /// Its name in the configuration
    pub(crate) mailbox: String,
    /// Send all of it that is not known
    #[arg(long, group = "what")]
    pub(crate) send: bool,
    /// Send none of it, and go on from there
    #[arg(long, group = "what")]
    pub(crate) skip: bool,
    /// Send what came at or after this date or RFC 3339 time, skip the rest
    #[arg(long, group = "what", value_name = "DATE", value_parser = date)]
    pub(crate) since: Option<String>,
    /// Only this folder [default: all that are held]
    #[arg(long)]
    pub(crate) folder: Option<String>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// The newest events
    List(EventFilter),
    /// One event: its data, its deliveries, every attempt
    Show {
        /// Its id, or one that a replay gave it
        id: String,
    },
    /// Send again: one event, what is dead, what an endpoint got or never got, or a range that is
    /// read again from the mailbox. Ids stay the same.
    Replay(Box<ReplayArgs>),
    /// Give up what is pending or dead; it stays on the record, with your reason
    Discard(DiscardArgs),
    /// Whole events, one JSON object per line, the newest first
    Export(EventFilter),
}

#[derive(Debug, Default, Args)]
pub(crate) struct EventFilter {
    /// Only of this mailbox
    #[arg(long)]
    pub(crate) mailbox: Option<String>,
    /// Only with a delivery to this endpoint
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// Only with a delivery in this state (to that endpoint, if one is named)
    #[arg(long, value_enum)]
    pub(crate) state: Option<DeliveryState>,
    /// Such as message.received
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// The Message-ID, without its angle brackets
    #[arg(long)]
    pub(crate) message_id: Option<String>,
    /// Stored at or after this date or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) since: Option<String>,
    /// Stored before this date or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) until: Option<String>,
    /// Older than this event: the last one of a list leads to the next
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
    /// So many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DeliveryState {
    Pending,
    Delivered,
    Dead,
    Discarded,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Endpoints {
    /// All endpoints, one line each
    List,
    /// Send nothing to it; events wait, and no event's time runs
    Pause {
        /// Its name in the configuration
        endpoint: String,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Send again, with what waits
    Resume {
        /// Its name in the configuration
        endpoint: String,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Print the public keys (`whpk_…`) of its Ed25519 secrets, for its receiver; asks no daemon
    Key {
        /// Its name in the configuration
        endpoint: String,
    },
    /// Send a signed `ping` event and tell what came back
    Ping {
        /// Its name in the configuration
        endpoint: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Its name in the configuration
    pub(crate) mailbox: String,
    /// Tell this message's whole life instead: its Message-ID, with or without angle brackets
    #[arg(long, value_name = "ID")]
    pub(crate) message_id: Option<String>,
    /// Do not ask the mail server; tell what is known here
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Credentials {
    /// All credentials, as the running daemon uses them
    List,
    /// Ask for a new token now, after consent was granted for instance; the old one serves until then
    Renew {
        /// Its name in the configuration
        credential: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Its name in the configuration
    pub(crate) credential: String,
    /// Use a browser on this machine instead of a code that is typed in elsewhere
    #[arg(long)]
    pub(crate) browser: bool,
    /// The loopback port for the browser's answer [default: a free one]
    #[arg(long, requires = "browser", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Whom the browser's page should ask for
    #[arg(long, requires = "browser", value_name = "ADDRESS")]
    pub(crate) account: Option<String>,
    /// How many minutes to wait for the browser's answer
    #[arg(
        long,
        requires = "browser",
        value_name = "MINUTES",
        default_value_t = 10
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) wait: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Its name in the configuration
    pub(crate) credential: String,
    /// The user to ask for, where each has a token of their own (type = "google")
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) user: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Schema {
    /// Of the configuration file
    Config,
    /// OpenAPI document of the admin API and of the webhooks
    Admin,
    /// Of the events that endpoints get
    Event,
}

impl DeliveryState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

/// Checked here, sent on as RFC 3339.
fn date(text: &str) -> Result<String, String> {
    match crate::config::parse_date(text) {
        Some(at) => Ok(at.rfc3339()),
        None => Err("write 2026-05-01 or 2026-05-01T08:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_release_says_exactly_one_thing() {
        let parse = |rest: &[&str]| {
            let words = ["postrider", "mailboxes", "release", "support"];
            Cli::try_parse_from(words.iter().chain(rest)).is_ok()
        };
        assert!(parse(&["--send"]) && parse(&["--skip"]) && parse(&["--since", "2026-05-01"]));
        assert!(!parse(&[]) && !parse(&["--send", "--skip"]) && !parse(&["--since", "soon"]));
    }

    #[test]
    fn help_and_version_tell_what_an_operator_needs() {
        let help = Cli::command().render_long_help().to_string();
        for words in [
            "69  no daemon answers",
            "/etc/postrider/postrider.toml",
            "check-config",
        ] {
            assert!(help.contains(words), "{words}\n{help}");
        }
        assert!(Cli::command().render_long_version().contains("sqlite"));
    }
}
