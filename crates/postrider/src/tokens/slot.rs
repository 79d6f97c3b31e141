//! The state of one credential that gives tokens, and those who wait for it. The token itself lies
//! here, under the generation that the pure cache knows it by.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    time::{Monotonic, Now, Wall},
    token::{Ask, Cache, Generation, Refusal, Renewal, Trouble},
};
use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Access, CredentialFailure, CredentialState, CredentialStatus, Deps, LoginSecret,
    access::{LastError, Settled},
    identity::{Identity, Settings},
    proofs::{Proofs, Proven},
    vaulted::Unsaved,
};
use crate::{
    clock,
    config::Environment,
    secrets::SecretList,
    telemetry::tokens::Whole,
    vault::{Stamp, Vault},
};

/// How long a login waits for a token: several secrets may be tried, 20 s each.
const WAIT_MAX: Duration = Duration::from_secs(90);

pub(super) struct TokenSlot {
    pub(super) settings: Settings,
    pub(super) http: reqwest::Client,
    /// Where its refresh token lies, if it has one there.
    pub(super) vault: Option<Vault>,
    pub(super) secrets: watch::Receiver<Arc<SecretList>>,
    pub(super) retired: CancellationToken,
    /// Wakes the task: somebody asks, or a token was dropped.
    pub(super) wake: Notify,
    /// Wakes those who wait: a request has ended.
    pub(super) ended: watch::Sender<()>,
    pub(super) deps: Deps,
    /// Who shares the token endpoint with many others asks when there is room.
    pub(super) lane: Option<Arc<Semaphore>>,
    /// Those who share it have the same proofs, and tell of a refused new one once for all of them.
    pub(super) refused_proofs: Arc<Mutex<BTreeSet<usize>>>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) names: Vec<CredentialKey>,
    pub(super) cache: Cache,
    pub(super) proofs: Proofs,
    pub(super) token: Option<(Generation, SecretString)>,
    pub(super) last_error: Option<LastError>,
    /// How the slot stood that had this name before, until the first token.
    pub(super) before: Option<CredentialState>,
    pub(super) unsaved: Option<Unsaved>,
    /// The vault's record as it was seen last.
    record: Option<Stamp>,
    /// When the last token came.
    pub(super) last_token_at: Option<Wall>,
    /// The next token may open what the one in use does not: those that rest try again with it.
    pub(super) awaited: bool,
    /// New proofs that were refused and are still there.
    refused: BTreeSet<u64>,
}

pub(super) enum Login {
    Done(Result<Access, CredentialFailure>),
    /// The slot is out of use.
    Retired,
}

impl TokenSlot {
    pub(super) fn new(
        key: &CredentialKey,
        settings: Settings,
        http: reqwest::Client,
        deps: &Deps,
    ) -> Self {
        let materials = settings.proofs.iter().flat_map(|proof| proof.materials());
        let mut secrets = deps.secrets.watch_materials(materials.collect());
        let proofs = Proofs::new(&settings, &secrets.borrow_and_update());
        let vault = match &settings.identity {
            Identity::Person { vault, .. } => Some(Vault::new(
                vault.path.clone(),
                vault.key.clone(),
                Environment::of_process(),
            )),
            Identity::Own(_)
            | Identity::Refreshed(..)
            | Identity::User { .. }
            | Identity::Foreign(..) => None,
        };
        Self {
            settings,
            http,
            vault,
            secrets,
            retired: deps.stop.child_token(),
            wake: Notify::new(),
            ended: watch::Sender::new(()),
            deps: deps.clone(),
            lane: None,
            refused_proofs: Arc::default(),
            state: Mutex::new(State {
                names: vec![key.clone()],
                cache: Cache::new(deps.policy),
                proofs,
                token: None,
                last_error: None,
                before: None,
                unsaved: None,
                record: None,
                last_token_at: None,
                awaited: false,
                refused: BTreeSet::new(),
            }),
        }
    }

    /// What was read anew is proven at once, if anybody uses the credential.
    pub(super) fn take_over(&self, list: &SecretList) {
        let problems = {
            let mut state = self.state();
            state.proofs.take_over(list);
            state.cache.secret_changed();
            state.proofs.problems().join("; ")
        };
        if !problems.is_empty() {
            let tokens = &self.deps.telemetry.tokens;
            tokens.proof_unusable(&self.first_name(), &problems);
        }
    }

