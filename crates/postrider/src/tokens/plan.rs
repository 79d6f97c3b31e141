//! A set of credentials in the making: what did not change is kept, what is the same access gets
//! one slot under all its names, and nothing new runs before all of it is good.

use std::{collections::BTreeMap, sync::Arc};

use postrider_core::ids::CredentialKey;
use url::Url;

use super::{
    ConfigureError, Deps, Slot, Wanted,
    identity::{Identity, Settings},
    password::PasswordSlot,
    slot::TokenSlot,
    users::UserSlots,
};
use crate::{
    config::{Credential, CredentialKind, Proxy},
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
        wanted: &Wanted<'_>,
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
        for (key, credential) in wanted.credentials {
            if let CredentialKind::Password { password } = &credential.kind {
                let slot = plan.password(key, password);
                plan.slots.insert(key.clone(), slot);
            }
        }
        for (settings, names) in accesses(wanted)? {
            plan.access(&settings, &names)?;
        }
        Ok((plan.slots, plan.fresh))
    }

    fn password(&mut self, key: &CredentialKey, references: &[crate::config::SecretRef]) -> Slot {
        let known = self
            .old
            .get(key)
            .filter(|slot| matches!(slot, Slot::Password(slot) if slot.references == references));
        match known {
            Some(slot) => slot.clone(),
            None => {
                let slot = PasswordSlot::new(key, references, self.deps);
                let slot = Slot::Password(Arc::new(slot));
                self.fresh.push((key.clone(), slot.clone()));
                slot
            }
        }
    }

    /// One slot for all names; one that was there stays, whatever its names were.
    fn access(
        &mut self,
        settings: &Settings,
        names: &[CredentialKey],
    ) -> Result<(), ConfigureError> {
        let named = names.iter().filter_map(|name| self.old.get(name));
        let known = named
            .chain(self.old.values())
            .find(|slot| slot.settings() == Some(settings))
            .cloned();
        let slot = match known {
            Some(slot) => slot,
            None => {
                let Some(first) = names.first() else {
                    return Ok(());
                };
                let http = self
                    .client(&settings.proxy, settings.endpoint())
                    .map_err(|error| ConfigureError::Network {
                        credential: first.clone(),
                        error,
                    })?;
                let (deps, settings) = (self.deps, settings.clone());
                let slot = match settings.identity {
                    Identity::User { .. } => {
                        Slot::Users(Arc::new(UserSlots::new(first, settings, http, deps)))
                    }
                    Identity::Own(_)
                    | Identity::Person { .. }
                    | Identity::Refreshed(..)
                    | Identity::Foreign(..) => {
                        Slot::Token(Arc::new(TokenSlot::new(first, settings, http, deps)))
                    }
                };
                self.fresh.push((first.clone(), slot.clone()));
                slot
            }
        };
        for name in names {
            self.slots.insert(name.clone(), slot.clone());
        }
        Ok(())
    }

    /// One client per proxy. Plain http, which is this machine's alone, needs no trusted roots.
    fn client(
        &mut self,
        proxy: &Proxy,
        endpoint: Option<&Url>,
    ) -> Result<reqwest::Client, NetworkError> {
        if endpoint.is_some_and(|url| url.scheme() == "http") {
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

/// Credentials by what they are an access to, each with its names in order. The first name's proxy
/// is the way to the endpoint.
fn accesses(wanted: &Wanted<'_>) -> Result<Vec<(Settings, Vec<CredentialKey>)>, ConfigureError> {
    let mut accesses: Vec<(Settings, Vec<CredentialKey>)> = Vec::new();
    for (key, credential) in wanted.credentials {
        let Some(settings) = settings(wanted, key, credential)? else {
            continue;
        };
        let known = accesses
            .iter_mut()
            .find(|(known, _)| known.identity == settings.identity);
        match known {
            Some((known, names)) => {
                known.join(&settings);
                names.push(key.clone());
            }
            None => accesses.push((settings, vec![key.clone()])),
        }
    }
    Ok(accesses)
}

fn settings(
    wanted: &Wanted<'_>,
    key: &CredentialKey,
    credential: &Credential,
) -> Result<Option<Settings>, ConfigureError> {
    Settings::of(credential, wanted.vault).map_err(|error| ConfigureError::Authority {
        credential: key.clone(),
        error,
    })
}
