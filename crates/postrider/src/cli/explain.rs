//! `explain`: the verdict first, then what it rests on.

use postrider_core::time::Wall;

use super::{
    args::Explain,
    client::{Answer, Client, Target},
    failure::Failure,
    fold::{fold, instruction},
    output::{print, print_json},
    render::{Table, age, clean, count, maybe_age, moment, sums},
};
use crate::{admin::api, clock, telemetry::delivery::EndpointState};

pub(crate) async fn run(client: &Client, args: &Explain, json: bool) -> Result<(), Failure> {
    let message_id = args
        .message_id
        .as_deref()
        .map(|id| id.trim().trim_matches(['<', '>']));
    let target = Target::of(&["mailboxes", &args.mailbox, "explain"])
        .query("message_id", message_id)
        .query("offline", args.offline.then_some("true"));
    let answer: Answer<api::Explanation> = client.get(target).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&text(&answer.read()?, clock::wall()))
}

fn text(explanation: &api::Explanation, now: Wall) -> String {
    let mut text = fold("", &long(&explanation.verdict.text));
    if let Some(hint) = &explanation.verdict.hint {
        text += &instruction("  hint: ", &long(hint));
    }
    if let Some(story) = &explanation.message {
        text += &story_text(story);
    }
    text += &mailbox_text(explanation, now);
    text += &format!("\n{}", folders_text(explanation, now));
    if !explanation.owed.is_empty() {
        text += &format!("\n{}", owed_text(&explanation.owed, now));
    }
    text + &server_text(&explanation.server)
}

/// A verdict quotes the server, and may be longer than a line of a table.
fn long(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(1_000).map(plain).collect()
}

fn mailbox_text(explanation: &api::Explanation, now: Wall) -> String {
    let mailbox = &explanation.mailbox;
    let gate = &explanation.gate;
    let shut = match (&gate.shut_until, &gate.why) {
        (Some(until), Some(why)) => format!("held back ({why}), the next {}", age(until, now)),
        (_, _) => "free to log in".to_owned(),
    };
    let sessions = count(
        usize::try_from(gate.sessions).unwrap_or(usize::MAX),
        "session",
        "sessions",
    );
    let credential = match &explanation.credential {
        None => mailbox.credential.clone(),
        Some(credential) => {
            let ends = credential.token_expires.as_deref();
            let ends = ends.map(|at| format!(", its token ends {}", age(at, now)));
            let error = match (&credential.last_error, &credential.last_error_at) {
                (Some(error), Some(at)) => {
                    format!(", last trouble {} ago: {error}", age(at, now))
                }
                (_, _) => String::new(),
            };
            format!(
                "{} ({}): {}{}{error}",
                credential.id,
                credential.kind,
                credential.state,
                ends.unwrap_or_default()
            )
        }
    };
    let lines = [
        ("mailbox", format!("{} at {}", mailbox.id, mailbox.server)),
        (
            "state",
            format!(
                "{} for {}",
                mailbox.state,
                maybe_age(mailbox.since.as_deref(), now)
            ),
        ),
        ("logins", format!("{shut}; {sessions} open")),
        ("credential", credential),
    ];
    let mut text = "\n".to_owned();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text += &fold(&format!("{name:<12}"), &clean(value));
    }
    text + &sums(&mailbox.sums)
}

fn folders_text(explanation: &api::Explanation, now: Wall) -> String {
    let mut table = Table::new(&[
        "FOLDER",
        "ALIVE",
        "LAST WAKE",
        "FOUND",
        "READ TO",
        "SERVER'S NEWEST",
        "HELD",
        "LAST MAIL",
    ]);
    for folder in &explanation.folders {
        let shown = explanation
            .mailbox
            .folders
            .iter()
            .find(|shown| shown.name == folder.name);
        let wake = folder.wake.as_ref();
        let server = folder.server.as_ref();
        let newest = server.map(|server| match server.highest_uid {
            Some(uid) => uid.to_string(),
            None => "no mail".to_owned(),
        });
        let held = shown.and_then(|shown| shown.hold.as_ref());
        table.row([
            folder.name.clone(),
            // Before the first look it counts from the start, which is no sign of life.
            match shown.is_some_and(|shown| shown.last_proven.is_none()) {
                true => "never".to_owned(),
                false => format!("{} ago", age(&folder.last_life, now)),
            },
            wake.map(|wake| format!("{} {} ago", why_text(&wake.why), age(&wake.at, now)))
                .unwrap_or_default(),
            wake.map(found_text).unwrap_or_default(),
            shown
                .and_then(|shown| shown.last_uid)
                .map(|uid| uid.to_string())
                .unwrap_or_default(),
            newest.unwrap_or_else(|| "not asked".to_owned()),
            held.map(|hold| hold.why.clone()).unwrap_or_default(),
            folder.newest.as_ref().map(came).unwrap_or_default(),
        ]);
    }
    table.text()
}

