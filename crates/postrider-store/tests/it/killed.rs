//! A process that is killed while it writes: a real one, with SIGKILL.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use postrider_core::ids::EndpointKey;
use postrider_store::{OpenError, Store};

use crate::support::*;

const PLACE: &str = "POSTRIDER_STORE_CHILD";

/// Not a test of its own: the process that the tests below start, and kill.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (store, _) = loaded(Path::new(&place), "support").await;
        let mut tasks = Vec::new();
        for number in 0..8 {
            let (store, place) = (store.clone(), place.clone());
            tasks.push(tokio::spawn(async move {
                let watch = watch(&format!("m{number}"));
                store.load(&watch, &account(), NOW).await.unwrap();
                let mut acked = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(format!("{place}/acked"))
                    .unwrap();
                for uid in 1.. {
                    let name = format!("{number}-{uid}");
                    commit(&store, mail(&watch, &[(uid, &name)], &[leased("tickets")]))
                        .await
                        .unwrap();
                    // One write, so that no line is cut in two by the kill.
                    acked.write_all(format!("{name}\n").as_bytes()).unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "killed::child_that_commits_until_it_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(PLACE, dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn acked(dir: &Path) -> Vec<String> {
    fs::read_to_string(dir.join("acked"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn wait_for(dir: &Path, commits: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while acked(dir).len() < commits {
        assert!(Instant::now() < deadline, "the child commits nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_was_told_is_stored() {
    let dir = dir();
    let mut told = Vec::new();
    for round in 1..=3 {
        let mut child = start(dir.path());
        wait_for(dir.path(), told.len() + 150 * round);
        let other = Store::open(options(dir.path())).await.err();
        assert!(
            matches!(other, Some(OpenError::Locked { .. })),
            "two processes cannot share a file"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        told = acked(dir.path());

        let store = open(dir.path()).await;
        assert!(
            store
                .load(&watch("support"), &account(), NOW)
                .await
                .unwrap()
                .unclean
        );
        let sums = store.sums().await.unwrap();
        assert!(sums.uids >= told.iter().collect::<std::collections::HashSet<_>>().len() as u64);
        assert_sums_hold(&store).await;
        let mut conn = raw(dir.path()).await;
        let stored: Vec<(String,)> = sqlx::query_as("SELECT message_id FROM event")
            .fetch_all(&mut conn)
            .await
            .unwrap();
        let stored: std::collections::HashSet<String> =
            stored.into_iter().map(|(name,)| name).collect();
        let lost: Vec<&String> = told.iter().filter(|name| !stored.contains(*name)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let pending = store
            .claim_due(&EndpointKey::from("tickets"), 100_000, NOW)
            .await
            .unwrap();
        assert_eq!(
            pending.len() as u64,
            sums.deliveries,
            "what the killed process was sending is due again"
        );
        let mut sequences: Vec<i64> = pending.iter().map(|claimed| claimed.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (1..=sequences.len() as i64).collect::<Vec<_>>());
        store.close().await.unwrap();
        told = acked(dir.path());
    }
}
