//! The shell of a watch: performs one effect, feeds one input back. It decides nothing.
//!
//! Bodies stay here between the read and the commit, under their UID; the core sees facts only.

mod commit;
mod diagnose;
mod opening;
mod prepare;
pub(crate) mod session;
pub(crate) mod trouble;
mod wait;

pub(crate) use trouble::redacted;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use postrider_core::{
    event::EventType,
    ids::{FolderName, Uid, WatchKey},
    time::Monotonic,
    watch::{
        Effect, Facts, Failure, Input, Order, Outcome, PauseReason, Selected, Stored, Wake, Watch,
    },
};
use postrider_imap::session::Session;
use postrider_store::{Account, FoundBy};

use crate::{
    clock,
    config::Mailbox,
    gate::{MailboxGate, OpenSession},
    shared::{Room, Share, Shared},
    system_events,
    telemetry::mail::State,
    watch_line::WatchLine,
};
use prepare::Prepared;

/// Between two tries to read the stored state when the store is busy.
const LOAD_RETRY: Duration = Duration::from_secs(2);

pub struct Watcher {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    folder: FolderName,
    gate: Arc<MailboxGate>,
    line: Arc<WatchLine>,
    session: Option<Open>,
    standby: Option<wait::Standby>,
    batch: Batch,
    /// Facts of what was read since the last commit.
    facts: BTreeMap<Uid, Facts>,
    found_by: FoundBy,
    /// What the audit found missing, until it is read.
    missing: Vec<Uid>,
    /// What the server said when it refused a command last, until all is well.
    refused: Option<String>,
    /// As many gaps are open as there may be: what came after them is not read.
    is_behind: bool,
    /// Announcements in a row, close together, that no new mail came of.
    idle_wakes: u8,
    next_audit: Monotonic,
}

/// A session with its folder open, and what is known of both.
struct Open {
    session: Session,
    /// The folder's name on the server; a role's folder may be another one the next time.
    name: FolderName,
    selected: Selected,
    opened: Monotonic,
    counted: Counted,
    /// Its share of the server's connections, where there is a limit to them.
    _share: Option<Share>,
    /// Counts at the mailbox's gate until it is dropped.
    _counts: OpenSession,
}

/// What has been told to the metrics of a session's counters.
#[derive(Default)]
struct Counted {
    bytes: u64,
    skipped: u64,
}

/// What has been read and waits for its commit, with the share of the memory budget it holds.
#[derive(Default)]
struct Batch {
    messages: BTreeMap<Uid, Prepared>,
    room: Option<Room>,
}

impl Batch {
    fn clear(&mut self) {
        self.messages = BTreeMap::new();
        self.room = None;
    }
}

/// How one life of a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// An operator's pause, which is stored, came in the middle of reading: it is loaded anew.
    Paused,
}

impl Watcher {
    pub fn new(
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        folder: FolderName,
        gate: Arc<MailboxGate>,
        line: Arc<WatchLine>,
    ) -> Self {
        let spread = shared
            .limits
            .audit_every
            .min(Duration::from_secs(3600))
            .mul_f64(clock::chance().0);
        Self {
            shared,
            mailbox,
            folder,
            gate,
            line,
            session: None,
            standby: None,
            batch: Batch::default(),
            facts: BTreeMap::new(),
            found_by: FoundBy::Start,
            missing: Vec::new(),
            refused: None,
            is_behind: false,
            idle_wakes: 0,
            next_audit: clock::monotonic() + spread,
        }
    }

    /// Watches until it is told to stop.
    pub async fn run(mut self, delay: Duration) {
        let mut delay = delay;
        while self.watch(delay).await == Ended::Paused {
            delay = Duration::ZERO;
        }
    }

    /// One life of the watch, from what is stored.
    async fn watch(&mut self, delay: Duration) -> Ended {
        let Some(stored) = self.load(delay).await else {
            return Ended::Stopped;
        };
        let mut watch = Watch::new(self.mailbox.policy.clone());
        let mut effect = watch.step(
            Input::Start(Box::new(stored)),
            clock::now(),
            clock::chance(),
        );
        let mut marked = false;
        while effect != Effect::Finish {
            if !marked && let Some(ended) = self.broken_off(&effect).await {
                return ended;
            }
            marked = marks(&effect);
            self.is_behind = watch.is_behind();
            tracing::trace!(mailbox = %self.mailbox.key, folder = %self.folder, ?effect, "perform");
            let input = self.perform(effect).await;
            tracing::trace!(mailbox = %self.mailbox.key, folder = %self.folder, ?input, "answered");
            effect = watch.step(input, clock::now(), clock::chance());
        }
        Ended::Stopped
    }

