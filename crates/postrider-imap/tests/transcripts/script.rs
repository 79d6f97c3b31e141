//! A server that follows a script: it expects lines and says lines, and its test fails where the
//! client departs from it. `$T` in what it says is the tag of the last command.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use postrider_core::ids::{FolderName, Uid};
use postrider_imap::{
    error::Error,
    read::{BodySink, Memory},
    server::{Deadlines, IdleUse, Login, Mechanism, Server, Tls},
    session::Session,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

#[derive(Clone)]
pub(crate) enum Step {
    /// A command, without its tag.
    Expect(String),
    /// A line as a whole: DONE, or a continuation's answer.
    ExpectRaw(String),
    AnyLine,
    Say(Vec<u8>),
    /// The same bytes again and again, until the client is gone or the count is reached.
    Repeat(Vec<u8>, usize),
    /// One byte per this time, until the client is gone.
    Trickle(Vec<u8>, Duration),
    Pause(Duration),
    /// From here on TLS.
    Tls,
    /// Waits until the client closes, which it does without another word.
    Gone,
    /// Ends the connection.
    Close,
}

#[derive(Clone, Default)]
pub(crate) struct Script {
    steps: Vec<Step>,
}

pub(crate) const PLAIN_REPLY: &str = "AHVzZXIAc2VjcmV0";

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(crate) fn expect(self, line: &str) -> Self {
        self.step(Step::Expect(line.to_owned()))
    }

    pub(crate) fn expect_raw(self, line: &str) -> Self {
        self.step(Step::ExpectRaw(line.to_owned()))
    }

    /// Each line gets its CRLF.
    pub(crate) fn say(self, lines: &[&str]) -> Self {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.step(Step::Say(text.into_bytes()))
    }

    pub(crate) fn say_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Say(bytes.into()))
    }

    pub(crate) fn gone(self) -> Self {
        self.step(Step::Gone)
    }

    pub(crate) fn close(self) -> Self {
        self.step(Step::Close)
    }

    pub(crate) fn then(mut self, more: Self) -> Self {
        self.steps.extend(more.steps);
        self
    }

    /// A login as most servers do it, with IDLE.
    pub(crate) fn logged_in() -> Self {
        Self::logged_in_offering("IMAP4rev1 IDLE")
    }

    pub(crate) fn logged_in_offering(capabilities: &str) -> Self {
        Self::new()
            .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready"])
            .expect(&format!("AUTHENTICATE PLAIN {PLAIN_REPLY}"))
            .say(&[&format!("$T OK [CAPABILITY {capabilities}] welcome")])
            .expect("NOOP")
            .say(&["$T OK done"])
    }

    /// INBOX with this many messages, and the highest UID that it names.
    pub(crate) fn examined(self, exists: u32, highest: u32) -> Self {
        let (search, found) = if exists == 0 {
            ("UID SEARCH ALL", String::new())
        } else {
            ("UID SEARCH UID *", format!(" {highest}"))
        };
        let next = highest + 1;
        self.expect("EXAMINE \"INBOX\"")
            .say(&[
                "* FLAGS (\\Answered \\Seen \\*)",
                &format!("* {exists} EXISTS"),
                "* 0 RECENT",
                "* OK [UIDVALIDITY 14] UIDVALIDITY value",
                &format!("* OK [UIDNEXT {next}] The next unique identifier value"),
                "$T OK [READ-ONLY] EXAMINE completed.",
            ])
            .expect(search)
            .say(&[&format!("* SEARCH{found}"), "$T OK SEARCH completed."])
    }

    /// Listens, and plays the script for one client.
    pub(crate) async fn serve(self) -> Served {
        self.serve_at(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn serve_at(self, address: SocketAddr) -> Served {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            play(tcp, self.steps).await
        });
        Served { address, task }
    }
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) fn server(&self) -> Server {
        server(self.address)
    }

    pub(crate) async fn open(&self) -> Result<Session, Error> {
        Session::open(&self.server(), &password()).await
    }

    /// Logs in and opens INBOX.
    pub(crate) async fn examined(&self) -> Session {
        let mut session = self.open().await.unwrap();
        session.examine(&inbox()).await.unwrap();
        session
    }

    /// The script was followed to its end.
    pub(crate) async fn finished(self) {
        timeout(Duration::from_secs(10), self.task)
            .await
            .expect("the script is not at its end")
            .unwrap();
    }
}

