//! An HTTP/1.1 server on a loopback port whose port can be closed and opened again, and which can
//! hang up on a request without a word. What is answered is its service's business.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Method, Response, StatusCode, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{port, sync::lock};

/// The largest request body that is read.
const BODY_MAX: usize = 128 * 1024 * 1024;

pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// What follows the question mark.
    pub(crate) query: String,
    /// The request line names the whole URL, as it does for a proxy (RFC 9112 section 3.2.2).
    pub(crate) absolute: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) enum Reply {
    Answer(Response<Full<Bytes>>),
    /// The connection is closed; the client never learns what became of its request.
    HangUp,
}

pub(crate) trait Service: Send + Sync + 'static {
    /// The future is dropped when the client goes away or the port is closed.
    fn answer(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

pub(crate) struct HttpServer<S> {
    address: SocketAddr,
    pub(crate) service: Arc<S>,
    running: Mutex<Running>,
}

#[derive(Clone, Default)]
struct Running {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl<S> fmt::Debug for HttpServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl<S: Service> HttpServer<S> {
    pub(crate) async fn start(service: S) -> std::io::Result<Self> {
        let listener = port::listen().await?;
        let server = Self {
            address: listener.local_addr()?,
            service: Arc::new(service),
            running: Mutex::default(),
        };
        server.run(listener);
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection; a request in the middle gets no answer.
    pub(crate) async fn down(&self) {
        let running = lock(&self.running).clone();
        running.cancel.cancel();
        running.tasks.close();
        running.tasks.wait().await;
    }

    /// Opens the same port again.
    pub(crate) async fn up(&self) -> std::io::Result<()> {
        if !lock(&self.running).cancel.is_cancelled() {
            return Ok(());
        }
        let listener = port::listen_again(self.address).await?;
        *lock(&self.running) = Running::default();
        self.run(listener);
        Ok(())
    }

    fn run(&self, listener: TcpListener) {
        let running = lock(&self.running).clone();
        let accept = accept(Arc::clone(&self.service), listener, running.clone());
        running
            .tasks
            .spawn(async move { running.cancel.run_until_cancelled(accept).await });
    }
}

impl<S> Drop for HttpServer<S> {
    fn drop(&mut self) {
        lock(&self.running).cancel.cancel();
    }
}

async fn accept<S: Service>(service: Arc<S>, listener: TcpListener, running: Running) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let cancel = running.cancel.clone();
                let serve = serve(Arc::clone(&service), stream);
                running
                    .tasks
                    .spawn(async move { cancel.run_until_cancelled(serve).await });
            }
            Err(error) => {
                tracing::warn!(%error, "the sandbox's web server cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug)]
struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HungUp {}

async fn serve<S: Service>(service: Arc<S>, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handle = |request: hyper::Request<Incoming>| {
        let service = Arc::clone(&service);
        async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
                return Err(HungUp);
            };
            let request = Request {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                absolute: parts.uri.authority().is_some(),
                headers: parts.headers,
                body: body.to_bytes(),
            };
            match service.answer(request).await {
                Reply::Answer(response) => Ok(response),
                Reply::HangUp => Err(HungUp),
            }
        }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(handle))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the sandbox's web server ended");
    }
}

pub(crate) fn response(
    status: u16,
    headers: &[(String, String)],
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder
        .body(Full::new(body.into()))
        .unwrap_or_else(|_| internal_error())
}

/// What a wrong status or header of a test becomes.
fn internal_error() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"no such status or header")));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
