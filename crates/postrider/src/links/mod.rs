//! The listener that serves links to messages and their attachments, and nothing else: GET and HEAD
//! of a path that is signed and has not expired. It knows no cookies and no accounts, never tells
//! more than the link names, and is bounded in connections, requests and time.

mod answer;
mod find;

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use postrider_core::delivery::rate::Rate;
use postrider_webhook::link::{Keys, NoLink};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use self::{answer::Answer, find::Finder};
use crate::{clock, directory::Directory, shared::Shared, telemetry::links::Served};

/// Connections at a time: a proxy in front of it keeps a few for all its clients.
const CONNECTIONS_MAX: usize = 256;
/// Requests with a right signature that are answered at a time, however slowly they are read: each
/// holds a small message, or a piece of a large one.
const ANSWERS_MAX: usize = 64;
/// Messages that are looked through for an attachment at a time.
const LOOKS_MAX: usize = 4;
/// Requests with a right signature per second.
const RATE: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// For a request's head, and between two requests.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// For a connection, however many requests: a large attachment over a slow line.
const CONNECTION_MAX: Duration = Duration::from_secs(15 * 60);
/// Of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After an error of accepting, which is one of too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

struct Desk {
    shared: Arc<Shared>,
    finder: Finder,
    rate: Mutex<Rate>,
    answers: Arc<Semaphore>,
    looks: Semaphore,
}

/// Binds the listener.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Serves until the process stops.
pub async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    directory: Arc<Directory>,
) -> std::io::Result<()> {
    let stop = shared.stop.clone();
    let desk = Arc::new(Desk {
        finder: Finder::new(shared.clone(), directory),
        shared,
        rate: Mutex::new(Rate::new(RATE)),
        answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
        looks: Semaphore::new(LOOKS_MAX),
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed, so there is always a place after a while.
        let place = connections.clone().acquire_owned().await.ok();
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (desk, stop) = (desk.clone(), stop.clone());
                tokio::spawn(async move {
                    let _place = place;
                    let served = tokio::time::timeout(CONNECTION_MAX, connection(desk, stream));
                    stop.run_until_cancelled(served).await;
                });
            }
            Err(error) => {
                tracing::warn!("the listener of links cannot accept: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(desk: Arc<Desk>, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await.into_http()) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // A client that went away.
        tracing::debug!("a connection for links ended: {error}");
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let answer = self.find(&request).await;
        self.shared.telemetry.links.served(answer.served);
        answer
    }

    async fn find(&self, request: &Request<Incoming>) -> Answer {
        let head = match request.method().as_str() {
            "GET" => answer::Head::WithBody,
            "HEAD" => answer::Head::Alone,
            _ => return Answer::wrong_method(),
        };
        let keys = match self.keys() {
            Ok(keys) => keys,
            Err(why) => {
                self.shared.telemetry.links.unusable(&why);
                return Answer::refused(Served::Failed);
            }
        };
        let query = request.uri().query().unwrap_or_default();
        let verdict = keys.verify(request.uri().path(), query, clock::wall());
        let (event, target) = match verdict {
            Ok(found) => found,
            Err(NoLink::NotFound) => return Answer::refused(Served::NotFound),
            Err(NoLink::Forged) => return Answer::refused(Served::Forged),
            Err(NoLink::Expired) => return Answer::refused(Served::Expired),
        };
        let may_go = {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.take(clock::monotonic())
        };
        let place = self.answers.clone().try_acquire_owned().ok();
        let Some(place) = place.filter(|_| may_go) else {
            return Answer::refused(Served::Busy);
        };
        match self.finder.message(event).await {
            Ok(message) => {
                let look = self.looks.acquire();
                answer::message(message, target, head, look, place).await
            }
            Err(find::Miss::Gone) => Answer::refused(Served::Gone),
            Err(find::Miss::Later(why)) => {
                self.shared.telemetry.links.later(&why);
                Answer::refused(Served::Later)
            }
        }
    }

    /// Keys and their files may have changed since the last request.
    fn keys(&self) -> Result<Keys, String> {
        let config = self.shared.config();
        let links = config.links.as_ref();
        let references = links.map_or(&[][..], |links| &links.key);
        let list = self.shared.tokens.secrets().watch(references);
        let list = list.borrow().clone();
        Keys::new(list.live()).map_err(|error| {
            let problems: Vec<String> = list.problems().collect();
            match problems.is_empty() {
                true => error.to_string(),
                false => problems.join("; "),
            }
        })
    }
}
