//! Every way to log in, and every way to be refused.

use std::time::Duration;

use postrider_core::watch::Failure;
use postrider_imap::{
    error::Error,
    server::{IdleUse, Login, Mechanism, Tls},
    session::Session,
};

use crate::script::{PLAIN_REPLY, Script, Step, password, short, token};

const XOAUTH2: &str = "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ==";

fn application_token() -> Login {
    token(
        "test@contoso.onmicrosoft.com",
        "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA",
    )
}

/// The script's login, then NOOP or the end.
async fn open(script: Script, login: &Login) -> Result<Session, Error> {
    let served = script.serve().await;
    let result = Session::open(&served.server(), login).await;
    served.finished().await;
    result
}

#[tokio::test]
async fn plain_with_an_initial_response() {
    open(Script::logged_in(), &password()).await.unwrap();
}

#[tokio::test]
async fn plain_without_an_initial_response() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready"])
        .expect("AUTHENTICATE PLAIN")
        .say(&["+ "])
        .expect_raw(PLAIN_REPLY)
        .say(&["$T OK [CAPABILITY IMAP4rev1] welcome"])
        .expect("NOOP")
        .say(&["$T OK done"]);
    open(script, &password()).await.unwrap();
}

#[tokio::test]
async fn login_where_there_is_no_sasl() {
    let script = Script::new()
        .say(&["* OK ready"])
        .expect("CAPABILITY")
        .say(&["* CAPABILITY IMAP4rev1", "$T OK done"])
        .expect("LOGIN \"us\\\"er\" \"back\\\\slash\"")
        .say(&["$T OK welcome"])
        .expect("CAPABILITY")
        .say(&["* CAPABILITY IMAP4rev1 NAMESPACE", "$T OK done"])
        .expect("NAMESPACE")
        .say(&["* NAMESPACE ((\"\" \"/\")) NIL NIL", "$T OK done"]);
    let login = Login::Password {
        username: "us\"er".to_owned(),
        password: "back\\slash".to_owned().into(),
    };
    let session = open(script, &login).await.unwrap();
    assert_eq!(session.skipped_responses(), 0);
}

#[tokio::test]
async fn a_password_beyond_ascii_goes_as_a_literal() {
    let login = Login::Password {
        username: "user".to_owned(),
        password: "pässword".to_owned().into(),
    };
    let ends = |script: Script| {
        script
            .say(&["$T OK [CAPABILITY IMAP4rev1] welcome"])
            .expect("NOOP")
            .say(&["$T OK done"])
    };
    let invited = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1] ready"])
        .expect("LOGIN \"user\" {9}")
        .say(&["+ go ahead"])
        .expect_raw("pässword");
    open(ends(invited), &login).await.unwrap();
    let at_once = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 LITERAL+] ready"])
        .expect("LOGIN \"user\" {9+}")
        .expect_raw("pässword");
    // The tag of the script's last command is the LOGIN's.
    open(ends(at_once), &login).await.unwrap();
}

#[tokio::test]
async fn exchange_takes_xoauth2_and_tells_capabilities_only_when_asked() {
    let script = Script::new()
        .say(&["* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADMAUAAyADgAMQBDAEEAMAAxADUANwA=]"])
        .expect("CAPABILITY")
        .say(&[
            "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            "$T OK CAPABILITY completed.",
        ])
        .expect(&format!("AUTHENTICATE XOAUTH2 {XOAUTH2}"))
        .say(&["$T OK AUTHENTICATE completed."])
        .expect("CAPABILITY")
        .say(&["* CAPABILITY IMAP4 IMAP4rev1 IDLE NAMESPACE", "$T OK CAPABILITY completed."])
        .expect("NAMESPACE")
        .say(&["* NAMESPACE ((\"\" \"/\")) NIL NIL", "$T OK NAMESPACE completed."]);
    open(script, &application_token()).await.unwrap();
}

#[tokio::test]
async fn the_tcpproxy_front_end_is_not_asked_for_rev2() {
    let script = Script::new()
        .say(&["* OK Microsoft Exchange IMAP4 service ready. 11111111-2222-3333-4444-555555555555 (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [RgBSADMA]"])
        .expect("CAPABILITY")
        .say(&[
            "* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            "$T OK CAPABILITY completed.",
        ])
        .expect(&format!("AUTHENTICATE XOAUTH2 {XOAUTH2}"))
        .say(&["$T OK AUTHENTICATE completed."])
        .expect("CAPABILITY")
        .say(&["* CAPABILITY IMAP4 IMAP4rev1 ENABLE IMAP4rev2 IDLE", "$T OK CAPABILITY completed."])
        .expect("NOOP")
        .say(&["$T OK NOOP completed."]);
    open(script, &application_token()).await.unwrap();
}

#[tokio::test]
async fn xoauth2_without_an_initial_response() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] ready"])
        .expect("AUTHENTICATE XOAUTH2")
        .say(&["+"])
        .expect_raw(XOAUTH2)
        .say(&["$T OK [CAPABILITY IMAP4rev1] welcome"])
        .expect("NOOP")
        .say(&["$T OK done"]);
    open(script, &application_token()).await.unwrap();
}

