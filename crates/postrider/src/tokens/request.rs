//! The task of a credential: makes the one request that the cache permits, ahead of time while
//! anybody uses the token, and tells what came of it.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use postrider_core::{
    ids::CredentialKey,
    time::{Monotonic, Wall},
    token::{Failed, Failure, Flight, Granted, Purpose, Trouble},
};
use postrider_oauth::{error::TokenError, grant::Grant, proof::Proof};
use secrecy::SecretString;

use super::{
    CredentialState, Transition,
    access::LastError,
    foreign,
    identity::Identity,
    proofs::{Ready, Try},
    slot::TokenSlot,
    vaulted,
};
use crate::{clock, telemetry::tokens::Whole, vault::VaultError};

/// One request, with everything. Entra answers within a second or two.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// A timer does not count suspend, the clock does: the longest sleep is what may be overslept, and
/// how long a sign-in in the vault may go unnoticed.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// A file of another provider's token is a line, not a file.
const FEDERATED_BYTES_MAX: u64 = 64 << 10;

/// Why one proof gave no token.
pub(super) enum Fault {
    Asked(TokenError),
    /// There is nothing to ask with, and that is for somebody to mend.
    Lacking(String),
    /// It did not come to a request, and that may pass by itself.
    Passing(String),
}

impl Fault {
    fn failure(&self) -> Failure {
        match self {
            Self::Asked(error) => error.failure(),
            Self::Lacking(_) => Failure::Refused,
            Self::Passing(_) => Failure::Outage { retry_after: None },
        }
    }

    /// Another proof of the list may do better.
    fn is_about_the_proof(&self) -> bool {
        match self {
            Self::Asked(error) => error.is_about_the_secret(),
            Self::Lacking(_) => true,
            Self::Passing(_) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(error) => write!(f, "{error}; hint: {}", error.hint()),
            Self::Lacking(detail) | Self::Passing(detail) => f.write_str(detail),
        }
    }
}

impl From<VaultError> for Fault {
    /// The vault's trouble says nothing about the access; it is tried again by itself.
    fn from(error: VaultError) -> Self {
        Self::Passing(format!("{error}; hint: {}", error.hint()))
    }
}

/// A token, and what gave it.
pub(super) struct Success {
    pub(super) grant: Grant,
    pub(super) requested_at: Monotonic,
    pub(super) id: u64,
}

/// A new proof that was refused while another one serves.
struct RefusedProof {
    number: usize,
    what: &'static str,
    detail: String,
}

/// Why none of the proofs gave a token.
struct Trial {
    failure: Failure,
    detail: String,
    /// What the token endpoint said, where one was asked.
    error: Option<Box<TokenError>>,
}

impl From<Fault> for Trial {
    fn from(fault: Fault) -> Self {
        Self {
            failure: fault.failure(),
            detail: fault.to_string(),
            error: match fault {
                Fault::Asked(error) => Some(Box::new(error)),
                Fault::Lacking(_) | Fault::Passing(_) => None,
            },
        }
    }
}

/// What came of one flight, which may be several requests when there are several proofs.
struct Attempt {
    result: Result<Success, Trial>,
    refused: Vec<RefusedProof>,
}

/// `before`: how the slot stood that had this name. If anybody used it, they use this one now.
pub(super) async fn run(slot: Arc<TokenSlot>, before: Option<CredentialState>) {
    slot.succeed(before);
    let mut secrets = slot.secrets.clone();
    loop {
        if secrets.has_changed().unwrap_or(false) {
            slot.take_over(&secrets.borrow_and_update());
        }
        slot.look_at_vault();
        let flight = slot.state().cache.start(clock::monotonic());
        if let Some(flight) = flight {
            let Some(attempt) = attempt_in_time(&slot, flight.purpose()).await else {
                return;
            };
            // Before the result is judged: it may be that of a secret that is no more.
            if secrets.has_changed().unwrap_or(false) {
                slot.take_over(&secrets.borrow_and_update());
            }
            let outcome = land(&slot, &flight, attempt);
            slot.ended.send_replace(());
            slot.deps.look_at_ends.notify_one();
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
                Ok(()) => slot.take_over(&secrets.borrow_and_update()),
                Err(_) => return,
            },
        }
    }
}

