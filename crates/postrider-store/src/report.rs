//! What operators ask: events and their story, where watches stand.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use postrider_core::{
    ids::{EndpointKey, FolderName, MailboxKey, WatchKey},
    time::Wall,
};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use crate::{
    codec::{self, CursorColumns},
    error::doing,
    model::{
        Account, AttemptRow, DeliveryRow, EventDetail, EventFilter, EventRow, EventSummary,
        MailboxRow, SpoolKey, StoreError, WatchRow,
    },
    outbox::{count, event_type, state_name},
    readers::Readers,
};

/// More than an operator reads; a program pages by `since`.
const EVENTS_MAX: u32 = 1000;

/// Newest first.
pub(crate) async fn events(
    readers: &Readers,
    filter: &EventFilter,
) -> Result<Vec<EventSummary>, StoreError> {
    type Columns = (
        i64,
        Vec<u8>,
        String,
        Option<String>,
        String,
        i64,
        i64,
        Option<String>,
    );
    let mut query = listing(filter)?;
    let mut reader = readers.get().await?;
    let rows: Vec<Columns> = query
        .build_query_as()
        .fetch_all(reader.conn())
        .await
        .map_err(doing("listing events"))?;
    let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let mut owed = deliveries(reader.conn(), &ids)
        .await
        .map_err(doing("listing deliveries"))?;
    rows.into_iter()
        .map(
            |(id, uuid, kind, mailbox, subject, time, stored_at, message_id)| {
                Ok(EventSummary {
                    id: Uuid::from_slice(&uuid)
                        .map_err(|error| sqlx::Error::Decode(error.into()))?,
                    event_type: event_type(&kind)?,
                    mailbox: mailbox.map(MailboxKey::new),
                    subject,
                    time: Wall(time),
                    stored_at: Wall(stored_at),
                    message_id,
                    deliveries: owed.remove(&id).unwrap_or_default(),
                })
            },
        )
        .collect::<Result<_, sqlx::Error>>()
        .map_err(doing("reading events"))
}

fn listing(filter: &EventFilter) -> Result<QueryBuilder<Sqlite>, StoreError> {
    let states = match filter
        .state
        .as_deref()
        .map(|name| (name, codec::delivery::parse(name)))
    {
        Some((name, None)) => {
            return Err(StoreError::Other(format!("no delivery is ever {name:?}")));
        }
        Some((_, states)) => states,
        None => None,
    };
    let limit = match filter.limit {
        0 => EVENTS_MAX,
        limit => limit.min(EVENTS_MAX),
    };
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT e.id, e.uuid, e.type, m.name, e.subject, e.time, e.stored_at, e.message_id \
         FROM event e LEFT JOIN mailbox m ON m.id = e.mailbox WHERE 1 = 1",
    );
    if let Some(mailbox) = &filter.mailbox {
        query
            .push(" AND e.mailbox = (SELECT id FROM mailbox WHERE name = ")
            .push_bind(mailbox.to_string())
            .push(")");
    }
    if let Some(kind) = filter.event_type {
        query.push(" AND e.type = ").push_bind(kind.as_str());
    }
    if let Some(message_id) = &filter.message_id {
        query
            .push(" AND substr(e.message_id, 1, 16) = substr(")
            .push_bind(message_id.clone());
        query
            .push(", 1, 16) AND e.message_id = ")
            .push_bind(message_id.clone());
    }
    if let Some(since) = filter.since {
        query.push(" AND e.stored_at >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND e.stored_at < ").push_bind(until.0);
    }
    if let Some(before) = filter.before {
        query
            .push(" AND e.id < coalesce((SELECT id FROM event WHERE uuid = ")
            .push_bind(before.as_bytes().to_vec())
            .push("), 0)");
    }
    if filter.endpoint.is_some() || states.is_some() {
        query.push(
            " AND e.id IN (SELECT event FROM delivery WHERE endpoint IN (SELECT id FROM endpoint",
        );
        if let Some(endpoint) = &filter.endpoint {
            query.push(" WHERE name = ").push_bind(endpoint.to_string());
        }
        query.push(")");
        if let Some([one, other]) = states {
            query
                .push(" AND state IN (")
                .push_bind(one)
                .push(", ")
                .push_bind(other)
                .push(")");
        }
        query.push(")");
    }
    query
        .push(" ORDER BY e.id DESC LIMIT ")
        .push_bind(i64::from(limit));
    Ok(query)
}

/// An event with all that became of it.
pub(crate) async fn event(
    readers: &Readers,
    uuid: Uuid,
) -> Result<Option<EventDetail>, StoreError> {
    let mut reader = readers.get().await?;
    event_detail(reader.conn(), uuid)
        .await
        .map_err(doing("reading an event"))
}

