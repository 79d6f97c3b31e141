//! One token request outside the daemon: from a credential of the configuration to its token, with
//! the same clients and proofs. Secrets are read for the request and forgotten after it; a refresh
//! token that the provider replaced goes into the vault before anything else happens.

use std::time::{Duration, Instant};

use postrider_oauth::{error::TokenError, grant::Grant, proof::Proof};

use super::{
    direct,
    failure::{Exit, Failure},
};
use crate::{
    clock,
    config::{Config, Credential, CredentialKind},
    tokens::once::{Once, OnceError, REQUEST_LIMIT},
    vault::{Kept, Vault},
};

/// A token, and how it came.
pub(super) struct Asked {
    pub(super) grant: Grant,
    /// For people: `client secret 1 of 2`.
    pub(super) proof: String,
    /// For whom, where it is for one user.
    pub(super) user: Option<String>,
    /// Whose endpoint gave it.
    pub(super) host: Option<String>,
    pub(super) took: Duration,
    pub(super) rotation: Rotation,
}

/// What became of a refresh token that came along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// There was none.
    None,
    Stored,
    /// The configuration names a fixed one.
    Ignored,
}

impl Rotation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stored => "stored",
            Self::Ignored => "ignored",
        }
    }
}

/// One token for the credential; `user` is for those whose tokens are a user's.
pub(super) async fn ask(
    config: &Config,
    credential: &Credential,
    user: Option<&str>,
) -> Result<Asked, Failure> {
    let user = user_of(config, credential, user)?;
    let once = once(config, credential, user.as_deref())?;
    let asked = match credential.kind.uses_vault() {
        true => from_vault(config, credential, &once).await?,
        false => try_each(&once, credential).await?,
    };
    Ok(Asked { user, ..asked })
}

/// The credential, as it would ask.
pub(super) fn once(
    config: &Config,
    credential: &Credential,
    user: Option<&str>,
) -> Result<Once, Failure> {
    match Once::of(credential, &config.vault, user) {
        Ok(Some(once)) => Ok(once),
        Ok(None) => Err(direct::no_token(credential)),
        Err(error) => Err(failed(credential, error)),
    }
}

fn failed(credential: &Credential, error: OnceError) -> Failure {
    let exit = match &error {
        OnceError::Authority(_) | OnceError::Unusable(_) | OnceError::Secret(_) => Exit::Config,
        OnceError::Network(_) | OnceError::Foreign(_) | OnceError::Setup(_) => Exit::Failed,
        OnceError::Asked(_) => Exit::Failed,
    };
    match error {
        OnceError::Asked(error) => error.into(),
        other => Failure::new(exit, format!("credential `{}`: {other}", credential.key)),
    }
}

/// Google's service accounts have a token per user; the others have one for all.
fn user_of(
    config: &Config,
    credential: &Credential,
    user: Option<&str>,
) -> Result<Option<String>, Failure> {
    let is_per_user = matches!(credential.kind, CredentialKind::Google(_));
    match (is_per_user, user) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            let error = format!(
                "credential `{}` has one token for all its users",
                credential.key
            );
            Err(Failure::new(Exit::Failed, error).hint("leave --user out"))
        }
        (true, Some(user)) => Ok(Some(user.to_owned())),
        (true, None) => match direct::users_of(config, &credential.key).next() {
            Some((_, username)) => Ok(Some(username.to_owned())),
            None => {
                let error = format!("credential `{}` has a token per user", credential.key);
                Err(Failure::new(Exit::Failed, error).hint("name one with --user ADDRESS"))
            }
        },
    }
}

/// The first proof that is not refused for its own sake decides.
async fn try_each(once: &Once, credential: &Credential) -> Result<Asked, Failure> {
    let mut refused: Option<TokenError> = None;
    for way in once.ways() {
        let start = Instant::now();
        match once.ask(way).await {
            Ok(grant) => {
                return Ok(Asked {
                    rotation: match &grant.refresh_token {
                        Some(_) => Rotation::Ignored,
                        None => Rotation::None,
                    },
                    grant,
                    proof: way.label.clone(),
                    user: None,
                    host: way.host().map(str::to_owned),
                    took: start.elapsed(),
                });
            }
            // The newest one's refusal is the one to tell.
            Err(OnceError::Asked(error)) if error.is_about_the_secret() => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(failed(credential, error)),
        }
    }
    Err(match refused {
        Some(error) => error.into(),
        None => Failure::new(Exit::Config, "the credential has nothing to ask with"),
    })
}

/// Within this credential's turn, so that the daemon does not use the same refresh token.
async fn from_vault(
    config: &Config,
    credential: &Credential,
    once: &Once,
) -> Result<Asked, Failure> {
    let vault = direct::vault(config);
    let turn = vault.turn(&credential.key).await?;
    let Some(stored) = vault.load(&credential.key)? else {
        let error = format!("nobody has signed in for credential `{}`", credential.key);
        let hint = format!("postrider login {}", credential.key);
        return Err(Failure::new(Exit::Failed, error).hint(hint));
    };
    let Some(client) = once.client() else {
        return Err(direct::no_token(credential));
    };
    let who = match &stored.account {
        Some(account) => format!("refresh token of {account}"),
        None => "refresh token".to_owned(),
    };
    let mut refused: Option<TokenError> = None;
    for (index, token) in stored.candidates().enumerate() {
        for client_secret in once.client_secrets() {
            let proof = Proof::RefreshToken {
                token: token.clone(),
                client_secret: client_secret.cloned(),
            };
            let start = Instant::now();
            let asked = client.request(once.http(), &proof, REQUEST_LIMIT, clock::wall());
            match asked.await {
                Ok(grant) => {
                    let rotation = keep(&vault, credential, &proof, &grant)?;
                    drop(turn);
                    return Ok(Asked {
                        grant,
                        proof: match index {
                            0 => who,
                            _ => format!("{who}, the one before"),
                        },
                        user: None,
                        host: client.endpoint().host_str().map(str::to_owned),
                        took: start.elapsed(),
                        rotation,
                    });
                }
                Err(error) if error.is_about_the_secret() => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(match refused {
        Some(error) => error.into(),
        None => Failure::new(Exit::Config, "no client secret can be read"),
    })
}

/// A refresh token gave a token: what the vault makes of the answer.
pub(super) fn keep(
    vault: &Vault,
    credential: &Credential,
    proof: &Proof,
    grant: &Grant,
) -> Result<Rotation, Failure> {
    let Proof::RefreshToken { token: used, .. } = proof else {
        return Ok(Rotation::None);
    };
    let kept = match &grant.refresh_token {
        Some(fresh) => vault.rotate(&credential.key, used, fresh, clock::wall())?,
        None => vault.confirm(&credential.key, used)?,
    };
    Ok(match (kept, &grant.refresh_token) {
        (Kept::Stored, Some(_)) => Rotation::Stored,
        (Kept::Stored | Kept::Superseded, _) => Rotation::None,
    })
}
