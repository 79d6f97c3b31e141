//! The gate of a mailbox: what one folder meets counts once for all of them.

use std::time::Duration;

use postrider_core::{
    backoff::Chance,
    gate::{Admission, Cause, Gate, GatePolicy, Permit},
    time::Monotonic,
};

const NEVER: Chance = Chance(0.0);
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Monotonic {
    Monotonic(seconds * 1000)
}

fn gate() -> Gate {
    Gate::new(GatePolicy::default())
}

fn permit(gate: &mut Gate, now: Monotonic) -> Permit {
    match gate.may_open(now) {
        Admission::Permit(permit) => permit,
        Admission::Until(until) => panic!("no permit at {now:?}, but at {until:?}"),
    }
}

fn shut(gate: &mut Gate, now: Monotonic) -> Monotonic {
    match gate.may_open(now) {
        Admission::Until(until) => until,
        Admission::Permit(_) => panic!("a permit at {now:?}"),
    }
}

#[test]
fn a_login_that_was_never_proven_is_tried_by_one_folder_at_a_time() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    assert!(shut(&mut gate, at(0)) <= at(1));
    gate.opened(first, at(1));
    let second = permit(&mut gate, at(1));
    let third = permit(&mut gate, at(1));
    gate.opened(second, at(2));
    gate.opened(third, at(2));
    assert_eq!(gate.sessions(), 3);
}

#[test]
fn a_refused_login_backs_off_in_slow_steps_and_stays_at_the_last() {
    let mut gate = gate();
    let mut now = at(0);
    for minutes in [1, 2, 5, 15, 30, 30, 30] {
        let permit = permit(&mut gate, now);
        gate.refused(permit, now, NEVER);
        assert_eq!(
            gate.shut_until(now),
            Some((now + MINUTE * minutes, Cause::Refused))
        );
        assert_eq!(shut(&mut gate, now), now + MINUTE * minutes);
        now = now + MINUTE * minutes;
    }
    assert_eq!(gate.refusals(), 7);
}

#[test]
fn a_mailbox_that_was_let_in_before_is_tried_again_soon_at_first() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    gate.opened(first, at(0));
    gate.closed(at(1));
    let mut now = at(1);
    for seconds in [5, 10, 14, 60, 120, 300, 900, 1800, 1800] {
        let wait = Duration::from_secs(seconds);
        let permit = permit(&mut gate, now);
        gate.refused(permit, now, NEVER);
        assert_eq!(gate.shut_until(now), Some((now + wait, Cause::Refused)));
        now = now + wait;
    }
}

#[test]
fn logins_of_several_folders_that_fail_together_count_once() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    gate.opened(first, at(0));
    let second = permit(&mut gate, at(1));
    let third = permit(&mut gate, at(1));
    gate.refused(second, at(2), NEVER);
    gate.refused(third, at(3), NEVER);
    assert_eq!(gate.refusals(), 1);
    assert_eq!(gate.shut_until(at(3)), Some((at(7), Cause::Refused)));
}

#[test]
fn a_login_from_before_a_refusal_proves_nothing_after_it() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    gate.opened(first, at(0));
    let slow = permit(&mut gate, at(1));
    let quick = permit(&mut gate, at(1));
    gate.refused(quick, at(2), NEVER);
    gate.opened(slow, at(3));
    let again = permit(&mut gate, at(100));
    assert!(
        shut(&mut gate, at(100)) < at(101),
        "one probe at a time after a refusal"
    );
    gate.refused(again, at(100), NEVER);
    assert_eq!(gate.refusals(), 2);
}

#[test]
fn trouble_is_forgotten_only_after_a_stable_time() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    gate.refused(first, at(0), NEVER);
    let short = permit(&mut gate, at(60));
    gate.opened(short, at(60));
    gate.closed(at(90));
    let refused = permit(&mut gate, at(90));
    gate.refused(refused, at(90), NEVER);
    assert_eq!(gate.refusals(), 2, "thirty seconds prove nothing");
    let long = permit(&mut gate, at(300));
    gate.opened(long, at(300));
    gate.closed(at(900));
    assert_eq!(gate.refusals(), 0);
}

