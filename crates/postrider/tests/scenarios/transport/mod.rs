//! What lies between the daemon and an endpoint: certificates of both sides, signatures with a key of
//! two halves, names that change their mind, proxies, and what a hostile mail would like to write.

pub(crate) mod pki;

mod escapes;
mod names;
mod proxies;

use std::{fs, process::Command};

use serde_json::Value;

use self::pki::{Authority, Front, Issued, VALID};
use crate::{
    endpoint_faults::desk::Desk,
    receivers::{Receiver, root},
    world::{Settings, World},
};

/// What is tried again is so within a second.
pub(crate) const QUICK: &str = "timeout = \"3s\"\nretry = { schedule = [\"1s\"] }\n";

pub(crate) fn endpoint<'a>(list: &'a Value, name: &str) -> &'a Value {
    let all = list["endpoints"].as_array().unwrap();
    let found = all.iter().find(|one| one["id"] == name);
    found.unwrap_or_else(|| panic!("no endpoint {name} in {list:#}"))
}

/// What is told of the endpoint's last trouble.
pub(crate) fn trouble(world: &World, name: &str) -> String {
    let Ok(list) = world.ask(&["endpoints", "list"]) else {
        return String::new();
    };
    let told = &endpoint(&list, name)["last_error"]["detail"];
    told.as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn expect_trouble(world: &World, name: &str, words: &str) {
    let what = format!("{name} is told to be in trouble with {words:?}");
    let told = |world: &World| trouble(world, name).contains(words);
    world.expect(&what, told).await;
}

/// All messages, each under one id.
pub(crate) async fn expect_at(world: &World, desk: &Desk, path: &str, count: usize) {
    world
        .expect(&format!("{count} events at {path}"), |_| {
            let seen = desk.seen(path);
            let accepted = seen.iter().filter(|one| one.accepted);
            let messages: std::collections::BTreeSet<_> =
                accepted.map(|one| (&one.message, &one.id)).collect();
            messages.len() == count
        })
        .await;
    assert_eq!(desk.forged(), 0);
}

fn put(world: &World, name: &str, text: &str) -> String {
    // As whoever renews certificates does: beside it, then in its place.
    let path = world.dir.path().join(name);
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, &path).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_and_a_renewed_one_takes_its_place_while_running() {
    let (servers, clients, next) = (
        Authority::new("servers"),
        Authority::new("clients"),
        Authority::new("next"),
    );
    let server = servers.issue("localhost", VALID);
    let (old, new) = (clients.issue("rider", VALID), next.issue("rider", VALID));
    let desk = Desk::default();
    let front = Front::open(&desk, server.served(Some(&clients))).await;
    let mut world = World::new(Settings::default()).await;
    let ca = put(&world, "desk-ca.pem", &servers.pem());
    let certificate = put(&world, "rider.pem", &old.pem);
    let key = put(&world, "rider.key", &old.key);
    world.settings.more = format!(
        "[endpoints.mutual]\nurl = \"https://localhost:{}/mutual\"\nsecret = {{ env = \"HOOK_SECRET\" }}\nca_file = \"{ca}\"\n\
         client_certificate = {{ file = \"{certificate}\", key = {{ file = \"{key}\" }} }}\n{QUICK}",
        front.port
    );
    world.settings.endpoints = "\"tickets\", \"mutual\"";
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 3);
    expect_at(&world, &desk, "/mutual", 3).await;
    let shown = front.shown();
    assert!(shown.iter().all(|one| *one == old.der.to_vec()));
    // The receiver's authority is another one now: it takes the renewed certificate alone.
    front.becomes(server.served(Some(&next)));
    world.burst(0, 3);
    world.expect_all().await;
    expect_trouble(&world, "mutual", "does not take our certificate").await;
    // What is no certificate, and a certificate whose key is not there yet, change nothing.
    put(&world, "rider.pem", "-----BEGIN CERTIFICATE-----\n");
    world
        .expect("what cannot be used is told", |world| {
            let log = world.log();
            log.contains("has changed and cannot be used")
        })
        .await;
    put(&world, "rider.pem", &new.pem);
    put(&world, "rider.key", &new.key);
    expect_at(&world, &desk, "/mutual", 6).await;
    assert_eq!(*front.shown().last().unwrap(), new.der.to_vec());
    world.expect_account().await;
    let log = world.log();
    for line in old.key.lines().chain(new.key.lines()).skip(1) {
        assert!(line.len() < 20 || !log.contains(line), "a key in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoints_own_authority_is_read_again_when_its_file_changes() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let desk = Desk::default();
    let front = Front::open(&desk, old.issue("localhost", VALID).served(None)).await;
    let mut world = World::new(Settings::default()).await;
    let ca = put(&world, "desk-ca.pem", &old.pem());
    world.settings.more = format!(
        "[endpoints.private]\nurl = \"https://localhost:{}/private\"\nsecret = {{ env = \"HOOK_SECRET\" }}\nca_file = \"{ca}\"\n{QUICK}",
        front.port
    );
    world.settings.endpoints = "\"tickets\", \"private\"";
    world.start();
    world.expect_watching(1).await;
    world.deliver(0);
    expect_at(&world, &desk, "/private", 1).await;
    front.becomes(new.issue("localhost", VALID).served(None));
    world.deliver(0);
    expect_trouble(&world, "private", "UnknownIssuer").await;
    put(
        &world,
        "desk-ca.pem",
        &format!("{}{}", new.pem(), old.pem()),
    );
    expect_at(&world, &desk, "/private", 2).await;
    world.expect_account().await;
}

/// Each with what is told of it.
fn untrusted(good: &Authority) -> Vec<(&'static str, Issued, &'static str)> {
    let other = Authority::new("other");
    vec![
        (
            "unknown-authority",
            other.issue("localhost", VALID),
            "UnknownIssuer",
        ),
        (
            "expired",
            good.issue("localhost", -30..-1),
            "certificate expired",
        ),
        (
            "not-yet-valid",
            good.issue("localhost", 1..30),
            "certificate not valid yet",
        ),
        (
            "wrong-name",
            good.issue("desk.example.org", VALID),
            "not valid for name \"localhost\"",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_in_order_is_told_in_plain_words_and_costs_nothing() {
    let (good, clients) = (Authority::new("good"), Authority::new("clients"));
    let desk = Desk::default();
    let mut world = World::new(Settings::default()).await;
    let ca = put(&world, "desk-ca.pem", &good.pem());
    let mut fronts = Vec::new();
    for (name, issued, words) in untrusted(&good) {
        fronts.push((name, Front::open(&desk, issued.served(None)).await, words));
    }
    let mine = good.issue("localhost", VALID);
    let asking = Front::open(&desk, mine.served(Some(&clients))).await;
    fronts.push(("no-certificate-of-ours", asking, "set `client_certificate`"));
    let list: Vec<String> = fronts
        .iter()
        .map(|(name, ..)| format!("\"{name}\""))
        .collect();
    for (name, front, _) in &fronts {
        world.settings.more += &format!(
            "[endpoints.{name}]\nurl = \"https://localhost:{}/{name}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\nca_file = \"{ca}\"\n{QUICK}",
            front.port
        );
    }
    world.environment.push((
        "POSTRIDER__GROUPS__ALL__ENDPOINTS".to_owned(),
        format!("[\"tickets\", {}]", list.join(", ")),
    ));
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 2);
    world.expect_all().await;
    for (name, _, words) in &fronts {
        expect_trouble(&world, name, words).await;
        assert!(desk.seen(&format!("/{name}")).is_empty());
        let told = trouble(&world, name);
        assert!(told.starts_with("TLS failed"), "{name}: {told}");
    }
    for (_, front, _) in &fronts {
        front.becomes(mine.served(None));
    }
    for (name, ..) in &fronts {
        expect_at(&world, &desk, &format!("/{name}"), 2).await;
    }
    world.expect_account().await;
}

/// RFC 8032 section 7.1, TEST 1.
const SEED: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_the_public_half_alone_verifies_what_the_daemon_sends() {
    let mut world = World::new(Settings::default()).await;
    world
        .environment
        .push(("TWO_HALVES".to_owned(), SEED.to_owned()));
    world.settings.more = "[endpoints.halves]\nurl = \"http://127.0.0.1:1/\"\n\
         secret = [{ env = \"TWO_HALVES\" }, { env = \"HOOK_SECRET\" }]\n"
        .to_owned()
        + QUICK;
    world.settings.endpoints = "\"tickets\", \"halves\"";
    world.write_config();
    // What a receiver is given is what the command says.
    let told = world
        .command()
        .args(["endpoints", "key", "halves"])
        .output();
    let public = String::from_utf8(told.unwrap().stdout).unwrap();
    assert!(public.starts_with("whpk_"), "{public}");
    let mut command = Command::new(root().join(".venv/bin/python"));
    command
        .arg(root().join("crates/postrider/tests/receivers/ed25519.py"))
        .arg(public.trim())
        .arg(crate::world::SECRET);
    let receiver = Receiver::start(command);
    world.environment.push((
        "POSTRIDER__ENDPOINTS__HALVES__URL".to_owned(),
        format!("http://127.0.0.1:{}/", receiver.port),
    ));
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 5);
    world.expect_all().await;
    world.expect_account().await;
    let state = receiver.state().await;
    assert_eq!(state["events"], 5, "{state:#}");
    assert_eq!(state["refused"], serde_json::json!([]), "{state:#}");
    assert!(!world.log().contains(&SEED[5..]));
}
