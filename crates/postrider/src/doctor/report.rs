//! What the doctor found: steps with their times, a diagnosis where one failed, and the same for
//! programs.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::forbidden::Proof;
use crate::{
    config::Mailbox,
    diagnosis::{Diagnosis, Nature, Possible},
};

/// A step of the walk, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepName {
    Config,
    Dns,
    Tcp,
    Tls,
    Clock,
    Token,
    Claims,
    Login,
    Probe,
    Folder,
    Idle,
    Fetch,
    Endpoint,
}

impl StepName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Token => "token",
            Self::Claims => "claims",
            Self::Login => "login",
            Self::Probe => "probe",
            Self::Folder => "folder",
            Self::Idle => "idle",
            Self::Fetch => "fetch",
            Self::Endpoint => "endpoint",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// It works, and something about it is worth knowing.
    Warn,
    Failed,
    /// There is nothing to look at, or it shows in another step.
    Skipped,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: StepName,
    pub outcome: Outcome,
    pub took: Duration,
    /// What was seen.
    pub note: String,
}

impl Step {
    pub(super) fn new(
        name: StepName,
        outcome: Outcome,
        took: Duration,
        note: impl Into<String>,
    ) -> Self {
        Self {
            name,
            outcome,
            took,
            note: note.into(),
        }
    }

    pub(super) fn skipped(name: StepName, why: impl Into<String>) -> Self {
        Self::new(name, Outcome::Skipped, Duration::ZERO, why)
    }
}

/// How one mailbox fares.
#[derive(Clone, Debug)]
pub struct MailboxReport {
    pub mailbox: Arc<Mailbox>,
    pub steps: Vec<Step>,
    pub diagnosis: Option<Diagnosis>,
    /// What is worth knowing though nothing failed.
    pub remarks: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Report {
    pub mailboxes: Vec<MailboxReport>,
    /// That mailboxes which were not granted stay shut.
    pub proofs: Vec<Proof>,
}

/// All of it in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Nothing but what may pass by itself.
    Passing,
    /// A person has to do something.
    Operator,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let of_mailboxes = self
            .mailboxes
            .iter()
            .filter_map(|one| one.diagnosis.as_ref())
            .map(|diagnosis| match diagnosis.cause.nature() {
                Nature::Passing => Verdict::Passing,
                Nature::Operator | Nature::Config => Verdict::Operator,
            });
        let of_proofs = self.proofs.iter().map(Proof::verdict);
        let mut worst = Verdict::Good;
        for verdict in of_mailboxes.chain(of_proofs) {
            worst = match (worst, verdict) {
                (Verdict::Operator, _) | (_, Verdict::Operator) => Verdict::Operator,
                (Verdict::Passing, _) | (_, Verdict::Passing) => Verdict::Passing,
                (Verdict::Good, Verdict::Good) => Verdict::Good,
            };
        }
        worst
    }
}

impl MailboxReport {
    pub fn json(&self) -> Value {
        json!({
            "id": self.mailbox.key.as_str(),
            "address": self.mailbox.address.as_ref(),
            "credential": self.mailbox.credential.as_str(),
            "ok": self.diagnosis.is_none(),
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
            "diagnosis": self.diagnosis.as_ref().map(diagnosis_json),
            "remarks": self.remarks,
        })
    }
}

impl Step {
    fn json(&self) -> Value {
        json!({
            "step": self.name.as_str(),
            "outcome": self.outcome.as_str(),
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "note": self.note,
        })
    }
}

pub fn diagnosis_json(diagnosis: &Diagnosis) -> Value {
    let possible = |one: &Possible| json!({ "cause": one.cause.as_str(), "what": one.what, "check": one.check, "fix": one.fix });
    json!({
        "cause": diagnosis.cause.as_str(),
        "passes_by_itself": diagnosis.cause.nature() == Nature::Passing,
        "what": diagnosis.what,
        "evidence": diagnosis.evidence,
        "fix": diagnosis.fix,
        "or": diagnosis.or.iter().map(possible).collect::<Vec<_>>(),
    })
}
