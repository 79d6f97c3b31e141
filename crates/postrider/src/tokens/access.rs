//! What a worker gets from a credential, what can be wrong with one, and what others hear of it.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    event::EventType,
    ids::CredentialKey,
    time::{Monotonic, Wall},
    token::Generation,
    watch::Failure,
};
use postrider_imap::server::Login;
use postrider_oauth::error::TokenError;
use secrecy::SecretString;

/// What to log in with, now.
#[derive(Clone, Debug)]
pub struct Access {
    pub secret: LoginSecret,
    /// To be named when the mail server accepts or refuses it.
    pub generation: Generation,
    /// When the token ends, and with it every session that began with it; never for a password.
    pub expires: Option<Monotonic>,
}

#[derive(Clone, Debug)]
pub enum LoginSecret {
    Password(SecretString),
    Token(SecretString),
}

impl Access {
    pub fn login(&self, username: &str) -> Login {
        let username = username.to_owned();
        match &self.secret {
            LoginSecret::Password(password) => Login::Password {
                username,
                password: password.clone(),
            },
            LoginSecret::Token(token) => Login::Token {
                username,
                token: token.clone(),
            },
        }
    }
}

/// Why there is nothing to log in with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFailure {
    #[error("no credential {0} is configured")]
    Unknown(CredentialKey),
    /// It needs an operator. It is tried again slowly, and at once when its secret changes.
    #[error("credential {credential} is refused: {detail}")]
    Refused {
        credential: CredentialKey,
        detail: String,
        /// What the token endpoint said; `None` where nothing was asked.
        error: Option<Box<TokenError>>,
        retry_after: Option<Duration>,
    },
    /// It passes by itself.
    #[error("credential {credential} gives no token for now: {detail}")]
    Unavailable {
        credential: CredentialKey,
        detail: String,
        error: Option<Box<TokenError>>,
        retry_after: Option<Duration>,
    },
}

impl CredentialFailure {
    /// What the token endpoint said, where one was asked.
    pub fn token_error(&self) -> Option<&TokenError> {
        match self {
            Self::Unknown(_) => None,
            Self::Refused { error, .. } | Self::Unavailable { error, .. } => error.as_deref(),
        }
    }

    /// What it means for a watch.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Unknown(_) | Self::Refused { .. } => Failure::CredentialRefused,
            Self::Unavailable { retry_after, .. } => Failure::CredentialUnavailable {
                retry_after: *retry_after,
            },
        }
    }
}

/// Whether a login that was refused can be tried again with something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next login gets another token or password.
    Another,
    /// It gets the same again.
    Same,
}

/// A change that the supervisor hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The credential is refused, or none of its secrets can be read.
    Refused {
        credential: CredentialKey,
        at: Wall,
        detail: String,
    },
    /// A new secret, certificate or key is refused; what was in use before serves on.
    ProofRefused {
        credential: CredentialKey,
        at: Wall,
        detail: String,
    },
    /// A new one that was refused while the one before served on is not in the way any more.
    ProofSettled {
        credential: CredentialKey,
        at: Wall,
        how: Settled,
    },
    /// Its secret or certificate ends soon. `since` is the same whenever it is told.
    Expiring {
        credential: CredentialKey,
        since: Wall,
        expires: Wall,
        days: u16,
    },
    /// A credential that was refused works again.
    Recovered { credential: CredentialKey, at: Wall },
    /// Worth trying again at once, without having been refused: an outage is over, or a password
    /// was replaced. Where tokens are each for one user, for that user's mailboxes.
    Available {
        credential: CredentialKey,
        user: Option<Arc<str>>,
    },
}

/// How the story of a refused new proof ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// A good one came, or the same one was accepted later.
    Accepted,
    /// It was taken back: what was there before serves on.
    Withdrawn,
}

impl Settled {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Accepted => "new_secret_accepted",
            Self::Withdrawn => "new_secret_withdrawn",
        }
    }

    pub fn detail(self) -> &'static str {
        match self {
            Self::Accepted => "the new secret, certificate or key is proven and is in use",
            Self::Withdrawn => "the new one that was refused is gone, the one before stays in use",
        }
    }
}

