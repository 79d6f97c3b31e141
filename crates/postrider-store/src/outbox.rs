//! Reading the outbox: what is due, what waits.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postrider_core::{
    delivery::order::OrderKey,
    event::EventType,
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::{
    codec,
    error::doing,
    model::{Claimed, EventRow, OutboxRow, StoreError},
    plan::Work,
    readers::Readers,
    state::State,
};

/// The longest that a due time may lie ahead. The writer and all handles share it.
#[derive(Clone, Debug)]
pub(crate) struct AheadMax(Arc<AtomicU64>);

impl AheadMax {
    pub(crate) fn new(longest: Duration) -> Self {
        let shared = Self(Arc::default());
        shared.set(longest);
        shared
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, longest: Duration) {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// A due time after `latest` comes from a clock that jumped: it is due now.
pub(crate) struct Due<'a> {
    pub(crate) endpoint: &'a EndpointKey,
    pub(crate) id: i64,
    pub(crate) now: Wall,
    pub(crate) latest: Wall,
    pub(crate) limit: i64,
}

/// Two ranges of one index, so that it costs the same however much waits.
const DUE: &str = "WITH due (id, due) AS ( \
    SELECT * FROM (SELECT id, due FROM delivery WHERE endpoint = ?1 AND state = 0 AND blocked = 0 AND due <= ?2 \
                   ORDER BY due, id LIMIT ?4) \
    UNION ALL \
    SELECT * FROM (SELECT id, due FROM delivery WHERE endpoint = ?1 AND state = 0 AND blocked = 0 AND due > ?3 \
                   ORDER BY due, id LIMIT ?4)) \
    SELECT d.id, d.sequence, d.attempts, d.first_attempt_at, d.refusals, d.refused_since, d.own_time_ms, d.replay, \
           d.order_key, d.aside, d.when_failed, coalesce(d.as_id, e.uuid) AS uuid, e.type, m.name, e.subject, e.time, e.stored_at, e.data \
    FROM due JOIN delivery d ON d.id = due.id JOIN event e ON e.id = d.event \
    LEFT JOIN mailbox m ON m.id = e.mailbox ORDER BY due.due, d.id LIMIT ?4";

#[derive(sqlx::FromRow)]
struct DueRow {
    id: i64,
    sequence: i64,
    attempts: i64,
    first_attempt_at: Option<i64>,
    refusals: i64,
    refused_since: Option<i64>,
    own_time_ms: i64,
    replay: Option<String>,
    order_key: Option<i64>,
    aside: i64,
    when_failed: i64,
    uuid: Vec<u8>,
    r#type: String,
    name: Option<String>,
    subject: String,
    time: i64,
    stored_at: i64,
    data: Vec<u8>,
}

impl Due<'_> {
    pub(crate) async fn read(
        &self,
        conn: &mut SqliteConnection,
    ) -> Result<Vec<Claimed>, sqlx::Error> {
        let rows: Vec<DueRow> = sqlx::query_as(DUE)
            .bind(self.id)
            .bind(self.now.0)
            .bind(self.latest.0)
            .bind(self.limit)
            .fetch_all(conn)
            .await?;
        rows.into_iter().map(|row| self.claimed(row)).collect()
    }

