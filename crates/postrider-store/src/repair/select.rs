//! What an order means: read-only, from one moment, and bounded.

use std::collections::BTreeMap;

use postrider_core::{
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{DeliveryState, Found, Meant, NAMED_MAX, Never, RepairError, Selection, Sift, Sifted};
use crate::{
    codec,
    error::doing,
    model::{EventRow, StoreError},
    outbox::event_type,
    readers::Readers,
};

/// Deliveries of one order: 24 bytes each are held in memory.
const MEANT_MAX: i64 = 1_000_000;
/// Places of messages per lookup, each of which walks through the mailbox's events.
const PLACES_MAX: usize = 50_000;
/// Whole events that are in memory at a time while a condition looks at them.
const SIFTED_AT_ONCE: usize = 50;

/// The numbers of states that may be changed; what is being sent never is.
pub(super) fn codes(states: &[DeliveryState]) -> Vec<i64> {
    let code = |state: &DeliveryState| match state {
        DeliveryState::Pending => codec::delivery::PENDING,
        DeliveryState::Delivered => codec::delivery::DELIVERED,
        DeliveryState::Dead => codec::delivery::DEAD,
        DeliveryState::Discarded => codec::delivery::DISCARDED,
    };
    states.iter().map(code).collect()
}

fn full(meant: Meant) -> Result<Meant, RepairError> {
    if meant.len() as i64 > MEANT_MAX {
        return Err(RepairError::TooMany(MEANT_MAX));
    }
    Ok(meant)
}

/// The indexes are prescribed: for the sake of the order SQLite would rather walk through all
/// deliveries that there are, of which next to all wait for an endpoint that is down.
fn choose(selection: &Selection) -> QueryBuilder<Sqlite> {
    let index = match selection.events.is_empty() {
        true => "delivery_due",
        false => "delivery_event",
    };
    let mut query = QueryBuilder::<Sqlite>::new(format!(
        "SELECT d.id, d.endpoint, d.event FROM delivery d INDEXED BY {index} WHERE d.state IN (SELECT value FROM json_each("
    ));
    query
        .push_bind(codec::id_list(&codes(&selection.states)))
        .push("))");
    // Without a name all endpoints are named, so that the index by endpoint and state serves.
    query.push(" AND d.endpoint IN (SELECT id FROM endpoint");
    if let Some(endpoints) = &selection.endpoints {
        let names: Vec<&str> = endpoints.iter().map(EndpointKey::as_str).collect();
        query
            .push(" WHERE name IN (SELECT value FROM json_each(")
            .push_bind(serde_json::Value::from(names).to_string())
            .push("))");
    }
    query.push(")");
    // What was never sent because the endpoint had the message already was given up by nobody: it
    // is meant where it is named.
    if selection.events.is_empty() {
        query.push(" AND NOT (d.state = 4 AND d.attempts = 0 AND d.dead_reason IS NOT NULL)");
    }
    if !selection.events.is_empty() {
        let ids = codec::hex_list(selection.events.iter().map(|id| id.as_bytes().as_slice()));
        query
            .push(" AND d.event IN (SELECT id FROM event WHERE uuid IN (SELECT unhex(value) FROM json_each(")
            .push_bind(ids.clone());
        query
            .push(")) UNION SELECT event FROM event_alias WHERE uuid IN (SELECT unhex(value) FROM json_each(")
            .push_bind(ids)
            .push(")))");
    }
    if let Some(mailbox) = &selection.mailbox {
        query
            .push(" AND d.mailbox = (SELECT id FROM mailbox WHERE name = ")
            .push_bind(mailbox.to_string())
            .push(")");
    }
    for (is, time) in [(" >= ", selection.since), (" < ", selection.until)] {
        if let Some(time) = time {
            query.push(
                " AND coalesce(d.settled_at, (SELECT stored_at FROM event WHERE id = d.event))",
            );
            query.push(is).push_bind(time.0);
        }
    }
    query.push(" ORDER BY d.id LIMIT ").push_bind(MEANT_MAX + 1);
    query
}

/// The deliveries that a selection means, the oldest first.
pub(super) async fn deliveries(
    readers: &Readers,
    selection: &Selection,
) -> Result<Meant, RepairError> {
    let mut query = choose(selection);
    let mut reader = readers.get().await?;
    let rows = query.build_query_as().fetch_all(reader.conn()).await;
    full(rows.map_err(doing("looking which deliveries are meant"))?)
}

/// By event: an endpoint may have had millions of deliveries.
pub(super) const NEVER: &str = "SELECT e.id, 0, e.id FROM event e WHERE e.mailbox IN \
    (SELECT id FROM mailbox WHERE name IN (SELECT value FROM json_each(?1))) \
    AND e.type IN (SELECT value FROM json_each(?2)) AND e.stored_at >= ?3 AND e.stored_at < ?4 \
    AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id \
    AND +d.endpoint = (SELECT id FROM endpoint WHERE name = ?5)) ORDER BY e.id LIMIT ?6";

/// Events of these mailboxes that the endpoint was never owed, the oldest first.
pub(super) async fn never(readers: &Readers, never: &Never) -> Result<Meant, RepairError> {
    let list = |names: Vec<&str>| serde_json::Value::from(names).to_string();
    let mut reader = readers.get().await?;
    let rows: Result<Meant, _> = sqlx::query_as(NEVER)
        .bind(list(
            never.mailboxes.iter().map(MailboxKey::as_str).collect(),
        ))
        .bind(list(never.types.iter().map(|kind| kind.as_str()).collect()))
        .bind(never.since.map_or(i64::MIN, |since| since.0))
        .bind(never.until.map_or(i64::MAX, |until| until.0))
        .bind(never.endpoint.as_str())
        .bind(MEANT_MAX + 1)
        .fetch_all(reader.conn())
        .await;
    drop(reader);
    let meant = full(rows.map_err(doing("looking what was never owed"))?)?;
    match &never.sift {
        Some(sift) => Ok(sifted(readers, &meant, sift).await?),
        None => Ok(meant),
    }
}

/// What the endpoint's condition lets through, a page of events at a time, each with a reader of its
/// own: one has seconds.
async fn sifted(readers: &Readers, meant: &Meant, sift: &Sift) -> Result<Meant, StoreError> {
    let mut through = Meant::new();
    for page in meant.chunks(SIFTED_AT_ONCE) {
        let mut reader = readers.get().await?;
        let events = whole(reader.conn(), &super::ids(page)).await?;
        drop(reader);
        for (id, event) in events {
            match (sift.0)(&event) {
                Sifted::Meant => through.push((id, 0, id)),
                Sifted::Unsure => through.push((id, 1, id)),
                Sifted::NotMeant => {}
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(through)
}

async fn whole(
    conn: &mut SqliteConnection,
    ids: &[i64],
) -> Result<Vec<(i64, EventRow)>, StoreError> {
    type Columns = (
        i64,
        Vec<u8>,
        String,
        Option<String>,
        String,
        i64,
        i64,
        Vec<u8>,
    );
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT e.id, e.uuid, e.type, m.name, e.subject, e.time, e.stored_at, e.data FROM json_each(?) AS v \
         CROSS JOIN event e ON e.id = v.value LEFT JOIN mailbox m ON m.id = e.mailbox ORDER BY e.id",
    )
    .bind(codec::id_list(ids))
    .fetch_all(conn)
    .await
    .map_err(doing("reading events"))?;
    let row = |(id, uuid, kind, mailbox, subject, time, stored_at, data): Columns| {
        let event = EventRow {
            id: Uuid::from_slice(&uuid).map_err(|error| sqlx::Error::Decode(error.into()))?,
            event_type: event_type(&kind)?,
            mailbox: mailbox.map(MailboxKey::new),
            subject,
            time: Wall(time),
            stored_at: Wall(stored_at),
            data: data.into(),
        };
        Ok((id, event))
    };
    rows.into_iter()
        .map(row)
        .collect::<Result<_, sqlx::Error>>()
        .map_err(doing("reading events"))
}

/// The ids of the first events that are meant.
pub(super) async fn named(readers: &Readers, meant: &Meant) -> Result<Vec<Uuid>, StoreError> {
    let mut events: Vec<i64> = Vec::new();
    for (.., event) in meant {
        if events.len() >= NAMED_MAX {
            break;
        }
        if events.last() != Some(event) {
            events.push(*event);
        }
    }
    let mut reader = readers.get().await?;
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT e.uuid FROM json_each(?) AS v CROSS JOIN event e ON e.id = v.value ORDER BY v.key",
    )
    .bind(codec::id_list(&events))
    .fetch_all(reader.conn())
    .await
    .map_err(doing("naming events"))?;
    let mut ids: Vec<Uuid> = Vec::with_capacity(rows.len());
    for id in rows.iter().filter_map(|(id,)| Uuid::from_slice(id).ok()) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

pub(super) async fn by_endpoint(
    readers: &Readers,
    meant: &Meant,
) -> Result<BTreeMap<EndpointKey, u64>, StoreError> {
    let mut reader = readers.get().await?;
    let names: Vec<(i64, String)> = sqlx::query_as("SELECT id, name FROM endpoint")
        .fetch_all(reader.conn())
        .await
        .map_err(doing("naming endpoints"))?;
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    for (_, endpoint, _) in meant {
        *counts.entry(*endpoint).or_default() += 1;
    }
    let named = names.into_iter().filter_map(|(id, name)| {
        let count = counts.get(&id)?;
        Some((EndpointKey::new(name), *count))
    });
    Ok(named.collect())
}

/// A replay by its number: how many it was for, how many are being sent, and those that wait.
pub(super) async fn of_replay(
    readers: &Readers,
    replay: i64,
) -> Result<Option<(u64, u64, Vec<i64>)>, StoreError> {
    let mut reader = readers.get().await?;
    let total: Option<(i64,)> =
        sqlx::query_as("SELECT affected FROM audit WHERE id = ? AND what = 'replay'")
            .bind(replay)
            .fetch_optional(reader.conn())
            .await
            .map_err(doing("looking for a replay"))?;
    let Some((total,)) = total else {
        return Ok(None);
    };
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, state FROM delivery INDEXED BY delivery_replay WHERE replay_order = ? AND state < 2 ORDER BY id",
    )
    .bind(replay)
    .fetch_all(reader.conn())
    .await
    .map_err(doing("looking what a replay has not sent yet"))?;
    let waits = |(id, state): &(i64, i64)| (*state == codec::delivery::PENDING).then_some(*id);
    let waiting: Vec<i64> = rows.iter().filter_map(waits).collect();
    let in_flight = (rows.len() - waiting.len()) as u64;
    Ok(Some((
        u64::try_from(total).unwrap_or(0),
        in_flight,
        waiting,
    )))
}

pub(super) async fn events_at(
    readers: &Readers,
    mailbox: &MailboxKey,
    subjects: &[String],
) -> Result<BTreeMap<String, Found>, StoreError> {
    let mut reader = readers.get().await?;
    let mut found = BTreeMap::new();
    for chunk in subjects.chunks(PLACES_MAX) {
        let rows: Vec<(String, Vec<u8>, bool)> = sqlx::query_as(
            "SELECT subject, uuid, spool IS NOT NULL OR EXISTS (SELECT 1 FROM raw WHERE raw.event = event.id) FROM event WHERE mailbox = (SELECT id FROM mailbox WHERE name = ?1) \
             AND type = 'message.received' AND subject IN (SELECT value FROM json_each(?2)) ORDER BY id",
        )
        .bind(mailbox.as_str())
        .bind(serde_json::Value::from(chunk.to_vec()).to_string())
        .fetch_all(reader.conn())
        .await
        .map_err(doing("looking for events by their place"))?;
        // The newest generation of a place is the one that is meant.
        found.extend(rows.into_iter().filter_map(|(subject, id, has_message)| {
            let event = Uuid::from_slice(&id).ok()?;
            Some((subject, Found { event, has_message }))
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;
    use crate::migrate;

    #[tokio::test]
    async fn no_selection_walks_through_all_deliveries() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::schema(&mut conn).await;
        let all = Selection {
            states: vec![DeliveryState::Dead],
            endpoints: Some(vec!["tickets".into()]),
            mailbox: Some("support".into()),
            since: Some(postrider_core::time::Wall(1)),
            ..Selection::default()
        };
        let one = Selection {
            events: vec![Uuid::from_u128(1)],
            ..all.clone()
        };
        for selection in [all, one] {
            let query = choose(&selection);
            let sql = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
            let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .fetch_all(&mut conn)
                .await
                .unwrap();
            let steps: Vec<_> = plan.iter().map(|(.., step)| step.as_str()).collect();
            let searched = |step: &&str| step.starts_with("SEARCH d USING INDEX delivery_");
            assert!(steps.iter().any(searched), "{steps:#?}");
            assert!(
                !steps.iter().any(|step| step.starts_with("SCAN d")),
                "{steps:#?}"
            );
        }
    }
}
