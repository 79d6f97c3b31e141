//! Happenings at the listener of links. No link is told: whoever has one can use it.

use prometheus::IntCounterVec;

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::clock;

pub struct Links {
    quiet: Quiet,
    requests: IntCounterVec,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    Served,
    NotFound,
    Forged,
    Expired,
    /// The message is neither kept nor in its mailbox.
    Gone,
    /// Too many at a time.
    Busy,
    /// The mailbox cannot be read right now.
    Later,
    Failed,
}

impl Served {
    fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::NotFound => "not_found",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Busy => "busy",
            Self::Later => "later",
            Self::Failed => "failed",
        }
    }

    /// For whoever asked.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Served => "",
            Self::NotFound => "not found\n",
            Self::Forged => "this link is not valid\n",
            Self::Expired => "this link has expired\n",
            Self::Gone => "the message is not there any more\n",
            Self::Busy => "too many requests at a time\n",
            Self::Later | Self::Failed => "the message cannot be read right now\n",
        }
    }
}

impl Links {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            quiet: Quiet::default(),
            requests: c.counters(
                "links_requests_total",
                "Requests to the listener of links, by outcome: served, not_found, forged, expired, gone, busy, later (the mailbox cannot be read right now), failed.",
                &["outcome"],
            )?,
        })
    }

    pub(crate) fn served(&self, served: Served) {
        self.requests.with_label_values(&[served.as_str()]).inc();
    }

    /// No key: no link can be checked.
    pub(crate) fn unusable(&self, why: &str) {
        if let Some(left_out) = self.quiet.allow("key", "links", clock::monotonic()) {
            tracing::error!(
                left_out,
                "links cannot be served, whoever opens one is told to come again: {why}; hint: mend `links.key`, it is read again when it changes"
            );
        }
    }

    /// The message would have to be read from its mailbox, and cannot be.
    pub(crate) fn later(&self, why: &str) {
        if let Some(left_out) = self.quiet.allow("later", "links", clock::monotonic()) {
            let why = crate::watcher::trouble::redacted(why);
            tracing::warn!(
                left_out,
                "a message cannot be read again for a link, whoever opened it is told to come again: {why}"
            );
        }
    }
}
