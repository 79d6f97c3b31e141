//! `/v1/credentials`: how access stands, and who depends on it. Secrets are counted, never told.

use axum::{Json, extract::State, http::StatusCode};
use postrider_core::time::Wall;

use super::{
    api,
    server::{Admin, Refusal},
};
use crate::{
    config::{Config, Credential, Environment},
    tokens::{CredentialState, CredentialStatus},
    vault::Vault,
};

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

fn shown(status: &CredentialStatus, config: &Config) -> api::Credential {
    let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
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
