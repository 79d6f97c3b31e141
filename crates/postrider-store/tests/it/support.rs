//! Stores in temporary places, and short ways to say what a test is about.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use postrider_core::{
    cursor::{Cursor, Epoch},
    event::{EventType, Identity},
    fingerprint::Fingerprint,
    ids::{EndpointKey, FolderName, MailboxKey, Uid, UidValidity, WatchKey},
    time::Wall,
    watch::{Entry, ItemKey, Outcome},
};
use postrider_store::{
    Account, Act, Commit, DeliveryState, EventIdentity, FoundBy, Id, LedgerFacts, NewDelivery,
    NewEvent, OpenError, Options, Pace, Receipt, Replay, Replayed, Run, Selection, Settled,
    Settlement, Store, StoreError,
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

pub(crate) const NOW: Wall = Wall(1_760_000_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn options(dir: &Path) -> Options {
    Options {
        path: dir.join("postrider.db"),
        spool: dir.join("spool"),
        allow_network_filesystem: false,
        reserve_bytes: 256 * 1024,
        budget_bytes: None,
        budget_action: postrider_store::BudgetAction::PauseReading,
        due_ahead_max: DAY,
    }
}

pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Opens; where the last handle was dropped a moment ago, waits for its lock to go.
pub(crate) async fn open(dir: &Path) -> Store {
    open_with(options(dir)).await
}

pub(crate) async fn open_with(options: Options) -> Store {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open(options.clone()).await {
            Ok(store) => return store,
            Err(OpenError::Locked { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn watch(mailbox: &str) -> WatchKey {
    WatchKey {
        mailbox: MailboxKey::from(mailbox),
        folder: FolderName::from("INBOX"),
    }
}

pub(crate) fn account() -> Account {
    Account {
        server: "imap.example.org:993".to_owned(),
        username: "support@example.org".to_owned(),
    }
}

pub(crate) fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

pub(crate) fn print(name: &str) -> Fingerprint {
    Fingerprint::of(Some(name), "", "", "", Some(NOW))
}

pub(crate) fn cursor(last: u32) -> Cursor {
    Cursor {
        last: Uid::new(last),
        ..Cursor::begin(UidValidity(7), Epoch(1))
    }
}

pub(crate) fn entry(outcomes: Vec<(u32, Outcome)>, cursor: Cursor) -> Entry {
    Entry {
        outcomes: outcomes
            .into_iter()
            .map(|(uid, outcome)| (ItemKey::Uid(self::uid(uid)), outcome))
            .collect(),
        cursor,
        hold: None,
        notices: Vec::new(),
        proven: false,
    }
}

pub(crate) fn message(
    watch: &WatchKey,
    validity: u32,
    uid: u32,
    name: &str,
    deliveries: Vec<NewDelivery>,
) -> NewEvent {
    let identity = Identity {
        instance: "test".into(),
        mailbox: watch.mailbox.clone(),
        folder: watch.folder.clone(),
        uid_validity: UidValidity(validity),
        uid: self::uid(uid),
        fingerprint: print(name),
        internal_date: Some(NOW),
    };
    NewEvent {
        subject: format!("{}/{validity}/{uid}", watch.folder),
        identity: EventIdentity::Message(Box::new(identity)),
        event_type: EventType::MessageReceived,
        mailbox: Some(watch.mailbox.clone()),
        time: NOW,
        message_id: Some(name.to_owned()),
        data: format!("{{\"name\":\"{name}\"}}").into(),
        raw: None,
        spool: None,
        deliveries,
    }
}

pub(crate) fn to(endpoint: &str) -> NewDelivery {
    NewDelivery {
        order: None,
        endpoint: EndpointKey::from(endpoint),
        leased: false,
        when_failed: false,
        twins_since: None,
    }
}

pub(crate) fn leased(endpoint: &str) -> NewDelivery {
    NewDelivery {
        order: None,
        endpoint: EndpointKey::from(endpoint),
        leased: true,
        when_failed: false,
        twins_since: None,
    }
}

/// A commit of these messages (UID and Message-ID), each owed to `deliveries`.
pub(crate) fn mail(
    watch: &WatchKey,
    messages: &[(u32, &str)],
    deliveries: &[NewDelivery],
) -> Commit {
    let last = messages.iter().map(|(uid, _)| *uid).max().unwrap_or(0);
    let outcomes = messages
        .iter()
        .map(|(uid, _)| (*uid, Outcome::Event))
        .collect();
    Commit {
        watch: watch.clone(),
        entry: entry(outcomes, cursor(last)),
        found_by: FoundBy::Idle,
        now: NOW,
        facts: facts(messages),
        events: messages
            .iter()
            .map(|(uid, name)| message(watch, 7, *uid, name, deliveries.to_vec()))
            .collect(),
        quarantined: Vec::new(),
        ordered: None,
    }
}

pub(crate) fn facts(messages: &[(u32, &str)]) -> Vec<LedgerFacts> {
    let one = |(uid, name): &(u32, &str)| LedgerFacts {
        key: ItemKey::Uid(self::uid(*uid)),
        fingerprint: print(name),
        internal_date: Some(NOW),
    };
    messages.iter().map(one).collect()
}

/// A commit of outcomes without events.
pub(crate) fn outcomes(watch: &WatchKey, outcomes: Vec<(u32, Outcome)>, cursor: Cursor) -> Commit {
    Commit {
        watch: watch.clone(),
        entry: entry(outcomes, cursor),
        found_by: FoundBy::Cycle,
        now: NOW,
        facts: Vec::new(),
        events: Vec::new(),
        quarantined: Vec::new(),
        ordered: None,
    }
}

/// A store with a loaded mailbox.
pub(crate) async fn loaded(dir: &Path, mailbox: &str) -> (Store, WatchKey) {
    let store = open(dir).await;
    let watch = watch(mailbox);
    store.load(&watch, &account(), NOW).await.unwrap();
    (store, watch)
}

pub(crate) async fn commit(store: &Store, commit: Commit) -> Result<Receipt, StoreError> {
    store.commit(commit).await
}

pub(crate) fn settled(delivery: i64, outcome: Settled) -> Settlement {
    Settlement {
        then: postrider_store::Then::Nothing,
        delivery,
        order: None,
        at: NOW,
        outcome,
        status: Some(200),
        note: "fine".to_owned(),
        took: Duration::from_millis(12),
    }
}

/// An operator, for no particular reason.
pub(crate) fn act() -> Act {
    Act {
        at: NOW,
        who: "ann".to_owned(),
        through: "socket uid 1000".to_owned(),
        why: None,
    }
}

/// Gives up what is pending or dead of an event; says how many deliveries.
pub(crate) async fn discard(store: &Store, event: uuid::Uuid) -> u64 {
    let selection = Selection {
        events: vec![event],
        states: vec![DeliveryState::Pending, DeliveryState::Dead],
        ..Selection::default()
    };
    let act = act();
    let order = (&act, "test");
    let done = store.discard(&selection, order, Run::Real).await;
    done.unwrap().deliveries
}

/// Sends dead and delivered deliveries of an event again, or all dead ones; says how many.
pub(crate) async fn replay(store: &Store, event: Option<uuid::Uuid>, run: Run) -> Replayed {
    let mut states = vec![DeliveryState::Dead];
    if event.is_some() {
        states.push(DeliveryState::Delivered);
    }
    let selection = Selection {
        events: event.into_iter().collect(),
        states,
        ..Selection::default()
    };
    let what = Replay::Again(selection, Id::Same);
    let act = act();
    store
        .replay(&what, Pace::default(), (&act, "test"), run)
        .await
        .unwrap()
}

/// The database itself, behind the store's back.
pub(crate) async fn raw(dir: &Path) -> SqliteConnection {
    let path = dir.join("postrider.db");
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
        .await
        .unwrap()
}

/// A store as a version with so many migrations left it.
pub(crate) async fn of_version(dir: &Path, migrations: i64) -> SqliteConnection {
    let path = dir.join("postrider.db");
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    let migrator = sqlx::migrate!("../../migrations/sqlite");
    migrator.run_to(migrations, &mut conn).await.unwrap();
    sqlx::query("UPDATE meta SET value = ? WHERE name = 'schema_version'")
        .bind(migrations.to_string())
        .execute(&mut conn)
        .await
        .unwrap();
    conn
}

pub(crate) async fn sql(dir: &Path, statement: &'static str) {
    let mut conn = raw(dir).await;
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

pub(crate) async fn assert_sums_hold(store: &Store) {
    let sums = store.sums().await.unwrap();
    assert_eq!(sums.unaccounted_messages(), 0, "{sums:?}");
    assert_eq!(sums.unaccounted_deliveries(), 0, "{sums:?}");
    let mut added = postrider_store::Sums::default();
    for (mailbox, sums) in store.sums_by_mailbox().await.unwrap() {
        assert_eq!(sums.unaccounted_messages(), 0, "{mailbox}: {sums:?}");
        assert_eq!(sums.unaccounted_deliveries(), 0, "{mailbox}: {sums:?}");
        added.uids += sums.uids;
    }
    assert_eq!(added.uids, sums.uids);
}

/// A small disk of its own. Needs root, as the tests' machine has.
pub(crate) struct Disk(
    PathBuf,
    #[expect(dead_code, reason = "removed when dropped")] TempDir,
);

impl Disk {
    pub(crate) fn new(megabytes: u32) -> Self {
        let dir = dir();
        let path = dir.path().to_owned();
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m"),
                "tmpfs",
                path.to_str().unwrap(),
            ],
        );
        Self(path, dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn read_only(&self) {
        run("mount", &["-o", "remount,ro", self.0.to_str().unwrap()]);
    }

    /// Fills the disk to the last block.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filling")).unwrap();
        let chunk = vec![1u8; 4096];
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{program} {args:?}` failed; these tests need root to mount a tmpfs: {text}"
    );
}
