//! A token endpoint for client credentials that answers as Microsoft Entra does, errors included,
//! and tells the shared [`TokenAuthority`] of what it issues. It never prints a secret or a token.

use std::{collections::HashMap, net::SocketAddr, sync::Mutex, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hyper::{HeaderMap, Method};
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    authority::{Bearer, TokenAuthority},
    error::Error,
    http::{HttpServer, Reply, Request, Service, response},
    sync::lock,
};

/// A running token endpoint. It ends when it is dropped.
#[derive(Debug)]
pub struct TokenEndpoint {
    server: HttpServer<Office>,
}

/// Whom it knows, and what it hands out.
#[derive(Clone)]
pub struct TokenConfig {
    pub tenant: String,
    pub client_id: String,
    /// All that are good now.
    pub secrets: Vec<String>,
    pub lifetime: Duration,
    pub expires_in: ExpiresIn,
    pub shape: TokenShape,
    pub audience: String,
    pub roles: Vec<String>,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            tenant: "contoso.onmicrosoft.com".to_owned(),
            client_id: "11111111-2222-3333-4444-555555555555".to_owned(),
            secrets: vec!["sandbox~secret".to_owned()],
            lifetime: Duration::from_secs(3599),
            expires_in: ExpiresIn::Number,
            shape: TokenShape::Jwt,
            audience: "https://outlook.office365.com".to_owned(),
            roles: vec!["IMAP.AccessAsApp".to_owned()],
        }
    }
}

impl std::fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenConfig")
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// How the lifetime is written: the v2 endpoint writes a number, managed identities a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    Number,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenShape {
    /// Three parts with readable claims; the signature is noise.
    Jwt,
    Opaque,
}

/// What is wrong with the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenTrouble {
    #[default]
    None,
    /// This status and no JSON.
    Status(u16),
    /// 429 with a plain-text body, and `Retry-After` in seconds.
    Throttled { retry_after: u32 },
    /// The right answer, after this time.
    Slow(Duration),
    /// The connection is closed without an answer.
    CloseUnanswered,
    /// Whatever the secret is, it is the wrong one (AADSTS7000215).
    InvalidClient,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounters {
    pub requests: u64,
    pub issued: u64,
    /// Requests refused for their own sake (400, 401).
    pub refused: u64,
    /// Requests that met a trouble other than `Slow`.
    pub troubled: u64,
    /// The most requests that were there at the same time.
    pub in_flight_max: u64,
}

struct Office {
    authority: TokenAuthority,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    config: TokenConfig,
    trouble: TokenTrouble,
    counters: TokenCounters,
    in_flight: u64,
    last_token: Option<String>,
}

impl TokenEndpoint {
    pub async fn start(config: TokenConfig, authority: TokenAuthority) -> Result<Self, Error> {
        let state = Mutex::new(State {
            config,
            ..State::default()
        });
        let server = HttpServer::start(Office { authority, state }).await?;
        Ok(Self { server })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What a client's `authority` is set to.
    pub fn authority_url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn set_trouble(&self, trouble: TokenTrouble) {
        lock(&self.server.service.state).trouble = trouble;
    }

    /// Changes the settings for the requests to come.
    pub fn change(&self, change: impl FnOnce(&mut TokenConfig)) {
        change(&mut lock(&self.server.service.state).config);
    }

    pub fn counters(&self) -> TokenCounters {
        lock(&self.server.service.state).counters
    }

    /// The token issued last, for a test that compares or expires it.
    pub fn last_token(&self) -> Option<String> {
        lock(&self.server.service.state).last_token.clone()
    }

    /// Connections are refused from now on.
    pub async fn down(&self) {
        self.server.down().await;
    }

    pub async fn up(&self) -> Result<(), Error> {
        Ok(self.server.up().await?)
    }
}

/// Counts a request that is being answered, however its answering ends.
struct InFlight<'a>(&'a Office);

impl<'a> InFlight<'a> {
    fn begin(office: &'a Office) -> Self {
        let mut state = lock(&office.state);
        state.in_flight += 1;
        state.counters.requests += 1;
        state.counters.in_flight_max = state.counters.in_flight_max.max(state.in_flight);
        Self(office)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).in_flight -= 1;
    }
}

impl Service for Office {
    async fn answer(&self, request: Request) -> Reply {
        let _counted = InFlight::begin(self);
        let trouble = lock(&self.state).trouble.clone();
        match &trouble {
            TokenTrouble::None | TokenTrouble::InvalidClient => {}
            TokenTrouble::Slow(time) => tokio::time::sleep(*time).await,
            TokenTrouble::Status(_)
            | TokenTrouble::Throttled { .. }
            | TokenTrouble::CloseUnanswered => lock(&self.state).counters.troubled += 1,
        }
        match trouble {
            TokenTrouble::Status(status) => {
                Reply::Answer(response(status, &[], "Service Unavailable"))
            }
            TokenTrouble::Throttled { retry_after } => {
                let headers = [
                    ("retry-after".to_owned(), retry_after.to_string()),
                    ("content-type".to_owned(), "text/plain".to_owned()),
                ];
                Reply::Answer(response(429, &headers, "Too Many Requests"))
            }
            TokenTrouble::CloseUnanswered => Reply::HangUp,
            TokenTrouble::InvalidClient => self.refuse(Refused::WrongSecret),
            TokenTrouble::None | TokenTrouble::Slow(_) => match self.check(&request) {
                Ok(()) => self.issue(),
                Err(refused) => self.refuse(refused),
            },
        }
    }
}

