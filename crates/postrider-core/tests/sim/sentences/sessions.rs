//! Sessions: failures, waits, successors and orders.

use postrider_core::token::TokenPolicy;

use super::*;

#[test]
fn a_refused_survey_is_asked_again_and_then_the_session_is_given_up() {
    let (mut bench, _) = Bench::start(stored(7));
    let effect = bench.step(selected(4, 7));
    assert!(matches!(effect, Effect::Survey { .. }));
    let effect = bench.step(Input::Failed(Failure::Refused));
    assert!(matches!(effect, Effect::Survey { .. }));
    assert_eq!(bench.step(Input::Failed(Failure::Refused)), Effect::Close);
    let effect = bench.step(Input::Closed);
    assert!(matches!(
        effect,
        Effect::Pause {
            why: PauseReason::Backoff,
            ..
        }
    ));
}

#[test]
fn a_full_store_ends_the_session_and_loses_nothing() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 8));
    let effect = bench.step(surveyed([8]));
    let effect = bench.answer(&effect, whole);
    assert_eq!(outcomes(&effect), [(8, Outcome::Event)]);
    assert_eq!(bench.step(Input::Failed(Failure::StoreFull)), Effect::Close);
    let effect = bench.step(Input::Closed);
    let Effect::Pause {
        until: Some(until),
        why: PauseReason::StoreFull,
    } = effect
    else {
        panic!("{effect:?}");
    };
    assert!(until - bench.now.monotonic <= Duration::from_secs(30));
    let effect = bench.reopen(&effect, 8);
    assert_eq!(effect, Effect::Survey { after: cursor(7) });
}

#[test]
fn backoff_grows_until_a_session_was_stable() {
    let (mut bench, _) = Bench::start(stored(7));
    let mut waits = Vec::new();
    let mut effect = bench.step(Input::Failed(Failure::Connection));
    for _ in 0..9 {
        let Effect::Pause {
            until: Some(until), ..
        } = effect
        else {
            panic!("{effect:?}");
        };
        waits.push(until - bench.now.monotonic);
        bench.reopen(&effect, 7);
        effect = bench.step(Input::Failed(Failure::Connection));
    }
    assert!(
        waits.is_sorted() && waits[8] <= Duration::from_secs(60),
        "{waits:?}"
    );
    bench.reopen(&effect, 7);
    bench.pass(Duration::from_secs(31));
    let effect = bench.step(Input::Failed(Failure::Connection));
    let Effect::Pause {
        until: Some(until), ..
    } = effect
    else {
        panic!("{effect:?}");
    };
    assert!(until - bench.now.monotonic <= Duration::from_secs(1));
}

#[test]
fn a_token_that_ran_out_is_routine_and_one_that_ends_at_once_is_not() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 7));
    bench.pass(Duration::from_secs(3_600));
    assert_eq!(
        bench.step(Input::Failed(Failure::TokenExpired)),
        Effect::Open
    );
    bench.step(selected(4, 7));
    let effect = bench.step(Input::Failed(Failure::TokenExpired));
    assert!(matches!(
        effect,
        Effect::Pause {
            why: PauseReason::Backoff,
            ..
        }
    ));
}

#[test]
fn a_successor_is_opened_before_the_token_ends_and_adopted() {
    let (mut bench, _) = Bench::start(stored(7));
    let ends = bench.now.monotonic + Duration::from_secs(3_600);
    bench.step(Input::Opened(Selected {
        uid_validity: UidValidity(4),
        uid_next: Uid::new(8),
        exists: 7,
        highest: Uid::new(7),
        session_ends: Some(ends),
    }));
    let effect = bench.step(surveyed([]));
    let Effect::Wait {
        standby_at: Some(at),
        ..
    } = effect
    else {
        panic!("{effect:?}");
    };
    let lead = ends - at;
    assert!(lead > Duration::from_secs(100) && lead <= Duration::from_secs(300));
    let effect = bench.step(Input::Woken(Wake::StandbyFailed(Failure::Connection)));
    assert!(
        matches!(effect, Effect::Survey { .. }),
        "the old session goes on"
    );
    let effect = bench.step(surveyed([]));
    assert!(matches!(
        effect,
        Effect::Wait {
            standby_at: Some(_),
            ..
        }
    ));
    assert_eq!(bench.step(Input::Woken(Wake::StandbyReady)), Effect::Adopt);
    let effect = bench.step(selected(4, 7));
    assert!(
        matches!(effect, Effect::Survey { .. }),
        "an adopted session is reconciled too"
    );
}

