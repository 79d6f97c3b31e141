//! A token endpoint that answers as the test says, and remembers what it was asked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use postrider_core::time::Wall;
use postrider_oauth::{client::TokenClient, error::TokenError, grant::Grant, proof::Proof};
use tokio::net::TcpListener;
use url::Url;

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

pub(crate) const SCOPE: &str = "https://outlook.office365.com/.default";

type Answer = Arc<dyn Fn(&Seen) -> Response + Send + Sync>;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body)
            .into_owned()
            .collect()
    }

    pub(crate) fn query(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect()
    }
}

#[derive(Clone)]
pub(crate) struct Endpoint {
    answer: Answer,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) base: Url,
}

impl Endpoint {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
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

    /// One answer after the other; none is left over or missing.
    pub(crate) async fn script(answers: &[(u16, &'static str)]) -> Self {
        let answers = Mutex::new(answers.iter().copied().collect::<VecDeque<_>>());
        Self::start(move |_| {
            let (status, body) = answers.lock().unwrap().pop_front().unwrap();
            said(status, body)
        })
        .await
    }

    pub(crate) async fn granting() -> Self {
        Self::start(|_| said(200, GRANTED)).await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap()
    }

    pub(crate) fn microsoft(&self) -> TokenClient {
        TokenClient::microsoft(&self.base, "contoso.onmicrosoft.com", "client", SCOPE).unwrap()
    }
}

pub(crate) const GRANTED: &str =
    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ0.abc-_"}"#;

pub(crate) fn said(status: u16, body: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response()
}

async fn serve(
    State(endpoint): State<Endpoint>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let seen = Seen {
        method,
        uri,
        headers,
        body,
    };
    endpoint.seen.lock().unwrap().push(seen.clone());
    (endpoint.answer)(&seen)
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

pub(crate) async fn ask(client: &TokenClient, proof: &Proof) -> Result<Grant, TokenError> {
    client.request(&http(), proof, LIMIT, now()).await
}

/// The library that judges assertions looks at the machine's clock, so they are dated by it.
#[expect(clippy::disallowed_methods, reason = "no shell with a clock is here")]
pub(crate) fn now() -> Wall {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Wall(i64::try_from(since.as_millis()).unwrap())
}
