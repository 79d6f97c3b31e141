//! What came of a request: it goes into the cache, and what it changed is told, once each.

use postrider_core::{
    ids::CredentialKey,
    time::Wall,
    token::{Failed, Flight, Granted, Trouble},
};

use super::{
    CredentialState, Transition,
    access::{LastError, Settled},
    proofs::Proven,
    request::{Attempt, RefusedProof, Success, Trial},
    slot::{State, TokenSlot},
};
use crate::{clock, telemetry::tokens::Whole};

/// What a flight changed.
pub(super) struct Outcome {
    names: Vec<CredentialKey>,
    state: CredentialState,
    news: News,
    refused: Vec<RefusedProof>,
    proven: Option<Proven>,
    settled: Option<Settled>,
}

enum News {
    None,
    Began(Trouble, String),
    Recovered(Trouble),
    /// The first token of a credential whose settings were changed, or one that somebody waits for.
    Replaced,
}

/// Whether what a flight said of new proofs stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// A token is in use, and they are judged beside it.
    Stands,
    /// All is refused, or out of reach, which is told as such.
    Drowned,
    /// They have changed meanwhile.
    Stale,
}

/// Puts the result into the cache.
pub(super) fn land(slot: &TokenSlot, flight: &Flight, attempt: Attempt) -> Outcome {
    let mut state = slot.state();
    let (news, proven, word) = match attempt.result {
        Ok(success) => took(&mut state, flight, success),
        Err(trial) => {
            let (news, word) = failed(&mut state, flight, trial);
            (news, None, word)
        }
    };
    let (refused, settled) = match word {
        Word::Stands => {
            let mut refused = attempt.refused;
            state.note_refused(refused.iter().map(|one| one.id));
            refused.retain(|one| slot.is_first_to_refuse(one.number));
            let settled = state.settle(proven);
            (refused, settled.filter(|_| slot.is_first_to_settle()))
        }
        Word::Drowned | Word::Stale => (Vec::new(), None),
    };
    Outcome {
        names: state.names.clone(),
        state: state.credential_state(),
        settled: match news {
            // It says the same, and more.
            News::Recovered(Trouble::Refused) => None,
            News::None | News::Began(..) | News::Recovered(Trouble::Outage) | News::Replaced => {
                settled
            }
        },
        news,
        refused,
        proven,
    }
}

fn took(state: &mut State, flight: &Flight, success: Success) -> (News, Option<Proven>, Word) {
    let grant = success.grant;
    let granted = state.cache.granted(
        flight,
        success.requested_at,
        grant.expires_in,
        grant.refresh_in,
        clock::chance(),
    );
    let proven = state.proofs.granted(success.id);
    match granted {
        Granted::Stale => (News::None, proven, Word::Stale),
        Granted::Token {
            generation,
            recovered,
        } => {
            state.token = Some((generation, grant.access_token));
            state.last_token_at = Some(clock::wall());
            let awaited = std::mem::take(&mut state.awaited);
            let news = match news_of_token(recovered, state.before.take()) {
                News::None if awaited => News::Replaced,
                news => news,
            };
            (news, proven, Word::Stands)
        }
    }
}

