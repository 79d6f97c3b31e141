use std::time::Duration;

use postrider_core::{event::EventType, ids::UidValidity};
use postrider_store::{EventFilter, Settled};
use uuid::Uuid;

use crate::support::*;

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn events_are_found_by_everything_that_an_operator_knows() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let other = crate::support::watch("sales");
    store.load(&other, &account(), NOW).await.unwrap();
    let receipt = commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "b")], &[leased("tickets")]),
    )
    .await
    .unwrap();
    let mut late = mail(&other, &[(1, "c")], &[to("tickets"), to("audit")]);
    late.now = NOW + Duration::from_secs(60);
    commit(&store, late).await.unwrap();
    let dead = Settled::Dead {
        reason: "413".to_owned(),
    };
    store
        .settle(vec![settled(receipt.claimed[0].delivery, dead)])
        .await
        .unwrap();

    let all = EventFilter {
        limit: 10,
        ..EventFilter::default()
    };
    let cases = [
        (all.clone(), vec!["c", "b", "a"]),
        (
            EventFilter {
                limit: 1,
                ..all.clone()
            },
            vec!["c"],
        ),
        (
            EventFilter {
                mailbox: Some("support".into()),
                ..all.clone()
            },
            vec!["b", "a"],
        ),
        (
            EventFilter {
                endpoint: Some("audit".into()),
                ..all.clone()
            },
            vec!["c"],
        ),
        (
            EventFilter {
                state: Some("dead".to_owned()),
                ..all.clone()
            },
            vec!["a"],
        ),
        (
            EventFilter {
                state: Some("pending".to_owned()),
                ..all.clone()
            },
            vec!["c", "b"],
        ),
        (
            EventFilter {
                state: Some("pending".to_owned()),
                endpoint: Some("audit".into()),
                ..all.clone()
            },
            vec!["c"],
        ),
        (
            EventFilter {
                message_id: Some("b".to_owned()),
                ..all.clone()
            },
            vec!["b"],
        ),
        (
            EventFilter {
                since: Some(NOW + Duration::from_secs(1)),
                ..all.clone()
            },
            vec!["c"],
        ),
        (
            EventFilter {
                event_type: Some(EventType::Ping),
                ..all.clone()
            },
            vec![],
        ),
        (
            EventFilter {
                mailbox: Some("nobody".into()),
                ..all.clone()
            },
            vec![],
        ),
    ];
    for (filter, wanted) in cases {
        let found = store.events(&filter).await.unwrap();
        let found: Vec<&str> = found
            .iter()
            .filter_map(|event| event.message_id.as_deref())
            .collect();
        assert_eq!(found, wanted, "{filter:?}");
    }
    assert!(
        store
            .events(&EventFilter {
                state: Some("lost".to_owned()),
                ..all
            })
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_list_goes_on_behind_its_last_event_whatever_came_meanwhile() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let names = ["a", "b", "c", "d", "e"];
    let messages: Vec<(u32, &str)> = (1..).zip(names).collect();
    // All of one moment: a time could not tell where to go on.
    commit(&store, mail(&watch, &messages, &[to("tickets")]))
        .await
        .unwrap();
    let mut filter = EventFilter {
        endpoint: Some("tickets".into()),
        limit: 2,
        ..EventFilter::default()
    };
    let mut seen = Vec::new();
    for page in 0..4 {
        let found = store.events(&filter).await.unwrap();
        assert_eq!(found.len(), [2, 2, 1, 0][page], "page {page}");
        seen.extend(found.iter().filter_map(|event| event.message_id.clone()));
        filter.before = found.last().map(|event| event.id).or(filter.before);
        commit(
            &store,
            mail(&watch, &[(10 + page as u32, "new")], &[to("tickets")]),
        )
        .await
        .unwrap();
    }
    assert_eq!(seen, ["e", "d", "c", "b", "a"]);
    filter.before = Some(Uuid::new_v4());
    assert!(store.events(&filter).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_events_story_is_told_attempt_by_attempt() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let receipt = commit(&store, mail(&watch, &[(1, "a")], &[leased("tickets")]))
        .await
        .unwrap();
    let claimed = &receipt.claimed[0];
    let mut failed = settled(
        claimed.delivery,
        Settled::Retry {
            aside: false,
            due: NOW,
            refusals: 0,
            refused_since: None,
            own_time: Duration::ZERO,
        },
    );
    failed.status = None;
    failed.note = format!("connection refused {}", "é".repeat(400));
    store.settle(vec![failed]).await.unwrap();
    let again = store.claim_due(&"tickets".into(), 1, NOW).await.unwrap();
    let mut delivered = settled(again[0].delivery, Settled::Delivered);
    delivered.at = NOW + Duration::from_secs(5);
    delivered.status = Some(202);
    store.settle(vec![delivered]).await.unwrap();
    let detail = store.event(claimed.event.id).await.unwrap().unwrap();
    assert_eq!(
        detail
            .attempts
            .iter()
            .map(|attempt| attempt.status)
            .collect::<Vec<_>>(),
        [None, Some(202)]
    );
    assert!(
        detail.attempts[0].note.starts_with("connection refused é")
            && detail.attempts[0].note.len() <= 512
    );
    assert_eq!(&detail.event.data[..], b"{\"name\":\"a\"}");
    assert_eq!(detail.deliveries[0].last_status, Some(202));
    assert!(store.event(Uuid::new_v4()).await.unwrap().is_none());
}

#[tokio::test]
async fn watches_and_waiting_deliveries_are_listed() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    assert!(
        store.watches().await.unwrap().is_empty(),
        "nothing was taken yet"
    );
    let mut first = mail(&watch, &[(3, "a")], &[to("tickets")]);
    first.entry.cursor.gaps = vec![uid(2)];
    first.entry.proven = true;
    commit(&store, first).await.unwrap();
    let row = &store.watches().await.unwrap()[0];
    assert_eq!(
        (&row.watch, row.uid_validity, row.last),
        (&watch, Some(UidValidity(7)), Some(uid(3)))
    );
    assert_eq!(
        (row.gaps, row.last_proven, &row.hold),
        (1, Some(NOW), &None)
    );
    let outbox = &store.outbox().await.unwrap()[0];
    assert_eq!((outbox.pending, outbox.oldest_pending), (1, Some(NOW)));
}
