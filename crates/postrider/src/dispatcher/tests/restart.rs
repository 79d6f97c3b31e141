use std::time::Duration;

use super::{
    receiver::{Mode, Receiver, SECRET},
    world::{World, endpoint, quick},
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Everything of the daemon ends at once, wherever it is: its tasks are dropped unasked.
fn kill(runtime: tokio::runtime::Runtime, world: World) {
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop(world);
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_repeats_at_most_what_was_in_flight() {
    let receiver = Receiver::start(Mode::Answer(200));
    let dir = tempfile::tempdir().unwrap();
    let mut sent = 0;
    let rounds = 5;
    for round in 0..rounds {
        let running = runtime();
        let world = running.block_on(async {
            let mut world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
            for _ in 0..60 {
                world.mail("hello").await;
                sent += 1;
            }
            world
                .until("some are through", |_| {
                    receiver.taken().accepted.len() > round * 50 + 20
                })
                .await;
            world
        });
        kill(running, world);
    }
    let running = runtime();
    let world = running.block_on(async {
        let world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
        world
            .until("all are through", |_| {
                receiver.taken().accepted.len() == sent
            })
            .await;
        // What was accepted before the last kill and not settled then is sent once more.
        while world.row().await.pending > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world
    });
    let taken = receiver.taken();
    let repeats: u32 = taken.accepted.values().map(|times| times - 1).sum();
    assert!(
        repeats <= 4 * rounds as u32,
        "{repeats} repeats are more than what can have been in flight"
    );
    assert_eq!((taken.accepted.len(), taken.forged), (sent, 0));
    let row = running.block_on(world.row());
    assert_eq!((row.delivered, row.dead), (sent as u64, 0));
    kill(running, world);
}

#[test]
fn what_was_being_sent_when_the_process_was_killed_is_sent_again() {
    let receiver = Receiver::start(Mode::Hang);
    let dir = tempfile::tempdir().unwrap();
    let running = runtime();
    let world = running.block_on(async {
        let mut world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
        world.mails(10).await;
        world
            .until("all slots are taken", |_| receiver.taken().in_flight == 4)
            .await;
        world
    });
    kill(running, world);
    receiver.set(Mode::Answer(200));
    let running = runtime();
    let world = running.block_on(async {
        let world = World::at(dir.path(), vec![endpoint(&receiver)], quick(), SECRET).await;
        world
            .until("all are through", |_| receiver.taken().accepted.len() == 10)
            .await;
        world
    });
    assert_eq!(
        receiver
            .taken()
            .requests
            .values()
            .filter(|times| **times == 2)
            .count(),
        4
    );
    kill(running, world);
}
