//! Reading: what becomes of messages that cannot simply be read.

use super::*;

#[test]
fn a_restarted_server_condemns_nothing_that_can_be_read() {
    let (mut bench, _) = Bench::start(stored(7));
    let mut effect = bench.step(selected(4, 11));
    // Three times in the middle of the same batch.
    for _ in 0..3 {
        effect = bench.step(surveyed(8..=11));
        if let Effect::Commit(_) = effect {
            effect = bench.step(Input::Committed);
        }
        assert!(read(&effect).iter().all(|number| *number >= 8));
        effect = bench.step(Input::Failed(Failure::Connection));
        effect = bench.reopen(&effect, 11);
    }
    let mut taken = Vec::new();
    let mut listed = surveyed(8..=11);
    for _ in 0..40 {
        effect = match &effect {
            Effect::Survey { after } => {
                let open = (8..=11).filter(|number| {
                    after.is_above(uid(*number)) || after.gaps.contains(&uid(*number))
                });
                listed = surveyed(open);
                bench.step(listed.clone())
            }
            Effect::Read { .. } => bench.answer(&effect, whole),
            Effect::Commit(_) => {
                taken.extend(outcomes(&effect));
                bench.step(Input::Committed)
            }
            Effect::Wait { until, .. } => {
                let rest = *until - bench.now.monotonic;
                bench.pass(rest);
                bench.step(Input::Woken(Wake::Elapsed))
            }
            Effect::Examine => bench.step(selected(4, 11)),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(listed, surveyed([]));
    for number in 8..=11 {
        assert!(
            taken.contains(&(number, Outcome::Event)),
            "UID {number}: {taken:?}"
        );
    }
    assert!(
        !taken
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Quarantined(_)))
    );
}

#[test]
fn a_message_that_ends_the_connection_three_times_is_quarantined_and_others_go_on() {
    let (mut bench, _) = Bench::start(stored(7));
    let mut effect = bench.step(selected(4, 10));
    let (mut taken, mut losses, mut open) = (Vec::new(), 0, vec![8, 9, 10]);
    for _ in 0..80 {
        effect = match &effect {
            Effect::Survey { .. } => bench.step(surveyed(open.clone())),
            Effect::Read { .. } if read(&effect).contains(&9) => {
                losses += 1;
                let pause = bench.step(Input::Failed(Failure::Connection));
                bench.reopen(&pause, 10)
            }
            Effect::Read { .. } => bench.answer(&effect, whole),
            Effect::Commit(_) => {
                taken.extend(outcomes(&effect));
                open.retain(|number| {
                    !taken.iter().any(|(taken, outcome)| {
                        taken == number && !matches!(outcome, Outcome::Suspect { .. })
                    })
                });
                bench.step(Input::Committed)
            }
            Effect::Wait { until, .. } => {
                let rest = *until - bench.now.monotonic;
                bench.pass(rest);
                bench.step(Input::Woken(Wake::Elapsed))
            }
            Effect::Examine => bench.step(selected(4, 10)),
            other => panic!("{other:?}"),
        };
    }
    let poison = Outcome::Quarantined(Why::Poison);
    assert!(taken.contains(&(9, poison)), "{taken:?}");
    assert_eq!(losses, 4, "the batch once, alone three times");
    let place = |what: (u32, Outcome)| taken.iter().position(|taken| *taken == what);
    assert!(
        place((10, Outcome::Event)) < place((9, poison)),
        "the next mail does not wait"
    );
}

#[test]
fn after_a_crash_a_strike_is_stored_before_each_reading() {
    let unclean = Stored {
        unclean: true,
        ..stored(7)
    };
    let (mut bench, _) = Bench::start(unclean);
    bench.step(selected(4, 9));
    let effect = bench.step(surveyed(8..=9));
    assert_eq!(outcomes(&effect), [(8, Outcome::Suspect { tries: 1 })]);
    assert_eq!(
        commit(&effect).cursor,
        cursor(7),
        "a mark does not move the cursor"
    );
    let effect = bench.step(Input::Committed);
    assert_eq!(read(&effect), [8]);
}

