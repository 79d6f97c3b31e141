//! The one task that writes. It takes what has queued up (group commit: under load many callers
//! share one durable write, alone a caller waits for nobody), and never delays on purpose.

use std::{
    fs::File,
    sync::{Arc, OnceLock},
};

use postrider_core::ids::EndpointKey;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{Kind, kind, store_error},
    ledger,
    model::{Claimed, EventIdentity, StoreError},
    outbox::{self, AheadMax},
    plan::{Answer, Plan, Seen, Work},
    rare::{self, Did, Rare},
    room::Room,
    rows::{Texts, rollback},
    state::State,
    twins::Twins,
};

/// Requests in one group. More would only make the first of them wait longer.
pub(crate) const GROUP_MAX: usize = 256;
/// Events and their bytes in one group, where its last request alone does not hold more. What one
/// transaction adds to the log has to fit into the reserve when the disk is full.
const GROUP_EVENTS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Between two looks at how long the write-ahead log is.
const LOOK_EVERY_GROUPS: u32 = 16;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(crate) enum Request {
    Work(Work, Reply<Answer>),
    /// An operator's or a caretaker's order: alone in its transaction.
    Rare(Rare, Reply<Did>),
    Close(Reply<()>),
}

pub(crate) struct Writer {
    pub(crate) conn: SqliteConnection,
    pub(crate) state: State,
    pub(crate) room: Arc<Room>,
    pub(crate) failed: Arc<OnceLock<String>>,
    pub(crate) due_ahead_max: AheadMax,
    pub(crate) texts: Texts,
    /// Pages of the write-ahead log after which it is moved while nobody waits: fewer than SQLite
    /// waits for, which does it within a commit.
    pub(crate) log_pages: i64,
    /// Groups since the last look at the log.
    pub(crate) groups: u32,
    /// Held as long as this task lives.
    pub(crate) lock: File,
}

/// The file failed; the process has to end.
struct Broken;

type Item = (Work, Reply<Answer>);

#[derive(Clone, Copy)]
enum Care {
    /// Nothing that is inserted is there already: nearly always true, and SQLite says if not.
    None,
    /// Look first.
    Look,
}

impl Writer {
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut requests = Vec::with_capacity(GROUP_MAX);
        while inbox.recv_many(&mut requests, GROUP_MAX).await > 0 {
            match self.round(&mut requests).await {
                Ok(None) if inbox.is_empty() => {
                    if self.move_log().await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Ok(Some(reply)) => {
                    inbox.close();
                    return self.close(reply).await;
                }
                Err(Broken) => return,
            }
        }
    }

    /// Serves what has queued up; says whom to tell of the end, if it was asked for.
    async fn round(&mut self, requests: &mut Vec<Request>) -> Result<Option<Reply<()>>, Broken> {
        let mut items = Vec::new();
        let mut weight = Weight::default();
        let mut close = None;
        for request in requests.drain(..) {
            match request {
                Request::Work(work, reply) => {
                    weight.add(&work);
                    items.push((work, reply));
                    if weight.is_full() {
                        weight = Weight::default();
                        self.group(std::mem::take(&mut items)).await?;
                    }
                }
                Request::Rare(rare, reply) => {
                    weight = Weight::default();
                    self.group(std::mem::take(&mut items)).await?;
                    self.rare(rare, reply).await?;
                }
                Request::Close(reply) => close = Some(reply),
            }
        }
        self.group(items).await?;
        Ok(close)
    }

