//! IDLE and polling: what wakes, what does not, and how it ends.

use std::{future::pending, time::Duration};

use postrider_core::watch::Failure;
use postrider_imap::{error::Error, server::IdleUse, session::Session, wait::WaitEnd};
use tokio::time::{Instant, sleep};

use crate::{
    folders::cursor,
    script::{Script, Step, inbox, password, short},
};

fn idling() -> Script {
    Script::logged_in()
        .examined(3, 9)
        .expect("IDLE")
        .say(&["+ IDLE accepted, awaiting DONE command."])
}

fn ended(script: Script) -> Script {
    script.expect_raw("DONE").say(&["$T OK IDLE completed."])
}

async fn wait(session: &mut Session, millis: u64) -> Result<WaitEnd<()>, Error> {
    let until = Instant::now() + Duration::from_millis(millis);
    session.wait(until, pending()).await
}

const LONG: u64 = 10_000;

#[tokio::test]
async fn new_mail_wakes() {
    let script = ended(idling().say(&["* 4 EXISTS", "* 1 RECENT"]));
    let served = script.serve().await;
    let mut session = served.examined().await;
    assert_eq!(wait(&mut session, LONG).await.unwrap(), WaitEnd::Changed);
    assert_eq!(session.exists(), 4);
    served.finished().await;
}

