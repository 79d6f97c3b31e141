//! A bare HTTP client: one request, one connection.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    location: Option<String>,
}

impl Answered {
    /// Where a redirect leads, as it was written.
    pub(crate) fn location(&self) -> Option<String> {
        self.location.clone()
    }
}

/// The answer; nothing if the connection ended without one.
pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, String)],
    body: &str,
) -> Option<Answered> {
    send("POST", address, path, headers, body).await
}

/// The same with GET.
pub(crate) async fn get(
    address: SocketAddr,
    target: &str,
    headers: &[(&str, String)],
) -> Option<Answered> {
    send("GET", address, target, headers, "").await
}

async fn send(
    method: &str,
    address: SocketAddr,
    target: &str,
    headers: &[(&str, String)],
    body: &str,
) -> Option<Answered> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answered {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
        location: head
            .lines()
            .find_map(|line| line.strip_prefix("location: "))
            .map(str::to_owned),
    })
}
