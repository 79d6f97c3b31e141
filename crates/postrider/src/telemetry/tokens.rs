//! Happenings of credentials: token requests, secrets, what mail servers say to a token.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use postrider_core::{ids::CredentialKey, time::Wall, token::Trouble};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::{
    clock,
    config::{SecretError, SecretRef},
    doctor::forbidden::{Proof, Shown},
    tokens::CredentialState,
};

/// Who gives tokens: token endpoints, and whoever a configured file or program belongs to.
const PROVIDERS: [&str; 5] = ["microsoft", "managed-identity", "google", "oauth2", "token"];

pub struct Tokens {
    quiet: Quiet,
    must_not_open_violations: IntGauge,
    must_not_open_proof: IntGauge,
    requests: IntCounterVec,
    duration: HistogramVec,
    dropped: IntCounterVec,
    secret_reads: IntCounterVec,
    proofs_refused: IntCounter,
    vault_failures: IntCounter,
    credentials: IntGaugeVec,
    expiry: IntGaugeVec,
    states: Mutex<States>,
}

/// By credential, and where each user has a token of their own, by user; else under "".
type States = BTreeMap<CredentialKey, Standing>;

/// How a credential stands for each of its users, counted: there may be ten thousand.
#[derive(Clone, Debug, Default)]
struct Standing {
    users: BTreeMap<String, CredentialState>,
    counts: [usize; CredentialState::ALL.len()],
}

impl Standing {
    fn put(&mut self, user: &str, state: CredentialState) {
        self.forget(user);
        self.users.insert(user.to_owned(), state);
        self.count(state, |count| count.saturating_add(1));
    }

    fn forget(&mut self, user: &str) {
        if let Some(old) = self.users.remove(user) {
            self.count(old, |count| count.saturating_sub(1));
        }
    }

    fn count(&mut self, state: CredentialState, change: impl FnOnce(usize) -> usize) {
        let mut all = CredentialState::ALL.iter().zip(&mut self.counts);
        if let Some((_, count)) = all.find(|(known, _)| **known == state) {
            *count = change(*count);
        }
    }

    fn whole(&self) -> CredentialState {
        let all = CredentialState::ALL.iter().zip(self.counts);
        CredentialState::best(all.filter(|(_, count)| *count > 0).map(|(state, _)| *state))
    }
}

/// How a credential stood with all its users before one of them changed, and how it stands since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub was: CredentialState,
    pub is: CredentialState,
}

/// What is used while a secret cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    TheOldOne,
    Nothing,
}

/// Why a token is not used any more before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DroppedToken {
    Proven,
    Unproven,
}

/// Every provider with every outcome, so that a first failure is a change and not a new series.
fn token_requests(c: &Catalogue) -> prometheus::Result<IntCounterVec> {
    let requests = c.counters(
        "oauth_token_requests_total",
        "Token requests, by provider and outcome.",
        &["provider", "outcome"],
    )?;
    for provider in PROVIDERS {
        for outcome in [
            "granted",
            "refused",
            "throttled",
            "unavailable",
            "malformed",
            "unsent",
        ] {
            requests.with_label_values(&[provider, outcome]);
        }
    }
    Ok(requests)
}

