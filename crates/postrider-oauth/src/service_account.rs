//! The key file of a Google service account
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#creatinganaccount>).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::certificate::{self, CertificateError, RsaKey};

/// Why a text is no key of a service account. Names no content of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountError {
    #[error(
        "the text is no JSON key of a service account; hint: create one in the Google Cloud console, IAM & Admin, Service Accounts, Keys, type JSON"
    )]
    NotJson,
    #[error(
        "the JSON is of another kind; hint: its `type` must be `service_account`; a client_secret file is for google-delegated"
    )]
    OtherType,
    #[error("the JSON has no {0}; hint: download the key again, it must be whole")]
    Missing(&'static str),
    #[error("the private_key of the JSON cannot be used: {0}")]
    Key(#[from] CertificateError),
}

pub struct ServiceAccountKey {
    client_email: String,
    client_id: Option<String>,
    key_id: Option<String>,
    token_uri: Option<Url>,
    key: RsaKey,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
    client_id: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<SecretKey>,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(from = "String")]
struct SecretKey(SecretString);

impl From<String> for SecretKey {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl ServiceAccountKey {
    pub fn from_json(json: &SecretString) -> Result<Self, ServiceAccountError> {
        let file: File =
            serde_json::from_str(json.expose_secret()).map_err(|_| ServiceAccountError::NotJson)?;
        if file.kind.is_some_and(|kind| kind != "service_account") {
            return Err(ServiceAccountError::OtherType);
        }
        let pem = file
            .private_key
            .ok_or(ServiceAccountError::Missing("private_key"))?;
        let client_email = file
            .client_email
            .filter(|email| !email.is_empty())
            .ok_or(ServiceAccountError::Missing("client_email"))?;
        Ok(Self {
            client_email,
            client_id: file.client_id,
            key_id: file.private_key_id,
            token_uri: file.token_uri.and_then(|uri| Url::parse(&uri).ok()),
            key: certificate::key_from_pem(pem.0.expose_secret().as_bytes())?,
        })
    }

    /// The account's own address, `iss` of its assertions.
    pub fn client_email(&self) -> &str {
        &self.client_email
    }

    /// The number that the admin console authorises for domain-wide delegation.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The token endpoint that the file names.
    pub fn token_uri(&self) -> Option<&Url> {
        self.token_uri.as_ref()
    }

    pub(crate) fn key(&self) -> &RsaKey {
        &self.key
    }
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKey")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
