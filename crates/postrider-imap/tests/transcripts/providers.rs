//! What single providers do otherwise than the standard says: Exchange's front ends, Gmail's ids,
//! folders by role.

use std::time::Duration;

use postrider_core::{
    ids::FolderName,
    watch::{Failure, Part},
};
use postrider_imap::{
    error::Error,
    read::{Body, GmailIds},
    role::Role,
    session::{FrontEnd, Session},
    wait::WaitEnd,
};
use tokio::time::Instant;

use crate::{
    folders::cursor,
    script::{AMPLE, Script, Shelf, inbox, server, token, uids},
};

const CLASSIC: &str = "* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADMAUAAyADgAMQA=]";
const TCPPROXY: &str = "* OK Microsoft Exchange IMAP4 service ready. 0b2a1c7e-9f1d-4b6a-8e0c-5d3f2a1b0c9d (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [RgBSADMAUAAyADgAMQA=]";
const CLASSIC_AFTER: &str = "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+";
const TCPPROXY_AFTER: &str = "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE BACKENDAUTHENTICATE-IR CHILDREN IDLE NAMESPACE LITERAL+";

/// A login at Exchange: capabilities are told only when asked for, before and after.
fn exchange(greeting: &str, after: &str) -> Script {
    let initial = "dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==";
    Script::new()
        .say(&[greeting])
        .expect("CAPABILITY")
        .say(&[
            "* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            "$T OK CAPABILITY completed.",
        ])
        .expect(&format!("AUTHENTICATE XOAUTH2 {initial}"))
        .say(&["$T OK AUTHENTICATE completed."])
        .expect("CAPABILITY")
        .say(&[after, "$T OK CAPABILITY completed."])
        .expect("NAMESPACE")
        .say(&[
            "* NAMESPACE ((\"\" \"/\")) NIL NIL",
            "$T OK NAMESPACE completed.",
        ])
}

fn classic() -> Script {
    exchange(CLASSIC, CLASSIC_AFTER)
}

async fn open(script: Script) -> Session {
    let served = script.serve().await;
    Session::open(&served.server(), &token("u", "t"))
        .await
        .unwrap()
}

#[tokio::test]
async fn both_front_ends_of_exchange_are_known_by_their_greeting() {
    let session = open(classic()).await;
    assert_eq!(session.front_end(), FrontEnd::ExchangeClassic);
    let session = open(exchange(TCPPROXY, TCPPROXY_AFTER)).await;
    assert_eq!(session.front_end(), FrontEnd::ExchangeProxy);
    let session = open(exchange("* OK [ALERT] Dovecot ready.", CLASSIC_AFTER)).await;
    assert_eq!(session.front_end(), FrontEnd::Other);
}

/// A server in the half-broken rev2 mode, from the login to IDLE: every command is one that it takes,
/// and it answers searches in the form of rev2.
#[tokio::test]
async fn a_half_broken_rev2_server_is_watched_with_rev1_commands_alone() {
    let script = exchange(TCPPROXY, TCPPROXY_AFTER)
        .expect("EXAMINE \"INBOX\"")
        .say(&[
            "* 2 EXISTS",
            "* LIST () \"/\" INBOX",
            "* OK [UIDVALIDITY 14] UIDVALIDITY value",
            "* OK [UIDNEXT 12] The next unique identifier value",
            "$T OK [READ-ONLY] EXAMINE completed.",
        ])
        .expect("UID SEARCH UID *")
        .say(&[
            "* ESEARCH (TAG \"$T\") UID ALL 11",
            "$T OK SEARCH completed.",
        ])
        .expect("UID SEARCH UID 8:*")
        .say(&[
            "* ESEARCH (TAG \"$T\") UID ALL 10:11",
            "$T OK SEARCH completed.",
        ])
        .expect("IDLE")
        .say(&["+ IDLE accepted, awaiting DONE command.", "* 3 EXISTS"])
        .expect_raw("DONE")
        .say(&["$T OK IDLE completed."])
        .expect("LIST \"\" \"*\"")
        .say(&[
            "* LIST (\\HasNoChildren) \"/\" Junk Email",
            "$T OK LIST completed.",
        ]);
    let served = script.serve().await;
    let mut session = Session::open(&served.server(), &token("u", "t"))
        .await
        .unwrap();
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.highest, uids([11]).first().copied());
    let survey = session.survey(&cursor(7, [])).await.unwrap();
    assert_eq!(survey.uids, uids([10, 11]));
    let until = Instant::now() + Duration::from_secs(10);
    let ended = session.wait(until, std::future::pending::<()>()).await;
    assert_eq!(ended.unwrap(), WaitEnd::Changed);
    let junk = session.folder_of(Role::Junk).await.unwrap();
    assert_eq!(junk.as_str(), "Junk Email");
    served.finished().await;
}

