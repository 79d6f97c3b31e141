//! Continuity: what is sent, skipped and held when it is not proven.

use postrider_core::cursor::Break;

use super::*;

/// A folder that is there under another UIDVALIDITY, up to the question what the ledger knows.
fn broken(count: u32, age_days: i64) -> (Bench, Effect) {
    let (mut bench, _) = Bench::start(stored(7));
    let effect = bench.step(selected(9, count));
    assert!(matches!(
        commit(&effect).notices[..],
        [Notice::UidValidityChanged { .. }]
    ));
    assert!(matches!(
        commit(&effect).cursor.sieve.as_deref(),
        Some(Sieve::Break(_))
    ));
    bench.step(Input::Committed);
    let effect = bench.step(surveyed(1..=count));
    assert!(matches!(
        effect,
        Effect::Read {
            part: Part::Facts,
            ..
        }
    ));
    let effect = bench.answer(&effect, |number| Reply::Whole(facts(number, age_days)));
    assert!(matches!(effect, Effect::Recall(_)));
    (bench, effect)
}

#[test]
fn known_mail_under_a_new_uidvalidity_is_matched_once_each() {
    let (mut bench, _) = broken(2, 0);
    let same = facts(1, 0).fingerprint;
    let effect = bench.step(Input::Recalled(Known {
        matches: vec![(same, 1)],
    }));
    assert_eq!(read(&effect), [2], "only the unknown one is read in full");
    let effect = bench.answer(&effect, whole);
    assert_eq!(
        outcomes(&effect),
        [(1, Outcome::Known), (2, Outcome::Event)]
    );
}

#[test]
fn more_old_unknown_mail_than_the_limit_is_held_and_the_cursor_stays() {
    let (mut bench, _) = broken(3, 5);
    let effect = bench.step(Input::Recalled(Known::default()));
    let entry = commit(&effect);
    let hold = entry.hold.clone().unwrap();
    assert_eq!(
        (hold.why, hold.messages, hold.old),
        (HoldReason::UidValidityChanged, 3, 3)
    );
    assert_eq!((entry.cursor.last, entry.outcomes.len()), (None, 0));
    assert_eq!(bench.step(Input::Committed), Effect::Close);
    let held = Effect::Pause {
        until: None,
        why: PauseReason::Held,
    };
    assert_eq!(bench.step(Input::Closed), held);
    assert_eq!(bench.step(Input::Woken(Wake::Order(Order::Resync))), held);
    let effect = bench.step(Input::Woken(Wake::Order(Order::Release(Release::Skip))));
    assert_eq!(commit(&effect).hold, None);
    assert_eq!(bench.step(Input::Committed), Effect::Open);
    let effect = bench.step(selected(9, 3));
    assert!(
        matches!(effect, Effect::Commit(_)),
        "how far the word reaches is stored"
    );
    bench.step(Input::Committed);
    let effect = bench.step(surveyed(1..=4));
    let effect = bench.answer(&effect, |number| Reply::Whole(facts(number, 5)));
    assert!(matches!(effect, Effect::Recall(_)));
    let effect = bench.step(Input::Recalled(Known::default()));
    assert_eq!(
        read(&effect),
        [4],
        "what came after the word is not skipped"
    );
}

#[test]
fn a_release_that_the_store_could_not_take_is_given_again() {
    let held = Stored {
        hold: Some(Hold {
            why: HoldReason::UidsWentBack,
            since: Wall(BEGIN),
            messages: 3,
            old: 3,
        }),
        ..stored(7)
    };
    let (mut bench, _) = Bench::start(held);
    bench.step(Input::Woken(Wake::Order(Order::Release(Release::Send))));
    let effect = bench.step(Input::Failed(Failure::StoreFull));
    assert!(matches!(
        effect,
        Effect::Pause {
            why: PauseReason::StoreFull,
            ..
        }
    ));
    let effect = bench.step(Input::Woken(Wake::Elapsed));
    assert_eq!(commit(&effect).notices, [Notice::Released(Release::Send)]);
}

#[test]
fn another_account_is_held_without_opening_anything() {
    let changed = Stored {
        account_changed: true,
        ..stored(7)
    };
    let (mut bench, effect) = Bench::start(changed);
    let hold = commit(&effect).hold.clone().unwrap();
    assert_eq!(hold.why, HoldReason::AccountChanged);
    let effect = bench.step(Input::Committed);
    assert!(matches!(
        effect,
        Effect::Pause {
            why: PauseReason::Held,
            ..
        }
    ));
    bench.step(Input::Woken(Wake::Order(Order::Release(Release::Skip))));
    assert_eq!(bench.step(Input::Committed), Effect::Open);
    let effect = bench.step(selected(4, 90));
    let entry = commit(&effect);
    assert_eq!(
        entry.notices,
        [Notice::FirstSight {
            highest: Some(uid(90))
        }]
    );
    assert_eq!(
        entry.cursor.floor,
        Some(uid(90)),
        "a new account starts as a first sight"
    );
}

#[test]
fn a_first_sight_by_date_skips_what_is_older_also_after_a_crash() {
    let mut state = stored(7);
    let since = Wall(BEGIN - 3 * DAY);
    state.cursor = Some(Cursor {
        floor: None,
        sieve: Some(Box::new(Sieve::Start { since })),
        ..cursor(7)
    });
    let (mut bench, _) = Bench::start(state);
    bench.step(selected(4, 9));
    let effect = bench.step(surveyed(8..=9));
    let age = |number: u32| if number == 8 { 9 } else { 1 };
    let effect = bench.answer(&effect, |number| Reply::Whole(facts(number, age(number))));
    assert_eq!(read(&effect), [9]);
    let effect = bench.answer(&effect, |number| Reply::Whole(facts(number, age(number))));
    let expected = [
        (8, Outcome::Skipped(Reason::BeforeStart)),
        (9, Outcome::Event),
    ];
    assert_eq!(outcomes(&effect), expected);
    bench.step(Input::Committed);
    let effect = bench.step(surveyed([]));
    assert_eq!(commit(&effect).cursor.sieve, None, "the date is done with");
}

