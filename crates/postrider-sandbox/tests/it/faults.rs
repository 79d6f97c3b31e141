//! Each fault of the big mail servers, by its own words on the wire.

use std::time::Duration;

use postrider_sandbox::{
    authority::Bearer,
    imap::{Config, Goodbye, Levers, OnExpiry, Refusal, Scope, ThrottleStyle, TlsMode, Ungranted},
    mailboxes::{Access, Renumber},
};

use crate::{
    client::xoauth2,
    world::{ANN, BOB, EVE, EXPIRED, world},
};

#[tokio::test]
async fn logins_are_refused_in_all_the_words_that_were_seen() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let cases = [
        (Refusal::Credentials, "t NO AUTHENTICATE failed."),
        (
            Refusal::LogonDenied,
            "t NO AUTHENTICATE failed. Error=\"AuthFailed:LogonDenied-None-OAuthLog:AuthExc_Auth Failed\" User:ann@contoso.test",
        ),
        (
            Refusal::BasicAuthBlocked,
            "t NO [AUTHENTICATIONFAILED] AuthFailed:LogonDenied-BasicAuthBlocked-<UserType:OutlookCom> LogonFailed-BasicAuthBlocked",
        ),
    ];
    for (refusal, words) in cases {
        world.levers(|levers| levers.refuse_next_logins(refusal, 1));
        assert_eq!(world.try_login(ANN).await.1, words);
        world.login(ANN).await;
    }
    let (_, nobody) = world.try_login("nobody@contoso.test").await;
    assert_eq!(nobody, "t NO AUTHENTICATE failed.");
    let attempts = world.server.login_attempts(Scope::User(ANN));
    let accepted: Vec<bool> = attempts.iter().map(|one| one.accepted).collect();
    assert_eq!(accepted, [false, true, false, true, false, true]);
}

#[tokio::test]
async fn an_ungranted_mailbox_is_refused_or_not_connected() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let mailboxes = world.server.mailboxes();
    mailboxes.set_access(ANN, Access::revoke).unwrap();
    assert_eq!(world.try_login(ANN).await.1, "t NO AUTHENTICATE failed.");
    world.levers(|levers| levers.ungranted = Ungranted::LogonDenied);
    assert!(
        world
            .try_login(ANN)
            .await
            .1
            .contains("AuthFailed:LogonDenied")
    );
    world.levers(|levers| levers.ungranted = Ungranted::NotConnected);
    let mut client = world.login(ANN).await;
    let refused = "t BAD User is authenticated but not connected.";
    assert_eq!(client.ask("NAMESPACE").await, [refused]);
    assert_eq!(client.ask("EXAMINE INBOX").await, [refused]);
    assert_eq!(client.line().await, "* BYE Connection closed. 14");
    // The owner's own token needs no grant, a member's opens a shared mailbox, a stranger's does not.
    world
        .authority
        .accept("anns", Bearer::User(ANN.to_owned()), None);
    world
        .authority
        .accept("eves", Bearer::User(EVE.to_owned()), None);
    let shared = Access::tokens(&world.authority)
        .ungranted()
        .shared_with(ANN);
    mailboxes.add_account(BOB, shared);
    for (user, token, opens) in [
        (ANN, "anns", true),
        (BOB, "anns", true),
        (BOB, "eves", false),
    ] {
        let mut client = world.connect().await;
        let lines = client
            .ask(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(user, token)))
            .await;
        assert_eq!(lines[0].starts_with("t OK"), opens, "{user} {token}");
        if opens {
            client.ask_ok("EXAMINE INBOX").await;
        }
    }
    // IMAP switched off: whoever comes is not connected.
    mailboxes.set_access(ANN, Access::grant).unwrap();
    mailboxes.set_access(ANN, Access::disable_imap).unwrap();
    let mut client = world.login(ANN).await;
    assert_eq!(client.ask("NAMESPACE").await, [refused]);
    mailboxes.set_access(ANN, Access::enable_imap).unwrap();
    world.watching(ANN).await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_in_idle_in_place_of_a_reply_or_without_a_word() {
    for (style, last) in [
        (OnExpiry::Bye, EXPIRED),
        (OnExpiry::Eof, ""),
        (OnExpiry::ByeInsteadOfReply, EXPIRED),
        (OnExpiry::EofInsteadOfReply, ""),
    ] {
        for command in ["DONE", "t LIST \"\" \"*\"", "t UID SEARCH ALL", "t CLOSE"] {
            let world = world(Config::exchange(TlsMode::None)).await;
            world.levers(|levers| levers.on_expiry = style);
            let mut client = if command == "DONE" {
                world.idling(ANN).await
            } else {
                world.watching(ANN).await
            };
            world.authority.expire_all();
            if matches!(
                style,
                OnExpiry::ByeInsteadOfReply | OnExpiry::EofInsteadOfReply
            ) {
                assert!(client.is_silent_for(Duration::from_millis(30)).await);
                client.send(command).await;
            }
            assert_eq!(client.line().await, last, "{style:?} {command}");
            assert_eq!(client.line().await, "", "the end");
        }
    }
}

