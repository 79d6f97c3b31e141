//! Every command under every end: a NO, a BAD, a BYE or a lost connection is never an empty success,
//! not even after half of an answer.

use std::{future::pending, pin::Pin, time::Duration};

use postrider_core::watch::{Failure, Part};
use postrider_imap::{error::Error, session::Session};
use tokio::time::Instant;

use crate::{
    folders::cursor,
    reading::{WHOLE, told},
    script::{AMPLE, Script, Shelf, inbox, uids},
};

type Done<'a> = Pin<Box<dyn Future<Output = Result<String, Error>> + 'a>>;

struct Command {
    name: &'static str,
    /// What the server expects before the command's own reply.
    before: fn() -> Script,
    /// Half an answer.
    half: &'static [&'static str],
    run: fn(&mut Session) -> Done<'_>,
}

fn examined() -> Script {
    Script::logged_in().examined(3, 9)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn commands() -> Vec<Command> {
    vec![
        Command {
            name: "examine",
            before: || Script::logged_in().expect("EXAMINE \"INBOX\""),
            half: &["* 3 EXISTS", "* OK [UIDVALIDITY 14]"],
            run: |session| {
                Box::pin(async { session.examine(&inbox()).await.map(|it| format!("{it:?}")) })
            },
        },
        Command {
            name: "the highest UID of an empty folder",
            before: || {
                Script::logged_in()
                    .expect("EXAMINE \"INBOX\"")
                    .say(&[
                        "* 0 EXISTS",
                        "* OK [UIDVALIDITY 14]",
                        "* OK [UIDNEXT 10]",
                        "$T OK done",
                    ])
                    .expect("UID SEARCH ALL")
            },
            half: &["* SEARCH"],
            run: |session| {
                Box::pin(async { session.examine(&inbox()).await.map(|it| format!("{it:?}")) })
            },
        },
        Command {
            name: "folders",
            before: || examined().expect("LIST \"\" \"*\""),
            half: &["* LIST () \"/\" INBOX"],
            run: |session| Box::pin(async { session.folders().await.map(|it| format!("{it:?}")) }),
        },
        Command {
            name: "survey",
            before: || examined().expect("UID SEARCH UID 10:*"),
            half: &["* SEARCH 10 11"],
            run: |session| {
                Box::pin(async {
                    session
                        .survey(&cursor(9, []))
                        .await
                        .map(|it| format!("{it:?}"))
                })
            },
        },
        Command {
            name: "survey of gaps",
            before: || examined().expect("UID SEARCH UID 4"),
            half: &["* SEARCH"],
            run: |session| {
                Box::pin(async {
                    session
                        .survey(&cursor(9, [4]))
                        .await
                        .map(|it| format!("{it:?}"))
                })
            },
        },
        Command {
            name: "read",
            before: || examined().expect(&format!("UID FETCH 1:2 {WHOLE}")),
            half: &["* 1 FETCH (UID 1 RFC822.SIZE 1 BODY[] {1}\r\na)"],
            run: |session| {
                Box::pin(async {
                    let asked = uids([1, 2]);
                    let mut sink = Shelf::default();
                    let read = session.read(&asked, Part::Whole, AMPLE, &mut sink).await;
                    read.map(|read| told(&read.answers).join(", "))
                })
            },
        },
        Command {
            name: "audit",
            before: || examined().expect("UID SEARCH UID 1:* SINCE 31-Dec-1969"),
            half: &["* SEARCH 9"],
            run: |session| {
                Box::pin(async {
                    let found = session.search_since(Default::default()).await;
                    found.map(|it| format!("{it:?}"))
                })
            },
        },
        Command {
            name: "poll",
            before: || {
                Script::logged_in_offering("IMAP4rev1")
                    .examined(3, 9)
                    .expect("NOOP")
            },
            half: &["* OK half"],
            run: |session| {
                Box::pin(async {
                    let _ = session.examine(&inbox()).await;
                    let until = Instant::now() + Duration::from_millis(10);
                    let end = session.wait(until, pending::<()>()).await;
                    end.map(|it| format!("{it:?}"))
                })
            },
        },
    ]
}

/// Runs the command against a server that ends it so; the folder is opened first where need be.
async fn end(command: &Command, half: bool, last: &[&str]) -> (Result<String, Error>, bool) {
    let mut script = (command.before)();
    if half {
        script = script.say(command.half);
    }
    let served = script.say(last).close().serve().await;
    let mut session = served.open().await.unwrap();
    if !matches!(
        command.name,
        "examine" | "the highest UID of an empty folder" | "poll"
    ) {
        session.examine(&inbox()).await.unwrap();
    }
    let result = (command.run)(&mut session).await;
    (result, session.is_closed())
}

#[tokio::test]
async fn a_refusal_is_never_an_empty_success() {
    for command in commands() {
        for (half, last) in [
            (false, "$T NO no"),
            (true, "$T NO no"),
            (false, "$T BAD bad"),
            (true, "$T BAD"),
        ] {
            let (result, closed) = end(&command, half, &[last]).await;
            let error = result.expect_err(command.name);
            let expected = [Failure::Refused, Failure::FolderMissing];
            assert!(
                expected.contains(&error.failure()),
                "{}: {error}",
                command.name
            );
            assert!(error.usable() && !closed, "{}: {last}", command.name);
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_never_an_empty_success() {
    for command in commands() {
        for half in [false, true] {
            let (result, closed) = end(&command, half, &[]).await;
            let error = result.expect_err(command.name);
            assert!(
                matches!(error, Error::Closed { .. }),
                "{}: {error}",
                command.name
            );
            assert!(closed, "{}", command.name);
        }
    }
}

#[tokio::test]
async fn a_bye_in_place_of_a_reply_says_why() {
    for command in commands() {
        let bye = "* BYE Session invalidated - AccessTokenExpired";
        let (result, closed) = end(&command, true, &[bye]).await;
        let error = result.expect_err(command.name);
        assert_eq!(error.failure(), Failure::TokenExpired, "{}", command.name);
        assert!(closed, "{}", command.name);
    }
}

#[tokio::test]
async fn a_throttle_closes_the_session() {
    for command in commands() {
        for word in ["NO", "BAD"] {
            let line = format!(
                "$T {word} Request is throttled. Suggested Backoff Time: 1000 milliseconds"
            );
            let (result, closed) = end(&command, false, &[&line]).await;
            let error = result.expect_err(command.name);
            let retry_after = Some(Duration::from_secs(1));
            assert_eq!(
                error.failure(),
                Failure::Throttled { retry_after },
                "{}",
                command.name
            );
            assert!(closed, "{}", command.name);
        }
    }
}

#[tokio::test]
async fn a_reply_to_another_command_ends_the_session() {
    for command in commands() {
        for last in ["X1 OK done", "P999 NO no", "done OK", "garbage"] {
            let (result, closed) = end(&command, false, &[last]).await;
            let error = result.expect_err(command.name);
            assert!(
                matches!(error, Error::Protocol(_)),
                "{}: {error}",
                command.name
            );
            assert!(closed, "{}", command.name);
        }
    }
}
