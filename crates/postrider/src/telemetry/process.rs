//! Happenings of the process as a whole: configuration, store, runtime.

use std::time::Duration;

use postrider_core::event::EventType;
use postrider_store::StoreError;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::clock;

pub struct Process {
    quiet: Quiet,
    reload_ok: IntGauge,
    reload_at: IntGauge,
    events_created: IntCounterVec,
    pub outbox_events: IntGaugeVec,
    pub outbox_oldest: IntGaugeVec,
    pub outbox_bytes: IntGauge,
    pub unaccounted_deliveries: IntGauge,
    commit: Histogram,
    store_errors: IntCounterVec,
    stalls: IntCounter,
    admin_refused: IntCounterVec,
    /// 0: there is room; 1: four fifths of the budget are used; 2: reading is stopped.
    pub space_level: IntGauge,
    pub budget_bytes: IntGauge,
    pub outbox_blocked: IntGaugeVec,
}

/// Why a request over TCP was refused before anything was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRefusal {
    Host,
    Token,
    Scope,
}

impl AdminRefusal {
    const ALL: [Self; 3] = [Self::Host, Self::Token, Self::Scope];

    fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Token => "token",
            Self::Scope => "scope",
        }
    }
}

impl Process {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        let build = c.gauges(
            "build_info",
            "Always 1; facts about the binary.",
            &["version", "store"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "sqlite"])
            .set(1);
        let events_created = c.counters(
            "events_created_total",
            "Events written to the outbox, by type.",
            &["type"],
        )?;
        for kind in EventType::ALL {
            events_created.with_label_values(&[kind.as_str()]);
        }
        let store_errors = c.counters("store_errors_total", "Store errors, by kind.", &["kind"])?;
        for kind in ["full", "fatal", "busy", "other"] {
            store_errors.with_label_values(&[kind]);
        }
        let admin_refused = c.counters("admin_requests_refused_total", "Requests to the admin API over TCP that were refused, by reason: a foreign Host, no good token, too narrow a scope.", &["reason"])?;
        for reason in AdminRefusal::ALL {
            admin_refused.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            quiet: Quiet::default(),
            admin_refused,
            space_level: c.gauge("store_space_level", "0: there is room; 1: four fifths of the budget are used; 2: reading is stopped.")?,
            budget_bytes: c.gauge("store_budget_bytes", "The configured bound for database and spool; 0 where there is none.")?,
            outbox_blocked: c.gauges("outbox_blocked_events", "Pending deliveries that wait behind another one of their line, by endpoint.", &["endpoint"])?,
            reload_ok: c.gauge("config_last_reload_successful", "1 if the last configuration load succeeded.")?,
            reload_at: c.gauge("config_last_reload_success_timestamp_seconds", "Unix time of the last good configuration load.")?,
            events_created,
            outbox_events: c.gauges("outbox_events", "Deliveries in the outbox, by endpoint and state.", &["endpoint", "state"])?,
            outbox_oldest: c.gauges("outbox_oldest_undelivered_timestamp_seconds", "Unix time of the oldest undelivered event; 0 when none.", &["endpoint"])?,
            outbox_bytes: c.gauge("outbox_size_bytes", "Bytes that database and spool hold.")?,
            unaccounted_deliveries: c.gauge("unaccounted_deliveries", "Deliveries owed that are neither pending nor delivered, dead or discarded; anything but 0 means that something was lost.")?,
            commit: c.histogram("store_commit_duration_seconds", "Time until a commit of a watch was durable.", &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0])?,
            store_errors,
            stalls: c.counter("runtime_stalls_total", "Times the event loop was late by more than a second.")?,
        })
    }

    pub fn config_loaded(&self, mailboxes: usize) {
        self.reload_ok.set(1);
        self.reload_at.set(clock::wall().seconds());
        tracing::info!(mailboxes, "configuration loaded");
    }

    /// When the configuration in force was read, and whether a later one was refused.
    pub fn config_state(&self) -> (postrider_core::time::Wall, bool) {
        (
            postrider_core::time::Wall::from_seconds(self.reload_at.get()),
            self.reload_ok.get() == 0,
        )
    }

    pub fn config_refused(&self, problems: &[String]) {
        self.reload_ok.set(0);
        for problem in problems {
            tracing::error!("configuration refused, the old one stays: {problem}");
        }
    }

    pub fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    pub fn event_created(&self, kind: EventType) {
        self.events_created
            .with_label_values(&[kind.as_str()])
            .inc();
    }

    pub fn store_failed(&self, doing: &'static str, error: &StoreError) {
        let kind = match error {
            StoreError::Full(_) => "full",
            StoreError::Fatal(_) => "fatal",
            StoreError::Busy(_) => "busy",
            StoreError::Other(_) => "other",
        };
        self.store_errors.with_label_values(&[kind]).inc();
        if let Some(left_out) = self.quiet.allow(kind, doing, clock::monotonic()) {
            let next = match error {
                StoreError::Full(_) => {
                    "reading waits, deliveries go on, the mailboxes keep the mail. hint: free space or raise store.budget"
                }
                StoreError::Fatal(_) => {
                    "the process ends so that it can start anew. hint: check the disk and run `postrider run` again"
                }
                StoreError::Busy(_) | StoreError::Other(_) => "postrider tries again by itself",
            };
            tracing::error!(doing, left_out, "{error}; {next}");
        }
    }

    /// `from` is an address, which is the operator's own network's.
    pub fn admin_refused(&self, reason: AdminRefusal, from: std::net::IpAddr) {
        let name = reason.as_str();
        self.admin_refused.with_label_values(&[name]).inc();
        if let Some(left_out) = self.quiet.allow(name, "admin", clock::monotonic()) {
            tracing::warn!(reason = name, %from, left_out, "a request to the admin API was refused");
        }
    }

    pub fn runtime_stalled(&self, late: Duration) {
        self.stalls.inc();
        tracing::warn!(
            late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX),
            "the event loop was late"
        );
    }
}
