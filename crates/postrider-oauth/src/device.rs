//! Sign-in with a code that a person types elsewhere (RFC 8628;
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>). Asks and judges;
//! the caller shows the code and waits as long as [`Pace`] says.

use std::time::Duration;

use postrider_core::time::Wall;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    authority::{self, AuthorityError},
    client::{TokenClient, answer, post},
    error::{TokenError, one_line},
    form::Form,
    grant::{self, Grant},
    proof::Proof,
};

/// RFC 8628 section 3.2: where the answer names none; section 3.5: added at each `slow_down`.
const INTERVAL: Duration = Duration::from_secs(5);

/// A wait between two questions never gets longer: a person is in front of it.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The code's life where the answer names none; 15 minutes at Microsoft, 30 at Google.
const LIFE: Duration = Duration::from_secs(900);

/// Nobody types longer; a longer time may not even fit a clock.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Characters of a device code that are plausible; Microsoft's has about 200.
const CODE_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone)]
pub struct DeviceFlow {
    client: TokenClient,
    endpoint: Url,
}

/// What the person needs, and what the polling needs.
#[derive(Debug, Clone)]
pub struct DeviceCode {
    device_code: SecretString,
    /// To be typed in by the person.
    pub user_code: String,
    /// Where to type it in.
    pub verification_uri: Url,
    /// The same with the code in it.
    pub verification_uri_complete: Option<Url>,
    pub expires_in: Duration,
    pub interval: Duration,
}

/// What one question brought.
#[derive(Debug)]
pub enum Poll {
    Granted(Box<Grant>),
    /// The person has not finished.
    Pending,
    /// As [`Poll::Pending`], and ask less often.
    SlowDown,
    /// The person, or a policy, said no.
    Declined,
    /// The code is too old: begin anew.
    Expired,
    /// The endpoint does not know the code: begin anew.
    BadCode,
}

/// How long to wait before the next question (RFC 8628 section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(Duration);

impl Pace {
    pub fn new(code: &DeviceCode) -> Self {
        Self(code.interval)
    }

    pub fn wait(self) -> Duration {
        self.0
    }

    /// The endpoint said `slow_down`.
    pub fn slow_down(&mut self) {
        self.0 = (self.0 + INTERVAL).min(INTERVAL_MAX);
    }

    /// The endpoint could not be asked.
    pub fn back_off(&mut self) {
        self.0 = (self.0 * 2).min(INTERVAL_MAX);
    }
}

/// Google writes `verification_url`.
#[derive(Deserialize)]
struct Answer {
    device_code: Option<String>,
    user_code: Option<String>,
    #[serde(alias = "verification_url")]
    verification_uri: Option<String>,
    #[serde(alias = "verification_url_complete")]
    verification_uri_complete: Option<String>,
    expires_in: Option<Value>,
    interval: Option<Value>,
}

impl DeviceFlow {
    /// `endpoint` is the device authorization endpoint; see [`TokenClient::device_endpoint`].
    pub fn new(client: TokenClient, endpoint: &Url) -> Result<Self, AuthorityError> {
        authority::check(endpoint)?;
        Ok(Self {
            client,
            endpoint: endpoint.clone(),
        })
    }

    /// Asks for a code. `client_secret` is for a confidential client only.
    pub async fn start(
        &self,
        http: &reqwest::Client,
        client_secret: Option<&SecretString>,
        limit: Duration,
        now: Wall,
    ) -> Result<DeviceCode, TokenError> {
        let form = Form::device(&self.client, client_secret)?;
        let answer = answer(post(http, &self.endpoint, &form), limit).await?;
        if !answer.status.is_success() {
            return Err(grant::refusal(
                self.client.provider(),
                &answer,
                form.sent(),
                now,
            ));
        }
        read(&answer.body)
    }

    /// One question whether the person has finished.
    pub async fn poll(
        &self,
        http: &reqwest::Client,
        code: &DeviceCode,
        client_secret: Option<&SecretString>,
        limit: Duration,
        now: Wall,
    ) -> Result<Poll, TokenError> {
        let proof = Proof::DeviceCode {
            device_code: code.device_code.clone(),
            client_secret: client_secret.cloned(),
        };
        match self.client.request(http, &proof, limit, now).await {
            Ok(grant) => Ok(Poll::Granted(Box::new(grant))),
            Err(TokenError::Refused { error, .. }) if judge(&error).is_some() => {
                Ok(judge(&error).unwrap_or(Poll::Pending))
            }
            Err(error) => Err(error),
        }
    }
}

/// RFC 8628 section 3.5; `authorization_declined` and `bad_verification_code` are Microsoft's, and
/// Google calls a code that it does not know an invalid grant.
fn judge(error: &str) -> Option<Poll> {
    Some(match error {
        "authorization_pending" => Poll::Pending,
        "slow_down" => Poll::SlowDown,
        "access_denied" | "authorization_declined" => Poll::Declined,
        "expired_token" | "code_expired" => Poll::Expired,
        "bad_verification_code" | "invalid_grant" => Poll::BadCode,
        _ => return None,
    })
}

