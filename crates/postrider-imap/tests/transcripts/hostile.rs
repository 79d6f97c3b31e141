//! Servers that break the protocol, by accident or on purpose: the findings about parsers and
//! clients that this crate's design answers, each as it is on the wire.

use std::{future::pending, time::Duration};

use postrider_core::watch::Part;
use postrider_imap::{error::Error, session::Session, wait::WaitEnd};
use tokio::time::Instant;

use crate::{
    folders::cursor,
    reading::{WHOLE, told},
    script::{AMPLE, Script, Shelf, Step, inbox, password, short, uids},
};

fn nested(count: usize) -> String {
    format!("{}{}", "(".repeat(count), ")".repeat(count))
}

/// Lines that are odd, broken or unknown, and after which a session goes on.
#[expect(clippy::too_many_lines, reason = "a table")]
fn survived() -> Vec<(&'static str, Vec<u8>)> {
    let fetch = |items: String| format!("* 1 FETCH ({items})\r\n").into_bytes();
    vec![
        (
            "400 nested parentheses",
            fetch(format!("BODYSTRUCTURE {}", nested(400))),
        ),
        (
            "nesting in an envelope",
            fetch(format!("ENVELOPE {}", nested(500))),
        ),
        (
            "nesting that does not close",
            fetch(format!("BODYSTRUCTURE {}", "(".repeat(20_000))),
        ),
        (
            "nesting hidden in quotes",
            fetch(format!("X (\" ) BODYSTRUCTURE {}", nested(500))),
        ),
        (
            "nesting hidden in a literal",
            fetch(format!("X a{{1000}}\r\n BODYSTRUCTURE {}", nested(492))),
        ),
        (
            "just within the nesting",
            fetch(format!("BODYSTRUCTURE {}", nested(62))),
        ),
        ("INTERNALDATE NIL", fetch("INTERNALDATE NIL".to_owned())),
        (
            "ALERT and a multi-byte text",
            "* OK [ALERT]é\r\n".as_bytes().to_vec(),
        ),
        (
            "any code and a multi-byte text",
            "* NO [PARSE]\u{1f600} what\r\n".as_bytes().to_vec(),
        ),
        (
            "a code that does not end",
            b"* OK [UIDVALIDITY 14\r\n".to_vec(),
        ),
        (
            "metadata that is no UTF-8",
            b"* METADATA \"\" (/shared/comment {3}\r\n\xff\xfe\xfd)\r\n".to_vec(),
        ),
        (
            "an unknown response",
            b"* XYZZY (nothing) happens {3}\r\nabc\r\n".to_vec(),
        ),
        (
            "ESEARCH unasked",
            b"* ESEARCH (TAG \"x\") UID ALL 1:3\r\n".to_vec(),
        ),
        (
            "NAMESPACE",
            b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n".to_vec(),
        ),
        (
            "STATUS with SIZE",
            b"* STATUS INBOX (MESSAGES 3 SIZE 4096)\r\n".to_vec(),
        ),
        (
            "STATUS with MAILBOXID",
            b"* STATUS INBOX (MAILBOXID (F1))\r\n".to_vec(),
        ),
        (
            "CAPABILITY of a rev2 server",
            b"* CAPABILITY IMAP4rev2 IDLE\r\n".to_vec(),
        ),
        (
            "CAPABILITY with a space at its end",
            b"* CAPABILITY IMAP4rev1 IDLE \r\n".to_vec(),
        ),
        (
            "literal8",
            b"* 1 FETCH (BINARY[1] ~{3}\r\na\0b)\r\n".to_vec(),
        ),
        ("FETCH of nothing", b"* 1 FETCH ()\r\n".to_vec()),
        (
            "an unknown nested item",
            b"* 1 FETCH (X-NEW ((a b) (c (d))))\r\n".to_vec(),
        ),
        (
            "LIST with CHILDINFO",
            b"* LIST () \"/\" INBOX (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n".to_vec(),
        ),
        ("a bare LF", b"* OK hello\n".to_vec()),
        (
            "a bare LF after a literal's size",
            b"* LIST () \"/\" {3}\nabc\n".to_vec(),
        ),
        ("an empty line", b"\r\n".to_vec()),
        ("a star alone", b"*\r\n* \r\n".to_vec()),
        ("NUL bytes", b"* 1 FETCH (X \0\0)\r\n".to_vec()),
        (
            "numbers beyond all bounds",
            b"* 99999999999999999999 EXISTS\r\n".to_vec(),
        ),
        ("UID 0", fetch("UID 0".to_owned())),
        (
            "a status text that ends like a literal",
            b"* OK x {100000}\r\n* BAD {5}\r\n".to_vec(),
        ),
        (
            "VANISHED",
            b"* VANISHED (EARLIER) 1:4294967295\r\n".to_vec(),
        ),
        (
            "60 KB of flags",
            fetch(format!("FLAGS ({})", "a ".repeat(30_000))),
        ),
    ]
}

