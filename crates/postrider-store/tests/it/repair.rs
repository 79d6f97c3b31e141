//! Sending again, taking back, giving up, and who did it.

use std::{num::NonZeroU32, time::Duration};

use postrider_core::{
    event::{EventType, replay_id},
    ids::EndpointKey,
    time::Wall,
};
use postrider_store::{
    Act, AuditRow, Claimed, Deed, DeliveryState, Id, Never, NewToken, Pace, Replay, Run, Selection,
    Settled, Store,
};

use crate::support::{
    DAY, NOW, act, assert_sums_hold, commit, dir, leased, loaded, mail, open, settled, to,
};

fn tickets() -> EndpointKey {
    EndpointKey::from("tickets")
}

fn dead() -> Settled {
    Settled::Dead {
        reason: "refused".to_owned(),
    }
}

/// Three events, sent: one dead, two delivered.
async fn three(store: &Store, watch: &postrider_core::ids::WatchKey) -> Vec<Claimed> {
    let mail = mail(watch, &[(1, "a"), (2, "b"), (3, "c")], &[leased("tickets")]);
    let claimed = commit(store, mail).await.unwrap().claimed;
    let outcomes = [dead(), Settled::Delivered, Settled::Delivered];
    let settlements = claimed.iter().zip(outcomes);
    let settlements = settlements.map(|(one, outcome)| settled(one.delivery, outcome));
    store.settle(settlements.collect()).await.unwrap();
    claimed
}

fn all_of(states: &[DeliveryState]) -> Selection {
    Selection {
        endpoints: Some(vec![tickets()]),
        states: states.to_vec(),
        ..Selection::default()
    }
}

const OVER: [DeliveryState; 2] = [DeliveryState::Dead, DeliveryState::Delivered];

async fn audit(store: &Store) -> Vec<AuditRow> {
    store.audit(None, 100).await.unwrap()
}

