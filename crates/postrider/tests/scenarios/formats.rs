//! Endpoints that get the message itself, or more of it than the event holds: exactly its bytes,
//! through outages and kills, in bounded memory.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_sandbox::{
    mail::{self, Odd},
    receiver::{Behaviour, Outcome, Received, Receiver},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::world::{SECRET, Settings, World};

const KEY: &str = "the key";

/// The endpoint as a product that answers 204.
fn relay() -> Settings {
    product(
        "[endpoints.tickets.raw]\nprofile = \"action_mailbox\"\nkey = { env = \"PRODUCT_KEY\" }\n",
    )
}

/// The endpoint as a product that takes a form, and answers 201.
fn form() -> Settings {
    product(
        "[endpoints.tickets.raw]\nprofile = \"redmine\"\nproject = \"desk\"\nkey = { env = \"PRODUCT_KEY\" }\n",
    )
}

fn product(table: &str) -> Settings {
    Settings {
        endpoint: format!("format = \"raw\"\n{table}"),
        ..Settings::default()
    }
}

async fn watching(settings: Settings, behaviour: Behaviour) -> World {
    let mut world = World::new(settings).await;
    world
        .environment
        .push(("PRODUCT_KEY".to_owned(), KEY.to_owned()));
    world.receiver.set(behaviour);
    world.start();
    world.expect_watching(1).await;
    world
}

/// Small and large ones, by their numbers.
fn deliver(world: &World, sizes: &[usize]) -> BTreeMap<u64, Vec<u8>> {
    sizes
        .iter()
        .map(|size| {
            let number = world.next_number();
            let raw = if *size > 100_000 {
                mail::large(number, *size)
            } else {
                mail::plain(number, *size)
            };
            world.deliver_raw(0, number, raw.clone());
            (number, raw)
        })
        .collect()
}

/// The messages that arrived, whole or in a form, each at least once and to the byte.
async fn expect_exactly(world: &World, sent: &BTreeMap<u64, Vec<u8>>) {
    let arrived = |world: &World, raw: &[u8]| {
        let holds = |one: &Received| memmem(&one.body, raw);
        world.receiver.received().iter().any(holds)
    };
    world
        .expect("every message arrives to the byte", |world| {
            sent.values().all(|raw| arrived(world, raw))
        })
        .await;
    assert_eq!(world.receiver.distinct_ids(), sent.len());
    assert!(world.receiver.rejections().is_empty());
}

fn memmem(all: &[u8], part: &[u8]) -> bool {
    all.len() >= part.len() && (0..=all.len() - part.len()).any(|at| all[at..].starts_with(part))
}

