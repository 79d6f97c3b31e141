use std::time::Duration;

use postrider_store::{EventFilter, Settled, Sums};

use crate::support::*;

#[tokio::test]
async fn pruned_events_stay_in_both_sums_and_in_the_ledger() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let names: Vec<String> = (1..=1300).map(|number| format!("m{number}")).collect();
    let messages: Vec<(u32, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    let receipt = commit(
        &store,
        mail(&watch, &messages, &[leased("tickets"), leased("audit")]),
    )
    .await
    .unwrap();
    let all = receipt.claimed.iter().map(|claimed| {
        // Of message 10 the audit endpoint wanted nothing.
        let dead = claimed.sequence == 10 && claimed.endpoint.as_str() == "audit";
        let outcome = if dead {
            Settled::Dead {
                reason: "refused".to_owned(),
            }
        } else {
            Settled::Delivered
        };
        settled(claimed.delivery, outcome)
    });
    store.settle(all.collect()).await.unwrap();
    let before = store.sums().await.unwrap();
    assert_eq!(
        store.prune(NOW, DAY).await.unwrap(),
        0,
        "what is young stays"
    );
    assert_eq!(store.prune(NOW + 2 * DAY, DAY).await.unwrap(), 1299);
    assert_eq!(store.sums().await.unwrap(), before);
    assert_eq!(
        before,
        Sums {
            uids: 1300,
            event: 1300,
            deliveries: 2600,
            delivered: 2599,
            dead: 1,
            ..Sums::default()
        }
    );
    let left = store
        .events(&EventFilter {
            limit: 9,
            ..EventFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(
        left.iter()
            .filter_map(|event| event.message_id.as_deref())
            .collect::<Vec<_>>(),
        ["m10"]
    );
    assert_eq!(
        store.recall(&watch, &[print("m1")]).await.unwrap().matches,
        vec![(print("m1"), 1)]
    );
    let outbox = store.outbox().await.unwrap();
    assert_eq!(
        outbox.iter().map(|row| row.delivered).collect::<Vec<_>>(),
        [1299, 1300]
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn the_sequence_goes_on_after_pruning_and_a_restart() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let receipt = commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[leased("audit")]),
    )
    .await
    .unwrap();
    let all = receipt
        .claimed
        .iter()
        .map(|claimed| settled(claimed.delivery, Settled::Delivered));
    store.settle(all.collect()).await.unwrap();
    assert_eq!(store.prune(NOW + 2 * DAY, DAY).await.unwrap(), 2);
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    let next = commit(&store, mail(&watch, &[(3, "next")], &[leased("audit")]))
        .await
        .unwrap();
    assert_eq!(next.claimed[0].sequence, 3);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn an_event_that_was_owed_to_nobody_is_pruned_by_its_age() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    assert_eq!(store.prune(NOW + DAY, DAY).await.unwrap(), 0);
    assert_eq!(
        store
            .prune(NOW + DAY + Duration::from_millis(1), DAY)
            .await
            .unwrap(),
        1
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn pruning_gives_room_back_to_the_disk() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mut receipts = Vec::new();
    for uid in 1..=40 {
        let name = format!("m{uid}");
        let mut large = mail(&watch, &[(uid, &name)], &[leased("tickets")]);
        large.events[0].data = vec![b'x'; 200_000].into();
        receipts.push(commit(&store, large).await.unwrap());
    }
    let all = receipts.iter().flat_map(|receipt| &receipt.claimed);
    store
        .settle(
            all.map(|claimed| settled(claimed.delivery, Settled::Delivered))
                .collect(),
        )
        .await
        .unwrap();
    store.prune(NOW, DAY).await.unwrap();
    let before = store.space().await.unwrap().db_bytes;
    assert_eq!(store.prune(NOW + 2 * DAY, DAY).await.unwrap(), 40);
    let after = store.space().await.unwrap().db_bytes;
    assert!(
        before > 7_000_000 && after < before / 2 + 500_000,
        "{before} to {after}"
    );
}

#[tokio::test]
async fn a_message_is_kept_until_nothing_is_owed_of_it() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let endpoints = [leased("tickets"), leased("audit")];
    let mut commit = mail(
        &watch,
        &[(1, "small"), (2, "large"), (3, "none")],
        &endpoints,
    );
    commit.events[0].raw = Some("Subject: small".into());
    let mut file = store.spool().create("large").await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut file, b"Subject: large")
        .await
        .unwrap();
    commit.events[1].spool = Some(file.finish().await.unwrap());
    let claimed = store.commit(commit).await.unwrap().claimed;
    let id = |sequence| {
        let of = |one: &&postrider_store::Claimed| one.sequence == sequence;
        claimed.iter().find(of).unwrap().event.id
    };
    let raw = async |id| match store.raw(id).await.unwrap() {
        None => None,
        Some(postrider_store::Raw::Bytes(bytes)) => Some(bytes.to_vec()),
        Some(postrider_store::Raw::File { path, len }) => {
            let bytes = std::fs::read(path).unwrap();
            assert_eq!(bytes.len() as u64, len);
            Some(bytes)
        }
    };
    let settle = async |endpoint: &str, outcome: Settled| {
        let of = claimed
            .iter()
            .filter(|one| one.endpoint.as_str() == endpoint);
        let all = of.map(|one| settled(one.delivery, outcome.clone()));
        store.settle(all.collect()).await.unwrap();
    };
    settle("tickets", Settled::Delivered).await;
    assert_eq!(store.prune_raw(NOW + DAY, Duration::ZERO).await.unwrap(), 0);
    let dead = Settled::Dead {
        reason: "refused".to_owned(),
    };
    settle("audit", dead).await;
    assert_eq!(
        store.prune_raw(NOW + DAY, Duration::ZERO).await.unwrap(),
        0,
        "what is dead may be sent again"
    );
    assert_eq!(raw(id(1)).await.as_deref(), Some(&b"Subject: small"[..]));
    assert_eq!(raw(id(2)).await.as_deref(), Some(&b"Subject: large"[..]));
    assert_eq!(raw(id(3)).await, None);
    for sequence in 1..=2 {
        discard(&store, id(sequence)).await;
    }
    assert_eq!(store.prune_raw(NOW + DAY, 2 * DAY).await.unwrap(), 0);
    assert_eq!(store.prune_raw(NOW + DAY, Duration::ZERO).await.unwrap(), 2);
    assert_eq!((raw(id(1)).await, raw(id(2)).await), (None, None));
    assert_eq!(store.space().await.unwrap().spool_bytes, 0);
    assert!(
        store.event(id(1)).await.unwrap().is_some(),
        "the event stays"
    );
}
