//! Waits, probes and the way back.

use std::time::Duration;

use super::super::{
    Attempt, Failure, RetryAfter, RetryPolicy, Skew,
    health::{Allowed, Change, EndpointHealth, Owed, State},
    is_due, parse_http_date, skew,
};
use super::{START, answered, at, fresh, health, judge, wait};
use crate::{
    backoff::Chance,
    time::{Now, Wall},
};

#[test]
fn probes_begin_at_two_seconds_and_stay_within_fifteen_however_long_it_lasts() {
    let mut health = health();
    judge(&mut health, &fresh(1), answered(404), 0);
    let mut now = at(0).monotonic;
    let mut waits = Vec::new();
    while now < at(7 * 86_400).monotonic {
        let Allowed::ProbeAt(probe) = health.allowed(now, 0) else {
            panic!("not waiting for a probe")
        };
        waits.push(probe - now);
        now = probe;
        assert_eq!(health.allowed(now, 0), Allowed::Now(1));
        health.started(2);
        assert_eq!(health.allowed(now, 0), Allowed::Probing);
        let now = Now {
            monotonic: now,
            wall: START,
        };
        let judged = health.judge(
            &fresh(2),
            Attempt::Failed(Failure::Connect),
            now,
            Chance(1.0),
        );
        assert_eq!(judged.change, None, "told once");
    }
    assert_eq!(waits[0], Duration::from_secs(2));
    assert_eq!(*waits.iter().max().unwrap(), Duration::from_secs(15));
    assert!(waits.is_sorted());
}

#[test]
fn a_recovery_ramps_up_and_ends_closed() {
    let mut health = EndpointHealth::new(RetryPolicy::default(), 10);
    judge(&mut health, &fresh(1), Attempt::Failed(Failure::Connect), 0);
    assert_eq!(
        judge(&mut health, &fresh(1), answered(200), 60).change,
        Some(Change::Recovering)
    );
    let mut allowed = Vec::new();
    let mut delivery = 10;
    let after = loop {
        let Allowed::Now(count) = health.allowed(at(60).monotonic, 0) else {
            panic!("not recovering")
        };
        allowed.push(count);
        let mut change = None;
        for _ in 0..count {
            delivery += 1;
            change = judge(&mut health, &fresh(delivery), answered(200), 61).change;
        }
        if let Some(Change::Closed { after }) = change {
            break after;
        }
        assert_eq!(change, None);
    };
    assert_eq!(allowed, [2, 4, 8, 10]);
    assert_eq!(after, Duration::from_secs(61));
}

#[test]
fn trouble_while_recovering_is_the_same_trouble() {
    let mut health = health();
    judge(&mut health, &fresh(1), answered(401), 0);
    judge(&mut health, &fresh(1), answered(200), 100);
    assert_eq!(
        judge(&mut health, &fresh(2), answered(401), 101).change,
        Some(Change::Reopened)
    );
    let State::Open { since, .. } = health.state() else {
        panic!("not open")
    };
    assert_eq!(since, at(0));
}

#[test]
fn a_recovery_with_nothing_left_to_send_ends_closed() {
    let mut health = health();
    assert_eq!(health.drained(at(0)), None);
    judge(&mut health, &fresh(1), answered(410), 0);
    assert_eq!(
        health.drained(at(1)),
        None,
        "an open breaker does not close by having nothing to do"
    );
    judge(&mut health, &fresh(1), answered(200), 9);
    assert_eq!(
        health.drained(at(10)),
        Some(Change::Closed {
            after: Duration::from_secs(10)
        })
    );
}

