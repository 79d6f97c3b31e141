use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use postrider_core::{
    delivery::{
        Attempt, Class, Failure, RetryAfter,
        classify::{Classifier, Control, Rule, Statuses, Text},
    },
    time::Wall,
};
use postrider_webhook::{
    address::{Names, Policy},
    body::{Body, Encoding, Piece, RawMessage},
    client::{Client, Proxy, Sent, Settings, SettingsError},
    format::Rendered,
    sign::Signer,
};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderValue},
};
use secrecy::SecretString;
use tokio_rustls::{TlsAcceptor, rustls};
use url::Url;
use uuid::Uuid;

use crate::receiver::{self, hang, read_request, write};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"specversion":"1.0","type":"ping"}"#;

pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        url: Url::parse(url).unwrap(),
        timeout: Duration::from_secs(5),
        connections_max: 4,
        ca_file: None,
        identity: None,
        headers: HeaderMap::new(),
        addresses: Policy::Operator,
        names: Names::System,
        proxy: Proxy::None,
        classifier: Classifier::default(),
    }
}

pub(crate) fn hook(at: SocketAddr) -> Settings {
    settings(&format!("http://{at}/hook"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the verifier compares with the real time"
)]
pub(crate) fn unix_now() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap()
}

pub(crate) fn rendered(url: &Url, body: Body) -> Rendered {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    Rendered {
        method: Method::POST,
        url: url.clone(),
        headers,
        body,
    }
}

pub(crate) async fn send_with(client: &Client, url: &Url) -> Sent {
    let signer = Signer::new(&[SecretString::from(SECRET), SecretString::from("old")]).unwrap();
    client
        .send(
            Some(&signer),
            Uuid::from_u128(7),
            unix_now(),
            rendered(url, Bytes::from_static(BODY.as_bytes()).into()),
        )
        .await
}

pub(crate) async fn send(settings: &Settings) -> Sent {
    send_with(&Client::new(settings).unwrap(), &settings.url).await
}

pub(crate) fn failure(sent: &Sent) -> Failure {
    match sent.attempt {
        Attempt::Failed(failure) => failure,
        Attempt::Answered { .. } => panic!("{sent:?}"),
    }
}

#[tokio::test]
async fn a_receiver_can_verify_what_it_got_with_any_of_the_secrets() {
    let (at, received) = receiver::axum(202, &[], "").await;
    let sent = send(&hook(at)).await;
    assert_eq!(sent.attempt.status(), Some(202), "{sent:?}");
    assert_eq!(sent.note, "answered 202");
    let (headers, body) = received.lock().unwrap().remove(0);
    assert_eq!(body, BODY);
    standardwebhooks::Webhook::new(SECRET)
        .unwrap()
        .verify(&body, &headers)
        .unwrap();
    standardwebhooks::Webhook::from_bytes(b"old".to_vec())
        .unwrap()
        .verify(&body, &headers)
        .unwrap();
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("webhook-id"), "00000000-0000-0000-0000-000000000007");
    assert_eq!(header("idempotency-key"), header("webhook-id"));
    assert_eq!(header("content-type"), "application/json");
    assert!(header("user-agent").starts_with("postrider/"));
    assert!(header("traceparent").starts_with("00-00000000000000000000000000000007-"));
    assert!(headers.get("referer").is_none());
}

