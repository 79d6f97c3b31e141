//! Whether a client assertion (RFC 7523) proves an application to Entra: signed with a registered
//! certificate, or by an issuer that the application trusts.

use std::collections::HashSet;

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    config::{FederatedCredential, TokenConfig},
    jwt::{Jwt, Registered},
    refusal::Refusal,
};

/// How far clocks may be apart.
const SKEW_SECONDS: i64 = 300;

/// Looks at an assertion; `used` are the ids of those that were shown before.
pub(super) fn check(
    config: &mut TokenConfig,
    used: &mut HashSet<String>,
    assertion: &str,
    endpoint: &str,
) -> Result<(), Refusal> {
    let jwt = Jwt::read(assertion).ok_or_else(|| malformed("token format is not proper"))?;
    if jwt.claim("iss") == Some(config.client_id.as_str()) || config.federated.is_empty() {
        certificate(config, used, &jwt, endpoint)
    } else {
        federated(config, &jwt)
    }
}

fn certificate(
    config: &TokenConfig,
    used: &mut HashSet<String>,
    jwt: &Jwt,
    endpoint: &str,
) -> Result<(), Refusal> {
    signature(config, jwt)?;
    let client = Some(config.client_id.as_str());
    if jwt.claim("iss") != client {
        return Err(malformed("unexpected issuer"));
    }
    if jwt.claim("sub") != client {
        return Err(malformed("subject identifier mismatch"));
    }
    if jwt.claim("aud") != Some(endpoint) {
        return Err(malformed("unexpected audience"));
    }
    let from = jwt.seconds("nbf").or_else(|| jwt.seconds("iat"));
    if !is_now(from, jwt.seconds("exp")) {
        return Err(malformed("not within its valid time range"));
    }
    let id = jwt.claim("jti").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| malformed("doesn't contain jti claim"))?;
    if !used.insert(format!("{} {id}", config.client_id)) {
        return Err(Refusal::says(
            50_012,
            "Authentication failed. [Reason - The assertion was presented before.]",
        ));
    }
    Ok(())
}

/// Entra looks at the signature first.
fn signature(config: &TokenConfig, jwt: &Jwt) -> Result<(), Refusal> {
    let (shown, sha256) = match (jwt.header("x5t#S256"), jwt.header("x5t")) {
        (Some(shown), _) => (shown, true),
        (None, Some(shown)) => (shown, false),
        (None, None) => return Err(malformed("the header names no certificate")),
    };
    let mut registered = config
        .certificates
        .iter()
        .filter_map(|pem| Registered::from_pem(pem));
    let found = registered.find(|one| shown == if sha256 { &one.sha256 } else { &one.sha1 });
    let Some(found) = found else {
        // A certificate that comes along is judged by its subject name.
        if jwt.header["x5c"].is_array() {
            return Err(Refusal::aadsts(700_030));
        }
        return Err(Refusal::says(
            700_027,
            &format!(
                "The certificate with identifier used to sign the client assertion is not \
                 registered on application. [Reason - The key was not found., Thumbprint of key \
                 used by client: '{shown}', Please visit the Azure Portal, Graph Explorer or \
                 directly use MS Graph to see configured keys for app Id '{}'.]",
                config.client_id
            ),
        ));
    };
    let now = OffsetDateTime::now_utc();
    if now >= found.not_after || now < found.not_before {
        return Err(Refusal::says(
            700_027,
            &format!(
                "Client assertion contains an invalid signature. [Reason - The key used is \
                 expired., Thumbprint of key used by client: '{shown}', Found key 'Start={}, \
                 End={}']",
                found.not_before, found.not_after
            ),
        ));
    }
    if !jwt.is_signed_by(&found.public_key) {
        return Err(Refusal::says(
            700_027,
            &format!(
                "Client assertion contains an invalid signature. [Reason - The provided signature \
                 value did not match the expected signature value., Thumbprint of key used by \
                 client: '{shown}']"
            ),
        ));
    }
    Ok(())
}

fn federated(config: &mut TokenConfig, jwt: &Jwt) -> Result<(), Refusal> {
    let (issuer, subject) = (jwt.claim("iss"), jwt.claim("sub"));
    let matches = |one: &&FederatedCredential| {
        issuer == Some(one.issuer.as_str())
            && subject == Some(one.subject.as_str())
            && is_for(&jwt.claims["aud"], &one.audience)
    };
    let Some(credential) = config.federated.iter().find(matches) else {
        return Err(unmatched(jwt));
    };
    // Only RS256 is taken from outside.
    if jwt.header("alg") != Some("RS256") || !jwt.is_signed_by(&credential.public_key) {
        return Err(Refusal::aadsts(50_013));
    }
    if !is_now(jwt.seconds("nbf"), jwt.seconds("exp")) {
        return Err(Refusal::aadsts(700_024));
    }
    if config.federation_flaps > 0 {
        config.federation_flaps -= 1;
        return Err(unmatched(jwt));
    }
    Ok(())
}

fn unmatched(jwt: &Jwt) -> Refusal {
    let claim = |name| jwt.claim(name).unwrap_or_default();
    Refusal::says(
        70_021,
        &format!(
            "No matching federated identity record found for presented assertion. Assertion \
             Issuer: '{}'. Assertion Subject: '{}'. Assertion Audience: '{}'. \
             https://docs.microsoft.com/azure/active-directory/develop/workload-identity-federation",
            claim("iss"),
            claim("sub"),
            match &jwt.claims["aud"] {
                Value::Array(all) => all.first().and_then(Value::as_str).unwrap_or_default(),
                one => one.as_str().unwrap_or_default(),
            },
        ),
    )
}

/// One audience, alone or as a list of one.
fn is_for(claim: &Value, audience: &str) -> bool {
    match claim {
        Value::String(one) => one == audience,
        Value::Array(all) => matches!(all.as_slice(), [one] if one == audience),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

fn is_now(from: Option<i64>, until: Option<i64>) -> bool {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    from.is_some_and(|from| from <= now + SKEW_SECONDS)
        && until.is_some_and(|until| now < until + SKEW_SECONDS)
}

fn malformed(why: &str) -> Refusal {
    Refusal::says(
        50_027,
        &format!("JWT token is invalid or malformed. [Reason - {why}.]"),
    )
}
