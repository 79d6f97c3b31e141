//! What all of it means, in plain words: the first thing that is wrong, from the operator's orders
//! over the way to the server to the way to the endpoints; or that nothing is.

mod message;

use std::time::Duration;

use postrider_core::time::Wall;

use super::api;
use crate::{
    config,
    telemetry::{delivery::EndpointState, mail::State},
};

pub(super) use message::of_message;

/// An endpoint takes what it is sent in seconds; what waits longer has a reason.
const OWED_AFTER: Duration = Duration::from_secs(5 * 60);
/// A login may take its time, in a crowd of thousands above all.
const CONNECTING_MAX: Duration = Duration::from_secs(5 * 60);

/// What a verdict rests on.
pub(super) struct Facts<'a> {
    pub(super) mailbox: &'a api::Mailbox,
    /// The worst of its folders'.
    pub(super) state: State,
    pub(super) folders: &'a [api::FolderLife],
    pub(super) owed: &'a [api::Owed],
    /// An endpoint of the mailbox takes `message.received`.
    pub(super) heard: bool,
    /// Endpoints of the mailbox whose `when` decides.
    pub(super) conditions: &'a [String],
    pub(super) stalled_after: Duration,
    pub(super) now: Wall,
}

fn silent(because: String, hint: impl Into<Option<String>>) -> api::Verdict {
    api::Verdict {
        fine: false,
        text: format!("silent because: {because}"),
        hint: hint.into(),
    }
}

fn fine(text: String) -> api::Verdict {
    api::Verdict {
        fine: true,
        text,
        hint: None,
    }
}

pub(super) fn of_mailbox(facts: &Facts<'_>) -> api::Verdict {
    of_state(facts)
        .or_else(|| of_life(facts))
        .or_else(|| of_cursor(facts))
        .or_else(|| of_endpoints(facts))
        .unwrap_or_else(|| nothing_wrong(facts))
}

/// The state of the watch, where it is not one of those in which all is well.
fn of_state(facts: &Facts<'_>) -> Option<api::Verdict> {
    let mailbox = facts.mailbox;
    let since = moment(mailbox.since.as_deref().unwrap_or_default());
    let id = &mailbox.id;
    let told = |what: &str| {
        let trouble = mailbox.last_error.as_ref();
        let since = trouble.map_or(since.clone(), |trouble| moment(&trouble.since));
        let detail = trouble.map_or_else(String::new, |trouble| format!(": {}", trouble.detail));
        let hint = trouble.and_then(|trouble| trouble.hint.clone());
        Some(silent(
            format!("{what} since {since}{detail}{}", next_try(mailbox)),
            hint,
        ))
    };
    match facts.state {
        State::Watching | State::Syncing => None,
        State::Paused => Some(silent(
            format!("an operator paused it, {since}"),
            format!("postrider mailboxes resume {id}"),
        )),
        State::Held => Some(silent(
            held(mailbox),
            format!("postrider mailboxes release {id} --send | --skip | --since DATE"),
        )),
        State::StoreFull => told("there is no room to store what is read"),
        State::AuthFailed => told("the login is refused"),
        State::Throttled => told("it is throttled"),
        State::Backoff => told("the server cannot be reached or does not answer as it should"),
        State::Connecting => {
            let for_long = age(mailbox.since.as_deref(), facts.now) > Some(CONNECTING_MAX);
            match (for_long, &mailbox.last_error) {
                (false, None) => Some(fine(format!("it is logging in, since {since}"))),
                (true, _) | (false, Some(_)) => told("it is trying to log in"),
            }
        }
    }
}

fn held(mailbox: &api::Mailbox) -> String {
    let mut parts = Vec::new();
    for folder in &mailbox.folders {
        if let Some(hold) = &folder.hold {
            parts.push(format!(
                "{} is held since {}, because continuity cannot be proven ({}): {} messages wait for your word, {} of them old",
                folder.name,
                moment(&hold.since),
                hold.why,
                hold.messages,
                hold.old,
            ));
        }
    }
    match parts.is_empty() {
        true => "it is held".to_owned(),
        false => parts.join("; "),
    }
}

fn next_try(mailbox: &api::Mailbox) -> String {
    let next = mailbox
        .folders
        .iter()
        .filter_map(|folder| folder.next_try.as_deref())
        .min();
    next.map_or_else(String::new, |at| {
        format!("; the next try is at {}", moment(at))
    })
}

