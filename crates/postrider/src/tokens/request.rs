//! The task of a credential: makes the one request that the cache permits, ahead of time while
//! anybody uses the token, and tells what came of it.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    ids::CredentialKey,
    time::Monotonic,
    token::{Failed, Failure, Flight, Granted, Trouble, secret_order},
};
use postrider_oauth::{error::TokenError, grant::Grant};

use super::{CredentialState, Transition, access::LastError, slot::TokenSlot};
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
        error: Option<Box<TokenError>>,
    },
}

/// `before`: how the slot stood that had this name. If anybody used it, they use this one now.
pub(super) async fn run(slot: Arc<TokenSlot>, before: Option<CredentialState>) {
    slot.succeed(before);
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
            let outcome = land(&slot, &flight, attempt);
            slot.ended.send_replace(());
            tell(&slot, outcome).await;
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
            error: None,
        },
    }
}

fn failed(error: &TokenError) -> Attempt {
    Attempt::Failed {
        failure: error.failure(),
        detail: format!("{error}; hint: {}", error.hint()),
        error: Some(Box::new(error.clone())),
    }
}

/// What a flight changed.
struct Outcome {
    names: Vec<CredentialKey>,
    state: CredentialState,
    news: News,
}

enum News {
    None,
    Began(Trouble, String),
    Recovered(Trouble),
    /// The first token of a credential whose settings were changed.
    Replaced,
}

/// Puts the result into the cache.
fn land(slot: &TokenSlot, flight: &Flight, attempt: Attempt) -> Outcome {
    let mut state = slot.state();
    let news = match attempt {
        Attempt::Granted {
            grant,
            requested_at,
            secret,
        } => {
            let (expires_in, refresh_in) = (grant.expires_in, grant.refresh_in);
            match state.cache.granted(
                flight,
                requested_at,
                expires_in,
                refresh_in,
                clock::chance(),
            ) {
                Granted::Stale => News::None,
                Granted::Token {
                    generation,
                    recovered,
                } => {
                    state.token = Some((generation, grant.access_token));
                    state.live_secret = Some(secret);
                    news_of_token(recovered, state.before.take())
                }
            }
        }
        Attempt::Failed {
            failure,
            detail,
            error,
        } => {
            let failed = state
                .cache
                .failed(flight, failure, clock::monotonic(), clock::chance());
            match failed {
                Failed::Stale => News::None,
                Failed::Began(_) | Failed::Continues(_) => {
                    state.last_error = Some(LastError {
                        at: clock::wall(),
                        detail: detail.clone(),
                        error,
                    });
                    match failed {
                        Failed::Began(trouble) => News::Began(trouble, detail),
                        Failed::Continues(_) | Failed::Stale => News::None,
                    }
                }
            }
        }
    };
    Outcome {
        names: state.names.clone(),
        state: state.credential_state(),
        news,
    }
}

fn news_of_token(recovered: Option<Trouble>, before: Option<CredentialState>) -> News {
    match (recovered, before) {
        (Some(Trouble::Refused), _) | (_, Some(CredentialState::Refused)) => {
            News::Recovered(Trouble::Refused)
        }
        (Some(Trouble::Outage), _) | (_, Some(CredentialState::Unavailable)) => {
            News::Recovered(Trouble::Outage)
        }
        (None, Some(CredentialState::Idle | CredentialState::Ready)) => News::Replaced,
        (None, None) => News::None,
    }
}

async fn tell(slot: &TokenSlot, outcome: Outcome) {
    let telemetry = &slot.deps.telemetry.tokens;
    let at = clock::wall();
    for credential in outcome.names {
        telemetry.state(&credential, outcome.state);
        let transition = match &outcome.news {
            News::None => continue,
            News::Began(Trouble::Outage, detail) => {
                telemetry.unavailable(&credential, detail);
                continue;
            }
            News::Began(Trouble::Refused, detail) => {
                telemetry.refused(&credential, detail);
                Transition::Refused {
                    credential,
                    at,
                    detail: detail.clone(),
                }
            }
            News::Recovered(from) => {
                telemetry.recovered(&credential, *from);
                match from {
                    Trouble::Refused => Transition::Recovered { credential, at },
                    Trouble::Outage => Transition::Available { credential },
                }
            }
            News::Replaced => Transition::Available { credential },
        };
        tokio::select! {
            // Nobody listens any more when the process ends.
            _ = slot.deps.transitions.send(transition) => {}
            () = slot.retired.cancelled() => return,
        }
    }
}