#[tokio::test]
async fn any_command_may_end_its_session_in_place_of_a_reply() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let unavailable = ["Server Unavailable. 15", "* BYE Connection closed.", ""];
    for (command, line) in [
        ("NAMESPACE", "t NAMESPACE"),
        ("UID SEARCH", "t UID SEARCH ALL"),
        ("*", "t NOOP"),
    ] {
        let mut client = world.watching(ANN).await;
        world.levers(|levers| levers.end_at_next(command, Goodbye::Unavailable, 1));
        client.send(line).await;
        for expected in unavailable {
            assert_eq!(client.line().await, expected);
        }
    }
    let mut client = world.idling(ANN).await;
    world.levers(|levers| levers.end_at_next("DONE", Goodbye::Unavailable, 1));
    client.send("DONE").await;
    for expected in unavailable {
        assert_eq!(client.line().await, expected);
    }
    let mut client = world.idling(ANN).await;
    assert!(
        world
            .server
            .wait_for_idle(Scope::User(ANN), 1, Duration::from_secs(10))
            .await
    );
    world
        .server
        .drop_sessions(Scope::User(ANN), &Goodbye::Expired);
    assert_eq!(client.line().await, EXPIRED);
}

#[tokio::test]
async fn a_throttle_counts_for_one_user_or_for_a_tenant_and_for_logins_where_it_is_said() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let text = "Request is throttled. Suggested Backoff Time: 92415 milliseconds";
    let backoff = Duration::from_millis(92_415);
    for (style, word, ends) in [
        (ThrottleStyle::No, "NO", false),
        (ThrottleStyle::NoThenBye, "NO", true),
        (ThrottleStyle::Bad, "BAD", false),
        (ThrottleStyle::BadThenBye, "BAD", true),
    ] {
        let mut client = world.watching(ANN).await;
        world.server.levers(Scope::User(ANN), |levers| {
            levers.throttle_next(1, backoff, style);
        });
        assert_eq!(
            client.ask("UID SEARCH ALL").await,
            [format!("t {word} {text}")]
        );
        if ends {
            assert_eq!(client.line().await, "* BYE Connection closed. 14");
        } else {
            client.ask_ok("UID SEARCH ALL").await;
        }
    }
    let mut clients = Vec::new();
    for user in [ANN, BOB, EVE] {
        clients.push(world.watching(user).await);
    }
    let tenant = Scope::Domain("contoso.test");
    world.server.levers(tenant, |levers| {
        levers.throttle_for(Duration::from_millis(300), ThrottleStyle::No);
        levers.throttle_logins = true;
    });
    for (client, throttled) in clients.iter_mut().zip([true, true, false]) {
        let reply = client.ask("NOOP").await;
        assert_eq!(reply[0].starts_with("t NO Request is throttled"), throttled);
    }
    let (_, login) = world.try_login(BOB).await;
    assert!(login.starts_with("t NO Request is throttled"), "{login}");
    assert_eq!(world.server.counters(tenant).throttled, 4 + 3);
    tokio::time::sleep(Duration::from_millis(310)).await;
    for client in &mut clients {
        client.ask_ok("NOOP").await;
    }
}

