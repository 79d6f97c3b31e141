//! The ways to a server: STARTTLS, HTTP CONNECT, SOCKS, and addresses that do not answer.

use std::{net::SocketAddr, time::Duration};

use postrider_imap::{
    error::Error,
    server::{Proxy, Server, Tls},
    session::Session,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::script::{Script, Step, password, server, short};

fn before_tls() -> Script {
    Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready"])
        .expect("STARTTLS")
}

async fn starttls(script: Script) -> Result<Session, Error> {
    let served = script.serve().await;
    let mut server = served.server();
    server.tls = Tls::StartTls;
    server.deadlines = short(Duration::from_secs(2));
    Session::open(&server, &password()).await
}

#[tokio::test]
async fn starttls_asks_for_capabilities_again() {
    let script = before_tls()
        .say(&["$T OK begin"])
        .step(Step::Tls)
        .expect("CAPABILITY")
        .say(&["* CAPABILITY IMAP4rev1", "$T OK done"])
        .expect("LOGIN \"user\" \"secret\"")
        .say(&["$T OK [CAPABILITY IMAP4rev1] welcome"])
        .expect("NOOP")
        .say(&["$T OK done"]);
    starttls(script).await.unwrap();
}

#[tokio::test]
async fn garbage_after_starttls_is_refused() {
    let script = before_tls()
        .say(&[
            "$T OK begin",
            "* CAPABILITY IMAP4rev1 AUTH=PLAIN",
            "P3 OK injected",
        ])
        .gone();
    let error = starttls(script).await.err().unwrap();
    assert!(
        error.to_string().contains("before the TLS handshake"),
        "{error}"
    );
    let script = before_tls()
        .say(&["$T OK begin"])
        .step(Step::Pause(Duration::from_millis(50)))
        .say_bytes("* OK injected later\r\n")
        .step(Step::Close);
    let error = starttls(script).await.err().unwrap();
    assert!(
        matches!(error, Error::Tls { .. } | Error::Protocol(_)),
        "{error}"
    );
}

#[tokio::test]
async fn no_credential_goes_out_without_the_handshake() {
    let cases = [
        Script::new()
            .say(&["* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome"])
            .gone(),
        Script::new()
            .say(&["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] stripped"])
            .gone(),
        before_tls().say(&["$T NO not now"]).gone(),
        before_tls().say(&["$T BAD unknown"]).gone(),
        before_tls().close(),
    ];
    for script in cases {
        let served = script.serve().await;
        let mut server = served.server();
        server.tls = Tls::StartTls;
        assert!(Session::open(&server, &password()).await.is_err());
        // It said nothing more.
        served.finished().await;
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_known_is_refused() {
    let served = Script::new().step(Step::Tls).serve().await;
    let mut server = served.server();
    server.tls = Tls::Implicit;
    server.host = "localhost".to_owned();
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
}

#[tokio::test]
async fn a_port_without_a_server_and_a_name_without_an_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Session::open(&server(address), &password())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let mut nowhere = server(address);
    nowhere.host = "does-not-exist.invalid".to_owned();
    let error = Session::open(&nowhere, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Dns { .. }), "{error}");
}

fn through(url: String, to: SocketAddr) -> Server {
    let mut server = server(to);
    server.proxy = Some(Proxy {
        url: url.parse().unwrap(),
    });
    server
}

/// A proxy for one connection: reads `request` bytes at least, up to `end`, answers, and joins.
async fn http_proxy(
    reply: &'static str,
    to: SocketAddr,
) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        let _ = client.write_all(reply.as_bytes()).await;
        if reply.contains(" 200 ") {
            let mut server = TcpStream::connect(to).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        String::from_utf8(request).unwrap()
    });
    (address, task)
}

#[tokio::test]
async fn http_connect_carries_a_session() {
    let served = Script::logged_in().serve().await;
    let target = served.address;
    let (proxy, task) = http_proxy(
        "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n",
        target,
    )
    .await;
    let server = through(format!("http://us%40er:pa%3Ass@{proxy}"), target);
    let session = Session::open(&server, &password()).await.unwrap();
    drop(session);
    served.finished().await;
    let request = task.await.unwrap();
    let first = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    assert!(request.starts_with(&first), "{request}");
    assert!(
        request.contains("Proxy-Authorization: Basic dXNAZXI6cGE6c3M=\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    for reply in [
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.1 20 odd\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
    ] {
        let (proxy, _task) = http_proxy(reply, ([127, 0, 0, 1], 1).into()).await;
        let server = through(
            format!("http://user:hunter2@{proxy}"),
            ([127, 0, 0, 1], 1).into(),
        );
        let error = Session::open(&server, &password()).await.err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, Error::Connect { .. }), "{text}");
        assert!(
            text.contains(&format!("http://{proxy}")) && !text.contains("hunter2"),
            "{text}"
        );
        assert!(!format!("{server:?} {error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_proxys_endless_reply_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        while client.write_all(&[b'x'; 1000]).await.is_ok() {}
    });
    let server = through(format!("http://{proxy}"), ([127, 0, 0, 1], 1).into());
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(error.to_string().contains("does not end"), "{error}");
}

/// SOCKS5 with a password (RFC 1928, RFC 1929), for one connection; returns the name asked for.
async fn socks_proxy(to: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = [0; 2];
        client.read_exact(&mut head).await.unwrap();
        let mut methods = vec![0; usize::from(head[1])];
        client.read_exact(&mut methods).await.unwrap();
        let method = if methods.contains(&2) { 2 } else { 0 };
        client.write_all(&[5, method]).await.unwrap();
        if method == 2 {
            let mut asked = Vec::new();
            for _ in 0..2 {
                if asked.is_empty() {
                    client.read_u8().await.unwrap();
                }
                let mut part = vec![0; usize::from(client.read_u8().await.unwrap())];
                client.read_exact(&mut part).await.unwrap();
                asked.push(String::from_utf8(part).unwrap());
            }
            assert_eq!(asked, ["user", "p:ss"]);
            client.write_all(&[1, 0]).await.unwrap();
        }
        let mut request = [0; 5];
        client.read_exact(&mut request).await.unwrap();
        assert_eq!(request[..4], [5, 1, 0, 3], "the name goes to the proxy");
        let mut name = vec![0; usize::from(request[4]) + 2];
        client.read_exact(&mut name).await.unwrap();
        name.truncate(name.len() - 2);
        client
            .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
        String::from_utf8(name).unwrap()
    });
    (address, task)
}

#[tokio::test]
async fn socks_carries_a_session_and_resolves_the_name() {
    for userinfo in ["", "user:p%3Ass@"] {
        let served = Script::logged_in().serve().await;
        let (proxy, task) = socks_proxy(served.address).await;
        let mut server = through(format!("socks5h://{userinfo}{proxy}"), served.address);
        server.host = "imap.example.invalid".to_owned();
        let session = Session::open(&server, &password()).await.unwrap();
        drop(session);
        served.finished().await;
        assert_eq!(task.await.unwrap(), "imap.example.invalid");
    }
}

#[tokio::test]
async fn an_unknown_kind_of_proxy_is_named() {
    let server = through("ftp://127.0.0.1:1".to_owned(), ([127, 0, 0, 1], 1).into());
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(
        error.to_string().contains("only http and socks5h"),
        "{error}"
    );
}

/// `localhost` may have an address of each family; the server listens on one.
#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let served = Script::logged_in().serve().await;
    let mut server = served.server();
    server.host = "localhost".to_owned();
    let opened = tokio::spawn(async move { Session::open(&server, &password()).await });
    opened.await.unwrap().unwrap();
    served.finished().await;
}
