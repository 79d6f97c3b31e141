//! Happenings on the sending side: attempts, endpoints in trouble and recovered, events that end.
//! No URL, no body and no address is told here: endpoints and events have names and ids.

use std::time::Duration;

use postrider_core::{
    delivery::{Attempt, Skew},
    ids::EndpointKey,
    time::Wall,
};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use uuid::Uuid;

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::clock;

pub struct Delivery {
    quiet: Quiet,
    attempts: IntCounterVec,
    durations: HistogramVec,
    latencies: HistogramVec,
    states: IntGaugeVec,
    dead: IntCounterVec,
    skews: IntGaugeVec,
    when_failures: IntCounterVec,
    suppressed: IntCounterVec,
}

/// A state that an endpoint can be in, as metrics and commands name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointState {
    /// All is well: everything goes as fast as it may.
    Closed,
    /// In trouble: a probe goes out now and then, everything else waits.
    Open,
    /// Something was accepted: more and more goes at once.
    HalfOpen,
    /// An operator said so.
    Paused,
    /// It is configured no more, and deliveries still wait for it.
    Orphaned,
}

impl EndpointState {
    pub const ALL: &'static [Self] = &[
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::Paused,
        Self::Orphaned,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Paused => "paused",
            Self::Orphaned => "orphaned",
        }
    }

    /// For people: a closed breaker means that all is well, which nobody guesses.
    pub fn in_words(name: &str) -> &str {
        match name {
            "closed" => "well",
            "open" => "in trouble",
            "half_open" => "recovering",
            other => other,
        }
    }
}

/// One attempt, as it is told.
pub struct Attempted<'a> {
    pub endpoint: &'a EndpointKey,
    pub event: Uuid,
    pub attempt: Attempt,
    pub took: Duration,
    /// In plain words, with the redacted start of the answer.
    pub note: &'a str,
}

