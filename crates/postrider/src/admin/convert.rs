//! From what the daemon knows to what it tells over the admin socket.

use std::collections::BTreeMap;

use postrider_core::{ids::EndpointKey, time::Wall, watch};

use postrider_store::Level;

use super::api;
use crate::config;

fn text(at: Wall) -> String {
    at.rfc3339()
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

impl From<postrider_store::Sums> for api::Sums {
    fn from(sums: postrider_store::Sums) -> Self {
        Self {
            uids: sums.uids,
            event: sums.event,
            known: sums.known,
            skipped: sums.skipped,
            quarantined: sums.quarantined,
            vanished: sums.vanished,
            deliveries: sums.deliveries,
            pending: sums.pending,
            delivered: sums.delivered,
            dead: sums.dead,
            discarded: sums.discarded,
            unaccounted_messages: sums.unaccounted_messages(),
            unaccounted_deliveries: sums.unaccounted_deliveries(),
        }
    }
}

impl From<postrider_store::Space> for api::Space {
    fn from(space: postrider_store::Space) -> Self {
        Self {
            used_bytes: space.used(),
            budget_bytes: space.budget,
            low: space.level(Level::Fine) != Level::Fine,
            disk_free_bytes: space.disk_free,
            full: space.full,
        }
    }
}

impl From<&watch::Hold> for api::Hold {
    fn from(hold: &watch::Hold) -> Self {
        Self {
            why: match hold.why {
                watch::HoldReason::UidValidityChanged => "uidvalidity_changed",
                watch::HoldReason::UidsWentBack => "uids_went_back",
                watch::HoldReason::StateLost => "state_lost",
                watch::HoldReason::AccountChanged => "account_changed",
            }
            .to_owned(),
            since: text(hold.since),
            messages: hold.messages,
            old: hold.old,
        }
    }
}

impl From<postrider_store::DeliveryRow> for api::Delivery {
    fn from(row: postrider_store::DeliveryRow) -> Self {
        Self {
            endpoint: row.endpoint.to_string(),
            sequence: row.sequence,
            state: row.state,
            attempts: row.attempts,
            due: row.due.map(text),
            delivered_at: row.delivered_at.map(text),
            dead_reason: row.dead_reason,
            last_status: row.last_status,
            last_note: row.last_note,
            first_attempt_at: row.first_attempt_at.map(text),
            blocked: row.blocked,
            stepped_aside: row.aside && row.replay.is_none(),
            replay: row.replay_order,
            replay_mark: row.replay.and_then(|mark| serde_json::from_str(&mark).ok()),
            as_id: row.as_id.map(|id| id.to_string()),
        }
    }
}

impl From<postrider_store::EventSummary> for api::Event {
    fn from(row: postrider_store::EventSummary) -> Self {
        Self {
            id: row.id.to_string(),
            event_type: row.event_type.as_str().to_owned(),
            mailbox: row.mailbox.map(|key| key.to_string()),
            subject: row.subject,
            time: text(row.time),
            stored_at: text(row.stored_at),
            message_id: row.message_id,
            deliveries: row.deliveries.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<postrider_store::EventDetail> for api::EventDetail {
    fn from(detail: postrider_store::EventDetail) -> Self {
        let row = detail.event;
        let attempts = detail.attempts.into_iter().map(|attempt| api::Attempt {
            endpoint: attempt.endpoint.to_string(),
            at: text(attempt.at),
            took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            status: attempt.status,
            note: attempt.note,
        });
        Self {
            attempts: attempts.collect(),
            data: serde_json::from_slice(&row.data).unwrap_or_default(),
            event: api::Event {
                id: row.id.to_string(),
                event_type: row.event_type.as_str().to_owned(),
                mailbox: row.mailbox.map(|key| key.to_string()),
                subject: row.subject,
                time: text(row.time),
                stored_at: text(row.stored_at),
                message_id: detail.message_id,
                deliveries: detail.deliveries.into_iter().map(Into::into).collect(),
            },
        }
    }
}

fn counts(counts: &BTreeMap<EndpointKey, u64>) -> BTreeMap<String, u64> {
    let count = |(key, count): (&EndpointKey, &u64)| (key.to_string(), *count);
    counts.iter().map(count).collect()
}

impl api::Replayed {
    pub(super) fn of(done: &postrider_store::Replayed, dry_run: bool) -> Self {
        Self {
            dry_run,
            replay: done.replay,
            deliveries: done.deliveries,
            events: strings(&done.events),
            endpoints: counts(&done.endpoints),
            lasts_seconds: done.lasts.as_secs(),
        }
    }
}

impl api::Discarded {
    pub(super) fn of(done: &postrider_store::Discarded, dry_run: bool) -> Self {
        Self {
            dry_run,
            deliveries: done.deliveries,
            events: strings(&done.events),
            endpoints: counts(&done.endpoints),
        }
    }
}

impl<K: ToString> From<&config::Delta<K>> for api::Delta {
    fn from(delta: &config::Delta<K>) -> Self {
        Self {
            added: strings(&delta.added),
            changed: strings(&delta.changed),
            removed: strings(&delta.removed),
        }
    }
}

impl From<&config::Changes> for api::Changes {
    fn from(changes: &config::Changes) -> Self {
        let aspects = changes.aspects.iter().map(|(key, aspects)| {
            let aspects = aspects.iter().map(|aspect| aspect.as_str().to_owned());
            (key.to_string(), aspects.collect())
        });
        Self {
            credentials: (&changes.credentials).into(),
            endpoints: (&changes.endpoints).into(),
            mailboxes: (&changes.mailboxes).into(),
            aspects: aspects.collect(),
            restart_needed: changes.restart_needed.clone(),
        }
    }
}
