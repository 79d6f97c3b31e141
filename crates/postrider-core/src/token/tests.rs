use super::*;
use crate::time::Wall;

const NO_SPREAD: Chance = Chance(0.0);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> Monotonic {
    Monotonic(seconds * 1000)
}

fn mailbox(key: &str) -> MailboxKey {
    MailboxKey::new(key)
}

fn cache() -> Cache {
    Cache::new(TokenPolicy::default())
}

/// A cache whose token of one hour was asked for at `now`.
fn with_token(now: Monotonic) -> (Cache, Generation) {
    let mut cache = cache();
    let generation = refill(&mut cache, now);
    (cache, generation)
}

fn refill(cache: &mut Cache, now: Monotonic) -> Generation {
    assert_eq!(cache.ask(now), Ask::Wait);
    let flight = cache.start(now).expect("a request is due");
    match cache.granted(&flight, now, secs(3600), None, NO_SPREAD) {
        Granted::Token { generation, .. } => generation,
        Granted::Stale => panic!("its own flight"),
    }
}

#[test]
fn a_token_is_replaced_at_the_earliest_of_hint_eighty_percent_and_five_minutes_ahead() {
    let table = [
        // expires_in, refresh_in, refresh at, usable until
        (3600, None, 2880, 3540),
        (3600, Some(1800), 1800, 3540),
        (3600, Some(3500), 2880, 3540),
        (3600, Some(0), 360, 3540),
        (86_400, Some(43_200), 43_200, 86_340),
        (1200, None, 900, 1140),
        (600, None, 300, 540),
        (300, None, 150, 270),
        (10, None, 5, 9),
        (10_000_000, None, 138_240, 172_740),
    ];
    for (expires_in, refresh_in, refresh_at, usable_until) in table {
        let life = TokenPolicy::default().life(
            at(1000),
            secs(expires_in),
            refresh_in.map(secs),
            NO_SPREAD,
        );
        assert_eq!(
            life.refresh_at,
            at(1000 + refresh_at),
            "expires_in {expires_in}, refresh_in {refresh_in:?}"
        );
        assert_eq!(
            life.usable_until,
            at(1000 + usable_until),
            "expires_in {expires_in}"
        );
    }
}

#[test]
fn the_spread_only_ever_moves_a_refresh_ahead() {
    let life = |chance| {
        TokenPolicy::default()
            .life(at(0), secs(3600), None, Chance(chance))
            .refresh_at
    };
    assert_eq!(life(0.0), at(2880));
    assert_eq!(life(1.0), at(2736));
    assert!(life(0.5) < life(0.4));
}

#[test]
fn waits_after_failures() {
    let half = Chance(0.0);
    let full = Chance(1.0);
    let outage = |retry_after: Option<u64>| Failure::Outage {
        retry_after: retry_after.map(secs),
    };
    let throttled = |retry_after: Option<u64>| Failure::Throttled {
        retry_after: retry_after.map(secs),
    };
    let table = [
        (outage(None), 1, half, 500),
        (outage(None), 1, full, 1000),
        (outage(None), 3, full, 4000),
        (outage(None), 30, full, 15_000),
        (outage(Some(120)), 1, full, 120_000),
        (outage(Some(0)), 9, full, 15_000),
        (throttled(Some(60)), 1, half, 60_000),
        (throttled(None), 1, half, 60_000),
        (throttled(Some(0)), 1, half, 1000),
        (throttled(Some(1_000_000)), 1, half, 3_600_000),
        (Failure::Refused, 1, half, 60_000),
        (Failure::Refused, 1, full, 120_000),
        (Failure::Refused, 20, full, 900_000),
        (Failure::Unsettled, 1, half, 5_000),
        (Failure::Unsettled, 2, full, 20_000),
        (Failure::Unsettled, 20, full, 120_000),
    ];
    for (failure, failures, chance, wait_ms) in table {
        let wait = TokenPolicy::default().wait(failure, failures, chance);
        assert_eq!(
            wait,
            Duration::from_millis(wait_ms),
            "{failure:?} number {failures}"
        );
    }
}

#[test]
fn everybody_waits_for_one_request() {
    let mut cache = cache();
    assert_eq!(cache.start(at(0)), None, "nobody asked");
    assert_eq!(cache.ask(at(0)), Ask::Wait);
    let flight = cache.start(at(0)).unwrap();
    for _ in 0..1000 {
        assert_eq!(cache.ask(at(1)), Ask::Wait);
        assert_eq!(cache.start(at(1)), None);
    }
    let granted = cache.granted(&flight, at(0), secs(3600), None, NO_SPREAD);
    assert_eq!(
        granted,
        Granted::Token {
            generation: Generation(1),
            recovered: None
        }
    );
    assert_eq!(cache.ask(at(2)), Ask::Use(Generation(1)));
    assert_eq!(
        cache.granted(&flight, at(0), secs(3600), None, NO_SPREAD),
        Granted::Stale
    );
}