/// Why a request is refused for its own sake.
#[derive(Clone, Copy)]
enum Refused {
    NotThere,
    UnknownTenant,
    UnknownClient,
    WrongSecret,
    WrongGrant,
    WrongScope,
}

impl Office {
    fn check(&self, request: &Request) -> Result<(), Refused> {
        let state = lock(&self.state);
        let config = &state.config;
        let path = request.path.strip_suffix("/oauth2/v2.0/token");
        let tenant = path.and_then(|path| path.strip_prefix('/'));
        let tenant = tenant.ok_or(Refused::NotThere)?;
        if request.method != Method::POST {
            return Err(Refused::NotThere);
        }
        if !tenant.eq_ignore_ascii_case(&config.tenant) {
            return Err(Refused::UnknownTenant);
        }
        let form = read_form(&request.body);
        let field = |name: &str| form.get(name).cloned();
        let (client, secret) = match basic(&request.headers) {
            Some((client, secret)) => (Some(client), Some(secret)),
            None => (field("client_id"), field("client_secret")),
        };
        if field("grant_type").as_deref() != Some("client_credentials") {
            return Err(Refused::WrongGrant);
        }
        if client.as_deref() != Some(config.client_id.as_str()) {
            return Err(Refused::UnknownClient);
        }
        if !secret.is_some_and(|secret| config.secrets.contains(&secret)) {
            return Err(Refused::WrongSecret);
        }
        if !field("scope").is_some_and(|scope| scope.ends_with("/.default")) {
            return Err(Refused::WrongScope);
        }
        Ok(())
    }

    fn issue(&self) -> Reply {
        let mut state = lock(&self.state);
        let token = token(&state.config);
        let lifetime = state.config.lifetime;
        self.authority
            .accept(&token, Bearer::Application, Some(lifetime));
        let expires_in = match state.config.expires_in {
            ExpiresIn::Number => json!(lifetime.as_secs()),
            ExpiresIn::Text => json!(lifetime.as_secs().to_string()),
        };
        state.counters.issued += 1;
        state.last_token = Some(token.clone());
        drop(state);
        let body = json!({
            "token_type": "Bearer",
            "expires_in": expires_in,
            "ext_expires_in": expires_in,
            "access_token": token,
        });
        Reply::Answer(response(200, &json_headers(), body.to_string()))
    }

    fn refuse(&self, refused: Refused) -> Reply {
        let mut state = lock(&self.state);
        state.counters.refused += 1;
        let config = &state.config;
        let (status, error, code, text) = match refused {
            Refused::NotThere => return Reply::Answer(response(404, &[], "")),
            Refused::UnknownTenant => (
                400,
                "invalid_request",
                90002,
                "Tenant was not found. Check to make sure you have the correct tenant ID."
                    .to_owned(),
            ),
            Refused::UnknownClient => (
                400,
                "unauthorized_client",
                700_016,
                "Application was not found in the directory.".to_owned(),
            ),
            Refused::WrongSecret => (
                401,
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is \
                     the client secret value, not the client secret ID, for a secret added to app \
                     '{}'.",
                    config.client_id
                ),
            ),
            Refused::WrongGrant => (
                400,
                "unsupported_grant_type",
                70003,
                "The app requested an unsupported grant type.".to_owned(),
            ),
            Refused::WrongScope => (
                400,
                "invalid_scope",
                1_002_012,
                "The provided value for scope is not valid. Client credential flows must have a \
                 scope value with /.default suffixed to the resource identifier."
                    .to_owned(),
            ),
        };
        drop(state);
        let body = json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {text}"),
            "error_codes": [code],
            "timestamp": "2026-01-01 00:00:00Z",
            "trace_id": "00000000-0000-0000-0000-000000000000",
            "correlation_id": "00000000-0000-0000-0000-000000000000",
        });
        Reply::Answer(response(status, &json_headers(), body.to_string()))
    }
}

fn json_headers() -> [(String, String); 1] {
    let value = "application/json; charset=utf-8";
    [("content-type".to_owned(), value.to_owned())]
}

fn token(config: &TokenConfig) -> String {
    let noise: [u8; 32] = rand::random();
    let signature = URL_SAFE_NO_PAD.encode(noise);
    match config.shape {
        TokenShape::Opaque => format!("EwB{signature}{signature}"),
        TokenShape::Jwt => {
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let seconds = i64::try_from(config.lifetime.as_secs()).unwrap_or(i64::MAX);
            let head = json!({"typ": "JWT", "alg": "RS256", "kid": "sandbox"});
            let claims = json!({
                "aud": config.audience,
                "iss": format!("https://sts.windows.net/{}/", config.tenant),
                "iat": now,
                "nbf": now,
                "exp": now.saturating_add(seconds),
                "appid": config.client_id,
                "appidacr": "1",
                "oid": "99999999-8888-7777-6666-555555555555",
                "roles": config.roles,
                "tid": config.tenant,
                "ver": "1.0",
            });
            let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
            format!("{}.{}.{signature}", part(head), part(claims))
        }
    }
}

/// RFC 6749 §2.3.1: id and secret in the `Authorization` header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let encoded = value.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (client, secret) = text.split_once(':')?;
    Some((decode(client), decode(secret)))
}

fn read_form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// `application/x-www-form-urlencoded`, one piece.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3);
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, value) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
