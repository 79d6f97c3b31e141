//! TLS as servers speak it: both versions, records cut and sized as they like, keys changed in the
//! middle, and every way to end.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use postrider_imap::{
    error::Error,
    server::{Server, Tls},
    session::Session,
    wait::WaitEnd,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    folders::cursor,
    script::{client_config_of, inbox, password, server, server_config_of, short},
};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// A TLS server whose every byte on the wire is the test's to send.
struct Peer {
    tcp: TcpStream,
    tls: rustls::ServerConnection,
    /// Bytes per write; 0 where all goes at once.
    cut: usize,
    plain: Vec<u8>,
}

impl Peer {
    async fn accept(listener: TcpListener, config: Arc<rustls::ServerConfig>, cut: usize) -> Self {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = rustls::ServerConnection::new(config).unwrap();
        let mut peer = Self {
            tcp,
            tls,
            cut,
            plain: Vec::new(),
        };
        while peer.tls.is_handshaking() {
            peer.write().await;
            if peer.tls.is_handshaking() {
                peer.read().await.unwrap();
            }
        }
        peer.write().await;
        peer
    }

    /// What there is to write goes out, in pieces.
    async fn write(&mut self) {
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        let cut = if self.cut == 0 {
            wire.len().max(1)
        } else {
            self.cut
        };
        for piece in wire.chunks(cut) {
            // A client that has seen enough is gone.
            let _ = self.tcp.write_all(piece).await;
            if self.cut > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; 4096];
        let count = self.tcp.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut chunk = chunk.get(..count).unwrap();
        while !chunk.is_empty() {
            self.tls.read_tls(&mut chunk).unwrap();
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plain).unwrap();
            self.plain.extend_from_slice(&plain);
        }
        Ok(())
    }

    async fn say(&mut self, text: &str) {
        self.tls.writer().write_all(text.as_bytes()).unwrap();
        self.write().await;
    }

    /// The next line, without its tag, and the tag.
    async fn line(&mut self) -> (String, String) {
        loop {
            if let Some(end) = self.plain.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.plain.drain(..end + 2).collect()).unwrap();
                let (tag, rest) = line
                    .trim_end()
                    .split_once(' ')
                    .unwrap_or(("", line.trim_end()));
                return (tag.to_owned(), rest.to_owned());
            }
            self.read().await.unwrap();
        }
    }

    async fn answer(&mut self, command: &str, untagged: &str) {
        let (tag, said) = self.line().await;
        assert!(said.starts_with(command), "{said}");
        self.say(&format!("{untagged}{tag} OK done\r\n")).await;
    }

    /// From the greeting to IDLE.
    async fn until_idle(&mut self) {
        self.say("* OK [CAPABILITY IMAP4rev1 IDLE SASL-IR AUTH=PLAIN] ready\r\n")
            .await;
        let capabilities = "* CAPABILITY IMAP4rev1 IDLE\r\n";
        self.answer("AUTHENTICATE PLAIN", capabilities).await;
        self.answer("NOOP", "").await;
        let folder = "* 1 EXISTS\r\n* OK [UIDVALIDITY 1] valid\r\n* OK [UIDNEXT 2] next\r\n";
        self.answer("EXAMINE", folder).await;
        self.answer("UID SEARCH", "* SEARCH 1\r\n").await;
    }
}

async fn listening() -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = server(listener.local_addr().unwrap());
    server.tls = Tls::Implicit;
    (listener, server)
}

