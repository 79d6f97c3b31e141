//! One token request outside the daemon: from a credential of the configuration to its token, with
//! the same clients and proofs. Secrets are read for the request and forgotten after it; a refresh
//! token that the provider replaced goes into the vault before anything else happens.

mod proofs;
mod way;

use std::time::{Duration, Instant};

use postrider_oauth::{error::TokenError, grant::Grant, proof::Proof};

use self::proofs::Labelled;
pub(super) use self::{proofs::newest, way::Way};
use super::{
    direct,
    failure::{Exit, Failure},
};
use crate::{
    clock,
    config::{Config, Credential, CredentialKind},
    vault::{Kept, Vault},
};

/// One request, whatever it is for.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);

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
    let proofs = proofs::of(config, credential, user.as_deref())?;
    let way = Way::of(credential, proofs.first().map(|first| &first.proof))?;
    let asked = match credential.kind.uses_vault() {
        true => from_vault(config, credential, &way).await?,
        false => try_each(&way, proofs).await?.0,
    };
    Ok(Asked { user, ..asked })
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

/// The first proof that is not refused for its own sake decides. Returns which one it was.
async fn try_each(way: &Way, proofs: Vec<Labelled>) -> Result<(Asked, Proof), Failure> {
    let mut refused: Option<TokenError> = None;
    for Labelled { proof, label } in proofs {
        let start = Instant::now();
        let answer = way
            .client
            .request(&way.http, &proof, REQUEST_TIME_MAX, clock::wall())
            .await;
        match answer {
            Ok(grant) => {
                let asked = Asked {
                    rotation: match &grant.refresh_token {
                        Some(_) => Rotation::Ignored,
                        None => Rotation::None,
                    },
                    grant,
                    proof: label,
                    user: None,
                    host: way.client.endpoint().host_str().map(str::to_owned),
                    took: start.elapsed(),
                };
                return Ok((asked, proof));
            }
            // The newest one's refusal is the one to tell.
            Err(error) if error.is_about_the_secret() => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(match refused {
        Some(error) => error.into(),
        None => Failure::new(Exit::Config, "the credential has nothing to ask with"),
    })
}

/// Within this credential's turn, so that the daemon does not use the same refresh token.
async fn from_vault(config: &Config, credential: &Credential, way: &Way) -> Result<Asked, Failure> {
    let vault = direct::vault(config);
    let turn = vault.turn(&credential.key).await?;
    let proofs = proofs::of(config, credential, None)?;
    let (asked, proof) = try_each(way, proofs).await?;
    let rotation = keep(&vault, credential, &proof, &asked.grant)?;
    drop(turn);
    Ok(Asked { rotation, ..asked })
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