async fn event_detail(
    conn: &mut SqliteConnection,
    uuid: Uuid,
) -> Result<Option<EventDetail>, sqlx::Error> {
    type Columns = (
        i64,
        Vec<u8>,
        String,
        Option<String>,
        String,
        i64,
        i64,
        Option<String>,
        Option<String>,
        Option<Vec<u8>>,
        Vec<u8>,
    );
    let row: Option<Columns> = sqlx::query_as(
        "SELECT e.id, e.uuid, e.type, m.name, e.subject, e.time, e.stored_at, e.message_id, e.spool, e.fingerprint, e.data \
         FROM event e LEFT JOIN mailbox m ON m.id = e.mailbox WHERE e.id = \
         coalesce((SELECT id FROM event WHERE uuid = ?1), (SELECT event FROM event_alias WHERE uuid = ?1))",
    )
    .bind(uuid.as_bytes().as_slice())
    .fetch_optional(&mut *conn)
    .await?;
    let Some((id, own, kind, mailbox, subject, time, stored_at, message_id, spool, print, data)) =
        row
    else {
        return Ok(None);
    };
    let deliveries = deliveries(conn, &[id])
        .await?
        .remove(&id)
        .unwrap_or_default();
    Ok(Some(EventDetail {
        event: EventRow {
            id: Uuid::from_slice(&own).map_err(|error| sqlx::Error::Decode(error.into()))?,
            event_type: event_type(&kind)?,
            mailbox: mailbox.map(MailboxKey::new),
            subject,
            time: Wall(time),
            stored_at: Wall(stored_at),
            data: data.into(),
        },
        message_id,
        fingerprint: print.as_deref().and_then(codec::fingerprint),
        spool: spool.map(SpoolKey),
        attempts: attempts(conn, id).await?,
        deliveries,
    }))
}

/// Failed attempts have rows of their own; the one that delivered is on the delivery.
async fn attempts(conn: &mut SqliteConnection, event: i64) -> Result<Vec<AttemptRow>, sqlx::Error> {
    let rows: Vec<(i64, String, i64, i64, Option<i64>, String)> = sqlx::query_as(
        "SELECT d.id, p.name, a.at, a.took_ms, a.status, a.note FROM delivery d JOIN endpoint p ON p.id = d.endpoint \
         JOIN attempt a ON a.delivery = d.id WHERE d.event = ?1 \
         UNION ALL \
         SELECT d.id, p.name, d.settled_at, coalesce(d.took_ms, 0), d.last_status, coalesce(d.last_note, '') \
         FROM delivery d JOIN endpoint p ON p.id = d.endpoint WHERE d.event = ?1 AND d.state = 2 \
         ORDER BY 3, 1",
    )
    .bind(event)
    .fetch_all(conn)
    .await?;
    let row = |(delivery, endpoint, at, took, status, note): (
        i64,
        String,
        i64,
        i64,
        Option<i64>,
        String,
    )| AttemptRow {
        delivery,
        endpoint: EndpointKey::new(endpoint),
        at: Wall(at),
        took: Duration::from_millis(u64::try_from(took).unwrap_or(0)),
        status: status.and_then(|status| u16::try_from(status).ok()),
        note,
    };
    Ok(rows.into_iter().map(row).collect())
}

#[derive(sqlx::FromRow)]
struct Columns {
    event: i64,
    id: i64,
    endpoint: String,
    sequence: i64,
    state: i64,
    attempts: i64,
    due: i64,
    settled_at: Option<i64>,
    dead_reason: Option<String>,
    last_status: Option<i64>,
    last_note: Option<String>,
    first_attempt_at: Option<i64>,
    blocked: i64,
    aside: i64,
    replay: Option<String>,
    replay_order: Option<i64>,
    as_id: Option<Vec<u8>>,
}

async fn deliveries(
    conn: &mut SqliteConnection,
    events: &[i64],
) -> Result<HashMap<i64, Vec<DeliveryRow>>, sqlx::Error> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT d.event, d.id, p.name AS endpoint, d.sequence, d.state, d.attempts, d.due, d.settled_at, d.dead_reason, \
         d.last_status, d.last_note, d.first_attempt_at, d.blocked, d.aside, d.replay, d.replay_order, d.as_id \
         FROM json_each(?) AS asked CROSS JOIN delivery d ON d.event = asked.value \
         JOIN endpoint p ON p.id = d.endpoint ORDER BY d.id",
    )
    .bind(codec::id_list(events))
    .fetch_all(conn)
    .await?;
    let mut all: HashMap<i64, Vec<DeliveryRow>> = HashMap::new();
    for row in rows {
        let state = row.state;
        let waits = matches!(state, codec::delivery::PENDING | codec::delivery::LEASED);
        let delivered = state == codec::delivery::DELIVERED;
        all.entry(row.event).or_default().push(DeliveryRow {
            delivery: row.id,
            endpoint: EndpointKey::new(row.endpoint),
            sequence: row.sequence,
            state: state_name(state),
            attempts: count(row.attempts),
            due: waits.then_some(Wall(row.due)),
            delivered_at: row.settled_at.filter(|_| delivered).map(Wall),
            dead_reason: row.dead_reason,
            last_status: row
                .last_status
                .and_then(|status| u16::try_from(status).ok()),
            last_note: row.last_note,
            first_attempt_at: row.first_attempt_at.map(Wall),
            blocked: waits && row.blocked != 0,
            aside: row.aside != 0,
            replay: row.replay,
            replay_order: row.replay_order,
            as_id: row.as_id.and_then(|id| Uuid::from_slice(&id).ok()),
        });
    }
    Ok(all)
}