#[tokio::test]
async fn a_token_that_ran_out_is_told_in_place_of_any_reply() {
    let bye = "* BYE Session invalidated - AccessTokenExpired";
    for end in [bye, "* BYE Session expired, please login again."] {
        let script = classic().examined(1, 4).expect("UID SEARCH UID 5:*");
        let served = script.say(&[end]).close().serve().await;
        let mut session = Session::open(&served.server(), &token("u", "t"))
            .await
            .unwrap();
        session.examine(&inbox()).await.unwrap();
        let error = session.survey(&cursor(4, [])).await.unwrap_err();
        assert_eq!(error.failure(), Failure::TokenExpired);
        assert!(session.is_closed());
    }
    // In IDLE, after it, and as the first thing after DONE.
    let idle = classic()
        .examined(1, 4)
        .expect("IDLE")
        .say(&["+ IDLE accepted, awaiting DONE command."]);
    let in_idle = idle.clone().say(&[bye]).close();
    let at_done = idle.expect_raw("DONE").say(&[bye]).close();
    for (script, millis) in [(in_idle, 10_000), (at_done, 20)] {
        let served = script.serve().await;
        let mut session = Session::open(&served.server(), &token("u", "t"))
            .await
            .unwrap();
        session.examine(&inbox()).await.unwrap();
        let until = Instant::now() + Duration::from_millis(millis);
        let ended = session.wait(until, std::future::pending::<()>()).await;
        assert_eq!(ended.unwrap_err().failure(), Failure::TokenExpired);
    }
}

#[tokio::test]
async fn a_throttle_is_understood_in_every_form() {
    let said = "Request is throttled. Suggested Backoff Time: 92415 milliseconds";
    let bye = "* BYE Connection closed. 14";
    let forms: [Vec<String>; 4] = [
        vec![format!("$T NO {said}")],
        vec![format!("$T BAD {said}")],
        vec![format!("$T BAD {said}"), bye.to_owned()],
        vec![format!("* BYE {said}")],
    ];
    for form in forms {
        let lines: Vec<&str> = form.iter().map(String::as_str).collect();
        let script = classic().expect("EXAMINE \"INBOX\"").say(&lines).close();
        let served = script.serve().await;
        let mut session = Session::open(&served.server(), &token("u", "t"))
            .await
            .unwrap();
        let error = session.examine(&inbox()).await.unwrap_err();
        let retry_after = Some(Duration::from_millis(92_415));
        assert_eq!(error.failure(), Failure::Throttled { retry_after });
    }
}

