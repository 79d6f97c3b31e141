//! Where a request may go, whom it shows itself to, and what it carries beside the format.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use postrider_core::delivery::{Attempt, Failure};
use postrider_webhook::{
    address::{Names, Policy},
    client::{Client, Proxy, Sent, Settings, SettingsError},
};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use tokio_rustls::{TlsAcceptor, rustls};
use url::Url;

use crate::{
    receiver::{self, read_request, write},
    sending::{rendered, send, send_with, settings},
};

fn failure(sent: &Sent) -> Failure {
    match sent.attempt {
        Attempt::Failed(failure) => failure,
        Attempt::Answered { .. } => panic!("{sent:?}"),
    }
}

/// Names that answer with each of these in turn, the last one from then on; and how often they did.
fn names(answers: &[&str]) -> (Names, Arc<AtomicUsize>) {
    let answers: Vec<IpAddr> = answers.iter().map(|one| one.parse().unwrap()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answer = move |_: &str| {
        let turn = count.fetch_add(1, Ordering::Relaxed);
        vec![answers[turn.min(answers.len() - 1)]]
    };
    (Names::Fixed(Arc::new(answer)), asked)
}

/// A receiver that answers 200; `keep`: whether it keeps connections open.
async fn counting(keep: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let at = receiver::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            while !read_request(&mut stream).await.is_empty() {
                counter.fetch_add(1, Ordering::Relaxed);
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: {keep}\r\n\r\n");
                write(&mut stream, &answer).await;
                if keep == "close" {
                    return;
                }
            }
        }
    })
    .await;
    (at, requests)
}