    /// Stores what can be stored of a group and answers every caller.
    async fn group(&mut self, mut items: Vec<Item>) -> Result<(), Broken> {
        if items.iter().any(|(work, _)| brings_mail(work))
            && let Some(reason) = self.room.refuses()
        {
            refuse_mail(&mut items, &reason);
        }
        let mut care = Care::None;
        let mut relieved = false;
        while !items.is_empty() {
            let error = match self.attempt(&items, care).await {
                Ok(answers) => {
                    answer(items, answers);
                    return Ok(());
                }
                Err(error) => error,
            };
            match (kind(&error), care) {
                (Kind::Constraint, Care::None) => care = Care::Look,
                (Kind::Constraint, Care::Look) if items.len() > 1 => {
                    return self.one_by_one(items).await;
                }
                (Kind::Full, _) if !relieved => {
                    relieved = true;
                    self.relieve().await;
                    refuse_mail(&mut items, "the disk is full");
                }
                (Kind::Fatal | Kind::Damaged | Kind::ReadOnly, _) => {
                    return self.fail(items, &error);
                }
                (
                    Kind::Full | Kind::Constraint | Kind::CannotOpen | Kind::Busy | Kind::Other,
                    _,
                ) => {
                    let error = store_error("storing", &error);
                    for (_, reply) in items {
                        let _ = reply.send(Err(error.clone()));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One of them cannot be stored: the others are.
    async fn one_by_one(&mut self, items: Vec<Item>) -> Result<(), Broken> {
        for item in items {
            match self.attempt(std::slice::from_ref(&item), Care::Look).await {
                Ok(answers) => answer(vec![item], answers),
                Err(error) => match kind(&error) {
                    Kind::Fatal | Kind::Damaged | Kind::ReadOnly => {
                        return self.fail(vec![item], &error);
                    }
                    Kind::Full => {
                        self.relieve().await;
                        let _ = item.1.send(Err(store_error("storing", &error)));
                    }
                    Kind::Constraint | Kind::CannotOpen | Kind::Busy | Kind::Other => {
                        let _ = item.1.send(Err(store_error("storing", &error)));
                    }
                },
            }
        }
        Ok(())
    }

    /// All of the group in one transaction, or nothing of it.
    async fn attempt(
        &mut self,
        items: &[Item],
        care: Care,
    ) -> Result<Vec<Result<Answer, StoreError>>, sqlx::Error> {
        let mut claims = self.claims(items).await?.into_iter();
        let seen = match care {
            Care::None => Seen::default(),
            Care::Look => {
                ledger::look(
                    &mut self.conn,
                    &self.state,
                    items.iter().map(|(work, _)| work),
                )
                .await?
            }
        };
        let lines = outbox::lines(
            &mut self.conn,
            &self.state,
            items.iter().map(|(work, _)| work),
        )
        .await?;
        let works = items.iter().map(|(work, _)| work);
        let twins = Twins::look(&mut self.conn, &self.state, works).await?;
        let mut plan = Plan::new(&self.state, seen, lines, twins);
        let mut answers: Vec<_> = items
            .iter()
            .map(|(work, _)| plan.add(work, claims.next().unwrap_or_default()))
            .collect();
        let (batch, changed) = plan.finish();
        let took = match batch.run(&mut self.conn, &mut self.texts).await {
            Ok(took) => took,
            Err(error) => return Err(self.rolled_back(error).await),
        };
        self.state.merge(changed);
        self.groups = self.groups.saturating_add(1);
        for answer in &mut answers {
            if let Ok(Answer::Receipt(receipt)) = answer {
                receipt.commit = took;
            }
        }
        Ok(answers)
    }

    /// The error, or a worse one: a connection that cannot begin a transaction is of no use.
    async fn rolled_back(&mut self, error: sqlx::Error) -> sqlx::Error {
        rollback(&mut self.conn).await;
        match self.conn.execute("BEGIN; ROLLBACK").await {
            Ok(_) => error,
            Err(worse) if kind(&worse) == Kind::Other => sqlx::Error::WorkerCrashed,
            Err(worse) => worse,
        }
    }

    /// What each claim gets, in the order of the items; nothing twice.
    async fn claims(&mut self, items: &[Item]) -> Result<Vec<Vec<Claimed>>, sqlx::Error> {
        let mut given: Vec<(&EndpointKey, i64)> = Vec::new();
        let mut all = Vec::with_capacity(items.len());
        for (work, _) in items {
            let Work::Claim {
                endpoint,
                limit,
                now,
            } = work
            else {
                all.push(Vec::new());
                continue;
            };
            let Some(known) = self.state.endpoints.get(endpoint) else {
                all.push(Vec::new());
                continue;
            };
            let before = given.iter().filter(|(key, _)| *key == endpoint).count();
            let query = outbox::Due {
                endpoint,
                id: known.id,
                now: *now,
                latest: *now + self.due_ahead_max.get(),
                limit: i64::from(*limit) + i64::try_from(before).unwrap_or(i64::MAX),
            };
            let mut rows = query.read(&mut self.conn).await?;
            rows.retain(|row| !given.contains(&(endpoint, row.delivery)));
            rows.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
            given.extend(rows.iter().map(|row| (endpoint, row.delivery)));
            all.push(rows);
        }
        Ok(all)
    }

    async fn rare(&mut self, rare: Rare, reply: Reply<Did>) -> Result<(), Broken> {
        let done = rare::perform(&mut self.conn, &mut self.state, &rare).await;
        let error = match done {
            Ok(did) => {
                let _ = reply.send(did);
                return Ok(());
            }
            Err(error) => self.rolled_back(error).await,
        };
        let answer = Err(store_error(rare.name(), &error));
        match kind(&error) {
            Kind::Fatal | Kind::Damaged | Kind::ReadOnly => {
                self.note_failure(&error);
                let _ = reply.send(answer);
                return Err(Broken);
            }
            Kind::Full => {
                self.relieve().await;
                let again = rare::perform(&mut self.conn, &mut self.state, &rare).await;
                let again = again.map_err(|error| store_error(rare.name(), &error));
                if again.is_err() {
                    rollback(&mut self.conn).await;
                }
                let _ = reply.send(again.and_then(|did| did));
            }
            Kind::Busy | Kind::CannotOpen | Kind::Constraint | Kind::Other => {
                let _ = reply.send(answer);
            }
        }
        Ok(())
    }

    /// Makes room for what must go on: the reserve is given up, and the log is moved into the
    /// database, so that its file is written from its start again and needs no more room.
    async fn relieve(&mut self) {
        self.room.disk_full();
        if let Err(error) = self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await {
            tracing::warn!("the write-ahead log cannot be emptied: {error}");
        }
    }

    /// Nobody waits: what would keep a later commit waiting, two syncs of the disk, is done now. A
    /// commit that moves the log itself is not told that it failed.
    async fn move_log(&mut self) -> Result<(), Broken> {
        if self.groups < LOOK_EVERY_GROUPS {
            return Ok(());
        }
        self.groups = 0;
        let looked: Result<(i64, i64, i64), _> = sqlx::query_as("PRAGMA wal_checkpoint(NOOP)")
            .fetch_one(&mut self.conn)
            .await;
        let moved = match looked {
            Ok((_, written, moved)) if written - moved < self.log_pages => return Ok(()),
            Ok(_) => self.conn.execute("PRAGMA wal_checkpoint(PASSIVE)").await,
            Err(error) => Err(error),
        };
        let Err(error) = moved else { return Ok(()) };
        match kind(&error) {
            Kind::Fatal | Kind::Damaged | Kind::ReadOnly => {
                self.note_failure(&error);
                Err(Broken)
            }
            Kind::Full | Kind::Busy | Kind::CannotOpen | Kind::Constraint | Kind::Other => {
                tracing::debug!("the write-ahead log is moved later: {error}");
                Ok(())
            }
        }
    }

    fn note_failure(&self, error: &sqlx::Error) {
        tracing::error!("the database file failed, the store ends: {error}");
        let _ = self.failed.set(error.to_string());
    }

    fn fail(&self, items: Vec<Item>, error: &sqlx::Error) -> Result<(), Broken> {
        self.note_failure(error);
        for (_, reply) in items {
            let _ = reply.send(Err(StoreError::Fatal(error.to_string())));
        }
        Err(Broken)
    }

    async fn close(mut self, reply: Reply<()>) {
        let marked = self
            .conn
            .execute("UPDATE meta SET value = '1' WHERE name = 'clean'")
            .await;
        let emptied = self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        let closed = self.conn.close().await;
        drop(self.lock);
        let done = marked.and(emptied).map(drop).and(closed);
        let _ = reply.send(done.map_err(|error| store_error("closing", &error)));
    }
}

#[derive(Default)]
struct Weight {
    events: usize,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, work: &Work) {
        let events = work.events();
        self.events += events.len();
        self.bytes += events
            .iter()
            .map(|event| event.data.len() + event.raw.as_ref().map_or(0, |raw| raw.len()))
            .sum::<usize>();
    }

    fn is_full(&self) -> bool {
        self.events >= GROUP_EVENTS_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}

/// New mail, or the beginning of reading some: refused while there is no room.
fn brings_mail(work: &Work) -> bool {
    match work {
        Work::Commit(commit) => {
            !commit.entry.outcomes.is_empty()
                || commit
                    .events
                    .iter()
                    .any(|event| matches!(event.identity, EventIdentity::Message(_)))
        }
        Work::Event(..) | Work::Settle(_) | Work::Claim { .. } | Work::Ensure { .. } => false,
    }
}

fn refuse_mail(items: &mut Vec<Item>, reason: &str) {
    let (mail, rest): (Vec<Item>, Vec<Item>) = std::mem::take(items)
        .into_iter()
        .partition(|(work, _)| brings_mail(work));
    *items = rest;
    for (_, reply) in mail {
        let _ = reply.send(Err(StoreError::Full(reason.to_owned())));
    }
}

fn answer(items: Vec<Item>, answers: Vec<Result<Answer, StoreError>>) {
    for ((_, reply), answer) in items.into_iter().zip(answers) {
        // A caller that went away does not need its answer; what it asked for is stored.
        let _ = reply.send(answer);
    }
}
