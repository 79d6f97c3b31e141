//! 20 mailboxes, 1,000 messages at random gaps, 1 in 20 of them odd.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use postrider_sandbox::mail::{self, Odd};
use serde_json::Value;

use super::{
    figures::figure,
    world::{Settings, World, scaled},
};

const MAILBOXES: usize = 20;
/// Deliveries at the same time.
const CARRIERS: usize = 4;

/// The memory that the daemon may ever have, in MiB, from its defaults: `limits.memory` (128) for
/// what is read and parsed, one large message of `limits.parse` (25) twice beside it, and 64 for the
/// program, its connections, SQLite's cache and what the allocator keeps.
const MEMORY_MIB: f64 = 128.0 + 2.0 * 25.0 + 64.0;

/// What the message with this number is; the 50 MB come once, in the middle.
fn odd(number: u64, count: usize) -> Option<Odd> {
    const SMALL: [Odd; 7] = [
        Odd::EightBitHeaders,
        Odd::BrokenMime,
        Odd::ManyParts,
        Odd::DeepNesting,
        Odd::HugeHeader,
        Odd::NulBytes,
        Odd::NoHeaders,
    ];
    if number % 20 != 10 {
        return None;
    }
    let turn = usize::try_from(number / 20).unwrap();
    Some(match turn == count / 40 {
        true => Odd::Large,
        false => SMALL[turn % SMALL.len()],
    })
}

/// Delivers until the count is reached, to random mailboxes at random gaps.
async fn carry(world: &World, given: &AtomicUsize, count: usize) {
    let mut lmtp = world.dovecot.lmtp().await;
    while given.fetch_add(1, Ordering::Relaxed) < count {
        let number = world.next_number();
        let raw = match odd(number, count) {
            Some(odd) => odd.make(number),
            None => mail::plain(number, rand::random_range(600..8000)),
        };
        let to = &world.users[rand::random_range(0..MAILBOXES)];
        world.deliver(&mut lmtp, to, number, &raw).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..60))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_to_twenty_mailboxes_are_a_thousand_events() {
    let count = scaled(1000);
    let world = World::watching(Settings {
        mailboxes: MAILBOXES,
        ..Settings::default()
    })
    .await;
    let begun = Instant::now();
    let given = AtomicUsize::new(0);
    let carriers: [_; CARRIERS] = std::array::from_fn(|_| carry(&world, &given, count));
    futures_util::future::join_all(carriers).await;
    world.expect_all_within(Duration::from_secs(120)).await;
    let took = begun.elapsed();
    world.expect_watching(MAILBOXES).await;
    world.expect_account().await;
    assert_eq!(world.receiver.distinct_ids(), count);
    assert_eq!(world.repeats(), 0);
    odd_messages_are_told_as_such(&world, count);

    let connects = world
        .metric("postrider_imap_connects_total{outcome=\"ok\"}")
        .await;
    assert_eq!(connects, 20.0, "no session ended: {}", world.log());
    let high_water = world.memory_high_water();
    assert!(high_water < MEMORY_MIB, "{high_water} MiB");
    figure("thousand_messages", count as f64, "messages");
    figure("thousand_took", took.as_secs_f64(), "s");
    figure("thousand_memory_high_water", high_water, "MiB");
    figure("thousand_memory_bound", MEMORY_MIB, "MiB");
    let mut delays = delays(&world);
    delays.sort_unstable();
    let at = |part: f64| delays[(delays.len() as f64 * part) as usize].as_secs_f64() * 1000.0;
    figure("thousand_accepted_to_event_p50", at(0.50), "ms");
    figure("thousand_accepted_to_event_p99", at(0.99), "ms");
}

/// From the server's having the message to the event's having been received. Dovecot itself says
/// nothing for 500 ms after the first change.
fn delays(world: &World) -> Vec<Duration> {
    let arrived = world.arrived();
    let sent = world.sent();
    sent.iter()
        .map(|(number, at)| arrived[number].1.saturating_duration_since(*at))
        .collect()
}

fn odd_messages_are_told_as_such(world: &World, count: usize) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for number in world.sent().into_keys() {
        let Some(odd) = odd(number, count) else {
            continue;
        };
        *seen.entry(format!("{odd:?}")).or_default() += 1;
        let event = world.event(number);
        let data = &event["data"];
        let parse = &data["parse"];
        let warnings: Vec<&str> = parse["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let (status, warning) = match odd {
            Odd::EightBitHeaders => ("ok", "header_8bit"),
            Odd::BrokenMime => ("ok", "multipart_unclosed"),
            Odd::ManyParts => ("partial", "too_many_parts"),
            Odd::DeepNesting => ("ok", ""),
            Odd::HugeHeader => ("ok", "headers_cut"),
            // Dovecot gives 0x80 for NUL, which an IMAP literal cannot carry.
            Odd::NulBytes => ("ok", "header_8bit"),
            // A delivery adds headers, such as Received.
            Odd::NoHeaders => ("ok", ""),
            Odd::Large => ("partial", "over_parse_budget"),
        };
        assert_eq!(parse["status"], status, "{odd:?}: {parse}");
        assert!(
            warning.is_empty() || warnings.contains(&warning),
            "{odd:?}: {parse}"
        );
    }
    assert_eq!(seen.len(), Odd::ALL.len(), "{seen:?}");
    assert_eq!(seen["Large"], 1);
}