#[tokio::test]
async fn a_replay_that_is_taken_back_leaves_everything_as_it_was() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let claimed = three(&store, &watch).await;
    let before = store.event(claimed[0].event.id).await.unwrap().unwrap();
    let rate = Pace {
        rate: NonZeroU32::new(1),
        from: None,
    };
    let what = Replay::Again(all_of(&OVER), Id::Same);
    let order = (&act(), "everything of tickets");
    let dry = store.replay(&what, rate, order, Run::Dry).await.unwrap();
    assert_eq!((dry.deliveries, dry.replay), (3, None));
    assert_eq!(dry.lasts, Duration::from_secs(2));
    assert!(audit(&store).await.is_empty(), "a dry run is no deed");

    let done = store.replay(&what, rate, order, Run::Real).await.unwrap();
    let number = done.replay.unwrap();
    assert_eq!(done.endpoints, [(tickets(), 3)].into());
    // One per second: the first is due, and is sent.
    let now = store.claim_due(&tickets(), 9, NOW).await.unwrap();
    assert_eq!(now.len(), 1);
    assert_eq!(now[0].event.id, claimed[0].event.id);
    let later = Wall(NOW.0 + 1000);
    let second = store.claim_due(&tickets(), 9, later).await.unwrap();
    store
        .settle(vec![settled(second[0].delivery, Settled::Delivered)])
        .await
        .unwrap();

    let dry = store.cancel_replay(number, &act(), Run::Dry).await.unwrap();
    let real = store
        .cancel_replay(number, &act(), Run::Real)
        .await
        .unwrap();
    assert_eq!(dry, real);
    let real = real.unwrap();
    assert_eq!((real.taken_back, real.in_flight, real.over), (1, 1, 1));
    let third = store.event(claimed[2].event.id).await.unwrap().unwrap();
    assert_eq!(third.deliveries[0].state, "delivered");
    assert_eq!(third.deliveries[0].delivered_at, Some(NOW));
    assert_eq!(third.deliveries[0].replay, None);
    // Given back, the first is taken back as well, and dead for the same reason as before.
    let due = NOW;
    store
        .settle(vec![settled(now[0].delivery, Settled::Returned { due })])
        .await
        .unwrap();
    let again = store.cancel_replay(number, &act(), Run::Real).await;
    assert_eq!(again.unwrap().unwrap().taken_back, 1);
    let first = store.event(claimed[0].event.id).await.unwrap().unwrap();
    assert_eq!(first.deliveries[0].state, "dead");
    assert_eq!(
        first.deliveries[0].dead_reason,
        before.deliveries[0].dead_reason
    );
    assert_eq!(
        store.cancel_replay(99, &act(), Run::Real).await.unwrap(),
        None
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_replay_as_new_goes_out_under_another_id_and_is_found_under_both() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let claimed = three(&store, &watch).await;
    let own = claimed[0].event.id;
    let one = Selection {
        events: vec![own],
        states: OVER.to_vec(),
        ..Selection::default()
    };
    let mut ids = vec![own];
    for number in 1..=2 {
        let what = Replay::Again(one.clone(), Id::New);
        store
            .replay(&what, Pace::default(), (&act(), "one"), Run::Real)
            .await
            .unwrap();
        let sent = store.claim_due(&tickets(), 9, NOW).await.unwrap().remove(0);
        assert_eq!(sent.event.id, replay_id(own, number));
        let mark: String = sent.replay.unwrap();
        assert!(mark.contains(&format!("\"of\":\"{own}\"")), "{mark}");
        store
            .settle(vec![settled(sent.delivery, Settled::Delivered)])
            .await
            .unwrap();
        ids.push(sent.event.id);
    }
    for id in &ids {
        let found = store.event(*id).await.unwrap().unwrap();
        assert_eq!(found.event.id, own, "{id}");
    }
    // Under the new id it can be named as well; and goes out under its own again.
    let named = Selection {
        events: vec![ids[1]],
        ..one
    };
    let what = Replay::Again(named, Id::Same);
    let order = (&act(), "one");
    let done = store
        .replay(&what, Pace::default(), order, Run::Real)
        .await
        .unwrap();
    assert_eq!((done.deliveries, done.events), (1, vec![own]));
    let sent = store.claim_due(&tickets(), 9, NOW).await.unwrap().remove(0);
    assert_eq!(sent.event.id, own);
    store
        .settle(vec![settled(sent.delivery, Settled::Delivered)])
        .await
        .unwrap();
    let claimed: Vec<_> = claimed.iter().skip(1).collect();
    assert_eq!(claimed.len(), 2);
    assert_eq!(store.prune(NOW + DAY, Duration::ZERO).await.unwrap(), 3);
    assert!(store.event(ids[1]).await.unwrap().is_none());
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn an_endpoint_that_was_added_later_gets_what_it_never_got_once() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    three(&store, &watch).await;
    commit(&store, mail(&watch, &[(4, "d")], &[to("late")]))
        .await
        .unwrap();
    let late = EndpointKey::from("late");
    let never = |mailbox: &str| {
        Replay::Never(Never {
            endpoint: late.clone(),
            mailboxes: vec![mailbox.into()],
            types: vec![EventType::MessageReceived],
            since: None,
            until: None,
            sift: None,
        })
    };
    let order = (&act(), "never sent, endpoint late");
    let other = store
        .replay(&never("other"), Pace::default(), order, Run::Dry)
        .await;
    assert_eq!(other.unwrap().deliveries, 0);
    let what = never("support");
    let dry = store
        .replay(&what, Pace::default(), order, Run::Dry)
        .await
        .unwrap();
    let done = store
        .replay(&what, Pace::default(), order, Run::Real)
        .await
        .unwrap();
    assert_eq!((dry.deliveries, done.deliveries), (3, 3));
    assert_eq!(dry.endpoints, done.endpoints);
    let again = store
        .replay(&what, Pace::default(), order, Run::Real)
        .await
        .unwrap();
    assert_eq!((again.deliveries, again.replay), (0, None));
    assert_sums_hold(&store).await;
    let sent = store.claim_due(&late, 9, NOW).await.unwrap();
    let sequences: Vec<i64> = sent.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4], "no hole in the sequence");
    assert!(sent[1].replay.is_some());
    let back = |one: &Claimed| settled(one.delivery, Settled::Returned { due: NOW });
    store.settle(sent.iter().map(back).collect()).await.unwrap();
    // What was owed by the replay alone is given up when it is taken back.
    let number = done.replay.unwrap();
    let cancelled = store.cancel_replay(number, &act(), Run::Real).await;
    assert_eq!(cancelled.unwrap().unwrap().taken_back, 3);
    let row = store.outbox().await.unwrap();
    let row = row.iter().find(|row| row.endpoint == late).unwrap();
    assert_eq!((row.pending, row.discarded), (1, 3));
    assert_sums_hold(&store).await;
    // Ids and sequences go on where they were, also after a restart.
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    store
        .load(&watch, &crate::support::account(), NOW)
        .await
        .unwrap();
    let receipt = commit(&store, mail(&watch, &[(5, "e")], &[leased("late")]))
        .await
        .unwrap();
    assert_eq!(receipt.claimed[0].sequence, 5);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn what_is_given_up_is_counted_with_its_reason_and_what_is_being_sent_is_not() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    three(&store, &watch).await;
    commit(&store, mail(&watch, &[(4, "d")], &[to("tickets")]))
        .await
        .unwrap();
    commit(&store, mail(&watch, &[(5, "e")], &[leased("tickets")]))
        .await
        .unwrap();
    let act = Act {
        why: Some("the desk closed them".to_owned()),
        ..act()
    };
    let meant = all_of(&[DeliveryState::Pending, DeliveryState::Dead]);
    let order = (&act, "pending and dead of tickets");
    let dry = store.discard(&meant, order, Run::Dry).await.unwrap();
    let done = store.discard(&meant, order, Run::Real).await.unwrap();
    assert_eq!((dry.deliveries, done.deliveries), (2, 2));
    assert_sums_hold(&store).await;
    let rows = audit(&store).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].what, Deed::Discard.as_str());
    assert_eq!(
        (rows[0].affected, rows[0].who.as_str(), &rows[0].why),
        (2, "ann", &act.why)
    );
    // It is not over for good.
    let what = Replay::Again(all_of(&[DeliveryState::Discarded]), Id::Same);
    let back = store
        .replay(&what, Pace::default(), (&act, "back"), Run::Real)
        .await;
    assert_eq!(back.unwrap().deliveries, 2);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn a_selection_is_narrowed_by_time_and_mailbox() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    three(&store, &watch).await;
    let count = async |selection: Selection| {
        let what = Replay::Again(selection, Id::Same);
        let order = (&act(), "test");
        let dry = store.replay(&what, Pace::default(), order, Run::Dry).await;
        dry.unwrap().deliveries
    };
    let all = all_of(&OVER);
    let narrowed = |since, until| Selection {
        since,
        until,
        ..all_of(&OVER)
    };
    assert_eq!(count(all.clone()).await, 3);
    assert_eq!(count(narrowed(Some(NOW), None)).await, 3);
    assert_eq!(count(narrowed(Some(Wall(NOW.0 + 1)), None)).await, 0);
    assert_eq!(count(narrowed(None, Some(NOW))).await, 0);
    let of = |mailbox: &str| Selection {
        mailbox: Some(mailbox.into()),
        ..all.clone()
    };
    assert_eq!(count(of("support")).await, 3);
    assert_eq!(count(of("other")).await, 0);
}

