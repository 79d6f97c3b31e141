//! `/v1/credentials`: how access stands, and who depends on it. Secrets are counted, never told.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use postrider_core::{ids::CredentialKey, time::Wall};
use postrider_store::Deed;

use super::{
    api,
    caller::Caller,
    server::{Admin, Refusal},
};
use crate::{
    config::{Config, Credential, Environment},
    tokens::{CertificateStatus, CredentialState, CredentialStatus, Renewed},
    vault::Vault,
};

const LIST: &str = "postrider credentials list";

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<api::Credentials>, Refusal> {
    let config = admin.shared.config();
    let statuses = admin.shared.tokens.snapshot();
    // The vault's records are files.
    let shown = tokio::task::spawn_blocking(move || {
        let shown = statuses.iter().map(|status| shown(status, &config));
        shown.collect()
    });
    let credentials = shown
        .await
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), ""))?;
    Ok(Json(api::Credentials { credentials }))
}

/// A new token now, because it says more than the one in use.
pub(super) async fn renew(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<api::Done>, Refusal> {
    let key = CredentialKey::from(id.as_str());
    let shared = &admin.shared;
    if !shared.config().credentials.contains_key(&key) {
        return Err(Refusal::not_found("credential", &id, LIST));
    }
    let act = caller.act(None);
    let tokens = &shared.telemetry.tokens;
    tokens.renewal_ordered(&key, &act.who, &act.through);
    shared
        .store
        .note(&act, Deed::RenewCredential, &id, 1)
        .await?;
    let done = renewed(shared.tokens.renew(&key).await, &id)?;
    Ok(Json(api::Done {
        id,
        done,
        folders: Vec::new(),
    }))
}

/// What came of it, in the past tense.
fn renewed(renewed: Renewed, id: &str) -> Result<String, Refusal> {
    match renewed {
        Renewed::Done => Ok("renewed".to_owned()),
        Renewed::Ordered { users: 0 } => Ok("ordered".to_owned()),
        Renewed::Ordered { users } => Ok(format!("ordered for {users} users")),
        Renewed::Failed(detail) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("credential `{id}` got no new token: {detail}"),
            "a token that is still good stays in use; it is tried again by itself",
        )),
        Renewed::TooSoon { wait } => Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("credential `{id}` was renewed a moment ago"),
            &format!("try again in {} s", wait.as_secs() + 1),
        )),
        Renewed::NoToken => Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("credential `{id}` is a password, which no token is asked for with"),
            "a password is read again when its file changes",
        )),
        Renewed::Unknown => Err(Refusal::not_found("credential", id, LIST)),
    }
}

/// Who signed in, and since when; or why that cannot be told, with what to do.
fn signed_in(config: &Config, credential: &Credential) -> Result<(Option<String>, Wall), String> {
    let vault = Vault::new(
        config.vault.path.clone(),
        config.vault.key.clone(),
        Environment::of_process(),
    );
    match vault.load(&credential.key) {
        Ok(Some(stored)) => Ok((stored.account, stored.signed_in_at)),
        Ok(None) => Err(format!(
            "nobody has signed in; hint: postrider login {}",
            credential.key
        )),
        Err(error) => Err(format!("{error}; hint: {}", error.hint())),
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn certificate(one: &CertificateStatus) -> api::Certificate {
    api::Certificate {
        number: number(one.index).saturating_add(1),
        thumbprint: one.thumbprint.clone(),
        subject: one.subject.clone(),
        expires: one.ends.rfc3339(),
        live: one.is_live,
    }
}

fn shown(status: &CredentialStatus, config: &Config) -> api::Credential {
    let users = config
        .mailboxes
        .values()
        .filter(|mailbox| mailbox.credential == status.key);
    let settings = config.credentials.get(&status.key);
    let mut secret_problems = status.secret_problems.clone();
    let mut account = None;
    let mut account_since = None;
    if let Some(settings) = settings.filter(|settings| settings.kind.uses_vault()) {
        match signed_in(config, settings) {
            Ok((name, since)) => (account, account_since) = (name, Some(since.rfc3339())),
            Err(problem) => secret_problems.push(problem),
        }
    }
    api::Credential {
        account,
        account_since,
        id: status.key.to_string(),
        kind: status.kind.to_owned(),
        state: status.state.as_str().to_owned(),
        live: status.live_secret.map(|index| number(index) + 1),
        secrets: number(status.secrets),
        secret_problems,
        token_expires: status.expires_at.map(Wall::rfc3339),
        last_token: status.last_token_at.map(Wall::rfc3339),
        certificates: status.certificates.iter().map(certificate).collect(),
        next_request: status.next_request_at.map(Wall::rfc3339),
        expires: status.secret_expires_at.map(Wall::rfc3339),
        mailboxes: users.map(|mailbox| mailbox.key.to_string()).collect(),
        trouble_over: match status.state {
            CredentialState::Ready => true,
            CredentialState::Idle | CredentialState::Unavailable | CredentialState::Refused => {
                false
            }
        },
        last_error: status.last_error.as_ref().map(|error| api::Trouble {
            diagnosis: None,
            cause: status.state.as_str().to_owned(),
            detail: error.detail.clone(),
            hint: error.error.as_ref().map(|error| error.hint().to_owned()),
            since: error.at.rfc3339(),
            at: error.at.rfc3339(),
        }),
    }
}
