//! What makes two credentials the same access, and how each proves that it may have it. One token
//! serves an identity under all its names; nothing here is secret.

use std::{path::PathBuf, time::Duration};

use postrider_core::ids::CredentialKey;
use postrider_oauth::{
    authority::AuthorityError,
    client::{self, TokenClient},
};
use url::Url;

use crate::{
    config::{
        AzureIdentity, CertificateRef, CertificateSource, ClientAuth, Credential, CredentialKind,
        GoogleServiceAccount, MicrosoftProof, OAuth2, OAuth2Grant, Proxy, RefreshFrom, SecretRef,
        TokenSource, VaultConfig,
    },
    secrets::Material,
};

/// All of a slot's settings: a slot whose settings are the same stays, with its token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The `type` in the configuration.
    pub(super) kind: &'static str,
    pub(super) identity: Identity,
    /// Newest first; of several names one after the other.
    pub(super) proofs: Vec<ProofRef>,
    pub(super) proxy: Proxy,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Identity {
    /// An application's, or a machine's.
    Own(TokenClient),
    /// A person's, whose refresh token lies in the vault.
    Person {
        credential: CredentialKey,
        client: TokenClient,
        vault: VaultConfig,
    },
    /// Whatever a refresh token by reference stands for.
    Refreshed(TokenClient, Vec<SecretRef>),
    /// A user's, by a service account's word.
    User {
        /// `None`: the one that the key names.
        token_url: Option<Url>,
        scope: String,
        accounts: Vec<SecretRef>,
        subject: Option<String>,
    },
    /// A token that somebody else obtains.
    Foreign(TokenSource, Duration),
}

/// One way to prove it, by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProofRef {
    Nothing,
    Secret(SecretRef),
    Certificate(CertificateRef),
    Federated(PathBuf),
    ServiceAccount(SecretRef),
    Refresh {
        token: SecretRef,
        client_secret: Option<SecretRef>,
    },
    /// What goes with a refresh token of the vault.
    Client(Option<SecretRef>),
    Token(SecretRef),
    Command {
        program: PathBuf,
        args: Vec<String>,
    },
}

impl ProofRef {
    /// What has to be watched for it, in the order in which it is put together.
    pub(super) fn materials(&self) -> Vec<Material> {
        let text = |reference: &SecretRef| Material::text(reference.clone());
        match self {
            Self::Nothing | Self::Federated(_) | Self::Client(None) | Self::Command { .. } => {
                Vec::new()
            }
            Self::Secret(reference)
            | Self::ServiceAccount(reference)
            | Self::Client(Some(reference))
            | Self::Token(reference) => vec![text(reference)],
            Self::Refresh {
                token,
                client_secret,
            } => std::iter::once(token)
                .chain(client_secret)
                .map(text)
                .collect(),
            Self::Certificate(certificate) => match &certificate.source {
                CertificateSource::Pem(file) => vec![Material::text(SecretRef::File(file.clone()))],
                CertificateSource::PemAndKey { certificate, key } => vec![
                    Material::text(SecretRef::File(certificate.clone())),
                    text(key),
                ],
                CertificateSource::Pkcs12 { file, password } => {
                    std::iter::once(Material::binary(SecretRef::File(file.clone())))
                        .chain(password.as_ref().map(text))
                        .collect()
                }
            },
        }
    }

    /// In words, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Nothing => "identity",
            Self::Secret(_) | Self::Client(_) => "client secret",
            Self::Certificate(_) => "certificate",
            Self::Federated(_) => "federated token",
            Self::ServiceAccount(_) => "service account key",
            Self::Refresh { .. } => "refresh token",
            Self::Token(_) => "token",
            Self::Command { .. } => "program",
        }
    }
}

impl Settings {
    /// `None` for a password, which is no token.
    pub(super) fn of(
        credential: &Credential,
        vault: &VaultConfig,
    ) -> Result<Option<Self>, AuthorityError> {
        let (identity, proofs) = match &credential.kind {
            CredentialKind::Password { .. } => return Ok(None),
            CredentialKind::Microsoft(app) => {
                let (tenant, id) = (&app.tenant, &app.client_id);
                let client = TokenClient::microsoft(&app.authority, tenant, id, &app.scope)?;
                (Identity::Own(client), application(&app.proof))
            }
            CredentialKind::MicrosoftDelegated(person) => {
                let (tenant, id) = (&person.tenant, &person.client_id);
                let client = TokenClient::microsoft(&person.authority, tenant, id, &person.scope)?;
                let identity = in_vault(credential, client, vault);
                (identity, clients(&person.client_secret))
            }
            CredentialKind::ManagedIdentity(machine) => {
                let client = TokenClient::managed_identity(
                    &machine.endpoint,
                    &machine.resource,
                    azure(&machine.identity),
                )?;
                (Identity::Own(client), vec![ProofRef::Nothing])
            }
            CredentialKind::Google(google) => service_account(google),
            CredentialKind::GoogleDelegated(person) => {
                let (url, id) = (&person.token_url, &person.client_id);
                let client = TokenClient::google_delegated(url, id, &person.scope)?;
                let identity = in_vault(credential, client, vault);
                (identity, clients(&person.client_secret))
            }
            CredentialKind::OAuth2(oauth2) => generic(credential, oauth2, vault)?,
            CredentialKind::Token(foreign) => (
                Identity::Foreign(foreign.source.clone(), foreign.lifetime),
                foreign_proofs(&foreign.source),
            ),
        };
        Ok(Some(Self {
            kind: credential.kind.as_str(),
            identity,
            proofs,
            proxy: credential.proxy.clone(),
        }))
    }

