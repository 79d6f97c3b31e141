//! Why there is no token.

use postrider_oauth::error::{Cause as Unusable, TokenError};

use super::{
    Cause, Diagnosis, Told,
    facts::{Facts, Way},
    names::Names,
    scrub::scrub,
    words,
};
use crate::tokens::CredentialFailure;

/// A skew above this is worth telling, and breaks signed assertions at some multiple of it.
const SKEW_S_MAX: u64 = 120;

/// The token endpoint gave no token.
pub fn token(facts: &Facts<'_>, error: &TokenError) -> Diagnosis {
    let names = Names(facts);
    let mut evidence = Vec::new();
    if let Some(url) = &facts.credential.token_url {
        evidence.push(format!("asked {url}"));
    }
    let told = match error {
        TokenError::Refused {
            provider: _,
            error,
            description,
            codes,
        } => {
            let mut said = error.clone();
            if !description.is_empty() {
                said = format!("{said}: {description}");
            }
            evidence.push(format!("it says {}", scrub(&said, &own(facts))));
            refused(&names, error, description, codes)
        }
        TokenError::Throttled { retry_after } => {
            evidence.push(match retry_after {
                Some(wait) => format!("it asks to wait {} s", wait.as_secs()),
                None => "HTTP status 429".to_owned(),
            });
            Told::new(
                Cause::TokenEndpointThrottles,
                "the token endpoint asks for fewer requests",
                ["nothing to do: the next request waits as long as it asks for".to_owned()],
            )
        }
        TokenError::Unavailable { cause, .. } => {
            evidence.push(scrub(&cause.to_string(), &own(facts)));
            unusable(&names, cause)
        }
        TokenError::Malformed { what } => {
            evidence.push((*what).to_owned());
            no_token_endpoint(&names)
        }
        TokenError::Unsent { what } => {
            let mut diagnosis = no_secret(facts, what);
            diagnosis.evidence.splice(0..0, evidence);
            return diagnosis;
        }
    };
    if let Some(skew) = skew(facts) {
        evidence.push(skew);
    }
    told.with(evidence)
}

/// A credential gave nothing to log in with.
pub fn access(facts: &Facts<'_>, failure: &CredentialFailure) -> Diagnosis {
    match failure.token_error() {
        Some(error) => token(facts, error),
        None => no_secret(facts, &failure.to_string()),
    }
}

/// There is nothing to ask for a token with: a secret that cannot be read, or nobody signed in.
pub fn no_secret(facts: &Facts<'_>, detail: &str) -> Diagnosis {
    let credential = &facts.credential.key;
    // Whoever read the secret knows best what it lacks.
    let (detail, hint) = match detail.split_once("; hint: ") {
        Some((detail, hint)) => (detail, hint),
        None => (
            detail,
            "it must exist, hold the secret alone, and be readable by the user that runs postrider",
        ),
    };
    let told = match facts.credential.way {
        Way::Delegated | Way::GoogleDelegated => Told::new(
            Cause::SignInNeeded,
            "nobody has signed in for this credential yet, or the stored sign-in cannot be read",
            [format!("postrider login {credential}")],
        ),
        Way::Application
        | Way::ManagedIdentity
        | Way::ServiceAccount
        | Way::OAuth2
        | Way::Token
        | Way::Password => Told::new(
            Cause::SecretUnreadable,
            "the credential's secret cannot be read",
            [format!(
                "check what [credentials.{credential}] refers to: {hint}"
            )],
        ),
    };
    told.with(vec![scrub(detail, &own(facts))])
}

/// How far the clock is off, where that is worth telling.
pub(super) fn skew(facts: &Facts<'_>) -> Option<String> {
    let skew = facts.skew_s?;
    (skew.unsigned_abs() > SKEW_S_MAX).then(|| {
        let side = if skew > 0 { "ahead" } else { "behind" };
        format!(
            "this machine's clock is {} s {side} of the other side's",
            skew.unsigned_abs()
        )
    })
}

/// The addresses that may be shown.
pub(super) fn own<'a>(facts: &Facts<'a>) -> Vec<&'a str> {
    facts.mailbox.map_or_else(Vec::new, |mailbox| {
        vec![mailbox.address.as_str(), mailbox.username.as_str()]
    })
}

