//! Any token endpoint, federated tokens and refresh tokens.

use base64::{Engine, engine::general_purpose::STANDARD};
use postrider_core::token::Failure;
use postrider_oauth::{
    client::{ClientAuth, Provider, TokenClient},
    error::TokenError,
    proof::Proof,
};
use secrecy::{ExposeSecret, SecretString};

use crate::endpoint::{Endpoint, SCOPE, ask};

fn oauth2(endpoint: &Endpoint, scope: Option<&str>, auth: ClientAuth) -> TokenClient {
    TokenClient::oauth2(&endpoint.url("oauth/token?tenant=1"), "id:1", scope, auth).unwrap()
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

#[tokio::test]
async fn a_client_shows_its_secret_in_the_body_or_by_basic_and_never_in_both() {
    let endpoint = Endpoint::granting().await;
    let proof = Proof::Secret(secret("s~ä:/ 1"));
    ask(&oauth2(&endpoint, Some("mail"), ClientAuth::Body), &proof)
        .await
        .unwrap();
    let seen = endpoint.last();
    assert_eq!(seen.uri.to_string(), "/oauth/token?tenant=1");
    let form = seen.form();
    assert_eq!(form["client_id"], "id:1");
    assert_eq!(form["client_secret"], "s~ä:/ 1");
    assert_eq!(form["scope"], "mail");
    assert!(!seen.headers.contains_key("authorization"));

    ask(&oauth2(&endpoint, None, ClientAuth::Basic), &proof)
        .await
        .unwrap();
    let seen = endpoint.last();
    let basic = seen.headers["authorization"].to_str().unwrap();
    let decoded = STANDARD
        .decode(basic.strip_prefix("Basic ").unwrap())
        .unwrap();
    // RFC 6749 section 2.3.1: each half is encoded as in a form first.
    assert_eq!(decoded, b"id%3A1:s%7E%C3%A4%3A%2F+1");
    let form = seen.form();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form.len(), 1, "{form:?}");
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_and_a_new_one_handed_on() {
    let endpoint = Endpoint::script(&[
        (200, r#"{"access_token":"a1","expires_in":3600,"refresh_token":"r 2","scope":"mail offline"}"#),
        (200, r#"{"access_token":"a2","expires_in":3600}"#),
        (200, r#"{"access_token":"a3","expires_in":3600,"refresh_token":"r\n3","scope":7}"#),
        (400, r#"{"error":"invalid_grant","error_description":"gone"}"#),
    ])
    .await;
    let public = Proof::RefreshToken {
        token: secret("r1"),
        client_secret: None,
    };
    let confidential = Proof::RefreshToken {
        token: secret("r1"),
        client_secret: Some(secret("s")),
    };
    let body = oauth2(&endpoint, Some("mail offline"), ClientAuth::Body);
    let basic = oauth2(&endpoint, None, ClientAuth::Basic);

    let grant = ask(&body, &public).await.unwrap();
    let form = endpoint.last().form();
    assert_eq!(form["grant_type"], "refresh_token");
    assert_eq!(form["refresh_token"], "r1");
    assert_eq!(form["client_id"], "id:1");
    assert_eq!(form["scope"], "mail offline");
    assert!(!form.contains_key("client_secret"));
    assert_eq!(grant.refresh_token.unwrap().expose_secret(), "r 2");
    assert_eq!(grant.scope.as_deref(), Some("mail offline"));

    assert!(ask(&basic, &public).await.unwrap().refresh_token.is_none());
    let seen = endpoint.last();
    assert_eq!(seen.form()["client_id"], "id:1");
    assert!(!seen.headers.contains_key("authorization"));

    // What cannot be sent again is no refresh token; the access token is good all the same.
    let grant = ask(&basic, &confidential).await.unwrap();
    assert!(grant.refresh_token.is_none() && grant.scope.is_none());
    assert!(endpoint.last().headers.contains_key("authorization"));

    let error = ask(&body, &confidential).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Refused);
    assert!(error.is_about_the_secret());
    assert!(error.hint().contains("postrider login"), "{}", error.hint());
}

#[tokio::test]
async fn a_federated_token_is_sent_as_it_is() {
    let endpoint = Endpoint::granting().await;
    let proof = Proof::Assertion(secret("eyJhbGciOiJSUzI1NiJ9.e30.c2ln\n"));
    ask(&endpoint.microsoft(), &proof).await.unwrap();
    let form = endpoint.last().form();
    assert_eq!(form["client_assertion"], "eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], SCOPE);
    assert_eq!(form.len(), 5);
}

#[tokio::test]
async fn a_federated_credential_that_is_not_known_yet_may_be_so_in_a_minute() {
    let endpoint = Endpoint::script(&[
        (401, r#"{"error":"invalid_client","error_description":"AADSTS70021: No matching federated identity record found for presented assertion.","error_codes":[70021]}"#),
        (401, r#"{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found for presented assertion subject."}"#),
    ])
    .await;
    let proof = Proof::Assertion(secret("eyJhbGciOiJSUzI1NiJ9.e30.c2ln"));
    for expected in [Failure::Unsettled, Failure::Refused] {
        let error = ask(&endpoint.microsoft(), &proof).await.unwrap_err();
        assert_eq!(error.failure(), expected);
        assert!(error.hint().contains("Federated credentials"));
    }
}

#[tokio::test]
async fn an_identity_beside_a_token_names_the_account() {
    let claims = r#"{"preferred_username":"support@contoso.com","tid":"t"}"#;
    let id_token = format!(
        "e30.{}.x",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims)
    );
    let answer = format!(
        r#"{{"access_token":"EwBAAl3B","expires_in":3600,"id_token":"{id_token}","refresh_token":"r"}}"#
    );
    let endpoint = Endpoint::start(move |_| crate::endpoint::said(200, &answer)).await;
    let proof = Proof::RefreshToken {
        token: secret("r0"),
        client_secret: None,
    };
    let grant = ask(&endpoint.microsoft(), &proof).await.unwrap();
    assert_eq!(
        grant.id_claims.unwrap().upn.as_deref(),
        Some("support@contoso.com")
    );
}

#[tokio::test]
async fn a_proof_that_does_not_fit_is_not_sent() {
    let endpoint = Endpoint::granting().await;
    let google = TokenClient::google(&endpoint.url("token"), "s").unwrap();
    let table = [
        (endpoint.microsoft(), Proof::Nothing),
        (google, Proof::Secret(secret("s"))),
    ];
    for (client, proof) in table {
        let error = ask(&client, &proof).await.unwrap_err();
        assert!(matches!(error, TokenError::Unsent { .. }), "{error:?}");
        assert_eq!(error.outcome(), "unsent");
    }
    assert!(endpoint.seen().is_empty());
}

#[test]
fn each_client_tells_what_it_is() {
    let url = url::Url::parse("https://a.example/token").unwrap();
    let table = [
        (
            TokenClient::microsoft(&url, "t", "c", "s").unwrap(),
            (Provider::Microsoft, Some("c"), Some("s")),
        ),
        (
            TokenClient::google(&url, "s").unwrap(),
            (Provider::Google, None, Some("s")),
        ),
        (
            TokenClient::google_delegated(&url, "c", "s").unwrap(),
            (Provider::Google, Some("c"), Some("s")),
        ),
        (
            TokenClient::oauth2(&url, "c", None, ClientAuth::Body).unwrap(),
            (Provider::OAuth2, Some("c"), None),
        ),
    ];
    for (client, expected) in table {
        let told = (client.provider(), client.client_id(), client.scope());
        assert_eq!(told, expected);
    }
}