    /// Takes in what another name of the same identity proves itself with.
    pub(super) fn join(&mut self, other: &Self) {
        for proof in &other.proofs {
            if !self.proofs.contains(proof) {
                self.proofs.push(proof.clone());
            }
        }
    }

    /// The host that is asked, which decides about TLS; `None` where nobody or any is.
    pub(super) fn endpoint(&self) -> Option<&Url> {
        match &self.identity {
            Identity::Own(client)
            | Identity::Person { client, .. }
            | Identity::Refreshed(client, _) => Some(client.endpoint()),
            Identity::User { token_url, .. } => token_url.as_ref(),
            Identity::Foreign(..) => None,
        }
    }

    pub(super) fn provider(&self) -> &'static str {
        match &self.identity {
            Identity::Own(client)
            | Identity::Person { client, .. }
            | Identity::Refreshed(client, _) => client.provider().as_str(),
            Identity::User { .. } => client::Provider::Google.as_str(),
            Identity::Foreign(..) => "token",
        }
    }
}

fn application(proof: &MicrosoftProof) -> Vec<ProofRef> {
    match proof {
        MicrosoftProof::Secrets(list) => list.iter().cloned().map(ProofRef::Secret).collect(),
        MicrosoftProof::Certificates(list) => {
            list.iter().cloned().map(ProofRef::Certificate).collect()
        }
        MicrosoftProof::FederatedToken(file) => vec![ProofRef::Federated(file.clone())],
    }
}

fn service_account(google: &GoogleServiceAccount) -> (Identity, Vec<ProofRef>) {
    let identity = Identity::User {
        token_url: google.token_url.clone(),
        scope: google.scope.clone(),
        accounts: google.service_account.clone(),
        subject: None,
    };
    let keys = google.service_account.iter().cloned();
    (identity, keys.map(ProofRef::ServiceAccount).collect())
}

fn generic(
    credential: &Credential,
    oauth2: &OAuth2,
    vault: &VaultConfig,
) -> Result<(Identity, Vec<ProofRef>), AuthorityError> {
    let auth = match oauth2.client_auth {
        ClientAuth::Body => client::ClientAuth::Body,
        ClientAuth::Basic => client::ClientAuth::Basic,
    };
    let scope = oauth2.scope.as_deref();
    let client = TokenClient::oauth2(&oauth2.token_url, &oauth2.client_id, scope, auth)?;
    let secrets = &oauth2.client_secret;
    Ok(match &oauth2.grant {
        OAuth2Grant::ClientCredentials => {
            let proofs = secrets.iter().cloned().map(ProofRef::Secret);
            (Identity::Own(client), proofs.collect())
        }
        OAuth2Grant::RefreshToken(RefreshFrom::Vault) => {
            (in_vault(credential, client, vault), clients(secrets))
        }
        OAuth2Grant::RefreshToken(RefreshFrom::Secrets(tokens)) => {
            let proofs = tokens
                .iter()
                .flat_map(|token| {
                    optional(secrets).map(|client_secret| ProofRef::Refresh {
                        token: token.clone(),
                        client_secret,
                    })
                })
                .collect();
            (Identity::Refreshed(client, tokens.clone()), proofs)
        }
    })
}

fn foreign_proofs(source: &TokenSource) -> Vec<ProofRef> {
    match source {
        TokenSource::Secrets(list) => list.iter().cloned().map(ProofRef::Token).collect(),
        TokenSource::Command { program, args } => vec![ProofRef::Command {
            program: program.clone(),
            args: args.clone(),
        }],
    }
}

fn in_vault(credential: &Credential, client: TokenClient, vault: &VaultConfig) -> Identity {
    Identity::Person {
        credential: credential.key.clone(),
        client,
        vault: vault.clone(),
    }
}

fn clients(secrets: &[SecretRef]) -> Vec<ProofRef> {
    optional(secrets).map(ProofRef::Client).collect()
}

/// Each of them, or one `None` where there are none: a public client has no secret.
fn optional(secrets: &[SecretRef]) -> impl Iterator<Item = Option<SecretRef>> {
    let none = secrets.is_empty().then_some(None);
    secrets.iter().cloned().map(Some).chain(none)
}

fn azure(identity: &AzureIdentity) -> client::ManagedIdentity {
    match identity {
        AzureIdentity::Default => client::ManagedIdentity::Default,
        AzureIdentity::ClientId(id) => client::ManagedIdentity::ClientId(id.clone()),
        AzureIdentity::ObjectId(id) => client::ManagedIdentity::ObjectId(id.clone()),
        AzureIdentity::ResourceId(id) => client::ManagedIdentity::ResourceId(id.clone()),
    }
}
