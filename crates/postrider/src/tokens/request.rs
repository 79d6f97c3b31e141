//! The task of a credential: makes the one request that the cache permits, ahead of time while
//! anybody uses the token. What comes of it is told in `outcome`.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use postrider_core::{
    time::Monotonic,
    token::{Failure, Purpose},
};
use postrider_oauth::{error::TokenError, grant::Grant, proof::Proof};
use secrecy::SecretString;

use super::{
    CredentialState, foreign,
    identity::Identity,
    outcome::{land, tell},
    proofs::{Ready, Try},
    slot::TokenSlot,
    vaulted,
};
use crate::{clock, vault::VaultError};

/// One request, with everything. Entra answers within a second or two.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// A timer does not count suspend, the clock does: the longest sleep is what may be overslept.
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
pub(super) struct RefusedProof {
    pub(super) id: u64,
    pub(super) number: usize,
    pub(super) what: &'static str,
    pub(super) detail: String,
}

/// Why none of the proofs gave a token.
pub(super) struct Trial {
    pub(super) failure: Failure,
    pub(super) detail: String,
    /// What the token endpoint said, where one was asked.
    pub(super) error: Option<Box<TokenError>>,
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
pub(super) struct Attempt {
    pub(super) result: Result<Success, Trial>,
    pub(super) refused: Vec<RefusedProof>,
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
            // Apart, so that a task that only waits is small: each user of a service account has one.
            let attempt = Box::pin(attempt_in_time(&slot, flight.purpose())).await;
            let Some(attempt) = attempt else {
                return;
            };
            // Before the result is judged: it may be that of a secret that is no more.
            if secrets.has_changed().unwrap_or(false) {
                slot.take_over(&secrets.borrow_and_update());
            }
            let outcome = land(&slot, &flight, attempt);
            slot.ended.send_replace(());
            slot.deps.look_at_ends.notify_one();
            Box::pin(tell(&slot, outcome)).await;
            continue;
        }
        let due = slot.state().cache.due_at();
        let longest = slot.sleep_max();
        let wait = due.map_or(longest, |at| (at - clock::monotonic()).min(longest));
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
        id: one.id,
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
    // Opening a pipe would wait for whoever writes to it.
    if !std::fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let file = std::fs::File::open(file)?;
    file.take(FEDERATED_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

impl TokenSlot {
    /// A sign-in in the vault is noticed as fast as a file that was replaced.
    fn sleep_max(&self) -> Duration {
        match &self.vault {
            Some(_) => self.deps.secrets.pace().tick.min(SLEEP_MAX),
            None => SLEEP_MAX,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_federated_token_is_read_from_a_regular_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "ey.x.y").unwrap();
        assert_eq!(read_line(&file).unwrap(), "ey.x.y");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert_eq!(
            read_line(&pipe).unwrap_err().to_string(),
            "it is no regular file"
        );
    }
}
