//! `listen`: a receiver on loopback that verifies and shows what arrives, for trying things out.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use postrider_webhook::verify::{Signed, Verifier};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use uuid::Uuid;

use super::{
    args::Listen,
    direct,
    failure::{Exit, Failure},
    output::print,
    render::clean,
};
use crate::clock;

/// With attachments inside, events are large.
const BODY_BYTES_MAX: usize = 128 << 20;

/// Ids that are remembered to tell repeats.
const SEEN_MAX: usize = 100_000;

struct Receiver {
    verifier: Verifier,
    json: bool,
    seen: Mutex<HashSet<String>>,
    /// Accepted events that are still waited for.
    left: Mutex<Option<usize>>,
    done: Notify,
}

pub(crate) fn listen(args: &Listen, json: bool) -> Result<(), Failure> {
    let (secrets, made) = match args.secret.as_slice() {
        [] => {
            let key = [Uuid::new_v4(), Uuid::new_v4()]
                .map(Uuid::into_bytes)
                .concat();
            let secret = format!("whsec_{}", STANDARD.encode(key));
            (vec![secret.clone()], Some(secret))
        }
        given => (given.to_vec(), None),
    };
    let secrets: Vec<SecretString> = secrets.into_iter().map(SecretString::from).collect();
    let verifier = Verifier::new(&secrets)
        .map_err(|error| Failure::new(Exit::Failed, format!("--secret: {error}")))?;
    let receiver = Arc::new(Receiver {
        verifier,
        json,
        seen: Mutex::default(),
        left: Mutex::new(args.count),
        done: Notify::new(),
    });
    direct::runtime()?.block_on(serve(receiver, args.port, made.as_deref()))
}

async fn serve(receiver: Arc<Receiver>, port: u16, made: Option<&str>) -> Result<(), Failure> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot listen at {at}: {error}"))
            .hint("choose another port with --port")
    };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    if receiver.json {
        print(&format!(
            "{}\n",
            json!({ "url": format!("http://{at}/"), "secret": made })
        ))?;
    } else {
        let secret = made.map(|secret| format!("secret     {secret}\n"));
        print(&format!(
            "listening  http://{at}/\n{}end with Ctrl-C\n\n",
            secret.unwrap_or_default()
        ))?;
    }
    let app = Router::new()
        .fallback(take)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::clone(&receiver));
    let over = async move {
        tokio::select! {
            () = receiver.done.notified() => {}
            // Without a signal to wait for it ends with the process.
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(over)
        .await
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signed = Signed {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    let now = clock::wall();
    let verified = receiver.verifier.verify(&signed, &body, now.seconds());
    let event: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let id = signed.id.unwrap_or_default();
    let repeat = verified.is_ok() && !receiver.is_new(id);
    let told = match &verified {
        Ok(()) => None,
        Err(error) => Some(error.to_string()),
    };
    let shown = match receiver.json {
        true => {
            let line = json!({
                "at": now.rfc3339(), "verified": verified.is_ok(), "problem": told,
                "repeat": repeat, "event": event,
            });
            format!("{line}\n")
        }
        false => line(id, &event, told.as_deref(), repeat, body.len()),
    };
    // Who closed the pipe has seen enough; the receiver goes on accepting until it is ended.
    let _ = print(&shown);
    if verified.is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    receiver.counted();
    StatusCode::NO_CONTENT
}

/// One line, in which nothing of the mail can do harm to a terminal.
fn line(id: &str, event: &Value, problem: Option<&str>, repeat: bool, bytes: usize) -> String {
    let text = |pointer: &str| {
        let value = event.pointer(pointer).and_then(Value::as_str);
        clean(value.unwrap_or("-"))
    };
    let state = match (problem, repeat) {
        (Some(problem), _) => format!("REFUSED: {problem}"),
        (None, true) => "verified, a repeat".to_owned(),
        (None, false) => "verified".to_owned(),
    };
    format!(
        "{}  {state}\n  {}  from {}  subject {}  ({bytes} bytes, attempt {})\n",
        clean(id),
        text("/type"),
        text("/data/from/0/address"),
        text("/data/message/subject"),
        event
            .pointer("/data/delivery/attempt")
            .and_then(Value::as_u64)
            .unwrap_or(1),
    )
}

impl Receiver {
    fn is_new(&self, id: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(id.to_owned())
    }

    fn counted(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = left.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.done.notify_one();
            }
        }
    }
}
