//! The public listener: `/metrics`, `/livez` and `/readyz`, and nothing else.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get,
};
use postrider_core::time::Monotonic;
use tokio::net::TcpListener;

use crate::{clock, gauges::Gauges, telemetry::Telemetry};

/// A heartbeat older than this means that the event loop or the store's writer hangs.
const BEAT_MAX: Duration = Duration::from_secs(60);

/// Proof that the process makes progress: beaten by the heartbeat after a round trip through the
/// store's writer.
#[derive(Default)]
pub struct Health {
    beat: AtomicU64,
    ready: AtomicBool,
}

impl Health {
    pub fn beat(&self, now: Monotonic) {
        self.beat.store(now.0, Ordering::Relaxed);
    }

    pub fn set_ready(&self, ready: Ready) {
        self.ready.store(ready == Ready::Yes, Ordering::Relaxed);
    }

    pub fn lives(&self, now: Monotonic) -> bool {
        now - Monotonic(self.beat.load(Ordering::Relaxed)) < BEAT_MAX
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Yes,
    No,
}

#[derive(Clone)]
struct Http {
    telemetry: Arc<Telemetry>,
    gauges: Arc<Gauges>,
    health: Arc<Health>,
}

/// Binds the listener; the server runs until the process ends.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

pub async fn serve(
    listener: TcpListener,
    telemetry: Arc<Telemetry>,
    gauges: Arc<Gauges>,
    health: Arc<Health>,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Http {
            telemetry,
            gauges,
            health,
        });
    axum::serve(listener, app).await
}

async fn metrics(State(http): State<Http>) -> impl IntoResponse {
    http.gauges.refresh().await;
    match prometheus::TextEncoder::new()
        .encode_to_string(&http.telemetry.catalogue.registry().gather())
    {
        Ok(text) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("metrics cannot be written: {error}\n"),
        ),
    }
}

async fn livez(State(http): State<Http>) -> (StatusCode, &'static str) {
    if http.health.lives(clock::monotonic()) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the event loop or the store made no progress for a minute\n",
        )
    }
}

/// Ready means: the configuration is valid, the store open, the watches started, no drain begun.
/// A mailbox or an endpoint in trouble never makes the process unready.
async fn readyz(State(http): State<Http>) -> (StatusCode, &'static str) {
    if http.health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}
