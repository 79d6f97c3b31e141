//! Where and for whom to ask: all of a token request but the proof. One value stands for one
//! credential identity; it holds nothing secret and makes one request at a time, bounded in time
//! and size.

use std::time::Duration;

use postrider_core::time::Wall;
use reqwest::{
    RequestBuilder,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    authority::{self, AuthorityError},
    error::{Cause, TokenError},
    form::Form,
    grant::{self, Grant},
    proof::Proof,
};

/// A token's answer takes 2 to 6 KiB; what is longer is none.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Google's token endpoint, where a key file names none.
pub const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClient {
    endpoint: Url,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Entra (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).
    Microsoft { client_id: String, scope: String },
    /// Azure's instance metadata service.
    ManagedIdentity {
        resource: String,
        identity: ManagedIdentity,
    },
    /// A service account (<https://developers.google.com/identity/protocols/oauth2/service-account>).
    Google { scopes: String },
    /// A user's consent at Google.
    GoogleDelegated { client_id: String, scope: String },
    /// Any token endpoint of RFC 6749.
    OAuth2 {
        client_id: String,
        scope: Option<String>,
        auth: ClientAuth,
    },
}

/// Which of a machine's identities is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagedIdentity {
    /// The machine's own, or its only one.
    Default,
    ClientId(String),
    ObjectId(String),
    /// The Azure resource id of a user-assigned identity.
    ResourceId(String),
}

/// How a client shows its secret (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    Body,
    Basic,
}

/// Whose token endpoint it is: advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Microsoft,
    ManagedIdentity,
    Google,
    OAuth2,
}

impl Provider {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Microsoft => "microsoft",
            Self::ManagedIdentity => "managed-identity",
            Self::Google => "google",
            Self::OAuth2 => "oauth2",
        }
    }
}

impl TokenClient {
    /// `authority` is the login host, such as `https://login.microsoftonline.com`.
    pub fn microsoft(
        authority: &Url,
        tenant: &str,
        client_id: &str,
        scope: &str,
    ) -> Result<Self, AuthorityError> {
        authority::check(authority)?;
        if tenant.is_empty() || tenant == "." || tenant == ".." {
            return Err(AuthorityError::Tenant);
        }
        Ok(Self {
            endpoint: authority::below(authority, &[tenant, "oauth2", "v2.0", "token"])?,
            kind: Kind::Microsoft {
                client_id: client_id.to_owned(),
                scope: scope.to_owned(),
            },
        })
    }

    /// `endpoint` is the identity service without its path, such as `http://169.254.169.254`. The
    /// HTTP client that is handed to [`request`](Self::request) must use no proxy.
    pub fn managed_identity(
        endpoint: &Url,
        resource: &str,
        identity: ManagedIdentity,
    ) -> Result<Self, AuthorityError> {
        authority::check_identity_service(endpoint)?;
        Ok(Self {
            endpoint: authority::below(endpoint, &["metadata", "identity", "oauth2", "token"])?,
            kind: Kind::ManagedIdentity {
                resource: resource.to_owned(),
                identity,
            },
        })
    }

    /// A service account with domain-wide delegation; `scopes` are separated by spaces.
    pub fn google(token_url: &Url, scopes: &str) -> Result<Self, AuthorityError> {
        authority::check(token_url)?;
        Ok(Self {
            endpoint: token_url.clone(),
            kind: Kind::Google {
                scopes: scopes.to_owned(),
            },
        })
    }

    /// A Google user who consented.
    pub fn google_delegated(
        token_url: &Url,
        client_id: &str,
        scope: &str,
    ) -> Result<Self, AuthorityError> {
        authority::check(token_url)?;
        Ok(Self {
            endpoint: token_url.clone(),
            kind: Kind::GoogleDelegated {
                client_id: client_id.to_owned(),
                scope: scope.to_owned(),
            },
        })
    }

    pub fn oauth2(
        token_url: &Url,
        client_id: &str,
        scope: Option<&str>,
        auth: ClientAuth,
    ) -> Result<Self, AuthorityError> {
        authority::check(token_url)?;
        Ok(Self {
            endpoint: token_url.clone(),
            kind: Kind::OAuth2 {
                client_id: client_id.to_owned(),
                scope: scope.map(str::to_owned),
                auth,
            },
        })
    }