/// `None`: the slot is out of use. A request with a person's refresh token comes to its end all the
/// same: the one that it brings may be all that is left of the sign-in, and has to be stored.
async fn attempt_in_time(slot: &TokenSlot, purpose: Purpose) -> Option<Attempt> {
    if slot.vault.is_some() {
        let _asking = slot.deps.asking.token();
        let done = attempt(slot, purpose).await;
        return (!slot.retired.is_cancelled()).then_some(done);
    }
    let in_turn = async {
        let _room = match &slot.lane {
            Some(lane) => lane.acquire().await.ok(),
            None => None,
        };
        attempt(slot, purpose).await
    };
    tokio::select! {
        done = in_turn => Some(done),
        () = slot.retired.cancelled() => None,
    }
}

/// Tries the proofs one after the other, as long as the proof itself is what is refused.
async fn attempt(slot: &TokenSlot, purpose: Purpose) -> Attempt {
    let tries = |purpose| slot.state().proofs.tries(purpose, clock::monotonic());
    if let Some(vault) = &slot.vault {
        // A change of any kind is proven by the refresh token, with every client secret.
        let tries = tries(Purpose::Token);
        let result = vaulted::ask(slot, vault, tries).await;
        return slot.judged(result.map_err(Trial::from));
    }
    let mut refused = Vec::new();
    let mut first: Option<Fault> = None;
    for one in tries(purpose) {
        let requested_at = clock::monotonic();
        match ask(slot, &one.ready).await {
            Ok(grant) => {
                let id = one.id;
                let result = slot.judged(Ok(Success {
                    grant,
                    requested_at,
                    id,
                }));
                return Attempt { refused, ..result };
            }
            Err(fault) => {
                let about = fault.is_about_the_proof();
                slot.failed(requested_at, &fault, one.index + 1);
                if !about {
                    let result = Err(fault.into());
                    return Attempt { result, refused };
                }
                slot.state().proofs.refused(one.id, clock::monotonic());
                if one.is_new {
                    refused.push(refused_proof(&one, &fault));
                }
                first.get_or_insert(fault);
            }
        }
    }
    let fault = first.unwrap_or_else(|| Fault::Lacking(slot.problems()));
    Attempt {
        result: Err(fault.into()),
        refused,
    }
}

fn refused_proof(one: &Try, fault: &Fault) -> RefusedProof {
    RefusedProof {
        number: one.index + 1,
        what: one.what,
        detail: fault.to_string(),
    }
}

/// One proof, one request.
async fn ask(slot: &TokenSlot, ready: &Ready) -> Result<Grant, Fault> {
    let (proof, client) = match ready {
        Ready::Proof(proof, client) => (proof.clone(), client),
        Ready::Federated(file, client) => {
            (Proof::Assertion(federated(file.clone()).await?), client)
        }
        Ready::Token(token) => return foreign(slot, token),
        Ready::Command { program, args } => {
            let (program, args) = (program.clone(), args.clone());
            let printed = tokio::task::spawn_blocking(move || {
                foreign::run(&program, &args, foreign::PROGRAM_LIMIT)
            })
            .await
            .map_err(|error| Fault::Passing(format!("the program's run ended early: {error}")))?
            .map_err(|error| Fault::Passing(error.to_string()))?;
            return foreign(slot, &printed);
        }
        Ready::Client(_) => return Err(Fault::Passing("no refresh token".to_owned())),
    };
    client
        .request(&slot.http, &proof, REQUEST_LIMIT, clock::wall())
        .await
        .map_err(Fault::Asked)
}

fn foreign(slot: &TokenSlot, text: &SecretString) -> Result<Grant, Fault> {
    let lifetime = match &slot.settings.identity {
        Identity::Foreign(_, lifetime) => *lifetime,
        Identity::Own(_)
        | Identity::Person { .. }
        | Identity::Refreshed(..)
        | Identity::User { .. } => Duration::ZERO,
    };
    foreign::read(text, lifetime, clock::wall()).map_err(|error| Fault::Passing(error.to_string()))
}

