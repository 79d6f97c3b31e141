//! Access for every mailbox: one shared token or password per credential, whatever the number of
//! mailboxes. Secrets and tokens stay in types that print nothing.
//!
//! When to ask for a token and when to drop one is decided by `postrider_core::token`; a task per
//! credential makes the one request that it permits.

mod access;
mod password;
mod plan;
mod slot;

mod request;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    token::{Generation, Refusal, TokenPolicy},
};
use postrider_oauth::microsoft::AuthorityError;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    password::PasswordSlot,
    plan::Plan,
    slot::{Login, TokenSlot},
};
use crate::{
    config::{Config, Credential, Environment},
    network::NetworkError,
    secrets::{Pace, Secrets},
    telemetry::{Telemetry, tokens::DroppedToken},
};

pub use access::{
    Access, CredentialFailure, CredentialState, CredentialStatus, LoginSecret, Next, Transition,
};

type Credentials = BTreeMap<CredentialKey, Arc<Credential>>;

/// Why a set of credentials cannot be put into use. The old one stays.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error("credential {credential}: {error}")]
    Authority {
        credential: CredentialKey,
        error: AuthorityError,
    },
    #[error("credential {credential}: {error}")]
    Network {
        credential: CredentialKey,
        error: NetworkError,
    },
    #[error("credential {credential}: tokens of type {kind} are not asked for yet")]
    Unserved {
        credential: CredentialKey,
        kind: &'static str,
    },
}

/// The handle that all workers share.
pub struct Tokens {
    deps: Deps,
    slots: RwLock<BTreeMap<CredentialKey, Slot>>,
    configuring: Mutex<()>,
    _stop: DropGuard,
}

/// What a credential's task leans on.
#[derive(Clone)]
struct Deps {
    telemetry: Arc<Telemetry>,
    transitions: mpsc::Sender<Transition>,
    secrets: Secrets,
    policy: TokenPolicy,
    stop: CancellationToken,
}

#[derive(Clone)]
enum Slot {
    Token(Arc<TokenSlot>),
    Password(Arc<PasswordSlot>),
}

impl Tokens {
    /// Starts the credentials' tasks, so it must be called within the runtime; they end when the
    /// handle is dropped. Nothing is asked for before somebody logs in. `transitions` hears of
    /// credentials that are refused, recover, or are worth another try.
    pub fn new(
        config: &Config,
        telemetry: Arc<Telemetry>,
        transitions: mpsc::Sender<Transition>,
    ) -> Result<Self, ConfigureError> {
        let secrets = Secrets::new(
            Environment::of_process(),
            Arc::clone(&telemetry),
            Pace::default(),
        );
        Self::with(
            &config.credentials,
            telemetry,
            transitions,
            secrets,
            TokenPolicy::default(),
        )
    }

    /// The same with secrets and figures of the caller's choice.
    pub fn with(
        credentials: &Credentials,
        telemetry: Arc<Telemetry>,
        transitions: mpsc::Sender<Transition>,
        secrets: Secrets,
        policy: TokenPolicy,
    ) -> Result<Self, ConfigureError> {
        let stop = CancellationToken::new();
        let tokens = Self {
            deps: Deps {
                telemetry,
                transitions,
                secrets,
                policy,
                stop: stop.clone(),
            },
            slots: RwLock::default(),
            configuring: Mutex::default(),
            _stop: stop.drop_guard(),
        };
        tokens.put(credentials)?;
        Ok(tokens)
    }

    /// Puts a new set of credentials into use, or none of it. What did not change keeps its token.
    pub fn reconfigure(&self, config: &Config) -> Result<(), ConfigureError> {
        self.put(&config.credentials)
    }

    fn put(&self, credentials: &Credentials) -> Result<(), ConfigureError> {
        let _turn = self
            .configuring
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self
            .slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (slots, fresh) = Plan::make(&self.deps, credentials, &old)?;
        name_slots(&slots);
        self.deps.telemetry.tokens.configured(slots.keys());
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = slots.clone();
        for (key, slot) in fresh {
            let before = old.get(&key).map(Slot::credential_state);
            slot.start(before);
        }
        for slot in old
            .values()
            .filter(|slot| !slots.values().any(|kept| kept.is(slot)))
        {
            slot.retire();
        }
        self.deps.secrets.look_soon();
        Ok(())
    }

