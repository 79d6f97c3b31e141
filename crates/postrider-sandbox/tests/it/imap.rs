//! The mail server.

use std::time::Duration;

use postrider_sandbox::{
    authority::{Bearer, TokenAuthority},
    imap::{Config, Goodbye, ImapServer, OnExpiry, Refusal, Scope, ThrottleStyle, TlsMode},
    mailboxes::{Access, Mailboxes, Renumber, Times, Trouble},
    tls::{Chain, Tls},
};
use time::macros::datetime;

use crate::client::{Client, oauthbearer, xoauth2};

const ANN: &str = "ann@example.org";
const MAIL: &[u8] =
    b"From: bob@example.org\r\nMessage-ID: <1@example.org>\r\nX-Long: a\r\n b\r\n\r\nhello\r\n";
const AT: time::OffsetDateTime = datetime!(2024-02-01 10:00 UTC);
const SECONDS: Duration = Duration::from_secs(10);

fn mail_of_ann() -> Mailboxes {
    let mailboxes = Mailboxes::new();
    mailboxes.add_account(ANN, Access::password("secret"));
    mailboxes
}

async fn server() -> ImapServer {
    let config = Config::exchange(TlsMode::None);
    ImapServer::start(config, mail_of_ann()).await.unwrap()
}

/// A client of Ann's that has examined her INBOX.
async fn watching(server: &ImapServer) -> Client {
    let mut client = logged_in(server).await;
    client.ask_ok("EXAMINE INBOX").await;
    client
}

async fn logged_in(server: &ImapServer) -> Client {
    let mut client = Client::plain(server.address()).await;
    assert!(client.line().await.starts_with("* OK "));
    client.ask_ok(&format!("LOGIN {ANN} secret")).await;
    client
}

async fn idling(server: &ImapServer) -> Client {
    let mut client = watching(server).await;
    client.send("i IDLE").await;
    assert!(client.line().await.starts_with("+ "));
    assert!(server.wait_for_idle(Scope::User(ANN), 1, SECONDS).await);
    client
}

fn deliver(server: &ImapServer, raw: &'static [u8]) -> u32 {
    server.mailboxes().deliver(ANN, "INBOX", raw, AT).unwrap()
}

#[tokio::test]
async fn new_mail_is_pushed_in_idle_and_fetched_whole() {
    let server = server().await;
    let mut client = idling(&server).await;
    assert_eq!(deliver(&server, MAIL), 1);
    assert_eq!(client.line().await, "* 1 EXISTS");
    assert_eq!(client.line().await, "* 1 RECENT");
    client.send("DONE").await;
    assert!(client.line().await.starts_with("i OK"));
    let found = client.ask_ok("UID SEARCH UID 1:*").await;
    assert_eq!(found[0], "* SEARCH 1");
    client
        .send("t UID FETCH 1 (UID INTERNALDATE RFC822.SIZE FLAGS BODY.PEEK[])")
        .await;
    let size = MAIL.len();
    let expected = format!(
        "* 1 FETCH (UID 1 INTERNALDATE \" 1-Feb-2024 10:00:00 +0000\" RFC822.SIZE {size} FLAGS () BODY[] {{{size}}}"
    );
    assert_eq!(client.line().await, expected);
    assert_eq!(client.exactly(size).await, MAIL);
    assert_eq!(client.line().await, ")");
    assert!(client.line().await.starts_with("t OK"));
    assert!(server.violations().is_empty());
    assert_eq!(server.counters(Scope::Server).announcements, 1);
}

#[tokio::test]
async fn header_fields_and_partials_are_served() {
    let server = server().await;
    deliver(&server, MAIL);
    let mut client = watching(&server).await;
    client
        .send("t UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (message-id X-Long)] BODY.PEEK[]<2.6>)")
        .await;
    let fields = "Message-ID: <1@example.org>\r\nX-Long: a\r\n b\r\n\r\n";
    let head = format!(
        "* 1 FETCH (UID 1 BODY[HEADER.FIELDS (message-id X-Long)] {{{}}}",
        fields.len()
    );
    assert_eq!(client.line().await, head);
    assert_eq!(client.exactly(fields.len()).await, fields.as_bytes());
    assert_eq!(client.line().await, " BODY[]<2> {6}");
    assert_eq!(client.exactly(6).await, b"om: bo");
    assert_eq!(client.until("t ").await.len(), 2);
}

