//! Passwords: a list, newest first, of which each mailbox uses the first that its server accepts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    token::{Generation, Trouble},
};
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Access, CredentialFailure, CredentialState, CredentialStatus, Deps, LoginSecret, Next,
    Transition,
};
use crate::{clock, config::SecretRef, secrets::SecretList, telemetry::Telemetry};

pub(super) struct PasswordSlot {
    key: CredentialKey,
    pub(super) references: Vec<SecretRef>,
    pub(super) retired: CancellationToken,
    secrets: watch::Receiver<Arc<SecretList>>,
    state: Mutex<State>,
    telemetry: Arc<Telemetry>,
    transitions: mpsc::Sender<Transition>,
}

struct State {
    list: Arc<SecretList>,
    /// The generation of the list's first password; each further one counts up.
    base: u64,
    /// Mailboxes that are not content with the first password.
    tries: HashMap<MailboxKey, Try>,
}

/// Which password a mailbox uses, and how many in a row its server refused.
#[derive(Clone, Copy, Default)]
struct Try {
    index: usize,
    refused: usize,
}

impl PasswordSlot {
    pub(super) fn new(key: &CredentialKey, references: &[SecretRef], deps: &Deps) -> Self {
        let mut secrets = deps.secrets.watch(references);
        let list = Arc::clone(&secrets.borrow_and_update());
        Self {
            key: key.clone(),
            references: references.to_vec(),
            retired: deps.stop.child_token(),
            secrets,
            state: Mutex::new(State {
                list,
                base: 1,
                tries: HashMap::new(),
            }),
            telemetry: Arc::clone(&deps.telemetry),
            transitions: deps.transitions.clone(),
        }
    }

    pub(super) fn login(
        &self,
        mailbox: &MailboxKey,
        credential: &CredentialKey,
    ) -> Result<Access, CredentialFailure> {
        let state = self.state();
        let passwords: Vec<&SecretString> = state.list.live().collect();
        let index = state.tries.get(mailbox).map_or(0, |tried| tried.index);
        let Some(password) = passwords.get(index).or_else(|| passwords.first()) else {
            return Err(CredentialFailure::Refused {
                error: None,
                credential: credential.clone(),
                detail: problems(&state.list),
                retry_after: None,
            });
        };
        Ok(Access {
            secret: LoginSecret::Password((*password).clone()),
            generation: Generation(state.base.saturating_add(index as u64)),
            expires: None,
        })
    }

    pub(super) fn accepted(&self, mailbox: &MailboxKey, generation: Generation) {
        let mut state = self.state();
        if state.index(generation).is_some()
            && let Some(tried) = state.tries.get_mut(mailbox)
        {
            tried.refused = 0;
        }
    }

    /// The next password of the list, until all were refused in a row.
    pub(super) fn refused(&self, mailbox: &MailboxKey, generation: Generation) -> Next {
        let mut state = self.state();
        let count = state.list.live().count();
        let Some(index) = state.index(generation) else {
            return Next::Another;
        };
        if count < 2 {
            return Next::Same;
        }
        let tried = state.tries.entry(mailbox.clone()).or_default();
        if tried.index != index {
            return Next::Another; // Another watch of the mailbox was refused before.
        }
        tried.index = (index + 1) % count;
        tried.refused += 1;
        if tried.refused < count {
            Next::Another
        } else {
            tried.refused = 0;
            Next::Same
        }
    }

    pub(super) fn status(&self, key: &CredentialKey) -> CredentialStatus {
        let list = Arc::clone(&self.state().list);
        CredentialStatus {
            key: key.clone(),
            kind: "password",
            state: state_of(&list),
            expires_at: None,
            secret_expires_at: None,
            users: 0,
            next_request_at: None,
            last_token_at: None,
            certificates: Vec::new(),
            last_error: None,
            live_secret: None,
            secrets: list.len(),
            secret_problems: list.problems().collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn credential_state(&self) -> CredentialState {
        state_of(&self.state().list)
    }

    async fn tell_of(&self, list: &SecretList, before: Option<CredentialState>) {
        let credential = self.key.clone();
        let now = state_of(list);
        self.telemetry.tokens.state(&credential, "", now);
        let transition = match (now, before) {
            (CredentialState::Refused, Some(CredentialState::Refused)) => return,
            (CredentialState::Refused, _) => {
                let detail = problems(list);
                self.telemetry.tokens.refused(&credential, &detail);
                Transition::Refused {
                    credential,
                    at: clock::wall(),
                    detail,
                }
            }
            (
                CredentialState::Idle | CredentialState::Ready | CredentialState::Unavailable,
                before,
            ) => match before {
                None => return,
                Some(CredentialState::Refused) => {
                    self.telemetry
                        .tokens
                        .recovered(&credential, Trouble::Refused);
                    Transition::Recovered {
                        credential,
                        at: clock::wall(),
                    }
                }
                Some(
                    CredentialState::Idle | CredentialState::Ready | CredentialState::Unavailable,
                ) => Transition::Available {
                    credential,
                    user: None,
                },
            },
        };
        tokio::select! {
            // Nobody listens any more when the process ends.
            _ = self.transitions.send(transition) => {}
            () = self.retired.cancelled() => {}
        }
    }
}

impl State {
    /// Which password of the list as it is now; `None` for one of an older list.
    fn index(&self, generation: Generation) -> Option<usize> {
        let index = usize::try_from(generation.0.checked_sub(self.base)?).ok()?;
        (index < self.list.live().count()).then_some(index)
    }
}

/// Takes over lists that were read anew, and tells of them. `before`: how the slot stood that had
/// this name.
pub(super) async fn run(slot: Arc<PasswordSlot>, before: Option<CredentialState>) {
    let mut secrets = slot.secrets.clone();
    let mut list = Arc::clone(&slot.state().list);
    slot.tell_of(&list, before).await;
    loop {
        tokio::select! {
            () = slot.retired.cancelled() => return,
            changed = secrets.changed() => if changed.is_err() { return },
        }
        let before = state_of(&list);
        list = Arc::clone(&secrets.borrow_and_update());
        {
            let mut state = slot.state();
            state.base += state.list.len() as u64;
            state.list = Arc::clone(&list);
            state.tries.clear();
        }
        slot.tell_of(&list, Some(before)).await;
    }
}

fn state_of(list: &SecretList) -> CredentialState {
    if list.live().next().is_some() {
        CredentialState::Ready
    } else {
        CredentialState::Refused
    }
}

fn problems(list: &SecretList) -> String {
    list.problems().collect::<Vec<_>>().join("; ")
}