fn served<F>(
    listener: TcpListener,
    versions: &[&'static rustls::SupportedProtocolVersion],
    cut: usize,
    act: impl FnOnce(Peer) -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send,
{
    let config = server_config_of(versions);
    tokio::spawn(async move { act(Peer::accept(listener, config, cut).await).await })
}

async fn examined(server: &Server) -> Session {
    let mut session = Session::open(server, &password()).await.unwrap();
    session.examine(&inbox()).await.unwrap();
    session
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn both_versions_in_pieces_of_any_size() {
    for version in VERSIONS {
        for cut in [0, 1, 7, 1000] {
            let (listener, server) = listening().await;
            let played = served(listener, &[version], cut, async |mut peer: Peer| {
                peer.until_idle().await;
                let (tag, said) = peer.line().await;
                assert_eq!(said, "IDLE");
                peer.say("+ idling\r\n").await;
                peer.say("* 2 EXISTS\r\n").await;
                assert_eq!(peer.line().await.1, "DONE");
                peer.say(&format!("{tag} OK done\r\n")).await;
            });
            let mut session = examined(&server).await;
            let end = session.wait(soon(), std::future::pending::<()>()).await;
            assert_eq!(end.unwrap(), WaitEnd::Changed, "{version:?} {cut}");
            assert_eq!(session.exists(), 2);
            played.await.unwrap();
        }
    }
}

#[tokio::test]
async fn many_small_records_and_large_ones_arrive_whole() {
    let uids: Vec<String> = (1..=9_000).map(|uid: u32| uid.to_string()).collect();
    let (listener, server) = listening().await;
    let found = uids.clone();
    let played = served(listener, &VERSIONS, 0, async move |mut peer: Peer| {
        peer.until_idle().await;
        let (tag, _) = peer.line().await;
        // 44 KB in one line: three records, and then one for each of the last words.
        peer.say(&format!("* SEARCH {}", found[..8_900].join(" ")))
            .await;
        for uid in &found[8_900..] {
            peer.tls
                .writer()
                .write_all(format!(" {uid}").as_bytes())
                .unwrap();
        }
        peer.say(&format!("\r\n{tag} OK done\r\n")).await;
    });
    let mut session = examined(&server).await;
    let since = postrider_core::time::Wall(0);
    assert_eq!(session.search_since(since).await.unwrap().len(), uids.len());
    played.await.unwrap();
}

#[tokio::test]
async fn a_server_may_change_its_keys() {
    let (listener, server) = listening().await;
    let versions = [&rustls::version::TLS13];
    let played = served(listener, &versions, 0, async |mut peer: Peer| {
        peer.until_idle().await;
        for _ in 0..3 {
            peer.tls.refresh_traffic_keys().unwrap();
            peer.answer("UID SEARCH", "* SEARCH 1\r\n").await;
        }
    });
    let mut session = examined(&server).await;
    let since = postrider_core::time::Wall(0);
    for _ in 0..3 {
        assert_eq!(session.search_since(since).await.unwrap().len(), 1);
    }
    played.await.unwrap();
}

#[tokio::test]
async fn every_end_of_the_stream_is_told_as_one() {
    for version in VERSIONS {
        for way in [
            "in order",
            "in order and silent",
            "cut off",
            "cut in a record",
        ] {
            let (listener, server) = listening().await;
            let played = served(listener, &[version], 0, async move |mut peer: Peer| {
                peer.until_idle().await;
                let _ = peer.line().await;
                peer.say("+ idling\r\n").await;
                match way {
                    "cut off" => {}
                    "cut in a record" => {
                        peer.tls.writer().write_all(b"* 2 EXISTS\r\n").unwrap();
                        let mut wire = Vec::new();
                        peer.tls.write_tls(&mut wire).unwrap();
                        peer.tcp.write_all(&wire[..wire.len() - 1]).await.unwrap();
                    }
                    _ => {
                        peer.tls.send_close_notify();
                        peer.write().await;
                    }
                }
                if way == "in order and silent" {
                    // The connection stays; nothing comes on it any more.
                    let _ = peer.read().await;
                }
            });
            let mut session = examined(&server).await;
            let end = session.wait(soon(), std::future::pending::<()>()).await;
            let closed = matches!(end, Err(Error::Closed { .. } | Error::Broken { .. }));
            assert!(closed, "{version:?}, {way}: {end:?}");
            drop(session);
            played.await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_and_what_was_changed_on_the_way_is_refused() {
    let (listener, server) = listening().await;
    let played = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.write_all(b"* OK ready without TLS\r\n").await;
        // An alert tells the server why.
        let mut said = Vec::new();
        let _ = tcp.read_to_end(&mut said).await;
        assert!(
            said.windows(3)
                .any(|record| record[0] == 0x15 && record[1] == 3)
        );
    });
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    played.await.unwrap();
    let (listener, server) = listening().await;
    let played = served(listener, &VERSIONS, 0, async |mut peer: Peer| {
        peer.until_idle().await;
        let _ = peer.line().await;
        peer.tls.writer().write_all(b"+ idling\r\n").unwrap();
        let mut wire = Vec::new();
        peer.tls.write_tls(&mut wire).unwrap();
        let last = wire.len() - 1;
        wire[last] ^= 1;
        peer.tcp.write_all(&wire).await.unwrap();
        assert!(peer.read().await.is_err(), "an alert, or the end");
    });
    let mut session = examined(&server).await;
    let end = session.wait(soon(), std::future::pending::<()>()).await;
    assert!(matches!(end, Err(Error::Broken { .. })), "{end:?}");
    drop(session);
    played.await.unwrap();
}

/// Errors for which rustls has no alert: nothing is to be sent, and nothing more to be looked at.
#[tokio::test]
async fn an_answer_that_no_alert_is_made_for_is_an_error_as_any_other() {
    let too_large = b"\x16\x03\x03\x00\x04\x02\x01\x00\x00".as_slice();
    let interleaved = b"\x16\x03\x03\x00\x04\x02\x00\x00\x10\x15\x03\x03\x00\x02\x02\x28";
    for answer in [too_large, interleaved] {
        let (listener, server) = listening().await;
        let played = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut hello = [0; 5];
            tcp.read_exact(&mut hello).await.unwrap();
            tcp.write_all(answer).await.unwrap();
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        });
        let error = Session::open(&server, &password()).await.err().unwrap();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
        played.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_server_says_before_it_closes_at_once_is_heard() {
    let (listener, server) = listening().await;
    let played = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let config = server_config_of(&[&rustls::version::TLS12]);
        let tls = rustls::ServerConnection::new(config).unwrap();
        let mut peer = Peer {
            tcp,
            tls,
            cut: 0,
            plain: Vec::new(),
        };
        while peer.tls.is_handshaking() {
            peer.write().await;
            peer.read().await.unwrap();
        }
        // With the end of the handshake in one write.
        let bye = b"* BYE [LIMIT] too many connections\r\n";
        peer.tls.writer().write_all(bye).unwrap();
        peer.tls.send_close_notify();
        peer.write().await;
    });
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::ConnectionLimit { .. }), "{error}");
    played.await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_version_in_common_and_one_that_goes_away() {
    let (listener, mut server) = listening().await;
    server.tls_config = client_config_of(&[&rustls::version::TLS13]);
    let config = server_config_of(&[&rustls::version::TLS12]);
    let played = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        assert!(acceptor.accept(tcp).await.is_err());
    });
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    played.await.unwrap();
    let (listener, mut server) = listening().await;
    server.deadlines = short(Duration::from_secs(5));
    let played = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut hello = [0; 5];
        tcp.read_exact(&mut hello).await.unwrap();
    });
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    played.await.unwrap();
}