#[test]
fn retry_after_is_obeyed_and_clamped() {
    let date = Attempt::answered(
        429,
        RetryAfter::parse(Some("Tue, 22 Sep 2026 00:00:00 GMT")),
    );
    assert!(matches!(
        date,
        Attempt::Answered {
            retry_after: RetryAfter::At(_),
            ..
        }
    ));
    for (status, header, expected) in [
        (429, Some("120"), Some(120)),
        (429, Some(" 120 "), Some(120)),
        (503, Some("30"), Some(30)),
        (429, Some("0"), Some(0)),
        (503, Some("86400"), Some(3600)),
        (429, Some("999999999999999999999999"), Some(3600)),
        (429, Some("Fri, 31 Dec 9999 23:59:59 GMT"), Some(3600)),
        (429, Some("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0)),
        (503, Some("Fri, 31 Dec 9999 23:59:59 GMT"), Some(3600)),
        (429, Some("Fri, 31 Dec 99999 23:59:59 GMT"), None),
        (429, Some("Sat, 01 Jan 0000 00:00:00 GMT"), None),
        (429, Some("-5"), None),
        (429, Some("+5"), None),
        (429, Some("1.5"), None),
        (429, Some("1e3"), None),
        (429, Some("0x10"), None),
        (429, Some("120, 240"), None),
        (429, Some("120s"), None),
        (429, Some("\u{0661}\u{0662}"), None),
        (429, Some("soon"), None),
        (429, Some(""), None),
        (429, None, None),
        (500, Some("120"), None),
        (200, Some("120"), None),
    ] {
        let attempt = Attempt::answered(status, RetryAfter::parse(header));
        let asked = attempt.asked_wait(START, Duration::from_secs(3600));
        assert_eq!(
            asked,
            expected.map(Duration::from_secs),
            "{status} {header:?}"
        );
    }
}

#[test]
fn a_date_to_retry_after_may_have_any_of_its_three_forms() {
    // RFC 9110 section 5.6.7: the last two are obsolete and have to be understood.
    let in_two_minutes = START + Duration::from_secs(120);
    for form in [
        "Mon, 21 Sep 2026 14:15:20 GMT",
        "Monday, 21-Sep-26 14:15:20 GMT",
        "Mon Sep 21 14:15:20 2026",
    ] {
        assert_eq!(
            RetryAfter::parse(Some(form)),
            RetryAfter::At(in_two_minutes),
            "{form}"
        );
    }
}

#[test]
fn a_date_to_retry_after_is_meant_by_the_receivers_clock() {
    let wait = |date: Option<Wall>| {
        let at = RetryAfter::At(START + Duration::from_secs(30));
        Attempt::answered(503, at.by_clock(date)).asked_wait(START, Duration::from_secs(3600))
    };
    assert_eq!(wait(None), Some(Duration::from_secs(30)));
    // Half an hour behind ours, and half an hour ahead.
    let behind = START - Duration::from_secs(1800);
    assert_eq!(wait(Some(behind)), Some(Duration::from_secs(1830)));
    let ahead = START + Duration::from_secs(1800);
    assert_eq!(wait(Some(ahead)), Some(Duration::ZERO));
    for other in [
        RetryAfter::Seconds(5),
        RetryAfter::Nonsense,
        RetryAfter::Absent,
    ] {
        assert_eq!(other.by_clock(Some(ahead)), other);
    }
}

#[test]
fn retry_after_moves_the_probe_of_an_endpoint_and_the_retry_of_one_event() {
    let throttled = Attempt::answered(429, RetryAfter::Seconds(120));
    let mut health = health();
    assert_eq!(
        wait(judge(&mut health, &fresh(1), throttled, 0)),
        Duration::from_secs(120)
    );
    assert_eq!(
        health.allowed(at(1).monotonic, 0),
        Allowed::ProbeAt(at(120).monotonic)
    );
    let mut health = self::health();
    let unavailable = Attempt::answered(503, RetryAfter::Seconds(90));
    assert_eq!(
        wait(judge(&mut health, &fresh(1), unavailable, 0)),
        Duration::from_secs(90)
    );
    assert_eq!(
        health.state(),
        State::Closed,
        "one event's 503 may be its own"
    );
}

#[test]
fn waits_follow_the_schedule_of_own_time_and_are_jittered() {
    let policy = RetryPolicy::default();
    let seconds = |own: u64| policy.wait(Duration::from_secs(own), Chance(1.0)).as_secs();
    assert_eq!(
        [0, 4, 5, 34, 35, 154, 155, 800, 3000, 7000, 400_000].map(seconds),
        [5, 5, 30, 30, 120, 120, 600, 1800, 3600, 7200, 7200]
    );
    assert_eq!(
        policy.wait(Duration::ZERO, Chance(0.0)),
        Duration::from_secs(1)
    );
    assert_eq!(
        policy.wait(Duration::from_secs(400_000), Chance(0.25)),
        Duration::from_secs(1800)
    );
}

#[test]
fn what_fails_while_nothing_else_is_accepted_is_tried_soon() {
    let mut health = health();
    let owed = Owed {
        own_time: Duration::from_secs(400_000),
        ..fresh(1)
    };
    for seconds in [0, 60, 200] {
        assert!(wait(judge(&mut health, &owed, answered(500), seconds)) <= Duration::from_secs(15));
    }
    judge(&mut health, &fresh(2), answered(200), 201);
    assert_eq!(
        wait(judge(&mut health, &owed, answered(500), 202)),
        Duration::from_secs(7200)
    );
}

#[test]
fn a_due_time_further_ahead_than_the_longest_wait_is_due_now() {
    let policy = RetryPolicy::default();
    assert_eq!(policy.longest_wait(), Duration::from_secs(7200));
    for (ahead, due) in [
        (-5, true),
        (0, true),
        (1, false),
        (7200, false),
        (7201, true),
        (864_000, true),
    ] {
        assert_eq!(
            is_due(Wall(START.0 + ahead * 1000), START, policy.longest_wait()),
            due,
            "{ahead}"
        );
    }
}

#[test]
fn a_receivers_clock_is_told_only_when_it_is_more_than_two_minutes_off() {
    let sent = START;
    let answered = START + Duration::from_secs(10);
    let date = |seconds: i64| skew(Wall(START.0 + seconds * 1000), sent, answered);
    assert_eq!(date(0), None);
    assert_eq!(date(-120), None);
    assert_eq!(date(130), None);
    assert!(matches!(date(-122), Some(Skew::Ahead(by)) if by.as_secs() == 121));
    assert_eq!(date(131), Some(Skew::Behind(Duration::from_secs(121))));
    assert_eq!(
        parse_http_date("Thu, 01 Jan 1970 00:00:01 GMT"),
        Some(Wall(1000))
    );
    assert_eq!(parse_http_date("yesterday"), None);
}

#[test]
fn attempts_from_before_the_trouble_do_not_move_the_probes() {
    let mut health = health();
    for delivery in 1..=3 {
        health.started(delivery);
    }
    health.judge(&fresh(1), answered(404), at(0), Chance(1.0));
    for (delivery, seconds) in [(2, 1), (3, 1)] {
        let judged = health.judge(&fresh(delivery), answered(404), at(seconds), Chance(1.0));
        assert_eq!(wait(judged), Duration::from_secs(1));
    }
    assert_eq!(
        health.allowed(at(1).monotonic, 0),
        Allowed::ProbeAt(at(2).monotonic)
    );
    assert_eq!(
        health.allowed(at(2).monotonic, 4),
        Allowed::Now(0),
        "every slot is taken"
    );
}
