//! EXAMINE, the highest UID, surveys and the audit's search.

use postrider_core::{
    cursor::{Cursor, Epoch},
    ids::{FolderName, Uid, UidValidity},
    time::Wall,
    watch::Failure,
};
use postrider_imap::error::Error;

use crate::script::{Script, inbox, uids};

pub(crate) fn cursor(last: u32, gaps: impl IntoIterator<Item = u32>) -> Cursor {
    Cursor {
        uid_validity: UidValidity(14),
        epoch: Epoch::default(),
        last: Uid::new(last),
        floor: None,
        gaps: uids(gaps),
        anchor: None,
        sieve: None,
    }
}

#[tokio::test]
async fn examine_tells_what_the_watch_needs() {
    let served = Script::logged_in().examined(3, 4369).serve().await;
    let mut session = served.open().await.unwrap();
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.uid_validity, UidValidity(14));
    assert_eq!(selected.uid_next, Uid::new(4370));
    assert_eq!((selected.exists, session.exists()), (3, 3));
    assert_eq!(selected.highest, Uid::new(4369));
    assert_eq!(selected.session_ends, None);
    served.finished().await;
}

#[tokio::test]
async fn an_empty_folder_has_no_highest_uid() {
    let served = Script::logged_in().examined(0, 41).serve().await;
    let mut session = served.open().await.unwrap();
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.highest, None);
}

