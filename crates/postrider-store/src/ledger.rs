//! Reading what was taken: the stored state of a watch, fingerprints, what the audit compares.

use std::collections::HashMap;

use postrider_core::{
    cursor::{Cursor, Epoch},
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity, WatchKey},
    time::Wall,
    watch::{ItemKey, Known, Stored},
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::{
    codec::{self, CursorColumns},
    error::doing,
    model::{Account, Commit, EventIdentity, NewEvent, StoreError},
    plan::{GENERATIONS_MAX, LedgerSeen, Seen, Work},
    readers::Readers,
    state::State,
};

/// Fingerprints or UIDs per lookup, so that none holds a reader for long.
const LOOKUP_MAX: usize = 1000;

/// What is stored of a mailbox and a watch; `None` where the mailbox is not known yet.
pub(crate) async fn stored(
    readers: &Readers,
    key: &WatchKey,
    account: &Account,
) -> Result<Option<Stored>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        server: String,
        username: String,
        paused: i64,
        first_sight: Option<i64>,
        suspects: Option<String>,
        hold: Option<String>,
        last_proven: Option<i64>,
        #[sqlx(flatten)]
        cursor: CursorColumns,
    }
    let mut reader = readers.get().await?;
    let row: Option<Row> = sqlx::query_as(
        "SELECT m.server, m.username, m.paused, w.first_sight, w.uid_validity, w.epoch, w.last_uid, w.floor_uid, \
         w.gaps, w.anchor_uid, w.anchor_print, w.sieve, w.suspects, w.hold, w.last_proven \
         FROM mailbox m LEFT JOIN watch w ON w.mailbox = m.id AND w.folder = ? WHERE m.name = ?",
    )
    .bind(key.folder.as_str())
    .bind(key.mailbox.as_str())
    .fetch_optional(reader.conn())
    .await
    .map_err(doing("reading the state of a watch"))?;
    let Some(row) = row else { return Ok(None) };
    let cursor = row.cursor.cursor()?;
    Ok(Some(Stored {
        state_lost: row.first_sight.is_some() && cursor.is_none(),
        cursor,
        hold: row.hold.as_deref().map(codec::parse_hold),
        first_sight: row.first_sight.map(Wall),
        last_proven: row.last_proven.map(Wall),
        suspects: codec::parse_suspects(row.suspects.as_deref().unwrap_or("[]"))
            .into_iter()
            .collect(),
        account_changed: row.server != account.server || row.username != account.username,
        unclean: false,
        paused: row.paused != 0,
    }))
}

/// A watch's row and cursor.
async fn find(
    conn: &mut SqliteConnection,
    key: &WatchKey,
) -> Result<Option<(i64, Option<Cursor>)>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: i64,
        #[sqlx(flatten)]
        cursor: CursorColumns,
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT w.id, w.uid_validity, w.epoch, w.last_uid, w.floor_uid, w.gaps, w.anchor_uid, w.anchor_print, w.sieve \
         FROM watch w JOIN mailbox m ON m.id = w.mailbox WHERE m.name = ? AND w.folder = ?",
    )
    .bind(key.mailbox.as_str())
    .bind(key.folder.as_str())
    .fetch_optional(conn)
    .await
    .map_err(doing("looking up a watch"))?;
    row.map(|row| Ok((row.id, row.cursor.cursor()?)))
        .transpose()
}

/// The order of the join and the index are prescribed: without statistics SQLite would rather walk
/// through the whole ledger of the watch.
const RECALL: &str = "SELECT l.fingerprint, \
    sum(l.epoch IS NOT ?1 AND l.outcome NOT IN (2, 5)) - sum(l.epoch IS ?1 AND l.outcome = 2) \
    FROM (SELECT DISTINCT unhex(value) AS print FROM json_each(?2)) AS asked \
    CROSS JOIN ledger l INDEXED BY ledger_fingerprint \
    ON l.watch = ?3 AND substr(l.fingerprint, 1, 8) = substr(asked.print, 1, 8) \
    AND l.fingerprint = asked.print AND l.fingerprint IS NOT NULL GROUP BY l.fingerprint";

/// How often each fingerprint was taken in other epochs than the present one (neither known nor
/// vanished, which took nothing), less its matches in the present one. The present epoch is the stored one while the stored cursor holds mail against
/// a break of continuity; before that is stored it has not begun, and all rows are of others.
pub(crate) async fn recall(
    readers: &Readers,
    key: &WatchKey,
    prints: &[Fingerprint],
) -> Result<Known, StoreError> {
    let mut reader = readers.get().await?;
    let Some((watch, cursor)) = find(reader.conn(), key).await? else {
        return Ok(Known::default());
    };
    let present = cursor
        .filter(|cursor| cursor.broken().is_some())
        .map(|cursor| cursor.epoch.0);
    let mut known = Known::default();
    for chunk in prints.chunks(LOOKUP_MAX) {
        let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(RECALL)
            .bind(present)
            .bind(codec::hex_list(
                chunk.iter().map(|print| print.0.as_slice()),
            ))
            .bind(watch)
            .fetch_all(reader.conn())
            .await
            .map_err(doing("looking up fingerprints"))?;
        known
            .matches
            .extend(rows.into_iter().filter_map(|(print, left_over)| {
                let count = u32::try_from(left_over).ok().filter(|count| *count > 0)?;
                Some((codec::fingerprint(&print)?, count))
            }));
    }
    Ok(known)
}