#[test]
fn a_token_that_nobody_uses_is_not_refreshed() {
    let (mut cache, generation) = with_token(at(0));
    assert_eq!(cache.due_at(), None);
    assert_eq!(cache.start(at(3000)), None);
    assert_eq!(cache.ask(at(10)), Ask::Use(generation));
    assert_eq!(cache.due_at(), Some(at(2880)));
    assert!(cache.start(at(2880)).is_some());
}

#[test]
fn the_newer_token_is_waited_for_and_an_outage_brings_the_old_one_back() {
    let (mut cache, generation) = with_token(at(0));
    assert_eq!(cache.ask(at(2880)), Ask::Wait);
    let flight = cache.start(at(2880)).unwrap();
    assert_eq!(cache.ask(at(2881)), Ask::Wait);
    let failed = cache.failed(
        &flight,
        Failure::Outage { retry_after: None },
        at(2882),
        NO_SPREAD,
    );
    assert_eq!(failed, Failed::Began(Trouble::Outage));
    assert_eq!(cache.ask(at(2882)), Ask::Use(generation));
    let flight = cache.start(at(2883)).unwrap();
    assert_eq!(
        cache.ask(at(2883)),
        Ask::Use(generation),
        "also while the next try is in flight"
    );
    let failed = cache.failed(
        &flight,
        Failure::Outage { retry_after: None },
        at(3539),
        NO_SPREAD,
    );
    assert_eq!(failed, Failed::Continues(Trouble::Outage));
    assert_eq!(cache.ask(at(3539)), Ask::Use(generation));
    assert_eq!(
        cache.ask(at(3540)),
        Ask::Wait,
        "it is used up, and the next try is due"
    );
    let flight = cache.start(at(3541)).unwrap();
    let granted = cache.granted(&flight, at(3541), secs(3600), None, NO_SPREAD);
    assert_eq!(
        granted,
        Granted::Token {
            generation: Generation(2),
            recovered: Some(Trouble::Outage)
        }
    );
}

#[test]
fn without_a_token_an_outage_fails_fast_until_the_next_try() {
    let mut cache = cache();
    cache.ask(at(0));
    let flight = cache.start(at(0)).unwrap();
    cache.failed(
        &flight,
        Failure::Throttled {
            retry_after: Some(secs(60)),
        },
        at(1),
        NO_SPREAD,
    );
    assert_eq!(
        cache.ask(at(2)),
        Ask::Later {
            trouble: Trouble::Outage,
            until: at(61)
        }
    );
    assert_eq!(cache.start(at(60)), None);
    cache.secret_changed();
    assert_eq!(
        cache.start(at(60)),
        None,
        "a new secret does not lift a throttle"
    );
    assert_eq!(cache.ask(at(61)), Ask::Wait);
    assert!(cache.start(at(61)).is_some());
}

#[test]
fn a_refused_credential_is_tried_slowly_and_at_once_when_its_secret_changes() {
    let mut cache = cache();
    cache.ask(at(0));
    let flight = cache.start(at(0)).unwrap();
    let failed = cache.failed(&flight, Failure::Refused, at(0), NO_SPREAD);
    assert_eq!(failed, Failed::Began(Trouble::Refused));
    assert_eq!(
        cache.ask(at(1)),
        Ask::Later {
            trouble: Trouble::Refused,
            until: at(60)
        }
    );
    cache.secret_changed();
    assert_eq!(cache.ask(at(2)), Ask::Wait);
    let flight = cache.start(at(2)).unwrap();
    let granted = cache.granted(&flight, at(2), secs(3600), None, NO_SPREAD);
    assert_eq!(
        granted,
        Granted::Token {
            generation: Generation(1),
            recovered: Some(Trouble::Refused)
        }
    );
}

#[test]
fn an_outage_does_not_lift_a_refusal_and_is_retried_like_an_outage() {
    let mut cache = cache();
    cache.ask(at(0));
    let flight = cache.start(at(0)).unwrap();
    cache.failed(
        &flight,
        Failure::Outage { retry_after: None },
        at(0),
        NO_SPREAD,
    );
    let flight = cache.start(at(1)).unwrap();
    assert_eq!(
        cache.failed(&flight, Failure::Refused, at(1), NO_SPREAD),
        Failed::Began(Trouble::Refused)
    );
    let flight = cache.start(at(61)).unwrap();
    let failed = cache.failed(
        &flight,
        Failure::Outage { retry_after: None },
        at(61),
        Chance(1.0),
    );
    assert_eq!(failed, Failed::Continues(Trouble::Refused));
    assert_eq!(cache.trouble(), Some((Trouble::Refused, at(62))));
}