/// A transition as an event tells it.
pub struct News<'a> {
    pub event_type: EventType,
    pub credential: &'a CredentialKey,
    /// Together with the credential it makes the event's id.
    pub started: Wall,
    pub reason: &'static str,
    pub detail: String,
    pub hint: &'static str,
}

impl Transition {
    /// `None` where nobody outside needs to hear of it.
    pub fn news(&self) -> Option<News<'_>> {
        Some(match self {
            Self::Available { .. } => return None,
            Self::Refused {
                credential,
                at,
                detail,
            } => News {
                event_type: EventType::CredentialRefused,
                credential,
                started: *at,
                reason: "credential.refused",
                detail: detail.clone(),
                hint: "check client_id, tenant and the secret's value and expiry",
            },
            Self::ProofRefused {
                credential,
                at,
                detail,
            } => News {
                event_type: EventType::CredentialRefused,
                credential,
                started: *at,
                reason: "new_secret_refused",
                detail: detail.clone(),
                hint: "nothing stops; correct the new one, it is proven again when its file changes, and once an hour",
            },
            Self::ProofSettled {
                credential,
                at,
                how,
            } => News {
                event_type: EventType::CredentialRecovered,
                credential,
                started: *at,
                reason: how.reason(),
                detail: how.detail().to_owned(),
                hint: "",
            },
            Self::Recovered { credential, at } => News {
                event_type: EventType::CredentialRecovered,
                credential,
                started: *at,
                reason: "credential.recovered",
                detail: String::new(),
                hint: "",
            },
            Self::Expiring {
                credential,
                since,
                expires,
                days,
            } => News {
                event_type: EventType::CredentialExpiring,
                credential,
                started: *since,
                reason: "credential.expiring",
                detail: format!(
                    "its secret or certificate ends at {}, at most {days} days from now",
                    expires.rfc3339()
                ),
                hint: "add the next one before it to the credential's list; postrider proves it at once",
            },
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// Nobody has needed it yet.
    Idle,
    Ready,
    /// Its token endpoint cannot be used; a token that is still good is in use all the same.
    Unavailable,
    Refused,
}

impl CredentialState {
    pub const ALL: &'static [Self] = &[Self::Idle, Self::Ready, Self::Unavailable, Self::Refused];

    /// How something stands of which these are the parts: as well as its best one.
    pub(crate) fn best(states: impl Iterator<Item = Self>) -> Self {
        let rank = |state: &Self| match state {
            Self::Ready => 3,
            Self::Unavailable => 2,
            Self::Refused => 1,
            Self::Idle => 0,
        };
        states.max_by_key(rank).unwrap_or(Self::Idle)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Ready => "ready",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// How a credential stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    pub key: CredentialKey,
    /// Its `type` in the configuration.
    pub kind: &'static str,
    pub state: CredentialState,
    /// When the token in use ends; `None` without one.
    pub expires_at: Option<Wall>,
    /// When the last token came, in this process.
    pub last_token_at: Option<Wall>,
    /// When the next token is asked for, if anybody needs it.
    pub next_request_at: Option<Wall>,
    /// When the secret or certificate itself ends, as far as it is known.
    pub secret_expires_at: Option<Wall>,
    /// Users with a token of their own, where each needs one (a Google service account).
    pub users: usize,
    /// The last trouble, which may be over.
    pub last_error: Option<LastError>,
    /// Which secret of the list gave the token in use, counted from 0 (the newest).
    pub live_secret: Option<usize>,
    /// How many secrets the list names.
    pub secrets: usize,
    /// References that cannot be read.
    pub secret_problems: Vec<String>,
    /// Those that could be read, by place in the list; while a new one is not proven, the one before
    /// in its place, too.
    pub certificates: Vec<CertificateStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its place in the list, from 0 (the newest).
    pub index: usize,
    /// As Entra's portal shows it: SHA-1 in upper case hex.
    pub thumbprint: String,
    pub subject: String,
    pub ends: Wall,
    /// It gave the token in use.
    pub is_live: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub at: Wall,
    pub detail: String,
    pub error: Option<Box<TokenError>>,
}