/// IDLE is ended now and then to look at the folder, whatever the server announces.
fn why_text(why: &str) -> &str {
    match why {
        "elapsed" => "timer",
        other => other,
    }
}

fn found_text(wake: &api::WakeLife) -> String {
    let parts: Vec<_> = wake
        .found
        .iter()
        .map(|(outcome, number)| format!("{number} {outcome}"))
        .collect();
    match parts.is_empty() {
        true => "nothing new".to_owned(),
        false => parts.join(", "),
    }
}

fn came(taken: &api::Taken) -> String {
    moment(taken.internal_date.as_deref().unwrap_or(&taken.taken_at))
}

fn owed_text(owed: &[api::Owed], now: Wall) -> String {
    let mut table = Table::new(&["ENDPOINT", "STATE", "PENDING", "OLDEST", "DEAD"]);
    for owed in owed {
        table.row([
            owed.endpoint.clone(),
            EndpointState::in_words(owed.endpoint_state.as_deref().unwrap_or("orphaned"))
                .to_owned(),
            owed.pending.to_string(),
            maybe_age(owed.oldest_pending.as_deref(), now),
            owed.dead.to_string(),
        ]);
    }
    table.text()
}

fn server_text(server: &api::ServerLook) -> String {
    let mut text = String::new();
    if let Some(note) = &server.note {
        text += &format!("\n{}", fold("the server: ", &long(note)));
    }
    if !server.left_out.is_empty() {
        text += &format!(
            "\n{}",
            fold("left out: ", &clean(&server.left_out.join(", ")))
        );
    }
    text
}

fn story_text(story: &api::Story) -> String {
    let mut text = format!("\nmessage     {}\n", clean(&story.message_id));
    let mut rows: Vec<&api::Taken> = story.taken.iter().collect();
    let places = story.places.iter().filter_map(|place| place.taken.as_ref());
    for taken in places {
        if !rows.contains(&taken) {
            rows.push(taken);
        }
    }
    if !rows.is_empty() {
        let mut table = Table::new(&["TAKEN (UTC)", "FOLDER", "UID", "OUTCOME", "FOUND BY"]);
        for taken in rows {
            let outcome = match &taken.reason {
                Some(reason) => format!("{} ({reason})", taken.outcome),
                None => taken.outcome.clone(),
            };
            table.row([
                moment(&taken.taken_at),
                taken.folder.clone(),
                taken.uid.to_string(),
                outcome,
                taken.found_by.clone(),
            ]);
        }
        text += &format!("\n{}", table.text());
    }
    text += &events_text(&story.events);
    if !story.places.is_empty() {
        let mut table = Table::new(&["ON THE SERVER IN", "UID", "WATCHED"]);
        for place in &story.places {
            let watched = if place.watched { "yes" } else { "NO" };
            table.row([
                place.folder.clone(),
                place.uid.to_string(),
                watched.to_owned(),
            ]);
        }
        text += &format!("\n{}", table.text());
    }
    text
}

fn events_text(events: &[api::EventLife]) -> String {
    let mut text = String::new();
    for life in events {
        let event = &life.event;
        text += &format!(
            "\nevent       {} {} ({})\n",
            clean(&event.id),
            clean(&event.event_type),
            moment(&event.stored_at)
        );
        for delivery in &event.deliveries {
            let done = delivery.delivered_at.as_deref().map(moment);
            let why = delivery
                .dead_reason
                .as_ref()
                .or(delivery.last_note.as_ref());
            text += &format!(
                "  {} {} {} after {}{}\n",
                clean(&delivery.endpoint),
                clean(&delivery.state),
                done.unwrap_or_default(),
                count(
                    usize::try_from(delivery.attempts).unwrap_or(usize::MAX),
                    "attempt",
                    "attempts"
                ),
                why.map(|why| format!(": {}", clean(why)))
                    .unwrap_or_default()
            );
        }
        for attempt in &life.attempts {
            text += &format!(
                "    {} {} {} {} ms {}\n",
                moment(&attempt.at),
                clean(&attempt.endpoint),
                attempt
                    .status
                    .map_or_else(|| "no answer".to_owned(), |status| status.to_string()),
                attempt.took_ms,
                clean(&attempt.note)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests;
