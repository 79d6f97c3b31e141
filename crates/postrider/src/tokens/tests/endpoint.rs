//! A token endpoint that answers as Entra does, with levers.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
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
    accepted: Vec<String>,
    requests: Vec<String>,
    tokens: u32,
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
            requests: Vec::new(),
            tokens: 0,
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

    /// The secrets that came, in order.
    pub(super) fn requests(&self) -> Vec<String> {
        self.script().requests.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

async fn answer(State(endpoint): State<Endpoint>, body: Bytes) -> Response {
    let secret = form_urlencoded::parse(&body)
        .find(|(name, _)| name == "client_secret")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    let delay = {
        let mut script = endpoint.script();
        script.requests.push(secret.clone());
        script.delay
    };
    tokio::time::sleep(delay).await;
    let mut script = endpoint.script();
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
            Json(json!({"token_type": "Bearer", "expires_in": script.expires_in, "access_token": token})).into_response()
        }
        Mode::Good => {
            let said =
                format!("AADSTS7000215: Invalid client secret {secret} provided.\r\nTrace ID: 1");
            let body = json!({"error": "invalid_client", "error_description": said, "error_codes": [7_000_215]});
            (StatusCode::UNAUTHORIZED, Json(body)).into_response()
        }
    }
}
