//! The state of one credential that gives tokens, and those who wait for it. The token itself lies
//! here, under the generation that the pure cache knows it by.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    time::{Monotonic, Now, Wall},
    token::{Ask, Cache, Generation, Refusal, Trouble},
};
use postrider_oauth::microsoft::ClientCredentials;
use secrecy::SecretString;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Access, CredentialFailure, CredentialState, CredentialStatus, Deps, LoginSecret,
    access::LastError,
};
use crate::{
    clock,
    config::{Credential, SecretRef},
    secrets::SecretList,
};

/// How long a login waits for a token: several secrets may be tried, 20 s each.
const WAIT_MAX: Duration = Duration::from_secs(90);

pub(super) struct TokenSlot {
    settings: Credential,
    pub(super) client: ClientCredentials,
    pub(super) http: reqwest::Client,
    pub(super) secrets: watch::Receiver<Arc<SecretList>>,
    pub(super) retired: CancellationToken,
    /// Wakes the task: somebody asks, or a token was dropped.
    pub(super) wake: Notify,
    /// Wakes those who wait: a request has ended.
    pub(super) ended: watch::Sender<()>,
    pub(super) deps: Deps,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) names: Vec<CredentialKey>,
    pub(super) cache: Cache,
    pub(super) token: Option<(Generation, SecretString)>,
    pub(super) last_error: Option<LastError>,
    /// Which secret of the list gave the token.
    pub(super) live_secret: Option<usize>,
    /// When each secret of the list was last refused.
    pub(super) refused_at: Vec<Option<Monotonic>>,
    /// How the slot stood that had this name before, until the first token.
    pub(super) before: Option<CredentialState>,
}

pub(super) enum Login {
    Done(Result<Access, CredentialFailure>),
    /// The slot is out of use.
    Retired,
}

impl TokenSlot {
    pub(super) fn new(
        key: &CredentialKey,
        settings: Credential,
        client: ClientCredentials,
        http: reqwest::Client,
        references: &[SecretRef],
        deps: &Deps,
    ) -> Self {
        Self {
            settings,
            client,
            http,
            secrets: deps.secrets.watch(references),
            retired: deps.stop.child_token(),
            wake: Notify::new(),
            ended: watch::Sender::new(()),
            deps: deps.clone(),
            state: Mutex::new(State {
                names: vec![key.clone()],
                cache: Cache::new(deps.policy),
                token: None,
                last_error: None,
                live_secret: None,
                refused_at: vec![None; references.len()],
                before: None,
            }),
        }
    }

    /// Whether it is the same client at the same authority, with the same secrets, on the same way.
    pub(super) fn serves(&self, other: &Credential) -> bool {
        self.settings.proxy == other.proxy && self.settings.kind == other.kind
    }

    pub(super) fn name(&self, names: Vec<CredentialKey>) {
        self.state().names = names;
    }

    /// Takes the place of a slot: its users need a token of this one, whether they ask or wait.
    pub(super) fn succeed(&self, before: Option<CredentialState>) {
        let mut state = self.state();
        match before {
            None | Some(CredentialState::Idle) => {}
            Some(
                CredentialState::Ready | CredentialState::Unavailable | CredentialState::Refused,
            ) => {
                state.before = before;
                // The answer is everybody's, so none is needed here.
                let _ = state.cache.ask(clock::monotonic());
            }
        }
        for name in &state.names {
            self.deps
                .telemetry
                .tokens
                .state(name, CredentialState::Idle);
        }
    }

    pub(super) async fn login(&self, credential: &CredentialKey) -> Login {
        let mut ended = self.ended.subscribe();
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            ended.borrow_and_update();
            if self.retired.is_cancelled() {
                return Login::Retired;
            }
            if let Some(done) = self.ask(credential, clock::monotonic()) {
                return Login::Done(done);
            }
            self.wake.notify_one();
            tokio::select! {
                // An error says that the sender is gone, and it lives as long as this slot.
                _ = ended.changed() => {}
                () = self.retired.cancelled() => return Login::Retired,
                () = tokio::time::sleep_until(deadline) => {
                    return Login::Done(Err(CredentialFailure::Unavailable {
                        credential: credential.clone(),
                        detail: "the token endpoint takes too long".to_owned(),
                        error: None,
                        retry_after: None,
                    }));
                }
            }
        }
    }

    /// `None`: a request is in flight or due.
    fn ask(
        &self,
        credential: &CredentialKey,
        now: Monotonic,
    ) -> Option<Result<Access, CredentialFailure>> {
        let mut state = self.state();
        let answer = state.cache.ask(now);
        match (answer, &state.token) {
            (Ask::Use(asked), Some((generation, token))) if asked == *generation => {
                self.nudge(&state);
                Some(Ok(Access {
                    secret: LoginSecret::Token(token.clone()),
                    generation: *generation,
                    expires: state.cache.held().map(|(_, life)| life.ends),
                }))
            }
            (Ask::Use(_) | Ask::Wait, _) => None,
            (Ask::Later { trouble, until }, _) => {
                let credential = credential.clone();
                let detail = state
                    .last_error
                    .as_ref()
                    .map_or_else(String::new, |error| error.detail.clone());
                let error = state
                    .last_error
                    .as_ref()
                    .and_then(|last| last.error.clone());
                let retry_after = Some(until - now);
                Some(Err(match trouble {
                    Trouble::Refused => CredentialFailure::Refused {
                        credential,
                        detail,
                        error,
                        retry_after,
                    },
                    Trouble::Outage => CredentialFailure::Unavailable {
                        credential,
                        detail,
                        error,
                        retry_after,
                    },
                }))
            }
        }
    }

    /// The first user of a token makes its refresh due one day, which the task must learn.
    fn nudge(&self, state: &State) {
        if state.cache.due_at().is_some() {
            self.wake.notify_one();
        }
    }

    pub(super) fn accepted(&self, mailbox: &MailboxKey, generation: Generation) {
        self.state().cache.accepted(mailbox, generation);
    }

    pub(super) fn refused(&self, mailbox: &MailboxKey, generation: Generation) -> Refusal {
        let mut state = self.state();
        let refusal = state.cache.refused(mailbox, generation, clock::monotonic());
        match refusal {
            Refusal::Kept | Refusal::Stale => {}
            Refusal::DroppedProven | Refusal::DroppedUnproven => {
                state.token = None;
                state.live_secret = None;
                self.wake.notify_one();
            }
        }
        refusal
    }

    pub(super) fn status(&self, key: &CredentialKey) -> CredentialStatus {
        let now = clock::now();
        let list = Arc::clone(&self.secrets.borrow());
        let state = self.state();
        CredentialStatus {
            key: key.clone(),
            kind: self.settings.kind.as_str(),
            state: state.credential_state(),
            expires_at: state
                .cache
                .held()
                .map(|(_, life)| on_the_wall(life.ends, now)),
            next_request_at: state.cache.due_at().map(|at| on_the_wall(at, now)),
            last_error: state.last_error.clone(),
            live_secret: state.live_secret,
            secrets: list.len(),
            secret_problems: list.problems().collect(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn credential_state(&self) -> CredentialState {
        match (self.cache.trouble(), self.cache.held()) {
            (Some((Trouble::Refused, _)), _) => CredentialState::Refused,
            (Some((Trouble::Outage, _)), _) => CredentialState::Unavailable,
            (None, Some(_)) => CredentialState::Ready,
            (None, None) => CredentialState::Idle,
        }
    }
}

fn on_the_wall(at: Monotonic, now: Now) -> Wall {
    now.wall + (at - now.monotonic) - (now.monotonic - at)
}
