//! What ends an event, and what does not.

use std::time::Duration;

use super::super::{
    Attempt, Class, Failure, RetryAfter,
    classify::Control,
    health::{Allowed, Change, DeadReason, Judgement, Owed, State, Verdict},
};
use super::{START, answered, at, fresh, health, judge, next};
use crate::{
    backoff::Chance,
    time::{Monotonic, Now},
};

#[test]
fn every_outcome_speaks_of_the_event_or_of_the_endpoint() {
    let rows: &[(&[u16], Class)] = &[
        (&[200, 201, 202, 204, 299], Class::Delivered),
        (&[400, 413, 415, 422], Class::Refused),
        (
            &[
                300, 301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 410, 429,
            ],
            Class::Trouble,
        ),
        (
            &[
                402, 406, 408, 409, 411, 412, 414, 418, 425, 431, 451, 500, 501, 502, 503, 504,
                511, 599,
            ],
            Class::Failing,
        ),
        (&[100, 103, 600, 999], Class::Failing),
    ];
    for (statuses, class) in rows {
        for status in *statuses {
            assert_eq!(answered(*status).class(), *class, "{status}");
        }
    }
    for (failure, class) in [
        (Failure::Dns, Class::Trouble),
        (Failure::Connect, Class::Trouble),
        (Failure::Tls, Class::Trouble),
        (Failure::AddressRefused, Class::Trouble),
        (Failure::Settings, Class::Trouble),
        (Failure::ResetBefore, Class::Trouble),
        (Failure::ResetAfter, Class::Failing),
        (Failure::Timeout, Class::Failing),
        (Failure::Unsendable, Class::Failing),
        (Failure::Unfit, Class::Refused),
    ] {
        assert_eq!(Attempt::Failed(failure).class(), class, "{failure:?}");
        assert!(Attempt::OUTCOMES.contains(&Attempt::Failed(failure).outcome()));
    }
    for status in 0..=999 {
        assert!(
            Attempt::OUTCOMES.contains(&answered(status).outcome()),
            "{status}"
        );
    }
}

#[test]
fn whatever_speaks_of_the_endpoint_opens_the_breaker_at_once_and_costs_the_event_nothing() {
    for attempt in [301, 401, 403, 404, 405, 407, 410, 429]
        .map(answered)
        .into_iter()
        .chain(
            [
                Failure::Dns,
                Failure::Connect,
                Failure::Tls,
                Failure::AddressRefused,
                Failure::ResetBefore,
            ]
            .map(Attempt::Failed),
        )
    {
        let mut health = health();
        let owed = Owed {
            refusals: 2,
            refused_since: Some(START),
            own_time: Duration::from_secs(10 * 24 * 3600),
            ..fresh(1)
        };
        let judged = judge(&mut health, &owed, attempt, 10);
        assert_eq!(judged.change, Some(Change::Opened), "{attempt:?}");
        assert_eq!(next(owed, judged.verdict), owed, "{attempt:?}");
        assert_eq!(
            health.allowed(at(10).monotonic, 0),
            Allowed::ProbeAt(at(12).monotonic)
        );
    }
}

#[test]
fn five_different_events_failing_in_a_row_are_the_endpoints_trouble() {
    let mut health = health();
    for (delivery, status) in [(1, 500), (2, 422), (3, 503), (4, 400)] {
        assert_eq!(
            judge(&mut health, &fresh(delivery), answered(status), 1).change,
            None
        );
    }
    assert_eq!(
        judge(&mut health, &fresh(1), answered(500), 2).change,
        None,
        "the same event again is not a fifth"
    );
    assert_eq!(
        judge(&mut health, &fresh(5), Attempt::Failed(Failure::Timeout), 3).change,
        Some(Change::Opened)
    );
}

#[test]
fn an_acceptance_in_between_starts_the_row_anew() {
    let mut health = health();
    for delivery in 1..=4 {
        judge(&mut health, &fresh(delivery), answered(500), 1);
    }
    judge(&mut health, &fresh(9), answered(200), 2);
    for delivery in 1..=4 {
        assert_eq!(
            judge(&mut health, &fresh(delivery), answered(500), 3).change,
            None
        );
    }
    assert_eq!(health.state(), State::Closed);
}

/// Tries `owed` every `every` seconds until it is dead or `until` has come; `others` are accepted
/// between the tries where it says so.
fn suffer(attempt: Attempt, every: u64, until: u64, others: bool) -> Option<(u64, DeadReason)> {
    let mut health = health();
    let mut owed = fresh(1);
    let mut other = 1_000;
    for seconds in (0..until).step_by(usize::try_from(every).unwrap()) {
        let judged = judge(&mut health, &owed, attempt, seconds);
        match judged.verdict {
            Verdict::Dead(reason) => return Some((seconds, reason)),
            verdict => owed = next(owed, verdict),
        }
        if others {
            other += 1;
            judge(
                &mut health,
                &fresh(other),
                answered(204),
                seconds + every / 2,
            );
        }
    }
    None
}