fn failed(state: &mut State, flight: &Flight, trial: Trial) -> (News, Word) {
    let (now, chance) = (clock::monotonic(), clock::chance());
    let failed = state.cache.failed(flight, trial.failure, now, chance);
    let began = match failed {
        Failed::Stale => return (News::None, Word::Stale),
        Failed::Kept => return (News::None, Word::Stands),
        Failed::Began(trouble) => Some(trouble),
        Failed::Continues(_) => None,
    };
    let detail = trial.detail.clone();
    state.last_error = Some(LastError {
        at: clock::wall(),
        detail: trial.detail,
        error: trial.error,
    });
    let news = began.map_or(News::None, |trouble| News::Began(trouble, detail));
    (news, Word::Drowned)
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

pub(super) async fn tell(slot: &TokenSlot, outcome: Outcome) {
    for credential in outcome.names.clone() {
        let whole = slot.tell_state(&credential, outcome.state);
        for transition in transitions(slot, &credential, whole, &outcome) {
            tokio::select! {
                // Nobody listens any more when the process ends.
                _ = slot.deps.transitions.send(transition) => {}
                () = slot.retired.cancelled() => return,
            }
        }
    }
}

/// `whole`: how the credential stood and stands with all its users.
fn transitions(
    slot: &TokenSlot,
    credential: &CredentialKey,
    whole: Whole,
    outcome: &Outcome,
) -> Vec<Transition> {
    let telemetry = &slot.deps.telemetry.tokens;
    let at = clock::wall();
    if let Some(one) = outcome.proven {
        telemetry.proof_in_use(credential, one.what, one.number, one.id);
    }
    let news = &outcome.news;
    let mut told: Vec<Transition> = outcome
        .refused
        .iter()
        .map(|one| {
            telemetry.proof_refused(credential, one.what, one.number, &one.detail);
            Transition::ProofRefused {
                credential: credential.clone(),
                at,
                detail: format!(
                    "the new {} (number {}) is refused, the one before stays in use: {}",
                    one.what, one.number, one.detail
                ),
            }
        })
        .collect();
    told.extend(outcome.settled.map(|how| {
        telemetry.proof_settled(credential, how.detail());
        Transition::ProofSettled {
            credential: credential.clone(),
            at,
            how,
        }
    }));
    told.extend(match slot.user() {
        "" => transition(slot, credential, news, at),
        user => transition_of_user(slot, credential, user, whole, news, at),
    });
    told
}

fn transition(
    slot: &TokenSlot,
    credential: &CredentialKey,
    news: &News,
    at: Wall,
) -> Option<Transition> {
    let telemetry = &slot.deps.telemetry.tokens;
    let credential = credential.clone();
    match news {
        News::None => None,
        News::Began(Trouble::Outage, detail) => {
            telemetry.unavailable(&credential, detail);
            None
        }
        News::Began(Trouble::Refused, detail) => {
            telemetry.refused(&credential, detail);
            Some(Transition::Refused {
                credential,
                at,
                detail: detail.clone(),
            })
        }
        News::Recovered(from) => {
            telemetry.recovered(&credential, *from);
            Some(match from {
                Trouble::Refused => Transition::Recovered { credential, at },
                Trouble::Outage => Transition::Available {
                    credential,
                    user: None,
                },
            })
        }
        News::Replaced => Some(Transition::Available {
            credential,
            user: None,
        }),
    }
}

/// One user's refusal is not the credential's, and one user's token is of use to that user's
/// mailboxes alone: of ten thousand users each would wake ten thousand mailboxes.
fn transition_of_user(
    slot: &TokenSlot,
    credential: &CredentialKey,
    user: &str,
    whole: Whole,
    news: &News,
    at: Wall,
) -> Option<Transition> {
    let telemetry = &slot.deps.telemetry.tokens;
    let credential = credential.clone();
    let is_refused = |state| state == CredentialState::Refused;
    if is_refused(whole.was) && !is_refused(whole.is) {
        telemetry.recovered(&credential, Trouble::Refused);
        return Some(Transition::Recovered { credential, at });
    }
    match news {
        News::None => None,
        News::Began(Trouble::Outage, detail) => {
            telemetry.unavailable(&credential, detail);
            None
        }
        News::Began(Trouble::Refused, detail) => (is_refused(whole.is) && !is_refused(whole.was))
            .then(|| {
                telemetry.refused(&credential, detail);
                Transition::Refused {
                    credential,
                    at,
                    detail: detail.clone(),
                }
            }),
        News::Recovered(_) | News::Replaced => {
            if whole.was == CredentialState::Unavailable && whole.is != whole.was {
                telemetry.recovered(&credential, Trouble::Outage);
            }
            Some(Transition::Available {
                credential,
                user: Some(user.into()),
            })
        }
    }
}
