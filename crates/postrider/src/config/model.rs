//! The configuration after inheritance and defaults: what the daemon works with. Every piece is
//! behind an `Arc` and comparable, so that a reload changes only what differs.

mod after;
mod credential;
mod transport;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use postrider_core::{
    delivery::{classify::Classifier, order::Order},
    event::EventType,
    ids::{CredentialKey, EndpointKey, FolderName, MailboxKey},
    watch::Policy,
};
use postrider_store::BudgetAction;
use postrider_webhook::format::{event, raw, template::Template};

use crate::routing::When;

pub use after::*;
pub use credential::*;
pub use transport::*;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Part of event ids and of `source`.
    pub instance: Arc<str>,
    pub store: StoreConfig,
    pub http: HttpConfig,
    pub admin: AdminConfig,
    pub log: LogConfig,
    pub limits: Limits,
    pub network: Network,
    pub vault: VaultConfig,
    /// `None`: no links are made nor served.
    pub links: Option<Arc<Links>>,
    pub credentials: BTreeMap<CredentialKey, Arc<Credential>>,
    pub endpoints: BTreeMap<EndpointKey, Arc<Endpoint>>,
    pub mailboxes: BTreeMap<MailboxKey, Arc<Mailbox>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    pub path: PathBuf,
    pub spool: PathBuf,
    pub allow_network_filesystem: bool,
    pub reserve_bytes: u64,
    pub budget_bytes: Option<u64>,
    pub budget_action: BudgetAction,
    /// Delivered events are pruned after this time; ledger rows stay.
    pub keep_delivered: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// `None` (`listen = "off"`): no listener.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    pub socket: PathBuf,
    /// The same over TCP.
    pub tcp: Option<AdminTcp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AdminTcp {
    pub listen: SocketAddr,
    /// What a request's `Host` may say, without its port, in lower case.
    pub allowed_hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A tracing filter, such as `info` or `postrider=debug`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON where standard output is no terminal, else human.
    Auto,
    Json,
    Human,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// One budget for everything that is being read and parsed.
    pub memory_bytes: u64,
    /// A message above this is streamed to the spool, not held in memory.
    pub inline_bytes: u64,
    /// A message above this is parsed only in part (`parse.status = "partial"`).
    pub parse_bytes: u64,
    /// The largest event body.
    pub event_bytes: u64,
    /// Logins per second and server host, and how many at once at the start.
    pub logins_per_second: u32,
    pub login_burst: u32,
    /// Connections that one mailbox may hold.
    pub connections_per_mailbox: u32,
    /// How long a drain may take on SIGTERM.
    pub grace: Duration,
    /// A mailbox whose life is not proven for this long is reconnected and reported as stalled.
    pub stalled_after: Duration,
    /// How often the audit looks at the server, and how far back.
    pub audit_every: Duration,
    pub audit_days: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub proxy: Proxy,
}

/// Links to messages and attachments.
#[derive(Clone, Debug, PartialEq)]
pub struct Links {
    pub listen: SocketAddr,
    pub public_url: url::Url,
    /// Newest first: it signs, all are believed.
    pub key: Vec<SecretRef>,
    /// Counted from the attempt.
    pub expires: Duration,
}

/// How to reach the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    None,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    Env,
    /// `http://…` (CONNECT) or `socks5h://…`.
    Url(url::Url),
}

/// When what was not accepted is sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    pub schedule: Arc<[Duration]>,
    /// How long an event that fails for its own sake is tried.
    pub give_up_after: Duration,
    pub retry_after_max: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub key: EndpointKey,
    pub url: url::Url,
    pub format: EndpointFormat,
    /// Newest first; the body is signed with all of them.
    pub secret: Vec<SecretRef>,
    pub types: Vec<EventType>,
    /// Which of these events.
    pub when: Option<When>,
    /// Of messages with the same Message-ID only the first within this time.
    pub suppress_duplicates: Option<Duration>,
    pub max_in_flight: u32,
    pub timeout: Duration,
    pub retry: Retry,
    /// What its answers mean.
    pub classifier: Classifier,
    /// What it gets one after the other, and how long an event that fails may hold up the others.
    pub order: Order,
    pub order_block_max: Duration,
    /// Plain http to a host that is not loopback was asked for in so many words.
    pub allow_plaintext: bool,
    pub ca_file: Option<PathBuf>,
    pub proxy: Proxy,
    pub transport: Transport,
    /// Only where the endpoint gets links.
    pub links: Option<Arc<Links>>,
    /// Mailboxes in which something is done once it accepted an event of theirs.
    pub after: Arc<BTreeSet<MailboxKey>>,
}

