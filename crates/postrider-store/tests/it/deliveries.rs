use std::time::Duration;

use postrider_core::{ids::EndpointKey, time::Wall};
use postrider_store::{Run, Settled};

use crate::support::*;

fn tickets() -> EndpointKey {
    EndpointKey::from("tickets")
}

fn later(seconds: u64) -> Wall {
    NOW + Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_retry_waits_for_its_time_and_keeps_its_counters() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[to("tickets")]))
        .await
        .unwrap();
    let claimed = store.claim_due(&tickets(), 1, NOW).await.unwrap();
    let retry = Settled::Retry {
        aside: false,
        due: later(60),
        refusals: 2,
        refused_since: Some(NOW),
        own_time: Duration::from_secs(9),
    };
    store
        .settle(vec![settled(claimed[0].delivery, retry)])
        .await
        .unwrap();
    assert!(
        store
            .claim_due(&tickets(), 1, later(59))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.next_due(NOW).await.unwrap(),
        vec![(tickets(), later(60))]
    );
    let again = store.claim_due(&tickets(), 1, later(60)).await.unwrap();
    let again = &again[0];
    assert_eq!(
        (again.attempts, again.refusals, again.refused_since),
        (1, 2, Some(NOW))
    );
    assert_eq!(again.own_time, Duration::from_secs(9));
    assert_eq!(
        again.first_attempt_at,
        Some(NOW - Duration::from_millis(12))
    );

    store
        .settle(vec![settled(
            again.delivery,
            Settled::Returned { due: later(61) },
        )])
        .await
        .unwrap();
    let third = store.claim_due(&tickets(), 1, later(61)).await.unwrap();
    assert_eq!(
        (third[0].attempts, third[0].refusals),
        (1, 2),
        "what was given back was no attempt"
    );
    store
        .settle(vec![settled(third[0].delivery, Settled::Delivered)])
        .await
        .unwrap();
    let detail = store.event(third[0].event.id).await.unwrap().unwrap();
    assert_eq!(detail.attempts.len(), 2);
    assert_eq!(detail.deliveries[0].attempts, 2);
    assert_eq!(detail.deliveries[0].state, "delivered");
    assert_eq!(detail.deliveries[0].delivered_at, Some(NOW));
    assert!(store.next_due(NOW).await.unwrap().is_empty());
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn claims_at_once_never_share_a_delivery() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let names: Vec<String> = (1..=100).map(|number| format!("m{number}")).collect();
    let messages: Vec<(u32, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    commit(&store, mail(&watch, &messages, &[to("tickets")]))
        .await
        .unwrap();
    let claims: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim_due(&tickets(), 7, NOW).await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for claim in claims {
        ids.extend(
            claim
                .await
                .unwrap()
                .into_iter()
                .map(|claimed| claimed.delivery),
        );
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((all, ids.len()), (100, 100));
}

#[tokio::test]
async fn a_due_time_too_far_ahead_is_due_now() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[to("tickets")]),
    )
    .await
    .unwrap();
    let claimed = store.claim_due(&tickets(), 2, NOW).await.unwrap();
    let within = NOW + DAY;
    let beyond = NOW + DAY + Duration::from_millis(1);
    store
        .settle(vec![
            settled(claimed[0].delivery, Settled::Returned { due: within }),
            settled(claimed[1].delivery, Settled::Returned { due: beyond }),
        ])
        .await
        .unwrap();
    assert_eq!(store.next_due(NOW).await.unwrap(), vec![(tickets(), NOW)]);
    let again = store.claim_due(&tickets(), 2, NOW).await.unwrap();
    assert_eq!(
        again
            .iter()
            .map(|claimed| claimed.delivery)
            .collect::<Vec<_>>(),
        vec![claimed[1].delivery]
    );
}

