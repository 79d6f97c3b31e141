//! Happenings on the reading side: connections, surveys, messages, holds, workers.

use std::time::Duration;

use postrider_core::{
    ids::WatchKey,
    watch::{Hold, HoldReason, Outcome, PauseReason, Release, Why},
};
use postrider_store::FoundBy;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::{clock, diagnosis::Short};

pub struct Mail {
    quiet: Quiet,
    pub mailboxes_configured: IntGauge,
    pub mailboxes: IntGaugeVec,
    pub mailboxes_stale: IntGauge,
    pub oldest_sync: IntGauge,
    pub unaccounted_messages: IntGauge,
    pub held_messages: IntGauge,
    sync_lag: Histogram,
    pub connections: IntGaugeVec,
    connects: IntCounterVec,
    commands: HistogramVec,
    received: IntCounter,
    skipped_responses: IntCounter,
    wakeups: IntCounterVec,
    uidvalidity_changes: IntCounter,
    found: IntCounterVec,
    read: IntCounterVec,
    parse_failures: IntCounterVec,
    throttled_seconds: IntCounter,
    panics: IntCounter,
    stalls: IntCounter,
}

/// A state that a watch can be in, as metrics and commands name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    Syncing,
    Watching,
    Backoff,
    AuthFailed,
    Throttled,
    Held,
    Paused,
    StoreFull,
}

impl State {
    pub const ALL: &'static [Self] = &[
        Self::Connecting,
        Self::Syncing,
        Self::Watching,
        Self::Backoff,
        Self::AuthFailed,
        Self::Throttled,
        Self::Held,
        Self::Paused,
        Self::StoreFull,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Syncing => "syncing",
            Self::Watching => "watching",
            Self::Backoff => "backoff",
            Self::AuthFailed => "auth_failed",
            Self::Throttled => "throttled",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::StoreFull => "store_full",
        }
    }

    pub fn of_pause(why: PauseReason) -> Self {
        match why {
            PauseReason::Paused => Self::Paused,
            PauseReason::Held => Self::Held,
            PauseReason::Backoff | PauseReason::FolderMissing => Self::Backoff,
            PauseReason::LoginRefused => Self::AuthFailed,
            PauseReason::Throttled => Self::Throttled,
            PauseReason::StoreFull => Self::StoreFull,
        }
    }
}

/// A hold's reason, as metrics and commands name it.
pub fn hold_reason(why: HoldReason) -> &'static str {
    match why {
        HoldReason::UidValidityChanged => "uidvalidity_changed",
        HoldReason::UidsWentBack => "uids_went_back",
        HoldReason::StateLost => "state_lost",
        HoldReason::AccountChanged => "account_changed",
    }
}

/// An outcome, as metrics name it.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Event => "event",
        Outcome::Known => "known",
        Outcome::Skipped(_) => "skipped",
        Outcome::Quarantined(_) => "quarantined",
        Outcome::Vanished => "vanished",
        Outcome::Suspect { .. } => "suspect",
    }
}

/// Why a message is quarantined, in the words of the docs.
pub fn quarantine_reason(why: Why) -> &'static str {
    match why {
        Why::Unparseable => "unparseable",
        Why::NoBody => "no_body",
        Why::Poison => "poison",
    }
}

fn found_by(by: FoundBy) -> &'static str {
    match by {
        FoundBy::Idle => "idle",
        FoundBy::Cycle => "cycle",
        FoundBy::Start => "start",
        FoundBy::Order => "order",
        FoundBy::Audit => "audit",
    }
}

