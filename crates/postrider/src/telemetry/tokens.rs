//! Happenings of credentials: token requests, secrets, what mail servers say to a token.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use postrider_core::{ids::CredentialKey, token::Trouble};
use postrider_oauth::error::TokenError;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::{
    clock,
    config::{SecretError, SecretRef},
    tokens::CredentialState,
};

const PROVIDER: &str = "microsoft";

pub struct Tokens {
    quiet: Quiet,
    requests: IntCounterVec,
    duration: HistogramVec,
    dropped: IntCounterVec,
    secret_reads: IntCounterVec,
    credentials: IntGaugeVec,
    expiry: IntGaugeVec,
    states: Mutex<BTreeMap<CredentialKey, CredentialState>>,
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

impl Tokens {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        let requests = c.counters(
            "oauth_token_requests_total",
            "Token requests, by provider and outcome.",
            &["provider", "outcome"],
        )?;
        for outcome in [
            "granted",
            "refused",
            "throttled",
            "unavailable",
            "malformed",
        ] {
            requests.with_label_values(&[PROVIDER, outcome]);
        }
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
            requests,
            duration: c.histograms(
                "oauth_token_request_duration_seconds",
                "Duration of a token request, by provider.",
                &["provider"],
                &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0],
            )?,
            dropped,
            secret_reads,
            credentials,
            expiry: c.gauges(
                "credential_expiry_timestamp_seconds",
                "Unix time when a named client credential expires; 0 if unknown.",
                &["credential"],
            )?,
            states: Mutex::default(),
        })
    }

    /// The set of credentials changed: others are not exposed any more.
    pub fn configured<'a>(&self, keys: impl Iterator<Item = &'a CredentialKey>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *states);
        for key in keys {
            // A client secret does not say when it expires.
            self.expiry.with_label_values(&[key.as_str()]).set(0);
            states.insert(
                key.clone(),
                old.get(key).copied().unwrap_or(CredentialState::Idle),
            );
        }
        for key in old.keys().filter(|key| !states.contains_key(*key)) {
            // It fails only where the series is not there, which is what is wanted.
            let _ = self.expiry.remove_label_values(&[key.as_str()]);
        }
        self.expose(&states);
    }

    pub fn state(&self, credential: &CredentialKey, state: CredentialState) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.get_mut(credential) {
            *known = state;
            self.expose(&states);
        }
    }

    fn expose(&self, states: &BTreeMap<CredentialKey, CredentialState>) {
        for state in CredentialState::ALL {
            let count = states.values().filter(|known| *known == state).count();
            self.credentials
                .with_label_values(&[state.as_str()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub fn granted(&self, credential: &CredentialKey, took: Duration, expires_in: Duration) {
        self.requests
            .with_label_values(&[PROVIDER, "granted"])
            .inc();
        self.duration
            .with_label_values(&[PROVIDER])
            .observe(took.as_secs_f64());
        tracing::debug!(%credential, ?took, expires_in_s = expires_in.as_secs(), "token received");
    }

    /// One request gave no token. `number` counts the secrets of the credential's list from 1.
    pub fn request_failed(
        &self,
        credential: &CredentialKey,
        took: Duration,
        error: &TokenError,
        number: usize,
    ) {
        self.requests
            .with_label_values(&[PROVIDER, error.outcome()])
            .inc();
        self.duration
            .with_label_values(&[PROVIDER])
            .observe(took.as_secs_f64());
        if let Some(left_out) =
            self.quiet
                .allow(error.outcome(), credential.as_str(), clock::monotonic())
        {
            tracing::warn!(
                %credential, outcome = error.outcome(), secret = number, left_out,
                "no token with secret number {number}: {error}. hint: {}", error.hint()
            );
        }
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
