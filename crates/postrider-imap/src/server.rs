//! What a connection needs to know: where the server is, how to reach it, who logs in, how long
//! to wait. Secrets stay in types that print nothing.

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;
use url::Url;

/// A server and how to reach it. Shared by all sessions with it.
#[derive(Clone)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// One configuration for all sessions: it holds the roots. It should not resume: rustls' interface
    /// without buffers does not forget a session of TLS 1.2 that a server cannot take up.
    pub tls_config: Arc<rustls::ClientConfig>,
    pub proxy: Option<Proxy>,
    pub idle: IdleUse,
    pub oauth: Mechanism,
    pub deadlines: Deadlines,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first byte (port 993).
    Implicit,
    /// Plain text up to STARTTLS; no credential is sent before the handshake (RFC 3501 section 6.2.1).
    StartTls,
    /// No encryption at all: credentials travel in clear text.
    None,
}

/// `http://[user:password@]host:port` (CONNECT) or `socks5h://…`; the proxy resolves the server's name.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub url: Url,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.place())
    }
}

impl Proxy {
    /// Scheme, host and port, without credentials.
    pub fn place(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port_or_known_default() {
            Some(port) => format!("{}://{host}:{port}", self.url.scheme()),
            None => format!("{}://{host}", self.url.scheme()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleUse {
    /// IDLE (RFC 2177) where the server offers it and it works, else polling.
    Auto,
    /// Polling: the server's IDLE is not to be trusted.
    Never,
}

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// OAUTHBEARER where only that is offered, else XOAUTH2.
    Auto,
    XOAuth2,
    OAuthBearer,
}

#[derive(Clone, Debug)]
pub enum Login {
    Password {
        username: String,
        password: SecretString,
    },
    Token {
        username: String,
        token: SecretString,
    },
}

/// How long each step may take. Waiting in IDLE has its own end, given per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// All up to where the login begins. A connection that is accepted and then swallowed is given up
    /// after this, so that with the longest usual wait between two tries a mailbox is watched again
    /// within 30 s of the cause's end.
    pub reach: Duration,
    /// Name resolution, TCP and proxy together.
    pub connect: Duration,
    pub tls: Duration,
    /// From the connection to the server's greeting.
    pub greeting: Duration,
    /// Each command of the login; Exchange Online takes up to 10 s for one.
    pub login: Duration,
    /// Any other command, as a whole.
    pub command: Duration,
    /// From DONE to the end of IDLE.
    pub done: Duration,
    /// While bodies are received: the time for the next 64 KiB or the next message.
    pub progress: Duration,
    pub logout: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            reach: Duration::from_secs(12),
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            greeting: Duration::from_secs(10),
            login: Duration::from_secs(60),
            command: Duration::from_secs(60),
            done: Duration::from_secs(15),
            progress: Duration::from_secs(30),
            logout: Duration::from_secs(5),
        }
    }
}