#[tokio::test]
async fn a_recovered_endpoint_has_everything_due_at_once() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[to("tickets")]),
    )
    .await
    .unwrap();
    for claimed in store.claim_due(&tickets(), 2, NOW).await.unwrap() {
        store
            .settle(vec![settled(
                claimed.delivery,
                Settled::Returned { due: later(3600) },
            )])
            .await
            .unwrap();
    }
    assert_eq!(store.release_endpoint(&tickets(), NOW).await.unwrap(), 2);
    assert_eq!(store.claim_due(&tickets(), 9, NOW).await.unwrap().len(), 2);
    assert_eq!(
        store
            .release_endpoint(&EndpointKey::from("other"), NOW)
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn leases_end_with_their_process() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[leased("tickets")]))
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.claim_due(&tickets(), 9, NOW).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_leased_cannot_be_settled() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let receipt = commit(&store, mail(&watch, &[(1, "a")], &[leased("tickets")]))
        .await
        .unwrap();
    let delivery = receipt.claimed[0].delivery;
    store
        .settle(vec![settled(delivery, Settled::Delivered)])
        .await
        .unwrap();
    store
        .settle(vec![settled(
            delivery,
            Settled::Dead {
                reason: "late".to_owned(),
            },
        )])
        .await
        .unwrap();
    let detail = store
        .event(receipt.claimed[0].event.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(detail.deliveries[0].state, "delivered");
    assert_eq!(detail.attempts.len(), 1);
}

#[tokio::test]
async fn a_replay_sends_dead_and_delivered_again_and_says_so() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let receipt = commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[leased("tickets")]),
    )
    .await
    .unwrap();
    let [first, second] = &receipt.claimed[..] else {
        panic!("two")
    };
    store
        .settle(vec![
            settled(
                first.delivery,
                Settled::Dead {
                    reason: "refused".to_owned(),
                },
            ),
            settled(second.delivery, Settled::Delivered),
        ])
        .await
        .unwrap();
    let dry = replay(&store, None, Run::Dry).await;
    assert_eq!(
        (dry.deliveries, &dry.events[..]),
        (1, &[first.event.id][..])
    );
    assert!(
        store
            .claim_due(&tickets(), 9, NOW)
            .await
            .unwrap()
            .is_empty(),
        "a dry run changes nothing"
    );
    let real = replay(&store, None, Run::Real).await;
    assert_eq!(
        (real.deliveries, &real.events, &real.endpoints),
        (1, &dry.events, &dry.endpoints)
    );
    assert_eq!(replay(&store, None, Run::Real).await.deliveries, 0);
    let claimed = store.claim_due(&tickets(), 9, NOW).await.unwrap();
    assert_eq!(
        claimed[0].replay.as_deref(),
        Some(r#"{"as_new":false,"at":"2025-10-09T08:53:20.000Z","by":"ann","number":1,"of":null}"#)
    );
    assert_eq!(claimed[0].attempts, 1);

    let one = replay(&store, Some(second.event.id), Run::Real).await;
    assert_eq!(one.endpoints, [(tickets(), 1)].into());
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_discarded_delivery_is_not_sent_and_still_counted() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[to("tickets")]))
        .await
        .unwrap();
    let events = store
        .events(&postrider_store::EventFilter {
            limit: 1,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(discard(&store, events[0].id).await, 1);
    assert!(
        store
            .claim_due(&tickets(), 9, NOW)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.sums().await.unwrap().discarded, 1);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_paused_endpoint_stays_paused_over_a_restart() {
    let dir = dir();
    let store = open(dir.path()).await;
    store.pause_endpoint(&tickets(), &act()).await.unwrap();
    store
        .pause_endpoint(&EndpointKey::from("other"), &act())
        .await
        .unwrap();
    store
        .resume_endpoint(&EndpointKey::from("other"), &act())
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.paused_endpoints().await.unwrap(), vec![tickets()]);
    let watch = watch("support");
    store.load(&watch, &account(), NOW).await.unwrap();
    let receipt = commit(&store, mail(&watch, &[(1, "a")], &[leased("tickets")]))
        .await
        .unwrap();
    assert_eq!(receipt.claimed[0].sequence, 1);
    assert_eq!(store.paused_endpoints().await.unwrap(), vec![tickets()]);
}

#[tokio::test]
async fn an_endpoint_that_is_configured_no_more_is_listed_as_long_as_something_is_owed() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let receipt = commit(
        &store,
        mail(&watch, &[(1, "a")], &[leased("tickets"), leased("old")]),
    )
    .await
    .unwrap();
    let orphans = store.orphans(&[tickets()]).await.unwrap();
    assert_eq!(
        orphans
            .iter()
            .map(|row| row.endpoint.as_str())
            .collect::<Vec<_>>(),
        ["old"]
    );
    let all = receipt
        .claimed
        .iter()
        .map(|claimed| settled(claimed.delivery, Settled::Delivered))
        .collect();
    store.settle(all).await.unwrap();
    assert!(store.orphans(&[tickets()]).await.unwrap().is_empty());
}
