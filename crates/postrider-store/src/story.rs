//! What became of single messages, for an operator who asks where one is: rows of the ledger by
//! message, by UID and newest first, and what a mailbox's endpoints still owe.

use postrider_core::{
    ids::{EndpointKey, FolderName, MailboxKey, Uid, WatchKey},
    time::Wall,
};

use crate::{
    codec,
    error::doing,
    model::{Owed, StoreError, Taken},
    readers::Readers,
};

/// A message is taken once, and known again once per break of continuity and folder.
const TAKEN_MAX: i64 = 100;

/// By the fingerprints of the events that have this Message-ID: there is no index of the ledger by
/// Message-ID, which it does not hold. So what never became an event, and what became one that was
/// pruned, is found by [`taken_at`] alone. The order of the joins is prescribed, for the indexes.
const OF_MESSAGE: &str = "SELECT DISTINCT w.folder, l.uid, l.epoch IS w.epoch, l.outcome, l.reason, l.found_by, \
    l.taken_at, l.internal_date FROM event e CROSS JOIN watch w ON w.mailbox = e.mailbox \
    CROSS JOIN ledger l INDEXED BY ledger_fingerprint ON l.watch = w.id \
    AND substr(l.fingerprint, 1, 8) = substr(e.fingerprint, 1, 8) \
    AND l.fingerprint = e.fingerprint AND l.fingerprint IS NOT NULL \
    WHERE substr(e.message_id, 1, 16) = substr(?1, 1, 16) AND e.message_id = ?1 \
    AND e.mailbox = (SELECT id FROM mailbox WHERE name = ?2) ORDER BY l.taken_at LIMIT ?3";

/// Of the present numbering of the folder.
const AT: &str = "SELECT w.folder, l.uid, 1, l.outcome, l.reason, l.found_by, l.taken_at, l.internal_date \
    FROM watch w CROSS JOIN ledger l ON l.watch = w.id AND l.epoch = w.epoch AND l.uid = ?3 \
    WHERE w.mailbox = (SELECT id FROM mailbox WHERE name = ?1) AND w.folder = ?2";

const NEWEST: &str = "SELECT w.folder, l.uid, 1, l.outcome, l.reason, l.found_by, l.taken_at, l.internal_date \
    FROM watch w CROSS JOIN ledger l ON l.watch = w.id AND l.epoch = w.epoch \
    WHERE w.mailbox = (SELECT id FROM mailbox WHERE name = ?1) AND w.folder = ?2 ORDER BY l.uid DESC LIMIT ?3";

/// What is not over, which is little; what is would be all that there ever was.
const OWED: &str = "SELECT p.name, sum(d.state < 2), sum(d.state = 3), min(CASE WHEN d.state < 2 THEN e.stored_at END) \
    FROM endpoint p CROSS JOIN delivery d ON d.endpoint = p.id AND d.state IN (0, 1, 3) \
    AND d.mailbox = (SELECT id FROM mailbox WHERE name = ?1) \
    CROSS JOIN event e ON e.id = d.event GROUP BY p.id ORDER BY p.name";

type Columns = (String, i64, i64, i64, i64, i64, i64, Option<i64>);

fn taken(mailbox: &MailboxKey, row: Columns) -> Option<Taken> {
    let (folder, uid, present, outcome, reason, found_by, taken_at, internal_date) = row;
    Some(Taken {
        watch: WatchKey {
            mailbox: mailbox.clone(),
            folder: FolderName::new(folder),
        },
        uid: codec::uid(uid)?,
        present: present != 0,
        outcome: outcome_name(outcome),
        reason: reason_name(outcome, reason),
        found_by: found_by_name(found_by),
        taken_at: Wall(taken_at),
        internal_date: internal_date.map(Wall),
    })
}

/// Every taking of the message with this Message-ID (without its angle brackets) that an event tells
/// of, oldest first.
pub(crate) async fn taken_of_message(
    readers: &Readers,
    mailbox: &MailboxKey,
    message_id: &str,
) -> Result<Vec<Taken>, StoreError> {
    let mut reader = readers.get().await?;
    let rows: Vec<Columns> = sqlx::query_as(OF_MESSAGE)
        .bind(message_id)
        .bind(mailbox.as_str())
        .bind(TAKEN_MAX)
        .fetch_all(reader.conn())
        .await
        .map_err(doing("looking for a message in the ledger"))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| taken(mailbox, row))
        .collect())
}

/// What became of a UID in the present numbering of its folder.
pub(crate) async fn taken_at(
    readers: &Readers,
    watch: &WatchKey,
    uid: Uid,
) -> Result<Option<Taken>, StoreError> {
    let mut reader = readers.get().await?;
    let row: Option<Columns> = sqlx::query_as(AT)
        .bind(watch.mailbox.as_str())
        .bind(watch.folder.as_str())
        .bind(i64::from(uid.get()))
        .fetch_optional(reader.conn())
        .await
        .map_err(doing("looking for a UID in the ledger"))?;
    Ok(row.and_then(|row| taken(&watch.mailbox, row)))
}

