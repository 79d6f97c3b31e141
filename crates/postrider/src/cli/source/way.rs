//! Where and through what a credential's tokens are asked for.

use postrider_oauth::{
    client::{self, GOOGLE_TOKEN_URL, TokenClient},
    proof::Proof,
};
use url::Url;

use super::super::{
    direct,
    failure::{Exit, Failure},
};
use crate::{
    config::{AzureIdentity, ClientAuth, Credential, CredentialKind},
    network,
    tls::{self, TlsConfigs},
};

pub(in crate::cli) struct Way {
    pub(in crate::cli) client: TokenClient,
    pub(in crate::cli) http: reqwest::Client,
}

impl Way {
    /// `proof` is for those whose key names the token endpoint.
    pub(in crate::cli) fn of(
        credential: &Credential,
        proof: Option<&Proof>,
    ) -> Result<Self, Failure> {
        let client = client(credential, proof)?;
        let unreachable = |error: network::NetworkError| {
            Failure::new(
                Exit::Failed,
                format!("credential `{}`: {error}", credential.key),
            )
        };
        let http = match client.endpoint().scheme() {
            // Loopback's, or the machine's identity service: there is nobody to trust.
            "http" => tls::trusting_nobody()
                .map_err(network::NetworkError::from)
                .and_then(|tls| network::http_builder(&credential.proxy, tls))
                .and_then(network::build),
            _ => network::http_client(&credential.proxy, None, &TlsConfigs::default()),
        };
        Ok(Self {
            client,
            http: http.map_err(unreachable)?,
        })
    }
}

fn client(credential: &Credential, proof: Option<&Proof>) -> Result<TokenClient, Failure> {
    let made = match &credential.kind {
        CredentialKind::Microsoft(ours) => {
            TokenClient::microsoft(&ours.authority, &ours.tenant, &ours.client_id, &ours.scope)
        }
        CredentialKind::MicrosoftDelegated(ours) => {
            TokenClient::microsoft(&ours.authority, &ours.tenant, &ours.client_id, &ours.scope)
        }
        CredentialKind::ManagedIdentity(ours) => {
            let identity = match &ours.identity {
                AzureIdentity::Default => client::ManagedIdentity::Default,
                AzureIdentity::ClientId(id) => client::ManagedIdentity::ClientId(id.clone()),
                AzureIdentity::ObjectId(id) => client::ManagedIdentity::ObjectId(id.clone()),
                AzureIdentity::ResourceId(id) => client::ManagedIdentity::ResourceId(id.clone()),
            };
            TokenClient::managed_identity(&ours.endpoint, &ours.resource, identity)
        }
        CredentialKind::Google(ours) => {
            TokenClient::google(&google(ours.token_url.as_ref(), proof)?, &ours.scope)
        }
        CredentialKind::GoogleDelegated(ours) => {
            TokenClient::google_delegated(&ours.token_url, &ours.client_id, &ours.scope)
        }
        CredentialKind::OAuth2(ours) => {
            let auth = match ours.client_auth {
                ClientAuth::Body => client::ClientAuth::Body,
                ClientAuth::Basic => client::ClientAuth::Basic,
            };
            TokenClient::oauth2(
                &ours.token_url,
                &ours.client_id,
                ours.scope.as_deref(),
                auth,
            )
        }
        CredentialKind::Password { .. } | CredentialKind::Token(_) => {
            return Err(direct::no_token(credential));
        }
    };
    made.map_err(|error| {
        Failure::new(
            Exit::Config,
            format!("credential `{}`: {error}", credential.key),
        )
    })
}

fn google(configured: Option<&Url>, proof: Option<&Proof>) -> Result<Url, Failure> {
    let named = match proof {
        Some(Proof::ServiceAccount { key, .. }) => key.token_uri(),
        Some(_) | None => None,
    };
    match configured.or(named) {
        Some(url) => Ok(url.clone()),
        None => Url::parse(GOOGLE_TOKEN_URL)
            .map_err(|error| Failure::new(Exit::Failed, format!("{GOOGLE_TOKEN_URL}: {error}"))),
    }
}
