//! Brings the schema up to date, with a copy before the first step, and refuses what a newer version
//! wrote unless that version said that this one can read it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sqlx::{
    Executor as _, SqliteConnection,
    migrate::{MigrateError, Migrator},
};

use crate::{model::OpenError, open::open_error, room::beside};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations/sqlite");
    migrator.set_ignore_missing(true);
    migrator
}

/// Runs what is missing.
pub(crate) async fn run(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let to_open_error = |error: sqlx::Error| open_error(path, &error);
    let migrator = migrator();
    let newest = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let stored = stored_version(conn).await.map_err(to_open_error)?;
    if let Some((version, min_reader)) = &stored
        && *version > newest
    {
        if parts(min_reader) > parts(VERSION) {
            return Err(OpenError::TooNew {
                path: path.to_owned(),
                min_reader: min_reader.clone(),
            });
        }
        return Ok(());
    }
    let from = stored.as_ref().map_or(0, |(version, _)| *version);
    let missing = || migrator.iter().filter(|migration| migration.version > from);
    if missing().next().is_none() {
        // Nothing is to be run: those that were run are compared with what they are here.
        let compared = migrator.run_to(from, conn).await;
        return compared.map_err(|error| migrate_error(path, error));
    }
    // One copy, however many steps: it is for the version that wrote the store.
    if stored.is_some()
        && let Some(first) = missing().next()
    {
        copy(conn, path, first.version).await?;
    }
    for migration in missing() {
        migrator
            .run_to(migration.version, &mut *conn)
            .await
            .map_err(|error| migrate_error(path, error))?;
        sqlx::query("UPDATE meta SET value = CASE name WHEN 'written_by' THEN ? ELSE ? END WHERE name IN ('written_by', 'schema_version')")
            .bind(VERSION)
            .bind(migration.version.to_string())
            .execute(&mut *conn)
            .await
            .map_err(to_open_error)?;
    }
    Ok(())
}

fn migrate_error(path: &Path, error: MigrateError) -> OpenError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            open_error(path, &error)
        }
        MigrateError::VersionMismatch(migration) => OpenError::OtherBuild {
            path: path.to_owned(),
            migration,
        },
        other => OpenError::Other {
            path: path.to_owned(),
            detail: other.to_string(),
        },
    }
}

/// The schema's version and the oldest program that can read it; `None` for a new store.
async fn stored_version(conn: &mut SqliteConnection) -> Result<Option<(i64, String)>, sqlx::Error> {
    let (tables,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'")
            .fetch_one(&mut *conn)
            .await?;
    if tables == 0 {
        return Ok(None);
    }
    let (version, min_reader): (String, String) = sqlx::query_as(
        "SELECT (SELECT value FROM meta WHERE name = 'schema_version'), (SELECT value FROM meta WHERE name = 'min_reader')",
    )
    .fetch_one(conn)
    .await?;
    // 0: the process ended between the first migration and this note of it.
    Ok(Some((version.parse().unwrap_or(0), min_reader)))
}

/// Three numbers of a version; what is not a version is newer than all.
fn parts(version: &str) -> [u64; 3] {
    let mut numbers = version
        .split(['-', '+'])
        .next()
        .unwrap_or_default()
        .split('.')
        .map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(u64::MAX);
    [next(), next(), next()]
}

/// `<database>.before-NNNN`, complete and durable; then the older copies go.
async fn copy(conn: &mut SqliteConnection, path: &Path, version: i64) -> Result<(), OpenError> {
    let target = beside(path, &format!(".before-{version:04}"));
    let io_error = |error: std::io::Error| OpenError::Other {
        path: target.clone(),
        detail: format!("the copy before a migration cannot be made: {error}"),
    };
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&target)
        .map_err(io_error)?;
    let text = target.to_str().ok_or_else(|| OpenError::Other {
        path: target.clone(),
        detail: "the path is not valid UTF-8".to_owned(),
    })?;
    let copied = conn.execute(sqlx::query("VACUUM INTO ?").bind(text)).await;
    if let Err(error) = copied {
        fs::remove_file(&target).map_err(io_error)?;
        return Err(open_error(&target, &error));
    }
    file.sync_all().map_err(io_error)?;
    for old in copies(path).into_iter().filter(|old| *old != target) {
        fs::remove_file(&old).map_err(io_error)?;
    }
    Ok(())
}

fn copies(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let prefix = format!("{name}.before-");
    let is_copy = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(&prefix))
    };
    let entries = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries.filter(is_copy).collect()
}

/// The newest schema, for tests of statements.
#[cfg(test)]
pub(crate) async fn schema(conn: &mut SqliteConnection) {
    migrator().run(conn).await.unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(parts("0.10.0") > parts("0.9.9"));
        assert!(parts("1.0.0-rc.1") >= parts("0.99.0"));
        assert!(parts("next") > parts("99.0.0"));
    }
}