#[tokio::test]
async fn oauthbearer_names_host_and_port_really_connected_to() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let script = |first: Script| {
        first
            .say(&["$T OK [CAPABILITY IMAP4rev1] welcome"])
            .expect("NOOP")
            .say(&["$T OK done"])
    };
    // The reply holds the port, which is known only once the server listens; so the script takes
    // any, and the reply is looked at here.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let raw = format!(
        "n,a=a=2Cb@example.org,\x01host=127.0.0.1\x01port={}\x01auth=Bearer t\x01\x01",
        address.port()
    );
    let first = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] ready"])
        .expect(&format!(
            "AUTHENTICATE OAUTHBEARER {}",
            STANDARD.encode(raw)
        ));
    let served = script(first).serve_at(address).await;
    let login = token("a,b@example.org", "t");
    Session::open(&served.server(), &login).await.unwrap();
    served.finished().await;
}

#[tokio::test]
async fn gmails_challenge_is_answered_and_kept_for_the_operator() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 AUTH=OAUTHBEARER] Gimap ready"])
        .expect(&format!("AUTHENTICATE XOAUTH2 {XOAUTH2}"))
        .say(&["+ eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K"])
        .expect_raw("")
        .say(&["$T NO SASL authentication failed"])
        .gone();
    let error = open(script, &application_token()).await.err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, Error::LoginRefused { .. }), "{text}");
    assert!(
        text.contains("\"scope\":\"https://mail.google.com/\""),
        "{text}"
    );
    assert!(!text.contains("EwBAAl3B"), "{text}");
}

#[tokio::test]
async fn oauthbearers_challenge_is_answered_with_its_own_ending() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 AUTH=OAUTHBEARER] ready"])
        .expect("AUTHENTICATE OAUTHBEARER")
        .say(&["+ "])
        .step(Step::AnyLine)
        .say(&["+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0="])
        .expect_raw("AQ==")
        .say(&["$T NO [AUTHENTICATIONFAILED] Authentication failed."])
        .gone();
    let served = script.serve().await;
    let mut server = served.server();
    server.oauth = Mechanism::OAuthBearer;
    let error = Session::open(&server, &application_token())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("invalid_token"), "{error}");
    assert_eq!(error.failure(), Failure::LoginRefused);
}

#[tokio::test]
async fn exchange_refuses_at_once_and_gets_no_empty_line() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready"])
        .expect(&format!("AUTHENTICATE XOAUTH2 {XOAUTH2}"))
        .say(&["$T NO AUTHENTICATE failed. Error=\"AuthFailed:LogonDenied-None-OAuthLog:AuthExc_Auth Failed\""])
        .gone();
    let error = open(script, &application_token()).await.err().unwrap();
    assert!(error.to_string().contains("LogonDenied"), "{error}");
    assert_eq!(error.failure(), Failure::LoginRefused);
}

#[tokio::test]
async fn authenticated_but_not_connected_is_a_refused_login() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready"])
        .expect(&format!("AUTHENTICATE XOAUTH2 {XOAUTH2}"))
        .say(&["$T OK AUTHENTICATE completed."])
        .expect("CAPABILITY")
        .say(&[
            "$T BAD User is authenticated but not connected.",
            "* BYE Connection closed. 14",
        ])
        .close();
    let error = open(script, &application_token()).await.err().unwrap();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
    assert_eq!(error.failure(), Failure::LoginRefused);
}

#[tokio::test]
async fn the_probe_finds_what_the_login_hid() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready"])
        .expect(&format!("AUTHENTICATE XOAUTH2 {XOAUTH2}"))
        .say(&["$T OK [CAPABILITY IMAP4rev1 NAMESPACE] AUTHENTICATE completed."])
        .expect("NAMESPACE")
        .say(&["$T BAD User is authenticated but not connected."])
        .gone();
    let error = open(script, &application_token()).await.err().unwrap();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
}

#[tokio::test]
async fn no_password_is_sent_where_login_is_disabled() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2] ready"])
        .gone();
    let error = open(script, &password()).await.err().unwrap();
    assert!(error.to_string().contains("LOGINDISABLED"), "{error}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let cases = [
        (
            "$T NO [AUTHENTICATIONFAILED] Authentication failed.",
            Failure::LoginRefused,
        ),
        (
            "$T NO [UNAVAILABLE] Temporary authentication failure.",
            Failure::Connection,
        ),
        (
            "$T NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
            Failure::ConnectionLimit,
        ),
        (
            "$T BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
            Failure::Throttled {
                retry_after: Some(Duration::from_millis(92_415)),
            },
        ),
        (
            "* BYE Request is throttled. Suggested Backoff Time: 1000 milliseconds",
            Failure::Throttled {
                retry_after: Some(Duration::from_secs(1)),
            },
        ),
        (
            "* BYE [ALERT] Too many simultaneous connections. (Failure)",
            Failure::ConnectionLimit,
        ),
        ("Server Unavailable. 15", Failure::Connection),
        ("$T BAD Command Error. 12", Failure::LoginRefused),
        ("* BYE see you", Failure::Connection),
    ];
    for (line, expected) in cases {
        let script = Script::new()
            .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready"])
            .expect(&format!("AUTHENTICATE PLAIN {PLAIN_REPLY}"))
            .say(&[line])
            .gone();
        let error = open(script, &password()).await.err().unwrap();
        assert_eq!(error.failure(), expected, "{line}");
        assert!(!error.usable());
    }
}

