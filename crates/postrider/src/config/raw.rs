//! The configuration as it is written: one field per key, its meaning and its default. The key
//! table that files are checked against, the JSON Schema and the reference page come from here.

mod after;
mod credential;
mod endpoint;
mod links;
mod template;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use after::*;
pub(crate) use credential::*;
pub(crate) use endpoint::*;
pub(crate) use links::*;
pub(crate) use template::*;

use super::units::{Size, Span};

/// postrider's configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Root {
    /// Names this installation in event ids and in `source`. Choose it once: another name gives every message another id. Never a host's or a pod's name.
    pub(crate) instance: String,
    /// Further files, relative to this one; `*` and `?` stand for parts of a file name. Read in the order of their names. Only the main file may include.
    pub(crate) include: Vec<String>,
    /// Where state is kept.
    pub(crate) store: Store,
    /// The public listener: `/metrics`, `/livez` and `/readyz`, nothing else.
    pub(crate) http: Http,
    /// The socket for commands. Who may write to it may do everything.
    pub(crate) admin: Admin,
    /// Logs go to standard error, one line per happening.
    pub(crate) log: Log,
    /// Bounds of memory, size, pace and time.
    pub(crate) limits: Limits,
    /// How to reach the outside.
    pub(crate) network: Network,
    /// Where refresh tokens of `postrider login` are kept, encrypted.
    pub(crate) vault: Vault,
    /// Links to messages and attachments, for endpoints with `attachments = "link"`.
    pub(crate) links: Links,
    /// IMAP servers by name, for `server = "NAME"`.
    pub(crate) servers: BTreeMap<String, Server>,
    /// How access is obtained, by name, for `credential = "NAME"`.
    pub(crate) credentials: BTreeMap<String, Credential>,
    /// Webhook destinations by name, for `endpoints = ["NAME"]`.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// Mailboxes with settings in common.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Mailboxes on their own.
    pub(crate) mailboxes: BTreeMap<String, Mailbox>,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            instance: "main".to_owned(),
            include: Vec::new(),
            store: Store::default(),
            http: Http::default(),
            admin: Admin::default(),
            log: Log::default(),
            limits: Limits::default(),
            network: Network::default(),
            vault: Vault::default(),
            links: Links::default(),
            servers: BTreeMap::new(),
            credentials: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            groups: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Store {
    /// The SQLite file, `sqlite:///absolute/path`, or `sqlite:relative/path` (to this file). On a local disk.
    pub(crate) url: String,
    /// The folder for large and quarantined messages. Default: `spool` beside the database.
    pub(crate) spool: Option<String>,
    /// Open the database on a network file system all the same. Its locks cannot be trusted: two daemons may damage it.
    pub(crate) allow_network_filesystem: bool,
    /// Disk space kept aside, so that deliveries can still be settled and old events removed when the disk is full.
    #[schemars(extend("x-min" = "1MiB", "x-max" = "1GiB"))]
    pub(crate) reserve: Size,
    /// The most that database and spool may take together; told at four fifths of it. Default: the disk's own end.
    #[schemars(extend("x-min" = "16MiB"))]
    pub(crate) budget: Option<Size>,
    /// What happens at the budget's end. `pause_reading`: the mailboxes keep the mail, deliveries go on. `warn`: it is told, and reading goes on until the disk itself is full. Nothing is dropped in either case.
    pub(crate) budget_action: BudgetAction,
    /// How long delivered events are kept for `events show` and replay. The ledger outlives them.
    #[schemars(extend("x-min" = "1m", "x-max" = "365d"))]
    pub(crate) keep_delivered: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BudgetAction {
    PauseReading,
    Warn,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:///var/lib/postrider/postrider.db".to_owned(),
            spool: None,
            allow_network_filesystem: false,
            reserve: Size::mib(8),
            budget: None,
            budget_action: BudgetAction::PauseReading,
            keep_delivered: Span::days(7),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Http {
    /// `ADDRESS:PORT`, or `off`.
    pub(crate) listen: String,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9420".to_owned(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Admin {
    /// `unix:PATH`. The socket's mode is 0660.
    pub(crate) listen: String,
    /// The same commands over TCP, for whoever has a token (`postrider admin token create`).
    pub(crate) tcp: AdminTcp,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct AdminTcp {
    /// `ADDRESS:PORT`, or `off`. There is no TLS: a loopback address, or one that only a proxy with TLS reaches.
    pub(crate) listen: String,
    /// Host names by which it may be called, without a port; what a request's `Host` says else is refused, so that no web page can reach it by a name of its own. Default: the address, and `localhost` for a loopback one.
    pub(crate) allowed_hosts: Vec<String>,
}

impl Default for AdminTcp {
    fn default() -> Self {
        Self {
            listen: "off".to_owned(),
            allowed_hosts: Vec::new(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "unix:/run/postrider/admin.sock".to_owned(),
            tcp: AdminTcp::default(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Log {
    /// `json`, `human`, or `auto`: human on a terminal, else JSON.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, also per module: `info,postrider=debug`. From `debug` on, lines may hold addresses.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Json,
    Human,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Limits {
    /// One budget for all messages that are being read and parsed at a time.
    #[schemars(extend("x-min" = "16MiB"))]
    pub(crate) memory: Size,
    /// A message above this is streamed to the spool instead of being held in memory.
    #[schemars(extend("x-min" = "4KiB"))]
    pub(crate) inline: Size,
    /// A message above this becomes an event from its headers and first text part, marked `partial`. Parsing takes up to twice the size.
    #[schemars(extend("x-min" = "64KiB"))]
    pub(crate) parse: Size,
    /// The largest event body. What does not fit is cut and marked.
    #[schemars(extend("x-min" = "12KiB", "x-max" = "16MiB"))]
    pub(crate) event: Size,
    /// Logins per second and server host.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) logins_per_second: u32,
    /// Logins that may come at once, before that pace holds.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) login_burst: u32,
    /// Connections that one mailbox may hold: one per folder.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) connections_per_mailbox: u32,
    /// How long running deliveries may take to end on SIGTERM. Keep it below the supervisor's own patience (systemd's `TimeoutStopSec`, Kubernetes' `terminationGracePeriodSeconds`).
    #[schemars(extend("x-min" = "1s", "x-max" = "10m"))]
    pub(crate) grace: Span,
    /// A mailbox without proof of life for this long is reconnected and reported as stalled. More than its `idle_cycle`.
    #[schemars(extend("x-min" = "1m", "x-max" = "1d"))]
    pub(crate) stalled_after: Span,
    /// How often the audit searches each folder for mail that is not in the ledger.
    #[schemars(extend("x-min" = "1m", "x-max" = "30d"))]
    pub(crate) audit_every: Span,
    /// How many days back the audit looks.
    #[schemars(range(min = 1, max = 90))]
    pub(crate) audit_days: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Size::mib(128),
            inline: Size::kib(256),
            parse: Size::mib(25),
            event: Size::kib(64),
            logins_per_second: 20,
            login_burst: 40,
            connections_per_mailbox: 8,
            grace: Span::seconds(25),
            stalled_after: Span::minutes(15),
            audit_every: Span::days(1),
            audit_days: 3,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Network {
    /// `none`, `env` (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), `http://HOST:PORT` (CONNECT) or `socks5h://HOST:PORT`. For everything that does not say otherwise.
    pub(crate) proxy: String,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            proxy: "none".to_owned(),
        }
    }
}

/// An IMAP server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Server {
    /// What is known of such servers: `exchange-online`, `exchange-gcc-high`, `exchange-dod`, `exchange-china`, `gmail`, `yahoo`, `aol`, `fastmail`, `icloud` or `dovecot`. The keys beside it override.
    pub(crate) preset: Option<String>,
    /// The host's name or address.
    pub(crate) host: Option<String>,
    /// Default: 993 with `tls = "implicit"`, else 143.
    #[schemars(range(min = 1))]
    pub(crate) port: Option<u16>,
    /// `implicit` (TLS from the first byte, the default), `starttls` (required, never optional) or `none` (clear text, credentials too).
    pub(crate) tls: Option<TlsMode>,
    /// Certificates (PEM) to trust for this server, in place of the system's.
    pub(crate) ca_file: Option<String>,
    /// Overrides `network.proxy`.
    pub(crate) proxy: Option<String>,
    /// `auto` (the default): IDLE where the server offers it, else polling. `poll`: its IDLE is not to be trusted.
    pub(crate) idle: Option<IdleMode>,
    /// How to log in with a token: `auto` (the default), `xoauth2` or `oauthbearer`.
    pub(crate) oauth: Option<OAuthMechanism>,
    /// The server gives the same bytes of a message at every read, so a large one may be read in parts. Default: false. Exchange rebuilds messages.
    pub(crate) stable_bytes: Option<bool>,
    /// Connections to this server that all mailboxes together may hold; further ones wait in a queue. Default: no limit.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) connections_max: Option<u32>,
    /// Connections that one mailbox may hold at this server. Default: the preset's, at most `limits.connections_per_mailbox`.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) connections_per_mailbox: Option<u32>,
    /// The id under which this server writes Authentication-Results (RFC 8601), for `data.authentication`. Default: none is believed.
    pub(crate) trusted_authserv_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    Implicit,
    StartTls,
    None,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdleMode {
    Auto,
    Poll,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OAuthMechanism {
    Auto,
    XOAuth2,
    OAuthBearer,
}

/// A server's name, or the server itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ServerRef {
    Name(String),
    Inline(Server),
}

/// What a group sets for its mailboxes and a mailbox for itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Settings {
    /// The user name to log in with. Default: the mailbox's address.
    pub(crate) username: Option<String>,
    /// A name from `[servers]`, a preset (`exchange-online`, `gmail`, `yahoo`, `aol`, `fastmail`, `icloud`, …), or a table with the keys of `[servers.NAME]`.
    pub(crate) server: Option<ServerRef>,
    /// A name from `[credentials]`.
    pub(crate) credential: Option<String>,
    /// The folders to watch, by their full names or by what they are for (`\\Junk`, `\\Sent`, `\\Archive`, `\\Trash`, `\\Drafts`, `\\All`, `\\Flagged`: RFC 6154). Each takes a connection.
    pub(crate) folders: Option<Vec<String>>,
    /// Names from `[endpoints]`. Every event goes to each of them that asks for its type.
    pub(crate) endpoints: Option<Vec<String>>,
    /// Where the first sight of a folder starts: `new` (what comes from now on), `all`, or a date: what came at or after it. Later it has no effect.
    #[schemars(extend("format" = "start"))]
    pub(crate) start: Option<String>,
    /// Free text that goes into every event of the mailbox. A group's labels and a mailbox's own are merged.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Whose Authentication-Results (RFC 8601) are told in `data.authentication`: the id that the receiving server writes into them, such as `mx.google.com`. An empty text believes the uppermost field if it has no id, as Exchange Online writes it. Only for servers that take out such fields of senders. Default: the server's.
    pub(crate) trusted_authserv_id: Option<String>,
    /// What is done with a message in its mailbox once an endpoint accepted its event. Default: nothing: reading changes nothing.
    pub(crate) after: Option<After>,
    /// IDLE is ended and the folder surveyed after this time, whatever the server said; also the interval of polling. Default: the server preset's, else 5m.
    #[schemars(extend("x-min" = "5s", "x-max" = "29m"))]
    pub(crate) idle_cycle: Option<Span>,
    /// The folder is opened anew at least this often: an idling session does not see a changed UIDVALIDITY.
    #[schemars(extend("x-min" = "5s", "x-max" = "1d"))]
    pub(crate) examine_every: Option<Span>,
    /// Messages per read.
    #[schemars(range(min = 1, max = 5000))]
    pub(crate) batch_max: Option<u32>,
    /// Messages of a folder that may be owed an outcome at a time; past it reading stops and the watch says so.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) gaps_max: Option<u32>,
    /// Where continuity cannot be proven: how many old, unknown messages may be sent without an operator's word.
    pub(crate) flood_limit: Option<u32>,
    /// What counts as old there: so much older than the last proven sync.
    #[schemars(extend("x-min" = "1m", "x-max" = "365d"))]
    pub(crate) flood_age: Option<Span>,
    /// Readings of one message that may end the connection or the process before it is quarantined.
    #[schemars(range(min = 1, max = 20))]
    pub(crate) suspect_tries_max: Option<u8>,
    /// Waits between tries to connect.
    pub(crate) backoff: Option<Backoff>,
    /// At most this long before its token ends, a session is replaced by a new one. It grows by itself, up to 30 minutes, where all
    /// logins at one server host would take longer at `limits.logins_per_second`.
    #[schemars(extend("x-min" = "1s", "x-max" = "30m"))]
    pub(crate) standby_lead_max: Option<Span>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Backoff {
    /// The first wait; each further one is twice as long.
    #[schemars(extend("x-min" = "100ms", "x-max" = "5m"))]
    pub(crate) first: Option<Span>,
    /// The longest wait. With up to 15 s a mailbox is watched again within 30 s of the cause's end.
    #[schemars(extend("x-min" = "100ms", "x-max" = "1h"))]
    pub(crate) max: Option<Span>,
    /// A connection counts as a success once it lasted this long.
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub(crate) stable: Option<Span>,
}

impl Settings {
    /// What holds where neither group nor mailbox say otherwise.
    pub(crate) fn defaults() -> Self {
        Self {
            start: Some("new".to_owned()),
            idle_cycle: Some(Span::minutes(5)),
            examine_every: Some(Span::minutes(30)),
            batch_max: Some(256),
            gaps_max: Some(1000),
            flood_limit: Some(100),
            flood_age: Some(Span::days(1)),
            suspect_tries_max: Some(3),
            backoff: Some(Backoff {
                first: Some(Span::seconds(1)),
                max: Some(Span::seconds(15)),
                stable: Some(Span::minutes(1)),
            }),
            standby_lead_max: Some(Span::minutes(5)),
            ..Self::default()
        }
    }
}

/// A mailbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Mailbox {
    /// The mailbox's address, as it goes into events.
    pub(crate) address: Option<String>,
    #[serde(flatten)]
    pub(crate) settings: Settings,
}

/// A mailbox of a group: its address, or a table where more is to be said.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Member {
    Address(String),
    Table(Box<Mailbox>),
}

/// Mailboxes with settings in common.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Group {
    #[serde(flatten)]
    pub(crate) settings: Settings,
    /// `KEY = "ADDRESS"`, or `KEY = { address = "…", … }` with settings of its own, which win.
    pub(crate) mailboxes: BTreeMap<String, Member>,
}
