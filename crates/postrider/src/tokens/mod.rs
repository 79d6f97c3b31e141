//! Access for every mailbox: one shared token or password per credential, whatever the number of
//! mailboxes. Secrets and tokens stay in types that print nothing.
//!
//! When to ask for a token and when to drop one is decided by `postrider_core::token`; a task per
//! credential makes the one request that it permits.

mod access;
mod identity;
mod plan;
mod slot;

mod outcome;
mod proofs;
mod renew;
mod request;

mod foreign;
pub(crate) mod once;
mod vaulted;

mod expiry;
mod password;
mod users;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    time::Wall,
    token::{Generation, Refusal, TokenPolicy},
};
use postrider_oauth::authority::AuthorityError;
use tokio::sync::{Notify, mpsc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{
    identity::Settings,
    password::PasswordSlot,
    plan::{Plan, Slots},
    slot::{Login, TokenSlot},
    users::UserSlots,
};
use crate::{
    config::{Config, Credential, CredentialKind, Environment, VaultConfig},
    network::NetworkError,
    secrets::{Pace, Secrets},
    telemetry::{Telemetry, tokens::DroppedToken},
};

pub use access::{
    Access, CertificateStatus, CredentialFailure, CredentialState, CredentialStatus, LoginSecret,
    News, Next, Transition,
};
pub use renew::Renewed;

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
}

/// The handle that all workers share.
pub struct Tokens {
    deps: Deps,
    active: Arc<RwLock<Active>>,
    configuring: Mutex<()>,
    _stop: DropGuard,
}

/// What is to be put into use.
pub struct Wanted<'a> {
    pub credentials: &'a Credentials,
    pub vault: &'a VaultConfig,
    /// How long an event that was delivered is remembered.
    pub keep_delivered: std::time::Duration,
    /// User names of the mailboxes whose credential gives each user a token of their own.
    pub users: BTreeMap<MailboxKey, (CredentialKey, Arc<str>)>,
}

impl<'a> Wanted<'a> {
    fn by(config: &'a Config) -> Self {
        let is_per_user = |key: &CredentialKey| {
            let kind = config.credentials.get(key).map(|one| &one.kind);
            matches!(kind, Some(CredentialKind::Google(_)))
        };
        let users = config
            .mailboxes
            .values()
            .filter(|mailbox| is_per_user(&mailbox.credential))
            .map(|mailbox| {
                let user = (mailbox.credential.clone(), mailbox.username.clone());
                (mailbox.key.clone(), user)
            });
        Self {
            credentials: &config.credentials,
            vault: &config.vault,
            keep_delivered: config.store.keep_delivered,
            users: users.collect(),
        }
    }
}

/// What is in use.
#[derive(Default)]
struct Active {
    slots: Slots,
    users: BTreeMap<MailboxKey, Arc<str>>,
    /// As the configuration says.
    expires: BTreeMap<CredentialKey, Wall>,
}

/// What a credential's task leans on.
#[derive(Clone)]
struct Deps {
    telemetry: Arc<Telemetry>,
    transitions: mpsc::Sender<Transition>,
    secrets: Secrets,
    policy: TokenPolicy,
    stop: CancellationToken,
    look_at_ends: Arc<Notify>,
    /// Requests that must come to their end: they use up a refresh token.
    asking: TaskTracker,
}

