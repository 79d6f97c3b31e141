//! The account: what the audit finds, and what a lost row does to the sums.

use std::process::Command;

use crate::world::{Settings, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_row_that_is_lost_shows_in_the_sums_and_is_found_by_the_audit() {
    let mut world = World::watching(Settings::default()).await;
    world.burst(0, 5);
    world.expect_all().await;
    world.expect_account().await;
    world.stop().await;
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
                  gone = db.execute('delete from ledger where uid = 3').rowcount\ndb.commit()\nprint(gone)";
    let database = world.dir.path().join("postrider.db");
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(&database)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "1",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    world.start();
    world.expect_watching(1).await;
    assert_eq!(
        world.metric("postrider_unaccounted_messages").await,
        1.0,
        "the sums tell that a row is gone"
    );
    world.ask(&["mailboxes", "resync", "box0"]).unwrap();
    world
        .expect("the audit finds it", |world| {
            world.log().contains("missing in the ledger")
        })
        .await;
    world.expect_watching(1).await;
    world
        .expect_metric("postrider_messages_found_by_total{found_by=\"audit\"}", 1.0)
        .await;
    world
        .expect_metric("postrider_unaccounted_messages", 0.0)
        .await;
    // The event is the one that the receiver knows already: its id is the same.
    world.expect_all().await;
    assert_eq!(world.receiver.distinct_ids(), 5);
}
