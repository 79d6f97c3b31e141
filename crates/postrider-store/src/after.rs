//! What is owed to mailboxes after delivery: a row is written with the settlement that makes it due,
//! and goes when it is done.

use postrider_core::{fingerprint::Fingerprint, ids::MailboxKey, time::Wall};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::{
    codec,
    error::doing,
    model::StoreError,
    rare::{Did, Rare},
    readers::Readers,
    store::Store,
};

/// What a settlement that delivers gives rise to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    #[default]
    Nothing,
    /// Something is to be done with the message in its mailbox.
    After,
}

/// One message that is to be dealt with in its mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterRow {
    pub event: Uuid,
    pub mailbox: MailboxKey,
    /// Of the event: folder, UIDVALIDITY, UID.
    pub subject: String,
    /// Of the message, to know it again. `None`: its event was pruned before fingerprints were kept.
    pub fingerprint: Option<Fingerprint>,
    /// When the endpoint accepted it.
    pub since: Wall,
    pub due: Wall,
    pub tries: u32,
    /// Why the last try failed.
    pub note: Option<String>,
}

/// What came of trying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It is over: done, or there is nothing left to do it to.
    Done,
    Again {
        due: Wall,
        note: String,
    },
}

/// How many wait in a mailbox, and since when the oldest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterCount {
    pub mailbox: MailboxKey,
    pub count: u64,
    pub oldest: Wall,
}

/// A note that is kept for operators.
const NOTE_MAX: usize = 300;

impl Store {
    /// What is due in a mailbox, the longest due first.
    pub async fn after_due(
        &self,
        mailbox: &MailboxKey,
        now: Wall,
        limit: u32,
    ) -> Result<Vec<AfterRow>, StoreError> {
        due(self.readers(), mailbox, now, limit).await
    }

    /// For each mailbox in which something waits: when the first of it is due.
    pub async fn after_next(&self) -> Result<Vec<(MailboxKey, Wall)>, StoreError> {
        let rows: Vec<(String, i64)> = {
            let mut reader = self.readers().get().await?;
            sqlx::query_as(NEXT)
                .fetch_all(reader.conn())
                .await
                .map_err(doing("looking what is owed to mailboxes"))?
        };
        let rows = rows.into_iter();
        Ok(rows
            .map(|(mailbox, due)| (MailboxKey::new(mailbox), Wall(due)))
            .collect())
    }

    pub async fn after_counts(&self) -> Result<Vec<AfterCount>, StoreError> {
        let mut reader = self.readers().get().await?;
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(COUNTS)
            .fetch_all(reader.conn())
            .await
            .map_err(doing("counting what is owed to mailboxes"))?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|(mailbox, count, oldest)| AfterCount {
                mailbox: MailboxKey::new(mailbox),
                count: u64::try_from(count).unwrap_or(0),
                oldest: Wall(oldest),
            })
            .collect())
    }

    /// Records what came of tries. A row that is gone stays so.
    pub async fn after_tried(&self, tried: Vec<(Uuid, Tried)>) -> Result<(), StoreError> {
        self.rare(Rare::AfterTried(tried)).await.map(drop)
    }

    /// The configuration asks for nothing any more: nothing is owed to the mailbox.
    pub async fn after_forget(&self, mailbox: &MailboxKey) -> Result<u64, StoreError> {
        let forgot = self.rare(Rare::AfterForget(mailbox.clone())).await?;
        Ok(forgot.count)
    }
}

const DUE: &str = "SELECT event, mailbox, subject, fingerprint, since, due, tries, note FROM after \
    WHERE mailbox = ?1 AND due <= ?2 ORDER BY due LIMIT ?3";
const NEXT: &str = "SELECT mailbox, min(due) FROM after GROUP BY mailbox";
const COUNTS: &str = "SELECT mailbox, count(*), min(since) FROM after GROUP BY mailbox";

#[derive(sqlx::FromRow)]
struct Row {
    event: Vec<u8>,
    mailbox: String,
    subject: String,
    fingerprint: Vec<u8>,
    since: i64,
    due: i64,
    tries: i64,
    note: Option<String>,
}

async fn due(
    readers: &Readers,
    mailbox: &MailboxKey,
    now: Wall,
    limit: u32,
) -> Result<Vec<AfterRow>, StoreError> {
    let what = "reading what is owed to a mailbox";
    let mut reader = readers.get().await?;
    let rows: Vec<Row> = sqlx::query_as(DUE)
        .bind(mailbox.as_str())
        .bind(now.0)
        .bind(i64::from(limit))
        .fetch_all(reader.conn())
        .await
        .map_err(doing(what))?;
    let row = |row: Row| {
        Ok(AfterRow {
            event: Uuid::from_slice(&row.event)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            mailbox: MailboxKey::new(row.mailbox),
            subject: row.subject,
            fingerprint: codec::fingerprint(&row.fingerprint),
            since: Wall(row.since),
            due: Wall(row.due),
            tries: u32::try_from(row.tries).unwrap_or(u32::MAX),
            note: row.note,
        })
    };
    let rows: Result<_, sqlx::Error> = rows.into_iter().map(row).collect();
    rows.map_err(doing(what))
}

/// A few statements in one transaction: a batch is what one session dealt with.
pub(crate) async fn tried(
    conn: &mut SqliteConnection,
    tried: &[(Uuid, Tried)],
) -> Result<Did, sqlx::Error> {
    use sqlx::Executor as _;
    conn.execute("BEGIN IMMEDIATE").await?;
    let mut count = 0;
    for (event, tried) in tried {
        let event = event.as_bytes().as_slice();
        let query = match tried {
            Tried::Done => sqlx::query("DELETE FROM after WHERE event = ?1").bind(event),
            Tried::Again { due, note } => {
                let note = &note[..note.floor_char_boundary(NOTE_MAX)];
                sqlx::query(
                    "UPDATE after SET tries = tries + 1, due = ?2, note = ?3 WHERE event = ?1",
                )
                .bind(event)
                .bind(due.0)
                .bind(note)
            }
        };
        count += query.execute(&mut *conn).await?.rows_affected();
    }
    conn.execute("COMMIT").await?;
    Ok(Did {
        count,
        ..Did::default()
    })
}

pub(crate) async fn forget(
    conn: &mut SqliteConnection,
    mailbox: &MailboxKey,
) -> Result<Did, sqlx::Error> {
    let query = sqlx::query("DELETE FROM after WHERE mailbox = ?").bind(mailbox.as_str());
    Ok(Did {
        count: query.execute(conn).await?.rows_affected(),
        ..Did::default()
    })
}
