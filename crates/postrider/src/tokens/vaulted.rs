//! Refresh tokens from the vault: used by one process at a time, and a new one is stored before
//! the access token that came with it is given out.

use postrider_core::{ids::CredentialKey, time::Wall};
use postrider_oauth::{grant::Grant, proof::Proof};
use secrecy::SecretString;

use super::{
    identity::Identity,
    proofs::{Ready, Try},
    request::{Fault, REQUEST_LIMIT, Success},
    slot::TokenSlot,
};
use crate::{
    clock,
    vault::{Kept, Vault, VaultError},
};

/// A refresh token that was exchanged and whose successor is not stored yet.
#[derive(Clone)]
pub(super) struct Unsaved {
    used: SecretString,
    fresh: SecretString,
    at: Wall,
}

/// Asks with the newest refresh token, then with the one before it, until one gives a token.
pub(super) async fn ask(
    slot: &TokenSlot,
    vault: &Vault,
    client_secrets: Vec<Try>,
) -> Result<Success, Fault> {
    let (credential, client) = match &slot.settings.identity {
        Identity::Person {
            credential, client, ..
        } => (credential.clone(), client.clone()),
        Identity::Own(_)
        | Identity::Refreshed(..)
        | Identity::User { .. }
        | Identity::Foreign(..) => return Err(Fault::Passing("no person's access".to_owned())),
    };
    // Held until the answer is stored: some providers revoke all when one is used twice.
    let _turn = tokio::select! {
        turn = vault.turn(&credential) => turn.map_err(Fault::from)?,
        () = slot.retired.cancelled() => return Err(Fault::Passing("it is out of use".to_owned())),
    };
    save_late(slot, vault, &credential).await?;
    let stored = {
        let (vault, credential) = (vault.clone(), credential.clone());
        blocking(move || vault.load(&credential)).await?
    };
    let Some(stored) = stored else {
        return Err(Fault::Lacking(format!(
            "nobody has signed in; hint: postrider login {credential}"
        )));
    };
    let mut refusal = None;
    for token in stored.candidates() {
        for one in &client_secrets {
            if slot.retired.is_cancelled() {
                return Err(Fault::Passing("it is out of use".to_owned()));
            }
            let Ready::Client(client_secret) = &one.ready else {
                continue;
            };
            let proof = Proof::RefreshToken {
                token: token.clone(),
                client_secret: client_secret.clone(),
            };
            let requested_at = clock::monotonic();
            let asked = client
                .request(&slot.http, &proof, REQUEST_LIMIT, clock::wall())
                .await;
            match asked {
                Ok(grant) => {
                    keep(slot, vault, &credential, token, &grant).await;
                    return Ok(Success {
                        grant,
                        requested_at,
                        id: one.id,
                    });
                }
                Err(error) if error.is_about_the_secret() => {
                    slot.request_failed(requested_at, &error, one.index + 1);
                    refusal.get_or_insert(Fault::Asked(error));
                }
                Err(error) => {
                    slot.request_failed(requested_at, &error, one.index + 1);
                    return Err(Fault::Asked(error));
                }
            }
        }
    }
    Err(refusal.unwrap_or_else(|| Fault::Lacking("no client secret can be read".to_owned())))
}

/// Stores what a good answer means for the refresh token. Where that fails, the access token is
/// good all the same; what could not be stored is stored before the next request.
async fn keep(
    slot: &TokenSlot,
    vault: &Vault,
    credential: &CredentialKey,
    used: &SecretString,
    grant: &Grant,
) {
    let unsaved = Unsaved {
        used: used.clone(),
        fresh: grant.refresh_token.clone().unwrap_or_else(|| used.clone()),
        at: clock::wall(),
    };
    match save(vault, credential, unsaved.clone()).await {
        Ok(Kept::Stored) => slot.seen_record(),
        // Somebody signed in anew: the look at the vault has to notice it.
        Ok(Kept::Superseded) => {}
        Err(error) => {
            slot.deps
                .telemetry
                .tokens
                .vault_failed(credential, &error.to_string());
            slot.state().unsaved = grant.refresh_token.is_some().then_some(unsaved);
            slot.seen_record();
        }
    }
}

async fn save_late(
    slot: &TokenSlot,
    vault: &Vault,
    credential: &CredentialKey,
) -> Result<(), Fault> {
    let Some(unsaved) = slot.state().unsaved.clone() else {
        return Ok(());
    };
    save(vault, credential, unsaved).await?;
    slot.state().unsaved = None;
    Ok(())
}

/// One write: the same token again confirms it. Somebody's new sign-in wins over it.
async fn save(vault: &Vault, credential: &CredentialKey, unsaved: Unsaved) -> Result<Kept, Fault> {
    let (vault, credential) = (vault.clone(), credential.clone());
    let kept =
        blocking(move || vault.rotate(&credential, &unsaved.used, &unsaved.fresh, unsaved.at));
    kept.await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Fault::from),
        Err(error) => Err(Fault::Passing(format!(
            "the vault's work ended early: {error}"
        ))),
    }
}