#[tokio::test]
async fn many_deliveries_are_one_deed_and_go_at_their_rate() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let names: Vec<String> = (1..=1_200).map(|n| format!("m{n}")).collect();
    let messages: Vec<(u32, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    let receipt = commit(&store, mail(&watch, &messages, &[leased("tickets")]))
        .await
        .unwrap();
    let dead = receipt
        .claimed
        .iter()
        .map(|one| settled(one.delivery, dead()));
    store.settle(dead.collect()).await.unwrap();
    let what = Replay::Again(all_of(&[DeliveryState::Dead]), Id::Same);
    let order = (&act(), "dead of tickets");
    let done = store
        .replay(&what, Pace::default(), order, Run::Real)
        .await
        .unwrap();
    assert_eq!((done.deliveries, done.events.len()), (1_200, 1_000));
    let rows = audit(&store).await;
    assert_eq!((rows.len(), rows[0].affected), (1, 1_200));
    assert_eq!(Some(rows[0].id), done.replay);
    let taken = store.cancel_replay(rows[0].id, &act(), Run::Real).await;
    assert_eq!(taken.unwrap().unwrap().taken_back, 1_200);
    go_one_by_one(&store).await;
    assert_sums_hold(&store).await;
}

async fn go_one_by_one(store: &Store) {
    let what = Replay::Again(all_of(&[DeliveryState::Dead]), Id::Same);
    let order = (&act(), "slow");
    let rate = Pace {
        rate: NonZeroU32::new(1),
        from: None,
    };
    let done = store.replay(&what, rate, order, Run::Real).await.unwrap();
    assert_eq!(done.lasts, Duration::from_secs(1_199));
    let due = store.claim_due(&tickets(), 9, NOW).await.unwrap();
    assert_eq!(due.len(), 1, "one is due, the others in their turn");
}

