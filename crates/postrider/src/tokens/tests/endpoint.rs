//! A token endpoint that answers as Entra does, with levers.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

pub(super) enum Mode {
    Good,
    Outage,
    Throttled { seconds: u64 },
}

pub(super) struct Script {
    pub(super) mode: Mode,
    pub(super) delay: Duration,
    pub(super) expires_in: Value,
    /// The proofs that it takes.
    pub(super) accepted: Vec<String>,
    /// The refresh token that comes with the next access token.
    pub(super) refresh_token: Option<String>,
    requests: Vec<String>,
    tokens: u32,
    at_once: usize,
    most_at_once: usize,
}

#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) base: Url,
    script: Arc<Mutex<Script>>,
}

impl Endpoint {
    pub(super) async fn start(accepted: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let script = Script {
            mode: Mode::Good,
            delay: Duration::ZERO,
            expires_in: json!("3599"),
            accepted: accepted.iter().map(|secret| (*secret).to_owned()).collect(),
            refresh_token: None,
            requests: Vec::new(),
            tokens: 0,
            at_once: 0,
            most_at_once: 0,
        };
        let endpoint = Self {
            base,
            script: Arc::new(Mutex::new(script)),
        };
        let app = Router::new()
            .fallback(any(answer))
            .with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        endpoint
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script());
    }

    pub(super) fn take<T>(&self, take: impl FnOnce(&mut Script) -> T) -> T {
        take(&mut self.script())
    }

    /// The proofs that came, in order: a secret, a refresh token, an assertion (of a service
    /// account its subject), or the path where there is none.
    pub(super) fn requests(&self) -> Vec<String> {
        self.script().requests.clone()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.script().most_at_once
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

/// What a request is proven by.
fn proof(uri: &Uri, body: &[u8]) -> String {
    let field = |wanted: &str| {
        form_urlencoded::parse(body)
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let named = ["refresh_token", "client_secret"];
    // Of a signed one, whose certificate it names.
    let asserted = || {
        let assertion = field("client_assertion")?;
        let header = URL_SAFE_NO_PAD.decode(assertion.split('.').next()?);
        let header: Option<Value> = header
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok());
        let named = header.and_then(|header| Some(header["x5t#S256"].as_str()?.to_owned()));
        named.or(Some(assertion))
    };
    let subject = || {
        let assertion = field("assertion")?;
        let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        Some(claims["sub"].as_str()?.to_owned())
    };
    named
        .iter()
        .find_map(|name| field(name))
        .or_else(asserted)
        .or_else(subject)
        .unwrap_or_else(|| uri.path().to_owned())
}

async fn answer(State(endpoint): State<Endpoint>, uri: Uri, body: Bytes) -> Response {
    let secret = proof(&uri, &body);
    let delay = {
        let mut script = endpoint.script();
        script.requests.push(secret.clone());
        script.at_once += 1;
        script.most_at_once = script.most_at_once.max(script.at_once);
        script.delay
    };
    tokio::time::sleep(delay).await;
    let mut script = endpoint.script();
    script.at_once = script.at_once.saturating_sub(1);
    match script.mode {
        Mode::Outage => (
            StatusCode::SERVICE_UNAVAILABLE,
            "<html>Service Unavailable</html>",
        )
            .into_response(),
        Mode::Throttled { seconds } => {
            let retry_after = [(header::RETRY_AFTER, seconds.to_string())];
            (
                StatusCode::TOO_MANY_REQUESTS,
                retry_after,
                "Too Many Requests",
            )
                .into_response()
        }
        Mode::Good if script.accepted.contains(&secret) => {
            script.tokens += 1;
            let token = format!("token-{}", script.tokens);
            let refresh_token = script.refresh_token.take();
            Json(json!({"token_type": "Bearer", "expires_in": script.expires_in, "access_token": token, "refresh_token": refresh_token})).into_response()
        }
        Mode::Good => {
            let said =
                format!("AADSTS7000215: Invalid client secret {secret} provided.\r\nTrace ID: 1");
            let body = json!({"error": "invalid_client", "error_description": said, "error_codes": [7_000_215]});
            (StatusCode::UNAUTHORIZED, Json(body)).into_response()
        }
    }
}