pub(crate) async fn watches(readers: &Readers) -> Result<Vec<WatchRow>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        name: String,
        folder: String,
        hold: Option<String>,
        last_proven: Option<i64>,
        #[sqlx(flatten)]
        cursor: CursorColumns,
    }
    let mut reader = readers.get().await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT m.name, w.folder, w.hold, w.last_proven, w.uid_validity, w.epoch, w.last_uid, w.floor_uid, w.gaps, \
         w.anchor_uid, w.anchor_print, w.sieve \
         FROM watch w JOIN mailbox m ON m.id = w.mailbox ORDER BY m.name, w.folder",
    )
    .fetch_all(reader.conn())
    .await
    .map_err(doing("listing watches"))?;
    let row = |row: Row| {
        let cursor = row.cursor.cursor()?;
        Ok(WatchRow {
            watch: WatchKey {
                mailbox: MailboxKey::new(row.name),
                folder: FolderName::new(row.folder),
            },
            uid_validity: cursor.as_ref().map(|cursor| cursor.uid_validity),
            last: cursor.as_ref().and_then(|cursor| cursor.last),
            floor: cursor.as_ref().and_then(|cursor| cursor.floor),
            gaps: cursor.map_or(0, |cursor| {
                u32::try_from(cursor.gaps.len()).unwrap_or(u32::MAX)
            }),
            hold: row.hold.as_deref().map(codec::parse_hold),
            last_proven: row.last_proven.map(Wall),
        })
    };
    rows.into_iter().map(row).collect()
}

pub(crate) async fn mailboxes(readers: &Readers) -> Result<Vec<MailboxRow>, StoreError> {
    let mut reader = readers.get().await?;
    let rows: Vec<(String, String, String, i64)> =
        sqlx::query_as("SELECT name, server, username, paused FROM mailbox ORDER BY name")
            .fetch_all(reader.conn())
            .await
            .map_err(doing("listing mailboxes"))?;
    let row = |(name, server, username, paused): (String, String, String, i64)| MailboxRow {
        mailbox: MailboxKey::new(name),
        account: Account { server, username },
        paused: paused != 0,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Where the message of an event is.
pub(crate) enum Kept {
    Here(Bytes),
    Spooled(SpoolKey),
}

/// Which of these files a row names.
pub(crate) async fn named(
    readers: &Readers,
    keys: &[SpoolKey],
) -> Result<Vec<SpoolKey>, StoreError> {
    let keys: Vec<&str> = keys.iter().map(|key| key.0.as_str()).collect();
    let keys = serde_json::Value::from(keys).to_string();
    let mut reader = readers.get().await?;
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT value FROM json_each(?1) WHERE value IN (SELECT spool FROM event WHERE spool IS NOT NULL) \
         OR value IN (SELECT spool FROM quarantine)",
    )
    .bind(keys)
    .fetch_all(reader.conn())
    .await
    .map_err(doing("looking which files are needed"))?;
    Ok(rows.into_iter().map(|(key,)| SpoolKey(key)).collect())
}

pub(crate) async fn raw(readers: &Readers, event: Uuid) -> Result<Option<Kept>, StoreError> {
    let mut reader = readers.get().await?;
    let row: Option<(Option<Vec<u8>>, Option<String>)> = sqlx::query_as(
        "SELECT r.data, e.spool FROM event e LEFT JOIN raw r ON r.event = e.id WHERE e.id = \
         coalesce((SELECT id FROM event WHERE uuid = ?1), (SELECT event FROM event_alias WHERE uuid = ?1))",
    )
    .bind(event.as_bytes().as_slice())
    .fetch_optional(reader.conn())
    .await
    .map_err(doing("reading a message"))?;
    Ok(row.and_then(|(data, spool)| match (data, spool) {
        (Some(data), _) => Some(Kept::Here(data.into())),
        (None, Some(spool)) => Some(Kept::Spooled(SpoolKey(spool))),
        (None, None) => None,
    }))
}
