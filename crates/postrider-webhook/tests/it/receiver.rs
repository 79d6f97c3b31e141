//! Receivers that behave as asked: axum for what is in order, bare sockets for what is not.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, response::IntoResponse,
    routing::post,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// What an in-order receiver answers.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
    received: Received,
}

/// An axum receiver; its address, and what it received.
pub(crate) async fn axum(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> (SocketAddr, Received) {
    let received = Received::default();
    let answers = Answers {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers.to_vec(),
        body: body.to_owned(),
        received: received.clone(),
    };
    let app = Router::new().route("/hook", post(take)).with_state(answers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (at, received)
}

async fn take(
    State(answers): State<Answers>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    answers.received.lock().unwrap().push((headers, body));
    let mut response = (answers.status, answers.body).into_response();
    for (name, value) in answers.headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// A receiver on a bare socket, once per connection.
pub(crate) async fn raw<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    at
}

/// Reads a whole request: head, and a body of `content-length`.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end]
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |value| value.parse().unwrap());
            if request.len() >= end + 4 + length {
                return request;
            }
        }
        match stream.read(&mut buffer).await.unwrap() {
            0 => return request,
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
}

pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    // The client may have gone: that is its right.
    let _ = stream.write_all(text.as_bytes()).await;
}

pub(crate) async fn hang() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}
