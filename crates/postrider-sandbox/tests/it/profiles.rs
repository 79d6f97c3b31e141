//! Whom the mail server plays, and each fault of the big servers, by its own words on the wire.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_sandbox::{
    authority::{Bearer, TokenAuthority},
    imap::{
        Config, Goodbye, ImapServer, Levers, OnExpiry, Profile, Refusal, Scope, ThrottleStyle,
        TlsMode, Ungranted,
    },
    mailboxes::{Access, Mailboxes, names},
};
use time::OffsetDateTime;

use crate::client::{Client, oauthbearer, xoauth2};

const ANN: &str = "ann@contoso.test";
const BOB: &str = "bob@contoso.test";
const EVE: &str = "eve@fabrikam.test";
const MAIL: &[u8] = b"From: bob@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n";
const EXPIRED: &str = "* BYE Session invalidated - AccessTokenExpired";

struct World {
    server: ImapServer,
    authority: TokenAuthority,
}

/// Three users, each with the token "app" of an application that lasts.
async fn world(config: Config) -> World {
    let authority = TokenAuthority::new();
    authority.accept("app", Bearer::Application, None);
    let mailboxes = Mailboxes::new();
    for user in [ANN, BOB, EVE] {
        mailboxes.add_account(user, Access::tokens(&authority));
    }
    let server = ImapServer::start(config, mailboxes).await.unwrap();
    World { server, authority }
}

impl World {
    fn levers(&self, change: impl FnOnce(&mut Levers)) {
        self.server.levers(Scope::Server, change);
    }

    fn deliver(&self, user: &str) -> u32 {
        let now = OffsetDateTime::now_utc();
        let mailboxes = self.server.mailboxes();
        mailboxes.deliver(user, "INBOX", MAIL, now).unwrap()
    }

    async fn connect(&self) -> Client {
        let mut client = Client::plain(self.server.address()).await;
        client.line().await;
        client
    }

    async fn try_login(&self, user: &str) -> (Client, String) {
        let mut client = self.connect().await;
        let lines = client
            .ask(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(user, "app")))
            .await;
        let last = lines.last().unwrap().clone();
        (client, last)
    }

    async fn login(&self, user: &str) -> Client {
        let (client, last) = self.try_login(user).await;
        assert!(last.starts_with("t OK"), "{last}");
        client
    }

    async fn watching(&self, user: &str) -> Client {
        let mut client = self.login(user).await;
        client.ask_ok("EXAMINE INBOX").await;
        client
    }

    async fn idling(&self, user: &str) -> Client {
        let mut client = self.watching(user).await;
        client.send("i IDLE").await;
        client.until("+ ").await;
        client
    }
}

/// What CAPABILITY lists before and after a login.
async fn capabilities(config: Config) -> (String, String, String) {
    let world = world(config).await;
    let mut client = Client::plain(world.server.address()).await;
    let greeting = client.line().await;
    let before = client.ask_ok("CAPABILITY").await[0].clone();
    let mut client = world.login(ANN).await;
    let after = client.ask_ok("CAPABILITY").await[0].clone();
    (greeting, before, after)
}

#[tokio::test]
async fn exchange_has_two_front_ends_with_two_lines_of_capabilities_each() {
    let (greeting, before, after) = capabilities(Config::exchange(TlsMode::None)).await;
    assert!(greeting.starts_with("* OK The Microsoft Exchange IMAP4 service is ready. [RgBSAD"));
    assert_eq!(
        before,
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
    );
    assert_eq!(
        after,
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+"
    );
    let (greeting, before, after) = capabilities(Config::exchange_tcpproxy(TlsMode::None)).await;
    assert!(greeting.contains("(tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [RgBSAD"));
    assert_eq!(
        before,
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
    );
    assert_eq!(
        after,
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE BACKENDAUTHENTICATE-IR CHILDREN IDLE NAMESPACE LITERAL+"
    );
}

#[tokio::test]
async fn capabilities_can_be_hidden_and_are_then_not_taken() {
    let world = world(Config::exchange(TlsMode::None)).await;
    world.levers(|levers| {
        levers.hidden_capabilities = vec!["MOVE".to_owned(), "SASL-IR".to_owned()];
    });
    let mut client = world.connect().await;
    let told = client.ask_ok("CAPABILITY").await[0].clone();
    assert!(
        !told.contains("MOVE") && !told.contains("SASL-IR"),
        "{told}"
    );
    let good = xoauth2(ANN, "app");
    let early = client.ask(&format!("AUTHENTICATE XOAUTH2 {good}")).await;
    assert_eq!(early, ["t BAD Command Argument Error. 12"]);
    client.send("t AUTHENTICATE XOAUTH2").await;
    assert_eq!(client.line().await, "+");
    client.send(&good).await;
    assert_eq!(client.line().await, "t OK AUTHENTICATE completed.");
}

