//! What a sign-in brought: who it was, what was granted, and whether it will do. No IO.

use postrider_oauth::{claims::Claims, client::TokenClient, grant::Grant};
use secrecy::SecretString;

use super::super::{
    failure::{Exit, Failure},
    render::clean,
};
use crate::config::{Credential, CredentialKind};

const MICROSOFT: &str = "IMAP.AccessAsUser.All";
const GOOGLE: &str = "https://mail.google.com/";

/// A refresh token that will do.
pub(super) struct Granted {
    pub(super) refresh: SecretString,
    pub(super) account: Option<String>,
    pub(super) scopes: Vec<String>,
}

impl Granted {
    pub(super) fn judge(
        credential: &Credential,
        client: &TokenClient,
        grant: &Grant,
    ) -> Result<Self, Failure> {
        let claims = Claims::decode(&grant.access_token);
        let scopes = scopes(client, grant, claims.as_ref());
        if let Some(failure) = without_imap(credential, &scopes) {
            return Err(failure);
        }
        let Some(refresh) = &grant.refresh_token else {
            return Err(without_refresh_token(credential));
        };
        let named = |claims: Option<&Claims>| claims.and_then(|claims| claims.upn.clone());
        Ok(Self {
            refresh: refresh.clone(),
            account: named(grant.id_claims.as_ref()).or_else(|| named(claims.as_ref())),
            scopes,
        })
    }
}

/// RFC 6749 section 5.1: where the answer names none, it is what was asked for; but a token that
/// can be read knows better.
fn scopes(client: &TokenClient, grant: &Grant, claims: Option<&Claims>) -> Vec<String> {
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
    let told = grant.scope.as_deref().map(words);
    let read = claims
        .map(|claims| claims.scp.clone())
        .filter(|scopes| !scopes.is_empty());
    told.or(read)
        .unwrap_or_else(|| client.scope().map(words).unwrap_or_default())
}

fn without_imap(credential: &Credential, scopes: &[String]) -> Option<Failure> {
    let has = |wanted: &str| {
        scopes.iter().any(|scope| {
            let last = scope.rsplit('/').next().unwrap_or_default();
            scope.eq_ignore_ascii_case(wanted) || last.eq_ignore_ascii_case(wanted)
        })
    };
    let (granted, wanted, hint) = match &credential.kind {
        CredentialKind::MicrosoftDelegated(_) => {
            let graph = scopes
                .iter()
                .any(|scope| scope.starts_with("https://graph.microsoft."));
            let hint = match graph && has(MICROSOFT) {
                true => {
                    "the scope names Microsoft Graph, whose tokens open no mailbox over IMAP: leave \
                     `scope` out, or set it to \"https://outlook.office.com/IMAP.AccessAsUser.All \
                     offline_access\""
                }
                false => {
                    "entra.microsoft.com > App registrations > the application > API permissions > \
                     Add > Microsoft Graph > Delegated > IMAP.AccessAsUser.All, then sign in again; \
                     and leave `scope` out, or name https://outlook.office.com/IMAP.AccessAsUser.All \
                     and offline_access in it"
                }
            };
            (has(MICROSOFT) && !graph, MICROSOFT, hint)
        }
        CredentialKind::GoogleDelegated(_) => (
            scopes.iter().any(|scope| scope == GOOGLE),
            GOOGLE,
            "sign in again and tick the box for mail; the scope must also be listed under Google \
             Auth Platform > Data access of the project",
        ),
        // Nobody knows what others call it.
        CredentialKind::OAuth2(_)
        | CredentialKind::Microsoft(_)
        | CredentialKind::ManagedIdentity(_)
        | CredentialKind::Google(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => return None,
    };
    let what = match scopes.is_empty() {
        true => "nothing".to_owned(),
        false => clean(&scopes.join(" ")),
    };
    (!granted).then(|| {
        let error = format!(
            "the sign-in gives no access to mail over IMAP ({wanted}): {what} was granted; nothing \
             was stored"
        );
        Failure::new(Exit::Failed, error).hint(hint)
    })
}

fn without_refresh_token(credential: &Credential) -> Failure {
    let hint = match &credential.kind {
        CredentialKind::MicrosoftDelegated(_) => {
            "add offline_access to the credential's `scope` (it is in the default), and sign in again"
        }
        CredentialKind::GoogleDelegated(_) => {
            "take the application's access away at https://myaccount.google.com/permissions, and \
             sign in again: Google gives a refresh token with the first consent only"
        }
        CredentialKind::OAuth2(_)
        | CredentialKind::Microsoft(_)
        | CredentialKind::ManagedIdentity(_)
        | CredentialKind::Google(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => {
            "most providers give one for the scope offline_access: add it to the credential's `scope`"
        }
    };
    let error = "the provider gave an access token but no refresh token; nothing was stored";
    Failure::new(Exit::Failed, error).hint(hint)
}

#[cfg(test)]
mod tests;
