//! Which URLs a credential may be shown to: https, and plain http only where no network is between.
//! Errors name no URL: it may hold what must not be printed.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why an authority or endpoint cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error(
        "authority is not an http(s) URL; hint: Microsoft's is https://login.microsoftonline.com, Google's token_url https://oauth2.googleapis.com/token"
    )]
    NotHttp,
    #[error(
        "authority is plain http, which would show the credential to the network; hint: use https, plain http is for loopback only"
    )]
    Plaintext,
    #[error("authority holds a user name or password; hint: remove what stands before the @")]
    UserInfo,
    #[error("tenant is empty or no single name; hint: give the tenant's domain or id")]
    Tenant,
}

/// Accepts what a secret may be sent to.
pub(crate) fn check(url: &Url) -> Result<(), AuthorityError> {
    accept(url, is_loopback)
}

/// Accepts what a token may come from: the identity service of a machine listens on a link-local
/// address, which no router forwards, without TLS.
pub(crate) fn check_identity_service(url: &Url) -> Result<(), AuthorityError> {
    accept(url, |url| is_loopback(url) || is_link_local(url))
}

fn accept(url: &Url, may_be_plain: impl FnOnce(&Url) -> bool) -> Result<(), AuthorityError> {
    match url.scheme() {
        "https" => {}
        "http" if may_be_plain(url) => {}
        "http" => return Err(AuthorityError::Plaintext),
        _ => return Err(AuthorityError::NotHttp),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AuthorityError::UserInfo);
    }
    Ok(())
}

/// `base` with more path segments, without query and fragment.
pub(crate) fn below(base: &Url, segments: &[&str]) -> Result<Url, AuthorityError> {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.path_segments_mut()
        .map_err(|()| AuthorityError::NotHttp)?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => Ipv4Addr::is_link_local(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_unicast_link_local(&address),
        Some(Host::Domain(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TokenClient;

    fn endpoint(authority: &str, tenant: &str) -> Result<String, AuthorityError> {
        let authority = Url::parse(authority).unwrap();
        TokenClient::microsoft(&authority, tenant, "id", "scope")
            .map(|ours| ours.endpoint().to_string())
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
}