fn read(body: &[u8]) -> Result<DeviceCode, TokenError> {
    let malformed = |what| TokenError::Malformed { what };
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| malformed("it is no JSON object of a code"))?;
    let device_code = answer
        .device_code
        .filter(|code| !code.is_empty() && code.len() <= CODE_BYTES_MAX)
        .ok_or_else(|| malformed("device_code is missing"))?;
    let user_code = answer
        .user_code
        .map(|code| one_line(&code))
        .filter(|code| !code.is_empty())
        .ok_or_else(|| malformed("user_code is missing"))?;
    let verification_uri = answer
        .verification_uri
        .as_deref()
        .and_then(web_address)
        .ok_or_else(|| malformed("verification_uri is missing or no web address"))?;
    let seconds = |value: Option<&Value>| value.and_then(grant::seconds);
    Ok(DeviceCode {
        device_code: SecretString::from(device_code),
        user_code,
        verification_uri,
        verification_uri_complete: answer
            .verification_uri_complete
            .as_deref()
            .and_then(web_address),
        expires_in: seconds(answer.expires_in.as_ref())
            .filter(|life| !life.is_zero())
            .unwrap_or(LIFE)
            .min(LIFE_MAX),
        interval: seconds(answer.interval.as_ref())
            .filter(|interval| !interval.is_zero())
            .unwrap_or(INTERVAL)
            .min(INTERVAL_MAX),
    })
}

fn web_address(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_microsoft_and_of_google_are_read() {
        let microsoft = br#"{"user_code":"FX9G","device_code":"GMMhmHCXhWEzkobqIHGG_EnNYYsAkukHspeYUk9E8","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"To sign in, use a web browser"}"#;
        let code = read(microsoft).unwrap();
        assert_eq!(code.user_code, "FX9G");
        assert_eq!(
            code.verification_uri.as_str(),
            "https://microsoft.com/devicelogin"
        );
        assert_eq!(code.expires_in, Duration::from_secs(900));
        assert!(!format!("{code:?}").contains("GMMhmH"));
        let google = br#"{"device_code":"4/4-GMM","user_code":"GQVQ-JKEC","verification_url":"https://www.google.com/device","expires_in":"1800","interval":"500"}"#;
        let code = read(google).unwrap();
        assert_eq!(code.verification_uri.host_str(), Some("www.google.com"));
        assert_eq!(code.expires_in, Duration::from_secs(1800));
        assert_eq!(code.interval, INTERVAL_MAX);
    }

    #[test]
    fn what_is_missing_gets_its_default_or_is_malformed() {
        let least = br#"{"device_code":"d","user_code":" a\u001b[2J ","verification_uri":"https://x.example/d","interval":0}"#;
        let code = read(least).unwrap();
        assert_eq!((code.expires_in, code.interval), (LIFE, INTERVAL));
        let absurd = br#"{"device_code":"d","user_code":"u","verification_uri":"https://x.example/d","expires_in":1e19}"#;
        assert_eq!(read(absurd).unwrap().expires_in, LIFE_MAX);
        assert_eq!(code.user_code, "a[2J");
        let table = [
            "",
            "[]",
            r#"{"user_code":"u","verification_uri":"https://x.example"}"#,
            r#"{"device_code":"","user_code":"u","verification_uri":"https://x.example"}"#,
            r#"{"device_code":"d","verification_uri":"https://x.example"}"#,
            r#"{"device_code":"d","user_code":"u"}"#,
            r#"{"device_code":"d","user_code":"u","verification_uri":"javascript:alert(1)"}"#,
        ];
        for body in table {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(matches!(error, TokenError::Malformed { .. }), "{body}");
        }
    }

    #[test]
    fn each_error_of_the_polling_has_its_meaning() {
        let table = [
            ("authorization_pending", "Some(Pending)"),
            ("slow_down", "Some(SlowDown)"),
            ("access_denied", "Some(Declined)"),
            ("authorization_declined", "Some(Declined)"),
            ("expired_token", "Some(Expired)"),
            ("code_expired", "Some(Expired)"),
            ("bad_verification_code", "Some(BadCode)"),
            ("invalid_grant", "Some(BadCode)"),
            ("invalid_client", "None"),
        ];
        for (error, expected) in table {
            assert_eq!(format!("{:?}", judge(error)), expected, "{error}");
        }
    }

    #[test]
    fn the_pace_gets_slower_within_bounds() {
        let mut pace = Pace(INTERVAL);
        pace.slow_down();
        assert_eq!(pace.wait(), Duration::from_secs(10));
        pace.back_off();
        assert_eq!(pace.wait(), Duration::from_secs(20));
        for _ in 0..100 {
            pace.back_off();
            pace.slow_down();
        }
        assert_eq!(pace.wait(), INTERVAL_MAX);
    }
}
