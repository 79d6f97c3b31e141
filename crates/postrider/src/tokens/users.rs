//! Tokens that are each for one user: a Google service account speaks for many. A user's slot is
//! made when a mailbox first logs in, and dropped when no configured mailbox uses it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_core::ids::CredentialKey;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    CredentialState, CredentialStatus, Deps,
    identity::{Identity, Settings},
    request,
    slot::TokenSlot,
};

pub(super) struct UserSlots {
    pub(super) settings: Settings,
    http: reqwest::Client,
    deps: Deps,
    retired: CancellationToken,
    /// At a start, and after an outage, all users want a token at one moment.
    lane: Arc<Semaphore>,
    refused_proofs: Arc<Mutex<BTreeSet<usize>>>,
    state: Mutex<State>,
}

/// Requests at a time for the users of one service account.
const REQUESTS_MAX: usize = 16;

struct State {
    names: Vec<CredentialKey>,
    users: BTreeMap<Arc<str>, Arc<TokenSlot>>,
    /// How the slots stood that had this name before: new ones tell whether they do better.
    before: Option<CredentialState>,
}

impl UserSlots {
    pub(super) fn new(
        key: &CredentialKey,
        settings: Settings,
        http: reqwest::Client,
        deps: &Deps,
    ) -> Self {
        Self {
            settings,
            http,
            deps: deps.clone(),
            retired: deps.stop.child_token(),
            lane: Arc::new(Semaphore::new(REQUESTS_MAX)),
            refused_proofs: Arc::default(),
            state: Mutex::new(State {
                names: vec![key.clone()],
                users: BTreeMap::new(),
                before: None,
            }),
        }
    }

    pub(super) fn start(&self, before: Option<CredentialState>) {
        let mut state = self.state();
        state.before = before;
        for name in &state.names {
            let tokens = &self.deps.telemetry.tokens;
            tokens.state(name, "", CredentialState::Idle);
        }
    }

    /// The user's slot, which starts when it is asked for first; `None` when all are out of use.
    pub(super) fn slot(&self, user: &Arc<str>) -> Option<Arc<TokenSlot>> {
        let mut state = self.state();
        if self.retired.is_cancelled() {
            return None;
        }
        if let Some(known) = state.users.get(user) {
            return Some(known.clone());
        }
        let slot = self.make(user, &state.names);
        state.users.insert(user.clone(), slot.clone());
        tokio::spawn(request::run(slot.clone(), state.before));
        Some(slot)
    }

    /// The user's slot, if it is there.
    pub(super) fn known(&self, user: &str) -> Option<Arc<TokenSlot>> {
        self.state().users.get(user).cloned()
    }

    /// A slot beside the others, for a user whom no mailbox stands for; its task ends when the
    /// returned guard is dropped.
    pub(super) fn beside(&self, user: &str) -> (Arc<TokenSlot>, tokio_util::sync::DropGuard) {
        let slot = self.make(user, &[]);
        tokio::spawn(request::run(slot.clone(), None));
        let guard = slot.retired.clone().drop_guard();
        (slot, guard)
    }

    fn make(&self, user: &str, names: &[CredentialKey]) -> Arc<TokenSlot> {
        let mut settings = self.settings.clone();
        if let Identity::User { subject, .. } = &mut settings.identity {
            *subject = Some(user.to_owned());
        }
        let key = CredentialKey::new("");
        let mut slot = TokenSlot::new(&key, settings, self.http.clone(), &self.deps);
        slot.lane = Some(self.lane.clone());
        slot.refused_proofs = self.refused_proofs.clone();
        slot.name(names.to_vec());
        Arc::new(slot)
    }

    pub(super) fn name(&self, names: &[CredentialKey]) {
        let mut state = self.state();
        state.names = names.to_vec();
        for slot in state.users.values() {
            slot.name(names.to_vec());
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<TokenSlot>> {
        self.state().users.values().cloned().collect()
    }

    /// Drops the slots of users whom no mailbox stands for any more.
    pub(super) fn keep_only(&self, users: &BTreeSet<&str>) {
        let mut state = self.state();
        let names = state.names.clone();
        state.users.retain(|user, slot| {
            let stays = users.contains(&**user);
            if !stays {
                slot.retired.cancel();
                for name in &names {
                    self.deps.telemetry.tokens.forget_user(name, user);
                }
            }
            stays
        });
    }

    pub(super) fn retire(&self) {
        let state = self.state();
        self.retired.cancel();
        for slot in state.users.values() {
            slot.retired.cancel();
        }
    }

    pub(super) fn credential_state(&self) -> CredentialState {
        let state = self.state();
        let states = state
            .users
            .values()
            .map(|slot| slot.state().credential_state());
        CredentialState::best(states)
    }

    /// How the best of them stands; the number of users beside it.
    pub(super) fn status(&self, key: &CredentialKey) -> CredentialStatus {
        let users = self.all();
        let best = self.credential_state();
        let one = users
            .iter()
            .find(|slot| slot.state().credential_state() == best)
            .cloned()
            .unwrap_or_else(|| self.make("", &[]));
        let last_error = users
            .iter()
            .filter_map(|slot| slot.state().last_error.clone())
            .max_by_key(|error| error.at);
        let last_token_at = users
            .iter()
            .filter_map(|slot| slot.state().last_token_at)
            .max();
        CredentialStatus {
            users: users.len(),
            last_error,
            last_token_at,
            ..one.status(key)
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the task of one user takes while it waits.
    #[cfg(test)]
    pub(super) fn task_bytes(&self) -> usize {
        size_of_val(&request::run(self.make("", &[]), None))
    }
}