#[test]
fn a_result_for_an_older_secret_is_dropped_but_its_outage_counts() {
    let failures = [
        (Failure::Refused, Failed::Stale),
        (
            Failure::Outage { retry_after: None },
            Failed::Began(Trouble::Outage),
        ),
        (
            Failure::Throttled { retry_after: None },
            Failed::Began(Trouble::Outage),
        ),
    ];
    for (failure, expected) in failures {
        let mut cache = cache();
        cache.ask(at(0));
        let flight = cache.start(at(0)).unwrap();
        cache.secret_changed();
        assert_eq!(cache.start(at(0)), None, "still one request at a time");
        assert_eq!(cache.failed(&flight, failure, at(1), NO_SPREAD), expected);
    }
    let mut cache = cache();
    cache.ask(at(0));
    let flight = cache.start(at(0)).unwrap();
    cache.secret_changed();
    assert_eq!(
        cache.granted(&flight, at(0), secs(3600), None, NO_SPREAD),
        Granted::Stale
    );
    assert_eq!(cache.ask(at(1)), Ask::Wait);
    assert!(cache.start(at(1)).is_some());
}

#[test]
fn a_new_secret_is_proven_while_the_old_token_is_in_use() {
    let (mut cache, generation) = with_token(at(0));
    cache.secret_changed();
    assert_eq!(cache.ask(at(1)), Ask::Use(generation));
    let refresh_at = cache.held().unwrap().1.refresh_at;
    let flight = cache.start(at(5)).expect("it is proven at once");
    assert_eq!(flight.purpose(), Purpose::Probe);
    assert_eq!(
        cache.ask(at(5)),
        Ask::Use(generation),
        "nobody waits for it"
    );
    let failed = cache.failed(&flight, Failure::Refused, at(6), NO_SPREAD);
    assert_eq!((failed, cache.trouble()), (Failed::Kept, None));
    assert_eq!(cache.ask(at(7)), Ask::Use(generation));
    assert_eq!(cache.start(at(7)), None, "by one request");
    assert_eq!(cache.due_at(), Some(refresh_at));
}

#[test]
fn a_new_secret_that_met_an_outage_is_proven_afterwards() {
    let (mut cache, generation) = with_token(at(0));
    cache.secret_changed();
    let flight = cache.start(at(5)).unwrap();
    let outage = Failure::Outage { retry_after: None };
    let failed = cache.failed(&flight, outage, at(6), NO_SPREAD);
    assert_eq!(failed, Failed::Began(Trouble::Outage));
    assert_eq!(cache.ask(at(6)), Ask::Use(generation));
    let flight = cache.start(at(7)).expect("it is tried again");
    let granted = cache.granted(&flight, at(7), secs(3600), None, NO_SPREAD);
    assert_eq!(
        granted,
        Granted::Token {
            generation: Generation(2),
            recovered: Some(Trouble::Outage)
        }
    );
}

#[test]
fn a_probe_whose_token_is_dropped_meanwhile_is_the_request_that_all_wait_for() {
    let (mut cache, generation) = with_token(at(0));
    cache.secret_changed();
    let flight = cache.start(at(5)).unwrap();
    assert_eq!(
        cache.refused(&mailbox("a"), generation, at(5)),
        Refusal::DroppedUnproven
    );
    assert_eq!(cache.ask(at(6)), Ask::Wait);
    assert_eq!(
        cache.failed(&flight, Failure::Refused, at(6), NO_SPREAD),
        Failed::Began(Trouble::Refused)
    );
}

#[test]
fn one_mailbox_does_not_drop_a_proven_token_and_two_that_had_accepted_it_do() {
    let (mut cache, generation) = with_token(at(0));
    cache.accepted(&mailbox("a"), generation);
    cache.accepted(&mailbox("b"), generation);
    for _ in 0..10 {
        assert_eq!(
            cache.refused(&mailbox("a"), generation, at(1)),
            Refusal::Kept
        );
        assert_eq!(
            cache.refused(&mailbox("never-accepted"), generation, at(1)),
            Refusal::Kept
        );
        assert_eq!(
            cache.refused(&mailbox("nor-this"), generation, at(1)),
            Refusal::Kept
        );
    }
    assert_eq!(
        cache.refused(&mailbox("b"), Generation(9), at(1)),
        Refusal::Stale
    );
    assert_eq!(cache.ask(at(1)), Ask::Use(generation));
    assert_eq!(
        cache.refused(&mailbox("b"), generation, at(2)),
        Refusal::DroppedProven
    );
    assert_eq!(cache.ask(at(2)), Ask::Wait);
    assert_eq!(
        cache.refused(&mailbox("a"), generation, at(3)),
        Refusal::Stale
    );
}

