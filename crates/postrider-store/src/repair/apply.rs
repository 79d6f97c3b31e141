//! One step of an order, in one transaction with its audit row. The states are looked at again: what
//! was changed since it was looked up is left as it is, and not counted.

use std::collections::{BTreeMap, BTreeSet};

use postrider_core::{event::replay_id, ids::EndpointKey, time::Wall};
use serde_json::{Value, json};
use sqlx::{Executor as _, SqliteConnection};
use uuid::Uuid;

use super::{Id, Spread};
use crate::{
    audit::Audit,
    codec,
    rare::Did,
    state::{EndpointState, State},
};

/// A step of an order of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    pub(crate) todo: Todo,
    /// Deliveries; events, where something is owed that was not.
    pub(crate) ids: Vec<i64>,
    pub(crate) audit: Audit,
    /// Who gives the order.
    pub(crate) by: String,
}

/// `first` is the index of the step's first delivery in its order.
#[derive(Clone, Debug)]
pub(crate) enum Todo {
    Again {
        states: Vec<i64>,
        id: Id,
        spread: Spread,
        first: u64,
    },
    Owe {
        endpoint: EndpointKey,
        /// Events of which the endpoint's condition could say nothing.
        unsure: BTreeSet<i64>,
        spread: Spread,
        first: u64,
    },
    Discard {
        states: Vec<i64>,
        now: Wall,
    },
    Cancel {
        replay: i64,
        now: Wall,
    },
}

impl Repair {
    pub(crate) fn name(&self) -> &'static str {
        match &self.todo {
            Todo::Again { .. } | Todo::Owe { .. } => "replaying",
            Todo::Discard { .. } => "discarding",
            Todo::Cancel { .. } => "taking a replay back",
        }
    }
}

/// A delivery that may be changed.
#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    uuid: Vec<u8>,
    endpoint: String,
    replays: i64,
}

pub(crate) async fn perform(
    conn: &mut SqliteConnection,
    state: &mut State,
    repair: &Repair,
) -> Result<Did, sqlx::Error> {
    conn.execute("BEGIN IMMEDIATE").await?;
    let mut owed = None;
    let by_endpoint = match &repair.todo {
        Todo::Again {
            states,
            id,
            spread,
            first,
        } => {
            let rows = rows(conn, &repair.ids, states).await?;
            let again: Vec<Again> = (*first..)
                .zip(&rows)
                .map(|(index, row)| Again::of(row, *id, *spread, (index, &repair.by)))
                .collect();
            // The number of the replay goes into each delivery, and is that of the audit row.
            let count = rows.len() as u64;
            return match count {
                0 => committed(conn, Did::default()).await,
                count => {
                    let audit = repair.audit.write(&mut *conn, count).await?;
                    send_again(conn, &again, audit).await?;
                    let did = Did {
                        count,
                        audit: Some(audit),
                        by_endpoint: per_endpoint(&rows),
                        ..Did::default()
                    };
                    committed(conn, did).await
                }
            };
        }
        Todo::Owe {
            endpoint,
            unsure,
            spread,
            first,
        } => return owe(conn, state, repair, (endpoint, unsure), (*spread, *first)).await,
        Todo::Discard { states, now } => {
            let rows = rows(conn, &repair.ids, states).await?;
            give_up(conn, &rows, *now).await?;
            per_endpoint(&rows)
        }
        Todo::Cancel { replay, now } => {
            owed = Some(take_back(conn, &repair.ids, *replay, *now).await?);
            BTreeMap::new()
        }
    };
    let count = owed.unwrap_or_else(|| by_endpoint.values().sum());
    let audit = match count {
        0 => None,
        count => Some(repair.audit.write(&mut *conn, count).await?),
    };
    let did = Did {
        count,
        audit,
        by_endpoint,
        ..Did::default()
    };
    committed(conn, did).await
}

async fn committed(conn: &mut SqliteConnection, did: Did) -> Result<Did, sqlx::Error> {
    conn.execute("COMMIT").await?;
    Ok(did)
}