#[test]
fn what_the_count_cannot_see_counts_as_old() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(9, 3));
    bench.step(Input::Committed);
    let effect = bench.step(surveyed(1..=3));
    let lagging = |number| {
        if number == 3 {
            Reply::Missing
        } else {
            Reply::Whole(facts(number, 5))
        }
    };
    bench.answer(&effect, lagging);
    let effect = bench.step(Input::Recalled(Known::default()));
    let hold = commit(&effect).hold.clone().unwrap();
    assert_eq!(hold.old, 3, "the missing one may be there when it is read");
}

#[test]
fn gaps_that_are_open_count_as_old() {
    let mut state = stored(7);
    let broken = Break {
        why: HoldReason::UidValidityChanged,
        at: Wall(BEGIN),
        old: 1,
        released: None,
    };
    state.cursor = Some(Cursor {
        floor: None,
        gaps: uids([6]),
        sieve: Some(Box::new(Sieve::Break(broken))),
        ..cursor(7)
    });
    let (mut bench, _) = Bench::start(state);
    bench.step(selected(4, 8));
    let effect = bench.step(surveyed([6, 8]));
    assert!(matches!(
        effect,
        Effect::Read {
            part: Part::Facts,
            ..
        }
    ));
    bench.answer(&effect, |number| Reply::Whole(facts(number, 5)));
    let effect = bench.step(Input::Recalled(Known::default()));
    let hold = commit(&effect).hold.clone().unwrap();
    assert_eq!(hold.old, 2, "one was sent, one is new, and one is a gap");
}

#[test]
fn a_count_ends_though_many_messages_in_a_row_are_refused() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(9, 20));
    let mut effect = bench.step(Input::Committed);
    for _ in 0..200 {
        effect = match &effect {
            Effect::Survey { .. } => bench.step(surveyed(1..=20)),
            Effect::Read { .. } if read(&effect).iter().any(|number| *number <= 6) => {
                bench.step(Input::Failed(Failure::Refused))
            }
            Effect::Read { .. } => bench.answer(&effect, whole),
            Effect::Recall(_) => bench.step(Input::Recalled(Known::default())),
            Effect::Close => bench.step(Input::Closed),
            Effect::Pause {
                until: Some(until), ..
            } => {
                // Longer than any suspect rests.
                let rest = *until - bench.now.monotonic;
                bench.pass(rest + Duration::from_secs(600));
                bench.step(Input::Woken(Wake::Elapsed))
            }
            Effect::Open => bench.step(selected(9, 20)),
            Effect::Commit(entry) if entry.hold.is_some() => break,
            Effect::Commit(_) => bench.step(Input::Committed),
            other => panic!("{other:?}"),
        };
    }
    let hold = commit(&effect).hold.clone().unwrap();
    assert_eq!((hold.messages, hold.old), (20, 6));
}

#[test]
fn an_epoch_that_has_ended_does_not_go_on_though_the_next_was_not_stored() {
    let mut state = stored(7);
    state.cursor = Some(Cursor {
        floor: None,
        gaps: uids([6]),
        ..cursor(7)
    });
    let (mut bench, _) = Bench::start(state.clone());
    let went_back = Input::Opened(Selected {
        uid_validity: UidValidity(4),
        uid_next: Uid::new(7),
        exists: 1,
        highest: Uid::new(6),
        session_ends: None,
    });
    let effect = bench.step(went_back);
    assert_eq!(outcomes(&effect), [(6, Outcome::Vanished)]);
    // The process dies here, and new mail hides that the UIDs went back.
    state.cursor = Some(commit(&effect).cursor.clone());
    let (mut bench, _) = Bench::start(state);
    let effect = bench.step(selected(4, 9));
    assert!(commit(&effect).cursor.epoch > Epoch(1));
    assert_eq!(commit(&effect).cursor.last, None);
}

#[test]
fn a_folder_of_a_hundred_thousand_messages_is_matched_batch_by_batch() {
    const COUNT: u32 = 100_000;
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(9, COUNT));
    let mut effect = bench.step(Input::Committed);
    let (mut surveys, mut known, mut events) = (0, 0, 0);
    loop {
        effect = match &effect {
            Effect::Survey { after } => {
                surveys += 1;
                let from = after.last.map_or(1, |last| last.get() + 1);
                bench.step(surveyed(from..=COUNT))
            }
            Effect::Read { items, .. } => {
                assert!(items.len() <= policy().batch_max);
                bench.answer(&effect, whole)
            }
            // Every message was taken before, but for the last ones.
            Effect::Recall(asked) => {
                let new = |number| facts(number, 0).fingerprint;
                let last = [new(COUNT - 1), new(COUNT)];
                let matches = asked
                    .iter()
                    .filter(|it| !last.contains(it))
                    .map(|it| (*it, 1));
                let matches = matches.collect();
                bench.step(Input::Recalled(Known { matches }))
            }
            Effect::Commit(entry) => {
                let count = |what| entry.outcomes.iter().filter(|(_, it)| *it == what).count();
                known += count(Outcome::Known);
                events += count(Outcome::Event);
                bench.step(Input::Committed)
            }
            Effect::Wait { .. } => break,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!((surveys, known, events), (2, 99_998, 2));
}
