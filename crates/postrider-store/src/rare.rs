//! What operators and caretakers order: rare, each alone in its transaction, in bounded steps so
//! that mail and deliveries get their turn between them.

use std::{collections::BTreeMap, time::Duration};

use postrider_core::{
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use sqlx::{Executor as _, SqliteConnection};
use uuid::Uuid;

use crate::{
    admin_tokens::{self, NewToken},
    after::{self, Tried},
    audit::{Act, Audit},
    codec,
    model::{Account, SpoolKey, StoreError},
    repair::{self, Repair},
    state::{EndpointState, State},
};

/// Events or deliveries per step: some ten milliseconds of the writer's time.
const STEP: i64 = 500;
/// Free pages that are not worth giving back: they are used again soon.
const FREE_PAGES_KEPT: i64 = 64;

#[derive(Clone, Debug)]
pub(crate) enum Rare {
    PauseMailbox(MailboxKey, Audit),
    ResumeMailbox(MailboxKey, Audit),
    Adopt(MailboxKey, Account, Audit),
    PauseEndpoint(EndpointKey, Audit),
    ResumeEndpoint(EndpointKey, Audit),
    /// Something that is carried out elsewhere.
    Note {
        audit: Audit,
        affected: u64,
    },
    Repair(Box<Repair>),
    CreateToken(NewToken, Act),
    RevokeToken(String, Act),
    /// What waits for the endpoint is due now, from behind this due time and delivery on.
    Release {
        endpoint: EndpointKey,
        now: Wall,
        behind: (i64, i64),
    },
    /// The endpoint asks for no order any more.
    Unorder {
        endpoint: EndpointKey,
        now: Wall,
    },
    Prune {
        now: Wall,
        settled_before: Wall,
        after: i64,
    },
    /// Messages of which nothing is owed any more.
    AfterTried(Vec<(Uuid, Tried)>),
    AfterForget(MailboxKey),
    PruneRaw {
        settled_before: Wall,
        after: i64,
    },
    Vacuum,
}

/// What an order, or one step of it, did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Did {
    pub(crate) count: u64,
    /// Where the next step begins; `None`: it was the last.
    pub(crate) next: Option<i64>,
    /// The same of steps by due time.
    pub(crate) behind: Option<(i64, i64)>,
    /// Its audit row.
    pub(crate) audit: Option<i64>,
    pub(crate) by_endpoint: BTreeMap<EndpointKey, u64>,
    /// Files that nothing refers to any more.
    pub(crate) spool: Vec<SpoolKey>,
}

impl Rare {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::PauseMailbox(..) => "pausing a mailbox",
            Self::ResumeMailbox(..) => "resuming a mailbox",
            Self::Adopt(..) => "adopting an account",
            Self::PauseEndpoint(..) => "pausing an endpoint",
            Self::ResumeEndpoint(..) => "resuming an endpoint",
            Self::Release { .. } => "making deliveries due",
            Self::Note { .. } => "noting an order",
            Self::Repair(repair) => repair.name(),
            Self::CreateToken(..) => "storing a token",
            Self::RevokeToken(..) => "revoking a token",
            Self::Unorder { .. } => "ending an order",
            Self::Prune { .. } => "pruning",
            Self::AfterTried(_) => "noting what was done after delivery",
            Self::AfterForget(_) => "forgetting what was to be done after delivery",
            Self::PruneRaw { .. } => "pruning messages",
            Self::Vacuum => "giving room back",
        }
    }
}

type Outcome = Result<Result<Did, StoreError>, sqlx::Error>;

