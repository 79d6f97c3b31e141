//! Sessions: which folder they open, how many there may be, and how they end with their token.

use std::time::{Duration, Instant};

use postrider_sandbox::{
    authority::TokenAuthority,
    imap::{Goodbye, Refusal, Scope},
    mail,
    mailboxes::Access,
    token_endpoint::{TokenConfig, TokenEndpoint},
};
use time::OffsetDateTime;

use crate::world::{Settings, World};

/// A message for a folder that is no INBOX.
fn deliver(world: &World, mailbox: usize, folder: &str) {
    let number = world.next_number();
    let raw = mail::plain(number, 200);
    let (user, now) = (&world.users[mailbox], OffsetDateTime::now_utc());
    world.mailboxes.deliver(user, folder, raw, now).unwrap();
}

/// `data` of each message that arrived.
fn arrived(world: &World) -> Vec<serde_json::Value> {
    let all = world.receiver.received().into_iter();
    all.map(|one| one.json()["data"].clone()).collect()
}

async fn expect_arrived(world: &World, count: usize) {
    world
        .expect(&format!("{count} messages arrived"), |world| {
            arrived(world).len() == count
        })
        .await;
}

/// A mailbox beside the group's, at the same server.
fn beside(world: &World, key: &str, mailbox: usize, folder: &str, server: &str) -> String {
    format!(
        "[mailboxes.{key}]\naddress = \"{user}\"\nserver = {{ host = \"localhost\", port = {port}, tls = \"implicit\", ca_file = \"{dir}/ca.pem\"{server} }}\n\
         credential = \"lab\"\nfolders = ['{folder}']\nendpoints = [\"tickets\"]\nidle_cycle = \"5s\"\n",
        user = world.users[mailbox],
        port = world.proxy.port(),
        dir = world.dir.path().display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_watched_whatever_the_language_of_the_mailbox() {
    let mut world = World::new(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    let names = ["Courrier indésirable", "Junk-E-Mail"];
    for (user, name) in world.users.iter().zip(names) {
        world.mailboxes.add_folder(user, name).unwrap();
    }
    world.settings.more =
        beside(&world, "junk0", 0, "\\Junk", "") + &beside(&world, "junk1", 1, "\\junk", "");
    world.start();
    world.expect_watching(4).await;
    for (mailbox, name) in names.iter().enumerate() {
        deliver(&world, mailbox, name);
    }
    expect_arrived(&world, 2).await;
    for data in arrived(&world) {
        assert_eq!(data["folder"], "\\Junk");
        assert_eq!(data["imap"]["gmail"], serde_json::Value::Null);
        let name = data["imap"]["folder"].as_str().unwrap();
        assert!(names.contains(&name), "{name}");
    }
    // The same folder under another name, as when a mailbox's language is set anew: what was taken
    // is known by its fingerprint, and what came meanwhile is sent.
    world.stop().await;
    let user = world.users[0].clone();
    world.mailboxes.remove_folder(&user, names[0]).unwrap();
    world.mailboxes.add_folder(&user, "Junk Email").unwrap();
    deliver(&world, 0, "Junk Email");
    world.start();
    world.expect_watching(4).await;
    expect_arrived(&world, 3).await;
    assert_eq!(arrived(&world)[2]["imap"]["folder"], "Junk Email");
    assert_eq!(world.receiver.repeats(), 0);
    assert!(world.server.violations().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_folder_says_what_there_is_and_waits_for_it() {
    let mut world = World::new(Settings::default()).await;
    world.settings.more = beside(&world, "archive", 0, "\\Archive", "");
    let user = world.users[0].clone();
    world.mailboxes.add_folder(&user, "Orders").unwrap();
    world.start();
    world.expect_state("archive", "backoff").await;
    let told = world.mailbox("archive")["last_error"].clone();
    assert_eq!(told["cause"], "folder_missing", "{told:#}");
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("\\Archive"), "{detail}");
    assert!(detail.contains("INBOX") && detail.contains("Orders"));
    world.mailboxes.add_folder(&user, "Archiv").unwrap();
    world.ask(&["mailboxes", "resync", "archive"]).unwrap();
    world.expect_watching(2).await;
    deliver(&world, 0, "Archiv");
    expect_arrived(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_connections_are_shared_out_and_who_waits_is_told() {
    let mut world = World::new(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    world.settings.more = (0..3)
        .map(|n| {
            beside(
                &world,
                &format!("few{n}"),
                n,
                "INBOX",
                ", connections_max = 2",
            )
        })
        .collect();
    world.start();
    // The group's three, and two of those with the limit.
    world.expect_watching(5).await;
    let few = |world: &World| ["few0", "few1", "few2"].map(|key| world.mailbox(key));
    world
        .expect("the third is told to wait", |world| {
            few(world)
                .iter()
                .any(|one| one["last_error"]["cause"] == "connections_max")
        })
        .await;
    let waits = few(&world)
        .iter()
        .position(|one| one["state"] != "watching")
        .unwrap();
    let other = format!("few{}", (waits + 1) % 3);
    world.ask(&["mailboxes", "pause", &other]).unwrap();
    world.expect_state(&format!("few{waits}"), "watching").await;
}

/// A server that allows one connection has none for a successor beside it: the session ends with its
/// token, and the next one is opened at once. Nobody was throttled.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_to_spare_a_session_is_replaced_when_its_token_ends() {
    let (world, tokens) = application(Duration::from_secs(12), ", connections_max = 1").await;
    world.expect_watching(2).await;
    let end = Instant::now() + Duration::from_secs(30);
    let mut sent = 0;
    while Instant::now() < end {
        let raw = mail::plain(world.next_number(), 200);
        let now = OffsetDateTime::now_utc();
        world.mailboxes.deliver(ONE, "Sent", raw, now).unwrap();
        sent += 1;
        expect_arrived(&world, sent).await;
    }
    assert!(tokens.counters().issued >= 3);
    let log = world.log();
    assert!(
        !log.contains("connection_limit") && !log.contains("throttled"),
        "{log}"
    );
}

const ONE: &str = "one@example.org";

/// A daemon with one mailbox more, `only`, whose folder Sent it watches by an application's tokens.
async fn application(lifetime: Duration, server: &str) -> (World, TokenEndpoint) {
    let authority = TokenAuthority::new();
    let config = TokenConfig {
        lifetime,
        ..TokenConfig::default()
    };
    let (tenant, client, secret) = (
        config.tenant.clone(),
        config.client_id.clone(),
        config.secrets[0].clone(),
    );
    let tokens = TokenEndpoint::start(config, authority.clone())
        .await
        .unwrap();
    let mut world = World::new(Settings::default()).await;
    let file = world.dir.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    world.settings.more = format!(
        "[credentials.app]\ntype = \"microsoft\"\ntenant = \"{tenant}\"\nclient_id = \"{client}\"\nauthority = \"{}\"\nclient_secret = {{ file = \"{}\" }}\n{}",
        tokens.authority_url(),
        file.display(),
        beside(&world, "only", 0, "Sent", server)
            .replace("\"lab\"", "\"app\"")
            .replace(&world.users[0], ONE),
    );
    world.mailboxes.add_account(ONE, Access::tokens(&authority));
    world.mailboxes.add_folder(ONE, "Sent").unwrap();
    world.start();
    (world, tokens)
}

/// A server may know that a token is over before we do: there is one more to try, and then the
/// login waits as a refused one does, not as one whose session has just ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_token_is_said_to_be_over_is_not_tried_again_and_again() {
    let (world, tokens) = application(Duration::from_secs(3600), "").await;
    world.expect_watching(2).await;
    let over = Refusal::Text("Session invalidated - AccessTokenExpired".to_owned());
    world
        .server
        .levers(Scope::User(ONE), |levers| levers.refuse_login = Some(over));
    world.server.drop_sessions(Scope::User(ONE), &Goodbye::Eof);
    world.expect_state("only", "auth_failed").await;
    assert_eq!(tokens.counters().issued, 1, "it had been accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_with_their_token_are_opened_again_without_a_warning() {
    let world = World::watching(Settings {
        mailboxes: 3,
        group: "idle_cycle = \"20s\"\n".to_owned(),
        ..Settings::default()
    })
    .await;
    // Younger than this, a session that ends so is no routine.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let bye = Goodbye::Bye("Session invalidated - AccessTokenExpired".to_owned());
    world.server.drop_sessions(Scope::Server, &bye);
    for mailbox in 0..3 {
        world.deliver(mailbox);
    }
    world.expect_all_within(Duration::from_secs(5)).await;
    world
        .expect_metric(
            "postrider_imap_connects_total{outcome=\"token_expired\"}",
            3.0,
        )
        .await;
    assert!(!world.log().contains("\"WARN\""), "{}", world.log());
    world.expect_account().await;
}
