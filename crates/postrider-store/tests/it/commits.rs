use postrider_core::{
    event::{EventType, system_id},
    ids::EndpointKey,
    watch::{Hold, HoldReason, Outcome},
};
use postrider_store::{EventFilter, EventIdentity, NewEvent, StoreError, Sums};

use crate::support::*;

#[tokio::test]
async fn what_is_committed_is_there_after_a_restart() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mut first = mail(&watch, &[(4, "a"), (5, "b")], &[to("tickets")]);
    first.entry.cursor.gaps = vec![uid(2), uid(3)];
    first.entry.cursor.floor = Some(uid(1));
    first.entry.cursor.anchor = Some((uid(5), print("b")));
    first.entry.cursor.sieve = Some(Box::new("break state_lost 5 2 since=9 77".parse().unwrap()));
    first.entry.outcomes.push((
        postrider_core::watch::ItemKey::Uid(uid(2)),
        Outcome::Suspect { tries: 2 },
    ));
    first.entry.hold = Some(Hold {
        why: HoldReason::UidsWentBack,
        since: NOW,
        messages: 300,
        old: 200,
    });
    first.entry.proven = true;
    let cursor = first.entry.cursor.clone();
    let hold = first.entry.hold.clone();
    commit(&store, first).await.unwrap();
    store.close().await.unwrap();

    let store = open(dir.path()).await;
    let stored = store.load(&watch, &account(), NOW).await.unwrap();
    assert_eq!(stored.cursor, Some(cursor));
    assert_eq!(stored.hold, hold);
    assert_eq!(stored.suspects, vec![(uid(2), 2)]);
    assert_eq!(stored.first_sight, Some(NOW));
    assert_eq!(stored.last_proven, Some(NOW));
    assert!(!stored.unclean && !stored.account_changed && !stored.state_lost && !stored.paused);
    let events = store
        .events(&EventFilter {
            limit: 10,
            ..EventFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(
        events
            .iter()
            .filter_map(|event| event.message_id.as_deref())
            .collect::<Vec<_>>(),
        ["b", "a"]
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_leased_delivery_comes_back_with_the_receipt_and_is_claimed_by_nobody_else() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let receipt = commit(
        &store,
        mail(&watch, &[(1, "a")], &[leased("tickets"), to("audit")]),
    )
    .await
    .unwrap();
    assert_eq!(receipt.claimed.len(), 1);
    let claimed = &receipt.claimed[0];
    assert_eq!((claimed.sequence, claimed.attempts), (1, 0));
    assert_eq!(&claimed.event.data[..], b"{\"name\":\"a\"}");
    assert!(
        store
            .claim_due(&EndpointKey::from("tickets"), 10, NOW)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store
            .claim_due(&EndpointKey::from("audit"), 10, NOW)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_event_that_is_there_already_is_not_stored_again() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[to("tickets")]))
        .await
        .unwrap();
    let again = commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[leased("tickets")]),
    )
    .await
    .unwrap();
    assert_eq!((again.repeated, again.generations), (1, 0));
    assert_eq!(again.claimed.len(), 1, "only the new one");
    let sums = store.sums().await.unwrap();
    assert_eq!(
        sums,
        Sums {
            uids: 2,
            event: 2,
            deliveries: 2,
            pending: 2,
            ..Sums::default()
        }
    );
}

#[tokio::test]
async fn an_id_met_under_another_fingerprint_is_stored_as_the_next_generation() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[to("tickets")]))
        .await
        .unwrap();
    store.close().await.unwrap();
    sql(dir.path(), "UPDATE event SET fingerprint = zeroblob(32); DELETE FROM ledger; UPDATE watch SET uids = 0").await;

    let store = open(dir.path()).await;
    let receipt = commit(&store, mail(&watch, &[(1, "a")], &[to("tickets")]))
        .await
        .unwrap();
    assert_eq!((receipt.repeated, receipt.generations), (0, 1));
    let third = commit(&store, mail(&watch, &[(1, "a")], &[to("tickets")]))
        .await
        .unwrap();
    assert_eq!(
        (third.repeated, third.generations),
        (1, 0),
        "the next generation is known from now on"
    );
    assert_eq!(
        store
            .events(&EventFilter {
                limit: 10,
                ..EventFilter::default()
            })
            .await
            .unwrap()
            .len(),
        2
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn one_bad_request_does_not_fail_its_group() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let unknown = crate::support::watch("nobody");
    let requests = (1..=40).map(|number| {
        let store = store.clone();
        let watch = if number % 4 == 0 {
            unknown.clone()
        } else {
            crate::support::watch("support")
        };
        tokio::spawn(async move {
            let name = format!("m{number}");
            commit(&store, mail(&watch, &[(number, &name)], &[to("tickets")]))
                .await
                .map(|_| number)
        })
    });
    let mut stored = 0;
    for request in requests.collect::<Vec<_>>() {
        match request.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => assert!(
                matches!(&error, StoreError::Other(text) if text.contains("nobody")),
                "{error}"
            ),
        }
    }
    assert_eq!(stored, 30);
    let sums = store.sums().await.unwrap();
    assert_eq!((sums.uids, sums.deliveries), (30, 30));
    let mut sequences: Vec<i64> = store
        .claim_due(&EndpointKey::from("tickets"), 100, NOW)
        .await
        .unwrap()
        .into_iter()
        .map(|claimed| claimed.sequence)
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=30).collect::<Vec<_>>(), "gapless");
    drop(watch);
}

