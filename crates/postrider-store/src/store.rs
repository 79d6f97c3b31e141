//! The handle that everybody has. Cheap to clone; every write is durable when its call returns.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use postrider_core::{
    fingerprint::Fingerprint,
    ids::{EndpointKey, MailboxKey, Uid, UidValidity, WatchKey},
    time::Wall,
    watch::{Known, Stored},
};
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use crate::{
    after::Then,
    ledger,
    model::{
        Account, Claimed, Commit, EventDetail, EventFilter, EventSummary, MailboxRow, NewEvent,
        OpenError, Options, OutboxRow, Owed, Raw, Receipt, Settlement, Space, SpoolKey, StoreError,
        Sums, Taken, WatchRow,
    },
    open::{self, Opened},
    outbox::{self, AheadMax},
    plan::{Answer, Work},
    rare::{self, Did, Rare},
    readers::Readers,
    report,
    room::Room,
    spool::Spool,
    story, sums,
    writer::{GROUP_MAX, Reply, Request},
};

/// Requests that may wait for the writer: two groups, so that one fills while one is written.
const QUEUE_MAX: usize = 2 * GROUP_MAX;

/// Steps of a walk that find nothing to forget: what is owed for ever must not be looked through at
/// each call, as the writer serves nobody else meanwhile.
const VAIN_STEPS_MAX: u32 = 20;
/// A walk ends with the step in which this has passed, whatever there is left: who called it proves
/// by its end that the writer lives.
const WALK_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    writer: mpsc::Sender<Request>,
    readers: Readers,
    room: Arc<Room>,
    spool: Spool,
    failed: Arc<OnceLock<String>>,
    unclean: bool,
    due_ahead_max: AheadMax,
    closed: AtomicBool,
    /// Something is to be done after delivery.
    after: Notify,
    /// Where pruning goes on.
    prune_from: AtomicI64,
    prune_raw_from: AtomicI64,
}

/// A caretaker's walk through a table.
struct Walk(Instant);

impl Walk {
    fn begin() -> Self {
        Self(Instant::now())
    }

    fn is_long(&self) -> bool {
        self.0.elapsed() > WALK_MAX
    }
}