impl Mail {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        let commands = c.histograms(
            "imap_command_duration_seconds",
            "Duration of an IMAP operation, by operation.",
            &["command"],
            &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0],
        )?;
        let mailboxes = c.gauges(
            "mailboxes",
            "Mailboxes of this process, by the state of their worst folder.",
            &["state"],
        )?;
        let connections = c.gauges(
            "imap_connections",
            "Open IMAP connections, by mode.",
            &["mode"],
        )?;
        for state in State::ALL {
            mailboxes.with_label_values(&[state.as_str()]).set(0);
        }
        for mode in ["idle", "polling", "busy"] {
            connections.with_label_values(&[mode]).set(0);
        }
        let found = c.counters(
            "messages_found_total",
            "Messages seen for the first time, by outcome.",
            &["outcome"],
        )?;
        for name in ["event", "known", "skipped", "quarantined", "vanished"] {
            found.with_label_values(&[name]);
        }
        let read = c.counters("messages_found_by_total",
            "Messages entered into the ledger, by what made postrider look; audit above 0 means that mail was missed at first.",
            &["found_by"],
        )?;
        for by in ["idle", "cycle", "start", "order", "audit"] {
            read.with_label_values(&[by]);
        }
        Ok(Self {
            quiet: Quiet::default(),
            mailboxes_configured: c.gauge("mailboxes_configured", "Mailboxes in the configuration.")?,
            mailboxes,
            mailboxes_stale: c.gauge("mailboxes_stale", "Mailboxes whose last completed sync is older than limits.stalled_after, those on hold or paused left out.")?,
            oldest_sync: c.gauge("mailbox_oldest_sync_timestamp_seconds", "Unix time of the least recent completed sync among the mailboxes of this process; 0 while one never synced.")?,
            unaccounted_messages: c.gauge("unaccounted_messages", "Messages taken that have no outcome in the ledger; anything but 0 means that something was lost.")?,
            held_messages: c.gauge("held_messages", "Messages that holds keep back until an operator releases them.")?,
            sync_lag: c.histogram("mailbox_sync_lag_seconds", "Time since the sync before, observed at each completed sync.", &[1.0, 10.0, 60.0, 180.0, 300.0, 600.0, 1800.0, 7200.0])?,
            connections,
            connects: c.counters("imap_connects_total", "IMAP connects, by outcome.", &["outcome"])?,
            commands,
            received: c.counter("imap_received_bytes_total", "Bytes read from IMAP servers.")?,
            skipped_responses: c.counter("imap_skipped_responses_total", "Untagged responses that could not be parsed and were skipped.")?,
            wakeups: c.counters("imap_wakeups_total", "What ended a wait.", &["source"])?,
            uidvalidity_changes: c.counter("imap_uidvalidity_changes_total", "UIDVALIDITY changes seen.")?,
            found,
            read,
            parse_failures: c.counters("message_parse_failures_total", "Messages that could not be parsed in full, by parse status; the event is still sent.", &["reason"])?,
            throttled_seconds: c.counter("imap_throttled_seconds_total", "Seconds of slowness that servers asked for.")?,
            panics: c.counter("watch_panics_total", "Watches that ended by a panic and were started again.")?,
            stalls: c.counter("mailbox_stalls_total", "Watches whose life was not proven in time and that were started again.")?,
        })
    }

    /// A server that moves, breaks or comes back does so for all of its mailboxes: one line a minute
    /// and kind tells of it, with the number of lines left out. Metrics count them all, and
    /// `mailboxes` names them.
    fn said(&self, what: &'static str) -> Option<u64> {
        self.quiet.allow(what, "", clock::monotonic())
    }

    pub fn connected(&self, watch: &WatchKey, took: Duration) {
        self.connects.with_label_values(&["ok"]).inc();
        self.commands
            .with_label_values(&["open"])
            .observe(took.as_secs_f64());
        tracing::debug!(mailbox = %watch.mailbox, folder = %watch.folder, ?took, "session open");
    }

    /// `server` is host and port; `detail` is the redacted error.
    pub fn connect_failed(
        &self,
        watch: &WatchKey,
        server: &str,
        cause: &'static str,
        detail: &str,
        hint: &str,
        diagnosis: Option<&Short>,
    ) {
        self.connects.with_label_values(&[cause]).inc();
        let named = diagnosis.map_or(cause, |one| one.cause.as_str());
        if let Some(left_out) = self.quiet.allow(named, server, clock::monotonic()) {
            // The fix names the mailbox by its address, which the log must not hold.
            let fix = diagnosis.map(|one| crate::watcher::redacted(&one.fix));
            let what = diagnosis.map_or(String::new(), |one| format!("{}: ", one.what));
            let hint = fix.as_deref().unwrap_or(hint);
            tracing::warn!(
                mailbox = %watch.mailbox, server, cause, diagnosis = named, detail, left_out,
                "cannot watch: {what}{detail}; postrider tries again by itself. hint: {hint}"
            );
        }
    }

    pub fn session_lost(&self, watch: &WatchKey, server: &str, cause: &'static str, detail: &str) {
        self.connects.with_label_values(&["lost"]).inc();
        if let Some(left_out) = self.quiet.allow("session_lost", server, clock::monotonic()) {
            tracing::info!(mailbox = %watch.mailbox, server, cause, detail, left_out, "session lost, opening a new one");
        }
    }

    /// A server ended a session with its token, which is routine: a new one is opened at once.
    pub fn session_expired(&self, watch: &WatchKey) {
        self.connects.with_label_values(&["token_expired"]).inc();
        tracing::debug!(mailbox = %watch.mailbox, folder = %watch.folder, "the session ended with its token");
    }

    /// Several mailboxes of one credential were throttled at their logins: all of them slow down.
    pub fn tenant_throttled(
        &self,
        server: &str,
        credential: &postrider_core::ids::CredentialKey,
        interval: Duration,
    ) {
        let now = clock::monotonic();
        if let Some(left_out) = self.quiet.allow("tenant_throttled", server, now) {
            tracing::warn!(server, %credential, interval_ms = interval.as_millis(), left_out, "the server throttles many mailboxes of this credential: their logins slow down");
        }
    }

    pub fn command(&self, command: &'static str, took: Duration) {
        self.commands
            .with_label_values(&[command])
            .observe(took.as_secs_f64());
    }

    pub fn received(&self, bytes: u64, skipped: u64) {
        self.received.inc_by(bytes);
        self.skipped_responses.inc_by(skipped);
    }

    pub fn woken(&self, source: &'static str) {
        self.wakeups.with_label_values(&[source]).inc();
    }

    pub fn throttled(&self, watch: &WatchKey, server: &str, wait: Duration) {
        self.throttled_seconds.inc_by(wait.as_secs());
        if let Some(left_out) = self.quiet.allow("throttled", server, clock::monotonic()) {
            tracing::warn!(mailbox = %watch.mailbox, server, wait_s = wait.as_secs(), left_out, "the server asks for slowness; waiting");
        }
    }

    pub fn taken(&self, outcomes: &[(postrider_core::watch::ItemKey, Outcome)], by: FoundBy) {
        for (_, one) in outcomes {
            if !matches!(one, Outcome::Suspect { .. }) {
                self.found.with_label_values(&[outcome(*one)]).inc();
                self.read.with_label_values(&[found_by(by)]).inc();
            }
        }
    }

    pub fn synced(&self, lag: Option<Duration>) {
        if let Some(lag) = lag {
            self.sync_lag.observe(lag.as_secs_f64());
        }
    }

    pub fn parsed_in_part(&self, watch: &WatchKey, uid: u32, status: &'static str) {
        self.parse_failures.with_label_values(&[status]).inc();
        tracing::debug!(mailbox = %watch.mailbox, folder = %watch.folder, uid, status, "message not parsed in full; its event is sent and marked");
    }

    pub fn first_sight(&self, watch: &WatchKey, highest: Option<u32>) {
        let Some(left_out) = self.said("first_sight") else {
            return;
        };
        tracing::info!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, highest, "folder seen for the first time");
    }

    pub fn uidvalidity_changed(&self, watch: &WatchKey, from: u32, to: u32) {
        self.uidvalidity_changes.inc();
        let Some(left_out) = self.said("uidvalidity_changed") else {
            return;
        };
        tracing::warn!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, from, to, "UIDVALIDITY changed; messages are matched by fingerprint, only unknown ones are sent");
    }

    pub fn uids_went_back(&self, watch: &WatchKey, last: u32, highest: Option<u32>) {
        let Some(left_out) = self.said("uids_went_back") else {
            return;
        };
        tracing::warn!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, last, highest, "UIDs went back; messages are matched by fingerprint, only unknown ones are sent");
    }

    pub fn held(&self, watch: &WatchKey, hold: &Hold) {
        let Some(left_out) = self.said("held") else {
            return;
        };
        tracing::error!(
            mailbox = %watch.mailbox, folder = %watch.folder, left_out, why = hold_reason(hold.why), messages = hold.messages, old = hold.old,
            "on hold: it cannot be proven which messages are new, nothing of this folder is sent. hint: look with `postrider mailboxes show {0}`, then `postrider mailboxes release {0} --send`, `--skip` or `--since DATE`", watch.mailbox
        );
    }

    pub fn released(&self, watch: &WatchKey, how: Release) {
        tracing::info!(mailbox = %watch.mailbox, folder = %watch.folder, ?how, "hold released");
    }

    pub fn quarantined(&self, watch: &WatchKey, uid: u32, why: Why) {
        let Some(left_out) = self.said("quarantined") else {
            return;
        };
        tracing::error!(
            mailbox = %watch.mailbox, folder = %watch.folder, left_out, uid, why = quarantine_reason(why),
            "message quarantined: it cannot be read; the mailbox goes on. hint: look at it in the mailbox by its UID"
        );
    }

    pub fn gap_closed(&self, watch: &WatchKey, uid: u32) {
        let Some(left_out) = self.said("gap_closed") else {
            return;
        };
        tracing::info!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, uid, "message read after earlier failures");
    }

    pub fn state_lost(&self, watch: &WatchKey) {
        let Some(left_out) = self.said("state_lost") else {
            return;
        };
        tracing::warn!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, "the stored state of this folder is gone; messages are matched by fingerprint, only unknown ones are sent");
    }

    pub fn gaps_full(&self, watch: &WatchKey, gaps: u32) {
        let Some(left_out) = self.said("gaps_full") else {
            return;
        };
        tracing::error!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, gaps, "too many messages cannot be read; what comes after them waits until one can. hint: look at the server's log for this mailbox");
    }

    pub fn next_generation(&self, watch: &WatchKey, events: u32) {
        let Some(left_out) = self.said("next_generation") else {
            return;
        };
        tracing::error!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, events, "an event id was taken by another message; stored under its next generation. hint: please report this, it should not happen");
    }

    /// `detail` is the redacted error.
    pub fn audit_refused(&self, watch: &WatchKey, detail: &str) {
        let Some(left_out) = self.said("audit_refused") else {
            return;
        };
        tracing::warn!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, detail, "audit: the server refused the search; it is tried again later, the mailbox is watched all the same");
    }

    pub fn audit_done(&self, watch: &WatchKey, looked_at: usize, missing: usize) {
        if missing == 0 {
            tracing::debug!(mailbox = %watch.mailbox, folder = %watch.folder, looked_at, "audit: all in the ledger");
        } else {
            tracing::error!(mailbox = %watch.mailbox, folder = %watch.folder, looked_at, missing, "audit: messages on the server are missing in the ledger; they are read now. hint: please report this, it should not happen");
        }
    }

    pub fn panicked(&self, watch: &WatchKey, again_in: Duration) {
        self.panics.inc();
        let Some(left_out) = self.said("panicked") else {
            return;
        };
        tracing::error!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, again_in_s = again_in.as_secs(), "watch ended by a panic and is started again; other mailboxes are not affected. hint: please report the line logged before");
    }

    pub fn stalled(&self, watch: &WatchKey, silent: Duration) {
        self.stalls.inc();
        let Some(left_out) = self.said("stalled") else {
            return;
        };
        tracing::warn!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, silent_s = silent.as_secs(), "no sign of life in time; the watch is started again");
    }

    pub fn auth_failed(&self, watch: &WatchKey, server: &str, detail: &str) {
        tracing::debug!(mailbox = %watch.mailbox, server, detail, "login refused");
    }

    pub fn recovered(&self, watch: &WatchKey, after: Duration) {
        let Some(left_out) = self.said("recovered") else {
            return;
        };
        tracing::info!(mailbox = %watch.mailbox, folder = %watch.folder, left_out, after_s = after.as_secs(), "watched again");
    }
}
