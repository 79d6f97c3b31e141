//! A small LMTP client (RFC 2033) on a unix socket: hands a message to the server as a mail relay
//! would, byte for byte.

use std::path::Path;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

pub(crate) struct Lmtp {
    stream: BufReader<UnixStream>,
}

impl Lmtp {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.expect("lmtp socket");
        let mut lmtp = Self {
            stream: BufReader::new(stream),
        };
        lmtp.expect("220").await;
        lmtp.ask("LHLO localhost", "250").await;
        lmtp
    }

    /// Delivers into the user's INBOX; returns when the server has accepted it.
    pub(crate) async fn deliver(&mut self, user: &str, raw: &[u8]) {
        self.ask("MAIL FROM:<sender@example.org>", "250").await;
        self.ask(&format!("RCPT TO:<{user}>"), "250").await;
        self.ask("DATA", "354").await;
        let mut data = Vec::with_capacity(raw.len() + raw.len() / 64 + 5);
        for line in raw.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                data.push(b'.');
            }
            data.extend_from_slice(line);
        }
        if !data.ends_with(b"\r\n") {
            data.extend_from_slice(b"\r\n");
        }
        data.extend_from_slice(b".\r\n");
        self.stream.write_all(&data).await.unwrap();
        self.expect("250").await;
    }

    async fn ask(&mut self, command: &str, expected: &str) {
        let line = format!("{command}\r\n");
        self.stream.write_all(line.as_bytes()).await.unwrap();
        self.expect(expected).await;
    }

    async fn expect(&mut self, code: &str) {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            assert!(line.starts_with(code), "expected {code}, got {line:?}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return;
            }
        }
    }
}
