//! A token endpoint's answer (RFC 6749 sections 5.1 and 5.2), read without trust.

use std::time::Duration;

use postrider_core::{time::Wall, token};
use reqwest::{StatusCode, header::RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    advice::is_transient,
    claims::Claims,
    client::{Answer, Provider},
    error::{Cause, TokenError, one_line},
    redact::Sent,
};

/// Longer than any token: those of Entra take 1.5 to 4 KiB.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A token, and how long it lives from the moment *before* it was asked for.
#[derive(Debug, Clone)]
pub struct Grant {
    pub access_token: SecretString,
    pub expires_in: Duration,
    /// The provider's hint when to ask for the next one.
    pub refresh_in: Option<Duration>,
    /// How long the provider's services may accept it in an outage of the provider's own.
    pub ext_expires_in: Option<Duration>,
    /// A new refresh token. The one that was used may be good for nothing from now on.
    pub refresh_token: Option<SecretString>,
    /// What was granted, where it is told; it may be less than was asked for.
    pub scope: Option<String>,
    /// Of an `id_token`, unverified: for the account's name only.
    pub id_claims: Option<Claims>,
}

#[derive(Deserialize)]
struct Success {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    expires_on: Option<Value>,
    refresh_in: Option<Value>,
    ext_expires_in: Option<Value>,
    refresh_token: Option<Value>,
    scope: Option<Value>,
    id_token: Option<Value>,
}

/// Google's device endpoint writes `error_code`.
#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "error_code")]
    error: String,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_codes: Option<Value>,
}

/// `sent` is what was secret in the request: a server that repeats it does not get it printed.
pub(crate) fn read(
    provider: Provider,
    answer: &Answer,
    sent: &Sent,
    now: Wall,
) -> Result<Grant, TokenError> {
    if answer.status.is_success() {
        granted(&answer.body, now)
    } else {
        Err(refusal(provider, answer, sent, now))
    }
}

/// An answer without success.
pub(crate) fn refusal(provider: Provider, answer: &Answer, sent: &Sent, now: Wall) -> TokenError {
    let status = answer.status;
    let retry_after = answer
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| token::retry_after(value, now));
    if status == StatusCode::TOO_MANY_REQUESTS {
        return TokenError::Throttled { retry_after };
    }
    let unavailable = |cause| TokenError::Unavailable { cause, retry_after };
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body) else {
        return unavailable(Cause::Status(status.as_u16()));
    };
    let error = sent.clean(&refusal.error);
    let description = sent.clean(refusal.error_description.as_deref().unwrap_or_default());
    let codes = codes(refusal.error_codes.as_ref(), &description);
    // Whoever looks it up, or asks the provider, needs the number.
    let numbered = |words: &str| codes.first().map(|code| format!("{words} (AADSTS{code})"));
    if speaks_of_the_endpoint(provider, status) {
        let status = status.as_u16();
        let says = numbered(&format!("{error} with HTTP status {status}"));
        return unavailable(says.map_or(Cause::Status(status), Cause::Says));
    }
    let says = || Cause::Says(numbered(&error).unwrap_or_else(|| error.clone()));
    match error.as_str() {
        "temporarily_unavailable" | "server_error" => unavailable(says()),
        "rate_limit_exceeded" => TokenError::Throttled { retry_after },
        _ if codes.iter().any(|code| is_transient(*code)) => unavailable(says()),
        _ => TokenError::Refused {
            provider,
            error,
            description,
            codes,
        },
    }
}

/// 408 and 5xx do, whatever their body says; the rest is an answer only if it is one of RFC 6749: a
/// firewall's page or a missing path is not. A machine's identity service says 404 and 410 while it
/// starts or is updated
/// (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#retry-guidance>).
fn speaks_of_the_endpoint(provider: Provider, status: StatusCode) -> bool {
    if !status.is_client_error() || status == StatusCode::REQUEST_TIMEOUT {
        return true;
    }
    match provider {
        Provider::ManagedIdentity => status == StatusCode::NOT_FOUND || status == StatusCode::GONE,
        Provider::Microsoft | Provider::Google | Provider::OAuth2 => false,
    }
}

fn granted(body: &[u8], now: Wall) -> Result<Grant, TokenError> {
    let malformed = |what| TokenError::Malformed { what };
    let success: Success =
        serde_json::from_slice(body).map_err(|_| malformed("it is no JSON object of a token"))?;
    // RFC 6750 section 2.1. Anything else could end the line or the field that it is sent in.
    let access_token = match success.access_token {
        None => return Err(malformed("access_token is missing")),
        Some(token) => token_of(token, |byte| byte.is_ascii_graphic())
            .ok_or_else(|| malformed("access_token is not a bearer token"))?,
    };
    if success
        .token_type
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(malformed("token_type is not Bearer"));
    }
    let expires_in = success
        .expires_in
        .as_ref()
        .and_then(seconds)
        .or_else(|| until(success.expires_on.as_ref()?, now))
        .or_else(|| Some(Claims::decode(&access_token)?.exp?.since(now)))
        .filter(|life| !life.is_zero())
        .ok_or_else(|| malformed("expires_in is missing or no number of seconds"))?;
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(text),
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        )
        | None => None,
    };
    Ok(Grant {
        access_token,
        expires_in,
        refresh_in: success.refresh_in.as_ref().and_then(seconds),
        ext_expires_in: success.ext_expires_in.as_ref().and_then(seconds),
        // RFC 6749 appendix A.17.
        refresh_token: text(success.refresh_token)
            .and_then(|token| token_of(token, |byte| matches!(byte, b' '..=b'~'))),
        scope: text(success.scope)
            .map(|scope| one_line(&scope))
            .filter(|scope| !scope.is_empty()),
        id_claims: text(success.id_token)
            .and_then(|token| Claims::decode(&SecretString::from(token))),
    })
}

fn token_of(token: String, allowed: impl Fn(&u8) -> bool) -> Option<SecretString> {
    let token = SecretString::from(token);
    let bytes = token.expose_secret().as_bytes();
    let fits = !bytes.is_empty() && bytes.len() <= TOKEN_BYTES_MAX && bytes.iter().all(allowed);
    fits.then_some(token)
}

/// How long it is until a time in seconds since the epoch.
fn until(expires_on: &Value, now: Wall) -> Option<Duration> {
    let at = i64::try_from(seconds(expires_on)?.as_secs()).ok()?;
    Some(Wall::from_seconds(at).since(now))
}

/// Seconds as a number or, from some endpoints, as a string.
pub(crate) fn seconds(value: &Value) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }?;
    Duration::try_from_secs_f64(number.floor()).ok()
}

/// The AADSTS numbers of an answer: listed, else from its description.
pub(crate) fn codes(listed: Option<&Value>, description: &str) -> Vec<u32> {
    let listed: Vec<u32> = listed
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()))
        .filter_map(|code| u32::try_from(code).ok())
        .take(16)
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    let Some((_, rest)) = description.split_once("AADSTS") else {
        return Vec::new();
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().into_iter().collect()
}

#[cfg(test)]
mod tests;