    /// Catching up may take hours, and ends only in a wait. An order to stop or to pause does not
    /// have to wait for that: a watch may be dropped between any two effects.
    async fn broken_off(&mut self, effect: &Effect) -> Option<Ended> {
        match effect {
            Effect::Open
            | Effect::Examine
            | Effect::Adopt
            | Effect::Survey { .. }
            | Effect::Recall(_)
            | Effect::Read { .. } => {}
            // The first two take orders themselves, the others are soon done.
            Effect::Wait { .. }
            | Effect::Pause { .. }
            | Effect::Commit(_)
            | Effect::Close
            | Effect::Finish => return None,
        }
        let ended = if self.line.must_stop() {
            Ended::Stopped
        } else if self.line.take_pause() {
            Ended::Paused
        } else {
            return None;
        };
        Box::pin(self.close()).await;
        Some(ended)
    }

    fn key(&self) -> &WatchKey {
        &self.line.key
    }

    fn account(&self) -> Account {
        Account {
            server: self.server_name(),
            username: self.mailbox.username.to_string(),
        }
    }

    fn server_name(&self) -> String {
        format!("{}:{}", self.mailbox.server.host, self.mailbox.server.port)
    }

    /// The stored state; `None` where an order to stop came first.
    async fn load(&mut self, delay: Duration) -> Option<Stored> {
        let mut wait = delay;
        let line = self.line.clone();
        let _ours = line.our_wait();
        loop {
            if !wait.is_zero() && self.rest(wait).await {
                return None;
            }
            wait = LOAD_RETRY;
            match self
                .shared
                .store
                .load(self.key(), &self.account(), clock::wall())
                .await
            {
                Ok(stored) => {
                    self.line.update(|status| {
                        status.synced_at = stored.last_proven;
                        status.hold = stored.hold.clone().map(Box::new);
                    });
                    return Some(stored);
                }
                Err(error) => {
                    // What it means for the watch is nothing: it has not begun.
                    let _ = self.store_failed("reading the state of a watch", &error);
                }
            }
        }
    }