    fn claimed(&self, row: DueRow) -> Result<Claimed, sqlx::Error> {
        Ok(Claimed {
            delivery: row.id,
            endpoint: self.endpoint.clone(),
            sequence: row.sequence,
            attempts: count(row.attempts),
            first_attempt_at: row.first_attempt_at.map(Wall),
            refusals: count(row.refusals),
            refused_since: row.refused_since.map(Wall),
            own_time: Duration::from_millis(u64::try_from(row.own_time_ms).unwrap_or(0)),
            replay: row.replay,
            order: row.order_key.map(OrderKey),
            aside: row.aside != 0,
            when_failed: row.when_failed != 0,
            event: EventRow {
                id: Uuid::from_slice(&row.uuid)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
                event_type: event_type(&row.r#type)?,
                mailbox: row.name.map(MailboxKey::new),
                subject: row.subject,
                time: Wall(row.time),
                stored_at: Wall(row.stored_at),
                data: row.data.into(),
            },
        })
    }
}

pub(crate) fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(crate) fn event_type(text: &str) -> Result<EventType, sqlx::Error> {
    EventType::parse(text)
        .ok_or_else(|| sqlx::Error::Decode(format!("unknown event type {text}").into()))
}

/// The lines in which new deliveries of these works would have to wait. The index is prescribed: SQLite
/// would rather walk through all that waits for the endpoint.
const BUSY: &str = "SELECT v.value ->> 0, v.value ->> 1 FROM json_each(?1) AS v WHERE EXISTS \
    (SELECT 1 FROM delivery AS d INDEXED BY delivery_order WHERE d.endpoint = v.value ->> 0 AND d.order_key = v.value ->> 1 \
    AND d.order_key IS NOT NULL AND d.state < 2 AND d.aside = 0)";

/// Asks only where some endpoint wants order.
pub(crate) async fn lines<'a>(
    conn: &mut SqliteConnection,
    state: &State,
    works: impl Iterator<Item = &'a Work>,
) -> Result<HashSet<(i64, OrderKey)>, sqlx::Error> {
    let mut asked: HashSet<(i64, i64)> = HashSet::new();
    for work in works {
        for delivery in work.events().iter().flat_map(|event| &event.deliveries) {
            // An endpoint that the store does not know has nothing that waits.
            let endpoint = state.endpoints.get(&delivery.endpoint);
            if let (Some(endpoint), Some(line)) = (endpoint, delivery.order) {
                asked.insert((endpoint.id, line.0));
            }
        }
    }
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let pairs: Vec<String> = asked
        .iter()
        .map(|(endpoint, line)| format!("[{endpoint},{line}]"))
        .collect();
    let busy: Vec<(i64, i64)> = sqlx::query_as(BUSY)
        .bind(format!("[{}]", pairs.join(",")))
        .fetch_all(conn)
        .await?;
    Ok(busy
        .into_iter()
        .map(|(endpoint, line)| (endpoint, OrderKey(line)))
        .collect())
}

/// Each is the one end of an index.
const NEXT_DUE: &str = "SELECT p.name, \
    (SELECT min(due) FROM delivery WHERE endpoint = p.id AND state = 0 AND blocked = 0), \
    (SELECT max(due) FROM delivery WHERE endpoint = p.id AND state = 0 AND blocked = 0) FROM endpoint p";

/// When each endpoint that has pending deliveries has the next one due.
pub(crate) async fn next_due(
    readers: &Readers,
    now: Wall,
    ahead_max: Duration,
) -> Result<Vec<(EndpointKey, Wall)>, StoreError> {
    let mut reader = readers.get().await?;
    let rows: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(NEXT_DUE)
        .fetch_all(reader.conn())
        .await
        .map_err(doing("looking for what is due next"))?;
    let latest = now + ahead_max;
    Ok(rows
        .into_iter()
        .filter_map(|(name, first, last)| {
            let first = Wall(first?);
            let jumped = last.is_some_and(|last| Wall(last) > latest);
            Some((
                EndpointKey::new(name),
                if jumped { now.min(first) } else { first },
            ))
        })
        .collect())
}

/// Whether the store knows an endpoint of this name.
pub(crate) async fn knows(readers: &Readers, endpoint: &EndpointKey) -> Result<bool, StoreError> {
    let mut reader = readers.get().await?;
    let (known,): (bool,) = sqlx::query_as("SELECT EXISTS (SELECT 1 FROM endpoint WHERE name = ?)")
        .bind(endpoint.as_str())
        .fetch_one(reader.conn())
        .await
        .map_err(doing("looking for an endpoint"))?;
    Ok(known)
}