#[tokio::test]
async fn every_order_of_an_operator_leaves_a_row_and_one_that_did_nothing_leaves_none() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    store.pause_mailbox(&watch.mailbox, &act()).await.unwrap();
    store.resume_mailbox(&watch.mailbox, &act()).await.unwrap();
    store.pause_endpoint(&tickets(), &act()).await.unwrap();
    store.resume_endpoint(&tickets(), &act()).await.unwrap();
    let other = postrider_store::Account {
        server: "imap.example.org:993".to_owned(),
        username: "new@example.org".to_owned(),
    };
    store.adopt(&watch.mailbox, &other, &act()).await.unwrap();
    store
        .note(&act(), Deed::Release, "support: INBOX, send", 1)
        .await
        .unwrap();
    let nobody = "nobody".into();
    assert!(store.pause_mailbox(&nobody, &act()).await.is_err());
    let what: Vec<String> = audit(&store)
        .await
        .into_iter()
        .rev()
        .map(|row| row.what)
        .collect();
    let expected = [
        Deed::PauseMailbox,
        Deed::ResumeMailbox,
        Deed::PauseEndpoint,
        Deed::ResumeEndpoint,
        Deed::Adopt,
        Deed::Release,
    ];
    assert_eq!(what, expected.map(|deed| deed.as_str().to_owned()));
    let later = store.audit(Some(Wall(NOW.0 + 1)), 100).await.unwrap();
    assert!(later.is_empty());
}

#[tokio::test]
async fn a_token_is_stored_as_its_hash_and_its_name_is_given_once_at_a_time() {
    let dir = dir();
    let store = open(dir.path()).await;
    let token = || NewToken {
        name: "ci".to_owned(),
        hash: [7; 32],
        scope: "replay".to_owned(),
        expires: Some(NOW + DAY),
    };
    assert!(store.create_token(token(), &act()).await.unwrap());
    assert!(!store.create_token(token(), &act()).await.unwrap());
    assert!(store.revoke_token("ci", &act()).await.unwrap());
    assert!(!store.revoke_token("ci", &act()).await.unwrap());
    assert!(store.create_token(token(), &act()).await.unwrap());
    let all = store.admin_tokens().await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].revoked, all[1].revoked), (None, Some(NOW)));
    assert_eq!(all[0].hash, [7; 32]);
    assert_eq!(audit(&store).await.len(), 3);
}

