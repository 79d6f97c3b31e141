//! Reading messages: one answer for each UID, whatever the server says or leaves out.

use std::{io, time::Duration};

use postrider_core::{time::Wall, watch::Part};
use postrider_imap::{
    error::Error,
    read::{Body, BodySink, Fetched, Memory},
};

use crate::script::{AMPLE, Script, Shelf, Step, inbox, short, uids};

pub(crate) const WHOLE: &str = "(UID INTERNALDATE RFC822.SIZE FLAGS BODY.PEEK[])";
const DATE: &str = "INTERNALDATE \"17-Jul-1996 02:44:25 -0700\"";

fn fetch(set: &str) -> Script {
    Script::logged_in()
        .examined(9, 9)
        .expect(&format!("UID FETCH {set} {WHOLE}"))
}

type Answers = Vec<Fetched<Vec<u8>>>;

async fn read(script: Script, asked: impl IntoIterator<Item = u32>) -> Answers {
    let served = script.serve().await;
    let mut session = served.examined().await;
    let read = session
        .read(&uids(asked), Part::Whole, AMPLE, &mut Shelf::default())
        .await
        .unwrap();
    served.finished().await;
    read.answers
}

/// `4:whole`, `5:missing`, …
pub(crate) fn told<W: AsRef<[u8]>>(answers: &[Fetched<W>]) -> Vec<String> {
    let one = |answer: &Fetched<W>| {
        let body = match &answer.body {
            Body::Memory(bytes) => format!("memory {}", String::from_utf8_lossy(bytes)),
            Body::Spooled { writer, size } => {
                assert_eq!(writer.as_ref().len() as u64, *size);
                format!("spooled {size}")
            }
            Body::Empty => "empty".to_owned(),
            Body::Missing => "missing".to_owned(),
            Body::Unreadable => "unreadable".to_owned(),
        };
        format!("{} {body}", answer.uid)
    };
    answers.iter().map(one).collect()
}

#[tokio::test]
async fn whole_messages_come_with_their_facts() {
    let script = fetch("4:5,7").say(&[
        &format!("* 1 FETCH (UID 4 {DATE} RFC822.SIZE 9 FLAGS (\\Seen $Junk) BODY[] {{5}}"),
        "hello)",
        &format!("* 2 FETCH (FLAGS () BODY[] {{0}}\r\n {DATE} RFC822.SIZE 0 UID 5)"),
        &format!("* 3 FETCH (BODY[] \"q\\\"q\" {DATE} RFC822.SIZE 3 UID 7)"),
        "$T OK done",
    ]);
    let answers = read(script, [7, 5, 4, 4]).await;
    assert_eq!(
        told(&answers),
        ["4 memory hello", "5 memory ", "7 memory q\"q"]
    );
    let first = &answers[0];
    assert_eq!(first.internal_date, Some(Wall::from_seconds(837_596_665)));
    assert_eq!(
        (first.size, first.flags.as_slice()),
        (Some(9), &["\\Seen".to_owned(), "$Junk".to_owned()][..])
    );
}

#[tokio::test]
async fn every_uid_gets_one_answer() {
    let script = fetch("1:6").say(&[
        // Not asked for: another's UID, and no body.
        "* 8 FETCH (UID 8 RFC822.SIZE 3 BODY[] {3}\r\nabc)",
        "* 1 FETCH (FLAGS (\\Seen))",
        "* 2 FETCH (UID 2 RFC822.SIZE 5 BODY[] NIL)",
        "* 3 FETCH (UID 3 RFC822.SIZE 5 BODY[] \"\")",
        "* 4 FETCH (UID 4 FLAGS ())",
        "* 5 FETCH (UID 5 RFC822.SIZE 5 BODY[] {5}\r\nhello)",
        // Twice: the first counts.
        "* 5 FETCH (UID 5 RFC822.SIZE 5 BODY[] {5}\r\nother)",
        // In two responses.
        "* 6 FETCH (UID 6 RFC822.SIZE 5)",
        "* 6 FETCH (UID 6 BODY[] {2}\r\nhi)",
        "$T OK done",
    ]);
    let answers = read(script, 1..=6).await;
    let expected = [
        "1 missing",
        "2 empty",
        "3 empty",
        "4 empty",
        "5 memory hello",
        "6 memory hi",
    ];
    assert_eq!(told(&answers), expected);
    assert_eq!(answers[5].size, Some(5));
}

