//! Who is let in, and for how long.

use tokio::io::AsyncReadExt as _;

use super::*;

fn headers(list: &[(header::HeaderName, &str)]) -> HeaderMap {
    let pair = |(name, value): &(header::HeaderName, &str)| {
        (name.clone(), HeaderValue::from_str(value).unwrap())
    };
    list.iter().map(pair).collect()
}

#[test]
fn only_allowed_names_are_answered() {
    let hosts = ["localhost".to_owned(), "::1".to_owned()];
    let allowed = |host: &str| is_allowed(&headers(&[(header::HOST, host)]), &hosts);
    for host in ["localhost", "LOCALHOST:9421", "[::1]", "[::1]:9421"] {
        assert!(allowed(host), "{host}");
    }
    for host in [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1:9421",
        "[::2]",
    ] {
        assert!(!allowed(host), "{host}");
    }
    assert!(!is_allowed(&HeaderMap::new(), &hosts));
    let mut twice = headers(&[(header::HOST, "localhost")]);
    twice.append(header::HOST, HeaderValue::from_static("localhost"));
    assert!(!is_allowed(&twice, &hosts));
}

fn row(token: &str, expires: Option<Wall>, revoked: Option<Wall>) -> TokenRow {
    TokenRow {
        name: "ci".to_owned(),
        hash: audit::hash(token).to_vec(),
        scope: "replay".to_owned(),
        created_at: Wall(0),
        created_by: "ann".to_owned(),
        expires,
        revoked,
    }
}

#[test]
fn a_token_counts_while_it_lives() {
    let now = Wall(1_000);
    let asks = |value: &str, row: TokenRow| {
        known(&headers(&[(header::AUTHORIZATION, value)]), &[row], now)
    };
    let good = Some(("ci".to_owned(), Scope::Replay));
    assert_eq!(asks("Bearer one", row("one", None, None)), good);
    assert_eq!(
        asks("bearer one", row("one", Some(Wall(1_001)), None)),
        good
    );
    for (value, row) in [
        ("Bearer two", row("one", None, None)),
        ("Bearer one", row("one", Some(now), None)),
        ("Bearer one", row("one", None, Some(Wall(1)))),
        ("Basic one", row("one", None, None)),
        ("one", row("one", None, None)),
    ] {
        assert_eq!(asks(value, row), None, "{value}");
    }
}

#[test]
fn guessing_is_slowed_down_per_address() {
    let failures = Failures::default();
    let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let now = Monotonic(0);
    for _ in 0..FAILURES_MAX {
        assert_eq!(failures.answer(one, now).status(), StatusCode::UNAUTHORIZED);
    }
    let told = failures.answer(one, now);
    assert_eq!(told.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told.headers()[header::RETRY_AFTER], "60");
    assert!(!failures.too_many(other, now));
    assert!(!failures.too_many(one, now + FAILURES_WITHIN));
}

#[tokio::test]
async fn a_stranger_is_shown_out_and_a_guest_after_a_while() {
    let settings = AdminTcp {
        listen: ([127, 0, 0, 1], 0).into(),
        allowed_hosts: Vec::new(),
    };
    let mut door = bind(&settings).await.unwrap();
    assert_eq!(
        (door.stranger, door.guest),
        (STRANGER_TIME_MAX, CONNECTION_TIME_MAX)
    );
    let (short, long) = (Duration::from_millis(50), Duration::from_millis(300));
    (door.stranger, door.guest) = (short, long);
    for (is_known, stays) in [(false, short), (true, long)] {
        let _visitor = TcpStream::connect(door.at().unwrap()).await.unwrap();
        let came = clock::monotonic();
        let (mut guest, _) = door.accept().await;
        guest.known.store(is_known, Ordering::Relaxed);
        let ended = guest.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(clock::monotonic() - came >= stays, "{is_known}");
    }
}