    /// The token endpoint. A generic one may hold a query, so print its host only.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    pub fn provider(&self) -> Provider {
        match self.kind {
            Kind::Microsoft { .. } => Provider::Microsoft,
            Kind::ManagedIdentity { .. } => Provider::ManagedIdentity,
            Kind::Google { .. } | Kind::GoogleDelegated { .. } => Provider::Google,
            Kind::OAuth2 { .. } => Provider::OAuth2,
        }
    }

    /// The scope or resource that is asked for.
    pub fn scope(&self) -> Option<&str> {
        match &self.kind {
            Kind::Microsoft { scope, .. } | Kind::GoogleDelegated { scope, .. } => Some(scope),
            Kind::ManagedIdentity { resource, .. } => Some(resource),
            Kind::Google { scopes } => Some(scopes),
            Kind::OAuth2 { scope, .. } => scope.as_deref(),
        }
    }

    pub fn client_id(&self) -> Option<&str> {
        match &self.kind {
            Kind::Microsoft { client_id, .. }
            | Kind::GoogleDelegated { client_id, .. }
            | Kind::OAuth2 { client_id, .. } => Some(client_id),
            Kind::ManagedIdentity { identity, .. } => match identity {
                ManagedIdentity::ClientId(client_id) => Some(client_id),
                ManagedIdentity::Default
                | ManagedIdentity::ObjectId(_)
                | ManagedIdentity::ResourceId(_) => None,
            },
            Kind::Google { .. } => None,
        }
    }

    /// Where a device code is asked for (RFC 8628 section 3.1), as far as the provider tells.
    pub fn device_endpoint(&self) -> Option<Url> {
        self.sibling("devicecode", "https://oauth2.googleapis.com/device/code")
    }

    /// Where a person signs in (RFC 6749 section 3.1), as far as the provider tells.
    pub fn authorization_endpoint(&self) -> Option<Url> {
        self.sibling("authorize", "https://accounts.google.com/o/oauth2/v2/auth")
    }

    /// One request, which ends within `limit`. `now` dates what is signed, and serves a
    /// `Retry-After` that is a date.
    pub async fn request(
        &self,
        http: &reqwest::Client,
        proof: &Proof,
        limit: Duration,
        now: Wall,
    ) -> Result<Grant, TokenError> {
        let form = Form::token(self, proof, now)?;
        let request = match &self.kind {
            Kind::ManagedIdentity { resource, identity } => http
                .get(self.identity_url(resource, identity))
                .header("Metadata", "true"),
            Kind::Microsoft { .. }
            | Kind::Google { .. }
            | Kind::GoogleDelegated { .. }
            | Kind::OAuth2 { .. } => post(http, &self.endpoint, &form),
        };
        let answer = answer(request, limit)
            .await
            .map_err(|error| self.name_the_service(error))?;
        grant::read(self.provider(), &answer, form.sent(), now)
    }

    /// How a redirect address is written in requests. Microsoft's own libraries write one without a
    /// path as it is registered, without a slash; elsewhere it is compared letter by letter.
    pub(crate) fn redirect_uri<'a>(&self, redirect: &'a Url) -> &'a str {
        let text = redirect.as_str();
        match self.provider() {
            Provider::Microsoft if redirect.path() == "/" => text.strip_suffix('/').unwrap_or(text),
            Provider::Microsoft
            | Provider::ManagedIdentity
            | Provider::Google
            | Provider::OAuth2 => text,
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    fn name_the_service(&self, error: TokenError) -> TokenError {
        match (self.provider(), error) {
            (
                Provider::ManagedIdentity,
                TokenError::Unavailable {
                    cause: Cause::Connect(detail),
                    retry_after,
                },
            ) => TokenError::Unavailable {
                cause: Cause::NoIdentityService(detail),
                retry_after,
            },
            (_, error) => error,
        }
    }

    /// Microsoft's endpoints lie beside each other, Google's do not.
    fn sibling(&self, microsoft: &str, google: &str) -> Option<Url> {
        match self.kind {
            Kind::Microsoft { .. } => {
                let mut url = self.endpoint.clone();
                url.path_segments_mut().ok()?.pop().push(microsoft);
                Some(url)
            }
            Kind::GoogleDelegated { .. } => Url::parse(google).ok(),
            Kind::ManagedIdentity { .. } | Kind::Google { .. } | Kind::OAuth2 { .. } => None,
        }
    }

    fn identity_url(&self, resource: &str, identity: &ManagedIdentity) -> Url {
        let mut url = self.endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("api-version", "2018-02-01")
            .append_pair("resource", resource);
        match identity {
            ManagedIdentity::Default => {}
            ManagedIdentity::ClientId(id) => {
                query.append_pair("client_id", id);
            }
            ManagedIdentity::ObjectId(id) => {
                query.append_pair("object_id", id);
            }
            ManagedIdentity::ResourceId(id) => {
                query.append_pair("msi_res_id", id);
            }
        }
        drop(query);
        url
    }
}

pub(crate) struct Answer {
    pub(crate) status: reqwest::StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn post(http: &reqwest::Client, endpoint: &Url, form: &Form) -> RequestBuilder {
    let request = http
        .post(endpoint.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = match form.basic() {
        Some((name, secret)) => request.basic_auth(name, Some(secret.expose_secret())),
        None => request,
    };
    request.body(SecretString::expose_secret(form.body()).to_owned())
}

/// One answer, whole, within its limits.
pub(crate) async fn answer(request: RequestBuilder, limit: Duration) -> Result<Answer, TokenError> {
    match tokio::time::timeout(limit, receive(request, limit)).await {
        Ok(result) => result,
        Err(_) => Err(TokenError::unavailable(Cause::Deadline(limit))),
    }
}

async fn receive(request: RequestBuilder, limit: Duration) -> Result<Answer, TokenError> {
    let failed = |error| TokenError::from_http(error, limit);
    let mut response = request
        .header(ACCEPT, "application/json")
        .send()
        .await
        .map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(TokenError::unavailable(Cause::TooLong));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body,
    })
}
