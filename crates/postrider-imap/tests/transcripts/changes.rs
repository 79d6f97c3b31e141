//! Changes by UID on a session of their own kind.

use postrider_core::ids::{FolderName, UidValidity};
use postrider_imap::{
    change::{ChangeError, Editor},
    error::Error,
};

use crate::script::{Script, inbox, uids};

fn selected(capabilities: &str, permanent: &str) -> Script {
    Script::logged_in_offering(capabilities)
        .expect("SELECT \"INBOX\"")
        .say(&[
            "* 3 EXISTS",
            &format!("* OK [PERMANENTFLAGS ({permanent})] Limited"),
            "* OK [UIDVALIDITY 14] UIDVALIDITY value",
            "$T OK [READ-WRITE] SELECT completed.",
        ])
}

const FLAGS: &str = "\\Seen \\Flagged \\Deleted";

#[tokio::test]
async fn what_is_there_is_moved_by_its_uid() {
    let script = selected("IMAP4rev1 MOVE UIDPLUS", FLAGS)
        .expect("UID SEARCH UID 3:4,9")
        .say(&["* SEARCH 3 9 12", "$T OK done"])
        .expect("UID MOVE 3,9 \"Done &AOQ- \\\"x\\\"\"")
        .say(&[
            "* OK [COPYUID 5 3,9 1:2] Moved",
            "* 1 EXPUNGE",
            "* 1 EXPUNGE",
            "$T OK Done",
        ]);
    let served = script.serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    assert_eq!(editor.uid_validity(), UidValidity(14));
    let present = editor
        .present(&uids([3, 4, 9]).into_iter().collect::<Vec<_>>())
        .await;
    let present = present.unwrap();
    assert_eq!(present.len(), 2, "{present:?}");
    let target = FolderName::new("Done ä \"x\"");
    editor.move_to(&present, &target).await.unwrap();
    served.finished().await;
}

#[tokio::test]
async fn without_move_the_original_is_removed_by_its_uid_alone() {
    let script = selected("IMAP4rev1 UIDPLUS", FLAGS)
        .expect("UID COPY 3 \"Done\"")
        .say(&["$T OK done"])
        .expect("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
        .say(&["$T OK done"])
        .expect("UID EXPUNGE 3")
        .say(&["* 1 EXPUNGE", "$T OK done"]);
    let served = script.serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let uids: Vec<_> = uids([3]).into_iter().collect();
    editor.move_to(&uids, &"Done".into()).await.unwrap();
    served.finished().await;
}

#[tokio::test]
async fn a_copy_that_is_refused_removes_nothing() {
    let script = selected("IMAP4rev1 UIDPLUS", FLAGS)
        .expect("UID COPY 3 \"Done\"")
        .say(&["$T NO [TRYCREATE] no such folder"]);
    let served = script.serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let uids: Vec<_> = uids([3]).into_iter().collect();
    let error = editor.move_to(&uids, &"Done".into()).await.unwrap_err();
    assert!(
        matches!(error, ChangeError::Imap(Error::Refused { .. })),
        "{error}"
    );
    assert!(!editor.is_closed());
    served.finished().await;
}

#[tokio::test]
async fn without_move_and_uidplus_nothing_is_moved() {
    let served = selected("IMAP4rev1", FLAGS).serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let uids: Vec<_> = uids([3]).into_iter().collect();
    let error = editor.move_to(&uids, &"Done".into()).await.unwrap_err();
    assert!(matches!(error, ChangeError::NoMove), "{error}");
    served.finished().await;
}

#[tokio::test]
async fn flags_are_set_where_the_folder_keeps_them() {
    let script = selected("IMAP4rev1", "\\Seen \\*")
        .expect("UID STORE 3 +FLAGS.SILENT (\\Seen)")
        .say(&["$T OK done"])
        .expect("UID STORE 3 +FLAGS.SILENT (Ticketed)")
        .say(&["$T OK done"]);
    let served = script.serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let uids: Vec<_> = uids([3]).into_iter().collect();
    editor.add_flag(&uids, "\\Seen").await.unwrap();
    editor.add_flag(&uids, "Ticketed").await.unwrap();
    for odd in ["x) y", "\r\nA LOGOUT", "", "\\", "ä"] {
        assert!(editor.add_flag(&uids, odd).await.is_err(), "{odd:?}");
    }
    served.finished().await;
}

#[tokio::test]
async fn exchange_keeps_no_keyword_of_ones_own() {
    let served = selected("IMAP4rev1 MOVE", "\\Seen \\Answered $MDNSent")
        .serve()
        .await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let uids: Vec<_> = uids([3]).into_iter().collect();
    let error = editor.add_flag(&uids, "Ticketed").await.unwrap_err();
    assert!(matches!(&error, ChangeError::NotKept(flag) if flag == "Ticketed"));
    assert!(error.to_string().contains("hint: Exchange"), "{error}");
    served.finished().await;
}

#[tokio::test]
async fn a_folder_that_opens_read_only_is_not_changed() {
    let script = Script::logged_in().expect("SELECT \"INBOX\"").say(&[
        "* 3 EXISTS",
        "* OK [UIDVALIDITY 14] UIDVALIDITY value",
        "$T OK [READ-ONLY] SELECT completed.",
    ]);
    let served = script.serve().await;
    let session = served.open().await.unwrap();
    let (session, error) = Editor::open(session, &inbox()).await.err().unwrap();
    assert!(session.is_some_and(|session| !session.is_closed()));
    assert!(matches!(error, ChangeError::ReadOnly), "{error}");
    served.finished().await;
}
