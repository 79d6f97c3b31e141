//! The process dies at every named place between claim and settlement, by seed: nothing is lost, and
//! what comes again is what was in flight.
//!
//! `make prove` lets it die 1,000 times (`POSTRIDER_PROVE`); otherwise twice at each place.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use postrider::die::PLACES;
use postrider_sandbox::receiver::Outcome;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use crate::{
    prove,
    world::{Settings, World},
};

const MAILBOXES: usize = 3;
/// `max_in_flight` of the world's endpoint.
const IN_FLIGHT: usize = 4;
const SEED: u64 = 11;

fn deaths() -> usize {
    match std::env::var_os("POSTRIDER_PROVE") {
        Some(_) => 1_000,
        None => 2 * PLACES.len(),
    }
}

/// How often each request came to the receiver whole.
fn requests(world: &World) -> HashMap<String, usize> {
    let mut requests = HashMap::new();
    for attempt in world.receiver.attempts() {
        if matches!(attempt.outcome, Outcome::Accepted | Outcome::Unanswered) {
            *requests.entry(attempt.id).or_default() += 1;
        }
    }
    requests
}

/// Lets the daemon run until it dies at the place, with mail on its way.
async fn dies(world: &mut World, place: &str, rng: &mut StdRng) {
    let times = rng.random_range(1..6);
    world.environment = vec![("POSTRIDER_DIE_AT".to_owned(), format!("{place}:{times}"))];
    world.start();
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.is_running() {
        assert!(
            Instant::now() < deadline,
            "it never came to {place} {times} times\n{}",
            world.log()
        );
        if place == "claim-leased" {
            // Only what waits in the table is claimed: more at once than there are slots.
            world.burst(0, 100);
            tokio::time::sleep(Duration::from_millis(200)).await;
        } else {
            world.deliver(rng.random_range(0..MAILBOXES));
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..40))).await;
        }
    }
    world.reap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_at_any_place_loses_nothing_and_repeats_what_was_in_flight() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut world = World::new(Settings {
        mailboxes: MAILBOXES,
        ..Settings::default()
    })
    .await;
    // What is there before the first sight of a folder is not sent.
    world.start();
    world.expect_watching(MAILBOXES).await;
    world.kill();
    let deaths = deaths();
    let (mut messages, mut repeats) = (0, 0);
    let mut in_this_round = 0;
    for number in 0..deaths {
        dies(&mut world, PLACES[number % PLACES.len()], &mut rng).await;
        in_this_round += 1;
        if in_this_round < 20 && number + 1 < deaths {
            continue;
        }
        // Now and then everything has to arrive, and the account has to add up.
        world.environment.clear();
        world.start();
        world.expect_watching(MAILBOXES).await;
        world.expect_all_within(Duration::from_secs(60)).await;
        world.expect_account().await;
        let again: usize = requests(&world).values().map(|times| times - 1).sum();
        assert!(
            again <= in_this_round * IN_FLIGHT,
            "{again} repeats of {in_this_round} deaths\n{}",
            world.log()
        );
        messages += world.post().sent().len();
        repeats += again;
        world.forget();
        world.kill();
        in_this_round = 0;
    }
    println!(
        "{deaths} deaths at {} places: {messages} messages, 0 lost, {repeats} repeats",
        PLACES.len()
    );
    if std::env::var_os("POSTRIDER_PROVE").is_some() {
        let folder = prove::folder();
        fs::create_dir_all(&folder).unwrap();
        let figures = json!({
            "deaths": deaths, "places": PLACES.len(), "messages": messages, "lost": 0, "repeats": repeats,
        });
        let text = serde_json::to_string_pretty(&figures).unwrap();
        fs::write(folder.join("places.json"), text).unwrap();
    }
}
