//! The task of a credential: makes the one request that the cache permits, ahead of time while
//! anybody uses the token, and tells what came of it.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    ids::CredentialKey,
    time::Monotonic,
    token::{Failed, Failure, Flight, Granted, Trouble, secret_order},
};
use postrider_oauth::{error::TokenError, grant::Grant};

use super::{Transition, access::LastError, slot::TokenSlot};
use crate::{clock, secrets::SecretList};

/// One request, with everything. Entra answers within a second or two.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// A timer does not count suspend, the clock does: the longest sleep is what may be overslept.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// A secret that was refused while another one works gets its next chance after this time: a new
/// one may not be known everywhere at the provider yet, and the old one's end is near.
const SECRET_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// What came of one flight, which may be several requests when there are several secrets.
enum Attempt {
    Granted {
        grant: Grant,
        requested_at: Monotonic,
        secret: usize,
    },
    Failed {
        failure: Failure,
        detail: String,
    },
}

pub(super) async fn run(slot: Arc<TokenSlot>) {
    let mut secrets = slot.secrets.clone();
    loop {
        if secrets.has_changed().unwrap_or(false) {
            take_over(&slot, &secrets.borrow_and_update());
        }
        let list = Arc::clone(&secrets.borrow_and_update());
        let flight = slot.state().cache.start(clock::monotonic());
        if let Some(flight) = flight {
            let attempt = tokio::select! {
                attempt = attempt(&slot, &list) => attempt,
                () = slot.retired.cancelled() => return,
            };
            // Before the result is judged: it may be that of a secret that is no more.
            if secrets.has_changed().unwrap_or(false) {
                take_over(&slot, &secrets.borrow_and_update());
            }
            land(&slot, &flight, attempt).await;
            slot.ended.send_replace(());
            continue;
        }
        let due = slot.state().cache.due_at();
        let wait = due.map_or(SLEEP_MAX, |at| (at - clock::monotonic()).min(SLEEP_MAX));
        tokio::select! {
            () = slot.retired.cancelled() => return,
            () = slot.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            changed = secrets.changed() => match changed {
                Ok(()) => take_over(&slot, &secrets.borrow_and_update()),
                Err(_) => return,
            },
        }
    }
}

fn take_over(slot: &TokenSlot, list: &SecretList) {
    let mut state = slot.state();
    state.refused_at = vec![None; list.len()];
    state.cache.secret_changed();
}

/// Tries the secrets one after the other, as long as the secret itself is what is refused.
async fn attempt(slot: &TokenSlot, list: &SecretList) -> Attempt {
    let (name, order) = {
        let state = slot.state();
        let order = secret_order(&state.refused_at, clock::monotonic(), SECRET_AGAIN_AFTER);
        (state.names.first().cloned(), order)
    };
    let name = name.unwrap_or_else(|| CredentialKey::new(""));
    let mut refusal: Option<TokenError> = None;
    for index in order {
        let Some(secret) = list.get(index) else {
            continue;
        };
        let requested_at = clock::monotonic();
        let result = slot
            .client
            .request(&slot.http, secret, REQUEST_LIMIT, clock::wall())
            .await;
        let took = clock::monotonic() - requested_at;
        match result {
            Ok(grant) => {
                slot.deps
                    .telemetry
                    .tokens
                    .granted(&name, took, grant.expires_in);
                return Attempt::Granted {
                    grant,
                    requested_at,
                    secret: index,
                };
            }
            Err(error) => {
                slot.deps
                    .telemetry
                    .tokens
                    .request_failed(&name, took, &error, index + 1);
                if !error.is_about_the_secret() {
                    return failed(&error);
                }
                if let Some(at) = slot.state().refused_at.get_mut(index) {
                    *at = Some(clock::monotonic());
                }
                refusal.get_or_insert(error);
            }
        }
    }
    match refusal {
        Some(error) => failed(&error),
        None => Attempt::Failed {
            failure: Failure::Refused,
            detail: list.problems().collect::<Vec<_>>().join("; "),
        },
    }
}

fn failed(error: &TokenError) -> Attempt {
    Attempt::Failed {
        failure: error.failure(),
        detail: format!("{error}; hint: {}", error.hint()),
    }
}

/// Puts the result into the cache, and tells what changed by it.
async fn land(slot: &TokenSlot, flight: &Flight, attempt: Attempt) {
    let (told, detail, names, credential_state) = {
        let mut state = slot.state();
        let (told, detail) = match attempt {
            Attempt::Granted {
                grant,
                requested_at,
                secret,
            } => {
                let chance = clock::chance();
                let granted = state.cache.granted(
                    flight,
                    requested_at,
                    grant.expires_in,
                    grant.refresh_in,
                    chance,
                );
                match granted {
                    Granted::Stale => (Told::Nothing, String::new()),
                    Granted::Token {
                        generation,
                        recovered,
                    } => {
                        state.token = Some((generation, grant.access_token));
                        state.live_secret = Some(secret);
                        (
                            recovered.map_or(Told::Nothing, Told::Recovered),
                            String::new(),
                        )
                    }
                }
            }
            Attempt::Failed { failure, detail } => {
                let failed =
                    state
                        .cache
                        .failed(flight, failure, clock::monotonic(), clock::chance());
                if failed != Failed::Stale {
                    state.last_error = Some(LastError {
                        at: clock::wall(),
                        detail: detail.clone(),
                    });
                }
                match failed {
                    Failed::Began(trouble) => (Told::Began(trouble), detail),
                    Failed::Continues(_) | Failed::Stale => (Told::Nothing, detail),
                }
            }
        };
        (told, detail, state.names.clone(), state.credential_state())
    };
    for name in names {
        slot.deps.telemetry.tokens.state(&name, credential_state);
        tell(slot, name, told, &detail).await;
    }
}

#[derive(Clone, Copy)]
enum Told {
    Nothing,
    Began(Trouble),
    Recovered(Trouble),
}

async fn tell(slot: &TokenSlot, credential: CredentialKey, told: Told, detail: &str) {
    let telemetry = &slot.deps.telemetry.tokens;
    let at = clock::wall();
    let transition = match told {
        Told::Nothing => return,
        Told::Began(Trouble::Outage) => {
            telemetry.unavailable(&credential, detail);
            return;
        }
        Told::Began(Trouble::Refused) => {
            telemetry.refused(&credential, detail);
            Transition::Refused {
                credential,
                at,
                detail: detail.to_owned(),
            }
        }
        Told::Recovered(from) => {
            telemetry.recovered(&credential, from);
            match from {
                Trouble::Refused => Transition::Recovered { credential, at },
                Trouble::Outage => Transition::Available { credential },
            }
        }
    };
    tokio::select! {
        // Nobody listens any more when the process ends.
        _ = slot.deps.transitions.send(transition) => {}
        () = slot.retired.cancelled() => {}
    }
}
