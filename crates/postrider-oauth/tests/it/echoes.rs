//! An endpoint that repeats everything it was sent: whatever is secret in a request, no error shows it.

use std::sync::Arc;

use postrider_oauth::{
    certificate::Algorithm,
    client::{ClientAuth, TokenClient},
    error::TokenError,
    proof::Proof,
    service_account::ServiceAccountKey,
};
use secrecy::SecretString;
use serde_json::json;

use crate::{
    endpoint::{Endpoint, Seen, ask, said},
    pki::Made,
};

/// Repeats each value of the form, the body as it came, and the header of HTTP Basic.
fn echo(seen: &Seen) -> axum::response::Response {
    let values: Vec<String> = seen.form().into_values().collect();
    let basic = seen
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let words = format!(
        "{basic} {} {body} https://u:p4ss@h.example/",
        values.join(" ")
    );
    // The error name as well, and cut short as a careless server might.
    let cut: String = words.chars().take(120).collect();
    said(
        400,
        &json!({"error": cut, "error_description": words}).to_string(),
    )
}

fn proofs(made: &Made) -> Vec<(Proof, Vec<&'static str>)> {
    let secret = |text: &str| SecretString::from(text);
    let key = json!({"client_email": "e", "private_key": made.key_pem()}).to_string();
    let key = ServiceAccountKey::from_json(&SecretString::from(key)).unwrap();
    let foreign = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";
    vec![
        (Proof::Secret(secret("cl1ent~s+cret")), vec!["cl1ent"]),
        (
            Proof::Certificate {
                certificate: made.load(),
                algorithm: Algorithm::Ps256,
            },
            vec!["eyJ"],
        ),
        (Proof::Assertion(secret(foreign)), vec!["eyJ", "c2lnbmF0"]),
        (
            Proof::ServiceAccount {
                key: Arc::new(key),
                subject: "support@example.org".to_owned(),
            },
            vec!["eyJ"],
        ),
        (
            Proof::RefreshToken {
                token: secret("0.AXr3fresh/t="),
                client_secret: Some(secret("cl1ent~s+cret")),
            },
            vec!["AXr3fresh", "cl1ent"],
        ),
        (
            Proof::AuthorizationCode {
                code: secret("c0de&longer-than-that"),
                verifier: secret("v3rifier"),
                redirect: url::Url::parse("http://localhost/").unwrap(),
                client_secret: None,
            },
            vec!["c0de", "v3rifier"],
        ),
        (
            Proof::DeviceCode {
                device_code: secret("d3vice%code"),
                client_secret: None,
            },
            vec!["d3vice"],
        ),
    ]
}

#[tokio::test]
async fn no_error_shows_what_a_server_repeats() {
    let endpoint = Endpoint::start(echo).await;
    let made = Made::rsa("reader");
    let url = endpoint.url("token");
    let clients = [
        endpoint.microsoft(),
        TokenClient::oauth2(&url, "client", Some("s"), ClientAuth::Body).unwrap(),
        TokenClient::oauth2(&url, "client", Some("s"), ClientAuth::Basic).unwrap(),
        TokenClient::google(&url, "s").unwrap(),
        TokenClient::google_delegated(&url, "client", "s").unwrap(),
    ];
    let mut refusals = 0;
    for client in &clients {
        for (proof, secrets) in proofs(&made) {
            let error = ask(client, &proof).await.unwrap_err();
            let printed = format!("{error} {error:?} {error:#?} {} {proof:?}", error.hint());
            for secret in secrets.iter().chain(&["p4ss"]) {
                assert!(!printed.contains(secret), "{proof:?}: {printed}");
            }
            let basic = endpoint.seen().pop().and_then(|seen| {
                let value = seen.headers.get("authorization")?.to_str().ok()?.to_owned();
                value.strip_prefix("Basic ").map(str::to_owned)
            });
            assert!(
                !basic.is_some_and(|basic| printed.contains(&basic)),
                "{printed}"
            );
            match error {
                TokenError::Refused { .. } => refusals += 1,
                TokenError::Unsent { .. } => {}
                TokenError::Throttled { .. }
                | TokenError::Unavailable { .. }
                | TokenError::Malformed { .. } => panic!("{error:?}"),
            }
        }
    }
    // Six proofs at each of four clients, and the service account at its own.
    assert_eq!(refusals, 25);
}
