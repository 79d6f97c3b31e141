//! Messages that an endpoint got already from another mailbox or folder: known by their Message-ID,
//! within a time that the endpoint's settings say.

use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::{
    model::{NewDelivery, NewEvent},
    plan::Work,
    state::State,
};

/// Which event an endpoint (by its row) was owed for a Message-ID.
#[derive(Debug, Default)]
pub(crate) struct Twins(HashMap<(i64, String), Uuid>);

/// What was discarded or given up is no reason to leave another one out. The joins are in this order,
/// by these indexes, whatever the tables' sizes are: a Message-ID has few events, an endpoint many.
const SENT: &str = "SELECT v.value ->> 0, v.value ->> 1, e.uuid FROM json_each(?1) AS v \
    CROSS JOIN event AS e ON substr(e.message_id, 1, 16) = substr(v.value ->> 1, 1, 16) \
    AND e.message_id IS NOT NULL AND e.message_id = v.value ->> 1 AND e.stored_at >= v.value ->> 2 \
    CROSS JOIN delivery AS d ON d.event = e.id AND +d.endpoint = v.value ->> 0 AND +d.state < 3 \
    ORDER BY d.id DESC";

impl Twins {
    /// Asks only where an endpoint wants it.
    pub(crate) async fn look<'a>(
        conn: &mut SqliteConnection,
        state: &State,
        works: impl Iterator<Item = &'a Work>,
    ) -> Result<Self, sqlx::Error> {
        let mut asked: HashSet<(i64, &str, i64)> = HashSet::new();
        for event in works.flat_map(Work::events) {
            for delivery in &event.deliveries {
                let endpoint = state.endpoints.get(&delivery.endpoint);
                if let (Some(endpoint), Some(since), Some(id)) =
                    (endpoint, delivery.twins_since, &event.message_id)
                {
                    asked.insert((endpoint.id, id, since.0));
                }
            }
        }
        if asked.is_empty() {
            return Ok(Self::default());
        }
        let asked = serde_json::to_string(&asked.into_iter().collect::<Vec<_>>())
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        let rows: Vec<(i64, String, Vec<u8>)> =
            sqlx::query_as(SENT).bind(asked).fetch_all(conn).await?;
        let found = rows.into_iter().filter_map(|(endpoint, id, uuid)| {
            Some(((endpoint, id), Uuid::from_slice(&uuid).ok()?))
        });
        Ok(Self(found.collect()))
    }

    /// The event that the endpoint was owed before; without one, this is what later ones are
    /// measured by.
    pub(crate) fn before(
        &mut self,
        endpoint: i64,
        event: &NewEvent,
        delivery: &NewDelivery,
        uuid: Uuid,
    ) -> Option<Uuid> {
        delivery.twins_since?;
        let key = (endpoint, event.message_id.clone()?);
        match self.0.get(&key) {
            Some(first) => Some(*first),
            None => {
                self.0.insert(key, uuid);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;
    use crate::migrate;

    #[tokio::test]
    async fn twins_are_found_by_index() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::schema(&mut conn).await;
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {SENT}")))
                .bind("[]")
                .fetch_all(&mut conn)
                .await
                .unwrap();
        let steps: Vec<String> = plan.into_iter().map(|(_, _, _, step)| step).collect();
        let by_index = |name: &str| steps.iter().any(|step| step.contains(name));
        assert!(
            by_index("event_message_id") && by_index("delivery_event"),
            "{steps:#?}"
        );
    }
}