impl Delivery {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            quiet: Quiet::default(),
            attempts: c.counters(
                "webhook_attempts_total",
                "Webhook attempts, by endpoint and outcome.",
                &["endpoint", "outcome"],
            )?,
            durations: c.histograms(
                "webhook_request_duration_seconds",
                "Duration of a webhook attempt, from connecting to the answer.",
                &["endpoint"],
                &[
                    0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0,
                ],
            )?,
            latencies: c.histograms(
                "event_delivery_latency_seconds",
                "Time from storing an event, when it was first seen, to its acceptance.",
                &["endpoint"],
                &[
                    0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0,
                ],
            )?,
            states: c.gauges(
                "webhook_endpoint_state",
                "1 for the state an endpoint is in.",
                &["endpoint", "state"],
            )?,
            dead: c.counters(
                "events_dead_total",
                "Deliveries that ended as dead letters, by endpoint.",
                &["endpoint"],
            )?,
            skews: c.gauges(
                "webhook_clock_skew_seconds",
                "How far the clock here is ahead of an endpoint's, 0 within two minutes.",
                &["endpoint"],
            )?,
            when_failures: c.counters(
                "endpoint_when_failures_total",
                "Events for which an endpoint's condition could not be evaluated; they are sent to it.",
                &["endpoint"],
            )?,
            suppressed: c.counters(
                "deliveries_suppressed_total",
                "Deliveries left out because the endpoint has the message from another mailbox or folder.",
                &["endpoint"],
            )?,
        })
    }

    pub fn attempted(&self, one: &Attempted<'_>) {
        let outcome = one.attempt.outcome();
        let endpoint = one.endpoint.as_str();
        self.attempts.with_label_values(&[endpoint, outcome]).inc();
        self.durations
            .with_label_values(&[endpoint])
            .observe(one.took.as_secs_f64());
        tracing::debug!(endpoint, event = %one.event, outcome, took = ?one.took, note = one.note, "attempt");
    }

    /// The receiver asked for nothing more.
    pub(crate) fn disabled(&self, endpoint: &EndpointKey) {
        tracing::warn!(
            %endpoint,
            "endpoint {endpoint} answered `webhook-delivery: disable`: it is paused and its events wait; \
             hint: `postrider endpoints resume {endpoint}` when it takes events again"
        );
    }

    /// It has held up those behind it for as long as it may.
    pub(crate) fn stepped_aside(&self, told: &Attempted<'_>) {
        tracing::warn!(
            endpoint = %told.endpoint,
            event = %told.event,
            "event {} has kept failing at endpoint {} and holds up those behind it no longer: they are sent now, it is tried on; \
             hint: `postrider events show {}` has its answers",
            told.event, told.endpoint, told.event
        );
    }

    /// Its condition says neither yes nor no.
    pub(crate) fn when_failed(&self, endpoint: &EndpointKey, why: &str) {
        self.when_failures
            .with_label_values(&[endpoint.as_str()])
            .inc();
        if let Some(left_out) = self.allow("when", endpoint) {
            tracing::warn!(
                %endpoint, left_out,
                "the condition of endpoint {endpoint} cannot be evaluated for an event: {why}; it is sent and marked. \
                 hint: `postrider test-route FILE.eml --endpoint {endpoint}`"
            );
        }
    }

    /// It has the same message from another mailbox or folder, and wants it once.
    pub(crate) fn suppressed(&self, endpoint: &EndpointKey) {
        self.suppressed
            .with_label_values(&[endpoint.as_str()])
            .inc();
        tracing::debug!(%endpoint, "a message that the endpoint has already is left out");
    }

    pub fn delivered(&self, endpoint: &EndpointKey, stored_at: Wall, now: Wall) {
        self.latencies
            .with_label_values(&[endpoint.as_str()])
            .observe(now.since(stored_at).as_secs_f64());
    }

    /// An event was not accepted and is tried again.
    pub fn retried(&self, one: &Attempted<'_>, again_in: Duration) {
        if let Some(left_out) = self.quiet.allow(
            one.attempt.outcome(),
            one.endpoint.as_str(),
            clock::monotonic(),
        ) {
            tracing::warn!(
                endpoint = %one.endpoint, event = %one.event, outcome = one.attempt.outcome(),
                again_in_s = again_in.as_secs(), left_out, "not accepted: {}; it is sent again", one.note
            );
        }
    }

    pub fn opened(&self, endpoint: &EndpointKey, note: &str) {
        if let Some(left_out) = self.allow("opened", endpoint) {
            tracing::error!(
                %endpoint, left_out,
                "endpoint in trouble: {note}; its events wait and do not age, a probe goes out every few seconds. hint: `postrider endpoints list`, then look at the receiver"
            );
        }
    }

    /// A secret, a certificate or the authorities of an endpoint have changed, to something that
    /// nothing can be sent with.
    pub(crate) fn not_renewed(&self, endpoint: &EndpointKey, why: &str) {
        if let Some(left_out) = self.allow("not renewed", endpoint) {
            tracing::error!(
                %endpoint, left_out,
                "what endpoint {endpoint} is sent with has changed and cannot be used: {why}; what it was before serves on until the next start. hint: put a good one in its place, it is read at once; `postrider endpoints ping {endpoint}` tries it"
            );
        }
    }

    pub fn reopened(&self, endpoint: &EndpointKey, note: &str) {
        if let Some(left_out) = self.allow("reopened", endpoint) {
            tracing::warn!(%endpoint, left_out, "endpoint in trouble again while it recovered: {note}");
        }
    }

    pub fn recovering(&self, endpoint: &EndpointKey) {
        if let Some(left_out) = self.allow("recovering", endpoint) {
            tracing::info!(%endpoint, left_out, "endpoint accepts again; what waits is sent, a little at first");
        }
    }

    pub fn closed(&self, endpoint: &EndpointKey, after: Duration) {
        if let Some(left_out) = self.allow("closed", endpoint) {
            tracing::info!(%endpoint, left_out, after_s = after.as_secs(), "endpoint recovered");
        }
    }

    pub fn dead(&self, endpoint: &EndpointKey, event: Uuid, reason: &str) {
        self.dead.with_label_values(&[endpoint.as_str()]).inc();
        if let Some(left_out) = self.allow("dead", endpoint) {
            tracing::error!(
                %endpoint, %event, left_out,
                "event given up: {reason}. hint: `postrider events show {event}`, then `postrider events replay {event}`"
            );
        }
    }

    fn allow(&self, cause: &'static str, endpoint: &EndpointKey) -> Option<u64> {
        self.quiet
            .allow(cause, endpoint.as_str(), clock::monotonic())
    }

    pub fn clock_skew(&self, endpoint: &EndpointKey, skew: Option<Skew>) {
        let seconds = |by: Duration| i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let gauge = self.skews.with_label_values(&[endpoint.as_str()]);
        let Some(skew) = skew else {
            gauge.set(0);
            return;
        };
        let (value, side) = match skew {
            Skew::Ahead(by) => (seconds(by), "ahead of"),
            Skew::Behind(by) => (-seconds(by), "behind"),
        };
        gauge.set(value);
        if let Some(left_out) = self.allow("skew", endpoint) {
            tracing::warn!(
                %endpoint, left_out,
                "this clock is {} s {side} the endpoint's; receivers refuse signatures that are minutes off. hint: run an NTP client here or there", value.abs()
            );
        }
    }

    pub fn endpoint_state(&self, endpoint: &EndpointKey, state: EndpointState) {
        for one in EndpointState::ALL {
            self.states
                .with_label_values(&[endpoint.as_str(), one.as_str()])
                .set(i64::from(*one == state));
        }
        for counters in [&self.when_failures, &self.suppressed] {
            counters.with_label_values(&[endpoint.as_str()]);
        }
        for outcome in ["delivered", "server_error", "connect", "timeout"] {
            self.attempts
                .with_label_values(&[endpoint.as_str(), outcome]);
        }
    }

    pub fn notice_lost(&self, endpoint: &EndpointKey) {
        tracing::error!(%endpoint, "a change of this endpoint's state could not be stored as an event: too many wait; metrics and commands show it");
    }

    pub fn drained(&self, endpoint: &EndpointKey, cut: usize) {
        if cut > 0 {
            tracing::warn!(%endpoint, cut, "grace period over: attempts were cut, their events are sent again with the same ids");
        }
    }

    pub fn lane_failed(&self, endpoint: &EndpointKey, what: &str) {
        tracing::error!(%endpoint, "the dispatcher's task ended early: {what}; the process ends so that it can start anew. hint: please report the line logged before");
    }
}