/// Performs one order or step. An outer error leaves a transaction to roll back.
pub(crate) async fn perform(
    conn: &mut SqliteConnection,
    state: &mut State,
    rare: &Rare,
) -> Outcome {
    match rare {
        Rare::PauseMailbox(key, audit) => mailbox_paused(conn, (key, 1), audit).await,
        Rare::ResumeMailbox(key, audit) => mailbox_paused(conn, (key, 0), audit).await,
        Rare::Adopt(key, account, audit) => adopt(conn, key, account, audit).await,
        Rare::PauseEndpoint(key, audit) => endpoint_paused(conn, state, (key, 1), audit).await,
        Rare::ResumeEndpoint(key, audit) => endpoint_paused(conn, state, (key, 0), audit).await,
        Rare::Note { audit, affected } => {
            let audit = Some(audit.write(conn, *affected).await?);
            Ok(Ok(Did {
                audit,
                ..Did::default()
            }))
        }
        Rare::Repair(repair) => repair::perform(conn, state, repair).await.map(Ok),
        Rare::CreateToken(token, act) => admin_tokens::create(conn, token, act).await.map(Ok),
        Rare::RevokeToken(name, act) => admin_tokens::revoke(conn, name, act).await.map(Ok),
        Rare::Release {
            endpoint,
            now,
            behind,
        } => {
            let id = state.endpoints.get(endpoint).map(|endpoint| endpoint.id);
            release(conn, id, *now, *behind).await
        }
        Rare::Unorder { endpoint, now } => {
            let id = state.endpoints.get(endpoint).map(|endpoint| endpoint.id);
            unorder(conn, id, *now).await
        }
        Rare::Prune {
            now,
            settled_before,
            after,
        } => prune(conn, (*now, *settled_before), *after).await,
        Rare::AfterTried(tried) => after::tried(conn, tried).await.map(Ok),
        Rare::AfterForget(mailbox) => after::forget(conn, mailbox).await.map(Ok),
        Rare::PruneRaw {
            settled_before,
            after,
        } => prune_raw(conn, *settled_before, *after).await,
        Rare::Vacuum => vacuum(conn).await,
    }
}

/// What is due later, in the order in which it would be. What a replay has not come to yet keeps the
/// pace that its operator asked for.
async fn release(
    conn: &mut SqliteConnection,
    endpoint: Option<i64>,
    now: Wall,
    behind: (i64, i64),
) -> Outcome {
    let rows: Vec<(i64, i64, bool)> = sqlx::query_as(
        "SELECT due, id, replay_order IS NULL OR attempts > coalesce(former ->> 'attempts', iif(former IS NULL, 0, attempts)) \
         FROM delivery WHERE endpoint = ?1 AND state = 0 AND blocked = 0 AND due > ?2 AND (due, id) > (?3, ?4) \
         ORDER BY due, id LIMIT ?5",
    )
    .bind(endpoint)
    .bind(now.0)
    .bind(behind.0)
    .bind(behind.1)
    .bind(STEP)
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<i64> = rows.iter().filter(|row| row.2).map(|row| row.1).collect();
    if !ids.is_empty() {
        sqlx::query("UPDATE delivery SET due = ?1 WHERE id IN (SELECT value FROM json_each(?2))")
            .bind(now.0)
            .bind(codec::id_list(&ids))
            .execute(conn)
            .await?;
    }
    Ok(Ok(Did {
        count: ids.len() as u64,
        behind: rows.last().map(|row| (row.0, row.1)),
        ..Did::default()
    }))
}

async fn unorder(conn: &mut SqliteConnection, endpoint: Option<i64>, now: Wall) -> Outcome {
    let query = sqlx::query(
        "UPDATE delivery SET due = CASE blocked WHEN 1 THEN ?1 ELSE due END, blocked = 0, order_key = NULL \
         WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_order WHERE endpoint = ?2 \
         AND order_key IS NOT NULL AND state < 2 AND aside = 0 LIMIT ?3)",
    );
    let done = query
        .bind(now.0)
        .bind(endpoint)
        .bind(STEP)
        .execute(conn)
        .await?;
    let count = done.rows_affected();
    Ok(Ok(Did {
        count,
        next: (count > 0).then_some(0),
        ..Did::default()
    }))
}

async fn mailbox_paused(
    conn: &mut SqliteConnection,
    (key, paused): (&MailboxKey, i64),
    audit: &Audit,
) -> Outcome {
    conn.execute("BEGIN IMMEDIATE").await?;
    let query = sqlx::query("UPDATE mailbox SET paused = ? WHERE name = ?")
        .bind(paused)
        .bind(key.as_str());
    let count = query.execute(&mut *conn).await?.rows_affected();
    known(conn, key, count, audit).await
}