#[tokio::test]
async fn secrets_with_control_characters_never_reach_the_wire() {
    for secret in ["a\r\nP9 DELETE INBOX", "a\0b", "a\nb"] {
        let script = Script::new()
            .say(&["* OK [CAPABILITY IMAP4rev1] ready"])
            .gone();
        let login = Login::Password {
            username: "user".to_owned(),
            password: secret.to_owned().into(),
        };
        let error = open(script, &login).await.err().unwrap();
        assert!(matches!(error, Error::LoginRefused { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_ever_is_left() {
    let script = Script::new()
        .say(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready"])
        .expect(&format!("AUTHENTICATE PLAIN {PLAIN_REPLY}"))
        .say(&["+ more", "+ more", "+ more", "+ more", "+ more"])
        .expect_raw("*")
        .expect_raw("*")
        .expect_raw("*")
        .gone();
    let error = open(script, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
}

#[tokio::test]
async fn preauth_and_odd_greetings_are_refused() {
    for greeting in [
        "* PREAUTH welcome back",
        "* 5 EXISTS",
        "+ OK",
        "220 smtp.example.org ESMTP",
        "* BYE busy",
        "* NO no",
    ] {
        let script = Script::new().say(&[greeting]).gone();
        let error = open(script, &password()).await.err().unwrap();
        assert_eq!(error.failure(), Failure::Connection, "{greeting}");
    }
}

#[tokio::test]
async fn a_silent_server_is_left_at_the_deadline() {
    let served = Script::new().gone().serve().await;
    let mut server = served.server();
    server.deadlines = short(Duration::from_millis(50));
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let served = Script::new()
        .step(Step::Tls)
        .then(Script::logged_in())
        .serve()
        .await;
    let mut server = served.server();
    server.tls = Tls::Implicit;
    server.idle = IdleUse::Never;
    Session::open(&server, &password()).await.unwrap();
    served.finished().await;
}

#[tokio::test]
async fn odd_greetings_are_greetings() {
    for greeting in [
        "* OK",
        "* OK [ALERT]é",
        "* ok [XCODE (((] hello {5}",
        "* OK [RgBSADMA]",
    ] {
        let script = Script::new()
            .say(&[greeting])
            .expect("CAPABILITY")
            .say(&["* CAPABILITY IMAP4rev2", "$T OK done"])
            .expect("LOGIN \"user\" \"secret\"")
            .say(&["$T OK [CAPABILITY IMAP4rev2] welcome"])
            .expect("NOOP")
            .say(&["$T OK done"]);
        open(script, &password()).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_first_question_leaves_no_session() {
    for refusal in ["NO no", "BAD bad"] {
        let script = Script::new()
            .say(&["* OK ready"])
            .expect("CAPABILITY")
            .say(&[&format!("$T {refusal}")])
            .gone();
        let error = open(script, &password()).await.err().unwrap();
        assert_eq!(error.failure(), Failure::Connection, "{error}");
        assert!(!error.usable());
    }
}

/// Some servers repeat the line that they refuse, and what a server says is logged and shown.
#[tokio::test]
async fn what_a_server_repeats_of_a_login_is_not_told() {
    let encoded = "dXNlcj11c2VyAWF1dGg9QmVhcmVyIHQwa2VuLXQwa2VuAQE=";
    let table = [
        (
            "LOGINDISABLED",
            token("user", "t0ken-t0ken"),
            format!("AUTHENTICATE XOAUTH2 {encoded}"),
        ),
        ("IDLE", password(), "LOGIN \"user\" \"secret\"".to_owned()),
        (
            "AUTH=PLAIN",
            password(),
            format!("AUTHENTICATE PLAIN {PLAIN_REPLY}"),
        ),
    ];
    for (offered, login, line) in table {
        for end in ["$T NO unknown:", "$T BAD unknown:", "* BYE unknown:"] {
            let script = Script::new()
                .say(&[&format!(
                    "* OK [CAPABILITY IMAP4rev1 SASL-IR {offered}] ready"
                )])
                .expect(&line)
                .say(&[&format!("{end} {line} t0ken-t0ken")])
                .close();
            let served = script.serve().await;
            let error = Session::open(&served.server(), &login).await.err().unwrap();
            let (text, debug) = (error.to_string(), format!("{error:?}"));
            for said in [text, debug] {
                assert!(said.contains("unknown: "), "{said}");
                for part in [encoded, PLAIN_REPLY, "\"secret\""] {
                    assert!(!said.contains(part), "{said}");
                }
                let is_token = line.contains("XOAUTH2");
                assert!(!(is_token && said.contains("t0ken")), "{said}");
            }
        }
    }
}