    /// Waits; `true` where an order to stop ended it. Other orders stay for the watch to take.
    async fn rest(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = self.line.stopped() => true,
        }
    }

    async fn perform(&mut self, effect: Effect) -> Input {
        match effect {
            // Between these a batch is under way.
            Effect::Read { .. } | Effect::Recall(_) | Effect::Commit(_) => {}
            // What was read to look at alone (an anchor, a probe) is not committed: its share of
            // the memory budget must not be kept from others while this watch waits.
            Effect::Pause { .. }
            | Effect::Open
            | Effect::Examine
            | Effect::Adopt
            | Effect::Survey { .. }
            | Effect::Wait { .. }
            | Effect::Close
            | Effect::Finish => self.batch.clear(),
        }
        match effect {
            Effect::Pause { until, why } => self.pause(until, why).await,
            Effect::Open => {
                self.line.enter(State::Connecting);
                answer(Box::pin(self.open()).await.map(Input::Opened))
            }
            Effect::Examine => answer(Box::pin(self.examine()).await.map(Input::Opened)),
            Effect::Adopt => answer(Box::pin(self.adopt()).await.map(Input::Opened)),
            Effect::Survey { after } => {
                self.line.enter(State::Syncing);
                // What was read to look at alone, such as an anchor, belongs to no row: a UID may
                // stand for another message in the next epoch.
                self.facts.clear();
                answer(Box::pin(self.survey(after)).await.map(Input::Surveyed))
            }
            Effect::Recall(prints) => {
                let recalled = self.shared.store.recall(self.key(), &prints).await;
                match recalled {
                    Ok(known) => Input::Recalled(known),
                    Err(error) => {
                        Input::Failed(self.store_failed("looking up fingerprints", &error))
                    }
                }
            }
            Effect::Read { items, part } => {
                answer(Box::pin(self.read(items, part)).await.map(Input::Read))
            }
            Effect::Commit(entry) => answer(
                Box::pin(self.commit(entry))
                    .await
                    .map(|()| Input::Committed),
            ),
            Effect::Wait { until, standby_at } => self.wait(until, standby_at).await,
            Effect::Close => {
                Box::pin(self.close()).await;
                Input::Closed
            }
            Effect::Finish => Input::Closed,
        }
    }

    async fn pause(&mut self, until: Option<Monotonic>, why: PauseReason) -> Input {
        self.batch.clear();
        self.facts = BTreeMap::new();
        // Its session would idle unwatched, and count at the gate that others wait at.
        self.retire_standby();
        self.line.enter(State::of_pause(why));
        if let Some(said) = self.refused.take() {
            self.tell_refused(&said);
        }
        self.line.update(|status| {
            status.next_try = until.map(|until| clock::wall() + (until - clock::monotonic()));
        });
        if why == PauseReason::LoginRefused {
            Box::pin(self.report_refusal()).await;
        }
        let order = match until {
            Some(until) => tokio::select! {
                () = tokio::time::sleep_until(clock::instant(until)) => return Input::Woken(Wake::Elapsed),
                order = self.line.next_order() => order,
            },
            None => self.line.next_order().await,
        };
        self.ordered(order)
    }

    /// Tells of a refused login by an event, once until the mailbox is watched again.
    async fn report_refusal(&self) {
        let mut trouble = None;
        self.line.update(|status| {
            if let Some(known) = status.trouble.as_mut().filter(|known| !known.reported) {
                known.reported = true;
                trouble = Some(known.clone());
            }
        });
        let Some(trouble) = trouble else { return };
        let happening = system_events::Happening {
            event_type: EventType::MailboxAuthFailed,
            mailbox: Some(&self.mailbox.key),
            scope: self.folder.as_str(),
            started: trouble.since,
            reason: trouble.cause,
            detail: &trouble.detail,
            hint: trouble.hint,
        };
        let diagnosis = trouble.diagnosis.as_deref();
        system_events::emit_diagnosed(&self.shared, happening, diagnosis).await;
    }

    /// An order as the watch takes it; the shell notes what it means for the next finding.
    fn ordered(&mut self, order: Order) -> Input {
        match &order {
            // Whoever doubts a mailbox that is watched wants the independent look as well; one that
            // was waited for, with a thousand others perhaps, gets it in its turn.
            Order::Resync => {
                self.found_by = FoundBy::Order;
                if self.session.is_some() {
                    self.next_audit = clock::monotonic();
                }
            }
            Order::Reread(_) | Order::Release(_) => self.found_by = FoundBy::Order,
            Order::Pause | Order::Resume | Order::Adopt | Order::Reconfigure(_) | Order::Stop => {}
        }
        Input::Woken(Wake::Order(order))
    }

    /// Classifies and tells an error of the store.
    fn store_failed(&self, doing: &'static str, error: &postrider_store::StoreError) -> Failure {
        self.shared.telemetry.process.store_failed(doing, error);
        let failure = match error {
            postrider_store::StoreError::Full(_) => Failure::StoreFull,
            postrider_store::StoreError::Fatal(_) => {
                self.shared.fatal.cancel();
                Failure::Store
            }
            postrider_store::StoreError::Busy(_) | postrider_store::StoreError::Other(_) => {
                Failure::Store
            }
        };
        let detail = error.to_string();
        trouble::note_failure(
            &self.shared,
            &self.mailbox,
            &self.line,
            &failure,
            &detail,
            None,
        );
        failure
    }
}

/// Whether this stores strikes against what is read next. Then that is read: a strike that was
/// stored for nothing would count against the message.
fn marks(effect: &Effect) -> bool {
    match effect {
        Effect::Commit(entry) => entry
            .outcomes
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Suspect { .. })),
        Effect::Pause { .. }
        | Effect::Open
        | Effect::Examine
        | Effect::Adopt
        | Effect::Survey { .. }
        | Effect::Recall(_)
        | Effect::Read { .. }
        | Effect::Wait { .. }
        | Effect::Close
        | Effect::Finish => false,
    }
}

fn answer(result: Result<Input, Failure>) -> Input {
    result.unwrap_or_else(Input::Failed)
}
