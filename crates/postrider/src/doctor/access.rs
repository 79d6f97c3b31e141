//! A credential's part of the walk: the clock beside the token endpoint's, the token, and what it
//! says of itself. It is done once for all mailboxes that share it.

use std::{sync::Arc, time::Duration};

use postrider_core::time::Wall;
use postrider_oauth::claims::Claims;

use super::{
    Doctor,
    report::{Outcome, Step, StepName},
};
use crate::{
    clock,
    config::{Credential, CredentialKind, Mailbox},
    diagnosis::{self, Before, Cause, CredentialFacts, Diagnosis, Facts, Others, Way},
    network, tls,
    tokens::{Access, CredentialFailure, LoginSecret},
};

const CLOCK_LIMIT: Duration = Duration::from_secs(10);
/// Signed assertions live for minutes, and a mail's time is judged by the clock.
const SKEW_WARN_S: u64 = 120;

/// What came of it.
pub(super) struct Admitted {
    pub(super) steps: Vec<Step>,
    pub(super) access: Result<Access, CredentialFailure>,
    pub(super) claims: Option<Claims>,
    pub(super) skew_s: Option<i64>,
    /// Why the token, though given, opens nothing.
    pub(super) useless: Option<Diagnosis>,
}

/// Whether each user has a token of his own.
pub(super) fn is_per_user(kind: &CredentialKind) -> bool {
    match kind {
        CredentialKind::Google(_) => true,
        CredentialKind::Microsoft(_)
        | CredentialKind::MicrosoftDelegated(_)
        | CredentialKind::ManagedIdentity(_)
        | CredentialKind::GoogleDelegated(_)
        | CredentialKind::OAuth2(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => false,
    }
}

/// `credential`: the one that the mailbox names.
pub(super) async fn admit(
    doctor: &Doctor,
    credential: Option<&Arc<Credential>>,
    mailbox: &Mailbox,
) -> Admitted {
    let Some(credential) = credential else {
        return Admitted {
            steps: Vec::new(),
            access: Err(CredentialFailure::Unknown(mailbox.credential.clone())),
            claims: None,
            skew_s: None,
            useless: None,
        };
    };
    let facts = CredentialFacts::of(credential);
    let mut steps = Vec::new();
    let skew_s = clock_step(credential, &facts, &mut steps).await;
    let started = clock::monotonic();
    let access = doctor.login(mailbox).await;
    let took = clock::monotonic() - started;
    steps.push(token_step(&access, took));
    let claims = access
        .as_ref()
        .ok()
        .and_then(|access| match &access.secret {
            LoginSecret::Token(token) => Claims::decode(token),
            LoginSecret::Password(_) => None,
        });
    let useless = claims_step(&facts, &access, claims.as_ref(), skew_s, &mut steps);
    Admitted {
        steps,
        access,
        claims,
        skew_s,
        useless,
    }
}

/// The `Date` of any answer of the token endpoint tells its clock; which answer does not matter.
async fn clock_step(
    credential: &Credential,
    facts: &CredentialFacts,
    steps: &mut Vec<Step>,
) -> Option<i64> {
    let url = facts.token_url.as_deref()?;
    if facts.way == Way::ManagedIdentity {
        return None;
    }
    let started = clock::monotonic();
    let date = tokio::time::timeout(CLOCK_LIMIT, date_of(credential, url)).await;
    let took = clock::monotonic() - started;
    let Some(date) = date.ok().flatten() else {
        let why = "the token endpoint tells no time; the token request shows why";
        steps.push(Step::skipped(StepName::Clock, why));
        return None;
    };
    // The answer was written about half of the way ago.
    let skew =
        (clock::wall().seconds() - date.seconds()) - i64::try_from(took.as_secs() / 2).unwrap_or(0);
    let outcome = match skew.unsigned_abs() > SKEW_WARN_S {
        true => Outcome::Warn,
        false => Outcome::Ok,
    };
    let note = match skew {
        -1..=1 => "as the token endpoint's".to_owned(),
        skew if skew > 0 => format!("{skew} s ahead of the token endpoint's"),
        skew => format!("{} s behind the token endpoint's", skew.unsigned_abs()),
    };
    steps.push(Step::new(StepName::Clock, outcome, took, note));
    Some(skew)
}

async fn date_of(credential: &Credential, url: &str) -> Option<Wall> {
    let tls = match url.starts_with("http://") {
        true => tls::trusting_nobody().ok()?,
        false => tls::TlsConfigs::default().http(None).ok()?,
    };
    let http = network::build(network::http_builder(&credential.proxy, tls).ok()?).ok()?;
    let answer = http.get(url).send().await.ok()?;
    let date = answer.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    postrider_core::delivery::parse_http_date(date)
}

fn token_step(access: &Result<Access, CredentialFailure>, took: Duration) -> Step {
    match access {
        Ok(access) => match &access.secret {
            LoginSecret::Password(_) => Step::skipped(StepName::Token, "a password is used"),
            LoginSecret::Token(_) => {
                let note = match access.expires {
                    Some(end) => match (end - clock::monotonic()).as_secs() {
                        seconds @ 0..120 => format!("good for {seconds} s"),
                        seconds => format!("good for {} min", seconds / 60),
                    },
                    None => "it does not tell its end".to_owned(),
                };
                Step::new(StepName::Token, Outcome::Ok, took, note)
            }
        },
        Err(_) => Step::new(StepName::Token, Outcome::Failed, took, "no token"),
    }
}

fn claims_step(
    facts: &CredentialFacts,
    access: &Result<Access, CredentialFailure>,
    claims: Option<&Claims>,
    skew_s: Option<i64>,
    steps: &mut Vec<Step>,
) -> Option<Diagnosis> {
    if access.is_err() {
        return None;
    }
    let Some(claims) = claims else {
        steps.push(Step::skipped(StepName::Claims, "nothing to read"));
        return None;
    };
    let found = diagnosis::claims(&Facts {
        credential: facts,
        mailbox: None,
        claims: Some(claims),
        others: Others::Unknown,
        before: Before::Unknown,
        skew_s,
        now: clock::wall(),
    });
    let Some(found) = found else {
        let note = brief(claims);
        steps.push(Step::new(
            StepName::Claims,
            Outcome::Ok,
            Duration::ZERO,
            note,
        ));
        return None;
    };
    // Providers may write their names anew: what only looks odd is left to the login to decide.
    let looks_odd = matches!(
        found.cause,
        Cause::TokenForOtherResource | Cause::TokenOfOtherTenant
    );
    let outcome = match looks_odd {
        true => Outcome::Warn,
        false => Outcome::Failed,
    };
    steps.push(Step::new(
        StepName::Claims,
        outcome,
        Duration::ZERO,
        found.what.clone(),
    ));
    (!looks_odd).then_some(found)
}

fn brief(claims: &Claims) -> String {
    let mut parts = Vec::new();
    if !claims.roles.is_empty() {
        parts.push(format!("roles {}", claims.roles.join(" ")));
    }
    if !claims.scp.is_empty() {
        parts.push(format!("scp {}", claims.scp.join(" ")));
    }
    parts.extend(claims.oid.as_ref().map(|oid| format!("oid {oid}")));
    match parts.is_empty() {
        true => "nothing that matters".to_owned(),
        false => parts.join(", "),
    }
}
