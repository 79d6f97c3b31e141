//! The token endpoint.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_sandbox::{
    authority::{Standing, TokenAuthority},
    token_endpoint::{ExpiresIn, TokenConfig, TokenEndpoint, TokenShape, TokenTrouble},
};
use serde_json::Value;

use crate::post::{Answered, post};

const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

fn form() -> (&'static str, String) {
    let kind = "application/x-www-form-urlencoded";
    ("Content-Type", kind.to_owned())
}

async fn ask(endpoint: &TokenEndpoint, secret: &str) -> Option<Answered> {
    let body = format!(
        "client_id={CLIENT}&scope=https%3A%2F%2Foutlook.office365.com%2F.default\
         &client_secret={secret}&grant_type=client_credentials"
    );
    let path = "/contoso.onmicrosoft.com/oauth2/v2.0/token";
    post(endpoint.address(), path, &[form()], &body).await
}

#[tokio::test]
async fn a_right_secret_gets_a_token_that_the_authority_knows() {
    let authority = TokenAuthority::new();
    let config = TokenConfig::default();
    let endpoint = TokenEndpoint::start(config, authority.clone())
        .await
        .unwrap();
    let answered = ask(&endpoint, "sandbox%7Esecret").await.unwrap();
    let body: Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!((answered.status, &body["expires_in"]), (200, &3599.into()));
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(endpoint.last_token().as_deref(), Some(token));
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["roles"][0], "IMAP.AccessAsApp");
    assert!(matches!(
        authority.standing(token, "any@one"),
        Standing::Good { ends: Some(_) }
    ));

    endpoint.change(|config| {
        config.expires_in = ExpiresIn::Text;
        config.shape = TokenShape::Opaque;
    });
    let answered = ask(&endpoint, "sandbox~secret").await.unwrap();
    let body: Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(body["expires_in"], "3599");
    assert!(!body["access_token"].as_str().unwrap().contains('.'));
    assert_eq!(endpoint.counters().issued, 2);
}

#[tokio::test]
async fn it_refuses_and_fails_as_entra_does() {
    let endpoint = TokenEndpoint::start(TokenConfig::default(), TokenAuthority::new());
    let endpoint = endpoint.await.unwrap();
    let answered = ask(&endpoint, "wrong").await.unwrap();
    let body: Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(
        (answered.status, &body["error"]),
        (401, &"invalid_client".into())
    );
    assert_eq!(body["error_codes"][0], 7_000_215);

    endpoint.set_trouble(TokenTrouble::Throttled { retry_after: 60 });
    let answered = ask(&endpoint, "sandbox~secret").await.unwrap();
    assert_eq!(
        (answered.status, answered.body.as_str()),
        (429, "Too Many Requests")
    );
    assert!(answered.head.contains("retry-after: 60"));

    endpoint.set_trouble(TokenTrouble::Status(503));
    assert_eq!(ask(&endpoint, "sandbox~secret").await.unwrap().status, 503);
    endpoint.set_trouble(TokenTrouble::CloseUnanswered);
    assert!(ask(&endpoint, "sandbox~secret").await.is_none());
    endpoint.set_trouble(TokenTrouble::Slow(Duration::from_millis(30)));
    let both = tokio::join!(
        ask(&endpoint, "sandbox~secret"),
        ask(&endpoint, "sandbox~secret")
    );
    assert_eq!((both.0.unwrap().status, both.1.unwrap().status), (200, 200));
    endpoint.down().await;
    assert!(ask(&endpoint, "sandbox~secret").await.is_none());
    endpoint.up().await.unwrap();
    assert_eq!(ask(&endpoint, "sandbox~secret").await.unwrap().status, 200);
    let counters = endpoint.counters();
    assert_eq!(
        (counters.refused, counters.troubled, counters.issued),
        (1, 3, 3)
    );
    assert_eq!(counters.in_flight_max, 2);
}
