//! Nothing stays leased to an endpoint's task that is gone, and nothing is forgotten that is due
//! later.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use postrider_store::{Settled, Settlement, Then};

use super::{
    receiver::{Mode, Receiver, SECRET},
    world::{World, endpoint, endpoints, event, key, open, quick},
};
use crate::{clock, config::Endpoint};

const SOON: Duration = Duration::from_secs(10);

/// Another process that holds the lock of the database: nothing can be written until it is dropped.
struct Locked(Child);

impl Locked {
    fn new(dir: &Path) -> Self {
        let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      db.execute('BEGIN IMMEDIATE')\nprint('locked', flush=True)\nsys.stdin.read()";
        let mut process = Command::new("python3")
            .args(["-c", script])
            .arg(dir.join("postrider.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(process)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn tasks_ended(world: &World) {
    world
        .until("the tasks of what was taken out have ended", |world| {
            let lanes = world.dispatcher.0.lanes.read().unwrap();
            lanes.tasks.iter().all(tokio::task::JoinHandle::is_finished)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_taken_out_gives_back_its_leases_even_if_they_cannot_be_stored_then() {
    let receiver = Receiver::start(Mode::Hang);
    let dir = tempfile::tempdir().unwrap();
    let hasty = Endpoint {
        timeout: Duration::from_millis(300),
        ..endpoint(&receiver)
    };
    let mut world = World::at(dir.path(), vec![hasty.clone()], quick(), SECRET).await;
    world.mails(20).await;
    world
        .until("all slots are taken", |_| receiver.taken().in_flight == 4)
        .await;
    let locked = Locked::new(dir.path());
    world.dispatcher.put(&endpoints(Vec::new()));
    tasks_ended(&world).await;
    receiver.set(Mode::Answer(200));
    world.dispatcher.put(&endpoints(vec![hasty]));
    drop(locked);
    world.all_delivered(&receiver, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_taken_out_gives_back_what_its_end_cut_off() {
    let receiver = Receiver::start(Mode::Hang);
    let mut world = World::new(&receiver).await;
    world.mails(20).await;
    world
        .until("all slots are taken", |_| receiver.taken().in_flight == 4)
        .await;
    world.dispatcher.put(&endpoints(Vec::new()));
    // Without waiting for the attempts' own ends.
    let began = std::time::Instant::now();
    world.dispatcher.drain(Duration::ZERO).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let now = clock::wall();
    let due = world.store.claim_due(&key(), 100, now).await.unwrap();
    assert_eq!(due.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_taken_out_and_put_back_again_and_again_sends_all_it_had_in_hand() {
    let receiver = Receiver::start(Mode::Hang);
    let mut world = World::new(&receiver).await;
    world.mails(40).await;
    for round in 1..=4 {
        world
            .until("new attempts are under way", |_| {
                receiver.taken().in_flight >= 4 * round
            })
            .await;
        world.dispatcher.put(&endpoints(Vec::new()));
        world.dispatcher.put(&endpoints(vec![endpoint(&receiver)]));
    }
    receiver.set(Mode::Answer(200));
    world.all_delivered(&receiver, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_later_is_not_forgotten_behind_a_full_claim() {
    let receiver = Receiver::start(Mode::Answer(200));
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let later = clock::wall() + Duration::from_secs(1);
    let add = async |leased| {
        let event = event(uuid::Uuid::new_v4(), "hello", leased);
        store.add_event(event, clock::wall()).await.unwrap().claimed
    };
    for _ in 0..3 {
        let claimed = add(true).await;
        let retry = Settlement {
            delivery: claimed[0].delivery,
            order: None,
            at: clock::wall(),
            outcome: Settled::Returned { due: later },
            status: None,
            note: String::new(),
            took: Duration::ZERO,
            then: Then::Nothing,
        };
        store.settle(vec![retry]).await.unwrap();
    }
    // As many as the first claim takes.
    for _ in 0..super::super::line::places(4) {
        add(false).await;
    }
    store.close().await.unwrap();
    let all = 3 + super::super::line::places(4) as u32;
    let world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
    world
        .until("all are sent", |_| receiver.requests() == all)
        .await;
}
