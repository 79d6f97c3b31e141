//! The same API over TCP, for whoever has a token. There is no TLS: it is for loopback, or for a
//! proxy in front of it. It knows no cookies and allows no other origin, and a foreign `Host` is
//! refused, so no web page can use it through somebody's browser.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State, connect_info::Connected},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::{IncomingStream, Listener},
};
use postrider_core::time::{Monotonic, Wall};
use postrider_store::TokenRow;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};

use super::{
    api::Scope,
    audit,
    caller::Caller,
    routes,
    server::{Admin, Refusal},
};
use crate::{clock, config::AdminTcp, telemetry::process::AdminRefusal};

/// Operators and their programs; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// The longest answer takes 90 s (a ping, a look at a mail server); a connection lives no longer
/// than for a few of them, whatever its other end does.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// Who has shown no good token by then goes: strangers must not sit on all the chairs.
const STRANGER_TIME_MAX: Duration = Duration::from_secs(15);
/// Wrong tokens from one address within a minute, before it is told to wait.
const FAILURES_MAX: u32 = 10;
const FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered.
const ADDRESSES_MAX: usize = 1024;

/// What the checks lean on.
#[derive(Clone)]
struct Gate {
    admin: Admin,
    hosts: Arc<[String]>,
    failures: Arc<Failures>,
}

pub(crate) async fn bind(settings: &AdminTcp) -> io::Result<Door> {
    Ok(Door {
        listener: TcpListener::bind(settings.listen).await?,
        permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        stranger: STRANGER_TIME_MAX,
        guest: CONNECTION_TIME_MAX,
    })
}

pub(crate) async fn serve(door: Door, admin: Admin, hosts: Vec<String>) -> io::Result<()> {
    let gate = Gate {
        admin: admin.clone(),
        hosts: hosts.into(),
        failures: Arc::default(),
    };
    let app = routes::router()
        .route_layer(middleware::from_fn_with_state(gate.clone(), in_scope))
        .layer(middleware::from_fn_with_state(gate, let_in))
        .with_state(admin);
    axum::serve(door, app.into_make_service_with_connect_info::<Remote>()).await
}

/// Who may come in at all: by an allowed name, with a live token.
async fn let_in(
    State(gate): State<Gate>,
    ConnectInfo(Remote {
        from,
        known: is_known,
    }): ConnectInfo<Remote>,
    mut request: Request,
    next: Next,
) -> Response {
    let process = &gate.admin.shared.telemetry.process;
    if !is_allowed(request.headers(), &gate.hosts) {
        process.admin_refused(AdminRefusal::Host, from.ip());
        let error = "the request's Host is not one that the admin API is called by";
        let hint = "[admin.tcp] allowed_hosts names them: call it by one of those, or add this one and restart";
        return guarded(Refusal::new(StatusCode::MISDIRECTED_REQUEST, error, hint).into_response());
    }
    let tokens = match gate.admin.shared.store.admin_tokens().await {
        Ok(tokens) => tokens,
        Err(error) => return guarded(Refusal::from(error).into_response()),
    };
    let Some((name, scope)) = known(request.headers(), &tokens, clock::wall()) else {
        process.admin_refused(AdminRefusal::Token, from.ip());
        return guarded(gate.failures.answer(from.ip(), clock::monotonic()));
    };
    is_known.store(true, Ordering::Relaxed);
    let caller = Caller::token(name, scope, from.ip().to_string());
    request.extensions_mut().insert(caller);
    guarded(next.run(request).await)
}

/// Whether the token is for what is asked.
async fn in_scope(
    State(gate): State<Gate>,
    ConnectInfo(Remote { from, .. }): ConnectInfo<Remote>,
    caller: Caller,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    match routes::needed(request.method(), path.as_str()) {
        Some(needed) if caller.scope < needed => {
            let process = &gate.admin.shared.telemetry.process;
            process.admin_refused(AdminRefusal::Scope, from.ip());
            let error = format!("this token is for `{}` only", caller.scope.as_str());
            let hint = format!("it takes one of scope `{}`", needed.as_str());
            Refusal::new(StatusCode::FORBIDDEN, error, &hint).into_response()
        }
        // A method that the path does not know is answered as such.
        Some(_) | None => next.run(request).await,
    }
}

/// Answers are for the one who asked, and for nobody's page.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn is_allowed(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut named = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return false;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    // `name`, `name:port`, `[v6]`, `[v6]:port`
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(name, _)| name),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default().to_ascii_lowercase();
    hosts.contains(&name)
}

/// The live token that the request has. All are compared, each in constant time.
fn known(headers: &HeaderMap, tokens: &[TokenRow], now: Wall) -> Option<(String, Scope)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let hash = audit::hash(token.trim());
    let mut found = None;
    for row in tokens {
        let is_live = row.revoked.is_none() && row.expires.is_none_or(|at| now < at);
        if verify_slices_are_equal(&row.hash, &hash).is_ok() && is_live {
            found = Scope::parse(&row.scope).map(|scope| (row.name.clone(), scope));
        }
    }
    found
}

/// How often which address came with a wrong token. A right one is never kept waiting.
#[derive(Default)]
struct Failures(Mutex<HashMap<IpAddr, (u32, Monotonic)>>);

impl Failures {
    fn answer(&self, from: IpAddr, now: Monotonic) -> Response {
        if self.too_many(from, now) {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens", "");
            let mut response = refusal.into_response();
            let wait = HeaderValue::from(FAILURES_WITHIN.as_secs());
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            return response;
        }
        let hint = "Authorization: Bearer …, made by postrider admin token create";
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "no good token", hint);
        let mut response = refusal.into_response();
        let scheme = HeaderValue::from_static("Bearer realm=\"postrider\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        response
    }

    fn too_many(&self, from: IpAddr, now: Monotonic) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&from) {
            all.retain(|_, (_, since)| now - *since < FAILURES_WITHIN);
            // As many addresses within a minute are no operators.
            if all.len() >= ADDRESSES_MAX {
                return true;
            }
        }
        let (count, since) = all.entry(from).or_insert((0, now));
        if now - *since >= FAILURES_WITHIN {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count > FAILURES_MAX
    }
}

// ---------------------------------------------------------------- connections

/// Lets in a bounded number of connections, each for a bounded time.
pub(crate) struct Door {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// How long who has shown no good token may stay, and who has.
    stranger: Duration,
    guest: Duration,
}

impl Door {
    pub(crate) fn at(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[derive(Clone, Debug)]
struct Remote {
    from: SocketAddr,
    /// A good token came over this connection.
    known: Arc<AtomicBool>,
}

impl Connected<IncomingStream<'_, Door>> for Remote {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self {
            from: *stream.remote_addr(),
            known: Arc::clone(&stream.io().known),
        }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let permit = match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            // It is never closed.
            Err(_) => std::future::pending().await,
        };
        let (stream, from) = Listener::accept(&mut self.listener).await;
        let guest = Guest {
            stream,
            known: Arc::default(),
            proof: Box::pin(tokio::time::sleep(self.stranger)),
            end: Box::pin(tokio::time::sleep(self.guest)),
            _permit: permit,
        };
        (guest, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.at()
    }
}

/// A connection whose time is bounded: reading and writing after its end is an error.
pub(crate) struct Guest {
    stream: TcpStream,
    known: Arc<AtomicBool>,
    proof: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Guest {
    fn is_over(&mut self, context: &mut Context<'_>) -> Result<(), io::Error> {
        let is_known = self.known.load(Ordering::Relaxed);
        if !is_known && self.proof.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_over(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_over(context)?;
        self.is_over(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
