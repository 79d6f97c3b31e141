//! One request outside the daemon, for commands: the clients and proofs that the daemon would use,
//! read once. Nothing is kept, and nothing is decided about the next request.

use std::{sync::Arc, time::Duration};

use postrider_core::{time::Monotonic, token::Purpose};
use postrider_oauth::{
    authority::AuthorityError, client::TokenClient, error::TokenError, grant::Grant, proof::Proof,
};
use secrecy::SecretString;

use super::{
    foreign,
    identity::{Identity, ProofRef, Settings},
    proofs::{Proofs, Ready},
};
use crate::{
    clock,
    config::{Credential, Environment, SecretError, SecretRef, VaultConfig},
    network::{self, NetworkError},
    secrets::{Pace, Secrets},
    telemetry::Telemetry,
    tls::{self, TlsConfigs},
};

/// One request, whatever it is for.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Why nothing can be asked, or nothing came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// What there is cannot be read or makes no sense; each problem with its hint.
    #[error("{}", .0.join("; "))]
    Unusable(Vec<String>),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Asked(#[from] TokenError),
    /// A token that somebody else obtains is not there.
    #[error("{0}")]
    Foreign(String),
    #[error("{0}")]
    Setup(String),
}

/// A credential, as it would ask.
pub(crate) struct Once {
    settings: Settings,
    http: reqwest::Client,
    ways: Vec<Way>,
}

/// One of its proofs.
pub(crate) struct Way {
    /// For people: `client secret 1 of 2`.
    pub(crate) label: String,
    ready: Ready,
}

impl Once {
    /// `None` for a password, which is no token. `user` is for tokens that are a user's. Must be
    /// called within the runtime.
    pub(crate) fn of(
        credential: &Credential,
        vault: &VaultConfig,
        user: Option<&str>,
    ) -> Result<Option<Self>, OnceError> {
        let Some(mut settings) = Settings::of(credential, vault)? else {
            return Ok(None);
        };
        match &mut settings.identity {
            Identity::User { subject, .. } => *subject = user.map(str::to_owned),
            Identity::Own(_)
            | Identity::Person { .. }
            | Identity::Refreshed(..)
            | Identity::Foreign(..) => {}
        }
        // Plain http is this machine's alone and needs no trusted roots.
        let plain = settings
            .endpoint()
            .is_some_and(|url| url.scheme() == "http");
        let http = match plain {
            true => {
                let tls = tls::trusting_nobody().map_err(NetworkError::from)?;
                network::build(network::http_builder(&settings.proxy, tls)?)?
            }
            false => network::http_client(&settings.proxy, None, &TlsConfigs::default())?,
        };
        let ways = ways(&settings)?;
        Ok(Some(Self {
            settings,
            http,
            ways,
        }))
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// `None` where the proof names it, or nobody is asked.
    pub(crate) fn client(&self) -> Option<&TokenClient> {
        match &self.settings.identity {
            Identity::Own(client)
            | Identity::Person { client, .. }
            | Identity::Refreshed(client, _) => Some(client),
            Identity::User { .. } | Identity::Foreign(..) => None,
        }
    }

    /// Those that can be used, newest first; never empty.
    pub(crate) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// What goes with a person's refresh token: each client secret, or one `None`.
    pub(crate) fn client_secrets(&self) -> impl Iterator<Item = Option<&SecretString>> {
        self.ways.iter().filter_map(|way| match &way.ready {
            Ready::Client(secret) => Some(secret.as_ref()),
            Ready::Proof(..) | Ready::Federated(..) | Ready::Token(_) | Ready::Command { .. } => {
                None
            }
        })
    }

    /// One request with one proof. A person's is asked with [`Self::client`] instead.
    pub(crate) async fn ask(&self, way: &Way) -> Result<Grant, OnceError> {
        let (proof, client) = match &way.ready {
            Ready::Proof(proof, client) => (proof.clone(), client),
            Ready::Federated(file, client) => {
                let token = SecretRef::File(file.clone()).read(&Environment::of_process())?;
                (Proof::Assertion(token), client)
            }
            Ready::Token(token) => return self.foreign(token),
            Ready::Command { program, args } => {
                let (program, args) = (program.clone(), args.clone());
                let run = move || foreign::run(&program, &args, foreign::PROGRAM_LIMIT);
                let printed = tokio::task::spawn_blocking(run)
                    .await
                    .map_err(|error| OnceError::Setup(error.to_string()))?
                    .map_err(|error| OnceError::Foreign(error.to_string()))?;
                return self.foreign(&printed);
            }
            Ready::Client(_) => {
                return Err(OnceError::Setup(
                    "it needs a person's refresh token".to_owned(),
                ));
            }
        };
        let asked = client.request(&self.http, &proof, REQUEST_LIMIT, clock::wall());
        Ok(asked.await?)
    }

    fn foreign(&self, text: &SecretString) -> Result<Grant, OnceError> {
        let lifetime = match &self.settings.identity {
            Identity::Foreign(_, lifetime) => *lifetime,
            Identity::Own(_)
            | Identity::Person { .. }
            | Identity::Refreshed(..)
            | Identity::User { .. } => Duration::ZERO,
        };
        foreign::read(text, lifetime, clock::wall())
            .map_err(|error| OnceError::Foreign(error.to_string()))
    }
}

impl Way {
    /// The host that is asked, where one is.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.ready {
            Ready::Proof(_, client) | Ready::Federated(_, client) => client.endpoint().host_str(),
            Ready::Client(_) | Ready::Token(_) | Ready::Command { .. } => None,
        }
    }
}

/// One that cannot be read is passed over where another one can.
fn ways(settings: &Settings) -> Result<Vec<Way>, OnceError> {
    let telemetry = Telemetry::new().map_err(|error| OnceError::Setup(error.to_string()))?;
    let environment = Environment::of_process();
    let secrets = Secrets::new(environment, Arc::new(telemetry), Pace::default());
    let materials = settings.proofs.iter().flat_map(ProofRef::materials);
    let list = secrets
        .watch_materials(materials.collect())
        .borrow()
        .clone();
    let proofs = Proofs::new(settings, &list);
    let number = proofs.count();
    let ways: Vec<Way> = proofs
        .tries(Purpose::Token, Monotonic::default())
        .into_iter()
        .map(|one| Way {
            label: match number {
                1 => one.what.to_owned(),
                number => format!("{} {} of {number}", one.what, one.index + 1),
            },
            ready: one.ready,
        })
        .collect();
    if !ways.is_empty() {
        return Ok(ways);
    }
    let unreadable = list.problems();
    Err(OnceError::Unusable(
        unreadable
            .chain(proofs.problems().iter().cloned())
            .collect(),
    ))
}