#[derive(Clone)]
enum Slot {
    Token(Arc<TokenSlot>),
    Users(Arc<UserSlots>),
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
            &Wanted::by(config),
            telemetry,
            transitions,
            secrets,
            TokenPolicy::default(),
        )
    }

    /// The same with secrets and figures of the caller's choice.
    pub fn with(
        wanted: &Wanted<'_>,
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
                look_at_ends: Arc::new(Notify::new()),
                asking: TaskTracker::new(),
            },
            active: Arc::default(),
            configuring: Mutex::default(),
            _stop: stop.drop_guard(),
        };
        tokens.put(wanted)?;
        let (active, deps) = (tokens.active.clone(), tokens.deps.clone());
        tokio::spawn(expiry::run(active, deps, wanted.keep_delivered));
        Ok(tokens)
    }

    /// Puts a new set of credentials into use, or none of it. What did not change keeps its token.
    pub fn reconfigure(&self, config: &Config) -> Result<(), ConfigureError> {
        self.put(&Wanted::by(config))
    }

    fn put(&self, wanted: &Wanted<'_>) -> Result<(), ConfigureError> {
        let _turn = self
            .configuring
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self.slots();
        let (slots, fresh) = Plan::make(&self.deps, wanted, &old)?;
        name_slots(&slots);
        self.deps.telemetry.tokens.configured(slots.keys());
        let users = wanted.users.iter();
        let expires = wanted.credentials.iter();
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Active {
            slots: slots.clone(),
            users: users
                .map(|(mailbox, (_, user))| (mailbox.clone(), user.clone()))
                .collect(),
            expires: expires
                .filter_map(|(key, one)| Some((key.clone(), one.expires?)))
                .collect(),
        };
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
        drop_users(&slots, wanted);
        self.deps.secrets.look_soon();
        self.deps.look_at_ends.notify_one();
        Ok(())
    }

    /// Asks for no more tokens; returns when what answers to refresh tokens under way have brought is
    /// stored, or after `limit`.
    pub async fn stop(&self, limit: std::time::Duration) {
        self.deps.stop.cancel();
        self.deps.asking.close();
        if tokio::time::timeout(limit, self.deps.asking.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "a token endpoint has not answered; the refresh token that it may have replaced is tried again at the next start"
            );
        }
    }

    /// What to log in with. It waits for a token that is being asked for, for at most 90 s.
    pub async fn login(
        &self,
        mailbox: &MailboxKey,
        credential: &CredentialKey,
    ) -> Result<Access, CredentialFailure> {
        loop {
            if self.deps.stop.is_cancelled() {
                return Err(CredentialFailure::Unavailable {
                    credential: credential.clone(),
                    detail: "postrider is stopping".to_owned(),
                    error: None,
                    retry_after: None,
                });
            }
            match self.slot(credential) {
                None => return Err(CredentialFailure::Unknown(credential.clone())),
                Some(Slot::Password(slot)) => return slot.login(mailbox, credential),
                Some(Slot::Token(slot)) => match slot.login(credential).await {
                    Login::Done(result) => return result,
                    // Its settings changed meanwhile: the name stands for another one now.
                    Login::Retired => {}
                },
                Some(Slot::Users(users)) => {
                    let Some(user) = self.user(mailbox) else {
                        return Err(CredentialFailure::Unknown(credential.clone()));
                    };
                    let Some(slot) = users.slot(&user) else {
                        continue;
                    };
                    match slot.login(credential).await {
                        Login::Done(result) => return result,
                        Login::Retired => {}
                    }
                }
            }
        }
    }

    /// What to log in with at a mailbox that is not configured: where tokens are each for one user,
    /// one for this user, which is asked for now and kept by nobody.
    pub async fn login_as(
        &self,
        credential: &CredentialKey,
        user: &str,
    ) -> Result<Access, CredentialFailure> {
        if let Some(Slot::Users(users)) = self.slot(credential) {
            let (slot, _ends) = users.beside(user);
            return match slot.login(credential).await {
                Login::Done(result) => result,
                Login::Retired => Err(CredentialFailure::Unknown(credential.clone())),
            };
        }
        self.login(&MailboxKey::new(""), credential).await
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
            Some(Slot::Users(users)) => {
                let user = self.user(mailbox);
                if let Some(slot) = user.and_then(|user| users.known(&user)) {
                    slot.accepted(mailbox, generation);
                }
            }
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
            Some(Slot::Token(slot)) => self.token_refused(&slot, mailbox, credential, generation),
            Some(Slot::Users(users)) => {
                let user = self.user(mailbox);
                match user.and_then(|user| users.known(&user)) {
                    Some(slot) => self.token_refused(&slot, mailbox, credential, generation),
                    None => Next::Another,
                }
            }
        }
    }

    fn token_refused(
        &self,
        slot: &TokenSlot,
        mailbox: &MailboxKey,
        credential: &CredentialKey,
        generation: Generation,
    ) -> Next {
        let dropped = match slot.refused(mailbox, generation) {
            Refusal::Kept => return Next::Same,
            Refusal::Stale => return Next::Another,
            Refusal::DroppedProven => DroppedToken::Proven,
            Refusal::DroppedUnproven => DroppedToken::Unproven,
        };
        let tokens = &self.deps.telemetry.tokens;
        tokens.token_dropped(credential, dropped);
        Next::Another
    }

    /// How every credential stands, for the admin API.
    pub fn snapshot(&self) -> Vec<CredentialStatus> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let (slots, expires) = (active.slots.clone(), active.expires.clone());
        drop(active);
        slots
            .iter()
            .map(|(key, slot)| {
                let mut status = match slot {
                    Slot::Token(slot) => slot.status(key),
                    Slot::Users(users) => users.status(key),
                    Slot::Password(slot) => slot.status(key),
                };
                let written = expires.get(key).copied();
                let ends = status.secret_expires_at.into_iter().chain(written);
                status.secret_expires_at = ends.min();
                status
            })
            .collect()
    }

    /// The watcher of secrets, for those that need others than credentials.
    pub fn secrets(&self) -> &Secrets {
        &self.deps.secrets
    }

    fn slot(&self, credential: &CredentialKey) -> Option<Slot> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.slots.get(credential).cloned()
    }

    fn slots(&self) -> Slots {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.slots.clone()
    }

    fn user(&self, mailbox: &MailboxKey) -> Option<Arc<str>> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.users.get(mailbox).cloned()
    }
}

