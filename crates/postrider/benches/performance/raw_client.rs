//! A bare IMAP client on a TLS socket: the floor that a watcher is compared with.

use std::{sync::Arc, time::Instant};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) struct RawClient {
    stream: BufReader<TlsStream<TcpStream>>,
}

impl RawClient {
    /// Connects, logs in, and opens the INBOX.
    pub(crate) async fn open(
        port: u16,
        tls: &Arc<rustls::ClientConfig>,
        user: &str,
        password: &str,
    ) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let connector = TlsConnector::from(Arc::clone(tls));
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = Self {
            stream: BufReader::new(connector.connect(name, tcp).await.unwrap()),
        };
        assert!(client.line().await.starts_with("* OK"));
        client.ask(&format!("LOGIN {user} \"{password}\"")).await;
        client.ask("EXAMINE INBOX").await;
        client
    }

    /// Goes into IDLE; returns when the server idles.
    pub(crate) async fn idle(&mut self) {
        self.send(b"i IDLE\r\n").await;
        while !self.line().await.starts_with('+') {}
    }

    /// In IDLE: the moment of the next EXISTS.
    pub(crate) async fn exists(&mut self) -> Instant {
        while !self.line().await.ends_with(" EXISTS") {}
        Instant::now()
    }

    /// Puts messages into the INBOX, all in one command (RFC 3502).
    pub(crate) async fn append(&mut self, messages: &[Vec<u8>]) {
        self.send(b"t APPEND INBOX").await;
        for message in messages {
            self.send(format!(" {{{}+}}\r\n", message.len()).as_bytes())
                .await;
            self.send(message).await;
        }
        self.send(b"\r\n").await;
        self.tagged().await;
    }

    /// Reads all bodies with one command and throws them away; the bytes that came.
    pub(crate) async fn fetch_all(&mut self) -> usize {
        self.send(b"f UID FETCH 1:* (BODY.PEEK[])\r\n").await;
        let mut bytes = 0;
        let mut tail = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let count = self.stream.read(&mut chunk).await.unwrap();
            assert!(count > 0, "the server ended the session");
            bytes += count;
            tail.extend_from_slice(&chunk[..count]);
            tail.drain(..tail.len().saturating_sub(200));
            if tail.windows(7).any(|window| window == b"\r\nf OK ") {
                return bytes;
            }
        }
    }

    async fn ask(&mut self, command: &str) {
        self.send(format!("t {command}\r\n").as_bytes()).await;
        self.tagged().await;
    }

    async fn tagged(&mut self) {
        loop {
            let line = self.line().await;
            if line.starts_with("t ") {
                assert!(line.starts_with("t OK"), "{line}");
                return;
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.unwrap();
        assert!(!line.is_empty(), "the server ended the session");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}
