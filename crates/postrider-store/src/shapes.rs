//! The statements of the writer, one per table and kind of change.

use crate::rows::Shape;

macro_rules! filtered {
    () => {
        ") WHERE column1 IS NOT NULL"
    };
}

pub(crate) static MAILBOX_NEW: Shape = Shape {
    head: "INSERT INTO mailbox (id, name, server, username, known_since) SELECT * FROM (",
    width: 5,
    tail: filtered!(),
};

/// Deliveries of events that came without a watch.
pub(crate) static MAILBOX_COUNT: Shape = Shape {
    head: "UPDATE mailbox SET deliveries = mailbox.deliveries + v.column2 FROM (",
    width: 2,
    tail: ") AS v WHERE mailbox.id = v.column1",
};

pub(crate) static ENDPOINT_NEW: Shape = Shape {
    head: "INSERT INTO endpoint (id, name) SELECT * FROM (",
    width: 2,
    tail: filtered!(),
};

pub(crate) static ENDPOINT_SEQUENCE: Shape = Shape {
    head: "UPDATE endpoint SET sequence = v.column2 FROM (",
    width: 2,
    tail: ") AS v WHERE endpoint.id = v.column1",
};

pub(crate) static WATCH_NEW: Shape = Shape {
    head: "INSERT INTO watch (id, mailbox, folder, first_sight) SELECT * FROM (",
    width: 4,
    tail: filtered!(),
};

pub(crate) static WATCH_SET: Shape = Shape {
    head: "UPDATE watch SET uid_validity = v.column2, epoch = v.column3, last_uid = v.column4, \
           floor_uid = v.column5, gaps = v.column6, anchor_uid = v.column7, anchor_print = v.column8, \
           sieve = v.column9, suspects = v.column10, hold = v.column11, \
           last_proven = coalesce(v.column12, watch.last_proven), uids = watch.uids + v.column13, \
           deliveries = watch.deliveries + v.column14 FROM (",
    width: 14,
    tail: ") AS v WHERE watch.id = v.column1",
};

pub(crate) static LEDGER_NEW: Shape = Shape {
    head: "INSERT INTO ledger (watch, epoch, uid, outcome, reason, found_by, taken_at, internal_date, fingerprint) \
           SELECT * FROM (",
    width: 9,
    tail: filtered!(),
};

/// A UID that was taken before gets a better answer.
pub(crate) static LEDGER_SET: Shape = Shape {
    head: "UPDATE ledger SET outcome = v.column4, reason = v.column5, found_by = v.column6, taken_at = v.column7, \
           internal_date = v.column8, fingerprint = v.column9 FROM (",
    width: 9,
    tail: ") AS v WHERE ledger.watch = v.column1 AND ledger.epoch = v.column2 AND ledger.uid = v.column3",
};

pub(crate) static QUARANTINE_NEW: Shape = Shape {
    head: "INSERT OR REPLACE INTO quarantine (watch, epoch, uid, spool, at) SELECT * FROM (",
    width: 5,
    tail: filtered!(),
};

pub(crate) static AUDIT_NEW: Shape = Shape {
    head: "INSERT INTO audit (at, who, through, what, selector, affected, why) SELECT * FROM (",
    width: 7,
    tail: filtered!(),
};

pub(crate) static EVENT_NEW: Shape = Shape {
    head: "INSERT INTO event (id, uuid, type, mailbox, subject, time, stored_at, message_id, fingerprint, spool, data) \
           SELECT * FROM (",
    width: 11,
    tail: filtered!(),
};

pub(crate) static RAW_NEW: Shape = Shape {
    head: "INSERT INTO raw (event, data) SELECT * FROM (",
    width: 2,
    tail: filtered!(),
};

/// Columns: an event's id, its message. It is stored already, and its message was read again: it is
/// kept again where it was forgotten.
pub(crate) static RAW_AGAIN: Shape = Shape {
    head: "INSERT OR IGNORE INTO raw (event, data) SELECT event.id, v.column2 FROM (",
    width: 2,
    tail: ") AS v JOIN event ON event.uuid = v.column1 AND event.spool IS NULL",
};

/// The same for a large one.
pub(crate) static SPOOL_AGAIN: Shape = Shape {
    head: "UPDATE event SET spool = v.column2 FROM (",
    width: 2,
    tail: ") AS v WHERE event.uuid = v.column1 AND event.spool IS NULL \
           AND NOT EXISTS (SELECT 1 FROM raw WHERE raw.event = event.id)",
};

/// Columns: an event's id, the time. A replay that waits for its message goes now.
pub(crate) static DELIVERY_READ: Shape = Shape {
    head: "WITH v AS (",
    width: 2,
    tail: ") UPDATE delivery INDEXED BY delivery_event SET due = (SELECT max(column2) FROM v) \
           WHERE event IN (SELECT event.id FROM v CROSS JOIN event ON event.uuid = v.column1) \
           AND state = 0 AND replay_order IS NOT NULL AND due > (SELECT max(column2) FROM v)",
};

/// Only for what is being sent: a settlement of anything else says nothing.
pub(crate) static ATTEMPT_NEW: Shape = Shape {
    head: "INSERT INTO attempt (delivery, at, took_ms, status, note) \
           SELECT v.column1, v.column2, v.column3, v.column4, v.column5 FROM (",
    width: 5,
    tail: ") AS v JOIN delivery ON delivery.id = v.column1 AND delivery.state = 1",
};

