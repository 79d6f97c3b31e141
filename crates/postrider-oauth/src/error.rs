//! Why a request gave no token, as a caller can act on it. No variant holds a token, a secret or a
//! URL; what a server wrote is cut to one short printable line.

use std::{error::Error as _, fmt, time::Duration};

use postrider_core::token::Failure;

use crate::{
    advice::{advice, by_error, may_settle},
    client::Provider,
    grant,
    redact::Sent,
};

/// Characters of a server's words that are kept.
const WORDS_MAX: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The endpoint understood and said no (RFC 6749 section 5.2): asking again soon is no use.
    #[error("the token endpoint refuses the credential: {error}{}", said(.description))]
    Refused {
        provider: Provider,
        error: String,
        /// The first line of the server's description.
        description: String,
        /// Entra's `error_codes` (AADSTS numbers): for advice only, they may change.
        codes: Vec<u32>,
    },
    #[error("the token endpoint asks for fewer requests")]
    Throttled { retry_after: Option<Duration> },
    /// It says nothing about the credential.
    #[error("the token endpoint cannot be used: {cause}")]
    Unavailable {
        cause: Cause,
        retry_after: Option<Duration>,
    },
    /// It said yes, and the rest makes no sense.
    #[error("the token endpoint's answer cannot be used: {what}")]
    Malformed { what: &'static str },
    /// Nothing was asked, because the question cannot be put.
    #[error("no token was asked for: {what}")]
    Unsent { what: &'static str },
}

/// What kept a request from being answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// DNS, TCP, TLS or the proxy.
    Connect(String),
    /// This machine has no identity service, or keeps it from being reached.
    NoIdentityService(String),
    /// The connection broke later.
    Transport(String),
    Deadline(Duration),
    /// A status that is no answer to a token request.
    Status(u16),
    /// The endpoint says itself that it is in trouble.
    Says(String),
    /// The answer is longer than a token can be.
    TooLong,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(detail) => write!(f, "no connection ({detail})"),
            Self::NoIdentityService(detail) => {
                write!(f, "no identity service answers on this machine ({detail})")
            }
            Self::Transport(detail) => write!(f, "connection lost ({detail})"),
            Self::Deadline(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Says(error) => write!(f, "it says {error}"),
            Self::TooLong => f.write_str("its answer is too long"),
        }
    }
}

impl Cause {
    fn hint(&self) -> &'static str {
        match self {
            Self::Connect(_) => {
                "check that the token endpoint's host can be reached from here (port 443, proxy, DNS, certificates)"
            }
            Self::NoIdentityService(_) => {
                "type = \"managed-identity\" works only on a machine in Azure whose processes may reach 169.254.169.254, without a proxy"
            }
            Self::Status(301..=399) => {
                "the authority must be the login host itself, without a redirect"
            }
            Self::Status(404) => "check authority and tenant, or token_url",
            Self::Status(407) => "the proxy wants other credentials",
            Self::Status(_) | Self::Transport(_) | Self::Deadline(_) | Self::Says(_) => {
                "nothing to do if it passes; postrider tries again by itself"
            }
            Self::TooLong => {
                "check authority and tenant, or token_url: this is not a token endpoint"
            }
        }
    }
}

impl TokenError {
    /// What it means for the cache.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused { codes, .. } if codes.iter().any(|code| may_settle(*code)) => {
                Failure::Unsettled
            }
            Self::Refused { .. } | Self::Unsent { .. } => Failure::Refused,
            Self::Throttled { retry_after } => Failure::Throttled {
                retry_after: *retry_after,
            },
            Self::Unavailable { retry_after, .. } => Failure::Outage {
                retry_after: *retry_after,
            },
            Self::Malformed { .. } => Failure::Outage { retry_after: None },
        }
    }

    /// The secret itself was not accepted (RFC 6749 section 5.2: the client's own, or the grant's,
    /// which is a refresh token or a signed assertion), so another one may be.
    pub fn is_about_the_secret(&self) -> bool {
        match self {
            Self::Refused { error, .. } => {
                matches!(error.as_str(), "invalid_client" | "invalid_grant")
            }
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Malformed { .. }
            | Self::Unsent { .. } => false,
        }
    }

    /// The name of the outcome in metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Malformed { .. } => "malformed",
            Self::Unsent { .. } => "unsent",
        }
    }

    /// What an operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused {
                provider,
                error,
                description,
                codes,
            } => codes
                .iter()
                .find_map(|code| advice(*code))
                .unwrap_or_else(|| by_error(*provider, error, description)),
            Self::Throttled { .. } => {
                "nothing to do, the next request waits as long as it asks for"
            }
            Self::Unavailable { cause, .. } => cause.hint(),
            Self::Malformed { .. } => {
                "check authority and tenant, or token_url: something else than a token endpoint may answer"
            }
            Self::Unsent { .. } => "check the type of the credential, and the key that it names",
        }
    }

    /// A refusal that came another way than as an answer to a token request.
    pub(crate) fn refused(provider: Provider, error: String, description: String) -> Self {
        Self::Refused {
            provider,
            codes: grant::codes(None, &description),
            error,
            description,
        }
    }

    pub(crate) fn unavailable(cause: Cause) -> Self {
        Self::Unavailable {
            cause,
            retry_after: None,
        }
    }

    pub(crate) fn from_http(error: reqwest::Error, limit: Duration) -> Self {
        let error = error.without_url();
        Self::unavailable(if error.is_timeout() {
            Cause::Deadline(limit)
        } else if error.is_connect() {
            Cause::Connect(innermost(&error))
        } else {
            Cause::Transport(innermost(&error))
        })
    }
}

/// The last link of an error's chain says what happened ("certificate expired"); those above say where.
fn innermost(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = inner.to_string();
        source = inner.source();
    }
    Sent::default().clean(&words)
}

pub(crate) fn said(description: &str) -> String {
    if description.is_empty() {
        String::new()
    } else {
        format!(" ({description})")
    }
}

/// The first line of foreign words, printable and short. Entra ends its line with ids that change
/// with each request; they would make each repeat look new.
pub(crate) fn one_line(words: &str) -> String {
    let line = words.trim().lines().next().unwrap_or_default();
    let line = line.split(" Trace ID: ").next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(WORDS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}
