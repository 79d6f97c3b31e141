//! Opening a store: lock, place, file, schema, and what an earlier process left.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, SqliteConnection,
    sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    error::{Kind, kind},
    filesystem, migrate,
    model::{OpenError, Options},
    outbox::AheadMax,
    readers::Readers,
    room::{Room, beside},
    rows::Texts,
    spool::Spool,
    state::State,
    writer::Writer,
};

/// After an unclean end a database up to this size is checked whole; a larger one would make a
/// restart slow, and is checked page by page as it is read.
const CHECK_BYTES_MAX: u64 = 64 * 1024 * 1024;
const BUSY: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection: the writer's few texts in five sizes, and its small
/// groups in one text each.
const STATEMENTS: usize = 128;
/// The writer's page cache, in negative KiB: the largest group (4 MiB of events, and their pages in
/// the indexes) fits into it, so that nothing of it is written twice. Some thousand mails fill it,
/// however few mailboxes there are, and the system has the same pages in its own cache.
const WRITER_CACHE: &str = "-8192";

/// Pages of the write-ahead log after which it is moved into the database: SQLite's default, and
/// less where the reserve is small. On a full disk the reserve has to take what the log holds.
fn checkpoint_pages(reserve_bytes: u64) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    (reserve_bytes / 2 / PAGE_BYTES).clamp(64, 1000)
}

/// Half of that where nobody waits.
fn log_pages(reserve_bytes: u64) -> i64 {
    i64::try_from(checkpoint_pages(reserve_bytes) / 2).unwrap_or(i64::MAX)
}

/// All that an open store consists of.
pub(crate) struct Opened {
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    pub(crate) room: Arc<Room>,
    pub(crate) spool: Spool,
    pub(crate) failed: Arc<OnceLock<String>>,
    pub(crate) due_ahead_max: AheadMax,
    /// The process before this one did not close the store.
    pub(crate) unclean: bool,
}

pub(crate) async fn open(options: &Options) -> Result<Opened, OpenError> {
    let path = &options.path;
    directory(
        path.parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )?;
    let place = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    local(place, path, options)?;
    let lock = lock(path)?;
    let room = Arc::new(Room::new(options));
    private_file(path)?;
    let (mut conn, unclean, run) = match prepare(path, options.reserve_bytes).await {
        // A full disk must not keep the daemon from settling what it has: the reserve is for that.
        Err(OpenError::Full { .. }) => {
            room.disk_full();
            prepare(path, options.reserve_bytes).await?
        }
        prepared => prepared?,
    };
    let state = State::load(&mut conn, run)
        .await
        .map_err(|error| open_error(path, &error))?;
    directory(&options.spool)?;
    local(&options.spool, &options.spool, options)?;
    let spool = Spool::open(options.spool.clone(), room.clone());
    let kept = spool_keys(&mut conn)
        .await
        .map_err(|error| open_error(path, &error))?;
    spool
        .sweep(&kept)
        .map_err(|error| other(&options.spool, &error))?;
    if room.refuses().is_none()
        && let Err(error) = room.keep_reserve()
    {
        tracing::warn!("no reserve can be put aside, reading waits for room: {error}");
        room.disk_full();
    }
    let failed = Arc::new(OnceLock::new());
    let due_ahead_max = AheadMax::new(options.due_ahead_max);
    let writer = Writer {
        conn,
        state,
        room: room.clone(),
        failed: failed.clone(),
        due_ahead_max: due_ahead_max.clone(),
        texts: Texts::default(),
        log_pages: log_pages(options.reserve_bytes),
        groups: 0,
        lock,
    };
    let readers = Readers::new(connect_options(path).read_only(true));
    Ok(Opened {
        writer,
        readers,
        room,
        spool,
        failed,
        due_ahead_max,
        unclean,
    })
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENTS)
        .pragma("temp_store", "memory")
        .pragma("trusted_schema", "off")
        .disable_statement_logging()
}

