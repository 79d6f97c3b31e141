//! Which access tokens are good, for whom and until when. One authority is shared by a token
//! endpoint that issues and the mail servers that check. It never prints a token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::sync::{Changes, lock};

/// A cheap handle; clones share the same tokens.
#[derive(Clone, Default)]
pub struct TokenAuthority(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tokens: Mutex<HashMap<String, Token>>,
    changes: Changes,
}

#[derive(Clone)]
struct Token {
    bearer: Bearer,
    ends: Option<Instant>,
}

/// Whose mailboxes a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// Every mailbox that takes tokens of this authority, as an application token does.
    Application,
    /// One user's.
    User(String),
}

/// What a token is worth for one user now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good { ends: Option<Instant> },
    Expired,
    Unknown,
}

impl std::fmt::Debug for TokenAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenAuthority")
            .field("tokens", &lock(&self.0.tokens).len())
            .finish()
    }
}

impl TokenAuthority {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a token from now on; without a lifetime until it is revoked.
    pub fn accept(&self, token: &str, bearer: Bearer, lifetime: Option<Duration>) {
        let ends = lifetime.map(|lifetime| Instant::now() + lifetime);
        lock(&self.0.tokens).insert(token.to_owned(), Token { bearer, ends });
        self.0.changes.tell();
    }

    /// Ends one token now, in the middle of the sessions that use it.
    pub fn expire(&self, token: &str) {
        if let Some(token) = lock(&self.0.tokens).get_mut(token) {
            token.ends = Some(Instant::now());
        }
        self.0.changes.tell();
    }

    /// Ends all tokens now.
    pub fn expire_all(&self) {
        let now = Instant::now();
        for token in lock(&self.0.tokens).values_mut() {
            token.ends = Some(now);
        }
        self.0.changes.tell();
    }

    pub fn standing(&self, token: &str, user: &str) -> Standing {
        let tokens = lock(&self.0.tokens);
        let Some(token) = tokens.get(token) else {
            return Standing::Unknown;
        };
        let opens = match &token.bearer {
            Bearer::Application => true,
            Bearer::User(name) => name.eq_ignore_ascii_case(user),
        };
        if !opens {
            return Standing::Unknown;
        }
        match token.ends {
            Some(ends) if ends <= Instant::now() => Standing::Expired,
            ends => Standing::Good { ends },
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}