#[tokio::test]
async fn a_message_of_any_size_is_signed_and_streamed_with_its_length() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let message = "Subject: large\r\n\r\n".to_owned() + &"0123456789".repeat(100_000);
    file.write_all(message.as_bytes()).unwrap();
    let raw = RawMessage::File {
        path: file.path().to_owned(),
        len: message.len() as u64,
    };
    let (at, received) = receiver::axum(200, &[], "").await;
    let settings = hook(at);
    let body = Body {
        pieces: vec![
            Piece::Bytes("email=".into()),
            Piece::whole(&raw, Encoding::AsIs),
        ],
    };
    let signer = Signer::new(&[SecretString::from(SECRET)]).unwrap();
    let client = Client::new(&settings).unwrap();
    let request = rendered(&settings.url, body);
    let sent = client
        .send(Some(&signer), Uuid::from_u128(7), unix_now(), request)
        .await;
    assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    let (headers, body) = received.lock().unwrap().remove(0);
    assert_eq!(body.len(), message.len() + 6);
    assert_eq!(
        headers.get("content-length").unwrap().to_str().unwrap(),
        body.len().to_string()
    );
    standardwebhooks::Webhook::new(SECRET)
        .unwrap()
        .verify(body.as_ref(), &headers)
        .unwrap();
}

#[tokio::test]
async fn an_answer_is_told_with_status_dates_and_a_redacted_start() {
    let headers = [
        ("retry-after", "120"),
        ("date", "Thu, 01 Jan 1970 00:00:10 GMT"),
    ];
    let (at, _) = receiver::axum(503, &headers, "no room for kim@example.org\n\u{1b}[2J").await;
    let sent = send(&hook(at)).await;
    assert_eq!(
        sent.attempt,
        Attempt::answered(503, RetryAfter::Seconds(120))
    );
    assert_eq!(sent.note, "answered 503: no room for [address] \\u{1b}[2J");
    assert_eq!(sent.date, Some(Wall(10_000)));
}

