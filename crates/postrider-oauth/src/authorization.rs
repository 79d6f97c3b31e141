//! Sign-in through a browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC
//! 8252). Makes the address to open and judges what comes back; the loopback listener is the
//! caller's. State and verifier are fresh for each attempt and printed nowhere.

use std::fmt;

use aws_lc_rs::{constant_time, digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded};

use crate::{
    authority::{self, AuthorityError},
    client::{Provider, TokenClient},
    error::{self, TokenError},
    proof::Proof,
    redact::Sent,
};

/// Bytes of chance in state and verifier: 43 characters, the least that RFC 7636 allows.
const CHANCE_BYTES: usize = 32;

/// A code is short; Microsoft's take up to 2 KiB.
const CODE_BYTES_MAX: usize = 16 * 1024;

/// Why no sign-in could be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Endpoint(#[from] AuthorityError),
    #[error("the redirect address is not http on loopback; hint: register http://localhost")]
    Redirect,
    #[error("this kind of credential has no person who signs in")]
    NoClient,
    #[error("the system gives no random numbers")]
    Chance,
}

/// What came back instead of a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Not an answer to this attempt: answer it politely, and go on listening.
    #[error("the request does not belong to this sign-in (wrong or missing state)")]
    Foreign,
    #[error("the sign-in was refused: {error}{}", error::said(.description))]
    Refused {
        error: String,
        description: String,
        hint: &'static str,
    },
    #[error("the answer holds no code")]
    NoCode,
}

/// One attempt of a person to sign in.
pub struct Authorization {
    url: Url,
    redirect: Url,
    state: SecretString,
    verifier: SecretString,
    provider: Provider,
}

impl Authorization {
    /// `endpoint`: see [`TokenClient::authorization_endpoint`]. `redirect` is where the caller
    /// listens, such as `http://localhost:8400/`.
    pub fn begin(
        client: &TokenClient,
        endpoint: &Url,
        redirect: &Url,
        login_hint: Option<&str>,
    ) -> Result<Self, BeginError> {
        authority::check(endpoint)?;
        if redirect.scheme() != "http" || authority::check(redirect).is_err() {
            return Err(BeginError::Redirect);
        }
        let client_id = client.client_id().ok_or(BeginError::NoClient)?;
        let (state, verifier) = (chance()?, chance()?);
        let mut url = endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", client.redirect_uri(redirect))
            .append_pair("state", state.expose_secret())
            .append_pair("code_challenge", &challenge(&verifier))
            .append_pair("code_challenge_method", "S256");
        if let Some(scope) = client.scope() {
            query.append_pair("scope", scope);
        }
        if let Some(hint) = login_hint {
            query.append_pair("login_hint", hint);
        }
        match client.provider() {
            Provider::Microsoft => {
                query.append_pair("response_mode", "query");
            }
            // Without both there is no refresh token, or none the second time.
            Provider::Google => {
                query
                    .append_pair("access_type", "offline")
                    .append_pair("prompt", "consent");
            }
            Provider::ManagedIdentity | Provider::OAuth2 => {}
        }
        drop(query);
        Ok(Self {
            url,
            redirect: redirect.clone(),
            state,
            verifier,
            provider: client.provider(),
        })
    }

    /// For the person's browser, and for nobody's log.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Judges the query of a request to the redirect address. The proof serves one token request.
    pub fn accept(
        &self,
        query: &str,
        client_secret: Option<SecretString>,
    ) -> Result<Proof, CallbackError> {
        let value = |name: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let ours = self.state.expose_secret().as_bytes();
        if constant_time::verify_slices_are_equal(value("state").as_bytes(), ours).is_err() {
            return Err(CallbackError::Foreign);
        }
        let error = value("error");
        if !error.is_empty() {
            return Err(self.refused(&error, &value("error_description")));
        }
        let code = value("code");
        if code.is_empty() || code.len() > CODE_BYTES_MAX {
            return Err(CallbackError::NoCode);
        }
        Ok(Proof::AuthorizationCode {
            code: SecretString::from(code),
            verifier: self.verifier.clone(),
            redirect: self.redirect.clone(),
            client_secret,
        })
    }

    fn refused(&self, error: &str, description: &str) -> CallbackError {
        let sent = Sent::default();
        let refused =
            TokenError::refused(self.provider, sent.clean(error), sent.clean(description));
        let hint = refused.hint();
        match refused {
            TokenError::Refused {
                error, description, ..
            } => CallbackError::Refused {
                error,
                description,
                hint,
            },
            TokenError::Throttled { .. }
            | TokenError::Unavailable { .. }
            | TokenError::Malformed { .. }
            | TokenError::Unsent { .. } => CallbackError::NoCode,
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

fn chance() -> Result<SecretString, BeginError> {
    let mut bytes = [0; CHANCE_BYTES];
    rand::fill(&mut bytes).map_err(|_| BeginError::Chance)?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes)))
}

/// RFC 7636 section 4.2, S256.
fn challenge(verifier: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(
        &digest::SHA256,
        verifier.expose_secret().as_bytes(),
    ))
}

#[cfg(test)]
mod tests;