impl Store {
    /// Opens or creates the store, alone: a second process gets [`OpenError::Locked`]. Leases of
    /// earlier processes end.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Opened {
            writer,
            readers,
            room,
            spool,
            failed,
            due_ahead_max,
            unclean,
        } = open::open(&options).await?;
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(writer.run(receiver));
        Ok(Self(Arc::new(Inner {
            writer: sender,
            readers,
            room,
            spool,
            failed,
            unclean,
            due_ahead_max,
            closed: AtomicBool::new(false),
            after: Notify::new(),
            prune_from: AtomicI64::new(0),
            prune_raw_from: AtomicI64::new(0),
        })))
    }

    /// Ends in order: what is queued is stored, the end is marked as clean, the log is moved into
    /// the database and the lock is released. Later calls get [`StoreError::Busy`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.readers.close().await;
        self.ask(Request::Close).await
    }

    // ------------------------------------------------------------ watches

    /// What is stored of a watch. The first call for a mailbox stores its account.
    pub async fn load(
        &self,
        watch: &WatchKey,
        account: &Account,
        now: Wall,
    ) -> Result<Stored, StoreError> {
        let stored = match ledger::stored(&self.0.readers, watch, account).await? {
            Some(stored) => stored,
            None => {
                let (mailbox, account) = (watch.mailbox.clone(), account.clone());
                self.work(Work::Ensure {
                    mailbox,
                    account,
                    now,
                })
                .await?;
                Stored::default()
            }
        };
        Ok(Stored {
            unclean: self.0.unclean,
            ..stored
        })
    }

    /// Stores outcomes, events, deliveries and cursor of one watch, all or nothing. Of the files that
    /// it names those are removed that no row came to name.
    pub async fn commit(&self, commit: Commit) -> Result<Receipt, StoreError> {
        let events = commit
            .events
            .iter()
            .filter_map(|event| event.spool.as_ref());
        let quarantined = commit.quarantined.iter().map(|(_, key)| key);
        let files: Vec<SpoolKey> = events.chain(quarantined).cloned().collect();
        let stored = self.receipt(Work::Commit(Box::new(commit))).await;
        // Until here they stay, whatever happens: a commit that nobody waits for may be durable.
        let unnamed = match &stored {
            Ok(receipt) if receipt.repeated == 0 => Vec::new(),
            // Whether it is durable, the next start finds out.
            Err(StoreError::Fatal(_)) => Vec::new(),
            Ok(_) => self.unnamed(files).await,
            Err(StoreError::Full(_) | StoreError::Busy(_) | StoreError::Other(_)) => files,
        };
        for key in &unnamed {
            if let Err(error) = self.0.spool.remove(key).await {
                tracing::warn!(
                    "a spool file that nobody needs stays until the next start: {error}"
                );
            }
        }
        stored
    }

    async fn unnamed(&self, mut files: Vec<SpoolKey>) -> Vec<SpoolKey> {
        if files.is_empty() {
            return files;
        }
        match report::named(&self.0.readers, &files).await {
            Ok(named) => files.retain(|key| !named.contains(key)),
            Err(error) => {
                tracing::warn!("spool files may stay until the next start: {error}");
                files.clear();
            }
        }
        files
    }

    /// How often each of these fingerprints was taken before continuity broke, less those that
    /// were matched since; without those for which that is zero.
    pub async fn recall(
        &self,
        watch: &WatchKey,
        prints: &[Fingerprint],
    ) -> Result<Known, StoreError> {
        ledger::recall(&self.0.readers, watch, prints).await
    }

    /// Which of these UIDs, found on the server, were passed by without a ledger row. Those above
    /// the cursor, those that first sight left out, and open gaps are not among them.
    pub async fn audit_missing(
        &self,
        watch: &WatchKey,
        validity: UidValidity,
        uids: &[Uid],
    ) -> Result<Vec<Uid>, StoreError> {
        ledger::audit_missing(&self.0.readers, watch, validity, uids).await
    }

    // ------------------------------------------------------------ deliveries

    /// Stores an event that comes without a watch's entry (a system event).
    pub async fn add_event(&self, event: NewEvent, now: Wall) -> Result<Receipt, StoreError> {
        self.receipt(Work::Event(Box::new(event), now)).await
    }

    /// Leases up to `limit` deliveries that are due to this process, the longest due first.
    pub async fn claim_due(
        &self,
        endpoint: &EndpointKey,
        limit: u32,
        now: Wall,
    ) -> Result<Vec<Claimed>, StoreError> {
        match self
            .work(Work::Claim {
                endpoint: endpoint.clone(),
                limit,
                now,
            })
            .await?
        {
            Answer::Claimed(claimed) => Ok(claimed),
            Answer::Receipt(_) | Answer::Done => Err(mixed_up()),
        }
    }

    /// For each endpoint with pending deliveries (paused or not), when the next is due.
    pub async fn next_due(&self, now: Wall) -> Result<Vec<(EndpointKey, Wall)>, StoreError> {
        outbox::next_due(&self.0.readers, now, self.due_ahead_max()).await
    }

    /// The longest that a due time may lie ahead: what lies further ahead is due now.
    pub fn due_ahead_max(&self) -> Duration {
        self.0.due_ahead_max.get()
    }

    /// Other settings allow for other waits.
    pub fn set_due_ahead_max(&self, longest: Duration) {
        self.0.due_ahead_max.set(longest);
    }

    /// Records what became of leased deliveries. One that is not leased is left as it is.
    pub async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        let follows = |one: &Settlement| {
            one.then == Then::After && one.outcome == crate::model::Settled::Delivered
        };
        let any = settlements.iter().any(follows);
        self.work(Work::Settle(settlements)).await.map(drop)?;
        if any {
            self.0.after.notify_one();
        }
        Ok(())
    }

    /// Everything that waits for an endpoint is due now; says how many deliveries that moved.
    pub async fn release_endpoint(
        &self,
        endpoint: &EndpointKey,
        now: Wall,
    ) -> Result<u64, StoreError> {
        let mut moved = 0;
        let mut behind = Some((now.0, i64::MAX));
        while let Some(from) = behind {
            let order = Rare::Release {
                endpoint: endpoint.clone(),
                now,
                behind: from,
            };
            let did = self.rare(order).await?;
            moved += did.count;
            behind = did.behind;
        }
        Ok(moved)
    }

    /// The endpoint asks for no order any more: nothing of it waits for another one.
    pub async fn unorder_endpoint(
        &self,
        endpoint: &EndpointKey,
        now: Wall,
    ) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        let order = Rare::Unorder { endpoint, now };
        while self.rare(order.clone()).await?.next.is_some() {}
        Ok(())
    }

    pub async fn paused_endpoints(&self) -> Result<Vec<EndpointKey>, StoreError> {
        let rows = self.outbox().await?;
        Ok(rows
            .into_iter()
            .filter(|row| row.paused)
            .map(|row| row.endpoint)
            .collect())
    }

    // ------------------------------------------------------------ what there is

    /// Newest first; at most `limit`, and at most 1,000 (also where `limit` is 0).
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<EventSummary>, StoreError> {
        report::events(&self.0.readers, filter).await
    }

    pub async fn event(&self, id: Uuid) -> Result<Option<EventDetail>, StoreError> {
        report::event(&self.0.readers, id).await
    }

    /// Whether something was ever owed to an endpoint of this name.
    pub async fn knows_endpoint(&self, endpoint: &EndpointKey) -> Result<bool, StoreError> {
        outbox::knows(&self.0.readers, endpoint).await
    }

    pub async fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        outbox::rows(&self.0.readers).await
    }

    /// Endpoints that are configured no more and still have pending or dead deliveries.
    pub async fn orphans(&self, configured: &[EndpointKey]) -> Result<Vec<OutboxRow>, StoreError> {
        let mut rows = self.outbox().await?;
        rows.retain(|row| row.pending + row.dead > 0 && !configured.contains(&row.endpoint));
        Ok(rows)
    }

    pub async fn watches(&self) -> Result<Vec<WatchRow>, StoreError> {
        report::watches(&self.0.readers).await
    }

    pub async fn mailboxes(&self) -> Result<Vec<MailboxRow>, StoreError> {
        report::mailboxes(&self.0.readers).await
    }

    /// Every taking of the message with this Message-ID (without its angle brackets) that an event
    /// tells of, oldest first.
    pub async fn taken_of_message(
        &self,
        mailbox: &MailboxKey,
        message_id: &str,
    ) -> Result<Vec<Taken>, StoreError> {
        story::taken_of_message(&self.0.readers, mailbox, message_id).await
    }

    /// What became of a UID in the present numbering of its folder.
    pub async fn taken_at(&self, watch: &WatchKey, uid: Uid) -> Result<Option<Taken>, StoreError> {
        story::taken_at(&self.0.readers, watch, uid).await
    }

    /// What was taken last in the present numbering of a folder, the highest UID first.
    pub async fn newest_taken(
        &self,
        watch: &WatchKey,
        limit: u32,
    ) -> Result<Vec<Taken>, StoreError> {
        story::newest_taken(&self.0.readers, watch, limit).await
    }

    /// What each endpoint still owes of a mailbox's events, or gave up.
    pub async fn owed(&self, mailbox: &MailboxKey) -> Result<Vec<Owed>, StoreError> {
        story::owed(&self.0.readers, mailbox).await
    }

    /// Both sums over everything. Reads the whole ledger's rows: not for every moment.
    pub async fn sums(&self) -> Result<Sums, StoreError> {
        sums::sums(&self.0.readers).await.map(|(all, _)| all)
    }

    /// Both sums per mailbox, in the order of their keys.
    pub async fn sums_by_mailbox(&self) -> Result<Vec<(MailboxKey, Sums)>, StoreError> {
        sums::sums(&self.0.readers).await.map(|(_, each)| each)
    }

    // ------------------------------------------------------------ room

    pub fn spool(&self) -> &Spool {
        &self.0.spool
    }

    pub async fn space(&self) -> Result<Space, StoreError> {
        let room = self.0.room.clone();
        let space = tokio::task::spawn_blocking(move || room.space()).await;
        space.map_err(|ended| StoreError::Other(format!("measuring the store: {ended}")))
    }

    /// Deletes events that were over for all their endpoints at least `keep_delivered` ago, and
    /// their spool files; says how many. Ledger rows stay, room is given back to the disk. A call takes
    /// bounded time, and the next one goes on where it ended.
    pub async fn prune(&self, now: Wall, keep_delivered: Duration) -> Result<u64, StoreError> {
        let settled_before = rare::before(now, keep_delivered);
        let order = |after| Rare::Prune {
            now,
            settled_before,
            after,
        };
        let walk = Walk::begin();
        let pruned = self.walk(&walk, &self.0.prune_from, order).await?;
        while !walk.is_long() && self.rare(Rare::Vacuum).await?.next.is_some() {}
        Ok(pruned)
    }

    /// The message of an event, where it is kept.
    pub async fn raw(&self, event: Uuid) -> Result<Option<Raw>, StoreError> {
        Ok(match report::raw(&self.0.readers, event).await? {
            None => None,
            Some(report::Kept::Here(bytes)) => Some(Raw::Bytes(bytes)),
            Some(report::Kept::Spooled(key)) => self.0.spool.stored(&key).await?,
        })
    }

    /// Drops the messages of events that were over for all their endpoints at least `keep` ago;
    /// says how many. The events themselves stay. Bounded like [`Store::prune`].
    pub async fn prune_raw(&self, now: Wall, keep: Duration) -> Result<u64, StoreError> {
        let settled_before = rare::before(now, keep);
        let order = |after| Rare::PruneRaw {
            settled_before,
            after,
        };
        let walk = Walk::begin();
        self.walk(&walk, &self.0.prune_raw_from, order).await
    }

    /// Walks on from where the walk before ended; at the end the next one begins anew.
    async fn walk(
        &self,
        walk: &Walk,
        from: &AtomicI64,
        order: impl Fn(i64) -> Rare,
    ) -> Result<u64, StoreError> {
        let mut vain_steps = 0;
        let mut pruned = 0;
        let mut after = Some(from.load(Ordering::Relaxed));
        while let Some(last) = after.filter(|_| vain_steps < VAIN_STEPS_MAX && !walk.is_long()) {
            let step = self.rare(order(last)).await?;
            vain_steps += u32::from(step.count == 0);
            pruned += step.count;
            after = step.next;
            from.store(after.unwrap_or(0), Ordering::Relaxed);
            for key in &step.spool {
                self.0.spool.remove(key).await?;
            }
        }
        Ok(pruned)
    }

    // ------------------------------------------------------------ asking the writer

    /// Returns once a settlement has given rise to something that is to be done after delivery; also
    /// where that was before, and nobody waited. For one caller.
    pub async fn after_added(&self) {
        self.0.after.notified().await;
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.0.writer.send(request(reply)).await.is_err() {
            return Err(self.gone());
        }
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// The writer takes no more: it was told to end, the file failed, or it ended by a fault of
    /// its own, after which this process is as little use.
    fn gone(&self) -> StoreError {
        match self.0.failed.get() {
            Some(error) => StoreError::Fatal(error.clone()),
            None if self.0.closed.load(Ordering::Relaxed) => {
                StoreError::Busy("the store is closed".to_owned())
            }
            None => StoreError::Fatal("the writer ended early".to_owned()),
        }
    }

    async fn work(&self, work: Work) -> Result<Answer, StoreError> {
        self.ask(|reply| Request::Work(work, reply)).await
    }

    async fn receipt(&self, work: Work) -> Result<Receipt, StoreError> {
        match self.work(work).await? {
            Answer::Receipt(receipt) => Ok(receipt),
            Answer::Claimed(_) | Answer::Done => Err(mixed_up()),
        }
    }

    pub(crate) async fn rare(&self, rare: Rare) -> Result<Did, StoreError> {
        self.ask(|reply| Request::Rare(rare, reply)).await
    }
}

fn mixed_up() -> StoreError {
    StoreError::Other("the writer answered another question".to_owned())
}