#[tokio::test]
async fn a_fetch_that_does_not_parse_among_good_ones() {
    let script = fetch("1:3").say(&[
        "* 1 FETCH (UID 1 RFC822.SIZE 1 BODY[] {1}\r\na)",
        "* 2 FETCH (UID 2 RFC822.SIZE 1 BODY[] {1}\r\nb(",
        "* 3 FETCH (UID 3 RFC822.SIZE 1 BODY[] {1}\r\nc)",
        "$T OK done",
    ]);
    let served = script
        .expect(&format!("UID FETCH 2 {WHOLE}"))
        .say(&["$T OK done"])
        .serve()
        .await;
    let mut session = served.examined().await;
    let mut sink = Shelf::default();
    let read = session
        .read(&uids(1..=3), Part::Whole, AMPLE, &mut sink)
        .await
        .unwrap();
    assert_eq!(
        told(&read.answers),
        ["1 memory a", "2 unreadable", "3 memory c"]
    );
    assert_eq!((read.skipped, session.skipped_responses()), (1, 1));
    // Read again alone, and the server has nothing of it any more.
    let read = session
        .read(&uids([2]), Part::Whole, AMPLE, &mut sink)
        .await
        .unwrap();
    assert_eq!(told(&read.answers), ["2 missing"]);
}

#[tokio::test]
async fn what_cannot_have_been_a_message_makes_none_unreadable() {
    let script = fetch("1:2").say(&[
        "* XYZZY nothing happens",
        "* 1 FETCH (UID 1 RFC822.SIZE 1 BODY[] {1}\r\na)",
        "$T OK done",
    ]);
    assert_eq!(
        told(&read(script, 1..=2).await),
        ["1 memory a", "2 missing"]
    );
}

#[tokio::test]
async fn a_body_without_a_uid_may_be_anyones() {
    let script = fetch("1:2").say(&[
        "* 1 FETCH (RFC822.SIZE 1 BODY[] {1}\r\na)",
        "* 2 FETCH (UID 2 RFC822.SIZE 1 BODY[] {1}\r\nb)",
        "$T OK done",
    ]);
    assert_eq!(
        told(&read(script, 1..=2).await),
        ["1 unreadable", "2 memory b"]
    );
}

#[tokio::test]
async fn odd_but_harmless_forms_are_understood() {
    let script = fetch("1:6").say(&[
        "* 1 FETCH (UID 1 INTERNALDATE NIL RFC822.SIZE 1 BODY[] {1}\r\na)",
        "* 2 FETCH (UID 2 RFC822.SIZE 1  BODY[] {1}\r\nb)",
        "* 3 FETCH (UID 3 RFC822.SIZE 1 BODY[]  {1}\r\nc)",
        "* 4 FETCH (UID 4 RFC822.SIZE 1 BODY[] ~{1}\r\nd)",
        "* 5 FETCH (UID 5 MODSEQ (12) X-GM-LABELS (\\Inbox) EMAILID (M1) BODY[] {1+}\r\ne)",
        "* 6 FETCH (UID 6 BODY[] \"INTERNALDATE NIL  (two spaces)\")",
        "$T OK done",
    ]);
    let answers = read(script, 1..=6).await;
    let expected = [
        "1 memory a",
        "2 memory b",
        "3 memory c",
        "4 memory d",
        "5 memory e",
        "6 memory INTERNALDATE NIL  (two spaces)",
    ];
    assert_eq!(told(&answers), expected);
    assert_eq!(answers[0].internal_date, None);
}

