//! A person signs in: by a code that is typed in elsewhere, and through a browser.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_core::token::Failure;
use postrider_oauth::{
    authority::AuthorityError,
    authorization::Authorization,
    client::{ClientAuth, TokenClient},
    device::{DeviceCode, DeviceFlow, Pace, Poll},
    error::TokenError,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::endpoint::{Endpoint, GRANTED, LIMIT, ask, http, now};

const CODE: &str = r#"{"device_code":"d3v1ce~code","user_code":"FX9G-K2","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"m"}"#;

async fn start(flow: &DeviceFlow, secret: Option<&SecretString>) -> DeviceCode {
    flow.start(&http(), secret, LIMIT, now()).await.unwrap()
}

async fn poll(flow: &DeviceFlow, code: &DeviceCode) -> Result<Poll, TokenError> {
    flow.poll(&http(), code, None, LIMIT, now()).await
}

#[tokio::test]
async fn a_device_code_leads_to_a_token_at_the_pace_of_the_endpoint() {
    let endpoint = Endpoint::script(&[
        (200, CODE),
        (400, r#"{"error":"authorization_pending","error_description":"AADSTS70016: OAuth 2.0 device flow error. Authorization is pending.","error_codes":[70016]}"#),
        (400, r#"{"error":"slow_down"}"#),
        (200, r#"{"access_token":"a","expires_in":3600,"refresh_token":"r","token_type":"Bearer"}"#),
    ])
    .await;
    let client = endpoint.microsoft();
    let flow = DeviceFlow::new(client.clone(), &client.device_endpoint().unwrap()).unwrap();
    let code = start(&flow, None).await;
    let asked = endpoint.last();
    assert_eq!(
        asked.uri.path(),
        "/contoso.onmicrosoft.com/oauth2/v2.0/devicecode"
    );
    assert_eq!(asked.form().len(), 2, "client_id and scope");
    assert_eq!(code.user_code, "FX9G-K2");
    let mut pace = Pace::new(&code);
    assert_eq!(pace.wait(), Duration::from_secs(5));
    assert!(matches!(poll(&flow, &code).await, Ok(Poll::Pending)));
    let form = endpoint.last().form();
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:device_code"
    );
    assert_eq!(form["device_code"], "d3v1ce~code");
    assert_eq!(form["client_id"], "client");
    assert!(matches!(poll(&flow, &code).await, Ok(Poll::SlowDown)));
    pace.slow_down();
    assert_eq!(pace.wait(), Duration::from_secs(10));
    let Ok(Poll::Granted(grant)) = poll(&flow, &code).await else {
        panic!("no grant")
    };
    assert_eq!(grant.refresh_token.unwrap().expose_secret(), "r");
}

#[tokio::test]
async fn the_ends_of_a_device_code_are_told_apart() {
    let endpoint = Endpoint::script(&[
        (200, CODE),
        (400, r#"{"error":"authorization_declined"}"#),
        (400, r#"{"error":"expired_token","error_codes":[70019]}"#),
        (400, r#"{"error":"bad_verification_code","error_codes":[70018]}"#),
        // Google's statuses.
        (428, r#"{"error":"authorization_pending","error_description":"Precondition Required"}"#),
        (403, r#"{"error":"slow_down","error_description":"Forbidden"}"#),
        (403, r#"{"error":"access_denied","error_description":"Forbidden"}"#),
        (429, "Too Many Requests"),
        (503, ""),
        (401, r#"{"error":"invalid_client","error_description":"AADSTS7000218: no client_secret for d3v1ce~code"}"#),
    ])
    .await;
    let client = endpoint.microsoft();
    let flow = DeviceFlow::new(client.clone(), &client.device_endpoint().unwrap()).unwrap();
    let code = start(&flow, None).await;
    for expected in [
        "Declined", "Expired", "BadCode", "Pending", "SlowDown", "Declined",
    ] {
        let poll = poll(&flow, &code).await.unwrap();
        assert_eq!(format!("{poll:?}"), expected);
    }
    let throttled = poll(&flow, &code).await.unwrap_err();
    assert!(matches!(throttled.failure(), Failure::Throttled { .. }));
    let outage = poll(&flow, &code).await.unwrap_err();
    assert!(matches!(outage.failure(), Failure::Outage { .. }));
    let refused = poll(&flow, &code).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Refused);
    let printed = format!("{refused} {refused:?}");
    assert!(!printed.contains("d3v1ce"), "{printed}");
    assert!(refused.hint().contains("Allow public client flows"));
}

#[tokio::test]
async fn a_refused_request_for_a_code_is_an_error_with_advice() {
    let endpoint = Endpoint::script(&[
        (400, r#"{"error":"invalid_scope","error_description":"x"}"#),
        (403, r#"{"error_code":"rate_limit_exceeded"}"#),
        (200, "<html>a hotel</html>"),
    ])
    .await;
    let client =
        TokenClient::google_delegated(&endpoint.url("token"), "c", "https://mail.google.com/")
            .unwrap();
    let flow = DeviceFlow::new(client, &endpoint.url("device/code")).unwrap();
    let secret = SecretString::from("s");
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let error = flow
            .start(&http(), Some(&secret), LIMIT, now())
            .await
            .unwrap_err();
        outcomes.push((error.outcome(), error.hint()));
    }
    assert_eq!(outcomes[0].0, "refused");
    assert!(outcomes[0].1.contains("not with a device code"));
    assert_eq!(outcomes[1].0, "throttled");
    assert_eq!(outcomes[2].0, "malformed");
    assert_eq!(endpoint.last().form()["client_secret"], "s");
}

#[tokio::test]
async fn a_code_from_the_browser_is_exchanged_with_its_verifier() {
    let endpoint = Endpoint::script(&[(200, GRANTED)]).await;
    let client = endpoint.microsoft();
    let redirect = Url::parse("http://localhost:8400/").unwrap();
    let attempt = Authorization::begin(
        &client,
        &client.authorization_endpoint().unwrap(),
        &redirect,
        None,
    )
    .unwrap();
    let asked: std::collections::BTreeMap<String, String> =
        attempt.url().query_pairs().into_owned().collect();
    let query = format!("code=0.AX%7E&state={}", asked["state"]);
    let proof = attempt
        .accept(&query, Some(SecretString::from("s")))
        .unwrap();
    ask(&client, &proof).await.unwrap();
    let form = endpoint.last().form();
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(form["code"], "0.AX~");
    assert_eq!(form["redirect_uri"], "http://localhost:8400");
    assert_eq!(form["redirect_uri"], asked["redirect_uri"]);
    assert_eq!(form["client_secret"], "s");
    let hash = digest::digest(&digest::SHA256, form["code_verifier"].as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(hash), asked["code_challenge"]);
    assert!(!format!("{attempt:?}").contains(&asked["state"]));
}

#[test]
fn codes_are_asked_for_over_https_only() {
    let url = |text: &str| Url::parse(text).unwrap();
    let client =
        TokenClient::oauth2(&url("https://a.example/t"), "c", None, ClientAuth::Body).unwrap();
    assert_eq!(client.device_endpoint(), None);
    assert_eq!(client.authorization_endpoint(), None);
    let error = DeviceFlow::new(client, &url("http://a.example/device")).unwrap_err();
    assert_eq!(error, AuthorityError::Plaintext);
}