    /// What to log in with. It waits for a token that is being asked for, for at most 90 s.
    pub async fn login(
        &self,
        mailbox: &MailboxKey,
        credential: &CredentialKey,
    ) -> Result<Access, CredentialFailure> {
        loop {
            match self.slot(credential) {
                None => return Err(CredentialFailure::Unknown(credential.clone())),
                Some(Slot::Password(slot)) => return slot.login(mailbox, credential),
                Some(Slot::Token(slot)) => match slot.login(credential).await {
                    Login::Done(result) => return result,
                    // Its settings changed meanwhile: the name stands for another one now.
                    Login::Retired => {}
                },
            }
        }
    }

    /// The mail server let this mailbox in (and the probe after the login went well).
    pub fn accepted(
        &self,
        mailbox: &MailboxKey,
        credential: &CredentialKey,
        generation: Generation,
    ) {
        match self.slot(credential) {
            None => {}
            Some(Slot::Password(slot)) => slot.accepted(mailbox, generation),
            Some(Slot::Token(slot)) => slot.accepted(mailbox, generation),
        }
    }

    /// The mail server refused what [`Self::login`] gave. Says whether there is something else to try.
    pub fn refused(
        &self,
        mailbox: &MailboxKey,
        credential: &CredentialKey,
        generation: Generation,
    ) -> Next {
        match self.slot(credential) {
            None => Next::Same,
            Some(Slot::Password(slot)) => slot.refused(mailbox, generation),
            Some(Slot::Token(slot)) => {
                let dropped = match slot.refused(mailbox, generation) {
                    Refusal::Kept => return Next::Same,
                    Refusal::Stale => return Next::Another,
                    Refusal::DroppedProven => DroppedToken::Proven,
                    Refusal::DroppedUnproven => DroppedToken::Unproven,
                };
                self.deps
                    .telemetry
                    .tokens
                    .token_dropped(credential, dropped);
                Next::Another
            }
        }
    }

    /// How every credential stands, for the admin API.
    pub fn snapshot(&self) -> Vec<CredentialStatus> {
        let slots = self
            .slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        slots
            .iter()
            .map(|(key, slot)| match slot {
                Slot::Token(slot) => slot.status(key),
                Slot::Password(slot) => slot.status(key),
            })
            .collect()
    }

    /// The watcher of secrets, for those that need others than credentials.
    pub fn secrets(&self) -> &Secrets {
        &self.deps.secrets
    }

    fn slot(&self, credential: &CredentialKey) -> Option<Slot> {
        self.slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(credential)
            .cloned()
    }
}

impl Slot {
    /// `before` is how the slot stood that had this name: who waits for that one hears of this.
    fn start(self, before: Option<CredentialState>) {
        match self {
            Self::Token(slot) => drop(tokio::spawn(request::run(slot, before))),
            Self::Password(slot) => drop(tokio::spawn(password::run(slot, before))),
        }
    }

    fn credential_state(&self) -> CredentialState {
        match self {
            Self::Token(slot) => slot.state().credential_state(),
            Self::Password(slot) => slot.credential_state(),
        }
    }

    fn retire(&self) {
        match self {
            Self::Token(slot) => slot.retired.cancel(),
            Self::Password(slot) => slot.retired.cancel(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(a), Self::Token(b)) => Arc::ptr_eq(a, b),
            (Self::Password(a), Self::Password(b)) => Arc::ptr_eq(a, b),
            (Self::Token(_), Self::Password(_)) | (Self::Password(_), Self::Token(_)) => false,
        }
    }
}

/// A slot that several names share reports under all of them.
fn name_slots(slots: &BTreeMap<CredentialKey, Slot>) {
    for slot in slots.values() {
        if let Slot::Token(slot) = slot {
            let names = slots
                .iter()
                .filter(
                    |(_, other)| matches!(other, Slot::Token(other) if Arc::ptr_eq(slot, other)),
                )
                .map(|(key, _)| key.clone())
                .collect();
            slot.name(names);
        }
    }
}