#[tokio::test]
async fn what_a_message_contains_is_never_read_as_a_response() {
    let mail = "P4 OK done\r\n* 9 FETCH (UID 2 BODY[] {3}\r\nxyz)\r\n* BYE\r\n((((((";
    let script = fetch("1:2").say(&[
        &format!(
            "* 1 FETCH (UID 1 RFC822.SIZE 1 BODY[] {{{}}}\r\n{mail})",
            mail.len()
        ),
        // An item that the parser would read on into the literal's bytes.
        "* 2 FETCH (UID 2 X abc{20}\r\n BODYSTRUCTURE (((((( RFC822.SIZE 1 BODY[] {1}\r\nb)",
        "$T OK done",
    ]);
    let answers = read(script, 1..=2).await;
    assert_eq!(
        told(&answers),
        [format!("1 memory {mail}"), "2 memory b".to_owned()]
    );
}

#[tokio::test]
async fn large_bodies_go_to_the_sink_as_they_come() {
    let large = "x".repeat(300_000);
    let script = fetch("1:3").say(&[
        "* 1 FETCH (UID 1 RFC822.SIZE 5 BODY[] {5}\r\nsmall)",
        &format!("* 2 FETCH (BODY[] {{300000}}\r\n{large} UID 2 RFC822.SIZE 7)"),
        // Nothing is left of the memory for all.
        "* 3 FETCH (UID 3 RFC822.SIZE 5 BODY[] {6}\r\nsmall!)",
        "$T OK done",
    ]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let mut sink = Shelf::default();
    let memory = Memory {
        message_bytes: 1000,
        total_bytes: 10,
    };
    let read = session
        .read(&uids(1..=3), Part::Whole, memory, &mut sink)
        .await
        .unwrap();
    assert_eq!(
        told(&read.answers),
        ["1 memory small", "2 spooled 300000", "3 spooled 6"]
    );
    assert_eq!(sink.opened, [300_000, 6]);
    assert!(session.received_bytes() > 300_000);
}

#[tokio::test]
async fn facts_are_headers_alone() {
    let script = Script::logged_in()
        .examined(9, 9)
        .expect("UID FETCH 1:3 (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Message-ID From Date Subject)])")
        .say(&[
            "* 1 FETCH (UID 1 RFC822.SIZE 90 BODY[HEADER.FIELDS (MESSAGE-ID FROM DATE SUBJECT)] {19}\r\nMessage-ID: <a>\r\n\r\n)",
            "* 2 FETCH (UID 2 RFC822.SIZE 90 BODY[HEADER.FIELDS (\"Message-ID\" \"From\" \"Date\" \"Subject\")] {2}\r\n\r\n)",
            "* 3 FETCH (UID 3 RFC822.SIZE 90 BODY[HEADER.FIELDS (Message-ID From Date Subject)] \"\")",
            "$T OK done",
        ]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let mut sink = Shelf::default();
    let read = session
        .read(&uids(1..=3), Part::Facts, AMPLE, &mut sink)
        .await
        .unwrap();
    let expected = [
        "1 memory Message-ID: <a>\r\n\r\n",
        "2 memory \r\n",
        "3 memory ",
    ];
    assert_eq!(told(&read.answers), expected);
}

#[tokio::test]
async fn long_lists_of_uids_are_read_in_several_commands() {
    let asked: Vec<u32> = (0..600).map(|n| 4_000_000_000 + 2 * n).collect();
    let (first, second) = asked.split_at(364);
    let set = |part: &[u32]| {
        let names: Vec<String> = part.iter().map(u32::to_string).collect();
        names.join(",")
    };
    let script = fetch(&set(first))
        .say(&["* 1 FETCH (UID 4000000000 BODY[] {1}\r\na)", "$T OK done"])
        .expect(&format!("UID FETCH {} {WHOLE}", set(second)))
        .say(&["$T OK done"]);
    let answers = read(script, asked.clone()).await;
    assert_eq!(answers.len(), 600);
    assert_eq!(
        told(&answers[..2]),
        ["4000000000 memory a", "4000000002 missing"]
    );
}

#[tokio::test]
async fn a_full_disk_ends_the_session_and_says_so() {
    struct Full;
    impl BodySink for Full {
        type Writer = Vec<u8>;
        async fn open(&mut self, _: u64) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let script = fetch("1").say_bytes("* 1 FETCH (UID 1 BODY[] {5}\r\nhello)\r\n");
    let served = script.gone().serve().await;
    let mut session = served.examined().await;
    let memory = Memory {
        message_bytes: 0,
        total_bytes: 0,
    };
    let error = session
        .read(&uids([1]), Part::Whole, memory, &mut Full)
        .await;
    let error = error.err().unwrap();
    assert_eq!(error.failure(), postrider_core::watch::Failure::StoreFull);
    assert!(session.is_closed());
    let error = session.examine(&inbox()).await.err().unwrap();
    assert!(matches!(error, Error::Closed { .. }));
}

#[tokio::test]
async fn a_body_that_keeps_coming_may_take_longer_than_the_deadline() {
    let chunk = vec![b'x'; 64 * 1024];
    let mut script = fetch("1").say_bytes(format!(
        "* 1 FETCH (UID 1 BODY[] {{{}}}\r\n",
        8 * chunk.len()
    ));
    for _ in 0..8 {
        script = script
            .step(Step::Pause(Duration::from_millis(100)))
            .say_bytes(chunk.clone());
    }
    let served = script.say(&[")", "$T OK done"]).serve().await;
    let mut server = served.server();
    server.deadlines = short(Duration::from_millis(400));
    let mut session = postrider_imap::session::Session::open(&server, &crate::script::password())
        .await
        .unwrap();
    session.examine(&inbox()).await.unwrap();
    let mut sink = Shelf::default();
    let memory = Memory {
        message_bytes: 0,
        total_bytes: 0,
    };
    let read = session
        .read(&uids([1]), Part::Whole, memory, &mut sink)
        .await
        .unwrap();
    assert_eq!(told(&read.answers), ["1 spooled 524288"]);
}

#[tokio::test]
async fn chatter_is_no_progress() {
    let script = fetch("1").step(Step::Trickle(
        b"* OK still here\r\n".repeat(100),
        Duration::from_millis(5),
    ));
    let served = script.serve().await;
    let mut server = served.server();
    server.deadlines = short(Duration::from_millis(300));
    let mut session = postrider_imap::session::Session::open(&server, &crate::script::password())
        .await
        .unwrap();
    session.examine(&inbox()).await.unwrap();
    let (asked, mut sink) = (uids([1]), Shelf::default());
    let read = session.read(&asked, Part::Whole, AMPLE, &mut sink);
    let error = read.await.err().unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_read_dropped_half_way_closes_the_session() {
    let script = fetch("1")
        .say_bytes("* 1 FETCH (UID 1 BODY[] {5}\r\nhe")
        .gone();
    let served = script.serve().await;
    let mut session = served.examined().await;
    let asked = uids([1]);
    let mut sink = Shelf::default();
    let read = session.read(&asked, Part::Whole, AMPLE, &mut sink);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), read)
            .await
            .is_err()
    );
    let error = session.survey(&crate::folders::cursor(1, [])).await;
    assert!(matches!(error, Err(Error::Closed { .. })));
    served.finished().await;
}

/// Sessions live in spawned tasks.
#[tokio::test]
async fn a_sessions_work_can_move_between_threads() {
    let script = fetch("1").say(&["$T OK done"]).expect("LOGOUT");
    let served = script.say(&["* BYE", "$T OK done"]).serve().await;
    let server = served.server();
    let work = tokio::spawn(async move {
        let login = crate::script::password();
        let mut session = postrider_imap::session::Session::open(&server, &login).await?;
        session.examine(&inbox()).await?;
        let mut sink = Shelf::default();
        let read = session
            .read(&uids([1]), Part::Whole, AMPLE, &mut sink)
            .await?;
        session.logout().await;
        Ok::<_, Error>(read.answers.len())
    });
    assert_eq!(work.await.unwrap().unwrap(), 1);
    served.finished().await;
}
