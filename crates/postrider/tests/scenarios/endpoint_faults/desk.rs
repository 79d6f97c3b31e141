//! A receiver of many endpoints on one port: each path has a fault of its own until it is healed. It
//! verifies every signature with the Standard Webhooks library, and remembers what it read in full.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::world::SECRET;

/// What the receiver does with a request that it has read in full.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A status with this header, if any.
    Answer(u16, &'static str),
    /// One byte of the head at a time, never to its end.
    SlowHead,
    /// This status, and a body that never ends.
    Endless(u16),
    /// This status, and a body of 100 MB.
    Large(u16),
    /// The connection is reset in place of an answer.
    Reset,
    /// What speaks no HTTP.
    Garbage,
    /// These bytes as they are, and the end of the connection.
    Bytes(&'static str),
    /// These bytes again and again.
    EndlessBytes(&'static str),
    /// A head with a header of 100 MB.
    LargeHead,
    /// This status in a body without end, in chunks.
    EndlessChunks(u16),
    /// Accepted, and then trailers that never end, byte by byte.
    SlowTrailers,
    /// Accepted, and the connection is closed although it was to be kept.
    HangUp,
    /// A server error, and with it the answer to a request that was not made.
    TwoAnswers,
    /// A server error with all of the request in it.
    Echo,
}

impl Fault {
    /// Whether the answer that it gives says that the event was taken.
    fn accepts(&self) -> bool {
        match self {
            Self::Answer(status, _)
            | Self::Endless(status)
            | Self::Large(status)
            | Self::EndlessChunks(status) => (200..300).contains(status),
            Self::SlowTrailers | Self::HangUp => true,
            Self::Bytes(bytes) => {
                // A head that is cut is no answer.
                bytes.starts_with("HTTP/1.1 2") && bytes.contains("\r\n\r\n")
            }
            Self::SlowHead
            | Self::Reset
            | Self::Garbage
            | Self::EndlessBytes(_)
            | Self::LargeHead
            | Self::TwoAnswers
            | Self::Echo => false,
        }
    }
}

/// One request that was read in full.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) id: String,
    pub(crate) sequence: String,
    pub(crate) message: String,
    pub(crate) accepted: bool,
}

#[derive(Default)]
struct Book {
    faults: HashMap<String, Fault>,
    seen: Vec<Seen>,
    forged: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<Book>>);

impl Desk {
    pub(crate) fn set(&self, path: &str, fault: Fault) {
        self.0.lock().unwrap().faults.insert(path.to_owned(), fault);
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let book = self.0.lock().unwrap();
        let seen = book.seen.iter().filter(|one| one.path == path);
        seen.cloned().collect()
    }

    /// Every path that was asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        let book = self.0.lock().unwrap();
        let paths: BTreeSet<&String> = book.seen.iter().map(|one| &one.path).collect();
        paths.into_iter().cloned().collect()
    }

    pub(crate) fn forged(&self) -> usize {
        self.0.lock().unwrap().forged
    }

    pub(crate) async fn listen(&self, port: u16, tls: Option<TlsAcceptor>) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let desk = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (desk, tls) = (desk.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => desk.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                desk.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        port
    }

    pub(crate) async fn serve(&self, mut stream: impl Connection) {
        while let Some((head, body)) = request(&mut stream).await {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let fault = self.note(&path, &head, &body);
            match fault {
                None => say(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await,
                Some(Fault::Answer(status, header)) => {
                    let line = if header.is_empty() { "" } else { "\r\n" };
                    let text =
                        format!("HTTP/1.1 {status} x\r\n{header}{line}content-length: 2\r\n\r\nno");
                    say(&mut stream, &text).await;
                }
                Some(Fault::TwoAnswers) => {
                    let empty = "content-length: 0\r\n\r\n";
                    let text = format!("HTTP/1.1 503 x\r\n{empty}HTTP/1.1 200 OK\r\n{empty}");
                    say(&mut stream, &text).await;
                }
                Some(Fault::Echo) => {
                    let body = [head.as_bytes(), b"\r\n\r\n", &body].concat();
                    let answer =
                        format!("HTTP/1.1 500 x\r\ncontent-length: {}\r\n\r\n", body.len());
                    say(&mut stream, &answer).await;
                    say(&mut stream, &String::from_utf8_lossy(&body)).await;
                }
                Some(Fault::Reset) => return stream.reset(),
                Some(fault) => return misbehave(stream, &fault).await,
            }
        }
    }

    fn note(&self, path: &str, head: &str, body: &[u8]) -> Option<Fault> {
        let mut book = self.0.lock().unwrap();
        let fault = book.faults.get(path).cloned();
        let mut headers = axum::http::HeaderMap::new();
        for line in head.lines().skip(1) {
            if let Some((name, value)) = line.split_once(": ") {
                let name: axum::http::HeaderName = name.parse().unwrap();
                headers.insert(name, value.parse().unwrap());
            }
        }
        let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
        if verifier.verify(body, &headers).is_err() {
            book.forged += 1;
            return fault;
        }
        let json: Value = serde_json::from_slice(body).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let accepted = fault.as_ref().is_none_or(Fault::accepts);
        book.seen.push(Seen {
            path: path.to_owned(),
            head: head.to_owned(),
            id: text(&json["id"]),
            sequence: text(&json["sequence"]),
            message: text(&json["data"]["message"]["message_id"]),
            accepted,
        });
        fault
    }
}

/// What ends a connection sooner or later.
async fn misbehave(mut stream: impl Connection, fault: &Fault) {
    const CHUNKED: &str = "transfer-encoding: chunked\r\n\r\n";
    match fault {
        Fault::SlowHead => slowly(&mut stream, "HTTP/1.1 200 OK\r\nx-slow: ").await,
        Fault::SlowTrailers => {
            say(
                &mut stream,
                &format!("HTTP/1.1 200 OK\r\n{CHUNKED}2\r\nok\r\n"),
            )
            .await;
            slowly(&mut stream, "0\r\nx-slow: ").await;
        }
        Fault::Endless(status) => {
            say(&mut stream, &format!("HTTP/1.1 {status} x\r\n\r\n")).await;
            for_ever(&mut stream, &[b'x'; 4096]).await;
        }
        Fault::EndlessChunks(status) => {
            say(&mut stream, &format!("HTTP/1.1 {status} x\r\n{CHUNKED}")).await;
            for_ever(&mut stream, b"4\r\nxxxx\r\n").await;
        }
        Fault::Large(status) => {
            let bytes = 100_000_000;
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {bytes}\r\n\r\n");
            say(&mut stream, &head).await;
            fill(&mut stream, bytes).await;
        }
        Fault::LargeHead => {
            say(&mut stream, "HTTP/1.1 200 OK\r\nx-large: ").await;
            fill(&mut stream, 100_000_000).await;
        }
        Fault::Garbage => say(&mut stream, "SSH-2.0-OpenSSH_9.9\r\n").await,
        Fault::Bytes(bytes) => say(&mut stream, bytes).await,
        Fault::EndlessBytes(bytes) => {
            while stream.write_all(bytes.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Fault::HangUp => say(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await,
        Fault::Answer(..) | Fault::Reset | Fault::Echo | Fault::TwoAnswers => {}
    }
}

async fn slowly(stream: &mut impl Connection, text: &str) {
    for byte in text.bytes().chain(std::iter::repeat(b'x')) {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn for_ever(stream: &mut impl Connection, bytes: &[u8]) {
    while stream.write_all(bytes).await.is_ok() {}
}

async fn fill(stream: &mut impl Connection, bytes: usize) {
    for _ in 0..bytes / 10_000 {
        if stream.write_all(&[b'x'; 10_000]).await.is_err() {
            return;
        }
    }
}

/// A connection that can be reset.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    fn reset(self);
}

impl Connection for TcpStream {
    fn reset(self) {
        self.set_zero_linger().unwrap();
    }
}

impl Connection for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(self) {
        self.get_ref().0.set_zero_linger().unwrap();
    }
}

/// Head and body, once both are there.
async fn request(stream: &mut impl Connection) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            let body = &bytes[end + 4..];
            if body.len() >= length {
                return Some((head, body[..length].to_vec()));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

async fn say(stream: &mut impl Connection, text: &str) {
    // A client that has gone hears nothing.
    let _ = stream.write_all(text.as_bytes()).await;
}
