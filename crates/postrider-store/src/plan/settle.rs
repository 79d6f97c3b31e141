//! Rows for what became of attempts.

use postrider_core::time::Wall;

use super::Plan;
use crate::{
    after::Then,
    codec::delivery,
    model::{Settled, Settlement},
    rows::Value,
    shapes,
};

/// Bytes of a note that are kept.
const NOTE_MAX: usize = 512;

/// What an outcome means for the delivery's columns.
struct Meaning<'a> {
    state: i64,
    due: Wall,
    /// It counts as an attempt.
    attempts: i64,
    refusals: Option<i64>,
    refused_since: Option<i64>,
    own_time_ms: Option<i64>,
    dead_reason: Option<&'a str>,
    aside: bool,
}

impl Plan<'_> {
    pub(super) fn settle(&mut self, settlements: &[Settlement]) {
        for settlement in settlements {
            let at = settlement.at.0;
            let took = i64::try_from(settlement.took.as_millis()).unwrap_or(i64::MAX);
            let status = settlement.status.map(i64::from);
            let note = clipped(&settlement.note);
            let meaning = meaning(settlement);
            let attempted = meaning.attempts > 0;
            if attempted && meaning.state != delivery::DELIVERED {
                let row = [
                    settlement.delivery.into(),
                    at.into(),
                    took.into(),
                    status.into(),
                    note.into(),
                ];
                self.batch.push(&shapes::ATTEMPT_NEW, row);
            }
            let ended = meaning.state != delivery::PENDING;
            if meaning.state == delivery::DELIVERED && settlement.then == Then::After {
                let row = [settlement.delivery.into(), at.into()];
                self.batch.push(&shapes::AFTER_NEW, row);
            }
            let row: [Value; 14] = [
                settlement.delivery.into(),
                meaning.state.into(),
                meaning.due.0.into(),
                meaning.attempts.into(),
                attempted.then(|| at.saturating_sub(took)).into(),
                meaning.refusals.into(),
                meaning.refused_since.into(),
                meaning.own_time_ms.into(),
                ended.then_some(at).into(),
                attempted.then_some(took).into(),
                status.into(),
                attempted.then_some(note).into(),
                meaning.dead_reason.into(),
                i64::from(meaning.aside).into(),
            ];
            self.batch.push(&shapes::DELIVERY_SETTLE, row);
            if settlement.order.is_some() && (ended || meaning.aside) {
                let row = [settlement.delivery.into(), at.into()];
                self.batch.push(&shapes::DELIVERY_NEXT, row);
            }
        }
    }
}

fn meaning(settlement: &Settlement) -> Meaning<'_> {
    let ended = |state, dead_reason| Meaning {
        state,
        due: settlement.at,
        attempts: 1,
        refusals: None,
        refused_since: None,
        own_time_ms: None,
        dead_reason,
        aside: false,
    };
    match &settlement.outcome {
        Settled::Delivered => ended(delivery::DELIVERED, None),
        Settled::Dead { reason } => ended(delivery::DEAD, Some(reason)),
        Settled::Returned { due } => Meaning {
            due: *due,
            attempts: 0,
            ..ended(delivery::PENDING, None)
        },
        Settled::Retry {
            due,
            refusals,
            refused_since,
            own_time,
            aside,
        } => Meaning {
            due: *due,
            aside: *aside,
            refusals: Some(i64::from(*refusals)),
            refused_since: refused_since.map(|at| at.0),
            own_time_ms: Some(i64::try_from(own_time.as_millis()).unwrap_or(i64::MAX)),
            ..ended(delivery::PENDING, None)
        },
    }
}

/// Cut between characters.
fn clipped(note: &str) -> &str {
    note.get(..note.floor_char_boundary(NOTE_MAX))
        .unwrap_or(note)
}