/// The writer's connection, the schema, and the end of what earlier processes had leased.
async fn prepare(
    path: &Path,
    reserve_bytes: u64,
) -> Result<(SqliteConnection, bool, i64), OpenError> {
    let to_open_error = |error: sqlx::Error| open_error(path, &error);
    let options = connect_options(path)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", "67108864")
        .pragma(
            "wal_autocheckpoint",
            checkpoint_pages(reserve_bytes).to_string(),
        )
        .pragma("cache_size", WRITER_CACHE);
    let mut conn = options.connect().await.map_err(to_open_error)?;
    let prepared = async {
        migrate::run(&mut conn, path).await?;
        let (before, clean) = last_run(&mut conn).await.map_err(to_open_error)?;
        if !clean {
            check(&mut conn, path).await?;
        }
        let run = before + 1;
        start_run(&mut conn, run).await.map_err(to_open_error)?;
        Ok((run, clean))
    }
    .await;
    match prepared {
        Ok((run, clean)) => Ok((conn, !clean, run)),
        Err(error) => {
            if let Err(error) = conn.close().await {
                tracing::debug!("closing after a failed start: {error}");
            }
            Err(error)
        }
    }
}

/// The number of the process before this one, and whether it ended in order.
async fn last_run(conn: &mut SqliteConnection) -> Result<(i64, bool), sqlx::Error> {
    let (run, clean): (String, String) = sqlx::query_as(
        "SELECT (SELECT value FROM meta WHERE name = 'run'), \
         (SELECT value FROM meta WHERE name = 'clean')",
    )
    .fetch_one(conn)
    .await?;
    Ok((run.parse().unwrap_or(0), clean == "1"))
}

/// From now on the end is unclean until it is marked otherwise; leases end with their process.
async fn start_run(conn: &mut SqliteConnection, run: i64) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "UPDATE meta SET value = CASE name WHEN 'run' THEN ? ELSE '0' END \
         WHERE name IN ('run', 'clean')",
    )
    .bind(run.to_string())
    .execute(&mut *transaction)
    .await?;
    transaction
        .execute(
            "UPDATE delivery SET state = 0, due = 0 \
             WHERE endpoint IN (SELECT id FROM endpoint) AND state = 1",
        )
        .await?;
    transaction.commit().await
}

async fn check(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    if fs::metadata(path).is_ok_and(|data| data.len() > CHECK_BYTES_MAX) {
        return Ok(());
    }
    let found: Result<(String,), _> = sqlx::query_as("PRAGMA quick_check(1)")
        .fetch_one(conn)
        .await;
    match found {
        Ok((text,)) if text == "ok" => Ok(()),
        Ok((detail,)) => Err(OpenError::Damaged {
            path: path.to_owned(),
            detail,
        }),
        Err(error) => Err(open_error(path, &error)),
    }
}

async fn spool_keys(
    conn: &mut SqliteConnection,
) -> Result<std::collections::HashSet<String>, sqlx::Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT spool FROM event WHERE spool IS NOT NULL UNION ALL SELECT spool FROM quarantine",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(key,)| key).collect())
}

/// Makes the directory where only it is missing, so that a mistyped path is still an error.
fn directory(dir: &Path) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::Other {
            path: dir.to_owned(),
            detail: "not a directory".to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(|error| unwritable(dir, &error)),
        Err(error) => Err(unwritable(dir, &error)),
    }
}

fn local(place: &Path, path: &Path, options: &Options) -> Result<(), OpenError> {
    if options.allow_network_filesystem {
        return Ok(());
    }
    match filesystem::network(place) {
        Ok(None) => Ok(()),
        Ok(Some(filesystem)) => Err(OpenError::NetworkFilesystem {
            path: path.to_owned(),
            filesystem,
        }),
        Err(error) => Err(other(place, &error)),
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let name = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(|error| unwritable(&name, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(other(&name, &error)),
    }
}

/// The database is readable by its owner alone; its log and index take over its mode.
fn private_file(path: &Path) -> Result<(), OpenError> {
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| unwritable(path, &error))?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> OpenError {
    let path = path.to_owned();
    let detail = error.to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path, detail }
        }
        io::ErrorKind::NotFound => OpenError::Other {
            detail: format!(
                "the directory {} does not exist",
                path.parent().unwrap_or(&path).display()
            ),
            path,
        },
        _ => OpenError::Other { path, detail },
    }
}

fn other(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Other {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

pub(crate) fn open_error(path: &Path, error: &sqlx::Error) -> OpenError {
    let path = PathBuf::from(path);
    let detail = error.to_string();
    match kind(error) {
        Kind::Full => OpenError::Full { path },
        Kind::Damaged => OpenError::Damaged { path, detail },
        Kind::ReadOnly | Kind::CannotOpen => OpenError::ReadOnly { path, detail },
        Kind::Fatal | Kind::Busy | Kind::Constraint | Kind::Other => {
            OpenError::Other { path, detail }
        }
    }
}
