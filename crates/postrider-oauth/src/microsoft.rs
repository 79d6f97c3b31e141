//! Client credentials with a secret, as Microsoft Entra takes them (RFC 6749 section 4.4;
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use std::time::Duration;

use postrider_core::time::Wall;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url, form_urlencoded};

use crate::{
    error::{Cause, TokenError},
    grant::{self, Grant},
};

/// A token's answer takes 2 to 6 KiB; what is longer is none.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Where to ask, and for what: all of a request but the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    endpoint: Url,
    client_id: String,
    scope: String,
}

/// Why an authority cannot be asked. Errors name no URL: it may hold what must not be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error(
        "authority is not an http(s) URL; hint: the default is https://login.microsoftonline.com"
    )]
    NotHttp,
    #[error(
        "authority is plain http, which would show the client secret to the network; hint: use https, plain http is for loopback only"
    )]
    Plaintext,
    #[error("authority holds a user name or password; hint: remove what stands before the @")]
    UserInfo,
    #[error("tenant is empty or no single name; hint: give the tenant's domain or id")]
    Tenant,
}

impl ClientCredentials {
    pub fn new(
        authority: &Url,
        tenant: &str,
        client_id: &str,
        scope: &str,
    ) -> Result<Self, AuthorityError> {
        match authority.scheme() {
            "https" => {}
            "http" if is_loopback(authority) => {}
            "http" => return Err(AuthorityError::Plaintext),
            _ => return Err(AuthorityError::NotHttp),
        }
        if !authority.username().is_empty() || authority.password().is_some() {
            return Err(AuthorityError::UserInfo);
        }
        if tenant.is_empty() || tenant == "." || tenant == ".." {
            return Err(AuthorityError::Tenant);
        }
        let mut endpoint = authority.clone();
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        endpoint
            .path_segments_mut()
            .map_err(|()| AuthorityError::NotHttp)?
            .pop_if_empty()
            .extend([tenant, "oauth2", "v2.0", "token"]);
        Ok(Self {
            endpoint,
            client_id: client_id.to_owned(),
            scope: scope.to_owned(),
        })
    }

    /// The token endpoint, without secrets.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// One request, which ends within `limit`. `now` is for a `Retry-After` that is a date.
    pub async fn request(
        &self,
        http: &reqwest::Client,
        secret: &SecretString,
        limit: Duration,
        now: Wall,
    ) -> Result<Grant, TokenError> {
        match tokio::time::timeout(limit, self.exchange(http, secret, limit, now)).await {
            Ok(result) => result,
            Err(_) => Err(TokenError::unavailable(Cause::Deadline(limit))),
        }
    }

    async fn exchange(
        &self,
        http: &reqwest::Client,
        secret: &SecretString,
        limit: Duration,
        now: Wall,
    ) -> Result<Grant, TokenError> {
        let failed = |error| TokenError::from_http(error, limit);
        let mut response = http
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form(secret))
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
        grant::read(response.status(), response.headers(), &body, secret, now)
    }

    /// RFC 6749 appendix B: `application/x-www-form-urlencoded`, of UTF-8.
    fn form(&self, secret: &SecretString) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", &self.scope)
            .append_pair("client_secret", secret.expose_secret())
            .finish()
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(authority: &str, tenant: &str) -> Result<String, AuthorityError> {
        let authority = Url::parse(authority).unwrap();
        ClientCredentials::new(&authority, tenant, "id", "scope")
            .map(|ours| ours.endpoint.to_string())
    }

    #[test]
    fn the_endpoint_is_the_tenants() {
        let table = [
            (
                "https://login.microsoftonline.com",
                "contoso.onmicrosoft.com",
                "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token",
            ),
            (
                "https://login.microsoftonline.us/",
                "11-22",
                "https://login.microsoftonline.us/11-22/oauth2/v2.0/token",
            ),
            (
                "https://gateway.example.org/entra/?a=b#c",
                "t",
                "https://gateway.example.org/entra/t/oauth2/v2.0/token",
            ),
            (
                "http://127.0.0.1:8080",
                "a/b?c",
                "http://127.0.0.1:8080/a%2Fb%3Fc/oauth2/v2.0/token",
            ),
            (
                "http://[::1]:8080",
                "t",
                "http://[::1]:8080/t/oauth2/v2.0/token",
            ),
        ];
        for (authority, tenant, expected) in table {
            assert_eq!(endpoint(authority, tenant).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_secret_is_never_sent_in_clear_text_or_to_no_server() {
        let table = [
            (
                "http://login.microsoftonline.com",
                "t",
                AuthorityError::Plaintext,
            ),
            (
                "http://localhost.example.org",
                "t",
                AuthorityError::Plaintext,
            ),
            (
                "ftp://login.microsoftonline.com",
                "t",
                AuthorityError::NotHttp,
            ),
            (
                "https://user:pass@login.microsoftonline.com",
                "t",
                AuthorityError::UserInfo,
            ),
            (
                "https://login.microsoftonline.com",
                "",
                AuthorityError::Tenant,
            ),
            (
                "https://login.microsoftonline.com",
                "..",
                AuthorityError::Tenant,
            ),
        ];
        for (authority, tenant, expected) in table {
            assert_eq!(endpoint(authority, tenant), Err(expected), "{authority}");
        }
    }

    #[test]
    fn every_printable_character_of_a_secret_survives_the_form() {
        let printable: String = (' '..='~').chain("äß€😀".chars()).collect();
        let authority = Url::parse("https://login.microsoftonline.com").unwrap();
        let ours = ClientCredentials::new(
            &authority,
            "t",
            "id&=+",
            "https://outlook.office365.com/.default",
        )
        .unwrap();
        let form = ours.form(&SecretString::from(printable.clone()));
        assert!(form.bytes().all(|byte| byte.is_ascii_graphic()));
        let back: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes())
            .into_owned()
            .collect();
        let expected = [
            ("grant_type", "client_credentials"),
            ("client_id", "id&=+"),
            ("scope", "https://outlook.office365.com/.default"),
            ("client_secret", printable.as_str()),
        ];
        let expected: Vec<_> = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(back, expected);
        let encoded = [
            (" ", "+"),
            ("+", "%2B"),
            ("~", "%7E"),
            ("%", "%25"),
            ("&", "%26"),
            ("=", "%3D"),
            ("/", "%2F"),
        ];
        for (plain, wire) in encoded {
            let form = ours.form(&SecretString::from(plain));
            assert!(
                form.ends_with(&format!("client_secret={wire}")),
                "{plain}: {form}"
            );
        }
    }

    #[test]
    fn nothing_prints_the_secret() {
        let authority = Url::parse("https://login.microsoftonline.com").unwrap();
        let ours = ClientCredentials::new(&authority, "t", "id", "scope").unwrap();
        assert!(!format!("{ours:?}").contains("client_secret"));
    }
}