/// Ends the transaction; what the store does not know leaves no audit row.
async fn known(
    conn: &mut SqliteConnection,
    key: &MailboxKey,
    count: u64,
    audit: &Audit,
) -> Outcome {
    let audit = match count {
        0 => None,
        count => Some(audit.write(&mut *conn, count).await?),
    };
    conn.execute("COMMIT").await?;
    Ok(match count {
        0 => Err(StoreError::Other(format!(
            "mailbox {key} is not known to the store"
        ))),
        count => Ok(Did {
            count,
            audit,
            ..Did::default()
        }),
    })
}

/// Whether the mail behind it is the same is the watch's to find out: it begins a new epoch.
async fn adopt(
    conn: &mut SqliteConnection,
    key: &MailboxKey,
    account: &Account,
    audit: &Audit,
) -> Outcome {
    conn.execute("BEGIN IMMEDIATE").await?;
    let query = sqlx::query("UPDATE mailbox SET server = ?, username = ? WHERE name = ?");
    let query = query
        .bind(&account.server)
        .bind(&account.username)
        .bind(key.as_str());
    let count = query.execute(&mut *conn).await?.rows_affected();
    known(conn, key, count, audit).await
}

async fn endpoint_paused(
    conn: &mut SqliteConnection,
    state: &mut State,
    (key, paused): (&EndpointKey, i64),
    audit: &Audit,
) -> Outcome {
    let known = state.endpoints.get(key).map(|endpoint| endpoint.id);
    let id = known.unwrap_or(state.ids.endpoint + 1);
    conn.execute("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO endpoint (id, name, paused) VALUES (?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET paused = excluded.paused",
    )
    .bind(id)
    .bind(key.as_str())
    .bind(paused)
    .execute(&mut *conn)
    .await?;
    let audit = Some(audit.write(&mut *conn, 1).await?);
    conn.execute("COMMIT").await?;
    if known.is_none() {
        state.ids.endpoint = id;
        state
            .endpoints
            .insert(key.clone(), EndpointState { id, sequence: 0 });
    }
    Ok(Ok(Did {
        count: 1,
        audit,
        ..Did::default()
    }))
}

