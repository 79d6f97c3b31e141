//! A message that an endpoint has already, from another mailbox or folder.

use std::time::Duration;

use postrider_core::{ids::EndpointKey, time::Wall};
use postrider_store::{NewDelivery, Settled};

use crate::support::*;

const WINDOW: Duration = Duration::from_secs(3600);

fn once(endpoint: &str, now: Wall) -> NewDelivery {
    NewDelivery {
        twins_since: Some(now - WINDOW),
        ..to(endpoint)
    }
}

fn tickets() -> EndpointKey {
    EndpointKey::from("tickets")
}

#[tokio::test]
async fn an_endpoint_that_wants_a_message_once_gets_it_once_and_the_sums_hold() {
    let dir = dir();
    let (store, one) = loaded(dir.path(), "one").await;
    let other = watch("other");
    store.load(&other, &account(), NOW).await.unwrap();
    let both = [once("tickets", NOW), to("archive")];
    let receipt = commit(&store, mail(&one, &[(1, "a"), (2, "a"), (3, "b")], &both))
        .await
        .unwrap();
    assert_eq!(receipt.suppressed, [tickets()], "within one commit too");
    let leased = NewDelivery {
        leased: true,
        ..once("tickets", NOW)
    };
    let receipt = commit(
        &store,
        mail(&other, &[(1, "a"), (2, "c")], &[leased, to("archive")]),
    )
    .await
    .unwrap();
    assert_eq!(receipt.suppressed, [tickets()]);
    assert_eq!(receipt.claimed.len(), 1, "what is left out is not sent");
    let row = |name: &str| {
        let key = EndpointKey::from(name);
        let store = store.clone();
        async move {
            let rows = store.outbox().await.unwrap();
            let row = rows.into_iter().find(|row| row.endpoint == key).unwrap();
            (row.pending, row.discarded)
        }
    };
    assert_eq!(
        (row("tickets").await, row("archive").await),
        ((3, 2), (5, 0))
    );
    let sums = store.sums().await.unwrap();
    assert_eq!(
        (sums.unaccounted_messages(), sums.unaccounted_deliveries()),
        (0, 0)
    );
}

#[tokio::test]
async fn what_is_older_than_the_window_or_was_given_up_keeps_nothing_away() {
    let dir = dir();
    let (store, one) = loaded(dir.path(), "one").await;
    commit(&store, mail(&one, &[(1, "a")], &[once("tickets", NOW)]))
        .await
        .unwrap();
    let later = NOW + WINDOW + Duration::from_secs(1);
    let mut again = mail(&one, &[(2, "a")], &[once("tickets", later)]);
    again.now = later;
    let receipt = commit(&store, again).await.unwrap();
    assert_eq!(receipt.suppressed, [], "the first is older");
    for claimed in store.claim_due(&tickets(), 10, later).await.unwrap() {
        let dead = Settled::Dead {
            reason: "refused".to_owned(),
        };
        store
            .settle(vec![settled(claimed.delivery, dead)])
            .await
            .unwrap();
    }
    let mut third = mail(&one, &[(3, "a")], &[once("tickets", later)]);
    third.now = later;
    let receipt = commit(&store, third).await.unwrap();
    assert_eq!(receipt.suppressed, [], "the others are dead");
}

#[tokio::test]
async fn the_mark_of_a_condition_that_failed_is_kept_for_every_attempt() {
    let dir = dir();
    let (store, one) = loaded(dir.path(), "one").await;
    let marked = NewDelivery {
        when_failed: true,
        leased: true,
        ..to("tickets")
    };
    let receipt = commit(&store, mail(&one, &[(1, "a")], &[marked]))
        .await
        .unwrap();
    assert!(receipt.claimed[0].when_failed);
    let returned = Settled::Returned { due: NOW };
    store
        .settle(vec![settled(receipt.claimed[0].delivery, returned)])
        .await
        .unwrap();
    let again = store.claim_due(&tickets(), 1, NOW).await.unwrap();
    assert!(again[0].when_failed);
}
