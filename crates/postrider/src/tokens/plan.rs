//! A set of credentials in the making: what did not change is kept, and nothing new runs before all
//! of it is good.

use std::{collections::BTreeMap, sync::Arc};

use postrider_core::ids::CredentialKey;
use postrider_oauth::microsoft::ClientCredentials;

use super::{ConfigureError, Credentials, Deps, Slot, password::PasswordSlot, slot::TokenSlot};
use crate::{
    config::{Credential, CredentialKind, MicrosoftApplication, MicrosoftProof, Proxy},
    network::{self, NetworkError},
    tls::{self, TlsConfigs},
};

pub(super) type Slots = BTreeMap<CredentialKey, Slot>;

pub(super) struct Plan<'a> {
    deps: &'a Deps,
    old: &'a Slots,
    tls: TlsConfigs,
    clients: Vec<(Proxy, reqwest::Client)>,
    slots: Slots,
    fresh: Vec<(CredentialKey, Slot)>,
}

/// All slots by name, and those of them that are to be started.
type Made = (Slots, Vec<(CredentialKey, Slot)>);

impl<'a> Plan<'a> {
    pub(super) fn make(
        deps: &'a Deps,
        credentials: &Credentials,
        old: &'a Slots,
    ) -> Result<Made, ConfigureError> {
        let mut plan = Self {
            deps,
            old,
            tls: TlsConfigs::default(),
            clients: Vec::new(),
            slots: BTreeMap::new(),
            fresh: Vec::new(),
        };
        for (key, credential) in credentials {
            let slot = match plan.known(key, credential) {
                Some(slot) => slot,
                None => plan.fresh(key, credential)?,
            };
            plan.slots.insert(key.clone(), slot);
        }
        Ok((plan.slots, plan.fresh))
    }

    /// A slot with the same settings: of the same name, else, for tokens, of any name, since one
    /// token serves the same client under all of them.
    fn known(&self, key: &CredentialKey, credential: &Credential) -> Option<Slot> {
        let same_name = self.old.get(key);
        match &credential.kind {
            CredentialKind::Password { password } => same_name
                .filter(|slot| matches!(slot, Slot::Password(slot) if slot.references == *password))
                .cloned(),
            CredentialKind::Microsoft(_)
            | CredentialKind::MicrosoftDelegated(_)
            | CredentialKind::ManagedIdentity(_)
            | CredentialKind::Google(_)
            | CredentialKind::GoogleDelegated(_)
            | CredentialKind::OAuth2(_)
            | CredentialKind::Token(_) => same_name
                .into_iter()
                .chain(self.old.values())
                .chain(self.slots.values())
                .find(|slot| matches!(slot, Slot::Token(slot) if slot.serves(credential)))
                .cloned(),
        }
    }

    fn fresh(
        &mut self,
        key: &CredentialKey,
        credential: &Credential,
    ) -> Result<Slot, ConfigureError> {
        let slot = match &credential.kind {
            CredentialKind::Password { password } => {
                Slot::Password(Arc::new(PasswordSlot::new(key, password, self.deps)))
            }
            CredentialKind::Microsoft(MicrosoftApplication {
                tenant,
                client_id,
                proof: MicrosoftProof::Secrets(client_secret),
                cloud: _,
                authority,
                scope,
            }) => {
                let client = ClientCredentials::new(authority, tenant, client_id, scope).map_err(
                    |error| ConfigureError::Authority {
                        credential: key.clone(),
                        error,
                    },
                )?;
                let http = self.client(&credential.proxy, authority).map_err(|error| {
                    ConfigureError::Network {
                        credential: key.clone(),
                        error,
                    }
                })?;
                let slot = TokenSlot::new(
                    key,
                    credential.clone(),
                    client,
                    http,
                    client_secret,
                    self.deps,
                );
                Slot::Token(Arc::new(slot))
            }
            CredentialKind::Microsoft(_)
            | CredentialKind::MicrosoftDelegated(_)
            | CredentialKind::ManagedIdentity(_)
            | CredentialKind::Google(_)
            | CredentialKind::GoogleDelegated(_)
            | CredentialKind::OAuth2(_)
            | CredentialKind::Token(_) => {
                return Err(ConfigureError::Unserved {
                    credential: key.clone(),
                    kind: credential.kind.as_str(),
                });
            }
        };
        self.fresh.push((key.clone(), slot.clone()));
        Ok(slot)
    }

    /// One client per proxy. Plain http, which is loopback's alone, needs no trusted roots.
    fn client(
        &mut self,
        proxy: &Proxy,
        authority: &url::Url,
    ) -> Result<reqwest::Client, NetworkError> {
        if authority.scheme() == "http" {
            return network::build(network::http_builder(proxy, tls::trusting_nobody()?)?);
        }
        if let Some((_, client)) = self.clients.iter().find(|(known, _)| known == proxy) {
            return Ok(client.clone());
        }
        let client = network::http_client(proxy, None, &self.tls)?;
        self.clients.push((proxy.clone(), client.clone()));
        Ok(client)
    }
}
