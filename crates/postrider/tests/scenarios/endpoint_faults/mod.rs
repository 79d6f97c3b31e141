//! The faults of endpoints, one endpoint for each, all in one daemon and in order: whatever an
//! endpoint does, it loses nothing, repeats carry the same id, the order holds, and nothing is dead.

pub(crate) mod desk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_rustls::TlsAcceptor;

use self::desk::{Desk, Fault, Seen};
use crate::world::{Settings, World};

const EVENTS: usize = 6;

/// By the name of the endpoint, which is its path as well.
fn faults() -> Vec<(String, Fault)> {
    let statuses = [
        300, 304, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 413, 415, 418, 421, 422,
        425, 426, 429, 431, 451, 500, 501, 502, 503, 504, 505, 507, 511, 599, 600, 999,
    ];
    let mut faults: Vec<(String, Fault)> = statuses
        .iter()
        .map(|status| (format!("status-{status}"), Fault::Answer(*status, "")))
        .collect();
    for status in [301, 302, 303, 307, 308] {
        let name = format!("redirect-{status}");
        // To itself, for ever.
        let location: &'static str = format!("location: /{name}").leak();
        faults.push((name, Fault::Answer(status, location)));
    }
    let metadata = Fault::Answer(302, "location: http://169.254.169.254/latest/");
    faults.push(("redirect-to-metadata".to_owned(), metadata));
    for (name, header) in [
        ("seconds", "retry-after: 1"),
        ("day", "retry-after: 86400"),
        ("huge", "retry-after: 99999999999999999999999"),
        ("negative", "retry-after: -5"),
        ("nonsense-first", "retry-after: soon\r\nretry-after: 1"),
        ("obsolete", "retry-after: Wednesday, 21-Oct-15 07:28:00 GMT"),
        ("asctime", "retry-after: Wed Oct 21 07:28:00 2015"),
        ("half", "retry-after: 0.5"),
        ("two", "retry-after: 1\r\nretry-after: 86400"),
        ("nonsense", "retry-after: soon"),
        ("empty", "retry-after: "),
        ("past", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT"),
        ("year-9999", "retry-after: Fri, 31 Dec 9999 23:59:59 GMT"),
        ("no-date", "retry-after: Fri, 99 Dec 2026 99:99:99 GMT"),
    ] {
        faults.push((format!("retry-{name}"), Fault::Answer(429, header)));
        faults.push((format!("retry-503-{name}"), Fault::Answer(503, header)));
    }
    let odd = odd_answers().into_iter();
    faults.extend(odd.map(|(name, fault)| (name.to_owned(), fault)));
    faults
}

/// What is no plain answer; those whose name ends with -200 are taken.
fn odd_answers() -> Vec<(&'static str, Fault)> {
    vec![
        ("slow-head", Fault::SlowHead),
        ("endless-503", Fault::Endless(503)),
        ("large-503", Fault::Large(503)),
        ("endless-200", Fault::Endless(200)),
        ("large-200", Fault::Large(200)),
        ("reset", Fault::Reset),
        ("garbage", Fault::Garbage),
        ("large-head", Fault::LargeHead),
        ("endless-chunks-503", Fault::EndlessChunks(503)),
        ("endless-chunks-200", Fault::EndlessChunks(200)),
        ("slow-trailers-200", Fault::SlowTrailers),
        ("hang-up-200", Fault::HangUp),
        ("two-answers", Fault::TwoAnswers),
        ("gzip-503", Fault::Answer(503, "content-encoding: gzip")),
        (
            "cut-body-200",
            Fault::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nstart"),
        ),
        (
            "cut-head",
            Fault::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 1"),
        ),
        (
            "switch-101",
            Fault::Bytes("HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        ),
        (
            "hints-and-503",
            Fault::Bytes("HTTP/1.1 103 x\r\n\r\nHTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "hints-for-ever",
            Fault::EndlessBytes("HTTP/1.1 103 x\r\nlink: </x>\r\n\r\n"),
        ),
        ("tls-reset", Fault::Reset),
        ("tls-hang-up-200", Fault::HangUp),
        (
            "tls-unended-200",
            Fault::Bytes("HTTP/1.1 200 OK\r\n\r\nno length, and no close_notify"),
        ),
    ]
}

/// The endpoint's section; what is tried again is so within a second.
fn section(name: &str, url: &str, more: &str) -> String {
    format!(
        "[endpoints.{name}]\nurl = \"{url}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\norder = \"mailbox\"\n\
         timeout = \"2s\"\n{more}[endpoints.{name}.retry]\nschedule = [\"1s\"]\nretry_after_max = \"1s\"\n"
    )
}

struct Ports {
    plain: u16,
    tls: u16,
    /// Nobody listens there.
    closed: u16,
}

impl Ports {
    fn sections(&self, world: &World, is_healed: bool) -> String {
        let mut all = String::new();
        let trusted = world.dir.path().join("ca.pem").display().to_string();
        for (name, _) in faults() {
            all += &match name.starts_with("tls-") {
                true => {
                    let url = format!("https://localhost:{}/{name}", self.tls);
                    section(&name, &url, &format!("ca_file = \"{trusted}\"\n"))
                }
                false => {
                    let url = format!("http://127.0.0.1:{}/{name}", self.plain);
                    section(&name, &url, "")
                }
            };
        }
        let refused = format!("http://127.0.0.1:{}/refused", self.closed);
        all += &section("refused", &refused, "");
        let host = match is_healed {
            true => format!("127.0.0.1:{}", self.plain),
            false => "no-such-host.invalid".to_owned(),
        };
        all += &section(
            "name-gone",
            &format!("http://{host}/name-gone"),
            "allow_plaintext = true\n",
        );
        let ca = match is_healed {
            true => "ca.pem",
            false => "other.pem",
        };
        let ca = world.dir.path().join(ca).display().to_string();
        let url = format!("https://localhost:{}/wrong-certificate", self.tls);
        all + &section("wrong-certificate", &url, &format!("ca_file = \"{ca}\"\n"))
    }
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = faults().into_iter().map(|(name, _)| name).collect();
    names.extend(["refused", "name-gone", "wrong-certificate"].map(str::to_owned));
    names
}

async fn closed_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn scene() -> (World, Desk, Ports) {
    let desk = Desk::default();
    for (name, fault) in faults() {
        desk.set(&format!("/{name}"), fault);
    }
    let mut world = World::new(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    let other = postrider_sandbox::tls::Tls::generate().unwrap();
    std::fs::write(world.dir.path().join("other.pem"), other.ca_pem()).unwrap();
    let tls = TlsAcceptor::from(world.tls.server_config());
    let ports = Ports {
        plain: desk.listen(0, None).await,
        tls: desk.listen(0, Some(tls)).await,
        closed: closed_port().await,
    };
    world.settings.more = ports.sections(&world, false);
    let list: Vec<String> = names().iter().map(|name| format!("\"{name}\"")).collect();
    world.environment.push((
        "POSTRIDER__GROUPS__ALL__ENDPOINTS".to_owned(),
        format!("[\"tickets\", {}]", list.join(", ")),
    ));
    world.start();
    world.expect_watching(2).await;
    (world, desk, ports)
}

fn accepted(seen: &[Seen]) -> BTreeSet<&str> {
    let accepted = seen.iter().filter(|one| one.accepted);
    accepted.map(|one| one.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_endpoint_does_nothing_is_lost_repeated_under_another_id_or_out_of_order() {
    let (mut world, desk, ports) = scene().await;
    for mailbox in 0..2 {
        world.burst(mailbox, EVENTS / 2);
    }
    // The endpoint that is well gets everything meanwhile.
    world.expect_all().await;
    world
        .expect("each fault met", |_| {
            let met = |(name, _): &(String, Fault)| !desk.seen(&format!("/{name}")).is_empty();
            faults().iter().all(met)
        })
        .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    for name in names() {
        let seen = desk.seen(&format!("/{name}"));
        let well = name.ends_with("-200");
        assert_eq!(accepted(&seen).is_empty(), !well, "{name}: {seen:?}");
    }
    let listed = world.ask(&["endpoints", "list"]).unwrap();
    for endpoint in listed["endpoints"].as_array().unwrap() {
        assert_eq!(endpoint["dead"], 0, "{endpoint:#}");
    }
    desk.heal();
    desk.listen(ports.closed, None).await;
    world.settings.more = ports.sections(&world, true);
    world.write_config();
    world.ask(&["reload"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(90);
    let missing = || -> Vec<String> {
        let is_missing = |name: &String| accepted(&desk.seen(&format!("/{name}"))).len() < EVENTS;
        names().into_iter().filter(is_missing).collect()
    };
    while !missing().is_empty() {
        assert!(
            Instant::now() < deadline,
            "{:?}\n{}",
            missing(),
            world.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in names() {
        check(&name, &desk.seen(&format!("/{name}")));
    }
    assert_eq!(desk.forged(), 0);
    world.expect_account().await;
    let dead = "postrider_events_dead_total";
    assert!(!world.metrics().await.contains(dead), "nothing is dead");
    let memory = world.memory_high_water_kib();
    assert!(memory < 200 * 1024, "{memory} KiB");
}

/// Every message once accepted, each under one id, those of a mailbox in their order.
fn check(name: &str, seen: &[Seen]) {
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for one in seen {
        let known = ids.entry(&one.message).or_insert(&one.id);
        assert_eq!(*known, one.id, "{name}: two ids for one message");
    }
    assert_eq!(ids.len(), EVENTS, "{name}");
    let distinct: BTreeSet<&&str> = ids.values().collect();
    assert_eq!(distinct.len(), EVENTS, "{name}");
    let firsts: Arc<[&Seen]> = {
        let mut known = BTreeSet::new();
        let accepted = seen.iter().filter(|one| one.accepted);
        accepted.filter(|one| known.insert(&one.id)).collect()
    };
    // A message's number is in its id; the first half went to the one mailbox, then to the other.
    let number = |one: &&Seen| -> usize {
        let digits: String = one
            .message
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap()
    };
    for mailbox in 0..2 {
        let range = mailbox * EVENTS / 2 + 1..=(mailbox + 1) * EVENTS / 2;
        let line: Vec<&str> = firsts
            .iter()
            .filter(|one| range.contains(&number(one)))
            .map(|one| one.sequence.as_str())
            .collect();
        assert_eq!(line.len(), EVENTS / 2, "{name}");
        assert!(line.is_sorted(), "{name}: {line:?}");
    }
}
