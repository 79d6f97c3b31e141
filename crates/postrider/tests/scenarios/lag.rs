//! Endpoints do not disturb one another: while one is dead and one is slow, the events of a third
//! are no later than they were when all three were well.
//!
//! `make prove` sends 100,000 events (`POSTRIDER_PROVE`); otherwise a sample.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use postrider_sandbox::{
    mail,
    receiver::{Behaviour, Receiver},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::sleep_until;

use crate::{
    post::message_id,
    prove,
    world::{SECRET, Settings, World},
};

const MAILBOXES: usize = 20;

struct Extent {
    /// Events of each of the two halves.
    events: u64,
    per_second: u32,
}

impl Extent {
    fn chosen() -> Self {
        match std::env::var_os("POSTRIDER_PROVE") {
            Some(_) => Self {
                events: 50_000,
                per_second: 200,
            },
            None => Self {
                events: 1_500,
                per_second: 150,
            },
        }
    }
}

struct Scene {
    world: World,
    dead: Receiver,
    slow: Receiver,
}

impl Scene {
    async fn new() -> Self {
        let dead = Receiver::start(SECRET).await.unwrap();
        let slow = Receiver::start(SECRET).await.unwrap();
        let mut world = World::new(Settings {
            mailboxes: MAILBOXES,
            ..Settings::default()
        })
        .await;
        let endpoint = |name: &str, receiver: &Receiver| {
            format!(
                "[endpoints.{name}]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n",
                receiver.url()
            )
        };
        world.settings.more = endpoint("dead", &dead) + &endpoint("slow", &slow);
        world.environment.push((
            "POSTRIDER__GROUPS__ALL__ENDPOINTS".to_owned(),
            "[\"tickets\", \"dead\", \"slow\"]".to_owned(),
        ));
        world.start();
        world.expect_watching(MAILBOXES).await;
        Self { world, dead, slow }
    }

    /// Offers the load, whatever becomes of it; how late each event came to the healthy endpoint.
    async fn half(&self, extent: &Extent, seed: u64) -> Vec<Duration> {
        let mut rng = StdRng::seed_from_u64(seed);
        let post = self.world.post();
        let mut sent: HashMap<String, Instant> = HashMap::new();
        let began = tokio::time::Instant::now();
        for number in 0..extent.events {
            let offset =
                Duration::from_secs(1) * u32::try_from(number).unwrap() / extent.per_second;
            sleep_until(began + offset).await;
            let user = &self.world.users[rng.random_range(0..MAILBOXES)];
            let number = self.world.next_number();
            sent.insert(message_id(number), Instant::now());
            post.deliver(
                user,
                number,
                mail::plain(number, 400),
                OffsetDateTime::now_utc(),
            );
        }
        self.world.expect_all_within(Duration::from_secs(60)).await;
        let mut lags = Vec::new();
        for one in self.world.receiver.received() {
            let json = one.json();
            let id = json["data"]["message"]["message_id"].as_str().unwrap();
            if let Some(at) = sent.remove(id) {
                lags.push(one.arrived.saturating_duration_since(at));
            }
        }
        assert!(sent.is_empty());
        lags.sort();
        self.world.forget();
        lags
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_and_a_slow_endpoint_do_not_delay_a_healthy_one() {
    let extent = Extent::chosen();
    let scene = Scene::new().await;
    let well = scene.half(&extent, 1).await;
    scene.dead.down().await;
    scene.slow.set(Behaviour::Slow(Duration::from_secs(1)));
    let beside = scene.half(&extent, 2).await;
    let (before, after) = (percentile(&well, 95), percentile(&beside, 95));
    let ratio = after.as_secs_f64() / before.as_secs_f64();
    let list = scene.world.ask(&["endpoints", "list"]).unwrap();
    let pending: u64 = list["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["pending"].as_u64())
        .sum();
    println!(
        "{} events at {}/s: p95 lag {before:.1?} with all endpoints well, {after:.1?} beside a dead and a slow one ({ratio:.2}); {pending} pending",
        2 * extent.events,
        extent.per_second
    );
    // The dead one has all of its half, the slow one most of it.
    assert!(pending >= extent.events, "{list:#}");
    // A sample among other tests is too short for a ratio of a few milliseconds alone.
    let noise = match std::env::var_os("POSTRIDER_PROVE") {
        Some(_) => Duration::ZERO,
        None => Duration::from_millis(100),
    };
    assert!(
        after <= 2 * before + noise,
        "p95 {before:?} became {after:?}\n{}",
        scene.world.log()
    );
    if std::env::var_os("POSTRIDER_PROVE").is_some() {
        let folder = prove::folder();
        fs::create_dir_all(&folder).unwrap();
        let figures = json!({
            "events": 2 * extent.events,
            "per_second": extent.per_second,
            "p95_well_ms": before.as_secs_f64() * 1e3,
            "p95_beside_ms": after.as_secs_f64() * 1e3,
            "pending": pending,
        });
        let text = serde_json::to_string_pretty(&figures).unwrap();
        fs::write(folder.join("lag.json"), text).unwrap();
        return;
    }
    // What waited comes, and the account adds up.
    scene.slow.set(Behaviour::Accept);
    scene.dead.up().await.unwrap();
    let all = usize::try_from(2 * extent.events).unwrap();
    for receiver in [&scene.dead, &scene.slow] {
        assert!(receiver.wait_for(all, Duration::from_secs(60)).await);
        assert!(receiver.rejections().is_empty());
    }
    scene.world.expect_account().await;
}
