use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use postrider_store::{OpenError, Store};
use sqlx::Connection as _;

use crate::support::*;

async fn fails(options: postrider_store::Options) -> OpenError {
    match Store::open(options).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn two_stores_cannot_share_a_file() {
    let dir = dir();
    let store = open(dir.path()).await;
    assert!(matches!(
        fails(options(dir.path())).await,
        OpenError::Locked { .. }
    ));
    store.close().await.unwrap();
    open(dir.path()).await.close().await.unwrap();
}

#[tokio::test]
async fn all_files_are_private() {
    let dir = dir();
    fs::write(dir.path().join("postrider.db"), "").unwrap();
    fs::set_permissions(
        dir.path().join("postrider.db"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let wanted = if entry.file_type().unwrap().is_dir() {
            0o700
        } else {
            0o600
        };
        assert_eq!(mode, wanted, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 6, "database, log, index, lock, reserve, spool");
}

#[tokio::test]
async fn an_end_without_close_is_seen_as_unclean() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    assert!(
        !store.load(&watch, &account(), NOW).await.unwrap().unclean,
        "a new store has no past"
    );
    drop(store);
    let store = open(dir.path()).await;
    assert!(store.load(&watch, &account(), NOW).await.unwrap().unclean);
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    assert!(!store.load(&watch, &account(), NOW).await.unwrap().unclean);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    store.close().await.unwrap();
    assert!(matches!(
        store.load(&watch, &account(), NOW).await,
        Err(postrider_store::StoreError::Busy(_))
    ));
    let refused = commit(&store, mail(&watch, &[(1, "a")], &[])).await;
    assert!(matches!(refused, Err(postrider_store::StoreError::Busy(_))));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_called_damaged() {
    let dir = dir();
    fs::write(
        dir.path().join("postrider.db"),
        "this is a letter, not a database. ".repeat(300),
    )
    .unwrap();
    assert!(matches!(
        fails(options(dir.path())).await,
        OpenError::Damaged { .. }
    ));
}

#[tokio::test]
async fn a_truncated_database_is_called_damaged() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    store.close().await.unwrap();
    let path = dir.path().join("postrider.db");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(
        fails(options(dir.path())).await,
        OpenError::Damaged { .. }
    ));
}

#[tokio::test]
async fn a_page_that_was_overwritten_is_found_after_an_unclean_end() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    store.close().await.unwrap();
    sql(
        dir.path(),
        "UPDATE meta SET value = '0' WHERE name = 'clean'",
    )
    .await;
    let path = dir.path().join("postrider.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 3 * 4096;
    bytes[at..at + 2 * 4096].fill(0xaa);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        fails(options(dir.path())).await,
        OpenError::Damaged { .. }
    ));
}

#[tokio::test]
async fn a_read_only_disk_is_named() {
    let disk = Disk::new(8);
    open(disk.path()).await.close().await.unwrap();
    disk.read_only();
    let error = fails(options(disk.path())).await;
    assert!(matches!(&error, OpenError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let dir = dir();
    let mut options = options(dir.path());
    options.path = dir.path().join("no/such/place/postrider.db");
    let error = fails(options).await.to_string();
    assert!(
        error.contains("no/such") && error.contains("does not exist"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_store_is_opened_as_long_as_that_version_allows_it() {
    let dir = dir();
    open(dir.path()).await.close().await.unwrap();
    sql(dir.path(), "UPDATE meta SET value = '9999' WHERE name = 'schema_version'; \
                     INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'from the future', TRUE, x'00', 1)").await;
    open(dir.path()).await.close().await.unwrap();
    sql(
        dir.path(),
        "UPDATE meta SET value = '99.1.0' WHERE name = 'min_reader'",
    )
    .await;
    let error = fails(options(dir.path())).await;
    assert!(
        matches!(&error, OpenError::TooNew { min_reader, .. } if min_reader == "99.1.0"),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_was_migrated_otherwise_is_refused() {
    let dir = dir();
    open(dir.path()).await.close().await.unwrap();
    sql(
        dir.path(),
        "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 6",
    )
    .await;
    let error = fails(options(dir.path())).await;
    assert!(
        matches!(error, OpenError::OtherBuild { migration: 6, .. }),
        "{error}"
    );
}

/// Stores remember the checksums: a migration that somebody has run is never edited.
#[test]
fn migrations_that_were_released_are_as_they_were() {
    let released = [
        (1, "a0d110a95c32"),
        (2, "0746f61d1bda"),
        (3, "4a90ede08c61"),
        (4, "1304fab37186"),
        (5, "7f0cf7d2a5d0"),
        (6, "a1d529e8c6cd"),
        (7, "3267d249e0ee"),
    ];
    let migrator = sqlx::migrate!("../../migrations/sqlite");
    let ours: Vec<(i64, String)> = migrator
        .iter()
        .map(|one| {
            let start = one.checksum.iter().take(6);
            (
                one.version,
                start.map(|byte| format!("{byte:02x}")).collect(),
            )
        })
        .collect();
    let released = released.map(|(version, start)| (version, start.to_owned()));
    assert_eq!(ours, released, "add a migration; never edit one");
}

#[tokio::test]
async fn a_store_is_copied_before_it_is_migrated() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    store.close().await.unwrap();
    // As a store of the version before the first migration would be: known, but behind.
    sql(
        dir.path(),
        "UPDATE meta SET value = '0' WHERE name = 'schema_version'",
    )
    .await;
    fs::write(dir.path().join("postrider.db.before-0000"), "an older copy").unwrap();
    open(dir.path()).await.close().await.unwrap();
    assert!(
        !dir.path().join("postrider.db.before-0000").exists(),
        "the last copy is kept alone"
    );
    let copy = dir.path().join("postrider.db.before-0001");
    assert_eq!(
        fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(count_ledger(&copy).await, 1);
    let store = open(dir.path()).await;
    assert_eq!(store.sums().await.unwrap().uids, 1);
}

async fn count_ledger(path: &Path) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .read_only(true);
    let mut conn = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM ledger")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    count
}

#[tokio::test]
async fn the_day_one_choices_are_made() {
    let dir = dir();
    let store = open(dir.path()).await;
    let mut conn = raw(dir.path()).await;
    let (vacuum,): (i64,) = sqlx::query_as("PRAGMA auto_vacuum")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    let (journal,): (String,) = sqlx::query_as("PRAGMA journal_mode")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(
        (vacuum, journal.as_str()),
        (2, "wal"),
        "incremental, write-ahead log"
    );
    let lax: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0 \
         AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert!(lax.is_empty(), "{lax:?} are not STRICT");
    drop(store);
}

#[tokio::test]
async fn a_reader_that_takes_too_long_is_interrupted() {
    let dir = dir();
    let (store, watch) = loaded(dir.path(), "support").await;
    commit(&store, mail(&watch, &[(1, "a")], &[]))
        .await
        .unwrap();
    // A view in the place of a table makes the sum endless.
    sql(dir.path(), "CREATE TABLE kept AS SELECT * FROM endpoint; ALTER TABLE endpoint RENAME TO endpoint_kept; \
                     CREATE VIEW endpoint AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) \
                     SELECT id, 'x' AS name, 0 AS paused, 0 AS sequence, 0 AS pruned_delivered, \
                     0 AS pruned_discarded FROM n").await;
    let started = std::time::Instant::now();
    let result = store.sums().await;
    assert!(
        matches!(result, Err(postrider_store::StoreError::Busy(_))),
        "{result:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(
        !store
            .load(&watch, &account(), NOW)
            .await
            .unwrap()
            .state_lost,
        "the reader is good for the next"
    );
}