    /// A sign-in that another process has stored is as good as a new secret.
    pub(super) fn look_at_vault(&self) {
        let (Some(vault), Identity::Person { credential, .. }) =
            (&self.vault, &self.settings.identity)
        else {
            return;
        };
        let record = vault.stamp(credential);
        let mut state = self.state();
        if state.record != record {
            let is_first = state.record.is_none() && state.cache.trouble().is_none();
            state.record = record;
            if !is_first {
                state.cache.secret_changed();
                state.awaited = true;
            }
        }
    }

    pub(super) fn first_name(&self) -> CredentialKey {
        let name = self.state().names.first().cloned();
        name.unwrap_or_else(|| CredentialKey::new(""))
    }

    /// What is wrong with the references and what they hold, each with its hint.
    pub(super) fn problems(&self) -> String {
        let list = Arc::clone(&self.secrets.borrow());
        let state = self.state();
        let all: Vec<String> = list
            .problems()
            .chain(state.proofs.problems().iter().cloned())
            .collect();
        match all.as_slice() {
            [] => "nothing is left to prove it with".to_owned(),
            all => all.join("; "),
        }
    }

    /// The user whose token this is, where each has their own.
    pub(super) fn user(&self) -> &str {
        match &self.settings.identity {
            Identity::User { subject, .. } => subject.as_deref().unwrap_or_default(),
            Identity::Own(_)
            | Identity::Person { .. }
            | Identity::Refreshed(..)
            | Identity::Foreign(..) => "",
        }
    }

    /// Says how the credential stood with all its users, and how it stands now.
    pub(super) fn tell_state(&self, credential: &CredentialKey, state: CredentialState) -> Whole {
        let tokens = &self.deps.telemetry.tokens;
        tokens.state(credential, self.user(), state)
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
            self.tell_state(name, CredentialState::Idle);
        }
    }

    pub(super) fn name(&self, names: Vec<CredentialKey>) {
        self.state().names = names;
    }

    /// The vault's record is as this process left it.
    pub(super) fn seen_record(&self) {
        if let (Some(vault), Identity::Person { credential, .. }) =
            (&self.vault, &self.settings.identity)
        {
            let record = vault.stamp(credential);
            self.state().record = record;
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
                if done.is_err() && self.vault.is_some() {
                    // Somebody may have signed in since: the task looks at the vault.
                    self.wake.notify_one();
                }
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

    /// Whether it is this slot's to tell that the new proof of this number is refused.
    pub(super) fn is_first_to_refuse(&self, number: usize) -> bool {
        self.lane.is_none() || self.refused_proofs().insert(number)
    }

    /// Whether it is this slot's to tell that no new proof is refused any more.
    pub(super) fn is_first_to_settle(&self) -> bool {
        self.lane.is_none() || !std::mem::take(&mut *self.refused_proofs()).is_empty()
    }

    fn refused_proofs(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        let told = self.refused_proofs.lock();
        told.unwrap_or_else(PoisonError::into_inner)
    }

    /// The token in use, for whoever waits for another one.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.state().cache.held().map(|(generation, _)| generation)
    }

    /// Somebody ordered a new token.
    pub(super) fn renew(&self) -> Renewal {
        let mut state = self.state();
        let renewal = state.cache.renew(clock::monotonic());
        match renewal {
            Renewal::Ordered => {
                state.awaited = true;
                self.wake.notify_one();
            }
            Renewal::TooSoon { .. } => {}
        }
        renewal
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
                state.proofs.forget_live();
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
            kind: self.settings.kind,
            state: state.credential_state(),
            expires_at: state
                .cache
                .held()
                .map(|(_, life)| on_the_wall(life.ends, now)),
            next_request_at: state.cache.due_at().map(|at| on_the_wall(at, now)),
            last_token_at: state.last_token_at,
            certificates: state.proofs.certificates(),
            last_error: state.last_error.clone(),
            live_secret: state.proofs.live_index(),
            secrets: state.proofs.count(),
            secret_problems: list
                .problems()
                .chain(state.proofs.problems().iter().cloned())
                .collect(),
            secret_expires_at: state.proofs.ends(),
            users: 0,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// New proofs were refused while the one before serves on.
    pub(super) fn note_refused(&mut self, proofs: impl Iterator<Item = u64>) {
        self.refused.extend(proofs);
    }

    /// Says once how it ended with the new proofs that were refused.
    pub(super) fn settle(&mut self, gave: Option<Proven>) -> Option<Settled> {
        let was_refused = !self.refused.is_empty();
        let proofs = &self.proofs;
        self.refused.retain(|id| proofs.is_unproven(*id));
        (was_refused && self.refused.is_empty()).then_some(match gave {
            Some(_) => Settled::Accepted,
            None => Settled::Withdrawn,
        })
    }

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