#[tokio::test]
async fn a_large_group_is_stored_whole() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let names: Vec<String> = (1..=1500).map(|number| format!("m{number}")).collect();
    let messages: Vec<(u32, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    let receipt = commit(
        &store,
        mail(&watch, &messages, &[leased("tickets"), to("audit")]),
    )
    .await
    .unwrap();
    assert_eq!(receipt.claimed.len(), 1500);
    let sums = store.sums().await.unwrap();
    assert_eq!(
        (sums.uids, sums.event, sums.deliveries, sums.pending),
        (1500, 1500, 3000, 3000)
    );
}

#[tokio::test]
async fn a_system_event_is_counted_for_its_mailbox_and_stored_once() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let event = NewEvent {
        identity: EventIdentity::System {
            id: system_id("test", "support", EventType::MailboxStalled, NOW),
        },
        event_type: EventType::MailboxStalled,
        mailbox: Some(watch.mailbox.clone()),
        subject: "support".to_owned(),
        time: NOW,
        message_id: None,
        data: "{}".into(),
        raw: None,
        spool: None,
        deliveries: vec![to("alerts")],
    };
    assert_eq!(
        store.add_event(event.clone(), NOW).await.unwrap().repeated,
        0
    );
    assert_eq!(store.add_event(event, NOW).await.unwrap().repeated, 1);
    let sums = store.sums().await.unwrap();
    assert_eq!((sums.deliveries, sums.pending), (1, 1));
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn suspects_end_with_an_outcome_and_with_their_epoch() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let suspect = |tries| Outcome::Suspect { tries };
    commit(
        &store,
        outcomes(
            &watch,
            vec![(1, suspect(1)), (2, suspect(1)), (3, suspect(1))],
            cursor(0),
        ),
    )
    .await
    .unwrap();
    commit(
        &store,
        outcomes(
            &watch,
            vec![(1, Outcome::Vanished), (2, suspect(2))],
            cursor(3),
        ),
    )
    .await
    .unwrap();
    let stored = store.load(&watch, &account(), NOW).await.unwrap();
    assert_eq!(stored.suspects, vec![(uid(2), 2), (uid(3), 1)]);

    let mut next = cursor(0);
    next.epoch = postrider_core::cursor::Epoch(2);
    commit(&store, outcomes(&watch, vec![(9, suspect(1))], next))
        .await
        .unwrap();
    let stored = store.load(&watch, &account(), NOW).await.unwrap();
    assert_eq!(stored.suspects, vec![(uid(9), 1)]);
    let sums = store.sums().await.unwrap();
    assert_eq!(
        (sums.uids, sums.vanished),
        (1, 1),
        "a suspect is not taken yet"
    );
}

/// SQLite moves its log within the commit that makes it too long, and who waits for that commit
/// waits for two syncs more.
#[tokio::test]
async fn the_log_is_moved_while_nobody_waits() {
    const PAGE: u64 = 4096;
    let dir = dir();
    let mut options = options(dir.path());
    options.reserve_bytes = 8 * 1024 * 1024;
    let store = open_with(options).await;
    let watch = watch("support");
    store.load(&watch, &account(), NOW).await.unwrap();
    for number in 1..=300 {
        let name = number.to_string();
        let one = mail(&watch, &[(number, name.as_str())], &[to("tickets")]);
        commit(&store, one).await.unwrap();
    }
    let log = std::fs::metadata(dir.path().join("postrider.db-wal")).unwrap();
    let pages = log.len() / PAGE;
    assert!(pages > 400, "{pages}: too few to tell");
    assert!(pages < 950, "{pages}: SQLite moved it, within a commit");
    assert_sums_hold(&store).await;
}