pub(crate) fn server(address: SocketAddr) -> Server {
    Server {
        host: "127.0.0.1".to_owned(),
        port: address.port(),
        tls: Tls::None,
        tls_config: client_config(),
        proxy: None,
        idle: IdleUse::Auto,
        oauth: Mechanism::Auto,
        deadlines: Deadlines::default(),
    }
}

pub(crate) fn short(limit: Duration) -> Deadlines {
    Deadlines {
        reach: 4 * limit,
        connect: limit,
        tls: limit,
        greeting: limit,
        login: limit,
        command: limit,
        done: limit,
        progress: limit,
        logout: limit,
    }
}

pub(crate) fn password() -> Login {
    Login::Password {
        username: "user".to_owned(),
        password: "secret".to_owned().into(),
    }
}

pub(crate) fn token(username: &str, token: &str) -> Login {
    Login::Token {
        username: username.to_owned(),
        token: token.to_owned().into(),
    }
}

pub(crate) fn inbox() -> FolderName {
    FolderName::new("INBOX")
}

pub(crate) fn uids(numbers: impl IntoIterator<Item = u32>) -> Vec<Uid> {
    numbers.into_iter().filter_map(Uid::new).collect()
}

/// Everything fits.
pub(crate) const AMPLE: Memory = Memory {
    message_bytes: 1 << 20,
    total_bytes: 1 << 20,
};

/// A sink into memory, for looking at what arrived.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) opened: Vec<u64>,
}

impl BodySink for Shelf {
    type Writer = Vec<u8>;
    async fn open(&mut self, size: u64) -> io::Result<Vec<u8>> {
        self.opened.push(size);
        Ok(Vec::new())
    }
}

pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<W: AsyncRead + AsyncWrite + Unpin + Send> Wire for W {}

async fn play(tcp: TcpStream, steps: Vec<Step>) {
    let mut wire: Box<dyn Wire> = Box::new(tcp);
    let mut tag = String::new();
    for step in steps {
        match step {
            Step::Expect(expected) => {
                let line = line(&mut wire).await;
                let (name, rest) = line.split_once(' ').unwrap_or_default();
                assert_eq!(rest, expected, "in `{line}`");
                tag = name.to_owned();
            }
            Step::ExpectRaw(expected) => assert_eq!(line(&mut wire).await, expected),
            Step::AnyLine => drop(line(&mut wire).await),
            Step::Say(bytes) => {
                let _ = wire.write_all(&tagged(&bytes, &tag)).await;
            }
            Step::Repeat(bytes, count) => {
                for _ in 0..count {
                    if wire.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            }
            Step::Trickle(bytes, every) => {
                for byte in bytes {
                    if wire.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(every).await;
                }
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Tls => {
                let acceptor = tokio_rustls::TlsAcceptor::from(server_config());
                match acceptor.accept(wire).await {
                    Ok(tls) => wire = Box::new(tls),
                    Err(_) => return,
                }
            }
            Step::Gone => {
                let mut rest = Vec::new();
                let _ = wire.read_to_end(&mut rest).await;
                assert!(rest.is_empty(), "said {:?}", String::from_utf8_lossy(&rest));
            }
            Step::Close => return,
        }
    }
}

async fn line(wire: &mut Box<dyn Wire>) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        match wire.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(_) => return format!("(end of stream after `{}`)", String::from_utf8_lossy(&line)),
        }
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn tagged(bytes: &[u8], tag: &str) -> Vec<u8> {
    let mut said = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"$T") {
            said.extend_from_slice(tag.as_bytes());
            rest = after;
        } else {
            said.push(*byte);
            rest = after;
        }
    }
    said
}

struct Certificate {
    chain: CertificateDer<'static>,
    key: Vec<u8>,
}

fn certificate() -> &'static Certificate {
    static CERTIFICATE: std::sync::OnceLock<Certificate> = std::sync::OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        Certificate {
            chain: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
        }
    })
}

/// Both versions.
const VERSIONS: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

pub(crate) fn client_config() -> Arc<rustls::ClientConfig> {
    client_config_of(VERSIONS)
}

pub(crate) fn client_config_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate().chain.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn server_config() -> Arc<rustls::ServerConfig> {
    server_config_of(VERSIONS)
}

pub(crate) fn server_config_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate().key.clone()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate().chain.clone()], key)
        .unwrap();
    Arc::new(config)
}
