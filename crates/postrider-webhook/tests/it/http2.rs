//! One connection for all requests (HTTP/2): what that must not lead to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use postrider_core::delivery::Class;
use postrider_webhook::client::{Client, Settings};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::{
    receiver,
    sending::{send_with, settings},
};

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_TAKEN: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
const DATA: u8 = 0;
const PING: u8 = 6;
const END_STREAM: u8 = 1;

/// Reads frames (RFC 9113 section 4.1); answers each request with 204 if it is `awake`, else nothing
/// at all, pings included.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, awake: bool) -> Option<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.ok()?;
    stream.write_all(&SETTINGS).await.ok()?;
    stream.write_all(&SETTINGS_TAKEN).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        let answer = match (kind, flags & END_STREAM) {
            // HPACK's static table has `:status 204` at 9 (RFC 7541 appendix A).
            (DATA, END_STREAM) => [&[0, 0, 1, 1, 5][..], &id, &[0x89]].concat(),
            (PING, 0) => [&[0, 0, 8, PING, 1][..], &id, &payload].concat(),
            _ => continue,
        };
        if awake {
            stream.write_all(&answer).await.ok()?;
        }
    }
}

#[tokio::test]
async fn a_connection_behind_which_nobody_is_awake_does_not_get_the_next_attempt_too() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let at = receiver::raw(move |stream| {
        let acceptor = acceptor.clone();
        let awake = count.fetch_add(1, Ordering::Relaxed) > 0;
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, awake).await;
            }
        }
    })
    .await;
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut ca, made.cert.pem().as_bytes()).unwrap();
    let settings = Settings {
        ca_file: Some(ca.path().to_owned()),
        timeout: Duration::from_secs(3),
        ..settings(&format!("https://localhost:{}/hook", at.port()))
    };
    let client = Client::new(&settings).unwrap();
    let first = send_with(&client, &settings.url).await;
    assert_eq!(first.attempt.class(), Class::Failing, "{first:?}");
    let second = send_with(&client, &settings.url).await;
    assert_eq!(second.attempt.status(), Some(204), "{first:?} {second:?}");
    // One that is awake is kept, as all others are.
    for _ in 0..3 {
        let sent = send_with(&client, &settings.url).await;
        assert_eq!(sent.attempt.status(), Some(204), "{sent:?}");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}
