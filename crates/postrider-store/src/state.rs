//! What the writer keeps in memory so that it need not read before it writes: ids, sequences and
//! suspects. It is the only writer (the lock sees to that), and this changes only after a commit.

use std::collections::{BTreeMap, HashMap};

use postrider_core::{
    cursor::Epoch,
    ids::{EndpointKey, FolderName, MailboxKey, Uid, WatchKey},
};
use sqlx::SqliteConnection;

use crate::codec;

#[derive(Clone, Debug)]
pub(crate) struct WatchState {
    pub(crate) id: i64,
    /// The epoch that the suspects belong to; `None` where the cursor is lost.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) suspects: BTreeMap<Uid, u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointState {
    pub(crate) id: i64,
    /// The last one given out.
    pub(crate) sequence: i64,
}

/// The last ids given out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ids {
    pub(crate) mailbox: i64,
    pub(crate) watch: i64,
    pub(crate) endpoint: i64,
    pub(crate) event: i64,
    pub(crate) delivery: i64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) mailboxes: HashMap<MailboxKey, i64>,
    pub(crate) watches: HashMap<WatchKey, WatchState>,
    pub(crate) endpoints: HashMap<EndpointKey, EndpointState>,
    pub(crate) ids: Ids,
    /// This process's number among those that opened the store.
    pub(crate) run: i64,
}

impl State {
    pub(crate) async fn load(conn: &mut SqliteConnection, run: i64) -> Result<Self, sqlx::Error> {
        let mut state = Self {
            run,
            ..Self::default()
        };
        let mailboxes: Vec<(i64, String)> = sqlx::query_as("SELECT id, name FROM mailbox")
            .fetch_all(&mut *conn)
            .await?;
        let names: HashMap<i64, MailboxKey> = mailboxes
            .into_iter()
            .map(|(id, name)| (id, MailboxKey::new(name)))
            .collect();
        let watches: Vec<(i64, i64, String, Option<i64>, String)> =
            sqlx::query_as("SELECT id, mailbox, folder, epoch, suspects FROM watch")
                .fetch_all(&mut *conn)
                .await?;
        for (id, mailbox, folder, epoch, suspects) in watches {
            let Some(mailbox) = names.get(&mailbox).cloned() else {
                continue;
            };
            let suspects = codec::parse_suspects(&suspects);
            let watch = WatchState {
                id,
                epoch: epoch.map(Epoch),
                suspects,
            };
            state.watches.insert(
                WatchKey {
                    mailbox,
                    folder: FolderName::new(folder),
                },
                watch,
            );
        }
        state.mailboxes = names.into_iter().map(|(id, name)| (name, id)).collect();
        let endpoints: Vec<(i64, String, i64)> =
            sqlx::query_as("SELECT id, name, sequence FROM endpoint")
                .fetch_all(&mut *conn)
                .await?;
        state.endpoints = endpoints
            .into_iter()
            .map(|(id, name, sequence)| (EndpointKey::new(name), EndpointState { id, sequence }))
            .collect();
        let (mailbox, watch, endpoint, event, delivery) = sqlx::query_as(
            "SELECT coalesce((SELECT max(id) FROM mailbox), 0), coalesce((SELECT max(id) FROM watch), 0), \
             coalesce((SELECT max(id) FROM endpoint), 0), coalesce((SELECT max(id) FROM event), 0), \
             coalesce((SELECT max(id) FROM delivery), 0)",
        )
        .fetch_one(&mut *conn)
        .await?;
        state.ids = Ids {
            mailbox,
            watch,
            endpoint,
            event,
            delivery,
        };
        Ok(state)
    }
}
