//! Happenings after delivery, in the mailboxes: by mailbox key, without names of folders.

use postrider_core::ids::MailboxKey;
use prometheus::{IntCounterVec, IntGauge};

use super::{catalogue::Catalogue, quiet::Quiet};
use crate::{clock, watcher::trouble::redacted};

pub struct After {
    quiet: Quiet,
    tries: IntCounterVec,
    pending: IntGauge,
}

/// How it ended for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The message is not there any more.
    Gone,
}

impl After {
    pub(super) fn new(c: &Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            quiet: Quiet::default(),
            tries: c.counters(
                "after_delivery_total",
                "Messages dealt with in their mailbox after delivery, by outcome: done, gone (not there any more), refused and postponed (tried again).",
                &["outcome"],
            )?,
            pending: c.gauge(
                "after_delivery_pending",
                "Messages that are still to be dealt with in their mailbox after delivery.",
            )?,
        })
    }

    pub(crate) fn pending(&self, count: u64) {
        self.pending.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn ended(&self, mailbox: &MailboxKey, ended: Ended) {
        let outcome = match ended {
            Ended::Done => "done",
            Ended::Gone => "gone",
        };
        self.tries.with_label_values(&[outcome]).inc();
        tracing::debug!(%mailbox, outcome, "after delivery");
    }

    /// The server refuses it. What it says goes to the operator once it has said so several times.
    pub(crate) fn refused(&self, mailbox: &MailboxKey, why: &str, often: bool) {
        self.tries.with_label_values(&["refused"]).inc();
        let allow = || {
            self.quiet
                .allow("refused", mailbox.as_str(), clock::monotonic())
        };
        let (what, hint) = why.split_once("\n\nhint: ").unwrap_or((why, ""));
        let hint = match hint {
            "" => {
                "check `after` of the mailbox: the folder has to be there, and the account needs the right to change it"
            }
            hint => hint,
        };
        if let Some(left_out) = often.then(allow).flatten() {
            tracing::error!(
                %mailbox, left_out,
                "mailbox {mailbox}: the server refuses what is to be done after delivery: {}; it is tried again, the watch goes on. hint: {hint}",
                redacted(what)
            );
        }
    }

    /// The server was not reached, or there is no room for another connection.
    pub(crate) fn postponed(&self, mailbox: &MailboxKey, why: &str, often: bool) {
        self.tries.with_label_values(&["postponed"]).inc();
        let allow = || {
            self.quiet
                .allow("postponed", mailbox.as_str(), clock::monotonic())
        };
        if let Some(left_out) = often.then(allow).flatten() {
            tracing::warn!(
                %mailbox, left_out,
                "mailbox {mailbox}: what is to be done after delivery waits: {}; it is tried again. hint: it needs a connection beside those of the folders (`connections_per_mailbox`)",
                redacted(why)
            );
        }
    }

    /// Another message lies where the event's message was: it is left alone.
    pub(crate) fn another(&self, mailbox: &MailboxKey) {
        let key = mailbox.as_str();
        if let Some(left_out) = self.quiet.allow("another", key, clock::monotonic()) {
            tracing::warn!(
                %mailbox, left_out,
                "mailbox {mailbox}: what is to be done after delivery is not: another message lies under the UID of the one that was delivered. hint: does the mailbox lead to another account than before?"
            );
        }
    }

    /// The configuration asks for nothing any more.
    pub(crate) fn forgotten(&self, mailbox: &MailboxKey, count: u64) {
        tracing::info!(%mailbox, count, "mailbox {mailbox}: `after` is configured no more; what was still to be done is not");
    }
}