/// The deliveries of each endpoint that the store knows, by state.
pub(crate) async fn rows(readers: &Readers) -> Result<Vec<OutboxRow>, StoreError> {
    type Columns = (String, i64, i64, i64, i64, i64, i64, Option<i64>);
    let mut reader = readers.get().await?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT p.name, p.paused, coalesce(d.pending, 0), coalesce(d.blocked, 0), coalesce(d.delivered, 0) + p.pruned_delivered, \
         coalesce(d.dead, 0), coalesce(d.discarded, 0) + p.pruned_discarded, \
         (SELECT e.stored_at FROM delivery o JOIN event e ON e.id = o.event WHERE o.id = d.oldest) \
         FROM endpoint p LEFT JOIN (SELECT endpoint, sum(state < 2) AS pending, \
         sum(state < 2 AND blocked = 1) AS blocked, sum(state = 2) AS delivered, \
         sum(state = 3) AS dead, sum(state = 4) AS discarded, min(CASE WHEN state < 2 THEN id END) AS oldest \
         FROM delivery GROUP BY endpoint) AS d ON d.endpoint = p.id ORDER BY p.name",
    )
    .fetch_all(reader.conn())
    .await
    .map_err(doing("counting the outbox"))?;
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(rows
        .into_iter()
        .map(
            |(name, paused, pending, blocked, delivered, dead, discarded, oldest)| OutboxRow {
                endpoint: EndpointKey::new(name),
                pending: whole(pending),
                blocked: whole(blocked),
                delivered: whole(delivered),
                dead: whole(dead),
                discarded: whole(discarded),
                oldest_pending: oldest.map(Wall),
                paused: paused != 0,
            },
        )
        .collect())
}

/// A state's name in the model.
pub(crate) fn state_name(state: i64) -> String {
    codec::delivery::name(state).to_owned()
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;
    use crate::migrate;

    /// The steps of a query's plan.
    async fn plan(query: &str, parameters: usize) -> Vec<String> {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::schema(&mut conn).await;
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let mut query = sqlx::query_as(sql);
        for _ in 0..parameters {
            query = query.bind("[]");
        }
        let plan: Vec<(i64, i64, i64, String)> = query.fetch_all(&mut conn).await.unwrap();
        plan.into_iter().map(|(_, _, _, step)| step).collect()
    }

    fn searches(steps: &[String], by_index: &str) -> usize {
        let found = steps.iter().filter(|step| step.starts_with(by_index));
        found.count()
    }

    /// Nothing is walked through but what stands in this list.
    fn assert_walks_only(steps: &[String], short: &[&str]) {
        let walked = steps.iter().filter_map(|step| step.strip_prefix("SCAN "));
        for what in walked {
            assert!(
                short.iter().any(|known| what.starts_with(known)),
                "{steps:#?}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_due_is_found_without_a_scan() {
        let steps = plan(DUE, 4).await;
        let by_index = "SEARCH delivery USING COVERING INDEX delivery_due (endpoint=? AND state=? AND blocked=? AND due";
        assert_eq!(searches(&steps, by_index), 2, "{steps:#?}");
        // Only the short list of what was found, which is bounded by the claim.
        assert_walks_only(&steps, &["due", "(subquery", "SUBQUERY"]);
    }

    #[tokio::test]
    async fn the_next_due_time_is_the_end_of_an_index_for_each_endpoint() {
        let steps = plan(NEXT_DUE, 0).await;
        let by_index = "SEARCH delivery USING COVERING INDEX delivery_due (endpoint=? AND state=? AND blocked=?)";
        assert_eq!(searches(&steps, by_index), 2, "{steps:#?}");
        assert_walks_only(&steps, &["p"]);
    }

    #[tokio::test]
    async fn whether_a_line_is_busy_is_one_search_however_long_it_is() {
        let steps = plan(BUSY, 1).await;
        let by_index = "SEARCH d EXISTS USING INDEX delivery_order (endpoint=? AND order_key=?)";
        assert_eq!(searches(&steps, by_index), 1, "{steps:#?}");
        assert_walks_only(&steps, &["v VIRTUAL TABLE"]);
    }
}