fn spooled(world: &World) -> usize {
    std::fs::read_dir(world.dir.path().join("spool"))
        .unwrap()
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_endpoint_gets_exactly_the_bytes_of_the_mail() {
    let world = watching(relay(), Behaviour::Accept).await;
    let sent = deliver(&world, &[500, 4_000, 600_000]);
    expect_exactly(&world, &sent).await;
    for one in world.receiver.received() {
        assert!(
            sent.values().any(|raw| one.body == raw[..]),
            "nothing beside it"
        );
        assert_eq!(one.path, "/hook/rails/action_mailbox/relay/inbound_emails");
        assert_eq!(one.header("content-type"), Some("message/rfc822"));
        let login = STANDARD.encode(format!("actionmailbox:{KEY}"));
        assert_eq!(
            one.header("authorization"),
            Some(&*format!("Basic {login}"))
        );
        assert!(one.header("idempotency-key").is_some());
    }
    assert_eq!(spooled(&world), 1, "the large one is kept for a while");
    let log = world.log();
    assert!(!log.contains(KEY) && !log.contains("[ERROR]"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_endpoint_takes_leaves_no_file_behind() {
    let world = World::watching(Settings::default()).await;
    let number = world.next_number();
    world.deliver_raw(0, number, mail::large(number, 600_000));
    world.expect_all().await;
    world
        .expect("no file is left", |world| spooled(world) == 0)
        .await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_is_down_gets_the_same_bodies_when_it_is_back() {
    let world = watching(form(), Behaviour::status(500)).await;
    let mut sent = deliver(&world, &[700, 600_000]);
    world
        .expect("both were tried", |world| {
            world.receiver.attempt_count() >= 2
        })
        .await;
    world.receiver.down().await;
    sent.extend(deliver(&world, &[900, 300_000, 2_000]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Something else at its place answers 200 to everything: that is not the product.
    world.receiver.set(Behaviour::status(200));
    world.receiver.up().await.unwrap();
    let before = world.receiver.attempt_count();
    world
        .expect("it was tried there", |world| {
            world.receiver.attempt_count() > before
        })
        .await;
    world.receiver.set(Behaviour::status(201));
    world
        .expect("nothing is owed any more", |world| {
            world
                .ask(&["endpoints", "list"])
                .is_ok_and(|json| json["endpoints"][0]["pending"] == 0)
        })
        .await;
    let mut bodies: BTreeMap<String, Vec<Received>> = BTreeMap::new();
    for one in world.receiver.attempts() {
        bodies.entry(one.id.clone()).or_default().push(one);
    }
    assert_eq!(bodies.len(), sent.len());
    for attempts in bodies.values() {
        let last = attempts.last().unwrap();
        assert_eq!(last.outcome, Outcome::Accepted);
        assert!(
            attempts.iter().all(|one| one.body == last.body),
            "a repeat is the same"
        );
        assert!(sent.values().any(|raw| memmem(&last.body, raw)));
    }
    let endpoints = world.ask(&["endpoints", "list"]).unwrap();
    assert_eq!(endpoints["endpoints"][0]["dead"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_message_and_no_byte() {
    let mut world = watching(form(), Behaviour::status(201)).await;
    let mut rng = StdRng::seed_from_u64(20_261_124);
    let mut sent = BTreeMap::new();
    for _ in 0..6 {
        sent.extend(deliver(&world, &[600, 400_000, 3_000]));
        let wait = Duration::from_millis(rng.random_range(0..700));
        tokio::time::sleep(wait).await;
        world.kill();
        world.start();
    }
    world.expect_watching(1).await;
    expect_exactly(&world, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_no_message_ends_at_once_and_a_ping_is_not_sent() {
    let world = watching(relay(), Behaviour::Accept).await;
    let told = world.ask(&["endpoints", "ping", "tickets"]);
    let text = format!("{told:?}");
    assert!(text.contains("messages alone"), "{text}");
    assert_eq!(world.receiver.attempt_count(), 0);
    let sent = deliver(&world, &[500]);
    expect_exactly(&world, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_products_new_key_is_used_without_a_restart() {
    let mut world = World::new(Settings::default()).await;
    let file = world.dir.path().join("product.key");
    std::fs::write(&file, "key-number-one").unwrap();
    world.settings.endpoint = format!(
        "format = \"raw\"\nraw = {{ profile = \"osticket\", key = {{ file = \"{}\" }} }}\n",
        file.display()
    );
    world.receiver.set(Behaviour::status(401));
    let known = |one: &Received| one.header("x-api-key") == Some("key-number-two");
    world.receiver.when(known, Behaviour::status(201));
    world.start();
    world.expect_watching(1).await;
    let sent = deliver(&world, &[500]);
    world
        .expect("it was refused", |world| world.receiver.attempt_count() > 0)
        .await;
    std::fs::write(&file, "key-number-two\n").unwrap();
    expect_exactly(&world, &sent).await;
    let log = world.log();
    assert!(!log.contains("key-number"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_takes_messages_later_says_that_it_has_none_of_older_events() {
    let mut world = World::watching(Settings::default()).await;
    let file = world.dir.path().join("product.key");
    std::fs::write(&file, KEY).unwrap();
    world.receiver.down().await;
    world.burst(0, 7);
    let count = |world: &World, name: &str| {
        let told = world.ask(&["endpoints", "list"]).unwrap_or_default();
        told["endpoints"][0][name].as_u64()
    };
    world
        .expect("they wait", |world| count(world, "pending") == Some(7))
        .await;
    world.settings.endpoint = format!(
        "format = \"raw\"\nraw = {{ profile = \"action_mailbox\", key = {{ file = \"{}\" }} }}\n",
        file.display()
    );
    world.write_config();
    world.signal("-HUP");
    world
        .expect("they end, though the product is down", |world| {
            count(world, "dead") == Some(7)
        })
        .await;
    let dead = world.ask(&["events", "list", "--state", "dead"]).unwrap();
    let text = dead.to_string();
    assert!(text.contains("is not stored any more"), "{text}");
    world.receiver.up().await.unwrap();
    let sent = deliver(&world, &[500]);
    expect_exactly(&world, &sent).await;
}

/// As after a restore of the database alone.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_gone_from_the_spool_are_told_and_hold_up_nobody() {
    let mut world = watching(relay(), Behaviour::Accept).await;
    world.receiver.down().await;
    let lost = deliver(&world, &[300_000; 7]);
    let count = |world: &World, name: &str| {
        let told = world.ask(&["endpoints", "list"]).unwrap_or_default();
        told["endpoints"][0][name].as_u64()
    };
    let is = move |name: &'static str, number: usize| {
        move |world: &World| count(world, name) == Some(number as u64)
    };
    world.expect("they wait", is("pending", lost.len())).await;
    world.kill();
    for file in std::fs::read_dir(world.dir.path().join("spool")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    world.start();
    world.expect("they end", is("dead", lost.len())).await;
    world.receiver.up().await.unwrap();
    let sent = deliver(&world, &[500, 300_000]);
    expect_exactly(&world, &sent).await;
    let dead = world.ask(&["events", "list", "--state", "dead"]).unwrap();
    let text = dead.to_string();
    assert!(text.contains("is not stored any more"), "{text}");
    assert!(world.log().contains("gone from the spool"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_breaks_programs_goes_through_every_format() {
    let mut receivers = Vec::new();
    let mut settings = relay();
    settings.endpoints = "\"tickets\", \"postmark\", \"whole\"";
    for (name, keys) in [
        ("postmark", "format = \"postmark\""),
        ("whole", "body = \"full\"\nattachments = \"inline\""),
    ] {
        let receiver = Receiver::start(SECRET).await.unwrap();
        settings.more += &format!(
            "[endpoints.{name}]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n{keys}\n",
            receiver.url()
        );
        receivers.push(receiver);
    }
    let world = watching(settings, Behaviour::Accept).await;
    let mut sent = BTreeMap::new();
    for odd in Odd::ALL.into_iter().filter(|odd| *odd != Odd::Large) {
        let number = world.next_number();
        let raw = odd.make(number);
        world.deliver_raw(0, number, raw.clone());
        sent.insert(number, raw);
    }
    expect_exactly(&world, &sent).await;
    for receiver in &receivers {
        let limit = Duration::from_secs(30);
        assert!(
            receiver.wait_for(sent.len(), limit).await,
            "{}",
            world.log()
        );
        assert!(receiver.rejections().is_empty());
    }
    for one in receivers[0].received() {
        let told = one.json();
        let raw = told["RawEmail"].as_str().unwrap();
        let is_it = |sent: &Vec<u8>| String::from_utf8_lossy(sent) == raw;
        assert!(sent.values().any(is_it));
    }
    for one in receivers[1].received() {
        let data = &one.json()["data"];
        let raw = STANDARD.decode(data["raw"]["content"].as_str().unwrap());
        assert!(sent.values().any(|sent| Ok(sent) == raw.as_ref()));
        for file in data["attachments"].as_array().unwrap() {
            assert_eq!(file["included"], true, "{}", file["omitted_reason"]);
            assert!(file["content"].is_string());
        }
    }
    assert_eq!(world.metric("postrider_watch_panics_total").await, 0.0);
}

/// The most memory that the daemon may have had after fifty megabytes: what it parses at a time
/// (`limits.parse`, twice), what a process has, and little more. The message is 70 MB, its attachment
/// 50, so neither was ever whole in memory.
const HIGH_WATER_KIB_MAX: u64 = 120 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_go_raw_and_inline_in_bounded_memory() {
    let inline = Receiver::start(SECRET).await.unwrap();
    let mut settings = relay();
    settings.endpoints = "\"tickets\", \"inline\"";
    settings.endpoint.insert_str(0, "timeout = \"2m\"\n");
    settings.more = format!(
        "[endpoints.inline]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\ntimeout = \"2m\"\n\
         attachments = \"inline\"\nattachments_max = \"60MiB\"\n",
        inline.url()
    );
    let world = watching(settings, Behaviour::Accept).await;
    let before = world.memory_high_water_kib();
    let number = world.next_number();
    let raw = mail::large(number, 50 * 1024 * 1024 / 57 * 78 + 1024);
    world.deliver_raw(0, number, raw.clone());
    let limit = Duration::from_secs(120);
    assert!(world.receiver.wait_for(1, limit).await, "{}", world.log());
    assert!(inline.wait_for(1, limit).await, "{}", world.log());
    let high_water = world.memory_high_water_kib();
    println!(
        "memory high-water before: {before} KiB, after 50 MB to a raw and an inline endpoint: {high_water} KiB"
    );
    assert!(world.receiver.received()[0].body == raw[..]);
    let event = inline.received()[0].json();
    let file = &event["data"]["attachments"][0];
    assert_eq!(file["included"], true, "{}", file["omitted_reason"]);
    let content = STANDARD.decode(file["content"].as_str().unwrap()).unwrap();
    assert!(content.len() >= 50 * 1024 * 1024, "{}", content.len());
    assert!(content == attached(&raw));
    assert!(high_water < HIGH_WATER_KIB_MAX, "{high_water} KiB");
    assert!(world.receiver.rejections().is_empty() && inline.rejections().is_empty());
}

/// What is attached to a message of [`mail::large`].
fn attached(raw: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(raw).unwrap();
    let (_, part) = text.rsplit_once("base64\r\n\r\n").unwrap();
    let (body, _) = part.split_once("--x-large").unwrap();
    STANDARD.decode(body.replace("\r\n", "")).unwrap()
}
