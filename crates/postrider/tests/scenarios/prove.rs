//! The long run: faults of the list in random order, some two at a time, while mail arrives; after
//! each the account has to add up, and what it took is noted. A seed replays its order, not the
//! moments at which processes and threads meet.
//!
//! `make prove` runs many seeds (`POSTRIDER_PROVE_SEEDS`, from `POSTRIDER_PROVE_FROM`); without
//! these variables a small sample runs, as a test among the others. To look at one fault:
//! `POSTRIDER_PROVE_ONLY=Swallowed cargo nextest run -p postrider --test scenarios faults_in --no-capture`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use postrider_sandbox::receiver::Outcome;
use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    faults::{FAULTS, Fault, Layer, TWO_AT_ONCE},
    inject::{MAILBOXES, Scene},
};

/// How many faults the sample has.
const SAMPLE: usize = 6;
const SAMPLE_SEED: u64 = 7;
/// How many rounds of a seed have two faults at once.
const DOUBLE_ROUNDS: usize = 8;
/// When a world that still misses mail counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is known of one row of the page.
#[derive(Default)]
struct Figures {
    times: u64,
    messages: u64,
    repeats: u64,
    recoveries: Vec<Duration>,
    memory_kib: u64,
    removed: u64,
    removed_but_read: u64,
}

/// Everything that the runs came to.
#[derive(Default)]
struct Report {
    rows: BTreeMap<&'static str, Figures>,
    seeds: Vec<u64>,
    started: Option<Instant>,
}

impl Report {
    fn write(&self) {
        let rows: BTreeMap<&str, Value> = self
            .rows
            .iter()
            .map(|(name, figures)| {
                let mut recoveries = figures.recoveries.clone();
                recoveries.sort();
                let row = json!({
                    "times": figures.times,
                    "messages": figures.messages,
                    "lost": 0,
                    "repeats": figures.repeats,
                    "recovery_p50_s": recoveries[recoveries.len() / 2].as_secs_f64(),
                    "recovery_max_s": recoveries[recoveries.len() - 1].as_secs_f64(),
                    "memory_mib": figures.memory_kib as f64 / 1024.0,
                    "removed": figures.removed,
                    "removed_but_read": figures.removed_but_read,
                });
                (*name, row)
            })
            .collect();
        let minutes = self.started.unwrap().elapsed().as_secs_f64() / 60.0;
        let report = json!({ "seeds": self.seeds, "minutes": minutes, "rows": rows });
        let folder = folder();
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join("faults.json"),
            serde_json::to_string_pretty(&report).unwrap(),
        )
        .unwrap();
    }
}

/// Where the parts of `make prove` leave their figures.
pub(crate) fn folder() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.parent().unwrap().join("prove")
}

/// What the receiver knows of the rounds before: each message's event.
#[derive(Default)]
struct Receipts {
    events: HashMap<String, String>,
    ids: HashSet<String>,
}

impl Receipts {
    /// Takes what arrived in this round; how often a request came that the receiver had already.
    fn take(&mut self, scene: &Scene) -> u64 {
        let mut seen: HashMap<String, u64> = HashMap::new();
        for attempt in scene.world.receiver.attempts() {
            if attempt.outcome == Outcome::Accepted {
                let json = attempt.json();
                let message = json["data"]["message"]["message_id"].as_str().unwrap();
                let event = self
                    .events
                    .entry(message.to_owned())
                    .or_insert_with(|| attempt.id.clone());
                assert_eq!(
                    *event,
                    attempt.id,
                    "known mail was sent anew under another id\n{}",
                    scene.world.log()
                );
            }
            // What was refused was not taken, so that it comes again is no repeat.
            if matches!(attempt.outcome, Outcome::Accepted | Outcome::Unanswered) {
                *seen.entry(attempt.id).or_default() += 1;
            }
        }
        let repeats = seen
            .iter()
            .map(|(id, count)| count - u64::from(!self.ids.contains(id)))
            .sum();
        self.ids.extend(seen.into_keys());
        repeats
    }
}

/// The rounds of one seed: every fault alone, and some pairs.
fn plan(scene: &mut Scene) -> Vec<Vec<Fault>> {
    let faults: Vec<Fault> = FAULTS.iter().map(|row| row.0).collect();
    let there = faults.into_iter().filter(|fault| scene.has(*fault));
    let mut rounds: Vec<Vec<Fault>> = there.map(|fault| vec![fault]).collect();
    while rounds.iter().filter(|round| round.len() == 2).count() < DOUBLE_ROUNDS {
        let mut any = || FAULTS[scene.rng.random_range(0..FAULTS.len())].0;
        let (one, other) = (any(), any());
        let on_two_sides = one.layer() == Layer::Receiver && other.layer() != Layer::Receiver
            || one.layer() == Layer::Process
                && matches!(other.layer(), Layer::Network | Layer::Server);
        if on_two_sides && one.combines() && other.combines() {
            rounds.push(vec![other, one]);
        }
    }
    rounds.shuffle(&mut scene.rng);
    rounds
}