#[tokio::test]
async fn a_message_that_is_read_again_is_kept_again_and_its_replay_goes() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let claimed = three(&store, &watch).await;
    let id = claimed[1].event.id;
    let place = "INBOX/7/2".to_owned();
    let mailbox = &watch.mailbox;
    let found = async || {
        let found = store.events_at(mailbox, std::slice::from_ref(&place)).await;
        found.unwrap()[&place]
    };
    assert!(found().await.event == id && !found().await.has_message);
    // It waits for its message, and no longer than to then.
    let what = Replay::Again(
        Selection {
            events: vec![id],
            ..all_of(&OVER)
        },
        Id::Same,
    );
    let pace = Pace {
        rate: None,
        from: Some(Wall(NOW.0 + 600_000)),
    };
    let order = (&act(), "from the mailbox");
    store.replay(&what, pace, order, Run::Real).await.unwrap();
    let due = store.claim_due(&tickets(), 9, NOW).await.unwrap();
    assert!(due.is_empty());
    let mut again = mail(&watch, &[(2, "b")], &[to("tickets")]);
    again.entry.cursor = crate::support::cursor(3);
    again.events[0].raw = Some("Subject: b".into());
    let receipt = commit(&store, again).await.unwrap();
    assert_eq!(receipt.repeated, 1);
    assert!(found().await.has_message);
    let due = store.claim_due(&tickets(), 9, NOW).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].event.id, id);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn what_was_delivered_before_a_replay_stays_in_the_story_and_who_ordered_it_is_in_the_mark() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let claimed = three(&store, &watch).await;
    let id = claimed[1].event.id;
    let story = async || {
        let detail = store.event(id).await.unwrap().unwrap();
        let told = |one: &postrider_store::AttemptRow| (one.at, one.status, one.note.clone());
        let attempts: Vec<_> = detail.attempts.iter().map(told).collect();
        (attempts, detail.deliveries[0].clone())
    };
    let (before, was) = story().await;
    assert_eq!(before.len(), 1);
    let one = Selection {
        events: vec![id],
        ..all_of(&OVER)
    };
    let what = Replay::Again(one, Id::Same);
    let replay = async || {
        let order = (&act(), "one");
        let done = store.replay(&what, Pace::default(), order, Run::Real).await;
        done.unwrap().replay.unwrap()
    };
    let claim = async || store.claim_due(&tickets(), 9, NOW).await.unwrap().remove(0);

    // Tried without success, and taken back: all is told as it was, and the attempt as well.
    let number = replay().await;
    let sent = claim().await;
    let mark = sent.replay.clone().unwrap();
    assert!(mark.contains("\"by\":\"ann\""), "{mark}");
    let mut failed = settled(
        sent.delivery,
        Settled::Retry {
            due: NOW + DAY,
            refusals: 0,
            refused_since: None,
            own_time: Duration::ZERO,
            aside: false,
        },
    );
    (failed.at, failed.status) = (Wall(NOW.0 + 10), Some(503));
    store.settle(vec![failed]).await.unwrap();
    let cancelled = store.cancel_replay(number, &act(), Run::Real).await;
    assert_eq!(cancelled.unwrap().unwrap().taken_back, 1);
    let (after, is) = story().await;
    assert_eq!(after.len(), 2, "{after:#?}");
    assert_eq!(after[0], before[0]);
    assert_eq!(
        (is.last_status, is.last_note),
        (was.last_status, was.last_note)
    );

    // Accepted once more: both times are told.
    replay().await;
    let mut again = settled(claim().await.delivery, Settled::Delivered);
    again.at = Wall(NOW.0 + 20);
    store.settle(vec![again]).await.unwrap();
    let (after, _) = story().await;
    let at: Vec<i64> = after.iter().map(|(at, ..)| at.0 - NOW.0).collect();
    assert_eq!(at, [0, 10, 20], "{after:#?}");
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn the_pace_of_a_replay_outlives_an_outage_of_the_endpoint() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    three(&store, &watch).await;
    let rate = Pace {
        rate: NonZeroU32::new(1),
        from: None,
    };
    let what = Replay::Again(all_of(&OVER), Id::Same);
    let order = (&act(), "everything of tickets");
    store.replay(&what, rate, order, Run::Real).await.unwrap();
    let retry = Settled::Retry {
        due: NOW + DAY,
        refusals: 0,
        refused_since: None,
        own_time: Duration::ZERO,
        aside: false,
    };
    let first = store.claim_due(&tickets(), 9, NOW).await.unwrap();
    store
        .settle(vec![settled(first[0].delivery, retry)])
        .await
        .unwrap();
    // The endpoint is well again: what was tried is due at once, the others in their turn.
    assert_eq!(store.release_endpoint(&tickets(), NOW).await.unwrap(), 1);
    let due = async |ms: i64| {
        let due = store.claim_due(&tickets(), 9, Wall(NOW.0 + ms)).await;
        due.unwrap().len()
    };
    assert_eq!(
        (due(0).await, due(1_000).await, due(2_000).await),
        (1, 1, 1)
    );
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn what_an_endpoint_had_already_is_not_brought_back_with_what_was_discarded() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mut once = to("tickets");
    once.twins_since = Some(Wall(0));
    commit(
        &store,
        mail(&watch, &[(1, "a"), (2, "a")], std::slice::from_ref(&once)),
    )
    .await
    .unwrap();
    let row = store.outbox().await.unwrap().remove(0);
    assert_eq!((row.pending, row.discarded), (1, 1));
    let what = Replay::Again(all_of(&[DeliveryState::Discarded]), Id::Same);
    let order = (&act(), "discarded of tickets");
    let done = store.replay(&what, Pace::default(), order, Run::Real).await;
    assert_eq!(done.unwrap().deliveries, 0);
}