#[tokio::test]
async fn the_front_end_changes_between_two_connections_or_for_one_user() {
    let world = world(Config::exchange(TlsMode::None)).await;
    world.server.levers(Scope::User(BOB), |levers| {
        levers.profile = Some(Arc::new(Profile::exchange_rev2()));
    });
    let mut ann = world.login(ANN).await;
    assert!(!ann.ask_ok("CAPABILITY").await[0].contains("IMAP4rev2"));
    let mut bob = world.login(BOB).await;
    assert!(bob.ask_ok("CAPABILITY").await[0].contains("IMAP4rev2"));
    world.levers(|levers| levers.profile = Some(Arc::new(Profile::gmail())));
    let mut client = Client::plain(world.server.address()).await;
    assert!(client.line().await.starts_with("* OK Gimap ready"));
}

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
async fn the_half_broken_rev2_breaks_for_whoever_uses_it() {
    let world = world(Config::exchange_rev2(TlsMode::None)).await;
    world.deliver(ANN);
    let mut client = world.watching(ANN).await;
    // Whoever stays on rev1 is served, also with the other form of answers.
    client.ask_ok("LIST \"\" \"*\"").await;
    assert_eq!(client.ask_ok("UID SEARCH ALL").await[0], "* SEARCH 1");
    world.levers(|levers| levers.answer_esearch = true);
    assert_eq!(
        client.ask_ok("UID SEARCH ALL").await[0],
        "* ESEARCH (TAG \"t\") UID ALL 1"
    );
    world.levers(|levers| levers.answer_esearch = false);
    assert!(world.server.violations().is_empty());
    // Whoever does not, is not.
    assert_eq!(
        client.ask_ok("ENABLE IMAP4rev2").await[0],
        "* ENABLED IMAP4rev2"
    );
    assert!(client.ask_ok("UID SEARCH ALL").await[0].starts_with("* ESEARCH"));
    let serverbug = ["t NO [SERVERBUG] Internal server error"];
    assert!(client.ask("LSUB \"\" \"*\"").await[0].starts_with("t BAD"));
    assert_eq!(client.ask("LIST \"\" \"*\"").await, serverbug);
    let mut client = world.login(ANN).await;
    let refused = client.ask("LIST \"\" \"*\" RETURN (SPECIAL-USE)").await;
    assert_eq!(refused, ["t BAD Command Argument Error. 12"]);
    assert_eq!(client.ask("LIST \"\" \"*\"").await, serverbug);
    assert_eq!(world.server.violations().len(), 3);
}

#[tokio::test]
async fn the_classic_front_end_refuses_what_it_does_not_have() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let mut client = world.watching(ANN).await;
    client.ask_ok("LSUB \"\" \"*\"").await;
    for command in [
        "LIST \"\" \"*\" RETURN (STATUS (UNSEEN))",
        "LIST (SPECIAL-USE) \"\" \"*\"",
        "UID SEARCH RETURN () ALL",
        "UID FETCH 1 (X-GM-MSGID)",
    ] {
        let refused = client.ask(command).await;
        assert_eq!(refused, ["t BAD Command Argument Error. 12"], "{command}");
    }
    for command in ["ENABLE IMAP4rev2", "NOTIFY NONE", "COMPRESS DEFLATE"] {
        let refused = client.ask(command).await;
        assert_eq!(refused, ["t BAD Command Error. 12"], "{command}");
    }
    assert_eq!(world.server.violations().len(), 7);
    client.ask_ok("LIST \"\" \"*\"").await;
}

#[tokio::test]
async fn folders_are_localised_and_their_names_go_in_modified_utf_7() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let mailboxes = world.server.mailboxes();
    mailboxes.add_folders(ANN, names::EXCHANGE_FRENCH).unwrap();
    mailboxes.add_folder(ANN, "Café (R&D)").unwrap();
    let mut client = world.login(ANN).await;
    let listed = client.ask_ok("LIST \"\" \"*\"").await;
    for line in [
        "* LIST (\\HasNoChildren) \"/\" \"Brouillons\"",
        "* LIST (\\HasNoChildren) \"/\" \"&AMk-l&AOk-ments envoy&AOk-s\"",
        "* LIST (\\HasNoChildren) \"/\" \"Caf&AOk- (R&-D)\"",
    ] {
        assert!(listed.iter().any(|one| one == line), "{line}: {listed:?}");
    }
    client.ask_ok("EXAMINE \"Caf&AOk- (R&-D)\"").await;
    let refused = client.ask("EXAMINE \"Café (R&D)\"").await;
    assert!(refused[0].starts_with("t BAD"), "{refused:?}");
    mailboxes.add_folder(ANN, "Caf\u{1}").unwrap();
    world.levers(|levers| levers.unquoted_names = true);
    let listed = client.ask_ok("LIST \"\" \"Caf*\"").await;
    let names = ["Caf\u{1}", "Caf&AOk- (R&-D)"];
    let lines = names.map(|name| format!("* LIST (\\HasNoChildren) \"/\" {name}"));
    assert_eq!(listed[..2], lines);
}

