//! Client credentials with a secret at Microsoft Entra: [`TokenClient`] with [`Proof::Secret`].

use std::time::Duration;

use postrider_core::time::Wall;
use secrecy::SecretString;
use url::Url;

pub use crate::authority::AuthorityError;
use crate::{client::TokenClient, error::TokenError, grant::Grant, proof::Proof};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials(TokenClient);

impl ClientCredentials {
    pub fn new(
        authority: &Url,
        tenant: &str,
        client_id: &str,
        scope: &str,
    ) -> Result<Self, AuthorityError> {
        TokenClient::microsoft(authority, tenant, client_id, scope).map(Self)
    }

    /// The token endpoint, without secrets.
    pub fn endpoint(&self) -> &Url {
        self.0.endpoint()
    }

    pub async fn request(
        &self,
        http: &reqwest::Client,
        secret: &SecretString,
        limit: Duration,
        now: Wall,
    ) -> Result<Grant, TokenError> {
        self.0
            .request(http, &Proof::Secret(secret.clone()), limit, now)
            .await
    }
}