/// Two hundred mailboxes with one token: their successors are spread evenly, none is opened before
/// there is a newer token, and none so late that its login would be cut off.
#[test]
fn successors_of_sessions_with_one_token_are_spread_over_the_lead() {
    for minutes in [1, 10, 25, 60, 75, 24 * 60] {
        let life = Duration::from_secs(60 * minutes);
        let lead = Duration::from_secs(300).min(life / 5);
        let mut leads = Vec::new();
        for mailbox in 0..200 {
            let (mut bench, _) = Bench::start(stored(7));
            let begins = bench.now.monotonic;
            let input = Input::Opened(Selected {
                uid_validity: UidValidity(4),
                uid_next: Uid::new(8),
                exists: 7,
                highest: Uid::new(7),
                session_ends: Some(begins + life),
            });
            bench.step_with(input, f64::from(mailbox) / 200.0);
            let effect = bench.step(surveyed([]));
            let Effect::Wait {
                standby_at: Some(at),
                ..
            } = effect
            else {
                panic!("{effect:?}");
            };
            leads.push(begins + life - at);
            for chance in [0.0, 1.0] {
                let token = TokenPolicy::default().life(begins, life, None, Chance(chance));
                assert!(token.refresh_at <= at, "{minutes} min");
            }
        }
        leads.sort();
        let millisecond = Duration::from_millis(1);
        assert!(leads[0] + millisecond >= lead / 2 && leads[199] <= lead);
        let apart = leads.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.max() <= Some(lead / 400 + 2 * millisecond));
    }
}

#[test]
fn the_folder_is_examined_again_in_time() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 7));
    bench.step(surveyed([]));
    bench.pass(Duration::from_secs(1_799));
    assert!(matches!(
        bench.step(Input::Woken(Wake::Changed)),
        Effect::Survey { .. }
    ));
    let effect = bench.step(surveyed([]));
    let Effect::Wait { until, .. } = effect else {
        panic!("{effect:?}");
    };
    assert_eq!(until - bench.now.monotonic, Duration::from_secs(1));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.step(Input::Woken(Wake::Elapsed)), Effect::Examine);
}

#[test]
fn orders_at_a_wait_and_at_a_pause() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 7));
    bench.step(surveyed([]));
    assert_eq!(
        bench.step(Input::Woken(Wake::Order(Order::Pause))),
        Effect::Close
    );
    let paused = Effect::Pause {
        until: None,
        why: PauseReason::Paused,
    };
    assert_eq!(bench.step(Input::Closed), paused);
    assert_eq!(bench.step(Input::Woken(Wake::Order(Order::Resync))), paused);
    assert_eq!(
        bench.step(Input::Woken(Wake::Order(Order::Resume))),
        Effect::Open
    );
    bench.step(selected(4, 7));
    bench.step(surveyed([]));
    assert_eq!(
        bench.step(Input::Woken(Wake::Order(Order::Stop))),
        Effect::Close
    );
    assert_eq!(bench.step(Input::Closed), Effect::Finish);
}

#[test]
fn an_answer_to_nothing_that_was_asked_is_a_lost_connection() {
    let (mut bench, _) = Bench::start(stored(7));
    bench.step(selected(4, 7));
    let effect = bench.step(Input::Committed);
    assert!(matches!(
        effect,
        Effect::Pause {
            why: PauseReason::Backoff,
            ..
        }
    ));
    let mut watch = Watch::new(Arc::new(policy()));
    let now = Now::default();
    assert_eq!(
        watch.step(Input::Committed, now, Chance(0.0)),
        Effect::Finish
    );
}
