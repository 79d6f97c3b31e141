//! From what was seen to what is wrong and what to type: the cause of a failed login, of a refused
//! token, of a connection that does not come to be. Pure: facts go in, words come out.
//!
//! It never holds a secret or a token, and lets no mail address through but the mailbox's own.

mod cause;
mod facts;
mod let_in;

mod token;

mod claims;

mod login;
mod network;

mod names;
mod scrub;
mod words;

#[cfg(test)]
mod tests;

pub use cause::{Cause, Nature};
pub use claims::check as claims;
pub use facts::{Before, CredentialFacts, Facts, MailboxFacts, Others, Proof, Provider, Way};
pub use let_in::LetIn;
pub use login::shut;
pub use names::quoted;
pub use network::mail;
pub use token::{access, no_secret, token};

/// What is wrong, how that is known, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The likeliest cause.
    pub cause: Cause,
    /// In plain words.
    pub what: String,
    /// What was seen, servers' own words among it.
    pub evidence: Vec<String>,
    /// What to do, in order: portal pages, commands, settings.
    pub fix: Vec<String>,
    /// What looks the same from here, the likelier first.
    pub or: Vec<Possible>,
}

/// A cause that cannot be told from the likeliest one by looking from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Possible {
    pub cause: Cause,
    pub what: String,
    /// The command that decides, and what its answer means.
    pub check: Vec<String>,
    pub fix: Vec<String>,
}

/// The form for a log line, a list, an event: one cause, one sentence, one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    pub cause: Cause,
    pub what: String,
    pub fix: String,
}

impl Diagnosis {
    pub fn short(&self) -> Short {
        // Connecting and looking are no repair yet: the line after them is.
        let step = self
            .fix
            .iter()
            .find(|line| !line.starts_with("Connect-ExchangeOnline") && !line.starts_with("Get-"));
        Short {
            cause: self.cause,
            what: self.what.clone(),
            fix: step.cloned().unwrap_or_default(),
        }
    }

    /// The first of several possible causes is told as the cause, the rest beside it.
    fn likeliest(evidence: Vec<String>, possible: Vec<Possible>) -> Option<Self> {
        let mut possible = possible.into_iter();
        let first = possible.next()?;
        let or: Vec<Possible> = possible.collect();
        let mut fix = first.fix;
        if !or.is_empty() {
            // What decides comes before what repairs, and connecting before both.
            let connects = fix
                .first()
                .is_some_and(|line| line.starts_with("Connect-ExchangeOnline"));
            let at = usize::from(connects);
            fix.splice(at..at, first.check);
        }
        Some(Self {
            cause: first.cause,
            what: first.what,
            evidence,
            fix,
            or,
        })
    }
}

/// A cause in words, before its evidence is known.
struct Told {
    cause: Cause,
    what: String,
    fix: Vec<String>,
}

impl Told {
    fn new<const N: usize>(cause: Cause, what: impl Into<String>, fix: [String; N]) -> Self {
        Self {
            cause,
            what: what.into(),
            fix: fix.into(),
        }
    }

    fn with(self, evidence: Vec<String>) -> Diagnosis {
        Diagnosis {
            cause: self.cause,
            what: self.what,
            evidence,
            fix: self.fix,
            or: Vec::new(),
        }
    }
}