#[tokio::test]
async fn odd_lines_do_not_end_a_session() {
    for (name, bytes) in survived() {
        let script = Script::logged_in()
            .examined(3, 9)
            .expect("UID SEARCH UID 10:*")
            .say_bytes(bytes.clone())
            .say(&["* SEARCH 10", "$T OK done"])
            .expect(&format!("UID FETCH 10 {WHOLE}"))
            .say_bytes(bytes.clone())
            .say(&["* 3 FETCH (UID 10 RFC822.SIZE 2 BODY[] {2}\r\nhi)"])
            .say_bytes(bytes.clone())
            .say(&["$T OK done"])
            .expect("IDLE")
            .say_bytes(bytes.clone())
            .say(&["+ idling"])
            .say_bytes(bytes)
            .say(&["* 77 EXISTS"])
            .expect_raw("DONE")
            .say(&["$T OK done"]);
        let served = script.serve().await;
        let mut session = served.examined().await;
        let found = session.survey(&cursor(9, [])).await.expect(name).uids;
        assert_eq!(found, uids([10]), "{name}");
        let read = session
            .read(&found, Part::Whole, AMPLE, &mut Shelf::default())
            .await;
        assert_eq!(told(&read.expect(name).answers), ["10 memory hi"], "{name}");
        let until = Instant::now() + Duration::from_secs(5);
        let end = session.wait(until, pending::<()>()).await.expect(name);
        assert_eq!(end, WaitEnd::Changed, "{name}");
        served.finished().await;
    }
}

#[tokio::test]
async fn odd_lines_do_not_hinder_a_login() {
    let lines: Vec<_> = survived()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("CAPABILITY"))
        .collect();
    for (name, bytes) in lines {
        let script = Script::new()
            .say(&["* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR] ready"])
            .expect("AUTHENTICATE XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==")
            .say_bytes(bytes.clone())
            .say(&["$T OK [CAPABILITY IMAP4rev1] in"])
            .expect("NOOP")
            .say_bytes(bytes)
            .say(&["$T OK done"]);
        let served = script.serve().await;
        let login = crate::script::token("u", "t");
        Session::open(&served.server(), &login).await.expect(name);
        served.finished().await;
    }
}

