//! Changes by UID on a session of their own kind.

use std::collections::BTreeSet;

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
        .expect("UID FETCH 3:4,9 (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Message-ID From Date Subject)])")
        .say(&[
            "* 1 FETCH (UID 3 INTERNALDATE \"01-Jan-2026 10:00:00 +0000\" RFC822.SIZE 9 BODY[HEADER.FIELDS (Message-ID From Date Subject)] \"Message-ID: <a@b>\")",
            "* 3 FETCH (UID 9 INTERNALDATE \"01-Jan-2026 10:00:00 +0000\" RFC822.SIZE 9 BODY[HEADER.FIELDS (Message-ID From Date Subject)] \"Message-ID: <c@d>\")",
            "* 4 FETCH (UID 12 INTERNALDATE \"01-Jan-2026 10:00:00 +0000\" RFC822.SIZE 9 BODY[HEADER.FIELDS (Message-ID From Date Subject)] \"\")",
            "$T OK done",
        ])
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
    let taken = postrider_core::time::Wall(1_767_261_600_000);
    let print = postrider_core::message::fingerprint(b"Message-ID: <a@b>\r\n\r\nx", Some(taken));
    assert_eq!(present.values().next().unwrap(), &Some(print));
    let target = FolderName::new("Done ä \"x\"");
    let present: Vec<_> = present.into_keys().collect();
    let mut copied = BTreeSet::new();
    editor
        .move_to(&present, &target, &mut copied)
        .await
        .unwrap();
    assert!(copied.is_empty());
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
    editor
        .move_to(&uids, &"Done".into(), &mut BTreeSet::new())
        .await
        .unwrap();
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
    let error = editor
        .move_to(&uids, &"Done".into(), &mut BTreeSet::new())
        .await
        .unwrap_err();
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
    let error = editor
        .move_to(&uids, &"Done".into(), &mut BTreeSet::new())
        .await
        .unwrap_err();
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

/// Whoever may not delete gets no copy either, and one whose removal is refused gets no second one.
#[tokio::test]
async fn what_cannot_be_removed_is_not_copied_again_and_again() {
    let served = selected("IMAP4rev1 UIDPLUS", "\\Seen").serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let uids: Vec<_> = uids([3]).into_iter().collect();
    let mut copied = BTreeSet::new();
    let error = editor.move_to(&uids, &"Done".into(), &mut copied).await;
    assert!(matches!(error, Err(ChangeError::NoMove)), "{error:?}");
    served.finished().await;
    let script = selected("IMAP4rev1 UIDPLUS", FLAGS)
        .expect("UID COPY 3 \"Done\"")
        .say(&["$T OK done"])
        .expect("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
        .say(&["$T NO not now"])
        .expect("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
        .say(&["$T OK done"])
        .expect("UID EXPUNGE 3")
        .say(&["$T OK done"]);
    let served = script.serve().await;
    let session = served.open().await.unwrap();
    let mut editor = Editor::open(session, &inbox()).await.ok().unwrap();
    let first = editor.move_to(&uids, &"Done".into(), &mut copied).await;
    assert!(first.is_err());
    assert_eq!(copied.len(), 1);
    editor
        .move_to(&uids, &"Done".into(), &mut copied)
        .await
        .unwrap();
    served.finished().await;
}