async fn rows(
    conn: &mut SqliteConnection,
    ids: &[i64],
    states: &[i64],
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "SELECT d.id, e.uuid, p.name AS endpoint, d.replays FROM json_each(?1) AS v \
         CROSS JOIN delivery d ON d.id = v.value CROSS JOIN event e ON e.id = d.event \
         CROSS JOIN endpoint p ON p.id = d.endpoint \
         WHERE d.state IN (SELECT value FROM json_each(?2)) ORDER BY d.id",
    )
    .bind(codec::id_list(ids))
    .bind(codec::id_list(states))
    .fetch_all(conn)
    .await
}

fn per_endpoint(rows: &[Row]) -> BTreeMap<EndpointKey, u64> {
    let mut counts: BTreeMap<EndpointKey, u64> = BTreeMap::new();
    for row in rows {
        *counts
            .entry(EndpointKey::new(row.endpoint.clone()))
            .or_default() += 1;
    }
    counts
}

/// How a delivery is sent again.
struct Again {
    delivery: i64,
    due: Wall,
    as_id: Option<Uuid>,
    mark: String,
}

impl Again {
    fn of(row: &Row, id: Id, spread: Spread, (index, by): (u64, &str)) -> Self {
        let number = u32::try_from(row.replays + 1).unwrap_or(u32::MAX);
        let event = Uuid::from_slice(&row.uuid).unwrap_or_default();
        let as_id = match id {
            Id::Same => None,
            Id::New => Some(replay_id(event, number)),
        };
        Self {
            delivery: row.id,
            due: spread.due(index),
            as_id,
            mark: mark((spread.now, by), number, as_id.map(|_| event)),
        }
    }

    fn columns(&self) -> Value {
        let as_id = self.as_id.map(|id| id.simple().to_string());
        json!([self.delivery, self.due.0, as_id, self.mark])
    }
}

/// As it goes into `data.delivery.replay`. `of` is the event's own id where it goes out under
/// another one.
fn mark((at, by): (Wall, &str), number: u32, of: Option<Uuid>) -> String {
    let (at, as_new) = (at.rfc3339(), of.is_some());
    let of = of.map(|id| id.to_string());
    json!({"at": at, "by": by, "number": number, "as_new": as_new, "of": of}).to_string()
}

/// The attempt that delivered it, of which the delivery's own row will not tell any more.
const DELIVERED_BEFORE: &str = "INSERT INTO attempt (delivery, at, took_ms, status, note) \
    SELECT d.id, d.settled_at, coalesce(d.took_ms, 0), d.last_status, coalesce(d.last_note, '') \
    FROM json_each(?) AS v CROSS JOIN delivery d ON d.id = v.value ->> 0 WHERE d.state = 2";

/// What a delivery was is kept, for taking the replay back.
const AGAIN: &str = "UPDATE delivery SET former = json_object('state', state, 'settled_at', settled_at, \
    'dead_reason', dead_reason, 'refusals', refusals, 'refused_since', refused_since, 'own_time_ms', own_time_ms, \
    'aside', aside, 'as_id', nullif(hex(as_id), ''), 'replay', replay, 'attempts', attempts, 'took_ms', took_ms, \
    'last_status', last_status, 'last_note', last_note), \
    state = 0, due = v.value ->> 1, as_id = unhex(v.value ->> 2), replay = v.value ->> 3, replay_order = ?2, \
    replays = replays + 1, refusals = 0, refused_since = NULL, own_time_ms = 0, settled_at = NULL, \
    dead_reason = NULL, blocked = 0, aside = 1 FROM json_each(?1) AS v WHERE delivery.id = v.value ->> 0";