/// Read for every request: whoever writes it replaces it within the hour.
async fn federated(file: std::path::PathBuf) -> Result<SecretString, Fault> {
    let name = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || read_line(&file)).await;
    let why = match read {
        Ok(Ok(text)) if !text.trim().is_empty() => return Ok(SecretString::from(text.trim())),
        Ok(Ok(_)) => "it is empty".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Fault::Passing(format!(
        "federated token {name} cannot be read: {why}; hint: whoever writes it (kubelet, for a service account) has to mount it here"
    )))
}

fn read_line(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(file)?;
    file.take(FEDERATED_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

impl TokenSlot {
    /// Counts a token, or passes a failure on.
    fn judged(&self, result: Result<Success, Trial>) -> Attempt {
        if let Ok(success) = &result {
            let took = clock::monotonic() - success.requested_at;
            let tokens = &self.deps.telemetry.tokens;
            tokens.granted(
                self.settings.provider(),
                &self.first_name(),
                took,
                success.grant.expires_in,
            );
        }
        Attempt {
            result,
            refused: Vec::new(),
        }
    }

    pub(super) fn request_failed(&self, since: Monotonic, error: &TokenError, number: usize) {
        let said = format!("{error}. hint: {}", error.hint());
        self.count(error.outcome(), since, &said, number);
    }

    fn failed(&self, since: Monotonic, fault: &Fault, number: usize) {
        match fault {
            Fault::Asked(error) => self.request_failed(since, error, number),
            Fault::Lacking(detail) => self.count("refused", since, detail, number),
            Fault::Passing(detail) => self.count("unavailable", since, detail, number),
        }
    }

    fn count(&self, outcome: &'static str, since: Monotonic, said: &str, number: usize) {
        let (provider, took) = (self.settings.provider(), clock::monotonic() - since);
        let tokens = &self.deps.telemetry.tokens;
        tokens.request_failed(provider, &self.first_name(), took, outcome, number, said);
    }
}

/// What a flight changed.
struct Outcome {
    names: Vec<CredentialKey>,
    state: CredentialState,
    news: News,
    refused: Vec<RefusedProof>,
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
    let mut refused = attempt.refused;
    let news = match attempt.result {
        Ok(success) => {
            let grant = success.grant;
            let granted = state.cache.granted(
                flight,
                success.requested_at,
                grant.expires_in,
                grant.refresh_in,
                clock::chance(),
            );
            state.proofs.granted(success.id);
            match granted {
                Granted::Stale => News::None,
                Granted::Token {
                    generation,
                    recovered,
                } => {
                    state.token = Some((generation, grant.access_token));
                    news_of_token(recovered, state.before.take())
                }
            }
        }
        Err(trial) => {
            let (now, chance) = (clock::monotonic(), clock::chance());
            let failed = state.cache.failed(flight, trial.failure, now, chance);
            match failed {
                Failed::Stale | Failed::Kept => News::None,
                Failed::Began(_) | Failed::Continues(_) => {
                    // All of it is refused, which is told as such.
                    refused.clear();
                    let detail = trial.detail.clone();
                    state.last_error = Some(LastError {
                        at: clock::wall(),
                        detail: trial.detail,
                        error: trial.error,
                    });
                    match failed {
                        Failed::Began(trouble) => News::Began(trouble, detail),
                        Failed::Continues(_) | Failed::Kept | Failed::Stale => News::None,
                    }
                }
            }
        }
    };
    Outcome {
        names: state.names.clone(),
        state: state.credential_state(),
        news,
        refused,
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
    for credential in outcome.names {
        let whole = slot.tell_state(&credential, outcome.state);
        for transition in transitions(slot, &credential, whole, &outcome.news, &outcome.refused) {
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
    news: &News,
    refused: &[RefusedProof],
) -> Vec<Transition> {
    let telemetry = &slot.deps.telemetry.tokens;
    let at = clock::wall();
    let mut told: Vec<Transition> = refused
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