#[tokio::test]
async fn what_would_change_a_mailbox_is_noted() {
    let server = server().await;
    deliver(&server, MAIL);
    let mut client = logged_in(&server).await;
    client.ask_ok("SELECT INBOX").await;
    client.ask_ok("UID FETCH 1 BODY[]").await;
    client.ask("UID STORE 1 +FLAGS (\\Deleted)").await;
    client.ask("EXPUNGE").await;
    let commands: Vec<String> = server.violations().into_iter().map(|v| v.command).collect();
    assert_eq!(
        commands,
        [
            "SELECT INBOX",
            "UID FETCH 1 BODY[]",
            "UID STORE 1 +FLAGS (\\Deleted)",
            "EXPUNGE"
        ]
    );
    assert_eq!(server.mailboxes().seen(ANN, "INBOX").unwrap(), [1]);
}

#[tokio::test]
async fn tokens_are_refused_as_exchange_and_as_dovecot_do() {
    let authority = TokenAuthority::new();
    authority.accept("good", Bearer::Application, None);
    let mailboxes = Mailboxes::new();
    mailboxes.add_account(ANN, Access::tokens(&authority));

    let exchange = ImapServer::start(Config::exchange(TlsMode::None), mailboxes.clone());
    let exchange = exchange.await.unwrap();
    let mut client = Client::plain(exchange.address()).await;
    client.line().await;
    let refused = client
        .ask(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(ANN, "bad")))
        .await;
    assert_eq!(refused, ["t NO AUTHENTICATE failed."]);
    client.send("").await;
    assert_eq!(client.line().await, "* BAD Command Error. 12");
    assert_eq!(exchange.violations()[0].command, "0 bytes");
    client.send("t AUTHENTICATE XOAUTH2").await;
    assert_eq!(client.line().await, "+");
    client.send(&xoauth2(ANN, "good")).await;
    assert_eq!(client.line().await, "t OK AUTHENTICATE completed.");

    let dovecot = ImapServer::start(Config::dovecot(TlsMode::None), mailboxes);
    let dovecot = dovecot.await.unwrap();
    let mut client = Client::plain(dovecot.address()).await;
    client.line().await;
    let wrong = oauthbearer(ANN, "bad");
    client
        .send(&format!("t AUTHENTICATE OAUTHBEARER {wrong}"))
        .await;
    assert!(client.line().await.starts_with("+ ey"));
    client.send("AQ==").await;
    assert_eq!(
        client.line().await,
        "t NO [AUTHENTICATIONFAILED] Authentication failed."
    );
    let right = oauthbearer(ANN, "good");
    client
        .ask_ok(&format!("AUTHENTICATE OAUTHBEARER {right}"))
        .await;
    assert_eq!(dovecot.counters(Scope::User(ANN)).logins_refused, 1);
}

#[tokio::test]
async fn an_expired_token_ends_an_idling_session() {
    let authority = TokenAuthority::new();
    authority.accept(
        "short",
        Bearer::User(ANN.to_owned()),
        Some(Duration::from_millis(300)),
    );
    authority.accept("long", Bearer::Application, None);
    let mailboxes = Mailboxes::new();
    mailboxes.add_account(ANN, Access::tokens(&authority));
    let server = ImapServer::start(Config::exchange(TlsMode::None), mailboxes);
    let server = server.await.unwrap();
    for token in ["short", "long"] {
        let mut client = Client::plain(server.address()).await;
        client.line().await;
        client
            .ask_ok(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(ANN, token)))
            .await;
        client.ask_ok("EXAMINE INBOX").await;
        client.send("i IDLE").await;
        client.line().await;
        if token == "long" {
            authority.expire_all();
        }
        let bye = "* BYE Session invalidated - AccessTokenExpired";
        assert_eq!(client.line().await, bye);
        assert_eq!(client.line().await, "");
    }
}

#[tokio::test]
async fn an_idling_session_does_not_notice_a_changed_uidvalidity() {
    let server = server().await;
    deliver(&server, MAIL);
    let mut client = idling(&server).await;
    let mailboxes = server.mailboxes();
    mailboxes
        .set_uidvalidity(ANN, "INBOX", 77, Renumber::From(500))
        .unwrap();
    assert_eq!(deliver(&server, MAIL), 501);
    assert!(client.is_silent_for(Duration::from_millis(100)).await);
    client.send("DONE").await;
    client.until("i OK").await;
    assert_eq!(client.ask_ok("UID SEARCH ALL").await[0], "* SEARCH 1");
    let opened = client.ask_ok("EXAMINE INBOX").await;
    assert!(opened.contains(&"* OK [UIDVALIDITY 77] UIDVALIDITY value".to_owned()));
    assert_eq!(client.ask_ok("UID SEARCH ALL").await[0], "* SEARCH 500 501");
    mailboxes.uids_go_back(ANN, "INBOX", 501).unwrap();
    assert_eq!(deliver(&server, MAIL), 501);
}