async fn send_again(
    conn: &mut SqliteConnection,
    again: &[Again],
    audit: i64,
) -> Result<(), sqlx::Error> {
    let list = Value::from_iter(again.iter().map(Again::columns)).to_string();
    let before = sqlx::query(DELIVERED_BEFORE).bind(&list);
    before.execute(&mut *conn).await?;
    let again_now = sqlx::query(AGAIN).bind(&list).bind(audit);
    again_now.execute(&mut *conn).await?;
    if again.iter().any(|one| one.as_id.is_some()) {
        sqlx::query(
            "INSERT OR IGNORE INTO event_alias (uuid, event) SELECT d.as_id, d.event FROM json_each(?) AS v \
             CROSS JOIN delivery d ON d.id = v.value ->> 0 WHERE d.as_id IS NOT NULL",
        )
        .bind(&list)
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// Where one of them held up a line, the next one of it may go.
async fn give_up(conn: &mut SqliteConnection, rows: &[Row], now: Wall) -> Result<(), sqlx::Error> {
    let ids = codec::id_list(&rows.iter().map(|row| row.id).collect::<Vec<_>>());
    for statement in [
        "UPDATE delivery SET state = 4, settled_at = ?1, blocked = 0 WHERE id IN (SELECT value FROM json_each(?2))",
        "UPDATE delivery SET blocked = 0, due = ?1 WHERE blocked = 1 AND id IN (SELECT \
         (SELECT min(next.id) FROM delivery AS next INDEXED BY delivery_order WHERE next.endpoint = gone.endpoint \
         AND next.order_key = gone.order_key AND next.order_key IS NOT NULL AND next.state < 2 AND next.aside = 0) \
         FROM delivery AS gone WHERE gone.id IN (SELECT value FROM json_each(?2)))",
    ] {
        let query = sqlx::query(statement).bind(now.0).bind(&ids);
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// The attempt that delivered it is told by the delivery's own row again.
const DELIVERED_STILL: &str = "DELETE FROM attempt WHERE id IN (SELECT max(a.id) FROM json_each(?1) AS v \
    CROSS JOIN delivery d ON d.id = v.value JOIN attempt a ON a.delivery = d.id AND a.at = d.former ->> 'settled_at' \
    WHERE d.state = 0 AND d.replay_order = ?2 AND d.former ->> 'state' = 2 GROUP BY d.id)";

const BACK: &str = "UPDATE delivery SET state = coalesce(former ->> 'state', 4), \
    settled_at = CASE WHEN former IS NULL THEN ?3 ELSE former ->> 'settled_at' END, \
    dead_reason = former ->> 'dead_reason', refusals = coalesce(former ->> 'refusals', refusals), \
    refused_since = former ->> 'refused_since', own_time_ms = coalesce(former ->> 'own_time_ms', own_time_ms), \
    took_ms = iif(former ->> 'attempts' IS NULL, took_ms, former ->> 'took_ms'), \
    last_status = iif(former ->> 'attempts' IS NULL, last_status, former ->> 'last_status'), \
    last_note = iif(former ->> 'attempts' IS NULL, last_note, former ->> 'last_note'), \
    aside = coalesce(former ->> 'aside', aside), as_id = unhex(former ->> 'as_id'), \
    replay = former ->> 'replay', replay_order = NULL, former = NULL \
    WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0 AND replay_order = ?2";

/// What was not owed before the replay is given up: its place in the sequence was told.
async fn take_back(
    conn: &mut SqliteConnection,
    ids: &[i64],
    replay: i64,
    now: Wall,
) -> Result<u64, sqlx::Error> {
    let ids = codec::id_list(ids);
    let still = sqlx::query(DELIVERED_STILL).bind(&ids).bind(replay);
    still.execute(&mut *conn).await?;
    let back = sqlx::query(BACK).bind(&ids).bind(replay).bind(now.0);
    Ok(back.execute(conn).await?.rows_affected())
}

/// By event, whatever the planner thinks: an event has few deliveries, an endpoint has all of them.
const NOT_OWED: &str = "SELECT e.id, e.mailbox FROM json_each(?1) AS v CROSS JOIN event e ON e.id = v.value \
    WHERE e.mailbox IS NOT NULL AND NOT EXISTS \
    (SELECT 1 FROM delivery d WHERE d.event = e.id AND +d.endpoint = ?2) ORDER BY e.id";

/// Events that are owed to an endpoint from now on. Sequences and ids are the writer's to give out.
async fn owe(
    conn: &mut SqliteConnection,
    state: &mut State,
    repair: &Repair,
    (endpoint, unsure): (&EndpointKey, &BTreeSet<i64>),
    (spread, first): (Spread, u64),
) -> Result<Did, sqlx::Error> {
    let known = state.endpoints.get(endpoint).copied();
    let mut ids = state.ids;
    let mut place = known.unwrap_or_else(|| {
        ids.endpoint += 1;
        EndpointState {
            id: ids.endpoint,
            sequence: 0,
        }
    });
    let events: Vec<(i64, i64)> = sqlx::query_as(NOT_OWED)
        .bind(codec::id_list(&repair.ids))
        .bind(place.id)
        .fetch_all(&mut *conn)
        .await?;
    if events.is_empty() {
        return committed(conn, Did::default()).await;
    }
    let count = events.len() as u64;
    let audit = repair.audit.write(&mut *conn, count).await?;
    let mut per_mailbox: BTreeMap<i64, i64> = BTreeMap::new();
    let mut list = Vec::with_capacity(events.len());
    for (index, (event, mailbox)) in (first..).zip(&events) {
        ids.delivery += 1;
        place.sequence += 1;
        *per_mailbox.entry(*mailbox).or_default() += 1;
        let due = spread.due(index).0;
        let failed = i64::from(unsure.contains(event));
        list.push(json!([
            ids.delivery,
            event,
            place.sequence,
            mailbox,
            due,
            failed
        ]));
    }
    sqlx::query(
        "INSERT INTO endpoint (id, name, sequence) VALUES (?1, ?2, ?3) \
         ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence",
    )
    .bind(place.id)
    .bind(endpoint.as_str())
    .bind(place.sequence)
    .execute(&mut *conn)
    .await?;
    let marked = (mark((spread.now, &repair.by), 1, None), audit);
    insert(conn, Value::from(list), (place.id, state.run), marked).await?;
    count_for_mailboxes(conn, &per_mailbox).await?;
    let did = committed(
        conn,
        Did {
            count,
            audit: Some(audit),
            by_endpoint: [(endpoint.clone(), count)].into(),
            ..Did::default()
        },
    )
    .await?;
    state.ids = ids;
    state.endpoints.insert(endpoint.clone(), place);
    Ok(did)
}

/// Each of `list` is a delivery: id, event, sequence, mailbox, due, and whether its condition failed.
async fn insert(
    conn: &mut SqliteConnection,
    list: Value,
    (endpoint, run): (i64, i64),
    (mark, audit): (String, i64),
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO delivery (id, event, endpoint, sequence, mailbox, state, due, run, aside, replays, replay, replay_order, \
         when_failed) SELECT v.value ->> 0, v.value ->> 1, ?2, v.value ->> 2, v.value ->> 3, 0, v.value ->> 4, ?3, 1, 1, ?4, ?5, \
         v.value ->> 5 \
         FROM json_each(?1) AS v",
    )
    .bind(list.to_string())
    .bind(endpoint)
    .bind(run)
    .bind(mark)
    .bind(audit)
    .execute(conn)
    .await
    .map(drop)
}

/// Deliveries are counted apart from their rows, so that one that got lost shows.
async fn count_for_mailboxes(
    conn: &mut SqliteConnection,
    added: &BTreeMap<i64, i64>,
) -> Result<(), sqlx::Error> {
    let added: Vec<Value> = added.iter().map(|(id, count)| json!([id, count])).collect();
    sqlx::query(
        "UPDATE mailbox SET deliveries = mailbox.deliveries + (v.value ->> 1) FROM json_each(?) AS v \
         WHERE mailbox.id = v.value ->> 0",
    )
    .bind(Value::from(added).to_string())
    .execute(conn)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;
    use crate::migrate;

    #[tokio::test]
    async fn what_is_owed_already_is_found_by_its_event() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::schema(&mut conn).await;
        for sql in [NOT_OWED, super::super::select::NEVER] {
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                    .fetch_all(&mut conn)
                    .await
                    .unwrap();
            let by_event = "SEARCH d USING INDEX delivery_event (event=?)";
            assert!(plan.iter().any(|(.., step)| step == by_event), "{plan:#?}");
        }
    }
}