#[test]
fn another_credential_is_tried_at_once_and_a_throttle_stands_all_the_same() {
    let mut gate = gate();
    let refused = permit(&mut gate, at(0));
    gate.refused(refused, at(0), NEVER);
    gate.credential_changed();
    let fresh = permit(&mut gate, at(1));
    gate.throttled(Some(fresh), Some(MINUTE * 3), at(1), NEVER);
    gate.credential_changed();
    assert_eq!(shut(&mut gate, at(2)), at(1) + MINUTE * 3);
}

#[test]
fn a_hint_is_obeyed_and_bounded() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    gate.opened(first, at(0));
    gate.throttled(None, Some(MINUTE * 10), at(1), NEVER);
    assert_eq!(
        gate.shut_until(at(1)),
        Some((at(1) + MINUTE * 10, Cause::Throttled))
    );
    let mut gate = self::gate();
    let first = permit(&mut gate, at(0));
    gate.throttled(Some(first), Some(MINUTE * 60 * 24 * 365), at(0), NEVER);
    assert_eq!(shut(&mut gate, at(0)), at(0) + MINUTE * 60);
}

#[test]
fn a_short_hint_is_taken_at_its_word_until_it_proves_wrong() {
    let mut gate = gate();
    let seconds = Duration::from_secs;
    let mut waits = Vec::new();
    let mut now = at(0);
    for _ in 0..8 {
        let permit = permit(&mut gate, now);
        gate.throttled(Some(permit), Some(seconds(2)), now, NEVER);
        let until = shut(&mut gate, now);
        waits.push(until - now);
        now = until;
    }
    assert_eq!(waits[..3], [seconds(2); 3]);
    assert!(waits.is_sorted() && waits[7] > MINUTE, "{waits:?}");
    // Those who were told the same come back one after the other.
    let mut gate = self::gate();
    let permit = permit(&mut gate, at(0));
    gate.throttled(Some(permit), Some(seconds(100)), at(0), Chance(1.0));
    assert_eq!(shut(&mut gate, at(0)), at(0) + seconds(110));
}

#[test]
fn a_throttle_that_every_folder_is_told_counts_once_and_repeats_grow() {
    let mut gate = gate();
    let first = permit(&mut gate, at(0));
    gate.opened(first, at(0));
    gate.limited(None, at(1), NEVER);
    let until = shut(&mut gate, at(1));
    gate.limited(None, at(2), NEVER);
    gate.throttled(None, None, at(3), NEVER);
    assert_eq!(shut(&mut gate, at(3)), until);
    let mut waits = Vec::new();
    let mut now = until;
    for _ in 0..12 {
        let permit = permit(&mut gate, now);
        gate.limited(Some(permit), now, NEVER);
        let until = shut(&mut gate, now);
        waits.push(until - now);
        now = until;
    }
    assert!(waits.is_sorted());
    assert!(waits.iter().all(|wait| *wait <= MINUTE * 30));
}

#[test]
fn the_connection_budget_counts_sessions_and_logins() {
    let mut gate = Gate::new(GatePolicy {
        connections_max: 2,
        ..GatePolicy::default()
    });
    let first = permit(&mut gate, at(0));
    gate.opened(first, at(0));
    let second = permit(&mut gate, at(1));
    shut(&mut gate, at(1));
    gate.failed(second);
    let third = permit(&mut gate, at(2));
    gate.opened(third, at(2));
    shut(&mut gate, at(3));
    gate.closed(at(4));
    let fourth = permit(&mut gate, at(4));
    gate.failed(fourth);
}

#[test]
fn a_permit_that_was_lost_does_not_shut_the_gate_for_ever() {
    let mut gate = gate();
    let _lost = permit(&mut gate, at(0));
    shut(&mut gate, at(1));
    let again = permit(&mut gate, at(601));
    gate.opened(again, at(602));
}
