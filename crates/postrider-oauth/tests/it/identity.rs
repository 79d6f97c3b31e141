//! Managed identities: what the identity service of a machine is asked, and what it answers.

use std::time::Duration;

use postrider_core::{time::Wall, token::Failure};
use postrider_oauth::{
    authority::AuthorityError,
    client::{ManagedIdentity, Provider, TokenClient},
    error::{Cause, TokenError},
    proof::Proof,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use url::Url;

use crate::endpoint::{Endpoint, LIMIT, ask, http};

const RESOURCE: &str = "https://outlook.office365.com";

fn client(endpoint: &Endpoint, identity: ManagedIdentity) -> TokenClient {
    TokenClient::managed_identity(&endpoint.base, RESOURCE, identity).unwrap()
}

#[tokio::test]
async fn each_way_to_name_an_identity_has_its_parameter() {
    let endpoint = Endpoint::granting().await;
    let table = [
        (ManagedIdentity::Default, None),
        (
            ManagedIdentity::ClientId("c&1".to_owned()),
            Some(("client_id", "c&1")),
        ),
        (
            ManagedIdentity::ObjectId("o".to_owned()),
            Some(("object_id", "o")),
        ),
        (
            ManagedIdentity::ResourceId("/subscriptions/1/x".to_owned()),
            Some(("msi_res_id", "/subscriptions/1/x")),
        ),
    ];
    for (identity, parameter) in table {
        ask(&client(&endpoint, identity), &Proof::Nothing)
            .await
            .unwrap();
        let seen = endpoint.last();
        assert_eq!(seen.method, "GET");
        assert_eq!(seen.uri.path(), "/metadata/identity/oauth2/token");
        assert_eq!(seen.headers["metadata"], "true");
        assert!(seen.body.is_empty());
        let mut query = seen.query();
        assert_eq!(query.remove("api-version").unwrap(), "2018-02-01");
        assert_eq!(query.remove("resource").unwrap(), RESOURCE);
        let rest: Vec<_> = query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(rest, parameter.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn times_are_strings_and_the_empty_refresh_token_is_none() {
    let endpoint = Endpoint::script(&[
        (200, r#"{"access_token":"t","refresh_token":"","expires_in":"86399","expires_on":"1700086400","not_before":"1700000000","resource":"r","token_type":"Bearer"}"#),
        (200, r#"{"access_token":"t","expires_on":"1700003600","token_type":"Bearer"}"#),
    ])
    .await;
    let client = client(&endpoint, ManagedIdentity::Default);
    let now = Wall::from_seconds(1_700_000_000);
    for expected in [86_399, 3600] {
        let grant = client
            .request(&http(), &Proof::Nothing, LIMIT, now)
            .await
            .unwrap();
        assert_eq!(grant.access_token.expose_secret(), "t");
        assert_eq!(grant.expires_in, Duration::from_secs(expected));
        assert!(grant.refresh_token.is_none());
    }
}

#[tokio::test]
async fn a_service_that_starts_or_is_updated_is_an_outage() {
    let said = r#"{"error":"invalid_request","error_description":"updating"}"#;
    let endpoint = Endpoint::script(&[
        (404, said),
        (410, said),
        (429, said),
        (500, said),
        (503, ""),
    ])
    .await;
    let client = client(&endpoint, ManagedIdentity::Default);
    for _ in 0..5 {
        let error = ask(&client, &Proof::Nothing).await.unwrap_err();
        assert!(
            matches!(
                error.failure(),
                Failure::Outage { .. } | Failure::Throttled { .. }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_machine_without_the_identity_is_told_so() {
    let endpoint = Endpoint::script(&[(
        400,
        r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
    )])
    .await;
    let client = client(&endpoint, ManagedIdentity::Default);
    let error = ask(&client, &Proof::Nothing).await.unwrap_err();
    let TokenError::Refused { provider, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*provider, Provider::ManagedIdentity);
    assert!(error.to_string().contains("Identity not found"), "{error}");
    assert!(error.hint().contains("assign one"), "{}", error.hint());
}

#[tokio::test]
async fn a_machine_without_the_service_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let client = TokenClient::managed_identity(&base, RESOURCE, ManagedIdentity::Default).unwrap();
    let error = ask(&client, &Proof::Nothing).await.unwrap_err();
    assert!(
        matches!(
            error,
            TokenError::Unavailable {
                cause: Cause::NoIdentityService(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().contains("169.254.169.254"), "{}", error.hint());
}

#[tokio::test]
async fn a_secret_is_never_shown_to_an_identity_service() {
    let endpoint = Endpoint::granting().await;
    let client = client(&endpoint, ManagedIdentity::Default);
    let proof = Proof::Secret(SecretString::from("s"));
    let error = ask(&client, &proof).await.unwrap_err();
    assert!(matches!(error, TokenError::Unsent { .. }), "{error:?}");
    assert_eq!(error.failure(), Failure::Refused);
    assert!(endpoint.seen().is_empty());
}

#[test]
fn plain_http_is_for_this_machine_and_its_link() {
    let table = [
        ("http://169.254.169.254", None),
        ("http://[fe80::1]", None),
        ("http://127.0.0.1:40342", None),
        ("https://identity.example", None),
        ("http://10.0.0.1", Some(AuthorityError::Plaintext)),
        ("http://identity.example", Some(AuthorityError::Plaintext)),
        ("http://a:b@169.254.169.254", Some(AuthorityError::UserInfo)),
    ];
    for (url, expected) in table {
        let made = TokenClient::managed_identity(
            &Url::parse(url).unwrap(),
            RESOURCE,
            ManagedIdentity::Default,
        );
        assert_eq!(made.err(), expected, "{url}");
        let link = TokenClient::google(&Url::parse("http://169.254.169.254").unwrap(), "s");
        assert_eq!(link.err(), Some(AuthorityError::Plaintext));
    }
}