#[tokio::test]
async fn a_line_that_is_no_imap_ends_the_session_as_an_outage() {
    let script = classic()
        .expect("EXAMINE \"INBOX\"")
        .say(&["Server Unavailable. 15", "* BYE Connection closed."])
        .close();
    let served = script.serve().await;
    let mut session = Session::open(&served.server(), &token("u", "t"))
        .await
        .unwrap();
    let error = session.examine(&inbox()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(error.failure(), Failure::Connection);
}

/// Exchange rebuilds messages at each reading, and its sizes are estimates.
#[tokio::test]
async fn bytes_that_differ_between_readings_and_from_their_size_are_whole_messages() {
    let whole = "(UID INTERNALDATE RFC822.SIZE FLAGS BODY.PEEK[])";
    let date = "INTERNALDATE \"17-Jul-1996 02:44:25 -0700\"";
    let body = |text: &str| {
        let size = text.len();
        format!("* 1 FETCH (UID 4 {date} RFC822.SIZE 4711 FLAGS () BODY[] {{{size}}}\r\n{text})")
    };
    let script = Script::logged_in()
        .examined(1, 4)
        .expect(&format!("UID FETCH 4 {whole}"))
        .say(&[&body("a: b\r\n\r\none"), "$T OK FETCH completed."])
        .expect(&format!("UID FETCH 4 {whole}"))
        .say(&[&body("a: b\r\n\r\nanother"), "$T OK FETCH completed."]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    for expected in ["a: b\r\n\r\none", "a: b\r\n\r\nanother"] {
        let mut shelf = Shelf::default();
        let asked = uids([4]);
        let read = session.read(&asked, Part::Whole, AMPLE, &mut shelf);
        let read = read.await.unwrap();
        match &read.answers[0].body {
            Body::Memory(bytes) => assert_eq!(bytes, expected),
            body => panic!("{body:?}"),
        }
    }
}

#[tokio::test]
async fn gmails_ids_are_read_where_gmail_offers_them() {
    let items = "(UID INTERNALDATE RFC822.SIZE FLAGS X-GM-MSGID X-GM-THRID BODY.PEEK[])";
    let script = Script::logged_in_offering("IMAP4rev1 IDLE X-GM-EXT-1")
        .examined(2, 5)
        .expect(&format!("UID FETCH 4:5 {items}"))
        .say(&[
            "* 1 FETCH (X-GM-THRID 1266894439832287888 X-GM-MSGID 18446744073709551615 UID 4 RFC822.SIZE 2 FLAGS () INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] {2}",
            "hi)",
            "* 2 FETCH (UID 5 RFC822.SIZE 2 FLAGS () INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] {2}",
            "ho)",
            "$T OK Success [THROTTLED]",
        ]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let mut shelf = Shelf::default();
    let asked = uids([4, 5]);
    let read = session.read(&asked, Part::Whole, AMPLE, &mut shelf);
    let read = read.await.unwrap();
    let ids = GmailIds {
        message_id: u64::MAX,
        thread_id: 1_266_894_439_832_287_888,
    };
    assert_eq!(read.answers[0].gmail, Some(ids));
    assert_eq!(read.answers[1].gmail, None);
    assert!(!session.is_closed(), "slowness beside an OK is no refusal");
}

#[tokio::test]
async fn a_role_is_the_folder_that_the_server_marks_or_that_has_a_known_name() {
    let list = |lines: &[&str]| {
        let mut all = lines.to_vec();
        all.push("$T OK LIST completed.");
        Script::logged_in().expect("LIST \"\" \"*\"").say(&all)
    };
    let marked = list(&[
        "* LIST (\\HasNoChildren) \"/\" \"INBOX\"",
        "* LIST (\\HasNoChildren \\Junk) \"/\" \"[Gmail]/Spam\"",
    ]);
    let named = list(&[
        "* LIST (\\HasNoChildren) \"/\" INBOX",
        "* LIST (\\HasNoChildren) \"/\" {24}",
        "Courrier ind&AOk-sirable",
        "* LIST (\\Noselect) NIL \"Junk Email\"",
    ]);
    for (script, expected) in [(marked, "[Gmail]/Spam"), (named, "Courrier indésirable")] {
        let served = script.serve().await;
        let mut session = served.open().await.unwrap();
        let folder = session.folder_of(Role::Junk).await.unwrap();
        assert_eq!(folder, FolderName::new(expected));
        served.finished().await;
    }
}

#[tokio::test]
async fn a_role_without_a_folder_names_what_is_there() {
    let script = Script::logged_in()
        .expect("LIST \"\" \"*\"")
        .say(&[
            "* LIST () \"/\" INBOX",
            "* LIST () \"/\" \"Werbung\"",
            "$T OK done",
        ])
        .examined(0, 0);
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let error = session.folder_of(Role::Junk).await.unwrap_err();
    assert_eq!(error.failure(), Failure::FolderMissing);
    assert!(
        error
            .to_string()
            .contains("\\Junk; there are: INBOX, Werbung")
    );
    session.examine(&inbox()).await.unwrap();
    served.finished().await;
}

#[tokio::test]
async fn where_examine_tells_no_uidnext_it_is_asked_for() {
    let examine = || {
        Script::logged_in().expect("EXAMINE \"INBOX\"").say(&[
            "* 0 EXISTS",
            "* OK [UIDVALIDITY 14] UIDVALIDITY value",
            "$T OK [READ-ONLY] EXAMINE completed.",
        ])
    };
    let told = [
        "* STATUS \"INBOX\" (UIDNEXT 4370)",
        "$T OK STATUS completed.",
    ];
    let refused = ["$T NO STATUS of the open folder"];
    for (answer, expected) in [(&told[..], Some(4370)), (&refused[..], None)] {
        let script = examine()
            .expect("STATUS \"INBOX\" (UIDNEXT)")
            .say(answer)
            .expect("UID SEARCH ALL")
            .say(&["* SEARCH", "$T OK done"]);
        let served = script.serve().await;
        let mut session = served.open().await.unwrap();
        let selected = session.examine(&inbox()).await.unwrap();
        assert_eq!(
            selected.uid_next.map(postrider_core::ids::Uid::get),
            expected
        );
        served.finished().await;
    }
}

#[tokio::test]
async fn a_message_is_found_by_its_id() {
    let script = Script::logged_in()
        .examined(3, 9)
        .expect("UID SEARCH HEADER Message-ID \"<a\\\"b@example.org>\"")
        .say(&["* SEARCH 7", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let found = session.search_message_id("<a\"b@example.org>").await;
    assert_eq!(found.unwrap(), uids([7]));
    for wrong in ["", "<é@example.org>", "<a\r\nP9 DELETE INBOX>"] {
        let refused = session.search_message_id(wrong).await.unwrap_err();
        assert!(matches!(refused, Error::Argument { .. }));
    }
    served.finished().await;
}

/// A connection that is accepted and swallowed is given up as a whole, not once for each step.
#[tokio::test]
async fn reaching_a_server_has_one_deadline() {
    let limit = Duration::from_millis(300);
    let script = Script::new().say(&["* OK ready"]).expect("CAPABILITY");
    let served = script.gone().serve().await;
    let mut at = server(served.address);
    at.deadlines.reach = limit;
    let began = Instant::now();
    let error = Session::open(&at, &token("u", "t")).await.err().unwrap();
    assert_eq!(error.failure(), Failure::Connection);
    assert!(began.elapsed() < 10 * limit);
}
