//! A token endpoint (RFC 6749 section 4.4, at Entra's path) that hands out what the test has put
//! into it, so that the mail server can know each token before anybody shows it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const TENANT: &str = "contoso.example";
pub(crate) const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

pub(crate) struct Issuer {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    secret: &'static str,
    tokens: Mutex<VecDeque<(String, Duration)>>,
    issued: Mutex<Vec<Instant>>,
}

impl Issuer {
    /// Issues these tokens, one per request, with the life that is told of them.
    pub(crate) async fn start(
        secret: &'static str,
        tokens: impl IntoIterator<Item = (String, Duration)>,
    ) -> Self {
        let desk = Arc::new(Desk {
            secret,
            tokens: Mutex::new(tokens.into_iter().collect()),
            issued: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route(&format!("/{TENANT}/oauth2/v2.0/token"), post(issue))
            .with_state(Arc::clone(&desk));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            desk,
            task,
        }
    }

    /// The section of a credential that asks here, with its secret in this variable.
    pub(crate) fn credential(&self, name: &str, variable: &str) -> String {
        format!(
            "[credentials.{name}]\ntype = \"microsoft\"\ntenant = \"{TENANT}\"\n\
             client_id = \"{CLIENT}\"\nclient_secret = {{ env = \"{variable}\" }}\n\
             authority = \"http://{}\"\n",
            self.address
        )
    }

    /// When each token was issued.
    pub(crate) fn issued(&self) -> Vec<Instant> {
        self.desk.issued.lock().unwrap().clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn issue(State(desk): State<Arc<Desk>>, body: String) -> (StatusCode, Json<Value>) {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let is = |name: &str, value: &str| form.iter().any(|(n, v)| n == name && v == value);
    if !is("grant_type", "client_credentials")
        || !is("client_id", CLIENT)
        || !is("client_secret", desk.secret)
    {
        let body = json!({"error": "invalid_client", "error_description": "AADSTS7000215"});
        return (StatusCode::UNAUTHORIZED, Json(body));
    }
    let Some((token, life)) = desk.tokens.lock().unwrap().pop_front() else {
        let body = json!({"error": "temporarily_unavailable"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    };
    desk.issued.lock().unwrap().push(Instant::now());
    let body = json!({
        "token_type": "Bearer",
        "expires_in": life.as_secs(),
        "access_token": token,
    });
    (StatusCode::OK, Json(body))
}