#[tokio::test]
async fn starttls_protects_what_follows_and_a_clear_text_login_is_noted() {
    let tls = Tls::generate().unwrap();
    let config = Config::dovecot(TlsMode::StartTls(tls.clone()));
    let server = ImapServer::start(config, mail_of_ann()).await.unwrap();
    let mut client = Client::plain(server.address()).await;
    client.line().await;
    assert!(client.ask_ok("CAPABILITY").await[0].contains(" STARTTLS LOGINDISABLED"));
    let refused = client.ask(&format!("LOGIN {ANN} secret")).await;
    assert!(refused[0].starts_with("t NO [PRIVACYREQUIRED]"));
    assert_eq!(server.violations()[0].command, "LOGIN");
    client.ask_ok("STARTTLS").await;
    let mut client = client.encrypt(&tls).await;
    client.ask_ok(&format!("LOGIN {ANN} secret")).await;
    assert!(!client.ask_ok("CAPABILITY").await[0].contains("STARTTLS"));
}

#[tokio::test]
async fn literals_and_pipelined_commands_are_understood() {
    let server = server().await;
    let mut client = Client::plain(server.address()).await;
    client.line().await;
    client.send(&format!("a LOGIN {ANN} {{6}}")).await;
    assert!(client.line().await.starts_with("+ "));
    client
        .send("secret\r\nb NOOP\r\nc EXAMINE {5+}\r\nINBOX\r\nd UID SEARCH SINCE 1-Feb-2024")
        .await;
    for tag in ["a OK", "b OK", "c OK", "d OK"] {
        assert!(
            client
                .until(&tag[..2])
                .await
                .last()
                .unwrap()
                .starts_with(tag)
        );
    }
}

#[tokio::test]
async fn levers_act_on_running_sessions() {
    let server = server().await;
    let mut client = watching(&server).await;
    let minute = Duration::from_secs(60);
    server.levers(Scope::User(ANN), |levers| {
        levers.throttle_next(1, minute, ThrottleStyle::Bad);
        levers.refuse_next("UID SEARCH", 1);
    });
    assert_eq!(
        client.ask("NOOP").await[0],
        "t BAD Request is throttled. Suggested Backoff Time: 60000 milliseconds"
    );
    assert_eq!(
        client.ask("UID SEARCH ALL").await[0],
        "t NO UID SEARCH failed."
    );
    client.ask_ok("UID SEARCH ALL").await;

    server.levers(Scope::Server, |levers| levers.frozen = true);
    client.send("t NOOP").await;
    assert!(client.is_silent_for(Duration::from_millis(100)).await);
    server.levers(Scope::Server, |levers| levers.frozen = false);
    assert!(client.line().await.starts_with("t OK"));

    server.levers(Scope::User(ANN), |levers| {
        levers.refuse_login = Some(Refusal::Unavailable);
        levers.not_connected = true;
    });
    assert!(client.ask("NOOP").await[0].starts_with("t BAD User is authenticated but"));
    assert_eq!(
        client.ask("NOOP").await[0],
        "t BAD User is authenticated but not connected."
    );
    assert_eq!(client.line().await, "* BYE Connection closed. 14");
    let mut client = Client::plain(server.address()).await;
    client.line().await;
    let refused = client.ask(&format!("LOGIN {ANN} secret")).await;
    assert!(refused[0].starts_with("t NO [UNAVAILABLE]"));
}

#[tokio::test]
async fn sessions_are_dropped_and_the_server_comes_back_on_its_port() {
    let server = server().await;
    let mut polite = idling(&server).await;
    assert_eq!(
        server.drop_sessions(Scope::User(ANN), &Goodbye::Bye("see you".to_owned())),
        1
    );
    assert_eq!(polite.line().await, "* BYE see you");
    let mut rude = idling(&server).await;
    assert_eq!(server.drop_sessions(Scope::Server, &Goodbye::Eof), 1);
    assert_eq!(rude.line().await, "");
    let mut last = idling(&server).await;
    server.stop().await;
    assert_eq!(last.line().await, "");
    assert!(
        tokio::net::TcpStream::connect(server.address())
            .await
            .is_err()
    );
    server.start_again().await.unwrap();
    watching(&server).await;
    assert_eq!(server.counters(Scope::Server).idle, 0);
    assert_eq!(server.counters(Scope::User(ANN)).logins, 4);
}