#[tokio::test]
async fn retry_after_is_the_first_that_says_something_and_a_date_is_by_the_receivers_clock() {
    const DATE: (&str, &str) = ("date", "Thu, 01 Jan 1970 00:00:10 GMT");
    let date = |at| ("retry-after", at);
    for (headers, expected) in [
        (&[][..], RetryAfter::Absent),
        (&[("retry-after", "soon")], RetryAfter::Nonsense),
        (&[("retry-after", "\u{e9}")], RetryAfter::Nonsense),
        (
            &[("retry-after", "soon"), ("retry-after", "7")],
            RetryAfter::Seconds(7),
        ),
        (
            &[("retry-after", "7"), ("retry-after", "8")],
            RetryAfter::Seconds(7),
        ),
        // Its clock is decades behind ours: what it means is a wait of five seconds.
        (
            &[DATE, date("Thu, 01 Jan 1970 00:00:15 GMT")],
            RetryAfter::Seconds(5),
        ),
        (
            &[DATE, date("Thu, 01 Jan 1970 00:00:05 GMT")],
            RetryAfter::Seconds(0),
        ),
        (
            &[DATE, date("Fri, 31 Dec 9999 23:59:59 GMT")],
            RetryAfter::Seconds(253_402_300_789),
        ),
    ] {
        let (at, _) = receiver::axum(503, headers, "").await;
        let sent = send(&hook(at)).await;
        assert_eq!(
            sent.attempt,
            Attempt::answered(503, expected),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_means_what_the_endpoints_rules_say_and_may_control_the_delivery() {
    let rules = vec![Rule {
        statuses: Statuses::Ranges(vec![(200, 200)]),
        body: Text::Holds("not ok".to_owned()),
        class: Class::Refused,
    }];
    let classifier = Classifier { rules };
    for (status, headers, body, class, control, note) in [
        (
            200,
            &[][..],
            "ok",
            Class::Delivered,
            Control::None,
            "answered 200",
        ),
        (
            200,
            &[],
            "not ok - no queue",
            Class::Refused,
            Control::None,
            "answered 200: not ok - no queue",
        ),
        (
            410,
            &[("webhook-delivery", "disable")],
            "",
            Class::Trouble,
            Control::Disable,
            "answered 410",
        ),
        (
            422,
            &[("webhook-delivery", "abort-message")],
            "",
            Class::Refused,
            Control::Abort,
            "answered 422",
        ),
    ] {
        let (at, _) = receiver::axum(status, headers, body).await;
        let settings = Settings {
            classifier: classifier.clone(),
            ..hook(at)
        };
        let sent = send(&settings).await;
        assert_eq!(
            (sent.attempt.class(), sent.attempt.control()),
            (class, control)
        );
        assert_eq!(sent.note, note);
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (target, followed) = receiver::axum(200, &[], "").await;
    let location: &'static str = format!("http://{target}/hook").leak();
    let (at, _) = receiver::axum(307, &[("location", location)], "").await;
    assert_eq!(send(&hook(at)).await.attempt.status(), Some(307));
    assert!(followed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_slow_receiver_is_a_timeout() {
    let at = receiver::raw(|mut stream| async move {
        read_request(&mut stream).await;
        hang().await;
    })
    .await;
    let sent = send(&Settings {
        timeout: Duration::from_millis(300),
        ..hook(at)
    })
    .await;
    assert_eq!(failure(&sent), Failure::Timeout, "{sent:?}");
    assert!(sent.took < Duration::from_secs(3));
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_status_counts() {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let at = receiver::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            read_request(&mut stream).await;
            write(
                &mut stream,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            )
            .await;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            while tokio::io::AsyncWriteExt::write_all(&mut stream, chunk.as_bytes())
                .await
                .is_ok()
            {
                counter.fetch_add(0x1000, Ordering::Relaxed);
            }
        }
    })
    .await;
    let started = Instant::now();
    let sent = send(&hook(at)).await;
    assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    assert!(started.elapsed() < Duration::from_secs(4));
    assert!(
        written.load(Ordering::Relaxed) < 16 << 20,
        "the connection was ended"
    );
}

#[tokio::test]
async fn an_answer_whose_body_never_comes_holds_nothing_for_long() {
    let at = receiver::raw(|mut stream| async move {
        read_request(&mut stream).await;
        write(&mut stream, "HTTP/1.1 204 OK\r\n\r\n").await;
        hang().await;
    })
    .await;
    assert_eq!(send(&hook(at)).await.attempt.status(), Some(204));
    let at = receiver::raw(|mut stream| async move {
        read_request(&mut stream).await;
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx",
        )
        .await;
        hang().await;
    })
    .await;
    let sent = send(&hook(at)).await;
    assert_eq!(sent.attempt.status(), Some(200));
    assert!(sent.took < Duration::from_secs(4), "{sent:?}");
}

#[tokio::test]
async fn a_connection_closed_after_the_full_request_is_told_as_such_and_not_retried() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let at = receiver::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            if !read_request(&mut stream).await.is_empty() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let sent = send(&hook(at)).await;
    assert_eq!(failure(&sent), Failure::ResetAfter, "{sent:?}");
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn garbage_for_an_answer_is_a_failure_not_a_success() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 banana\r\n\r\n",
        "\0\0\0\0",
    ] {
        let at = receiver::raw(move |mut stream| async move {
            read_request(&mut stream).await;
            write(&mut stream, garbage).await;
        })
        .await;
        assert_eq!(
            failure(&send(&hook(at)).await),
            Failure::ResetAfter,
            "{garbage:?}"
        );
    }
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let sent = send(&hook(at)).await;
    assert_eq!(failure(&sent), Failure::Connect, "{sent:?}");
    assert!(!sent.note.contains("http"), "no url in {}", sent.note);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_failure() {
    let sent = send(&settings("http://no-such-host.invalid/hook")).await;
    assert_eq!(failure(&sent), Failure::Dns, "{sent:?}");
}

#[tokio::test]
async fn addresses_that_no_operator_means_are_not_connected_to() {
    for url in [
        "http://169.254.169.254/hook",
        "http://[::ffff:169.254.169.254]/hook",
        "http://0.0.0.0:1/hook",
    ] {
        let sent = send(&settings(url)).await;
        assert_eq!(failure(&sent), Failure::AddressRefused, "{sent:?}");
    }
}

#[tokio::test]
async fn a_url_with_a_password_is_used_and_never_told() {
    let (at, received) = receiver::axum(500, &[], "").await;
    let with_password = settings(&format!("http://user:pass-word@{at}/hook?key=query-key"));
    let client = Client::new(&with_password).unwrap();
    let sent = send_with(&client, &with_password.url).await;
    let told = format!("{sent:?} {client:?}");
    assert!(
        !told.contains("pass-word") && !told.contains("query-key"),
        "{told}"
    );
    let headers = received.lock().unwrap()[0].0.clone();
    assert_eq!(
        headers.get("authorization").unwrap(),
        "Basic dXNlcjpwYXNzLXdvcmQ="
    );
}

#[tokio::test]
async fn connections_are_kept_for_the_next_event() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let at = receiver::raw(move |mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            while !read_request(&mut stream).await.is_empty() {
                write(
                    &mut stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                )
                .await;
            }
        }
    })
    .await;
    let settings = hook(at);
    let client = Client::new(&settings).unwrap();
    for _ in 0..20 {
        assert_eq!(
            send_with(&client, &settings.url).await.attempt.status(),
            Some(200)
        );
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// A TLS receiver with a certificate of its own authority for `localhost`; its address, and the
/// authority in PEM.
async fn tls_receiver() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let at = receiver::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            while !read_request(&mut stream).await.is_empty() {
                write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (at, made.cert.pem())
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn a_certificate_is_believed_by_its_own_authority_and_name_alone() {
    let (at, pem) = tls_receiver().await;
    let ca = file(&pem);
    let https = |host: &str| settings(&format!("https://{host}:{}/hook", at.port()));
    let trusting = |host: &str| Settings {
        ca_file: Some(ca.path().to_owned()),
        ..https(host)
    };
    assert_eq!(
        send(&trusting("localhost")).await.attempt.status(),
        Some(200)
    );
    let wrong_name = send(&trusting("127.0.0.1")).await;
    assert_eq!(failure(&wrong_name), Failure::Tls, "{wrong_name:?}");
    let other = file(
        &rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .unwrap()
            .cert
            .pem(),
    );
    let unknown = Settings {
        ca_file: Some(other.path().to_owned()),
        ..https("localhost")
    };
    let unknown = send(&unknown).await;
    assert_eq!(failure(&unknown), Failure::Tls);
    assert!(unknown.note.contains("hint: a private one"), "{unknown:?}");
}

#[tokio::test]
async fn plain_text_where_tls_is_expected_is_a_tls_failure() {
    let (at, _) = receiver::axum(200, &[], "").await;
    let ca = file(
        &rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .unwrap()
            .cert
            .pem(),
    );
    let settings = Settings {
        ca_file: Some(ca.path().to_owned()),
        ..settings(&format!("https://localhost:{}/hook", at.port()))
    };
    assert_eq!(failure(&send(&settings).await), Failure::Tls);
}

#[tokio::test]
async fn an_unusable_ca_file_is_told_with_its_path() {
    let empty = file("no certificate here");
    for path in [empty.path().to_owned(), "/nonexistent/ca.pem".into()] {
        let error = Client::new(&Settings {
            ca_file: Some(path.clone()),
            ..settings("https://localhost/hook")
        })
        .unwrap_err();
        assert!(matches!(&error, SettingsError::CaFile { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}

#[tokio::test]
async fn a_proxy_is_used_where_the_settings_say_so() {
    let proxied = Arc::new(AtomicUsize::new(0));
    let counter = proxied.clone();
    let at = receiver::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            let request = read_request(&mut stream).await;
            if request.starts_with(b"POST http://hooks.invalid/hook ") {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let proxy = Proxy::Url(Url::parse(&format!("http://{at}")).unwrap());
    let sent = send(&Settings {
        proxy,
        ..settings("http://hooks.invalid/hook")
    })
    .await;
    assert_eq!(sent.attempt.status(), Some(200), "{sent:?}");
    assert_eq!(proxied.load(Ordering::Relaxed), 1);
}