/// A waiting session may be interrupted at any byte, and nothing of a response is lost by it.
#[tokio::test]
async fn an_interrupted_wait_loses_nothing() {
    let (listener, server) = listening().await;
    let played = served(listener, &VERSIONS, 1, async |mut peer: Peer| {
        peer.until_idle().await;
        let mut exists = 1;
        loop {
            let (tag, said) = peer.line().await;
            if said == "LOGOUT" {
                return peer.say(&format!("* BYE bye\r\n{tag} OK done\r\n")).await;
            }
            if said == "IDLE" {
                exists += 1;
                peer.say("+ idling\r\n").await;
                peer.say(&format!("* {exists} EXISTS\r\n")).await;
                assert_eq!(peer.line().await.1, "DONE");
            }
            peer.say(&format!("{tag} OK done\r\n")).await;
        }
    });
    let mut session = examined(&server).await;
    for turn in 0..20_u64 {
        let before = session.exists();
        let interrupt = tokio::time::sleep(Duration::from_micros(turn * 50));
        session.wait(soon(), interrupt).await.unwrap();
        // What was announced by the time of the tagged OK has been heard.
        assert_eq!(session.exists(), before + 1, "{turn}");
        let survey = session.survey(&cursor(1, [])).await.unwrap();
        assert!(survey.uids.is_empty());
    }
    session.logout().await;
    played.await.unwrap();
}