/// Deletes events that are over for every endpoint, and were so before a time. Ledger rows stay,
/// and what goes is added to the counters, so that both sums stay true.
async fn prune(
    conn: &mut SqliteConnection,
    (now, settled_before): (Wall, Wall),
    after: i64,
) -> Outcome {
    // Events get younger from here on, but for those of a clock that was ahead.
    let (last, old): (Option<i64>, i64) = sqlx::query_as(
        "SELECT max(id), coalesce(sum(stored_at < ?1 OR stored_at > ?4), 0) \
         FROM (SELECT id, stored_at FROM event WHERE id > ?2 ORDER BY id LIMIT ?3)",
    )
    .bind(settled_before.0)
    .bind(after)
    .bind(STEP)
    .bind(now.0)
    .fetch_one(&mut *conn)
    .await?;
    let Some(last) = last.filter(|_| old > 0) else {
        return Ok(Ok(Did::default()));
    };
    let rows: Vec<(i64, Option<String>)> = sqlx::query_as(
        "SELECT e.id, e.spool FROM event e WHERE e.id > ?1 AND e.id <= ?2 AND e.stored_at < ?3 AND NOT EXISTS \
         (SELECT 1 FROM delivery d WHERE d.event = e.id AND (d.state NOT IN (2, 4) OR d.settled_at >= ?3))",
    )
    .bind(after)
    .bind(last)
    .bind(settled_before.0)
    .fetch_all(&mut *conn)
    .await?;
    let mut did = Did {
        count: rows.len() as u64,
        next: Some(last),
        ..Did::default()
    };
    if rows.is_empty() {
        return Ok(Ok(did));
    }
    let ids = codec::id_list(&rows.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    conn.execute("BEGIN IMMEDIATE").await?;
    for statement in [
        "UPDATE endpoint SET pruned_delivered = pruned_delivered + v.delivered, \
         pruned_discarded = pruned_discarded + v.discarded FROM (SELECT endpoint AS id, sum(state = 2) AS delivered, \
         sum(state = 4) AS discarded FROM delivery WHERE event IN (SELECT value FROM json_each(?)) GROUP BY endpoint) \
         AS v WHERE endpoint.id = v.id",
        "UPDATE mailbox SET pruned_delivered = pruned_delivered + v.delivered, \
         pruned_discarded = pruned_discarded + v.discarded FROM (SELECT mailbox AS id, sum(state = 2) AS delivered, \
         sum(state = 4) AS discarded FROM delivery WHERE event IN (SELECT value FROM json_each(?)) GROUP BY mailbox) \
         AS v WHERE mailbox.id = v.id",
        "DELETE FROM raw WHERE event IN (SELECT value FROM json_each(?))",
        "DELETE FROM event_alias WHERE event IN (SELECT value FROM json_each(?))",
        "DELETE FROM delivery WHERE event IN (SELECT value FROM json_each(?))",
        "DELETE FROM event WHERE id IN (SELECT value FROM json_each(?))",
    ] {
        sqlx::query(statement)
            .bind(&ids)
            .execute(&mut *conn)
            .await?;
    }
    conn.execute("COMMIT").await?;
    did.spool = rows
        .into_iter()
        .filter_map(|(_, spool)| spool)
        .map(SpoolKey)
        .collect();
    Ok(Ok(did))
}

/// Drops the messages of events that were over for every endpoint before a time; the events stay.
async fn prune_raw(conn: &mut SqliteConnection, settled_before: Wall, after: i64) -> Outcome {
    let rows: Vec<(i64, Option<String>, bool)> = sqlx::query_as(
        "WITH kept (id) AS (SELECT * FROM (SELECT event FROM raw WHERE event > ?1 ORDER BY event LIMIT ?3) \
         UNION SELECT * FROM (SELECT id FROM event WHERE spool IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?3)) \
         SELECT e.id, e.spool, NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id \
         AND (d.state NOT IN (2, 4) OR d.settled_at >= ?2)) \
         FROM kept JOIN event e ON e.id = kept.id ORDER BY e.id LIMIT ?3",
    )
    .bind(after)
    .bind(settled_before.0)
    .bind(STEP)
    .fetch_all(&mut *conn)
    .await?;
    let next = rows
        .last()
        .map(|(id, ..)| *id)
        .filter(|_| rows.len() as i64 == STEP);
    let over: Vec<(i64, Option<String>)> = rows
        .into_iter()
        .filter(|(.., over)| *over)
        .map(|(id, spool, _)| (id, spool))
        .collect();
    let mut did = Did {
        count: over.len() as u64,
        next,
        ..Did::default()
    };
    if over.is_empty() {
        return Ok(Ok(did));
    }
    let ids = codec::id_list(&over.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    conn.execute("BEGIN IMMEDIATE").await?;
    for statement in [
        "DELETE FROM raw WHERE event IN (SELECT value FROM json_each(?))",
        "UPDATE event SET spool = NULL WHERE id IN (SELECT value FROM json_each(?))",
    ] {
        sqlx::query(statement)
            .bind(&ids)
            .execute(&mut *conn)
            .await?;
    }
    conn.execute("COMMIT").await?;
    did.spool = over
        .into_iter()
        .filter_map(|(_, spool)| spool)
        .map(SpoolKey)
        .collect();
    Ok(Ok(did))
}

async fn vacuum(conn: &mut SqliteConnection) -> Outcome {
    let (free,): (i64,) = sqlx::query_as("PRAGMA freelist_count")
        .fetch_one(&mut *conn)
        .await?;
    if free <= FREE_PAGES_KEPT {
        // The file becomes smaller when the log is moved into it.
        conn.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
        return Ok(Ok(Did::default()));
    }
    // At most 4 MiB per step.
    conn.execute("PRAGMA incremental_vacuum(1024)").await?;
    Ok(Ok(Did {
        next: Some(0),
        ..Did::default()
    }))
}

/// The wall time before which something must have been settled.
pub(crate) fn before(now: Wall, keep: Duration) -> Wall {
    now - keep
}