pub(crate) static DELIVERY_NEW: Shape = Shape {
    head: "INSERT INTO delivery (id, event, endpoint, sequence, mailbox, state, due, run, order_key, blocked, \
           when_failed, settled_at, dead_reason) SELECT * FROM (",
    width: 13,
    tail: filtered!(),
};

/// Columns: id, state, due, attempts to add, started, refusals, refused_since, own_time_ms,
/// settled_at, took_ms, status, note, dead_reason, aside. The counters are set by a retry alone; what
/// was given back without an attempt keeps all it had.
pub(crate) static DELIVERY_SETTLE: Shape = Shape {
    head: "UPDATE delivery SET state = v.column2, due = v.column3, attempts = delivery.attempts + v.column4, \
           first_attempt_at = coalesce(delivery.first_attempt_at, v.column5), \
           refusals = coalesce(v.column6, delivery.refusals), \
           refused_since = CASE WHEN v.column6 IS NULL THEN delivery.refused_since ELSE v.column7 END, \
           own_time_ms = coalesce(v.column8, delivery.own_time_ms), settled_at = v.column9, \
           took_ms = coalesce(v.column10, delivery.took_ms), \
           last_status = CASE WHEN v.column4 = 0 THEN delivery.last_status ELSE v.column11 END, \
           last_note = coalesce(v.column12, delivery.last_note), dead_reason = v.column13, \
           aside = max(delivery.aside, v.column14) FROM (",
    width: 14,
    tail: ") AS v WHERE delivery.id = v.column1 AND delivery.state = 1",
};

pub(crate) static DELIVERY_LEASE: Shape = Shape {
    head: "UPDATE delivery SET state = 1, run = v.column2 FROM (",
    width: 2,
    tail: ") AS v WHERE delivery.id = v.column1 AND delivery.state = 0",
};

/// Columns: a delivery that is over or stepped aside, and the time. The next one of its line may go;
/// as the last statement, so that it may be one that is stored at the same time.
pub(crate) static DELIVERY_NEXT: Shape = Shape {
    head: "UPDATE delivery SET blocked = 0, due = v.column2 FROM (",
    width: 2,
    tail: ") AS v JOIN delivery AS gone ON gone.id = v.column1 WHERE delivery.blocked = 1 AND delivery.id = \
           (SELECT min(next.id) FROM delivery AS next INDEXED BY delivery_order WHERE next.endpoint = gone.endpoint \
           AND next.order_key = gone.order_key AND next.order_key IS NOT NULL AND next.state < 2 AND next.aside = 0)",
};

/// Deliveries that came to their end well, and the time: something is to be done in the mailbox.
pub(crate) static AFTER_NEW: Shape = Shape {
    head: "INSERT OR IGNORE INTO after (event, mailbox, subject, fingerprint, since, due) \
           SELECT event.uuid, mailbox.name, event.subject, event.fingerprint, v.column2, v.column2 FROM (",
    width: 2,
    tail: ") AS v JOIN delivery ON delivery.id = v.column1 AND delivery.state = 2 \
           JOIN event ON event.id = delivery.event JOIN mailbox ON mailbox.id = event.mailbox",
};

/// What refers to a row comes after it.
pub(crate) static ORDER: [&Shape; 21] = [
    &MAILBOX_NEW,
    &MAILBOX_COUNT,
    &ENDPOINT_NEW,
    &ENDPOINT_SEQUENCE,
    &WATCH_NEW,
    &WATCH_SET,
    &LEDGER_NEW,
    &LEDGER_SET,
    &QUARANTINE_NEW,
    &AUDIT_NEW,
    &EVENT_NEW,
    &RAW_NEW,
    &RAW_AGAIN,
    &SPOOL_AGAIN,
    &DELIVERY_READ,
    &ATTEMPT_NEW,
    &DELIVERY_SETTLE,
    &AFTER_NEW,
    &DELIVERY_LEASE,
    &DELIVERY_NEW,
    &DELIVERY_NEXT,
];

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

    use super::*;
    use crate::migrate;

    const TABLES: [&str; 10] = [
        "after",
        "raw",
        "mailbox",
        "watch",
        "ledger",
        "quarantine",
        "endpoint",
        "event",
        "delivery",
        "attempt",
    ];

    #[tokio::test]
    async fn no_statement_walks_through_a_table() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::schema(&mut conn).await;
        // With foreign keys a plan also shows the search for orphans that a new parent would
        // redeem, which is not run as long as there are none (and there are none).
        sqlx::raw_sql("PRAGMA foreign_keys = OFF")
            .execute(&mut conn)
            .await
            .unwrap();
        for shape in ORDER {
            for rows in [1, 4, 64] {
                let sql = format!("EXPLAIN QUERY PLAN {}", shape.sql(rows));
                let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(AssertSqlSafe(sql))
                    .fetch_all(&mut conn)
                    .await
                    .unwrap();
                for (_, _, _, step) in plan {
                    let walked = step
                        .strip_prefix("SCAN ")
                        .and_then(|rest| rest.split(' ').next());
                    assert!(
                        !walked.is_some_and(|table| TABLES.contains(&table)),
                        "{step}: {}",
                        shape.head
                    );
                }
            }
        }
    }
}