#[tokio::test]
async fn a_message_in_trouble_is_hard_to_read() {
    let server = server().await;
    for _ in 0..5 {
        deliver(&server, MAIL);
    }
    let troubles = [
        Trouble::NilBody,
        Trouble::Garbage,
        Trouble::LeftOut,
        Trouble::EmptyBody,
        Trouble::Cut,
    ];
    for (uid, trouble) in (1..).zip(troubles) {
        let mailboxes = server.mailboxes();
        mailboxes
            .trouble(ANN, "INBOX", uid, trouble, Times::Next(1))
            .unwrap();
    }
    let mut client = watching(&server).await;
    let lines = client.ask_ok("UID FETCH 1:4 (UID BODY.PEEK[])").await;
    let expected = [
        "* 1 FETCH (UID 1 BODY[] NIL)",
        "* 2 FETCH (UID 2 FLAGS ((( BODY[]] {x} \"",
        "* 4 FETCH (UID 4 BODY[] {0}",
        ")",
    ];
    assert_eq!(lines[..4], expected);
    client.send("t UID FETCH 5 (BODY.PEEK[])").await;
    let lines = client.until("t ").await;
    assert_eq!(lines.last().unwrap(), "");
    let mut client = watching(&server).await;
    client.ask_ok("UID FETCH 5 (BODY.PEEK[])").await;
}

#[tokio::test]
async fn expunged_mail_leaves_the_session_at_the_next_word() {
    let server = server().await;
    for _ in 0..3 {
        deliver(&server, MAIL);
    }
    let mut client = watching(&server).await;
    server.mailboxes().expunge(ANN, "INBOX", &[1, 2]).unwrap();
    deliver(&server, MAIL);
    let lines = client.ask_ok("NOOP").await;
    assert_eq!(
        lines[..4],
        ["* 1 EXPUNGE", "* 1 EXPUNGE", "* 2 EXISTS", "* 1 RECENT"]
    );
    assert_eq!(client.ask_ok("UID SEARCH UID 4:*").await[0], "* SEARCH 4");
    assert_eq!(client.ask_ok("UID SEARCH UID 9:*").await[0], "* SEARCH 4");
}

#[tokio::test]
async fn hundreds_of_tls_sessions_idle_at_once() {
    let tls = Tls::generate_with(Chain::Realistic).unwrap();
    assert!(
        (3900..4300).contains(&tls.chain_bytes()),
        "{}",
        tls.chain_bytes()
    );
    let config = Config::exchange(TlsMode::Implicit(tls.clone()));
    let server = ImapServer::start(config, mail_of_ann()).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = Client::tls(server.address(), &tls).await;
        client.line().await;
        client
            .send(&format!(
                "a LOGIN {ANN} secret\r\nb EXAMINE INBOX\r\nc IDLE"
            ))
            .await;
        clients.push(client);
    }
    assert!(server.wait_for_idle(Scope::Server, 200, SECONDS).await);
    deliver(&server, MAIL);
    for client in &mut clients {
        assert_eq!(
            client.until("* 1 EXISTS").await.last().unwrap(),
            "* 1 EXISTS"
        );
    }
}

#[tokio::test]
async fn idle_may_be_silent_and_done_unanswered() {
    let server = server().await;
    let moment = Duration::from_millis(100);
    let mut client = idling(&server).await;
    server.levers(Scope::User(ANN), |levers| levers.silent_idle = true);
    deliver(&server, MAIL);
    assert!(client.is_silent_for(moment).await);
    client.send("DONE").await;
    assert!(client.line().await.starts_with("i OK"));
    let found = client.ask_ok("UID SEARCH ALL").await;
    assert_eq!(found[..3], ["* 1 EXISTS", "* 1 RECENT", "* SEARCH 1"]);
    server.levers(Scope::User(ANN), |levers| levers.ignore_done = true);
    client.send("i IDLE").await;
    client.line().await;
    client.send("DONE").await;
    assert!(client.is_silent_for(moment).await);
}

