use postrider_core::watch::{Outcome, Reason};
use postrider_store::{Settled, Taken};

use crate::support::*;

fn brief(taken: &[Taken]) -> Vec<(u32, &'static str, Option<&'static str>, bool)> {
    taken
        .iter()
        .map(|one| (one.uid.get(), one.outcome, one.reason, one.present))
        .collect()
}

#[tokio::test]
async fn a_message_id_finds_every_taking_of_its_mailbox() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let other = crate::support::watch("sales");
    store.load(&other, &account(), NOW).await.unwrap();
    for mailbox in [&watch, &other] {
        let deliveries = [to("tickets")];
        commit(&store, mail(mailbox, &[(4, "a"), (5, "b")], &deliveries))
            .await
            .unwrap();
    }
    let found = store.taken_of_message(&watch.mailbox, "b").await.unwrap();
    assert_eq!(brief(&found), [(5, "event", None, true)]);
    assert_eq!(found[0].watch, watch);
    assert_eq!(
        (found[0].found_by, found[0].taken_at, found[0].internal_date),
        ("idle", NOW, Some(NOW))
    );
    let none = store.taken_of_message(&watch.mailbox, "c").await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_uid_says_what_became_of_it_and_the_newest_come_first() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let taken = vec![
        (1, Outcome::Skipped(Reason::BeforeStart)),
        (2, Outcome::Vanished),
        (3, Outcome::Known),
    ];
    commit(&store, outcomes(&watch, taken, cursor(3)))
        .await
        .unwrap();
    let one = store.taken_at(&watch, uid(1)).await.unwrap().unwrap();
    assert_eq!((one.outcome, one.reason), ("skipped", Some("before_start")));
    assert_eq!(one.found_by, "cycle");
    assert_eq!(store.taken_at(&watch, uid(9)).await.unwrap(), None);
    let newest = store.newest_taken(&watch, 2).await.unwrap();
    assert_eq!(
        brief(&newest),
        [(3, "known", None, true), (2, "vanished", None, true)]
    );
}

#[tokio::test]
async fn what_is_owed_is_counted_by_endpoint_and_of_one_mailbox() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let other = crate::support::watch("sales");
    store.load(&other, &account(), NOW).await.unwrap();
    let receipt = commit(
        &store,
        mail(
            &watch,
            &[(1, "a"), (2, "b")],
            &[leased("tickets"), to("audit")],
        ),
    )
    .await
    .unwrap();
    commit(&store, mail(&other, &[(1, "c")], &[to("tickets")]))
        .await
        .unwrap();
    let dead = Settled::Dead {
        reason: "413".to_owned(),
    };
    store
        .settle(vec![settled(receipt.claimed[0].delivery, dead)])
        .await
        .unwrap();
    let owed = store.owed(&watch.mailbox).await.unwrap();
    let brief: Vec<_> = owed
        .iter()
        .map(|one| (one.endpoint.as_str(), one.pending, one.dead))
        .collect();
    assert_eq!(brief, [("audit", 2, 0), ("tickets", 1, 1)]);
    assert!(owed.iter().all(|one| one.oldest_pending == Some(NOW)));
    assert!(store.owed(&"nobody".into()).await.unwrap().is_empty());
}
