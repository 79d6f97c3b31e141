//! Google: its key files and its refusals.

use std::sync::Arc;

use postrider_core::token::Failure;
use postrider_oauth::{
    certificate::CertificateError,
    client::TokenClient,
    proof::Proof,
    service_account::{ServiceAccountError, ServiceAccountKey},
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    endpoint::{Endpoint, ask},
    pki::Made,
};

fn file(key: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "key-1",
        "private_key": key,
        "client_email": "reader@project.iam.gserviceaccount.com",
        "client_id": "1234567890",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    })
}

fn read(file: &Value) -> Result<ServiceAccountKey, ServiceAccountError> {
    ServiceAccountKey::from_json(&SecretString::from(file.to_string()))
}

#[test]
fn a_key_file_tells_all_that_is_needed() {
    let made = Made::rsa("reader");
    let key = read(&file(&made.key_pem())).unwrap();
    assert_eq!(key.client_email(), "reader@project.iam.gserviceaccount.com");
    assert_eq!(key.client_id(), Some("1234567890"));
    assert_eq!(key.key_id(), Some("key-1"));
    assert_eq!(
        key.token_uri().map(url::Url::as_str),
        Some("https://oauth2.googleapis.com/token")
    );
    let printed = format!("{key:?}");
    assert!(
        !printed.contains("PRIVATE") && printed.len() < 200,
        "{printed}"
    );
}

#[test]
fn what_is_no_key_file_is_named_and_nothing_of_it_is_shown() {
    let made = Made::rsa("reader");
    let without = |name: &str| {
        let mut file = file(&made.key_pem());
        file.as_object_mut().unwrap().remove(name);
        file
    };
    let with = |name: &str, value: Value| {
        let mut file = file(&made.key_pem());
        file[name] = value;
        file
    };
    let elliptic = Made::elliptic().key_pem();
    let table = [
        (json!([]), ServiceAccountError::NotJson),
        (json!("x"), ServiceAccountError::NotJson),
        (with("private_key", json!(7)), ServiceAccountError::NotJson),
        (
            json!({"installed": {"client_id": "c"}}),
            ServiceAccountError::Missing("private_key"),
        ),
        (
            with("type", json!("authorized_user")),
            ServiceAccountError::OtherType,
        ),
        (
            without("private_key"),
            ServiceAccountError::Missing("private_key"),
        ),
        (
            without("client_email"),
            ServiceAccountError::Missing("client_email"),
        ),
        (
            with("private_key", json!("-----BEGIN PRIVATE KEY-----\nMII")),
            ServiceAccountError::Key(CertificateError::BrokenPem),
        ),
        (
            with("private_key", json!(elliptic)),
            ServiceAccountError::Key(CertificateError::EllipticCurve),
        ),
    ];
    for (file, expected) in table {
        let error = read(&file).unwrap_err();
        assert_eq!(error, expected, "{file}");
        assert!(error.to_string().contains("hint: "), "{error}");
    }
    let cut = &file(&made.key_pem()).to_string()[..500];
    assert_eq!(
        ServiceAccountKey::from_json(&SecretString::from(cut)).unwrap_err(),
        ServiceAccountError::NotJson
    );
}

#[tokio::test]
async fn googles_refusals_are_told_apart_by_what_they_say() {
    let made = Made::rsa("reader");
    let endpoint = Endpoint::script(&[
        (401, r#"{"error":"unauthorized_client","error_description":"Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested."}"#),
        (400, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#),
        (400, r#"{"error":"invalid_grant","error_description":"Invalid email or User ID"}"#),
        (400, r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."}"#),
        (400, r#"{"error":"admin_policy_enforced"}"#),
    ])
    .await;
    let client = TokenClient::google(&endpoint.url("token"), "https://mail.google.com/").unwrap();
    let proof = Proof::ServiceAccount {
        key: Arc::new(read(&file(&made.key_pem())).unwrap()),
        subject: "support@example.org".to_owned(),
    };
    for (hint, about_the_key) in [
        ("Domain-wide delegation", false),
        ("IAM & Admin > Service Accounts > Keys", true),
        ("user name", true),
        ("clock", true),
        ("App access control", false),
    ] {
        let error = ask(&client, &proof).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Refused);
        assert!(error.hint().contains(hint), "{error}: {}", error.hint());
        assert_eq!(error.is_about_the_secret(), about_the_key, "{error}");
    }
}