/// What was taken last in the present numbering of a folder, the highest UID first.
pub(crate) async fn newest_taken(
    readers: &Readers,
    watch: &WatchKey,
    limit: u32,
) -> Result<Vec<Taken>, StoreError> {
    let mut reader = readers.get().await?;
    let rows: Vec<Columns> = sqlx::query_as(NEWEST)
        .bind(watch.mailbox.as_str())
        .bind(watch.folder.as_str())
        .bind(i64::from(limit))
        .fetch_all(reader.conn())
        .await
        .map_err(doing("reading the end of the ledger"))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| taken(&watch.mailbox, row))
        .collect())
}

/// What each endpoint still owes of a mailbox's events, or gave up.
pub(crate) async fn owed(readers: &Readers, mailbox: &MailboxKey) -> Result<Vec<Owed>, StoreError> {
    let mut reader = readers.get().await?;
    let rows: Vec<(String, i64, i64, Option<i64>)> = sqlx::query_as(OWED)
        .bind(mailbox.as_str())
        .fetch_all(reader.conn())
        .await
        .map_err(doing("counting what is owed"))?;
    let row = |(endpoint, pending, dead, oldest): (String, i64, i64, Option<i64>)| Owed {
        endpoint: EndpointKey::new(endpoint),
        pending: u64::try_from(pending).unwrap_or(0),
        dead: u64::try_from(dead).unwrap_or(0),
        oldest_pending: oldest.map(Wall),
    };
    Ok(rows.into_iter().map(row).collect())
}

/// As [`codec::outcome`] writes them.
fn outcome_name(outcome: i64) -> &'static str {
    match outcome {
        1 => "event",
        2 => "known",
        3 => "skipped",
        4 => "quarantined",
        _ => "vanished",
    }
}

fn reason_name(outcome: i64, reason: i64) -> Option<&'static str> {
    match (outcome, reason) {
        (3, 1) => Some("before_start"),
        (3, 2) => Some("held"),
        (4, 1) => Some("unparseable"),
        (4, 2) => Some("no_body"),
        (4, 3) => Some("poison"),
        _ => None,
    }
}

/// As [`codec::found_by`] writes them.
fn found_by_name(found_by: i64) -> &'static str {
    match found_by {
        1 => "idle",
        2 => "cycle",
        3 => "start",
        4 => "order",
        _ => "audit",
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::watch::{Outcome, Reason, Why};
    use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

    use super::*;
    use crate::model::FoundBy;

    /// The steps of a query's plan, over all migrations.
    async fn plan(sql: &'static str) -> Vec<String> {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/sqlite");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .collect();
        files.sort();
        for file in files {
            let schema = std::fs::read_to_string(file).unwrap();
            sqlx::raw_sql(AssertSqlSafe(schema))
                .execute(&mut conn)
                .await
                .unwrap();
        }
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .fetch_all(&mut conn)
                .await
                .unwrap();
        steps.into_iter().map(|(_, _, _, step)| step).collect()
    }

    #[tokio::test]
    async fn no_question_walks_through_a_large_table() {
        for sql in [OF_MESSAGE, AT, NEWEST, OWED] {
            for step in plan(sql).await {
                let is_large = ["SCAN e", "SCAN l", "SCAN d"]
                    .iter()
                    .any(|scan| step == *scan || step.starts_with(&format!("{scan} ")));
                assert!(!is_large, "{step}\n{sql}");
            }
        }
        let steps = plan(OF_MESSAGE).await;
        let by_index = "SEARCH l USING INDEX ledger_fingerprint (watch=? AND <expr>=?)";
        assert!(steps.iter().any(|step| step == by_index), "{steps:#?}");
    }

    #[test]
    fn the_names_are_those_of_what_is_written() {
        for (outcome, name, reason) in [
            (Outcome::Event, "event", None),
            (Outcome::Known, "known", None),
            (
                Outcome::Skipped(Reason::BeforeStart),
                "skipped",
                Some("before_start"),
            ),
            (Outcome::Skipped(Reason::Held), "skipped", Some("held")),
            (
                Outcome::Quarantined(Why::Unparseable),
                "quarantined",
                Some("unparseable"),
            ),
            (
                Outcome::Quarantined(Why::NoBody),
                "quarantined",
                Some("no_body"),
            ),
            (
                Outcome::Quarantined(Why::Poison),
                "quarantined",
                Some("poison"),
            ),
            (Outcome::Vanished, "vanished", None),
        ] {
            let (number, why) = codec::outcome(outcome).unwrap();
            assert_eq!(
                (outcome_name(number), reason_name(number, why)),
                (name, reason)
            );
        }
        for (found_by, name) in [
            (FoundBy::Idle, "idle"),
            (FoundBy::Cycle, "cycle"),
            (FoundBy::Start, "start"),
            (FoundBy::Order, "order"),
            (FoundBy::Audit, "audit"),
        ] {
            assert_eq!(found_by_name(codec::found_by(found_by)), name);
        }
    }
}
