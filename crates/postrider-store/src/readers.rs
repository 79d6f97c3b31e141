//! Read-only connections, few and limited in time: a long reader would let the write-ahead log
//! grow without end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{error::doing, model::StoreError};

/// As many as an operator's commands, the metrics and the watches' lookups use at once.
const READERS: usize = 4;
/// A query that takes longer is interrupted.
const QUERY_TIME: Duration = Duration::from_secs(5);
/// SQLite's virtual machine looks at the time this often (in its instructions).
const STEPS: i32 = 10_000;

pub(crate) struct Readers {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<Connection>>,
    slots: Semaphore,
    started: Instant,
}

struct Connection {
    conn: SqliteConnection,
    /// Milliseconds after `started`.
    deadline: Arc<AtomicU64>,
}

/// A reader on loan; it goes back when it is dropped.
pub(crate) struct Reader<'a> {
    connection: Option<Connection>,
    readers: &'a Readers,
    _permit: SemaphorePermit<'a>,
}

impl Readers {
    pub(crate) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options,
            idle: Mutex::default(),
            slots: Semaphore::new(READERS),
            started: Instant::now(),
        }
    }

    pub(crate) async fn get(&self) -> Result<Reader<'_>, StoreError> {
        let permit = tokio::time::timeout(QUERY_TIME, self.slots.acquire())
            .await
            .map_err(|_| StoreError::Busy("all readers are at work".to_owned()))?
            .map_err(|_| StoreError::Busy("the store is closed".to_owned()))?;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await.map_err(doing("opening a reader"))?,
        };
        let deadline = self.started.elapsed() + QUERY_TIME;
        connection
            .deadline
            .store(millis(deadline), Ordering::Relaxed);
        Ok(Reader {
            connection: Some(connection),
            readers: self,
            _permit: permit,
        })
    }

    async fn connect(&self) -> Result<Connection, sqlx::Error> {
        let mut conn = self.options.connect().await?;
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let (started, until) = (self.started, deadline.clone());
        conn.lock_handle()
            .await?
            .set_progress_handler(STEPS, move || {
                millis(started.elapsed()) < until.load(Ordering::Relaxed)
            });
        Ok(Connection { conn, deadline })
    }

    /// No reader is lent from now on.
    pub(crate) async fn close(&self) {
        self.slots.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            if let Err(error) = connection.conn.close().await {
                tracing::debug!("closing a reader: {error}");
            }
        }
    }
}

impl Reader<'_> {
    pub(crate) fn conn(&mut self) -> &mut SqliteConnection {
        match &mut self.connection {
            Some(connection) => &mut connection.conn,
            None => unreachable!("a reader gives its connection back only when it is dropped"),
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.readers.slots.is_closed()
        {
            self.readers
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