#[tokio::test]
async fn still_here_does_not_wake_and_does_not_extend() {
    let script = idling().say(&[
        "* OK Still here",
        "* 3 EXISTS",
        "* 1 FETCH (FLAGS (\\Seen))",
        "+ idling",
    ]);
    let script = ended(script).expect("NOOP").say(&["$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let began = Instant::now();
    assert_eq!(wait(&mut session, 150).await.unwrap(), WaitEnd::Elapsed);
    assert!(began.elapsed() >= Duration::from_millis(150));
    served.finished().await;
}

#[tokio::test]
async fn a_time_that_is_up_asks_once_more() {
    let script = ended(idling())
        .expect("NOOP")
        .say(&["* 4 EXISTS", "$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    assert_eq!(wait(&mut session, 20).await.unwrap(), WaitEnd::Changed);
}

#[tokio::test]
async fn mail_before_the_plus_wakes() {
    let script = Script::logged_in()
        .examined(3, 9)
        .expect("IDLE")
        .say(&["* 4 EXISTS", "+ idling"]);
    let served = ended(script).serve().await;
    let mut session = served.examined().await;
    assert_eq!(wait(&mut session, LONG).await.unwrap(), WaitEnd::Changed);
}

#[tokio::test]
async fn mail_between_done_and_ok_wakes_the_next_wait() {
    let script = idling()
        .expect_raw("DONE")
        .say(&["* 4 EXISTS", "* 1 RECENT", "$T OK IDLE completed."])
        .expect("UID SEARCH UID 10:*")
        .say(&["* SEARCH 10", "$T OK done"])
        .expect("IDLE")
        .say(&["+ "]);
    let served = ended(script).serve().await;
    let mut session = served.examined().await;
    let until = Instant::now() + Duration::from_secs(10);
    let order = sleep(Duration::from_millis(20));
    let end = session
        .wait(until, async {
            order.await;
            7
        })
        .await
        .unwrap();
    assert_eq!(end, WaitEnd::Interrupted(7));
    // At once, without a word to the server.
    assert_eq!(wait(&mut session, LONG).await.unwrap(), WaitEnd::Changed);
    session.survey(&cursor(9, [])).await.unwrap();
    // The survey took it.
    let end = session
        .wait(until, sleep(Duration::from_millis(20)))
        .await
        .unwrap();
    assert_eq!(end, WaitEnd::Interrupted(()));
    served.finished().await;
}

#[tokio::test]
async fn an_expunge_and_a_delivery_are_told_apart_by_their_sum() {
    let script = ended(idling().say(&["* 1 EXPUNGE", "* 3 EXISTS"]));
    let served = script.serve().await;
    let mut session = served.examined().await;
    assert_eq!(wait(&mut session, LONG).await.unwrap(), WaitEnd::Changed);
}

#[tokio::test]
async fn no_to_idle_means_polling() {
    for refusal in ["NO not now", "BAD", "OK IDLE completed."] {
        let script = Script::logged_in()
            .examined(3, 9)
            .expect("IDLE")
            .say(&[&format!("$T {refusal}")])
            .expect("NOOP")
            .say(&["$T OK done"])
            .expect("NOOP")
            .say(&["* 4 EXISTS", "$T OK done"]);
        let served = script.serve().await;
        let mut session = served.examined().await;
        assert_eq!(
            wait(&mut session, 20).await.unwrap(),
            WaitEnd::Elapsed,
            "{refusal}"
        );
        assert_eq!(
            wait(&mut session, 20).await.unwrap(),
            WaitEnd::Changed,
            "{refusal}"
        );
        served.finished().await;
    }
}

#[tokio::test]
async fn a_server_without_idle_or_distrusted_is_polled() {
    for (capabilities, idle) in [
        ("IMAP4rev1", IdleUse::Auto),
        ("IMAP4rev1 IDLE", IdleUse::Never),
    ] {
        let script = Script::logged_in_offering(capabilities)
            .examined(3, 9)
            .expect("NOOP")
            .say(&["* 4 EXISTS", "$T OK done"]);
        let served = script.serve().await;
        let mut server = served.server();
        server.idle = idle;
        let mut session = Session::open(&server, &password()).await.unwrap();
        session.examine(&inbox()).await.unwrap();
        assert_eq!(wait(&mut session, 20).await.unwrap(), WaitEnd::Changed);
        served.finished().await;
    }
}

#[tokio::test]
async fn a_server_that_ends_idle_itself_is_asked_again_and_then_polled() {
    let mut script = Script::logged_in().examined(3, 9);
    for _ in 0..3 {
        script = script
            .expect("IDLE")
            .say(&["+ idling", "$T OK IDLE terminated"]);
    }
    let served = script.expect("NOOP").say(&["$T OK done"]).serve().await;
    let mut session = served.examined().await;
    for _ in 0..3 {
        assert_eq!(wait(&mut session, LONG).await.unwrap(), WaitEnd::Changed);
    }
    assert_eq!(wait(&mut session, 20).await.unwrap(), WaitEnd::Elapsed);
    served.finished().await;
}

#[tokio::test]
async fn bad_in_idle_without_a_text_means_polling() {
    let script = idling()
        .say(&["$T BAD"])
        .expect("NOOP")
        .say(&["$T OK done"]);
    let served = script.serve().await;
    let mut session = served.examined().await;
    assert_eq!(wait(&mut session, LONG).await.unwrap(), WaitEnd::Changed);
    assert_eq!(wait(&mut session, 20).await.unwrap(), WaitEnd::Elapsed);
}

#[tokio::test]
async fn the_end_of_a_session_in_idle_is_told_for_what_it_is() {
    let cases = [
        (
            "* BYE Session invalidated - AccessTokenExpired",
            Failure::TokenExpired,
        ),
        (
            "* BYE Session expired, please login again.",
            Failure::TokenExpired,
        ),
        ("Server Unavailable. 15", Failure::Connection),
        ("* BYE Connection closed. 14", Failure::Connection),
        ("", Failure::Connection),
    ];
    for (line, expected) in cases {
        let script = if line.is_empty() {
            idling()
        } else {
            idling().say(&[line])
        };
        let served = script.close().serve().await;
        let mut session = served.examined().await;
        let error = wait(&mut session, LONG).await.err().unwrap();
        assert_eq!(error.failure(), expected, "{line}");
        assert!(session.is_closed());
    }
}

#[tokio::test]
async fn a_lost_connection_wakes_a_poll_as_well() {
    let served = Script::logged_in_offering("IMAP4rev1")
        .examined(3, 9)
        .say(&["* BYE Session invalidated - AccessTokenExpired"])
        .close()
        .serve()
        .await;
    let mut session = served.examined().await;
    let error = wait(&mut session, LONG).await.err().unwrap();
    assert_eq!(error.failure(), Failure::TokenExpired);
}

#[tokio::test]
async fn done_that_is_never_answered_ends_at_its_deadline() {
    let served = idling().expect_raw("DONE").gone().serve().await;
    let mut server = served.server();
    server.deadlines.done = Duration::from_millis(50);
    let mut session = Session::open(&server, &password()).await.unwrap();
    session.examine(&inbox()).await.unwrap();
    let error = wait(&mut session, 20).await.err().unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    served.finished().await;
}

#[tokio::test]
async fn what_interrupted_is_not_lost_with_the_connection() {
    let served = idling().expect_raw("DONE").close().serve().await;
    let mut session = served.examined().await;
    let until = Instant::now() + Duration::from_secs(10);
    let end = session.wait(until, async { "stop" }).await.unwrap();
    assert_eq!(end, WaitEnd::Interrupted("stop"));
    assert!(session.is_closed());
    assert!(matches!(
        wait(&mut session, LONG).await,
        Err(Error::Closed { .. })
    ));
}

#[tokio::test]
async fn a_plus_that_never_comes_ends_at_its_deadline() {
    let script = Script::logged_in().examined(3, 9).expect("IDLE").gone();
    let served = script.serve().await;
    let mut server = served.server();
    server.deadlines = short(Duration::from_millis(150));
    let mut session = Session::open(&server, &password()).await.unwrap();
    session.examine(&inbox()).await.unwrap();
    let error = wait(&mut session, LONG).await.err().unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn server_unavailable_in_answer_to_done() {
    let script = idling()
        .expect_raw("DONE")
        .say(&["Server Unavailable. 15", "* BYE Connection closed."])
        .step(Step::Close);
    let served = script.serve().await;
    let mut session = served.examined().await;
    let error = wait(&mut session, 20).await.err().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}