#[test]
fn a_refused_event_ends_after_three_times_over_an_hour_while_others_are_accepted() {
    for status in [400, 413, 415, 422] {
        let (ended, reason) = suffer(answered(status), 60, 86_400, true).unwrap();
        assert_eq!(reason, DeadReason::Refused);
        assert!((3600..3800).contains(&ended), "{status}: {ended}");
        let (ended, _) = suffer(answered(status), 2400, 86_400, true).unwrap();
        assert!(
            (4800..=9600).contains(&ended),
            "three times at least: {ended}"
        );
        assert_eq!(
            suffer(answered(status), 60, 30 * 86_400, false),
            None,
            "nothing else was accepted"
        );
    }
}

#[test]
fn an_event_that_alone_keeps_failing_ends_after_its_own_time() {
    for attempt in [
        answered(500),
        answered(409),
        Attempt::Failed(Failure::Timeout),
        Attempt::Failed(Failure::ResetAfter),
    ] {
        let (ended, reason) = suffer(attempt, 600, 20 * 86_400, true).unwrap();
        assert_eq!(reason, DeadReason::GivenUp);
        let days = Duration::from_secs(ended).as_secs_f64() / 86_400.0;
        assert!((5.0..5.1).contains(&days), "{attempt:?}: {days}");
        assert_eq!(suffer(attempt, 600, 60 * 86_400, false), None);
    }
}

#[test]
fn an_outage_is_not_own_time_of_what_failed_before_it() {
    let mut health = health();
    let mut owed = fresh(1);
    owed = next(owed, judge(&mut health, &owed, answered(500), 0).verdict);
    judge(&mut health, &fresh(2), answered(200), 10);
    owed = next(owed, judge(&mut health, &owed, answered(500), 20).verdict);
    assert_eq!(
        owed.own_time,
        Duration::ZERO,
        "one acceptance proves no time yet"
    );
    judge(&mut health, &fresh(3), answered(200), 30);
    owed = next(owed, judge(&mut health, &owed, answered(500), 40).verdict);
    assert_eq!(
        owed.own_time,
        Duration::from_secs(20),
        "from the acceptance at 10 to that at 30"
    );

    let month = 30 * 86_400;
    judge(
        &mut health,
        &fresh(4),
        Attempt::Failed(Failure::Connect),
        50,
    );
    judge(&mut health, &fresh(4), answered(200), 50 + month);
    owed = next(
        owed,
        judge(&mut health, &owed, answered(500), 51 + month).verdict,
    );
    assert_eq!(owed.own_time, Duration::from_secs(20));
    judge(&mut health, &fresh(5), answered(200), 60 + month);
    owed = next(
        owed,
        judge(&mut health, &owed, answered(500), 61 + month).verdict,
    );
    assert_eq!(
        owed.own_time,
        Duration::from_secs(29),
        "and from its failure at 51 to the acceptance at 60"
    );
}

#[test]
fn a_jump_of_the_wall_clock_condemns_nothing() {
    let mut health = health();
    let mut owed = fresh(1);
    let mut wall = START;
    for round in 0..50u64 {
        wall = wall + Duration::from_secs(86_400);
        let now = Now {
            monotonic: Monotonic(round * 20_000),
            wall,
        };
        let verdict = health.judge(&owed, answered(422), now, Chance(0.5)).verdict;
        owed = next(owed, verdict);
        health.judge(
            &fresh(1000),
            answered(200),
            Now {
                monotonic: Monotonic(round * 20_000 + 5_000),
                wall,
            },
            Chance(0.5),
        );
    }
    assert!(owed.refusals >= 3 && owed.own_time < Duration::from_secs(3600));
}

#[test]
fn a_suspended_machine_does_not_age_events_by_more_than_a_day() {
    let mut health = health();
    let owed = fresh(1);
    judge(&mut health, &fresh(2), answered(200), 0);
    let owed = next(owed, judge(&mut health, &owed, answered(500), 1).verdict);
    judge(&mut health, &fresh(3), answered(200), 90 * 86_400);
    let owed = next(
        owed,
        judge(&mut health, &owed, answered(500), 90 * 86_400 + 1).verdict,
    );
    assert!(owed.own_time <= Duration::from_secs(86_400), "{owed:?}");
}