/// A watch that ought to be live and gives no sign of it.
fn of_life(facts: &Facts<'_>) -> Option<api::Verdict> {
    let oldest = facts
        .folders
        .iter()
        .min_by(|one, other| one.last_life.cmp(&other.last_life))?;
    let silence = age(Some(&oldest.last_life), facts.now)?;
    (silence > facts.stalled_after).then(|| {
        silent(
            format!(
                "the server gave no sign of life for {} since {}",
                oldest.name,
                moment(&oldest.last_life)
            ),
            format!("postrider mailboxes resync {}", facts.mailbox.id),
        )
    })
}

fn of_cursor(facts: &Facts<'_>) -> Option<api::Verdict> {
    let behind = facts
        .folders
        .iter()
        .find(|folder| folder.behind == Some(true))?;
    let highest = behind.server.as_ref().and_then(|server| server.highest_uid);
    let place = format!(
        "{}: the server's newest message is UID {}",
        behind.name,
        highest.map_or_else(|| "?".to_owned(), |uid| uid.to_string())
    );
    let reading = facts.state == State::Syncing;
    Some(match reading {
        true => fine(format!(
            "it is reading: {place}, and what is below it is on its way"
        )),
        false => silent(
            format!("{place}, which was not announced yet; it is looked for every few minutes"),
            format!(
                "postrider mailboxes resync {} looks at once",
                facts.mailbox.id
            ),
        ),
    })
}

fn of_endpoints(facts: &Facts<'_>) -> Option<api::Verdict> {
    if !facts.heard {
        return Some(silent(
            "mail is read, but no endpoint of this mailbox takes message.received".to_owned(),
            "endpoints = […] of the mailbox, types = […] of the endpoint".to_owned(),
        ));
    }
    // An endpoint that is in trouble or paused is why, however short the wait was so far.
    let stopped = |owed: &api::Owed| {
        owed.pending > 0 && matches!(owed.endpoint_state.as_deref(), Some("open" | "paused"))
    };
    let waits = |owed: &&api::Owed| {
        stopped(owed) || age(owed.oldest_pending.as_deref(), facts.now) > Some(OWED_AFTER)
    };
    if let Some(owed) = facts.owed.iter().find(waits) {
        let state = owed
            .endpoint_state
            .as_deref()
            .map_or("not configured any more", EndpointState::in_words);
        let since = moment(owed.oldest_pending.as_deref().unwrap_or_default());
        return Some(silent(
            format!(
                "mail is read, but {} events wait for endpoint {} ({state}), the oldest since {since}",
                owed.pending, owed.endpoint
            ),
            "postrider endpoints list tells what is wrong with it".to_owned(),
        ));
    }
    let owed = facts.owed.iter().find(|owed| owed.dead > 0)?;
    Some(api::Verdict {
        fine: false,
        text: format!(
            "mail is read and sent, but {} events died at endpoint {}: it refused them for good",
            owed.dead, owed.endpoint
        ),
        hint: Some(format!(
            "postrider events list --mailbox {} --state dead; then postrider events replay --dead",
            facts.mailbox.id
        )),
    })
}

fn nothing_wrong(facts: &Facts<'_>) -> api::Verdict {
    let newest = facts
        .folders
        .iter()
        .filter_map(|folder| folder.newest.as_ref())
        .max_by(|one, other| one.taken_at.cmp(&other.taken_at));
    let proven = facts
        .mailbox
        .folders
        .iter()
        .filter_map(|folder| folder.last_proven.as_deref())
        .min();
    let proven = proven.map_or_else(String::new, |at| format!(" (looked at {})", moment(at)));
    fine(match newest {
        Some(newest) => {
            let came = newest.internal_date.as_deref().unwrap_or(&newest.taken_at);
            format!(
                "nothing is wrong: no mail came since {}{proven}",
                moment(came)
            )
        }
        None => format!("nothing is wrong: no mail came since it is watched{proven}"),
    })
}

/// `2026-05-01 08:00 UTC`.
fn moment(at: &str) -> String {
    match at.get(..16) {
        Some(minute) => format!("{} UTC", minute.replace('T', " ")),
        None => "a time that is not known".to_owned(),
    }
}

fn age(at: Option<&str>, now: Wall) -> Option<Duration> {
    Some(now.since(config::parse_date(at?)?))
}

#[cfg(test)]
mod tests;