#[tokio::test]
async fn idle_is_odd_in_every_way_that_was_seen() {
    let world = world(Config::exchange(TlsMode::None)).await;
    world.deliver(ANN);
    world.levers(|levers| levers.exists_before_plus = true);
    let mut client = world.watching(ANN).await;
    world.deliver(ANN);
    client.send("i IDLE").await;
    let lines = client.until("+ ").await;
    assert_eq!(lines[..2], ["* 2 EXISTS", "* 1 RECENT"]);
    assert_eq!(
        *lines.last().unwrap(),
        "+ IDLE accepted, awaiting DONE command."
    );
    world.levers(|levers| *levers = Levers::default());
    world.levers(|levers| levers.exists_after_done = true);
    world.deliver(ANN);
    assert!(client.is_silent_for(Duration::from_millis(30)).await);
    client.send("DONE").await;
    let lines = client.until("i ").await;
    assert_eq!(lines, ["* 3 EXISTS", "* 1 RECENT", "i OK IDLE completed."]);
    world.levers(|levers| {
        *levers = Levers::default();
        levers.idle_max = Some((Duration::from_millis(50), Goodbye::Eof));
    });
    client.send("i IDLE").await;
    client.until("+ ").await;
    assert_eq!(client.line().await, "", "cut");
}

#[tokio::test]
async fn codes_stand_without_ok_sizes_are_wrong_and_bytes_differ() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let mailboxes = world.server.mailboxes();
    mailboxes
        .set_uidvalidity(ANN, "INBOX", 14, Renumber::Keep)
        .unwrap();
    mailboxes.skip_uids(ANN, "INBOX", 4000).unwrap();
    assert_eq!(world.deliver(ANN), 4001);
    world.levers(|levers| {
        levers.codes_without_ok = true;
        levers.size_error_percent = -7;
        levers.rebuild_messages = true;
    });
    let mut client = world.login(ANN).await;
    let told = client.ask_ok("EXAMINE INBOX").await;
    assert_eq!(
        told[4..6],
        [
            "* [UIDVALIDITY 14] UIDVALIDITY value",
            "* [UIDNEXT 4002] The next unique identifier value"
        ]
    );
    let mut sizes = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..2 {
        client
            .send("t UID FETCH 4001 (RFC822.SIZE BODY.PEEK[])")
            .await;
        let line = client.line().await;
        let number = |after: &str, end: char| -> usize {
            let rest = line.split_once(after).unwrap().1;
            rest.split(end).next().unwrap().parse().unwrap()
        };
        sizes.push(number("RFC822.SIZE ", ' '));
        bodies.push(client.exactly(number("{", '}')).await);
        client.until("t ").await;
    }
    assert_ne!(bodies[0], bodies[1]);
    assert!(bodies[0].ends_with(b"hello\r\n"));
    assert_eq!(sizes[0], bodies[0].len() - bodies[0].len() * 7 / 100);
}

#[tokio::test]
async fn too_many_connections_are_refused_in_each_servers_words() {
    for (config, words) in [
        (
            Config::gmail(TlsMode::None),
            "t NO [ALERT] Too many simultaneous connections. (Failure)",
        ),
        (
            Config::dovecot(TlsMode::None),
            "t NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
        ),
        (
            Config::exchange(TlsMode::None),
            "t NO Too many connections.",
        ),
    ] {
        let world = world(config).await;
        world
            .server
            .levers(Scope::User(ANN), |levers| levers.connections_max = Some(1));
        let _first = world.login(ANN).await;
        assert_eq!(world.try_login(ANN).await.1, words);
        world.levers(|levers| levers.connections_text = Some("Too busy.".to_owned()));
        assert_eq!(world.try_login(ANN).await.1, "t NO Too busy.");
    }
}