#[test]
fn a_mailbox_that_is_accepted_again_takes_its_refusal_back() {
    let (mut cache, generation) = with_token(at(0));
    cache.accepted(&mailbox("a"), generation);
    cache.accepted(&mailbox("b"), generation);
    assert_eq!(
        cache.refused(&mailbox("a"), generation, at(1)),
        Refusal::Kept
    );
    cache.accepted(&mailbox("a"), generation);
    assert_eq!(
        cache.refused(&mailbox("b"), generation, at(2)),
        Refusal::Kept
    );
}

#[test]
fn an_unproven_token_is_dropped_at_most_once_per_five_minutes() {
    let (mut cache, generation) = with_token(at(0));
    assert_eq!(
        cache.refused(&mailbox("a"), generation, at(1)),
        Refusal::DroppedUnproven
    );
    let generation = refill(&mut cache, at(2));
    assert_eq!(
        cache.refused(&mailbox("a"), generation, at(3)),
        Refusal::Kept
    );
    assert_eq!(
        cache.refused(&mailbox("b"), generation, at(300)),
        Refusal::Kept
    );
    assert_eq!(
        cache.refused(&mailbox("b"), generation, at(301)),
        Refusal::DroppedUnproven
    );
}

#[test]
fn the_secret_that_works_is_tried_first_and_a_refused_one_again_later() {
    let hour = secs(3600);
    type Row<'a> = (&'a [Option<u64>], u64, &'a [usize]);
    let table: [Row<'_>; 5] = [
        (&[None, None], 0, &[0, 1]),
        (&[Some(10), None], 20, &[1, 0]),
        (&[Some(10), None], 3610, &[0, 1]),
        (&[Some(10), Some(20)], 30, &[0, 1]),
        (&[], 30, &[]),
    ];
    for (refused, now, order) in table {
        let refused: Vec<_> = refused.iter().map(|seconds| seconds.map(at)).collect();
        assert_eq!(secret_order(&refused, at(now), hour), order);
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = Wall::from_seconds(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
    let table = [
        ("60", Some(60)),
        (" 5 ", Some(5)),
        ("0", Some(0)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
    ];
    for (value, expected) in table {
        assert_eq!(retry_after(value, now), expected.map(secs), "{value:?}");
    }
    assert!(retry_after("99999999999999999999999", now).is_some_and(|wait| wait > secs(1_000_000)));
}

#[test]
fn an_ordered_token_is_waited_for_and_the_old_one_serves_where_none_comes() {
    let (mut cache, old) = with_token(at(0));
    assert_eq!(cache.ask(at(100)), Ask::Use(old));
    assert_eq!(cache.renew(at(100)), Renewal::Ordered);
    assert_eq!(cache.ask(at(100)), Ask::Wait);
    let flight = cache.start(at(100)).expect("it is due at once");
    assert_eq!(flight.purpose(), Purpose::Token);
    let outage = Failure::Outage { retry_after: None };
    cache.failed(&flight, outage, at(101), NO_SPREAD);
    assert_eq!(cache.ask(at(101)), Ask::Use(old), "better than none");
    let flight = cache.start(at(102)).expect("it is tried again");
    cache.granted(&flight, at(102), secs(3600), None, NO_SPREAD);
    assert_eq!(cache.ask(at(103)), Ask::Use(Generation(2)));
}

#[test]
fn new_tokens_are_ordered_at_most_every_ten_seconds_and_not_against_a_throttle() {
    let (mut cache, _) = with_token(at(0));
    assert_eq!(cache.renew(at(100)), Renewal::Ordered);
    assert_eq!(cache.renew(at(109)), Renewal::TooSoon { until: at(110) });
    let flight = cache.start(at(110)).unwrap();
    let throttled = Failure::Throttled {
        retry_after: Some(secs(60)),
    };
    cache.failed(&flight, throttled, at(110), NO_SPREAD);
    assert_eq!(cache.renew(at(120)), Renewal::Ordered);
    assert_eq!(cache.start(at(120)), None);
    assert!(cache.start(at(170)).is_some());
}

#[test]
fn a_refused_credential_is_asked_for_at_once_when_a_token_is_ordered() {
    let mut cache = cache();
    cache.ask(at(0));
    let flight = cache.start(at(0)).unwrap();
    cache.failed(&flight, Failure::Refused, at(0), NO_SPREAD);
    assert_eq!(cache.start(at(1)), None);
    assert_eq!(cache.renew(at(1)), Renewal::Ordered);
    assert!(cache.start(at(1)).is_some());
}