/// Which of these UIDs should be in the ledger and are not.
pub(crate) async fn audit_missing(
    readers: &Readers,
    key: &WatchKey,
    validity: UidValidity,
    uids: &[Uid],
) -> Result<Vec<Uid>, StoreError> {
    let mut reader = readers.get().await?;
    let Some((watch, Some(cursor))) = find(reader.conn(), key).await? else {
        return Ok(Vec::new());
    };
    if cursor.uid_validity != validity {
        return Ok(Vec::new());
    }
    let mut owed: Vec<Uid> = uids
        .iter()
        .copied()
        .filter(|uid| {
            Some(*uid) > cursor.floor && !cursor.is_above(*uid) && !cursor.gaps.contains(uid)
        })
        .collect();
    owed.sort_unstable();
    owed.dedup();
    let mut missing = Vec::new();
    for chunk in owed.chunks(LOOKUP_MAX) {
        let ids: Vec<i64> = chunk.iter().map(|uid| i64::from(uid.get())).collect();
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT value FROM json_each(?1) AS asked WHERE NOT EXISTS \
             (SELECT 1 FROM ledger l WHERE l.watch = ?2 AND l.epoch = ?3 AND l.uid = asked.value)",
        )
        .bind(codec::id_list(&ids))
        .bind(watch)
        .bind(cursor.epoch.0)
        .fetch_all(reader.conn())
        .await
        .map_err(doing("comparing UIDs with the ledger"))?;
        missing.extend(rows.into_iter().filter_map(|(uid,)| codec::uid(uid)));
    }
    Ok(missing)
}

/// What is in the database already of what these callers want to insert.
pub(crate) async fn look(
    conn: &mut SqliteConnection,
    state: &State,
    works: impl Iterator<Item = &Work>,
) -> Result<Seen, sqlx::Error> {
    let mut seen = Seen::default();
    let mut events: Vec<&NewEvent> = Vec::new();
    for work in works {
        match work {
            Work::Commit(commit) => {
                events.extend(&commit.events);
                look_at_ledger(conn, state, commit, &mut seen.ledger).await?;
            }
            Work::Event(event, _) => events.push(event),
            Work::Settle(_) | Work::Claim { .. } | Work::Ensure { .. } => {}
        }
    }
    let mut generation = 0;
    while !events.is_empty() && generation < GENERATIONS_MAX {
        let ids: Vec<Uuid> = events
            .iter()
            .map(|event| id_of(event, generation))
            .collect();
        let found: Vec<(Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT uuid, fingerprint FROM event WHERE uuid IN (SELECT unhex(value) FROM json_each(?))",
        )
        .bind(codec::hex_list(ids.iter().map(|id| id.as_bytes().as_slice())))
        .fetch_all(&mut *conn)
        .await?;
        let found: HashMap<Uuid, _> = found
            .into_iter()
            .filter_map(|(id, print)| {
                Some((
                    Uuid::from_slice(&id).ok()?,
                    print.as_deref().and_then(codec::fingerprint),
                ))
            })
            .collect();
        // Only what met its id under another fingerprint asks for its next one.
        events.retain(|event| match &event.identity {
            EventIdentity::Message(identity) => found
                .get(&id_of(event, generation))
                .is_some_and(|print| *print != Some(identity.fingerprint)),
            EventIdentity::System { .. } => false,
        });
        seen.events.extend(found);
        generation += 1;
    }
    Ok(seen)
}

fn id_of(event: &NewEvent, generation: u32) -> Uuid {
    match &event.identity {
        EventIdentity::Message(identity) => identity.id(generation),
        EventIdentity::System { id } => *id,
    }
}

async fn look_at_ledger(
    conn: &mut SqliteConnection,
    state: &State,
    commit: &Commit,
    seen: &mut HashMap<(i64, Epoch, Uid), LedgerSeen>,
) -> Result<(), sqlx::Error> {
    let Some(watch) = state.watches.get(&commit.watch) else {
        return Ok(());
    };
    let epoch = commit.entry.cursor.epoch;
    let uids: Vec<i64> = commit
        .entry
        .outcomes
        .iter()
        .map(|(ItemKey::Uid(uid), _)| i64::from(uid.get()))
        .collect();
    let rows: Vec<(i64, i64, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT l.uid, l.outcome, l.fingerprint FROM json_each(?1) AS asked \
         CROSS JOIN ledger l ON l.watch = ?2 AND l.epoch = ?3 AND l.uid = asked.value",
    )
    .bind(codec::id_list(&uids))
    .bind(watch.id)
    .bind(epoch.0)
    .fetch_all(conn)
    .await?;
    for (uid, outcome, fingerprint) in rows {
        if let Some(uid) = codec::uid(uid) {
            let fingerprint = fingerprint.as_deref().and_then(codec::fingerprint);
            seen.insert(
                (watch.id, epoch, uid),
                LedgerSeen {
                    outcome,
                    fingerprint,
                },
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;

    #[tokio::test]
    async fn fingerprints_are_found_by_their_index() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        crate::migrate::schema(&mut conn).await;
        let sql = format!("EXPLAIN QUERY PLAN {RECALL}");
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(1)
            .bind("[]")
            .bind(1)
            .fetch_all(&mut conn)
            .await
            .unwrap();
        let by_index = "SEARCH l USING INDEX ledger_fingerprint (watch=? AND <expr>=?)";
        assert!(
            plan.iter().any(|(_, _, _, step)| step == by_index),
            "{plan:#?}"
        );
    }
}
