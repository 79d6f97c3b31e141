//! From the outcome of an attempt to what happens next: what it says of the event, what of the
//! endpoint, when to try again, and when an event ends.
//!
//! An event ends for its own sake only. No outage, however long, and no jump of a clock ends one.

use std::time::Duration;

use crate::{backoff::Chance, time::Wall};
use classify::Control;

pub mod classify;
pub mod health;
pub mod order;
pub mod rate;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Answered {
        status: u16,
        retry_after: RetryAfter,
        /// What the endpoint's rules, or else the status, make of it.
        class: Class,
        control: Control,
    },
    Failed(Failure),
}

/// The `Retry-After` header of an answer (RFC 9110 section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Absent,
    Seconds(u64),
    At(Wall),
    /// It is there and says nothing that can be understood.
    Nonsense,
}

/// How an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The name could not be resolved.
    Dns,
    /// No connection: refused, unreachable, timed out, or the proxy said no.
    Connect,
    Tls,
    /// The address is one that postrider never connects to.
    AddressRefused,
    /// There is no usable secret to sign with, or no usable CA file.
    Settings,
    /// No answer in time.
    Timeout,
    /// The connection ended before any of the request was sent.
    ResetBefore,
    /// The connection ended after the request, or a part of it, was sent: it may have been taken.
    ResetAfter,
    /// The request for this event could not be built.
    Unsendable,
    /// The endpoint's format cannot carry this event, now or later: there is nothing to send.
    Unfit,
}

/// Whom an outcome speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Delivered,
    /// The endpoint refuses this event: 400, 413, 415, 422.
    Refused,
    /// It may be the event or the endpoint: 5xx, timeouts, a connection cut in the middle, …
    Failing,
    /// It is the endpoint: nothing can be delivered there now.
    Trouble,
}

impl Attempt {
    /// An answer that means what its status says.
    pub const fn answered(status: u16, retry_after: RetryAfter) -> Self {
        Self::Answered {
            status,
            retry_after,
            class: Class::of_status(status),
            control: Control::None,
        }
    }

    pub fn control(self) -> Control {
        match self {
            Self::Answered { control, .. } => control,
            Self::Failed(_) => Control::None,
        }
    }

    pub fn class(self) -> Class {
        match self {
            Self::Answered { class, .. } => class,
            Self::Failed(failure) => match failure {
                Failure::Dns
                | Failure::Connect
                | Failure::Tls
                | Failure::AddressRefused
                | Failure::Settings
                | Failure::ResetBefore => Class::Trouble,
                Failure::Timeout | Failure::ResetAfter | Failure::Unsendable => Class::Failing,
                Failure::Unfit => Class::Refused,
            },
        }
    }

    pub fn status(self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(status),
            Self::Failed(_) => None,
        }
    }

    /// How long the endpoint asks to be left alone, up to `max`: only 429 and 503 can
    /// (RFC 9110 section 15.6.4, RFC 6585 section 4).
    pub fn asked_wait(self, now: Wall, max: Duration) -> Option<Duration> {
        match self {
            Self::Answered {
                status: 429 | 503,
                retry_after,
                ..
            } => match retry_after {
                RetryAfter::Seconds(seconds) => Some(Duration::from_secs(seconds).min(max)),
                RetryAfter::At(at) => Some(at.since(now).min(max)),
                RetryAfter::Absent | RetryAfter::Nonsense => None,
            },
            Self::Answered { .. } | Self::Failed(_) => None,
        }
    }

    /// The cause as metrics and logs name it: a closed set.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Answered {
                class: Class::Delivered,
                ..
            } => "delivered",
            Self::Answered { status, .. } => match status {
                // By its body, or its control header.
                200..=299 => "refused_in_body",
                300..=399 => "redirect",
                400 | 413 | 415 | 422 => "refused",
                401 | 403 | 407 => "unauthorized",
                404 | 405 | 410 => "not_found",
                429 => "throttled",
                400..=499 => "client_error",
                _ => "server_error",
            },
            Self::Failed(failure) => match failure {
                Failure::Dns => "dns",
                Failure::Connect => "connect",
                Failure::Tls => "tls",
                Failure::AddressRefused => "address_refused",
                Failure::Settings => "settings",
                Failure::Timeout => "timeout",
                Failure::ResetBefore | Failure::ResetAfter => "reset",
                Failure::Unsendable => "unsendable",
                Failure::Unfit => "unfit",
            },
        }
    }

    /// Every value that [`Attempt::outcome`] can have.
    pub const OUTCOMES: &'static [&'static str] = &[
        "delivered",
        "refused_in_body",
        "redirect",
        "refused",
        "unauthorized",
        "not_found",
        "throttled",
        "client_error",
        "server_error",
        "dns",
        "connect",
        "tls",
        "address_refused",
        "settings",
        "timeout",
        "reset",
        "unsendable",
        "unfit",
    ];
}

impl RetryAfter {
    pub fn parse(header: Option<&str>) -> Self {
        let Some(text) = header.map(str::trim) else {
            return Self::Absent;
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than fit are a very long time, which is clamped like any other.
            return Self::Seconds(text.parse().unwrap_or(u64::MAX));
        }
        parse_http_date(text).map_or(Self::Nonsense, Self::At)
    }