impl Slot {
    /// `before` is how the slot stood that had this name: who waits for that one hears of this.
    fn start(self, before: Option<CredentialState>) {
        match self {
            Self::Token(slot) => drop(tokio::spawn(request::run(slot, before))),
            Self::Users(users) => users.start(before),
            Self::Password(slot) => drop(tokio::spawn(password::run(slot, before))),
        }
    }

    fn credential_state(&self) -> CredentialState {
        match self {
            Self::Token(slot) => slot.state().credential_state(),
            Self::Users(users) => users.credential_state(),
            Self::Password(slot) => slot.credential_state(),
        }
    }

    fn retire(&self) {
        match self {
            Self::Token(slot) => slot.retired.cancel(),
            Self::Users(users) => users.retire(),
            Self::Password(slot) => slot.retired.cancel(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(a), Self::Token(b)) => Arc::ptr_eq(a, b),
            (Self::Users(a), Self::Users(b)) => Arc::ptr_eq(a, b),
            (Self::Password(a), Self::Password(b)) => Arc::ptr_eq(a, b),
            (Self::Token(_) | Self::Users(_) | Self::Password(_), _) => false,
        }
    }

    /// `None`: a password.
    fn settings(&self) -> Option<&Settings> {
        match self {
            Self::Token(slot) => Some(&slot.settings),
            Self::Users(users) => Some(&users.settings),
            Self::Password(_) => None,
        }
    }

    /// When the secret or certificate in use ends, as it says itself.
    fn ends(&self) -> Option<Wall> {
        match self {
            Self::Token(slot) => slot.state().proofs.ends(),
            Self::Users(_) | Self::Password(_) => None,
        }
    }
}

/// A slot that several names share reports under all of them.
fn name_slots(slots: &Slots) {
    for slot in slots.values() {
        let same = slots.iter().filter(|(_, other)| slot.is(other));
        let names: Vec<CredentialKey> = same.map(|(key, _)| key.clone()).collect();
        match slot {
            Slot::Token(slot) => slot.name(names),
            Slot::Users(users) => users.name(&names),
            Slot::Password(_) => {}
        }
    }
}

/// Users for whom no mailbox is configured any more need no token.
fn drop_users(slots: &Slots, wanted: &Wanted<'_>) {
    for slot in slots.values() {
        if let Slot::Users(users) = slot {
            let names = slots.iter().filter(|(_, other)| slot.is(other));
            let names: BTreeSet<&CredentialKey> = names.map(|(key, _)| key).collect();
            let mine = wanted.users.values();
            let mine = mine.filter(|(credential, _)| names.contains(credential));
            users.keep_only(&mine.map(|(_, user)| &**user).collect());
        }
    }
}
