//! When the credentials themselves end: a gauge, and an event 30, 14, 7 and 1 days before. The
//! event's time is that of the threshold, so however often it is told, it is one event.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use postrider_core::{ids::CredentialKey, time::Wall};

use super::{Active, Deps, Transition};
use crate::clock;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The last first: of several that have passed, the nearest one says it all.
const DAYS: [u16; 4] = [1, 7, 14, 30];
const DAY: Duration = Duration::from_secs(86_400);

/// The threshold that holds now, and since when.
pub(super) fn threshold(expires: Wall, now: Wall) -> Option<(u16, Wall)> {
    DAYS.iter()
        .map(|days| (*days, expires - DAY * u32::from(*days)))
        .find(|(_, since)| *since <= now)
}

/// `remembered`: what passed longer ago than this was told by an earlier process, and the store
/// may not know its event any more; it is not told again at the start.
pub(super) async fn run(active: Arc<RwLock<Active>>, deps: Deps, remembered: Duration) {
    let mut told: BTreeSet<(CredentialKey, Wall)> = BTreeSet::new();
    let started = clock::wall();
    for (credential, expires) in ends(&active) {
        if let Some((_, since)) = expires.and_then(|at| threshold(at, started))
            && started.since(since) >= remembered
        {
            told.insert((credential, since));
        }
    }
    loop {
        let ends = ends(&active);
        look(&ends, &mut told, &deps).await;
        tokio::select! {
            () = deps.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = deps.look_at_ends.notified() => {}
        }
    }
}

fn ends(active: &RwLock<Active>) -> BTreeMap<CredentialKey, Option<Wall>> {
    let active = active.read().unwrap_or_else(PoisonError::into_inner);
    active
        .slots
        .iter()
        .map(|(key, slot)| {
            let written = active.expires.get(key).copied();
            (key.clone(), slot.ends().into_iter().chain(written).min())
        })
        .collect()
}

async fn look(
    ends: &BTreeMap<CredentialKey, Option<Wall>>,
    told: &mut BTreeSet<(CredentialKey, Wall)>,
    deps: &Deps,
) {
    for (credential, expires) in ends {
        deps.telemetry.tokens.expiry(credential, *expires);
        let Some(expires) = *expires else { continue };
        let Some((days, since)) = threshold(expires, clock::wall()) else {
            continue;
        };
        if !told.insert((credential.clone(), since)) {
            continue;
        }
        deps.telemetry.tokens.expiring(credential, expires);
        let transition = Transition::Expiring {
            credential: credential.clone(),
            since,
            expires,
            days,
        };
        tokio::select! {
            // Nobody listens any more when the process ends.
            _ = deps.transitions.send(transition) => {}
            () = deps.stop.cancelled() => return,
        }
    }
}