async fn round(scene: &mut Scene, receipts: &mut Receipts, faults: &[Fault]) -> Figures {
    // VmHWM begins anew (proc(5)); where that is not allowed, it is that of the whole run.
    let _ = fs::write(format!("/proc/{}/clear_refs", scene.world.pid()), "5");
    let seed = scene.rng.random();
    let carrier = scene.world.post().carry(scene.world.users.clone(), seed);
    sleep(Duration::from_millis(300)).await;
    let carrier = if faults.contains(&Fault::UidsReused) {
        // What is gone with the UIDs would be lost, had it not been read.
        carrier.end().await;
        recovered(scene).await;
        scene.world.expect_account().await;
        None
    } else {
        Some(carrier)
    };
    for fault in faults {
        scene.begin(*fault).await;
        let while_both = scene.rng.random_range(50..800);
        sleep(Duration::from_millis(while_both)).await;
    }
    let long = scene.rng.random_range(500..4_000);
    sleep(Duration::from_millis(long)).await;
    for fault in faults.iter().rev() {
        scene.end(*fault).await;
    }
    let over = Instant::now();
    for mailbox in 0..MAILBOXES {
        scene.world.deliver(mailbox);
    }
    if let Some(carrier) = carrier {
        carrier.end().await;
    }
    recovered(scene).await;
    scene.rest().await;
    let recovery = over.elapsed();
    scene.world.expect_account().await;
    let arrived = scene.world.arrived();
    let figures = Figures {
        times: 1,
        messages: scene.world.post().sent().len() as u64,
        repeats: receipts.take(scene),
        recoveries: vec![recovery],
        memory_kib: scene.world.memory_high_water_kib(),
        removed: scene.removed.len() as u64,
        removed_but_read: scene
            .removed
            .iter()
            .filter(|id| arrived.contains(*id))
            .count() as u64,
    };
    scene.removed.clear();
    scene.world.forget();
    figures
}

/// Waits until everything sent has arrived, and every mailbox is watched.
async fn recovered(scene: &Scene) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        scene.world.assert_running();
        let lost = scene.world.lost();
        let list = scene.world.ask(&["mailboxes", "list"]);
        let watched = list.as_ref().is_ok_and(|list| {
            let states: BTreeSet<_> = list["mailboxes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|mailbox| mailbox["state"].as_str().unwrap_or_default())
                .collect();
            states.into_iter().eq(["watching"])
        });
        if lost.is_empty() && watched {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{} messages missing after {PATIENCE:?}, {:?} among them; {list:#?}\nendpoints: {:#?}\n{}",
            lost.len(),
            lost.first(),
            scene.world.ask(&["endpoints", "list"]),
            scene.world.log()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// How much of a seed is run.
enum Extent {
    Whole,
    Sample,
    /// The rounds of this fault alone.
    Only(String),
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[expect(clippy::print_stdout, reason = "progress of a long run")]
async fn run(seed: u64, extent: Extent, report: &mut Report) {
    let mut scene = Scene::new(seed).await;
    let mut receipts = Receipts::default();
    let mut rounds = plan(&mut scene);
    match extent {
        Extent::Whole => {}
        Extent::Only(name) => rounds.retain(|faults| format!("{faults:?}") == format!("[{name}]")),
        Extent::Sample => {
            rounds.retain(|faults| !faults.iter().any(|fault| fault.is_slow()));
            rounds.truncate(SAMPLE);
        }
    }
    for faults in rounds {
        let names: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
        println!("seed {seed}: {}", names.join(" + "));
        let figures = round(&mut scene, &mut receipts, &faults).await;
        println!(
            "    {} messages, {} repeats, {:.1} s, {} MiB",
            figures.messages,
            figures.repeats,
            figures.recoveries[0].as_secs_f64(),
            figures.memory_kib / 1024
        );
        let name = match names[..] {
            [one] => one,
            _ => TWO_AT_ONCE,
        };
        let row = report.rows.entry(name).or_default();
        row.times += figures.times;
        row.messages += figures.messages;
        row.repeats += figures.repeats;
        row.recoveries.extend(figures.recoveries);
        row.memory_kib = row.memory_kib.max(figures.memory_kib);
        row.removed += figures.removed;
        row.removed_but_read += figures.removed_but_read;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_in_random_order_lose_nothing() {
    let mut report = Report {
        started: Some(Instant::now()),
        ..Report::default()
    };
    if let Ok(name) = std::env::var("POSTRIDER_PROVE_ONLY") {
        run(SAMPLE_SEED, Extent::Only(name), &mut report).await;
        return;
    }
    let Some(seeds) = number("POSTRIDER_PROVE_SEEDS") else {
        run(SAMPLE_SEED, Extent::Sample, &mut report).await;
        return;
    };
    let from = number("POSTRIDER_PROVE_FROM").unwrap_or(1);
    for seed in from..from + seeds {
        run(seed, Extent::Whole, &mut report).await;
        report.seeds.push(seed);
        report.write();
    }
}
