//! What is done with a message in its mailbox after an endpoint accepted its event, where the
//! configuration asks for it: a move, a flag, a keyword. It has a connection of its own, goes by UID,
//! and is repeated until it is done; what it meets there changes nothing for the watch.
//!
//! The row that asks for it is written with the settlement of the delivery, so nothing is done before
//! the endpoint accepted, and nothing is forgotten at a restart.

mod mailbox;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use postrider_core::{backoff::Backoff, ids::MailboxKey, time::Wall};
use postrider_store::StoreError;
use tokio::task::JoinSet;

use crate::{clock, config::Config, directory::Directory, shared::Shared};

/// What comes together within this time is done over one session.
const GATHER: Duration = Duration::from_secs(1);

/// Mailboxes that are worked on at a time, of however many: it can wait.
const MAILBOXES_MAX: usize = 4;

/// While something waits, the clocks are compared this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A try that failed for the mailbox as a whole, or for one message.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(5),
    max: Duration::from_secs(3600),
    stable: Duration::ZERO,
};

/// Runs until the process stops.
pub async fn run(shared: Arc<Shared>, directory: Arc<Directory>) {
    let mut runner = Runner {
        shared,
        directory,
        working: JoinSet::new(),
        busy: BTreeMap::new(),
        copied: Arc::default(),
    };
    let stop = runner.shared.stop.clone();
    loop {
        let wake = runner.step().await;
        let asleep = tokio::time::sleep(wake.unwrap_or_default());
        tokio::select! {
            () = stop.cancelled() => return,
            () = runner.shared.store.after_added() => tokio::time::sleep(GATHER).await,
            Some(ended) = runner.working.join_next_with_id() => runner.ended(ended),
            () = asleep, if wake.is_some() => {}
        }
    }
}

struct Runner {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    working: JoinSet<()>,
    /// Who is worked on by which task.
    busy: BTreeMap<MailboxKey, tokio::task::Id>,
    copied: Arc<mailbox::Copied>,
}

impl Runner {
    /// Starts what is due; says when to look again, if something waits.
    async fn step(&mut self) -> Option<Duration> {
        let waiting = match self.waiting().await {
            Ok(waiting) => waiting,
            Err(error) => {
                let process = &self.shared.telemetry.process;
                process.store_failed("looking what is owed to mailboxes", &error);
                if let StoreError::Fatal(_) = error {
                    self.shared.fatal.cancel();
                }
                return Some(RETRY.first);
            }
        };
        let now = clock::wall();
        let mut wake: Option<Duration> = None;
        for (mailbox, due) in waiting {
            // The end of a mailbox's work, or of another's, is a reason to look again.
            if self.busy.contains_key(&mailbox) || self.busy.len() >= MAILBOXES_MAX {
                continue;
            }
            if due <= now {
                self.start(mailbox);
            } else {
                let wait = due.since(now).min(LOOK_EVERY);
                wake = Some(wake.map_or(wait, |known| known.min(wait)));
            }
        }
        wake
    }

    /// Whom something is owed to, and when; what the configuration does not ask for any more is
    /// forgotten.
    async fn waiting(&self) -> Result<Vec<(MailboxKey, Wall)>, StoreError> {
        let config = self.shared.config();
        let mut waiting = self.shared.store.after_next().await?;
        for (mailbox, _) in &waiting {
            if !is_asked_for(&config, mailbox) {
                let forgotten = self.shared.store.after_forget(mailbox).await?;
                self.shared.telemetry.after.forgotten(mailbox, forgotten);
            }
        }
        waiting.retain(|(mailbox, _)| is_asked_for(&config, mailbox));
        let counts = self.shared.store.after_counts().await?;
        self.shared
            .telemetry
            .after
            .pending(counts.iter().map(|one| one.count).sum());
        Ok(waiting)
    }

    fn start(&mut self, mailbox: MailboxKey) {
        let (shared, directory) = (self.shared.clone(), self.directory.clone());
        let (key, copied) = (mailbox.clone(), self.copied.clone());
        let task = self
            .working
            .spawn(async move { mailbox::work(&shared, &directory, &copied, &key).await });
        self.busy.insert(mailbox, task.id());
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Err(error) = ended {
            // The rows are due as before, and looked at again after a while.
            tracing::error!("work after delivery ended early: {error}");
        }
        self.busy.retain(|_, known| *known != id);
    }
}

/// A mailbox that is configured no more asks for nothing.
fn is_asked_for(config: &Config, mailbox: &MailboxKey) -> bool {
    config
        .mailboxes
        .get(mailbox)
        .is_some_and(|mailbox| mailbox.after.is_some())
}
