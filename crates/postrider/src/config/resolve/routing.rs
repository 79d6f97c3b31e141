//! Which events an endpoint gets: its condition, and what it does not want twice.

use std::time::Duration;

use super::Findings;
use crate::{
    config::raw,
    routing::{When, WhenError},
};

pub(super) fn when(
    path: &str,
    written: &raw::Endpoint,
    findings: &mut Findings<'_>,
) -> Option<When> {
    let path = format!("{path}.when");
    match When::compile(written.when.as_ref()?) {
        Ok(when) => Some(when),
        Err(error) => {
            let hint = match &error {
                WhenError::Unknown {
                    near: Some(near), ..
                } => format!("did you mean `{near}`?"),
                WhenError::Unknown { near: None, .. } => {
                    "docs/WEBHOOKS.md has the keys of an event; `type`, `subject`, `time` and `data` can be asked for"
                        .to_owned()
                }
                WhenError::Syntax(_) | WhenError::TooLong => {
                    "write it as `data.auto.is_bounce == false and \"urgent\" in data.message.subject|lower`"
                        .to_owned()
                }
            };
            findings.error(&path, format!("`{path}`: {error}"), &hint);
            None
        }
    }
}

pub(super) fn duplicates(
    path: &str,
    written: &raw::Endpoint,
    keep_delivered: Duration,
    findings: &mut Findings<'_>,
) -> Option<Duration> {
    let raw::SuppressDuplicates { window, by } = written.suppress_duplicates.as_ref()?;
    match by {
        raw::DuplicatesBy::MessageId => {}
    }
    if window.0 > keep_delivered {
        let path = format!("{path}.suppress_duplicates");
        let what = format!(
            "`{path}`: `window` is longer than `store.keep_delivered`, after which events are forgotten"
        );
        findings.warn(&path, what, "raise `store.keep_delivered`");
    }
    Some(window.0)
}