#[tokio::test]
async fn what_the_condition_of_an_endpoint_refuses_is_not_owed_to_it_later() {
    use postrider_store::{Sift, Sifted};

    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let names: Vec<String> = (1..=120).map(|n| format!("m{n}")).collect();
    let messages: Vec<(u32, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    commit(&store, mail(&watch, &messages, &[to("tickets")]))
        .await
        .unwrap();
    let judge = |event: &postrider_store::EventRow| match event.data.as_ref() {
        b"{\"name\":\"m7\"}" => Sifted::Meant,
        b"{\"name\":\"m110\"}" => Sifted::Unsure,
        _ => Sifted::NotMeant,
    };
    let what = Replay::Never(Never {
        endpoint: "late".into(),
        mailboxes: vec!["support".into()],
        types: vec![EventType::MessageReceived],
        since: None,
        until: None,
        sift: Some(Sift(std::sync::Arc::new(judge))),
    });
    let order = (&act(), "never sent, endpoint late");
    for run in [Run::Dry, Run::Real] {
        let done = store
            .replay(&what, Pace::default(), order, run)
            .await
            .unwrap();
        assert_eq!((done.deliveries, done.events.len()), (2, 2));
    }
    let sent = store.claim_due(&"late".into(), 9, NOW).await.unwrap();
    let failed: Vec<bool> = sent.iter().map(|one| one.when_failed).collect();
    assert_eq!(failed, [false, true]);
    assert_sums_hold(&store).await;
}

#[tokio::test]
async fn what_a_watch_carries_out_is_noted_with_it_and_not_before() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    let mut released = mail(&watch, &[(1, "a")], &[to("tickets")]);
    released.ordered = Some(postrider_store::Ordered {
        act: Act {
            why: Some("it is the same mail".to_owned()),
            ..act()
        },
        deed: Deed::Release,
        selector: "support: INBOX, send".to_owned(),
    });
    assert!(audit(&store).await.is_empty());
    commit(&store, released).await.unwrap();
    let rows = audit(&store).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (
            rows[0].what.as_str(),
            rows[0].selector.as_str(),
            rows[0].affected
        ),
        ("release", "support: INBOX, send", 1)
    );
    assert_eq!(rows[0].why.as_deref(), Some("it is the same mail"));
}