fn refused(names: &Names<'_>, error: &str, description: &str, codes: &[u32]) -> Told {
    let credential = names.0.credential;
    if credential.way == Way::ManagedIdentity {
        return managed_identity(names);
    }
    let by_number = codes.iter().find_map(|code| words::entra(*code, names));
    let by_google = || match credential.is_google() {
        true => words::google(error, description, names),
        false => None,
    };
    by_number
        .or_else(by_google)
        .unwrap_or_else(|| words::other(error, names))
}

fn managed_identity(names: &Names<'_>) -> Told {
    Told::new(
        Cause::ManagedIdentityMissing,
        "this machine has no such managed identity, or it may not have a token for Exchange",
        [
            "https://portal.azure.com: the virtual machine > Security > Identity: switch the system-assigned one on, or add the user-assigned one".to_owned(),
            format!(
                "with several user-assigned identities name one: [credentials.{}] client_id, object_id or resource_id",
                names.credential()
            ),
        ],
    )
}

fn unusable(names: &Names<'_>, cause: &Unusable) -> Told {
    match cause {
        Unusable::Connect(detail) => unreachable(names, detail),
        Unusable::NoIdentityService(_) => managed_identity(names),
        Unusable::Deadline(_) => Told::new(
            Cause::TokenEndpointTimeout,
            "the token endpoint does not answer in time",
            [
                format!(
                    "check that {} port {} is open from here (firewall, proxy)",
                    host(names),
                    port(names)
                ),
                "nothing to do if it passes: postrider tries again by itself".to_owned(),
            ],
        ),
        Unusable::Status(407) => Told::new(
            Cause::ProxyRefuses,
            "the proxy wants other credentials",
            [format!(
                "check proxy in [network] or [credentials.{}]",
                names.credential()
            )],
        ),
        Unusable::Status(404 | 300..=399) | Unusable::TooLong => no_token_endpoint(names),
        Unusable::Status(_) | Unusable::Transport(_) | Unusable::Says(_) => Told::new(
            Cause::TokenEndpointUnavailable,
            "the token endpoint is in trouble",
            ["nothing to do: postrider tries again by itself".to_owned()],
        ),
    }
}

fn unreachable(names: &Names<'_>, detail: &str) -> Told {
    let detail = detail.to_ascii_lowercase();
    let host = host(names);
    let is_certificate = detail.contains("certificate") || detail.contains("unknownissuer");
    if is_certificate {
        return Told::new(
            Cause::TokenEndpointUnreachable,
            format!(
                "the certificate of {host} is not trusted: a proxy that reads TLS may stand between"
            ),
            [
                format!(
                    "exempt {host} from TLS inspection, or install the proxy's authority in this system's trust store"
                ),
                "install the package ca-certificates where it is missing".to_owned(),
            ],
        );
    }
    Told::new(
        Cause::TokenEndpointUnreachable,
        format!("{host} cannot be reached"),
        [
            format!(
                "open {host} port {} from here, or set proxy in [network]",
                port(names)
            ),
            format!("check the name: getent hosts {host}"),
        ],
    )
}

fn host(names: &Names<'_>) -> String {
    let url = names.0.credential.token_url.as_deref();
    let parsed = url.and_then(|url| url::Url::parse(url).ok());
    match parsed.as_ref().and_then(url::Url::host_str) {
        Some(host) => host.to_owned(),
        None => "the token endpoint".to_owned(),
    }
}

fn port(names: &Names<'_>) -> u16 {
    let url = names.0.credential.token_url.as_deref();
    let parsed = url.and_then(|url| url::Url::parse(url).ok());
    parsed
        .and_then(|url| url.port_or_known_default())
        .unwrap_or(443)
}

fn no_token_endpoint(names: &Names<'_>) -> Told {
    let credential = names.credential();
    let fix = match names.0.credential.way {
        Way::Application | Way::Delegated => format!(
            "[credentials.{credential}]: authority must be the login host ({}), without a path; check tenant",
            names.login_host()
        ),
        Way::ManagedIdentity => format!(
            "[credentials.{credential}]: endpoint must be the machine's own (http://169.254.169.254), never behind a proxy"
        ),
        Way::ServiceAccount | Way::GoogleDelegated | Way::OAuth2 | Way::Token | Way::Password => {
            format!("[credentials.{credential}]: check token_url")
        }
    };
    Told::new(
        Cause::TokenEndpointWrong,
        "what answers there is no token endpoint",
        [fix],
    )
}