/// What an endpoint gets.
#[derive(Clone, Debug, PartialEq)]
pub enum EndpointFormat {
    Event {
        texts: event::Texts,
        attachments: event::Attachments,
    },
    /// Postmark's JSON for inbound mail.
    Postmark { attachments_max: u64 },
    /// The message itself, as a product takes it.
    Raw {
        profile: raw::Profile,
        key: Option<SecretRef>,
    },
    /// What the operator's templates make of the event.
    Template(Template),
}

impl EndpointFormat {
    /// The message itself has to be kept for it.
    pub fn needs_raw(&self) -> bool {
        match self {
            Self::Event { texts, attachments } => {
                *texts == event::Texts::Full || *attachments != event::Attachments::Metadata
            }
            Self::Raw { .. } | Self::Postmark { .. } => true,
            Self::Template(template) => template.needs_raw(),
        }
    }

    /// Secrets beside those that sign.
    fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        match self {
            Self::Event { .. } | Self::Postmark { .. } | Self::Template(_) => None,
            Self::Raw { key, .. } => key.as_ref(),
        }
        .into_iter()
    }
}

impl Endpoint {
    pub fn needs_raw(&self) -> bool {
        self.format.needs_raw()
    }

    /// It takes messages and nothing else, so there is nothing to ping it with.
    pub fn needs_message(&self) -> bool {
        match self.format {
            EndpointFormat::Event { .. } => false,
            EndpointFormat::Raw { .. } | EndpointFormat::Postmark { .. } => true,
            // Its steps speak of a message, unless it asks for other types.
            EndpointFormat::Template(_) => self.types == [EventType::MessageReceived],
        }
    }

    /// Every secret of the endpoint: those that sign, then those of its format, then those of its
    /// transport, then the keys of its links.
    pub fn secrets(&self) -> Vec<SecretRef> {
        self.secret
            .iter()
            .chain(self.format.secrets())
            .chain(self.transport.secrets())
            .chain(self.links.iter().flat_map(|links| &links.key))
            .cloned()
            .collect()
    }
}

/// What mailboxes of one group have in common (server, folders, endpoints, labels, policy) is one
/// allocation for all of them: ten thousand mailboxes must not cost ten thousand lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailbox {
    pub key: MailboxKey,
    pub address: Arc<str>,
    /// The same text as `address` unless the configuration says otherwise.
    pub username: Arc<str>,
    pub server: Arc<Server>,
    pub credential: CredentialKey,
    /// In the order of the configuration, without repeats, never empty.
    pub folders: Arc<[FolderName]>,
    pub endpoints: Arc<[EndpointKey]>,
    pub labels: Arc<BTreeMap<String, String>>,
    pub policy: Arc<Policy>,
    /// What is done with a message once an endpoint accepted its event.
    pub after: Option<Arc<After>>,
    /// Whose Authentication-Results are believed.
    pub trusted_authserv_id: Option<Arc<str>>,
}

/// How to reach an IMAP server. There is one connection per watched folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub ca_file: Option<PathBuf>,
    pub proxy: Proxy,
    pub idle: IdleMode,
    /// How to log in with a token.
    pub oauth: OAuthMechanism,
    /// Large messages may be read in parts: the server's bytes are the same at every read.
    pub stable_bytes: StableBytes,
    /// Connections of all mailboxes together.
    pub connections_max: Option<u32>,
    /// Connections of one mailbox.
    pub connections_per_mailbox: u32,
    /// How long an IDLE lasts here where neither group nor mailbox say it.
    pub cycle: Option<Duration>,
    /// The id under which it writes Authentication-Results.
    pub trusted_authserv_id: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Implicit,
    StartTls,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleMode {
    /// IDLE where the server offers it, else polling.
    Auto,
    /// Polling: the server's IDLE is not to be trusted.
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthMechanism {
    /// OAUTHBEARER where only that is offered, else XOAUTH2.
    Auto,
    XOAuth2,
    OAuthBearer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StableBytes {
    Yes,
    No,
}
