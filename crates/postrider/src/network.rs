//! The way to the outside: none, the environment's or a named proxy, for HTTP clients and for
//! plain connections alike. Errors name no proxy URL: it may hold a password.

use std::{net::IpAddr, path::Path, time::Duration};

use postrider_imap as imap;
use reqwest::{NoProxy, redirect};
use rustls::ClientConfig;
use url::Url;

use crate::{
    config::Proxy,
    tls::{TlsConfigs, TlsError},
};

/// Name resolution, TCP, proxy and TLS together; a request has its own limit besides.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Idle connections per host: requests are rare, or their sender brings its own limit.
const IDLE_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("{name} is no URL of a proxy; hint: write http://HOST:PORT or socks5h://HOST:PORT")]
    ProxyVariable { name: &'static str },
    #[error("the proxy's URL cannot be used; hint: write http://HOST:PORT or socks5h://HOST:PORT")]
    ProxyUrl,
    #[error("an HTTP client cannot be set up: {0}")]
    Client(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A client that follows no redirect, repeats nothing by itself and sends no `Referer`.
pub fn http_client(
    proxy: &Proxy,
    ca_file: Option<&Path>,
    tls: &TlsConfigs,
) -> Result<reqwest::Client, NetworkError> {
    build(http_builder(proxy, tls.http(ca_file)?)?)
}

/// The same, for callers that set more: a resolver that checks addresses, a pool of their own.
pub fn http_builder(
    proxy: &Proxy,
    tls: ClientConfig,
) -> Result<reqwest::ClientBuilder, NetworkError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .pool_max_idle_per_host(IDLE_MAX)
        .user_agent(concat!("postrider/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    match proxy {
        Proxy::None => Ok(builder),
        Proxy::Url(url) => {
            let all = reqwest::Proxy::all(url.clone()).map_err(|_| NetworkError::ProxyUrl)?;
            Ok(builder.proxy(all))
        }
        Proxy::Env => EnvironmentProxies::of_process()?.apply(builder),
    }
}

pub fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, NetworkError> {
    builder
        .build()
        .map_err(|error| NetworkError::Client(error.without_url().to_string()))
}

/// The proxy for a plain connection to `host`, which is one that TLS is spoken on.
pub fn socket_proxy(
    proxy: &Proxy,
    host: &str,
) -> Result<Option<imap::server::Proxy>, NetworkError> {
    let url = match proxy {
        Proxy::None => None,
        Proxy::Url(url) => Some(url.clone()),
        Proxy::Env => EnvironmentProxies::of_process()?.for_tls(host),
    };
    Ok(url.map(|url| imap::server::Proxy { url }))
}

/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same in lower case.
struct EnvironmentProxies {
    https: Option<Url>,
    http: Option<Url>,
    all: Option<Url>,
    except: Option<String>,
}

impl EnvironmentProxies {
    fn of_process() -> Result<Self, NetworkError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, NetworkError> {
        let value = |name: &'static str| {
            variable(name)
                .or_else(|| variable(&name.to_ascii_lowercase()))
                .filter(|value| !value.trim().is_empty())
        };
        let url = |name| {
            value(name)
                .map(|value| proxy_url(value.trim()).ok_or(NetworkError::ProxyVariable { name }))
                .transpose()
        };
        Ok(Self {
            https: url("HTTPS_PROXY")?,
            http: url("HTTP_PROXY")?,
            all: url("ALL_PROXY")?,
            except: value("NO_PROXY"),
        })
    }

    fn apply(
        &self,
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, NetworkError> {
        let except = self.except.as_deref().and_then(NoProxy::from_string);
        let proxies = [
            self.https
                .as_ref()
                .map(|url| reqwest::Proxy::https(url.clone())),
            self.http
                .as_ref()
                .map(|url| reqwest::Proxy::http(url.clone())),
            self.all
                .as_ref()
                .map(|url| reqwest::Proxy::all(url.clone())),
        ];
        for proxy in proxies.into_iter().flatten() {
            let proxy = proxy.map_err(|_| NetworkError::ProxyUrl)?;
            builder = builder.proxy(proxy.no_proxy(except.clone()));
        }
        Ok(builder)
    }

    fn for_tls(&self, host: &str) -> Option<Url> {
        let excepted = self
            .except
            .as_deref()
            .is_some_and(|list| is_listed(list, host));
        if excepted {
            None
        } else {
            self.https.clone().or_else(|| self.all.clone())
        }
    }
}

/// A proxy without a scheme is an HTTP proxy, as everywhere.
fn proxy_url(value: &str) -> Option<Url> {
    let url = match value.contains("://") {
        true => Url::parse(value),
        false => Url::parse(&format!("http://{value}")),
    };
    url.ok().filter(|url| {
        url.has_host() && matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h")
    })
}

/// Whether `NO_PROXY` names the host: `*`, a domain (with those below it), an address or a network.
fn is_listed(list: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    list.split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .any(|entry| match (entry.as_str(), address) {
            ("", _) => false,
            ("*", _) => true,
            (entry, Some(address)) => match entry.split_once('/') {
                Some((network, bits)) => in_network(address, network, bits),
                None => entry.parse() == Ok(address),
            },
            (entry, None) => {
                let domain = entry.trim_start_matches("*.").trim_start_matches('.');
                host == domain
                    || host
                        .strip_suffix(domain)
                        .is_some_and(|rest| rest.ends_with('.'))
            }
        })
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else {
        return false;
    };
    match (address, network.parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V4(_) | IpAddr::V6(_), Ok(_) | Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<EnvironmentProxies, NetworkError> {
        let variables: HashMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        EnvironmentProxies::read(|name| variables.get(name).cloned())
    }

    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_networks() {
        let table = [
            ("example.org", "imap.example.org", true),
            (".example.org", "imap.example.org", true),
            ("*.example.org", "imap.example.org", true),
            ("EXAMPLE.org", "example.ORG.", true),
            ("example.org", "badexample.org", false),
            ("other.net, example.org", "example.org", true),
            ("*", "anything", true),
            ("", "anything", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.0.0.0/99", "10.1.2.3", false),
            ("192.168.1.1", "192.168.1.1", true),
            ("192.168.1.1", "192.168.1.10", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "[fe80::1]", false),
            ("::1", "[::1]", true),
            ("1", "10.0.0.1", false),
        ];
        for (list, host, expected) in table {
            assert_eq!(is_listed(list, host), expected, "NO_PROXY={list} {host}");
        }
    }

    #[test]
    fn the_environment_is_read_in_both_cases_and_the_more_precise_wins() {
        let ours = environment(&[
            ("https_proxy", "proxy.example.org:3128"),
            ("ALL_PROXY", "socks5h://socks.example.org"),
            ("NO_PROXY", "internal.example.org"),
        ])
        .unwrap();
        assert_eq!(
            ours.for_tls("imap.example.net").unwrap().as_str(),
            "http://proxy.example.org:3128/"
        );
        assert_eq!(ours.for_tls("imap.internal.example.org"), None);
        let ours = environment(&[
            ("ALL_PROXY", "socks5h://socks.example.org"),
            ("HTTPS_PROXY", " "),
        ])
        .unwrap();
        assert_eq!(
            ours.for_tls("imap.example.net").unwrap().scheme(),
            "socks5h"
        );
        let ours = environment(&[("HTTP_PROXY", "http://proxy.example.org")]).unwrap();
        assert_eq!(ours.for_tls("imap.example.net"), None);
    }

    #[test]
    fn a_bad_proxy_variable_is_an_error_that_hides_its_password() {
        for value in [
            "http://user:hunter2@",
            "gopher://user:hunter2@proxy",
            "http://user:hunter2@pro xy",
        ] {
            let error = environment(&[("HTTPS_PROXY", value)]).err().unwrap();
            let said = format!("{error} {error:?}");
            assert!(
                said.contains("HTTPS_PROXY") && !said.contains("hunter2"),
                "{said}"
            );
        }
    }
}
