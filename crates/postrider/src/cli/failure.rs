//! How a command ends when it does not succeed, and the exit codes.

use std::{fmt, process::ExitCode};

/// The exit codes of sysexits.h where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed,
    /// EX_UNAVAILABLE
    Unreachable,
    /// EX_TEMPFAIL
    TryAgain,
    /// EX_CONFIG
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Failed => 1,
            Exit::Unreachable => 69,
            Exit::TryAgain => 75,
            Exit::Config => 78,
        })
    }
}

/// What is told on standard error: `error: …`, details, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: String,
    pub(crate) details: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<String>) -> Self {
        Self {
            exit,
            error: error.into(),
            details: Vec::new(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for detail in &self.details {
            writeln!(f, "{detail}")?;
        }
        if !self.details.is_empty() {
            writeln!(f)?;
        }
        writeln!(f, "error: {}", self.error)?;
        match &self.hint {
            Some(hint) => writeln!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