    /// A date is meant by the receiver's clock, whose time the answer's `Date` tells: a wait, which
    /// a clock that is wrong there or here does not change.
    #[must_use]
    pub fn by_clock(self, date: Option<Wall>) -> Self {
        match (self, date) {
            (Self::At(at), Some(date)) => Self::Seconds(at.since(date).as_secs()),
            (Self::At(_) | Self::Absent | Self::Seconds(_) | Self::Nonsense, _) => self,
        }
    }
}

/// An HTTP date (RFC 9110 section 5.6.7).
pub fn parse_http_date(text: &str) -> Option<Wall> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let since_epoch = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_millis()).ok().map(Wall)
}

/// Two clocks that disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// Our clock is ahead of the receiver's.
    Ahead(Duration),
    Behind(Duration),
}

/// More than this between the receiver's `Date` and our clock is worth telling: verifiers commonly
/// refuse timestamps that are five minutes off.
pub const SKEW_MAX: Duration = Duration::from_secs(120);

/// How far our clock is from the receiver's, if it is more than [`SKEW_MAX`]. `sent` and
/// `answered` are our times around the attempt: a date between them is no skew at all.
pub fn skew(date: Wall, sent: Wall, answered: Wall) -> Option<Skew> {
    // An HTTP date has whole seconds, rounded down.
    let behind = date.since(answered);
    let ahead = sent.since(date + Duration::from_millis(999));
    if ahead > SKEW_MAX {
        Some(Skew::Ahead(ahead))
    } else if behind > SKEW_MAX {
        Some(Skew::Behind(behind))
    } else {
        None
    }
}

/// When to try again, and when an event ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Steps of the waits of an event that fails while others are accepted, by its own time: each
    /// step is used until the event's own time is the sum of the steps so far, the last one from
    /// then on. A wait is drawn between nothing and the step (full jitter), but for `wait_min`.
    pub schedule: Vec<Duration>,
    pub wait_min: Duration,
    /// A `Retry-After` beyond this is cut: a receiver cannot park the queue.
    pub retry_after_max: Duration,
    /// Own time after which an event that fails is given up.
    pub give_up_after: Duration,
    /// Refusals that end an event, and the own time that they must be spread over.
    pub refusals_max: u32,
    pub refusals_span: Duration,
    /// Different events failing or refused in a row that make it the endpoint's trouble.
    pub trouble_events: usize,
    /// The first and the longest wait between two probes of an endpoint in trouble, and the share
    /// of the trouble's age that a wait has in between.
    pub probe_first: Duration,
    pub probe_max: Duration,
    pub probe_share: u32,
    /// How long an event that fails may hold up those behind it, where the endpoint asks for order.
    /// Trouble of the endpoint does not count.
    pub order_block_max: Duration,
    /// The longest time between two acceptances that counts as own time of what failed meanwhile:
    /// a suspended machine does not age events.
    pub credit_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        Self {
            schedule: vec![
                Duration::from_secs(5),
                Duration::from_secs(30),
                minutes(2),
                minutes(10),
                minutes(30),
                minutes(60),
                minutes(120),
            ],
            wait_min: Duration::from_secs(1),
            retry_after_max: minutes(60),
            give_up_after: minutes(5 * 24 * 60),
            refusals_max: 3,
            refusals_span: minutes(60),
            trouble_events: 5,
            probe_first: Duration::from_secs(2),
            probe_max: Duration::from_secs(15),
            probe_share: 8,
            order_block_max: order::BLOCK_MAX,
            credit_max: minutes(24 * 60),
        }
    }
}

impl RetryPolicy {
    /// The step for an event of this own time.
    fn step(&self, own_time: Duration) -> Duration {
        let mut until = Duration::ZERO;
        for step in &self.schedule {
            until += *step;
            if own_time < until {
                return *step;
            }
        }
        self.schedule.last().copied().unwrap_or(self.probe_max)
    }

    /// The wait of an event that fails while others are accepted.
    fn wait(&self, own_time: Duration, chance: Chance) -> Duration {
        chance.between(0.0, self.step(own_time)).max(self.wait_min)
    }

    /// The wait between two probes, `age` into the trouble; less a little, so that many senders
    /// do not knock at the same moment.
    fn probe_wait(&self, age: Duration, chance: Chance) -> Duration {
        let share = age / self.probe_share.max(1);
        chance.between(
            0.9,
            share.clamp(self.probe_first, self.probe_max.max(self.probe_first)),
        )
    }

    /// The longest that a due time can lie ahead. What lies further ahead is a clock's doing.
    pub fn longest_wait(&self) -> Duration {
        let schedule = self.schedule.iter().max().copied().unwrap_or_default();
        schedule.max(self.retry_after_max).max(self.probe_max)
    }
}

/// Whether a stored due time has come, or lies further ahead than any wait can.
pub fn is_due(due: Wall, now: Wall, longest_wait: Duration) -> bool {
    due <= now || due.since(now) > longest_wait
}
