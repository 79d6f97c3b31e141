//! Whom the mail server plays: front ends, capabilities, folders, and what is Gmail's own.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_sandbox::{
    imap::{Config, Profile, Scope, TlsMode},
    mailboxes::names,
};

use crate::{
    client::{Client, oauthbearer, xoauth2},
    world::{ANN, BOB, world},
};

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