#[test]
fn one_event_that_a_firewall_forbids_does_not_stop_the_others() {
    let mut health = health();
    let odd = fresh(1);
    assert_eq!(
        judge(&mut health, &odd, answered(403), 0).change,
        Some(Change::Opened)
    );
    assert_eq!(
        judge(&mut health, &fresh(2), answered(200), 2).change,
        Some(Change::Recovering)
    );
    let again = judge(&mut health, &odd, answered(403), 3);
    assert_eq!((again.class, again.change), (Class::Failing, None));
    assert_eq!(
        judge(&mut health, &fresh(3), answered(403), 4).change,
        Some(Change::Reopened),
        "another one is news"
    );
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut health = health();
    for delivery in 0..10_000 {
        judge(&mut health, &fresh(delivery), answered(500), 1);
        judge(&mut health, &fresh(-1), answered(200), 1);
    }
    assert!(format!("{health:?}").matches("Failing {").count() <= 4096);
}

#[test]
fn a_receiver_may_abort_one_event_and_the_others_go_on() {
    let abort = Attempt::Answered {
        status: 410,
        retry_after: RetryAfter::Absent,
        class: Class::Trouble,
        control: Control::Abort,
    };
    let mut health = health();
    let judged = judge(&mut health, &fresh(1), abort, 0);
    assert_eq!(judged.verdict, Verdict::Dead(DeadReason::Aborted));
    assert_eq!(health.state(), State::Closed);
    // Also as the answer to a probe: then the endpoint is well again.
    judge(&mut health, &fresh(2), answered(401), 1);
    assert!(matches!(health.state(), State::Open { .. }));
    let judged = judge(&mut health, &fresh(2), abort, 2);
    assert_eq!(judged.change, Some(Change::Recovering));
    // What was taken is taken.
    let taken = Attempt::Answered {
        status: 200,
        retry_after: RetryAfter::Absent,
        class: Class::Delivered,
        control: Control::Abort,
    };
    assert_eq!(
        judge(&mut health, &fresh(3), taken, 3).verdict,
        Verdict::Delivered
    );
}

#[test]
fn an_event_that_the_format_cannot_carry_ends_at_once_and_says_nothing_of_the_endpoint() {
    let unfit = Attempt::Failed(Failure::Unfit);
    let mut health = health();
    for delivery in 0..20 {
        let judged = judge(&mut health, &fresh(delivery), unfit, 0);
        assert_eq!(judged.verdict, Verdict::Dead(DeadReason::Unfit));
        assert_eq!(health.state(), State::Closed);
    }
    // As a probe it has proven nothing: the next one may follow at once.
    judge(&mut health, &fresh(21), answered(401), 1);
    health.started(22);
    judge(&mut health, &fresh(22), unfit, 60);
    assert!(matches!(health.state(), State::Open { .. }));
    assert_eq!(health.allowed(at(60).monotonic, 0), Allowed::Now(1));
}

fn aside(judgement: Judgement) -> bool {
    match judgement.verdict {
        Verdict::Retry { aside, .. } => aside,
        verdict @ (Verdict::Delivered | Verdict::Dead(_)) => panic!("{verdict:?}"),
    }
}

#[test]
fn an_event_steps_aside_after_its_time_and_an_outage_is_none_of_it() {
    let mut health = health();
    let hour = health.policy().order_block_max.as_secs();
    for seconds in [0, hour / 2] {
        let judged = judge(&mut health, &fresh(1), answered(500), seconds);
        assert!(!aside(judged), "after {seconds} s");
    }
    // Trouble of the endpoint, for longer than the whole time.
    judge(&mut health, &fresh(1), answered(401), hour / 2);
    let judged = judge(&mut health, &fresh(1), answered(500), 3 * hour);
    assert!(!aside(judged));
    let recovered = 3 * hour + 1;
    judge(&mut health, &fresh(2), answered(200), recovered);
    // What it had held others up before the trouble counts.
    for (seconds, expected) in [(hour / 2 - 1, false), (hour / 2, true)] {
        let judged = judge(&mut health, &fresh(1), answered(500), recovered + seconds);
        assert_eq!(aside(judged), expected, "{seconds} s after the recovery");
    }
}

#[test]
fn an_endpoint_that_throttles_now_and_then_does_not_let_an_event_hold_up_others_for_ever() {
    let mut health = health();
    let hour = health.policy().order_block_max.as_secs();
    let mut stepped_aside_at = None;
    for minute in 0..300 {
        let now = minute * 60;
        if aside(judge(&mut health, &fresh(1), answered(500), now)) {
            stepped_aside_at = Some(now);
            break;
        }
        if minute % 20 == 19 {
            judge(&mut health, &fresh(2), answered(429), now + 10);
        }
        judge(&mut health, &fresh(3), answered(200), now + 20);
    }
    let at = stepped_aside_at.expect("it holds up others for ever");
    assert!((hour..hour + 300).contains(&at), "{at}");
}