#[tokio::test]
async fn skipped_responses_are_counted() {
    let script = Script::logged_in()
        .examined(3, 9)
        .expect("UID SEARCH UID 10:*")
        .say(&[
            "* XYZZY",
            "* STATUS INBOX (SIZE 1)",
            "* SEARCH 10",
            "",
            "$T OK done",
        ]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    session.survey(&cursor(9, [])).await.unwrap();
    assert_eq!(session.skipped_responses(), 3);
}

/// Bytes that end a session: each as the answer to UID FETCH.
fn fatal() -> Vec<(&'static str, Vec<Step>)> {
    let say = |bytes: &[u8]| Step::Say(bytes.to_vec());
    vec![
        (
            "512 MiB announced",
            vec![say(b"* 1 FETCH (UID 1 BODY[] {536000000}\r\n")],
        ),
        (
            "4 GB announced",
            vec![say(b"* 1 FETCH (UID 1 BODY[] {4294967296}\r\n")],
        ),
        (
            "a size beyond 64 bits",
            vec![say(b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n")],
        ),
        (
            "a large literal that nobody asked for",
            vec![say(b"* LIST () \"/\" {70000}\r\n")],
        ),
        (
            "1,000 literals",
            vec![say(&[&b"* LIST ("[..], &b"{1}\r\nx ".repeat(1000)].concat())],
        ),
        (
            "two bodies in one response",
            vec![say(
                b"* 1 FETCH (BODY[] {1}\r\na BODY[] {1}\r\nb BODY[] {1}\r\nc BODY[] {1}\r\n",
            )],
        ),
        (
            "an 8 MiB line",
            vec![
                Step::Repeat(b"* OK ".to_vec(), 1),
                Step::Repeat(vec![b'x'; 65_536], 128),
            ],
        ),
        (
            "a line that never ends",
            vec![Step::Repeat(b"(".repeat(4096), 100_000)],
        ),
        (
            "100,000 parentheses",
            vec![say(format!(
                "* 1 FETCH (BODYSTRUCTURE {})\r\n",
                nested(100_000)
            )
            .as_bytes())],
        ),
        (
            "100,000 parentheses behind a status",
            vec![say(format!(
                "* OK x {{100000}}\r\n{}\r\n",
                "(".repeat(100_000)
            )
            .as_bytes())],
        ),
        (
            "a search without end",
            vec![
                Step::Repeat(b"* SEARCH".to_vec(), 1),
                Step::Repeat(b" 1234567".repeat(1000), 100_000),
            ],
        ),
        (
            "a greeting of another protocol",
            vec![say(b"HTTP/1.1 400 Bad Request\r\n")],
        ),
        ("a continuation nobody asked for", vec![say(b"+ go on\r\n")]),
    ]
}

#[tokio::test]
async fn broken_servers_end_their_own_session_only() {
    for (name, steps) in fatal() {
        let mut script = Script::logged_in()
            .examined(3, 9)
            .expect(&format!("UID FETCH 1 {WHOLE}"));
        for step in steps {
            script = script.step(step);
        }
        let served = script.gone().serve().await;
        let mut session = served.examined().await;
        let (asked, mut sink) = (uids([1]), Shelf::default());
        let read = session.read(&asked, Part::Whole, AMPLE, &mut sink);
        let error = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect(name)
            .expect_err(name);
        assert!(matches!(error, Error::Protocol(_)), "{name}: {error}");
        assert!(error.to_string().len() < 400, "{name}: {error}");
        served.finished().await;
    }
}

#[tokio::test]
async fn a_list_of_folders_has_a_bound_in_bytes_and_in_number() {
    let name = "n".repeat(60_000);
    let long = format!("* LIST (\\A \\B) \"/\" \"{name}\"\r\n");
    let marked = format!("* LIST ({}) \"/\" x\r\n", "\\A ".repeat(2_000));
    let short = "* LIST () \"/\" x\r\n".to_owned();
    for (line, count) in [(long, 100), (marked, 9_000), (short, 10_001)] {
        let script = Script::logged_in()
            .expect("LIST \"\" \"*\"")
            .step(Step::Repeat(line.into_bytes(), count));
        let served = script.gone().serve().await;
        let mut session = served.open().await.unwrap();
        let error = session.folders().await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error}");
        served.finished().await;
    }
}

#[tokio::test]
async fn long_lines_take_time_in_proportion_to_their_length() {
    // 1 MB of results in one line, in small pieces.
    let list = " 1234567".repeat(120_000);
    let mut script = Script::logged_in()
        .examined(3, 9)
        .expect("UID SEARCH UID 10:*");
    script = script.say_bytes("* SEARCH");
    for piece in list.as_bytes().chunks(512) {
        script = script.say_bytes(piece);
    }
    let served = script.say(&["", "$T OK done"]).serve().await;
    let mut session = served.examined().await;
    let began = Instant::now();
    let survey = session.survey(&cursor(9, [])).await.unwrap();
    assert_eq!(survey.uids, uids([1_234_567]));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn one_byte_per_moment_ends_at_the_deadline() {
    let drip = |bytes: &[u8]| Step::Trickle(bytes.repeat(1000), Duration::from_millis(10));
    let served = Script::new().step(drip(b"* OK hello ")).serve().await;
    let mut server = served.server();
    server.deadlines = short(Duration::from_millis(200));
    let error = Session::open(&server, &password()).await.err().unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");

    let commands = [
        ("UID SEARCH UID 10:*", "* SEARCH 10 "),
        ("IDLE", "* OK not yet "),
    ];
    for (command, bytes) in commands {
        let script = Script::logged_in().examined(3, 9).expect(command);
        let served = script.step(drip(bytes.as_bytes())).serve().await;
        let mut server = served.server();
        server.deadlines = short(Duration::from_millis(200));
        let mut session = Session::open(&server, &password()).await.unwrap();
        session.examine(&inbox()).await.unwrap();
        let error = if command == "IDLE" {
            let until = Instant::now() + Duration::from_secs(60);
            session.wait(until, pending::<()>()).await.err()
        } else {
            session.survey(&cursor(9, [])).await.err()
        };
        let error = error.unwrap();
        assert!(matches!(error, Error::Timeout { .. }), "{command}: {error}");
    }
}

#[tokio::test]
async fn one_byte_per_moment_of_a_body_is_no_progress() {
    for memory in [0, 1 << 20] {
        let script = Script::logged_in()
            .examined(3, 9)
            .expect(&format!("UID FETCH 1 {WHOLE}"))
            .say_bytes("* 1 FETCH (UID 1 BODY[] {100000}\r\n")
            .step(Step::Trickle(vec![b'x'; 1000], Duration::from_millis(10)));
        let served = script.serve().await;
        let mut server = served.server();
        server.deadlines = short(Duration::from_millis(200));
        let mut session = Session::open(&server, &password()).await.unwrap();
        session.examine(&inbox()).await.unwrap();
        let memory = postrider_imap::read::Memory {
            message_bytes: memory,
            total_bytes: memory,
        };
        let read = session
            .read(&uids([1]), Part::Whole, memory, &mut Shelf::default())
            .await;
        let error = read.err().unwrap();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}

#[tokio::test]
async fn one_sessions_trouble_is_its_own() {
    let good = Script::logged_in()
        .examined(3, 9)
        .expect("IDLE")
        .say(&["+ idling"])
        .step(Step::Pause(Duration::from_millis(300)))
        .say(&["* 4 EXISTS"])
        .expect_raw("DONE")
        .say(&["$T OK done"])
        .serve()
        .await;
    let mut session = good.examined().await;
    let watcher = tokio::spawn(async move {
        let until = Instant::now() + Duration::from_secs(10);
        session.wait(until, pending::<()>()).await.unwrap()
    });
    for count in [400, 100_000] {
        let bad = Script::new()
            .say(&[&format!("* 1 FETCH (BODYSTRUCTURE {})", nested(count))])
            .serve()
            .await;
        assert!(bad.open().await.is_err());
    }
    assert_eq!(watcher.await.unwrap(), WaitEnd::Changed);
}
