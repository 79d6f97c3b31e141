//! A bare IMAP client on a TLS socket, to see what the server does without our own code between.

use std::time::Duration;

use postrider_sandbox::tls::Tls;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(super) struct RawClient {
    stream: BufReader<TlsStream<TcpStream>>,
}

impl RawClient {
    pub(super) async fn connect(port: u16, tls: &Tls) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut client = Self::encrypt(tcp, tls).await;
        assert!(client.line().await.starts_with("* OK"));
        client
    }

    pub(super) async fn connect_by_starttls(port: u16, tls: &Tls) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut clear = BufReader::new(tcp);
        let mut line = String::new();
        clear.read_line(&mut line).await.unwrap();
        clear.write_all(b"s STARTTLS\r\n").await.unwrap();
        line.clear();
        clear.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("s OK"), "{line}");
        Self::encrypt(clear.into_inner(), tls).await
    }

    async fn encrypt(tcp: TcpStream, tls: &Tls) -> Self {
        let connector = TlsConnector::from(tls.client_config());
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            stream: BufReader::new(connector.connect(name, tcp).await.unwrap()),
        }
    }

    pub(super) async fn send(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.stream.write_all(line.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line; empty at the end of the stream.
    pub(super) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        let done = timeout(Duration::from_secs(20), read).await;
        // A stream that ends without a TLS goodbye is an end as well.
        let _ = done.expect("the server says nothing");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Reads on to the first line that starts with this.
    pub(super) async fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the stream ends before {start:?}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Sends a command and returns its tagged answer.
    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.send(&format!("t {command}")).await;
        self.until("t ").await
    }
}