#[tokio::test]
async fn codes_stand_without_ok_sizes_are_wrong_and_bytes_differ() {
    let world = world(Config::exchange(TlsMode::None)).await;
    let mailboxes = world.server.mailboxes();
    mailboxes
        .set_uidvalidity(
            ANN,
            "INBOX",
            14,
            postrider_sandbox::mailboxes::Renumber::Keep,
        )
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
async fn gmail_challenges_expires_and_marks_its_throttle() {
    let world = world(Config::gmail(TlsMode::None)).await;
    let mut client = world.connect().await;
    for (mechanism, wrong, answer) in [
        ("XOAUTH2", xoauth2(ANN, "bad"), ""),
        ("OAUTHBEARER", oauthbearer(ANN, "bad"), "AQ=="),
    ] {
        client
            .send(&format!("t AUTHENTICATE {mechanism} {wrong}"))
            .await;
        let challenge = client.line().await;
        assert_eq!(
            challenge,
            "+ eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K"
        );
        let json = STANDARD.decode(challenge.trim_start_matches("+ ")).unwrap();
        assert!(json.starts_with(b"{\"status\":\"401\""));
        client.send(answer).await;
        assert_eq!(
            client.line().await,
            "t NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)"
        );
    }
    client
        .send(&format!("t AUTHENTICATE XOAUTH2 {}", xoauth2(ANN, "bad")))
        .await;
    client.line().await;
    client.send("*").await;
    assert_eq!(client.line().await, "t BAD Invalid SASL argument.");
    let mut client = world.watching(ANN).await;
    world.levers(|levers| levers.mark_throttled = true);
    assert_eq!(client.ask("NOOP").await, ["t OK Success [THROTTLED]"]);
    world.authority.expire_all();
    assert_eq!(
        client.line().await,
        "* BYE Session expired, please login again."
    );
}

#[tokio::test]
async fn gmail_tells_its_ids_its_labels_and_the_roles_of_its_folders() {
    let world = world(Config::gmail(TlsMode::None)).await;
    let mailboxes = world.server.mailboxes();
    mailboxes.add_folders(ANN, names::GMAIL_GERMAN).unwrap();
    world.deliver(ANN);
    world.deliver(ANN);
    mailboxes.join_thread(ANN, "INBOX", 2, 1).unwrap();
    let all = "[Gmail]/Alle Nachrichten";
    assert_eq!(mailboxes.label(ANN, "INBOX", 2, all).unwrap(), 1);
    mailboxes.label(ANN, "INBOX", 2, "[Gmail]/Wichtig").unwrap();
    let mut client = world.watching(ANN).await;
    let listed = client.ask_ok("LIST \"\" \"*\"").await;
    for line in [
        "* LIST (\\HasNoChildren \\All) \"/\" \"[Gmail]/Alle Nachrichten\"",
        "* LIST (\\HasNoChildren \\Drafts) \"/\" \"[Gmail]/Entw&APw-rfe\"",
    ] {
        assert!(listed.iter().any(|one| one == line), "{line}: {listed:?}");
    }
    let statuses = client
        .ask_ok("LIST \"\" \"INBOX\" RETURN (STATUS (MESSAGES))")
        .await;
    assert_eq!(statuses[1], "* STATUS \"INBOX\" (MESSAGES 2)");
    let fetched = client
        .ask_ok("UID FETCH 2 (X-GM-MSGID X-GM-THRID X-GM-LABELS)")
        .await;
    assert_eq!(
        fetched[0],
        "* 2 FETCH (UID 2 X-GM-MSGID 1780000000000000002 X-GM-THRID 1780000000000000001 X-GM-LABELS (\"\\\\Important\"))"
    );
    client.ask_ok(&format!("EXAMINE \"{all}\"")).await;
    let found = client
        .ask_ok("UID SEARCH RETURN (ALL COUNT) X-GM-MSGID 1780000000000000002")
        .await;
    assert_eq!(found[0], "* ESEARCH (TAG \"t\") UID ALL 1 COUNT 1");
    assert!(
        world.server.violations().is_empty(),
        "{:?}",
        world.server.violations()
    );
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

#[tokio::test]
async fn a_server_without_passwords_notes_who_shows_one() {
    let world = world(Config::exchange_tcpproxy(TlsMode::None)).await;
    let mut client = world.connect().await;
    let refused = client.ask(&format!("LOGIN {ANN} secret")).await;
    assert_eq!(refused, ["t NO LOGIN failed."]);
    assert_eq!(world.server.violations()[0].command, "LOGIN");
    let plain = capabilities(
        Config::plain(TlsMode::None).with_capabilities("IMAP4rev1 IDLE AUTH=XOAUTH2 SASL-IR"),
    );
    assert_eq!(
        plain.await.2,
        "* CAPABILITY IMAP4rev1 IDLE AUTH=XOAUTH2 SASL-IR"
    );
}