#[test]
fn a_process_that_died_three_times_over_a_message_quarantines_it_unread() {
    let suspect = Stored {
        unclean: true,
        suspects: vec![(uid(8), 3)],
        ..stored(7)
    };
    let (mut bench, _) = Bench::start(suspect);
    bench.step(selected(4, 8));
    let effect = bench.step(surveyed([8]));
    assert_eq!(outcomes(&effect), [(8, Outcome::Quarantined(Why::Poison))]);
    assert_eq!(commit(&effect).cursor.last, Some(uid(8)));
}

#[test]
fn a_uid_that_fetch_does_not_mention_vanishes_only_when_a_survey_says_so() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 9));
    let effect = bench.step(surveyed(8..=9));
    let missing = |number| {
        if number == 8 {
            Reply::Missing
        } else {
            whole(number)
        }
    };
    let effect = bench.answer(&effect, missing);
    let expected = [(8, Outcome::Suspect { tries: 0 }), (9, Outcome::Event)];
    assert_eq!(outcomes(&effect), expected);
    assert_eq!(commit(&effect).cursor.gaps, uids([8]));
    let effect = bench.step(Input::Committed);
    assert!(matches!(effect, Effect::Survey { .. }));
    let effect = bench.step(surveyed([]));
    assert_eq!(outcomes(&effect), [(8, Outcome::Vanished)]);
    assert!(commit(&effect).proven);
}

#[test]
fn an_unreadable_answer_is_read_again_alone_and_then_quarantined() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 9));
    let effect = bench.step(surveyed(8..=9));
    let odd = |number| {
        if number == 8 {
            Reply::Unreadable
        } else {
            whole(number)
        }
    };
    let effect = bench.answer(&effect, odd);
    assert_eq!(outcomes(&effect)[1], (9, Outcome::Event));
    bench.step(Input::Committed);
    let effect = bench.step(surveyed([8]));
    assert_eq!(read(&effect), [8]);
    let effect = bench.answer(&effect, |_| Reply::Unreadable);
    assert_eq!(
        outcomes(&effect),
        [(8, Outcome::Quarantined(Why::Unparseable))]
    );
}

#[test]
fn one_unanswered_item_is_unreadable_and_never_gone() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 8));
    bench.step(surveyed([8]));
    let effect = bench.step(Input::Read(Vec::new()));
    assert_eq!(outcomes(&effect), [(8, Outcome::Suspect { tries: 0 })]);
}

#[test]
fn what_is_asked_for_is_read_again_even_from_before_first_sight() {
    let mut state = stored(7);
    state.cursor = Some(Cursor {
        floor: Uid::new(3),
        ..cursor(7)
    });
    let (mut bench, _) = Bench::start(state);
    bench.step(selected(4, 7));
    bench.step(surveyed([]));
    let order = Order::Reread(uids([2, 5, 90]));
    let effect = bench.step(Input::Woken(Wake::Order(order)));
    assert_eq!(commit(&effect).cursor.gaps, uids([2, 5]));
    let effect = bench.step(Input::Committed);
    assert!(matches!(effect, Effect::Survey { .. }));
    let effect = bench.step(surveyed([2, 5]));
    let effect = bench.answer(&effect, whole);
    assert_eq!(outcomes(&effect), [(2, Outcome::Event)]);
    let effect = bench.step(Input::Committed);
    let effect = bench.answer(&effect, whole);
    assert_eq!(outcomes(&effect), [(5, Outcome::Event)]);
    assert_eq!(commit(&effect).cursor.last, Some(uid(7)));
}

#[test]
fn a_refused_batch_is_read_in_smaller_ones_and_nothing_is_taken_for_gone() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 11));
    let effect = bench.step(surveyed(8..=11));
    assert_eq!(read(&effect), [8, 9, 10, 11]);
    let effect = bench.step(Input::Failed(Failure::Refused));
    assert_eq!(read(&effect), [8], "the same session, one at a time");
    let effect = bench.answer(&effect, whole);
    assert_eq!(outcomes(&effect), [(8, Outcome::Event)]);
    assert_eq!(commit(&effect).cursor.gaps, []);
}
