//! What a worker gets from a credential, what can be wrong with one, and what others hear of it.

use std::time::Duration;

use postrider_core::{
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
    /// A credential that was refused works again.
    Recovered { credential: CredentialKey, at: Wall },
    /// Worth trying again at once, without having been refused: an outage is over, or a password
    /// was replaced.
    Available { credential: CredentialKey },
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
    /// `microsoft` or `password`.
    pub kind: &'static str,
    pub state: CredentialState,
    /// When the token in use ends; `None` without one.
    pub expires_at: Option<Wall>,
    /// When the next token is asked for, if anybody needs it.
    pub next_request_at: Option<Wall>,
    /// The last trouble, which may be over.
    pub last_error: Option<LastError>,
    /// Which secret of the list gave the token in use, counted from 0 (the newest).
    pub live_secret: Option<usize>,
    /// How many secrets the list names.
    pub secrets: usize,
    /// References that cannot be read.
    pub secret_problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub at: Wall,
    pub detail: String,
    pub error: Option<Box<TokenError>>,
}
