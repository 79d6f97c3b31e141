//! Which access tokens are good, for whom and until when. One authority is shared by a token
//! endpoint that issues and the mail servers that check. It never prints a token.

use std::{
    collections::{HashMap, HashSet},
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
    /// Object ids of service principals that were registered with the mail server.
    principals: Mutex<Option<HashSet<String>>>,
    changes: Changes,
}

#[derive(Clone)]
struct Token {
    bearer: Bearer,
    ends: Option<Instant>,
    holder: Option<Holder>,
}

/// To which application a token was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub tenant: String,
    pub client_id: String,
    /// Of the service principal.
    pub object_id: String,
}

/// Whose mailboxes a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// Every mailbox that takes tokens of this authority, as an application token does.
    Application,
    /// One user's.
    User(String),
    /// A user's own, and those that were shared with them.
    Users(Vec<String>),
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
        self.insert(token, bearer, lifetime, None);
    }

    /// The same, and who holds it: [`only_principals`](Self::only_principals) looks at that.
    pub fn accept_for(
        &self,
        token: &str,
        bearer: Bearer,
        lifetime: Option<Duration>,
        holder: Holder,
    ) {
        self.insert(token, bearer, lifetime, Some(holder));
    }

    fn insert(
        &self,
        token: &str,
        bearer: Bearer,
        lifetime: Option<Duration>,
        holder: Option<Holder>,
    ) {
        let ends = lifetime.map(|lifetime| Instant::now() + lifetime);
        let kept = Token {
            bearer,
            ends,
            holder,
        };
        lock(&self.0.tokens).insert(token.to_owned(), kept);
        self.0.changes.tell();
    }

    /// From now on an application's token opens mailboxes only if its service principal is one of
    /// these object ids, as Exchange knows only those of `New-ServicePrincipal`.
    pub fn only_principals(&self, object_ids: &[&str]) {
        let ids = object_ids.iter().map(|&id| id.to_owned()).collect();
        *lock(&self.0.principals) = Some(ids);
        self.0.changes.tell();
    }

    /// Who was given this token.
    pub fn holder(&self, token: &str) -> Option<Holder> {
        let tokens = lock(&self.0.tokens);
        tokens.get(token).and_then(|token| token.holder.clone())
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
            Bearer::Application => self.is_registered(token.holder.as_ref()),
            Bearer::User(name) => name.eq_ignore_ascii_case(user),
            Bearer::Users(names) => names.iter().any(|name| name.eq_ignore_ascii_case(user)),
        };
        if !opens {
            return Standing::Unknown;
        }
        match token.ends {
            Some(ends) if ends <= Instant::now() => Standing::Expired,
            ends => Standing::Good { ends },
        }
    }

    fn is_registered(&self, holder: Option<&Holder>) -> bool {
        match (&*lock(&self.0.principals), holder) {
            (Some(known), Some(holder)) => known.contains(&holder.object_id),
            (Some(_), None) | (None, _) => true,
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}
