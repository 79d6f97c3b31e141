//! A bare IMAP client on a socket: it sends lines and reads lines.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_sandbox::tls::Tls;
use rustls_pki_types::ServerName;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

impl Client {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        Self {
            stream: BufReader::new(Box::new(tcp)),
        }
    }

    pub(crate) async fn tls(address: SocketAddr, tls: &Tls) -> Self {
        Self::plain(address).await.encrypt(tls).await
    }

    pub(crate) async fn encrypt(self, tls: &Tls) -> Self {
        let connector = TlsConnector::from(tls.client_config());
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, self.stream.into_inner()).await;
        Self {
            stream: BufReader::new(Box::new(stream.unwrap())),
        }
    }

    pub(crate) async fn send(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.stream.write_all(line.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line; empty at the end of the stream.
    pub(crate) async fn line(&mut self) -> String {
        self.next().await.unwrap_or_default()
    }

    async fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        let done = timeout(Duration::from_secs(10), read).await;
        // A stream that ends without a TLS goodbye is an end as well.
        let _ = done.expect("the server says nothing");
        let line = line.strip_suffix(b"\n")?;
        Some(String::from_utf8_lossy(line).trim_end().to_owned())
    }

    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.stream.fill_buf()).await.is_err()
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// All lines up to the one that starts with this, or an empty one for the end of the stream.
    pub(crate) async fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.next().await;
            let done = line.as_ref().is_none_or(|line| line.starts_with(start));
            lines.push(line.unwrap_or_default());
            if done {
                return lines;
            }
        }
    }

    /// Sends a command and returns its lines, the tagged one last.
    pub(crate) async fn ask(&mut self, command: &str) -> Vec<String> {
        self.send(&format!("t {command}")).await;
        self.until("t ").await
    }

    pub(crate) async fn ask_ok(&mut self, command: &str) -> Vec<String> {
        let lines = self.ask(command).await;
        assert!(
            lines.last().unwrap().starts_with("t OK"),
            "{command}: {lines:?}"
        );
        lines
    }
}

pub(crate) fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

pub(crate) fn oauthbearer(user: &str, token: &str) -> String {
    STANDARD.encode(format!(
        "n,a={user},\u{1}host=localhost\u{1}port=993\u{1}auth=Bearer {token}\u{1}\u{1}"
    ))
}