#[tokio::test]
async fn logins_are_slow_and_sessions_limited() {
    let server = server().await;
    server.levers(Scope::User(ANN), |levers| {
        levers.connections_max = Some(1);
        levers.login_delay = Duration::from_millis(50);
    });
    let begun = std::time::Instant::now();
    let _first = logged_in(&server).await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let mut second = Client::plain(server.address()).await;
    second.line().await;
    let refused = second.ask(&format!("LOGIN {ANN} secret")).await;
    assert_eq!(refused[0], "t NO Too many connections.");
    server.levers(Scope::Server, |levers| levers.connections_max = Some(2));
    let mut third = Client::plain(server.address()).await;
    assert!(third.line().await.starts_with("* BYE Too many connections"));
}

#[tokio::test]
async fn small_talk_is_answered_and_nonsense_is_not() {
    let config = Config::exchange(TlsMode::None).recording();
    let server = ImapServer::start(config, mail_of_ann()).await.unwrap();
    deliver(&server, MAIL);
    let mut client = logged_in(&server).await;
    assert_eq!(
        client.ask_ok("NAMESPACE").await[0],
        "* NAMESPACE ((\"\" \"/\")) NIL NIL"
    );
    assert!(client.ask_ok("ID NIL").await[0].starts_with("* ID (\"name\""));
    let status = client.ask_ok("STATUS INBOX (MESSAGES UIDNEXT)").await;
    assert_eq!(status[0], "* STATUS \"INBOX\" (MESSAGES 1 UIDNEXT 2)");
    assert_eq!(
        client.ask_ok("LIST \"\" \"*\"").await[0],
        "* LIST (\\HasNoChildren) \"/\" \"INBOX\""
    );
    assert_eq!(
        client.ask("EXAMINE Nowhere").await[0],
        "t NO Nowhere doesn't exist."
    );
    for wrong in [
        "UID SEARCH ALL",
        "NONSENSE",
        "STATUS INBOX (HIGHESTMODSEQ)",
        "ENABLE IMAP4rev2",
    ] {
        assert!(client.ask(wrong).await[0].starts_with("t BAD"), "{wrong}");
    }
    let noted = server.violations().into_iter().map(|one| one.command);
    assert_eq!(noted.collect::<Vec<_>>(), ["NONSENSE", "ENABLE IMAP4rev2"]);
    client.ask_ok("EXAMINE INBOX").await;
    assert_eq!(
        client.ask_ok("UID SEARCH SINCE 2-Feb-2024").await[0],
        "* SEARCH"
    );
    assert_eq!(
        client.ask_ok("UID SEARCH UID 1:9 SINCE 1-Feb-2024").await[0],
        "* SEARCH 1"
    );
    assert_eq!(
        client.ask_ok("UID SEARCH HEADER Message-ID 1@exa").await[0],
        "* SEARCH 1"
    );
    client.ask_ok("UNSELECT").await;
    assert!(client.ask("UID FETCH 1 (UID)").await[0].starts_with("t BAD"));
    assert_eq!(client.ask("LOGOUT").await.len(), 2);
    let recorded = server.recorded();
    assert_eq!(recorded[0], (None, "LOGIN".to_owned()));
    assert_eq!(recorded[1], (Some(ANN.to_owned()), "NAMESPACE".to_owned()));
}

#[tokio::test]
async fn a_token_of_another_user_is_refused_and_expiry_may_be_silent() {
    let authority = TokenAuthority::new();
    authority.accept("bobs", Bearer::User("bob@example.org".to_owned()), None);
    authority.accept("anns", Bearer::User(ANN.to_owned()), None);
    let mailboxes = Mailboxes::new();
    mailboxes.add_account(ANN, Access::tokens(&authority).or_password("secret"));
    let server = ImapServer::start(Config::exchange(TlsMode::None), mailboxes);
    let server = server.await.unwrap();
    let mut client = Client::plain(server.address()).await;
    client.line().await;
    let refused = client
        .ask(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(ANN, "bobs")))
        .await;
    assert_eq!(refused, ["t NO AUTHENTICATE failed."]);
    client
        .ask_ok(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(ANN, "anns")))
        .await;
    server.levers(Scope::Server, |levers| levers.on_expiry = OnExpiry::Ignore);
    authority.expire("anns");
    client.ask_ok("NOOP").await;
    server.levers(Scope::Server, |levers| levers.on_expiry = OnExpiry::Eof);
    assert_eq!(client.line().await, "");
    logged_in(&server).await;
}