#[tokio::test]
async fn a_name_that_is_bound_anew_to_a_metadata_service_is_not_followed() {
    let (at, requests) = counting("close").await;
    let (names, asked) = names(&[
        "127.0.0.1",
        "169.254.169.254",
        "::ffff:a9fe:a9fe",
        "127.0.0.1",
    ]);
    let settings = Settings {
        names,
        ..settings(&format!("http://rebound.example:{}/hook", at.port()))
    };
    let client = Client::new(&settings).unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(send_with(&client, &settings.url).await);
    }
    assert_eq!(told[0].attempt.status(), Some(200), "{told:?}");
    for refused in &told[1..3] {
        assert_eq!(failure(refused), Failure::AddressRefused, "{told:?}");
        assert!(!refused.note.contains("http"), "{}", refused.note);
    }
    assert_eq!(told[3].attempt.status(), Some(200), "{told:?}");
    assert_eq!(
        asked.load(Ordering::Relaxed),
        4,
        "each connection is judged"
    );
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_connection_that_is_kept_stays_at_the_address_that_was_judged() {
    let (at, requests) = counting("keep-alive").await;
    let (names, asked) = names(&["127.0.0.1", "169.254.169.254"]);
    let settings = Settings {
        names,
        ..settings(&format!("http://rebound.example:{}/hook", at.port()))
    };
    let client = Client::new(&settings).unwrap();
    for _ in 0..3 {
        let sent = send_with(&client, &settings.url).await;
        assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(requests.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_strict_endpoint_is_not_reached_by_name_nor_by_address() {
    let (at, requests) = counting("close").await;
    let strict = |url: &str, answer: &str| Settings {
        addresses: Policy::Public,
        names: names(&[answer]).0,
        ..settings(url)
    };
    let port = at.port();
    for settings in [
        strict(&format!("http://127.0.0.1:{port}/hook"), "127.0.0.1"),
        strict(&format!("http://[::ffff:7f00:1]:{port}/hook"), "127.0.0.1"),
        strict(&format!("http://inside.example:{port}/hook"), "127.0.0.1"),
        strict(
            &format!("http://inside.example:{port}/hook"),
            "64:ff9b::a00:1",
        ),
        strict(
            &format!("http://inside.example:{port}/hook"),
            "2002:c0a8:1::1",
        ),
        strict(&format!("http://inside.example:{port}/hook"), "100.64.0.1"),
        strict(&format!("http://inside.example:{port}/hook"), "fd00::1"),
    ] {
        let sent = send(&settings).await;
        assert_eq!(failure(&sent), Failure::AddressRefused, "{sent:?}");
    }
    assert_eq!(requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_strict_endpoint_may_have_a_proxy_in_a_private_network() {
    let (at, requests) = counting("close").await;
    let proxy = Url::parse(&format!("http://proxy.example:{}", at.port())).unwrap();
    let sent = send(&Settings {
        addresses: Policy::Public,
        names: names(&["127.0.0.1"]).0,
        proxy: Proxy::Url(proxy),
        ..settings("http://hooks.example/hook")
    })
    .await;
    assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_endpoints_own_headers_are_sent_and_never_told() {
    let (at, received) = receiver::axum(500, &[], "").await;
    let mut headers = HeaderMap::new();
    let mut value = HeaderValue::from_static("key-word");
    value.set_sensitive(true);
    headers.insert("x-api-key", value);
    headers.insert("user-agent", HeaderValue::from_static("ours"));
    let settings = Settings {
        headers,
        ..settings(&format!("http://{at}/hook"))
    };
    let client = Client::new(&settings).unwrap();
    let sent = send_with(&client, &settings.url).await;
    let told = format!("{sent:?} {client:?}");
    assert!(!told.contains("key-word"), "{told}");
    let (headers, _) = received.lock().unwrap().remove(0);
    assert_eq!(headers.get("x-api-key").unwrap(), "key-word");
    assert_eq!(headers.get("user-agent").unwrap(), "ours");
    assert!(headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn a_receiver_that_shows_what_it_got_does_not_tell_us_our_secrets() {
    let at = receiver::raw(|mut stream| async move {
        let request = read_request(&mut stream).await;
        let head = "HTTP/1.1 500 x\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
        write(&mut stream, head).await;
        write(&mut stream, &String::from_utf8_lossy(&request)).await;
    })
    .await;
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("key-word"));
    let mut token = HeaderValue::from_static("a.token-made-of-a-word");
    token.set_sensitive(true);
    headers.insert("a-token", token);
    let settings = Settings {
        headers,
        ..settings(&format!("http://{at}/path-word"))
    };
    let client = Client::new(&settings)
        .unwrap()
        .keeping_secret(["key-word", "path-word"].map(SecretString::from).to_vec());
    let sent = send_with(&client, &settings.url).await;
    assert!(sent.note.contains("POST /[redacted] HTTP/1.1"), "{sent:?}");
    assert!(!sent.note.contains("-word"), "{sent:?}");
    let answer = String::from_utf8_lossy(&sent.answer.unwrap().body).to_lowercase();
    assert!(
        answer.contains("x-api-key: key-word"),
        "it is left as it came"
    );
    assert!(!answer.contains("accept-encoding"), "{answer}");
}

/// What a receiver that asks for certificates is made of.
struct Pki {
    at: SocketAddr,
    ca: tempfile::NamedTempFile,
    /// The client's certificate and its key.
    client: (String, String),
}

async fn asking_for_certificates(seen: Arc<Mutex<Vec<usize>>>) -> Pki {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &ca).unwrap(), key)
    };
    let (server, server_key) = issue("localhost");
    let (client, client_key) = issue("postrider");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let at = receiver::raw(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
            seen.lock().unwrap().push(shown);
            read_request(&mut stream).await;
            write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, ca.pem().as_bytes()).unwrap();
    Pki {
        at,
        ca: file,
        client: (client.pem(), client_key.serialize_pem()),
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_receiver_that_asks_for_one() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let pki = asking_for_certificates(seen.clone()).await;
    let without = Settings {
        ca_file: Some(pki.ca.path().to_owned()),
        ..settings(&format!("https://localhost:{}/hook", pki.at.port()))
    };
    let sent = send(&without).await;
    assert_eq!(failure(&sent), Failure::Tls, "{sent:?}");
    assert!(sent.note.contains("set `client_certificate`"), "{sent:?}");
    let (certificate, key) = &pki.client;
    let with = Settings {
        identity: Some(SecretString::from(format!("{certificate}\n{key}"))),
        ..without.clone()
    };
    let sent = send(&with).await;
    assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    assert_eq!(*seen.lock().unwrap(), [1]);
    for broken in [certificate.as_str(), key.as_str(), "no pem"] {
        let error = Client::new(&Settings {
            identity: Some(SecretString::from(broken)),
            ..without.clone()
        })
        .unwrap_err();
        assert!(matches!(error, SettingsError::Identity(_)), "{error}");
        assert!(!error.to_string().contains("BEGIN"), "{error}");
    }
}

#[tokio::test]
async fn a_streamed_body_is_signed_with_ed25519_as_well() {
    let (at, received) = receiver::axum(200, &[], "").await;
    let settings = settings(&format!("http://{at}/hook"));
    let seed = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    let signer = postrider_webhook::sign::Signer::new(&[SecretString::from(seed)]).unwrap();
    let request = rendered(&settings.url, Bytes::from(vec![b'x'; 1_500_000]).into());
    let client = Client::new(&settings).unwrap();
    let id = uuid::Uuid::from_u128(7);
    let sent = client.send(Some(&signer), id, 1_700_000_000, request).await;
    assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    let header = signer.header(&id.to_string(), 1_700_000_000, &vec![b'x'; 1_500_000]);
    let (headers, _) = received.lock().unwrap().remove(0);
    assert_eq!(headers.get("webhook-signature").unwrap(), &header);
}
