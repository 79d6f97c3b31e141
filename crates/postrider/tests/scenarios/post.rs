//! The sender's side: puts mail into the sandbox's folders and remembers each message that is owed
//! to the receiver. It can be cloned into a task that delivers while the world breaks.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postrider_sandbox::{mail, mailboxes::Mailboxes};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(crate) struct Post {
    mailboxes: Mailboxes,
    sent: Arc<Mutex<BTreeSet<String>>>,
    number: Arc<AtomicU64>,
}

impl Post {
    pub(crate) fn new(mailboxes: Mailboxes) -> Self {
        Self {
            mailboxes,
            sent: Arc::default(),
            number: Arc::new(AtomicU64::new(1)),
        }
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Delivers a message that has to arrive; its Message-ID.
    pub(crate) fn deliver(
        &self,
        user: &str,
        number: u64,
        raw: Vec<u8>,
        at: OffsetDateTime,
    ) -> String {
        self.deliver_to(user, "INBOX", number, raw, at)
    }

    pub(crate) fn deliver_to(
        &self,
        user: &str,
        folder: &str,
        number: u64,
        raw: Vec<u8>,
        at: OffsetDateTime,
    ) -> String {
        let id = message_id(number);
        // Owed before it can arrive.
        self.sent.lock().unwrap().insert(id.clone());
        self.mailboxes.deliver(user, folder, raw, at).unwrap();
        id
    }

    pub(crate) fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().iter().cloned().collect()
    }

    pub(crate) fn forget(&self) {
        self.sent.lock().unwrap().clear();
    }

    /// Delivers mail of many sizes at random gaps until it is told to end.
    pub(crate) fn carry(self, users: Vec<String>, seed: u64) -> Carrier {
        let cancel = CancellationToken::new();
        let ended = cancel.clone();
        let task = tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            while !ended.is_cancelled() {
                let user = &users[rng.random_range(0..users.len())];
                let number = self.next_number();
                let raw = match rng.random_range(0..60) {
                    0 => mail::large(number, 200_000),
                    _ => mail::plain(number, rng.random_range(300..8_000)),
                };
                self.deliver(user, number, raw, OffsetDateTime::now_utc());
                tokio::time::sleep(Duration::from_millis(rng.random_range(5..120))).await;
            }
        });
        Carrier { cancel, task }
    }
}

/// A carrier on the way.
pub(crate) struct Carrier {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Carrier {
    pub(crate) async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) fn message_id(number: u64) -> String {
    mail::message_id(number).trim_matches(['<', '>']).to_owned()
}
