//! What is owed to mailboxes after delivery: written with the settlement, kept until it is done.

use std::time::Duration;

use postrider_core::{fingerprint::Fingerprint, ids::EndpointKey};
use postrider_store::{Settled, Settlement, Then, Tried};
use sqlx::Connection as _;

use crate::support::*;

fn then(delivery: i64, outcome: Settled) -> Settlement {
    Settlement {
        then: Then::After,
        ..settled(delivery, outcome)
    }
}

#[tokio::test]
async fn a_settlement_that_delivers_leaves_a_row_and_no_other_does() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mail = mail(&watch, &[(1, "a"), (2, "b"), (3, "c")], &[to("tickets")]);
    commit(&store, mail).await.unwrap();
    let claimed = store
        .claim_due(&EndpointKey::from("tickets"), 9, NOW)
        .await
        .unwrap();
    let dead = Settled::Dead {
        reason: "no".to_owned(),
    };
    store
        .settle(vec![
            then(claimed[0].delivery, Settled::Delivered),
            then(claimed[1].delivery, dead),
            settled(claimed[2].delivery, Settled::Delivered),
        ])
        .await
        .unwrap();
    // A settlement of what is settled says nothing.
    let again = then(claimed[0].delivery, Settled::Delivered);
    store.settle(vec![again]).await.unwrap();
    let due = store.after_due(&watch.mailbox, NOW, 10).await.unwrap();
    assert_eq!(due.len(), 1, "{due:?}");
    assert_eq!(due[0].event, claimed[0].event.id);
    assert_eq!(due[0].subject, claimed[0].event.subject);
    assert_eq!((due[0].tries, due[0].since), (0, NOW));
    store.after_added().await;
}

#[tokio::test]
async fn a_row_outlives_a_restart_and_its_event_and_goes_when_it_is_done() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mail = mail(&watch, &[(1, "a"), (2, "b")], &[to("tickets")]);
    commit(&store, mail).await.unwrap();
    let claimed = store
        .claim_due(&EndpointKey::from("tickets"), 9, NOW)
        .await
        .unwrap();
    let rows = claimed
        .iter()
        .map(|one| then(one.delivery, Settled::Delivered));
    store.settle(rows.collect()).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(store.prune(NOW + DAY, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(
        store.after_next().await.unwrap(),
        [(watch.mailbox.clone(), NOW)]
    );
    let later = NOW + Duration::from_secs(60);
    let again = Tried::Again {
        due: later,
        note: "ä".repeat(400),
    };
    store
        .after_tried(vec![
            (claimed[0].event.id, Tried::Done),
            (claimed[1].event.id, again),
        ])
        .await
        .unwrap();
    assert!(
        store
            .after_due(&watch.mailbox, NOW, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let due = store.after_due(&watch.mailbox, later, 10).await.unwrap();
    assert_eq!((due.len(), due[0].tries), (1, 1));
    assert_eq!(due[0].note.as_deref().map(str::len), Some(300));
    let counts = store.after_counts().await.unwrap();
    assert_eq!(
        (counts.len(), counts[0].count, counts[0].oldest),
        (1, 1, NOW)
    );
    assert_eq!(store.after_forget(&watch.mailbox).await.unwrap(), 1);
    assert!(store.after_next().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_owed_before_fingerprints_were_kept_gets_its_events_or_none() {
    let dir = dir();
    let mut conn = of_version(dir.path(), 6).await;
    sqlx::raw_sql(
        "INSERT INTO event (id, uuid, type, subject, time, stored_at, fingerprint, data)
             VALUES (1, x'00112233445566778899aabbccddeeff', 'message.received', 'INBOX/7/1', 0, 0, zeroblob(32), x'7b7d');
         INSERT INTO after (event, mailbox, subject, since, due) VALUES
             (x'00112233445566778899aabbccddeeff', 'support', 'INBOX/7/1', 0, 0),
             (x'ff112233445566778899aabbccddeeff', 'support', 'INBOX/7/2', 1, 1);",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
    let store = open(dir.path()).await;
    let due = store.after_due(&"support".into(), NOW, 10).await.unwrap();
    let prints: Vec<_> = due.iter().map(|row| row.fingerprint).collect();
    assert_eq!(prints, [Some(Fingerprint([0; 32])), None]);
}
