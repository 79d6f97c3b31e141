//! What the answers of an endpoint mean, good and bad.

use std::time::Duration;

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use postrider_core::{time::Wall, token::Failure};
use postrider_oauth::{
    client::TokenClient,
    error::{Cause, TokenError},
    grant::Grant,
    proof::Proof,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use url::Url;

use crate::endpoint::{Endpoint, LIMIT, SCOPE, http, said};

fn at(base: &Url) -> TokenClient {
    TokenClient::microsoft(base, "contoso.onmicrosoft.com", "client", SCOPE).unwrap()
}

async fn ask_with(
    client: &TokenClient,
    secret: &str,
    limit: Duration,
) -> Result<Grant, TokenError> {
    let proof = Proof::Secret(SecretString::from(secret));
    client.request(&http(), &proof, limit, Wall(0)).await
}

#[tokio::test]
async fn a_grant_comes_for_a_form_that_holds_every_printable_character() {
    let endpoint = Endpoint::start(|_| {
        said(
            200,
            r#"{"token_type":"Bearer","expires_in":"3599","access_token":"eyJ0.abc-_"}"#,
        )
    })
    .await;
    let secret: String = (' '..='~').collect();
    let grant = ask_with(&endpoint.microsoft(), &secret, LIMIT)
        .await
        .unwrap();
    assert_eq!(grant.access_token.expose_secret(), "eyJ0.abc-_");
    assert_eq!(grant.expires_in, Duration::from_secs(3599));
    let seen = endpoint.last();
    assert_eq!(seen.method, "POST");
    assert_eq!(
        seen.uri.path(),
        "/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    assert_eq!(
        seen.headers[header::CONTENT_TYPE],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(seen.headers[header::ACCEPT], "application/json");
    let form = seen.form();
    assert_eq!(form["client_secret"], secret);
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_id"], "client");
    assert_eq!(form["scope"], SCOPE);
    assert_eq!(form.len(), 4);
}

#[tokio::test]
async fn a_throttle_with_a_plain_text_body_is_a_throttle() {
    let endpoint = Endpoint::start(|_| {
        (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "60")],
            "Too Many Requests",
        )
            .into_response()
    })
    .await;
    let error = ask_with(&endpoint.microsoft(), "s", LIMIT)
        .await
        .unwrap_err();
    assert_eq!(
        error.failure(),
        Failure::Throttled {
            retry_after: Some(Duration::from_secs(60))
        }
    );
}

#[tokio::test]
async fn an_html_page_of_a_broken_gateway_is_an_outage() {
    let endpoint =
        Endpoint::start(|_| (StatusCode::BAD_GATEWAY, "<html><h1>502</h1></html>").into_response())
            .await;
    let error = ask_with(&endpoint.microsoft(), "s", LIMIT)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        TokenError::Unavailable {
            cause: Cause::Status(502),
            retry_after: None
        }
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_secret() {
    let endpoint = Endpoint::start(|_| {
        (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "/elsewhere")],
        )
            .into_response()
    })
    .await;
    let error = ask_with(&endpoint.microsoft(), "s", LIMIT)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        TokenError::Unavailable {
            cause: Cause::Status(307),
            retry_after: None
        }
    );
    assert_eq!(endpoint.seen().len(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_repeated() {
    let endpoint = Endpoint::start(|_| {
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret hunter2 provided.\r\nTrace ID: 1","error_codes":[7000215]}"#;
        (StatusCode::UNAUTHORIZED, body).into_response()
    })
    .await;
    let error = ask_with(&endpoint.microsoft(), "hunter2", LIMIT)
        .await
        .unwrap_err();
    assert!(error.is_about_the_secret());
    assert_eq!(error.failure(), Failure::Refused);
    assert!(!format!("{error} {error:?} {error:#?}").contains("hunter2"));
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut_off() {
    let endpoint =
        Endpoint::start(|_| Response::new(Body::from(vec![b' '; 2 * 1024 * 1024]))).await;
    let error = ask_with(&endpoint.microsoft(), "s", LIMIT)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        TokenError::Unavailable {
            cause: Cause::TooLong,
            retry_after: None
        }
    );
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let limit = Duration::from_millis(200);
    let error = ask_with(&at(&base), "s", limit).await.unwrap_err();
    assert_eq!(
        error,
        TokenError::Unavailable {
            cause: Cause::Deadline(limit),
            retry_after: None
        }
    );
}

#[tokio::test]
async fn nobody_at_home_is_an_outage_without_a_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let error = ask_with(&at(&base), "s", LIMIT).await.unwrap_err();
    let TokenError::Unavailable {
        cause: Cause::Connect(detail),
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(!detail.contains("http") && !detail.is_empty(), "{detail}");
}
