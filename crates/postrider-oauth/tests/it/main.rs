//! Token requests over real HTTP.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use postrider_core::{time::Wall, token::Failure};
use postrider_oauth::{
    error::{Cause, TokenError},
    grant::Grant,
    microsoft::ClientCredentials,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, sync::Mutex};
use url::Url;

const LIMIT: Duration = Duration::from_secs(5);

type Answer = Arc<dyn Fn() -> Response + Send + Sync>;

#[derive(Clone)]
struct Endpoint {
    answer: Answer,
    seen: Arc<Mutex<Vec<(Uri, HeaderMap, Bytes)>>>,
    base: Url,
}

impl Endpoint {
    async fn start(answer: impl Fn() -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let endpoint = Self {
            answer: Arc::new(answer),
            seen: Arc::default(),
            base,
        };
        let app = Router::new()
            .fallback(any(serve))
            .with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        endpoint
    }

    async fn ask(&self, secret: &str, limit: Duration) -> Result<Grant, TokenError> {
        ask(&self.base, secret, limit).await
    }
}

async fn ask(base: &Url, secret: &str, limit: Duration) -> Result<Grant, TokenError> {
    let ours = ClientCredentials::new(
        base,
        "contoso.onmicrosoft.com",
        "client",
        "https://outlook.office365.com/.default",
    )
    .unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    ours.request(&http, &SecretString::from(secret), limit, Wall(0))
        .await
}

async fn serve(
    State(endpoint): State<Endpoint>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    endpoint.seen.lock().await.push((uri, headers, body));
    (endpoint.answer)()
}

fn json(body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[tokio::test]
async fn a_grant_comes_for_a_form_that_holds_every_printable_character() {
    let endpoint = Endpoint::start(|| {
        json(r#"{"token_type":"Bearer","expires_in":"3599","access_token":"eyJ0.abc-_"}"#)
    })
    .await;
    let secret: String = (' '..='~').collect();
    let grant = endpoint.ask(&secret, LIMIT).await.unwrap();
    assert_eq!(grant.access_token.expose_secret(), "eyJ0.abc-_");
    assert_eq!(grant.expires_in, Duration::from_secs(3599));
    let seen = endpoint.seen.lock().await;
    let (uri, headers, body) = &seen[0];
    assert_eq!(uri.path(), "/contoso.onmicrosoft.com/oauth2/v2.0/token");
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "application/x-www-form-urlencoded"
    );
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    assert!(form.contains(&("client_secret".to_owned(), secret)));
    assert!(form.contains(&("grant_type".to_owned(), "client_credentials".to_owned())));
}

#[tokio::test]
async fn a_throttle_with_a_plain_text_body_is_a_throttle() {
    let endpoint = Endpoint::start(|| {
        (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "60")],
            "Too Many Requests",
        )
            .into_response()
    })
    .await;
    let error = endpoint.ask("s", LIMIT).await.unwrap_err();
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
        Endpoint::start(|| (StatusCode::BAD_GATEWAY, "<html><h1>502</h1></html>").into_response())
            .await;
    let error = endpoint.ask("s", LIMIT).await.unwrap_err();
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
    let endpoint = Endpoint::start(|| {
        (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "/elsewhere")],
        )
            .into_response()
    })
    .await;
    let error = endpoint.ask("s", LIMIT).await.unwrap_err();
    assert_eq!(
        error,
        TokenError::Unavailable {
            cause: Cause::Status(307),
            retry_after: None
        }
    );
    assert_eq!(endpoint.seen.lock().await.len(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_repeated() {
    let endpoint = Endpoint::start(|| {
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret hunter2 provided.\r\nTrace ID: 1","error_codes":[7000215]}"#;
        (StatusCode::UNAUTHORIZED, body).into_response()
    })
    .await;
    let error = endpoint.ask("hunter2", LIMIT).await.unwrap_err();
    assert!(error.is_about_the_secret());
    assert_eq!(error.failure(), Failure::Refused);
    assert!(!format!("{error} {error:?} {error:#?}").contains("hunter2"));
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut_off() {
    let endpoint = Endpoint::start(|| Response::new(Body::from(vec![b' '; 2 * 1024 * 1024]))).await;
    let error = endpoint.ask("s", LIMIT).await.unwrap_err();
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
    let error = ask(&base, "s", limit).await.unwrap_err();
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
    let error = ask(&base, "s", LIMIT).await.unwrap_err();
    let TokenError::Unavailable {
        cause: Cause::Connect(detail),
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(!detail.contains("http") && !detail.is_empty(), "{detail}");
}