#[tokio::test]
async fn the_highest_uid_is_found_where_the_server_refuses_the_star() {
    let script = Script::logged_in()
        .expect("EXAMINE \"INBOX\"")
        .say(&[
            "* 3 EXISTS",
            "* OK [UIDVALIDITY 1]",
            "* OK [UIDNEXT 99]",
            "$T OK done",
        ])
        .expect("UID SEARCH UID *")
        .say(&["$T BAD Command Argument Error. 12"])
        .expect("NOOP")
        .say(&["$T OK done"])
        .expect("FETCH 3 (UID)")
        .say(&["* 3 FETCH (UID 77)", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.highest, Uid::new(77));
}

#[tokio::test]
async fn a_folder_emptied_meanwhile_is_empty() {
    let script = Script::logged_in()
        .expect("EXAMINE \"INBOX\"")
        .say(&[
            "* 1 EXISTS",
            "* OK [UIDVALIDITY 1]",
            "* OK [UIDNEXT 99]",
            "$T OK done",
        ])
        .expect("UID SEARCH UID *")
        .say(&["* SEARCH", "$T OK done"])
        .expect("NOOP")
        .say(&["* 1 EXPUNGE", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.highest, None);
}

#[tokio::test]
async fn messages_that_cannot_be_found_are_no_empty_folder() {
    let script = Script::logged_in()
        .expect("EXAMINE \"INBOX\"")
        .say(&[
            "* 5 EXISTS",
            "* OK [UIDVALIDITY 1]",
            "* OK [UIDNEXT 99]",
            "$T OK done",
        ])
        .expect("UID SEARCH UID *")
        .say(&["* SEARCH", "$T OK done"])
        .expect("NOOP")
        .say(&["$T OK done"])
        .expect("FETCH 5 (UID)")
        .say(&["$T OK done"])
        .gone();
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let error = session.examine(&inbox()).await.err().unwrap();
    assert!(error.to_string().contains("5 messages"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_leaves_the_session_usable() {
    let script = Script::logged_in()
        .expect("EXAMINE \"&AMk-l&AOk-ments\"")
        .say(&["$T NO [NONEXISTENT] Mailbox doesn't exist"])
        .examined(1, 1);
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let error = session.examine(&FolderName::new("Éléments")).await;
    let error = error.err().unwrap();
    assert_eq!(error.failure(), Failure::FolderMissing);
    session.examine(&inbox()).await.unwrap();
}

#[tokio::test]
async fn a_folder_name_cannot_carry_a_second_command() {
    let served = Script::logged_in().gone().serve().await;
    let mut session = served.open().await.unwrap();
    for name in ["a\r\nP9 DELETE b", "a\0", "a\nb"] {
        let error = session.examine(&FolderName::new(name)).await.err().unwrap();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    assert!(!session.is_closed());
    drop(session);
    served.finished().await;
}

#[tokio::test]
async fn a_folder_without_uidvalidity_cannot_be_watched() {
    let script = Script::logged_in()
        .expect("EXAMINE \"INBOX\"")
        .say(&["* 3 EXISTS", "$T OK done"])
        .gone();
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let error = session.examine(&inbox()).await.err().unwrap();
    assert!(error.to_string().contains("UIDVALIDITY"), "{error}");
}

#[tokio::test]
async fn an_untagged_no_is_a_warning() {
    let script = Script::logged_in()
        .expect("EXAMINE \"INBOX\"")
        .say(&[
            "* NO Mailbox is at 95% of quota",
            "* 1 EXISTS",
            "* [UIDVALIDITY 14] a code without its OK",
            "* [UIDNEXT 10] another",
            "$T OK done",
        ])
        .expect("UID SEARCH UID *")
        .say(&["* SEARCH 9", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.open().await.unwrap();
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.uid_validity, UidValidity(14));
}

#[tokio::test]
async fn a_survey_drops_the_last_message_that_the_star_brings() {
    let script = Script::logged_in()
        .examined(3, 9)
        .expect("UID SEARCH UID 10:*")
        .say(&["* SEARCH 9", "$T OK done"])
        .expect("UID SEARCH UID 9:*")
        .say(&["* SEARCH 11 9 10 11", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let survey = session.survey(&cursor(9, [])).await.unwrap();
    assert_eq!(survey.uids, []);
    let survey = session.survey(&cursor(8, [])).await.unwrap();
    assert_eq!(survey.uids, uids([9, 10, 11]));
    served.finished().await;
}

#[tokio::test]
async fn gaps_are_asked_for_by_name() {
    let script = Script::logged_in()
        .examined(3, 9)
        .expect("UID SEARCH UID 2:4,7")
        .say(&["* SEARCH 3 7 8", "$T OK done"])
        .expect("UID SEARCH UID 10:*")
        .say(&["* ESEARCH (TAG \"$T\") UID ALL 12:13", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let survey = session.survey(&cursor(9, [2, 3, 4, 7])).await.unwrap();
    assert_eq!(survey.uids, uids([3, 7, 12, 13]));
}

#[tokio::test]
async fn a_huge_folder_is_surveyed_in_windows() {
    let script = Script::logged_in()
        .examined(100_000, 250_000)
        .expect("UID SEARCH UID 1:80000")
        .say(&["* SEARCH 1 80000", "$T OK done"])
        .expect("UID SEARCH UID 80001:160000")
        .say(&["* SEARCH", "$T OK done"])
        .expect("UID SEARCH UID 160001:240000")
        .say(&["* SEARCH 200000", "$T OK done"])
        .expect("UID SEARCH UID 240001:*")
        .say(&["* SEARCH 250000 250001", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let survey = session.survey(&cursor(0, [])).await.unwrap();
    let expected = uids([1, 80_000, 200_000, 250_000, 250_001]);
    assert_eq!(survey.uids, expected);
    served.finished().await;
}

#[tokio::test]
async fn a_survey_of_a_full_window_fits_one_line() {
    let from = 4_294_000_000u32;
    let list: String = (from..from + 80_000).map(|uid| format!(" {uid}")).collect();
    let script = Script::logged_in()
        .examined(80_000, from + 79_999)
        .expect(&format!("UID SEARCH UID {from}:*"))
        .say(&[&format!("* SEARCH{list}"), "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let survey = session.survey(&cursor(from - 1, [])).await.unwrap();
    assert_eq!(survey.uids.len(), 80_000);
}

#[tokio::test]
async fn the_last_uid_of_all_leaves_nothing_to_survey() {
    let served = Script::logged_in().examined(1, 7).gone().serve().await;
    let mut session = served.examined().await;
    let survey = session.survey(&cursor(u32::MAX, [])).await.unwrap();
    assert_eq!(survey.uids, []);
    drop(session);
    served.finished().await;
}

#[tokio::test]
async fn a_search_reply_that_cannot_be_read_is_no_empty_survey() {
    for line in [
        "* SEARCH 1 2 x",
        "* ESEARCH (TAG \"A\") UID COUNT 3",
        "* ESEARCH UID ALL 1:4294967295",
    ] {
        let script = Script::logged_in()
            .examined(3, 9)
            .expect("UID SEARCH UID 10:*")
            .say(&[line, "$T OK done"])
            .gone();
        let served = script.serve().await;
        let mut session = served.examined().await;
        let error = session.survey(&cursor(9, [])).await.err().unwrap();
        assert!(matches!(error, Error::Protocol(_)), "{line}: {error}");
        served.finished().await;
    }
}

#[tokio::test]
async fn the_audit_searches_by_day() {
    let script = Script::logged_in()
        .examined(3, 9)
        .expect("UID SEARCH UID 1:* SINCE 22-Nov-2026")
        .say(&["* SEARCH 8 9", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let since = Wall::from_seconds(1_795_392_000);
    assert_eq!(session.search_since(since).await.unwrap(), uids([8, 9]));
}

#[tokio::test]
async fn logout_waits_for_the_servers_word() {
    let script = Script::logged_in()
        .expect("LOGOUT")
        .say(&["* BYE signing off", "$T OK LOGOUT completed."])
        .gone();
    let served = script.serve().await;
    served.open().await.unwrap().logout().await;
    served.finished().await;
}