impl Tokens {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        let dropped = c.counters(
            "oauth_tokens_dropped_total",
            "Tokens dropped before their end because mail servers refused them: proven ones had been accepted by at least two mailboxes.",
            &["kind"],
        )?;
        for kind in ["proven", "unproven"] {
            dropped.with_label_values(&[kind]);
        }
        let secret_reads = c.counters(
            "secret_reads_total",
            "Secrets read again because their file changed, by outcome.",
            &["outcome"],
        )?;
        for outcome in ["replaced", "failed"] {
            secret_reads.with_label_values(&[outcome]);
        }
        let credentials = c.gauges(
            "credentials",
            "Configured credentials, by state.",
            &["state"],
        )?;
        for state in CredentialState::ALL {
            credentials.with_label_values(&[state.as_str()]);
        }
        Ok(Self {
            quiet: Quiet::default(),
            requests: token_requests(c)?,
            duration: c.histograms(
                "oauth_token_request_duration_seconds",
                "Duration of a token request, by provider.",
                &["provider"],
                &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0],
            )?,
            dropped,
            secret_reads,
            proofs_refused: c.counter(
                "credential_proofs_refused_total",
                "New secrets, certificates and keys that were refused while the one before stays in use.",
            )?,
            vault_failures: c.counter(
                "vault_failures_total",
                "Refresh tokens that could not be stored at once; the next token request stores them first.",
            )?,
            credentials,
            expiry: c.gauges(
                "credential_expiry_timestamp_seconds",
                "Unix time when a credential's secret or certificate expires, from the certificate in use or from `expires`; 0 if unknown.",
                &["credential"],
            )?,
            states: Mutex::default(),
            must_not_open_violations: c.gauge(
                "must_not_open_violations",
                "Mailboxes that must stay shut (must_not_open) and could be opened at the last attempt; anything but 0 is a violation.",
            )?,
            must_not_open_proof: c.gauge(
                "must_not_open_last_proof_timestamp_seconds",
                "Unix time of the last refusal that proved a mailbox of must_not_open shut; 0 while there was none.",
            )?,
        })
    }

    /// A mailbox that must stay shut was tried. The line is for an auditor: it has the date.
    pub fn must_not_open(&self, proof: &Proof) {
        let credential = &proof.credential;
        let words = proof.words();
        match &proof.shown {
            Shown::Refused => {
                let now = clock::wall();
                self.must_not_open_proof.set(now.seconds());
                tracing::info!(%credential, proof = "must_not_open", at = now.rfc3339(), "a mailbox that must stay shut: {words}");
            }
            Shown::Opened => {
                tracing::error!(%credential, proof = "must_not_open", at = clock::wall().rfc3339(), "a mailbox that must stay shut: {words}. hint: `postrider doctor` names it; take the permission away");
            }
            Shown::Nothing(_) => {
                if let Some(left_out) =
                    self.quiet
                        .allow("must_not_open", credential.as_str(), clock::monotonic())
                {
                    tracing::warn!(%credential, proof = "must_not_open", left_out, "a mailbox that must stay shut: {words}");
                }
            }
        }
    }

    pub fn must_not_open_violations(&self, open: usize) {
        self.must_not_open_violations
            .set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// The set of credentials changed: others are not exposed any more.
    pub fn configured<'a>(&self, keys: impl Iterator<Item = &'a CredentialKey>) {
        let mut states = self.states();
        let old = std::mem::take(&mut *states);
        for key in keys {
            let known = old.get(key).cloned().unwrap_or_default();
            states.insert(key.clone(), known);
        }
        for key in old.keys().filter(|key| !states.contains_key(*key)) {
            // It fails only where the series is not there, which is what is wanted.
            let _ = self.expiry.remove_label_values(&[key.as_str()]);
        }
        self.expose(&states);
    }

    /// How it stands for one user, or for all where there is one token; says how it stands as a
    /// whole.
    pub fn state(&self, credential: &CredentialKey, user: &str, state: CredentialState) -> Whole {
        let mut states = self.states();
        let Some(known) = states.get_mut(credential) else {
            return Whole {
                was: state,
                is: state,
            };
        };
        let was = known.whole();
        known.put(user, state);
        let is = known.whole();
        if was != is {
            self.expose(&states);
        }
        Whole { was, is }
    }

    pub fn forget_user(&self, credential: &CredentialKey, user: &str) {
        let mut states = self.states();
        if let Some(known) = states.get_mut(credential) {
            known.forget(user);
            self.expose(&states);
        }
    }

    fn states(&self) -> std::sync::MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expose(&self, states: &States) {
        for state in CredentialState::ALL {
            let count = states
                .values()
                .filter(|standing| standing.whole() == *state)
                .count();
            self.credentials
                .with_label_values(&[state.as_str()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// When its secret or certificate ends, as far as that is known.
    pub fn expiry(&self, credential: &CredentialKey, expires: Option<Wall>) {
        self.expiry
            .with_label_values(&[credential.as_str()])
            .set(expires.map_or(0, Wall::seconds));
    }

    /// Told once per threshold.
    pub fn expiring(&self, credential: &CredentialKey, expires: Wall) {
        tracing::warn!(
            %credential, expires = %expires.rfc3339(),
            "the credential's secret or certificate ends soon. hint: add the next one before it to its list, postrider proves it at once"
        );
    }

    /// A new secret, certificate or key gave no token; what was in use before serves on.
    pub fn proof_refused(
        &self,
        credential: &CredentialKey,
        what: &'static str,
        number: usize,
        detail: &str,
    ) {
        self.proofs_refused.inc();
        tracing::warn!(%credential, number, "the new {what} (number {number}) is refused, the one before stays in use: {detail}");
    }

    /// What was read makes no sense, such as half of a certificate; what was in use before stays.
    pub fn proof_unusable(&self, credential: &CredentialKey, problems: &str) {
        self.secret_reads.with_label_values(&["failed"]).inc();
        if let Some(left_out) =
            self.quiet
                .allow("unusable", credential.as_str(), clock::monotonic())
        {
            tracing::warn!(%credential, left_out, "what was read cannot be used, the one before stays in use: {problems}");
        }
    }

    /// A new refresh token could not be stored.
    pub fn vault_failed(&self, credential: &CredentialKey, detail: &str) {
        self.vault_failures.inc();
        if let Some(left_out) = self
            .quiet
            .allow("vault", credential.as_str(), clock::monotonic())
        {
            tracing::error!(%credential, left_out, "the new refresh token is not stored yet, it is tried again before the next token request: {detail}");
        }
    }

    pub fn granted(
        &self,
        provider: &'static str,
        credential: &CredentialKey,
        took: Duration,
        expires_in: Duration,
    ) {
        self.count(provider, "granted", took);
        tracing::debug!(%credential, ?took, expires_in_s = expires_in.as_secs(), "token received");
    }

    /// One request gave no token. `number` counts the proofs of the credential's list from 1.
    pub fn request_failed(
        &self,
        provider: &'static str,
        credential: &CredentialKey,
        took: Duration,
        outcome: &'static str,
        number: usize,
        said: &str,
    ) {
        self.count(provider, outcome, took);
        if let Some(left_out) = self
            .quiet
            .allow(outcome, credential.as_str(), clock::monotonic())
        {
            tracing::warn!(
                %credential, outcome, secret = number, left_out,
                "no token with secret number {number}: {said}"
            );
        }
    }

    fn count(&self, provider: &'static str, outcome: &'static str, took: Duration) {
        self.requests.with_label_values(&[provider, outcome]).inc();
        self.duration
            .with_label_values(&[provider])
            .observe(took.as_secs_f64());
    }

    /// No secret of the credential is accepted, or there is none: its mailboxes cannot log in anew.
    pub fn refused(&self, credential: &CredentialKey, detail: &str) {
        tracing::error!(%credential, "credential refused, its mailboxes cannot log in: {detail}");
    }

    /// Its token endpoint cannot be used; a token that is still good stays in use.
    pub fn unavailable(&self, credential: &CredentialKey, detail: &str) {
        if let Some(left_out) = self
            .quiet
            .allow("outage", credential.as_str(), clock::monotonic())
        {
            tracing::warn!(%credential, left_out, "no new tokens for now, tried again by itself: {detail}");
        }
    }

    pub fn recovered(&self, credential: &CredentialKey, from: Trouble) {
        let from = match from {
            Trouble::Outage => "unavailable",
            Trouble::Refused => "refused",
        };
        tracing::info!(%credential, from, "credential works again");
    }

    pub fn token_dropped(&self, credential: &CredentialKey, kind: DroppedToken) {
        let (kind, why) = match kind {
            DroppedToken::Proven => (
                "proven",
                "two mailboxes that had logged in with it were refused",
            ),
            DroppedToken::Unproven => (
                "unproven",
                "a mailbox was refused before any had logged in with it",
            ),
        };
        self.dropped.with_label_values(&[kind]).inc();
        if let Some(left_out) = self
            .quiet
            .allow(kind, credential.as_str(), clock::monotonic())
        {
            tracing::warn!(%credential, kind, left_out, "token dropped, a new one is asked for: {why}");
        }
    }

    pub fn secret_replaced(&self, reference: &SecretRef) {
        self.secret_reads.with_label_values(&["replaced"]).inc();
        tracing::info!("{reference} was replaced and is in use");
    }

    /// It is used only once it has given a token: [`Self::proof_in_use`].
    pub fn secret_read_anew(&self, reference: &SecretRef) {
        self.secret_reads.with_label_values(&["replaced"]).inc();
        tracing::info!("{reference} was read anew and is being proven");
    }

    /// Tokens of many users may have been proven by it; `id` tells one reading from the next.
    pub fn proof_in_use(
        &self,
        credential: &CredentialKey,
        what: &'static str,
        number: usize,
        id: u64,
    ) {
        let scope = format!("{credential} {id}");
        if let Some(left_out) = self.quiet.allow("in_use", &scope, clock::monotonic()) {
            tracing::info!(%credential, number, left_out, "the new {what} (number {number}) is proven and is in use");
        }
    }

    /// A new one that had been refused is not in the way any more.
    pub fn proof_settled(&self, credential: &CredentialKey, detail: &str) {
        tracing::info!(%credential, "credential is whole again: {detail}");
    }

    /// An operator wants a new token. The line is for an auditor, too.
    pub fn renewal_ordered(&self, credential: &CredentialKey, by: &str, through: &str) {
        tracing::info!(%credential, by, through, at = clock::wall().rfc3339(), "a new token is asked for by order");
    }

    pub fn secret_unreadable(&self, error: &SecretError, hint: &'static str, instead: Instead) {
        self.secret_reads.with_label_values(&["failed"]).inc();
        let what = error.to_string();
        if let Some(left_out) = self.quiet.allow("secret", &what, clock::monotonic()) {
            match instead {
                Instead::TheOldOne => tracing::warn!(
                    left_out,
                    "{what}; the value from before stays in use. hint: {hint}"
                ),
                Instead::Nothing => tracing::error!(left_out, "{what}. hint: {hint}"),
            }
        }
    }
}
