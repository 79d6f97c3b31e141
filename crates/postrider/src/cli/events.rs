//! `events …`: what was sent, and sending it again.

use postrider_core::time::Wall;
use serde_json::Value;

use super::{
    args::{DeliveryState, EventFilter, Events},
    client::{Answer, Client, Target},
    failure::Failure,
    output::{print, print_json},
    render::{Table, age, clean, moment},
    repair,
};
use crate::{admin::api, clock};

pub(crate) async fn run(
    client: &Client,
    command: Option<&Events>,
    json: bool,
) -> Result<(), Failure> {
    match command {
        None => {
            list(
                client,
                &EventFilter {
                    limit: 50,
                    ..EventFilter::default()
                },
                json,
            )
            .await
        }
        Some(Events::List(filter)) => list(client, filter, json).await,
        Some(Events::Show { id }) => show(client, id, json).await,
        Some(Events::Replay(args)) => repair::replay(client, args, json).await,
        Some(Events::Discard(args)) => repair::discard(client, args, json).await,
        Some(Events::Export(filter)) => export(client, filter).await,
    }
}

fn listing(filter: &EventFilter) -> Target {
    let message_id = filter
        .message_id
        .as_deref()
        .map(|id| id.trim_matches(['<', '>']));
    Target::of(&["events"])
        .query("mailbox", filter.mailbox.as_ref())
        .query("endpoint", filter.endpoint.as_ref())
        .query("state", filter.state.map(DeliveryState::as_str))
        .query("type", filter.event_type.as_ref())
        .query("message_id", message_id)
        .query("since", filter.since.as_ref())
        .query("until", filter.until.as_ref())
        .query("before", filter.before.as_ref())
        .query("limit", Some(filter.limit))
}

async fn list(client: &Client, filter: &EventFilter, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Events> = client.get(listing(filter)).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&list_text(&answer.read()?.events, filter.limit))
}

async fn show(client: &Client, id: &str, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::EventDetail> = client.get(Target::of(&["events", id])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&show_text(&answer.read()?, clock::wall()))
}

/// Whole events, each asked for alone: a list does not hold their data.
async fn export(client: &Client, filter: &EventFilter) -> Result<(), Failure> {
    let answer: Answer<api::Events> = client.get(listing(filter)).await?;
    for event in answer.read()?.events {
        let whole: Answer<Value> = client.get(Target::of(&["events", &event.id])).await?;
        print(&format!("{}\n", whole.json))?;
    }
    Ok(())
}

fn list_text(events: &[api::Event], limit: u32) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let mut table = Table::new(&[
        "STORED (UTC)",
        "TYPE",
        "MAILBOX",
        "ABOUT",
        "DELIVERIES",
        "ID",
    ]);
    for event in events {
        let deliveries: Vec<_> = event.deliveries.iter().map(brief).collect();
        table.row([
            moment(&event.stored_at),
            event.event_type.clone(),
            event.mailbox.clone().unwrap_or_default(),
            event.subject.clone(),
            deliveries.join(", "),
            event.id.clone(),
        ]);
    }
    let mut text = table.text();
    if let (Some(last), true) = (events.last(), events.len() == limit as usize) {
        let id = clean(&last.id);
        text += &format!("\n{limit} events; --limit shows more, --before {id} the next\n");
    }
    text
}

fn brief(delivery: &api::Delivery) -> String {
    let tries = match delivery.attempts {
        0 | 1 => String::new(),
        attempts => format!(" ({attempts} attempts)"),
    };
    format!("{} {}{tries}", delivery.endpoint, delivery.state)
}

/// Its state, and what is special about it.
fn stands(delivery: &api::Delivery) -> String {
    let mut text = delivery.state.clone();
    if delivery.blocked {
        text += " (behind another)";
    }
    if delivery.stepped_aside {
        text += " (out of line)";
    }
    if let Some(number) = delivery.replay {
        text += &format!(" (replay {number})");
    }
    if let Some(id) = &delivery.as_id {
        text += &format!(" (as {id})");
    }
    text
}

fn show_text(detail: &api::EventDetail, now: Wall) -> String {
    let event = &detail.event;
    let lines = [
        ("event", event.id.clone()),
        ("type", event.event_type.clone()),
        ("mailbox", event.mailbox.clone().unwrap_or_default()),
        ("about", event.subject.clone()),
        ("message-id", event.message_id.clone().unwrap_or_default()),
        ("time", moment(&event.time)),
        (
            "stored",
            format!(
                "{} ({} ago)",
                moment(&event.stored_at),
                age(&event.stored_at, now)
            ),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{name:<12}{}\n", clean(value));
    }
    let mut table = Table::new(&[
        "ENDPOINT", "STATE", "SEQUENCE", "ATTEMPTS", "DUE", "LAST", "WHY",
    ]);
    for delivery in &event.deliveries {
        let why = delivery
            .dead_reason
            .clone()
            .or_else(|| delivery.last_note.clone());
        table.row([
            delivery.endpoint.clone(),
            stands(delivery),
            delivery.sequence.to_string(),
            delivery.attempts.to_string(),
            delivery
                .due
                .as_deref()
                .map(|at| age(at, now))
                .unwrap_or_default(),
            delivery
                .last_status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            why.unwrap_or_default(),
        ]);
    }
    text += &format!("\n{}", table.text());
    if !detail.attempts.is_empty() {
        let mut table = Table::new(&["ATTEMPT (UTC)", "ENDPOINT", "STATUS", "TOOK", "NOTE"]);
        for attempt in &detail.attempts {
            table.row([
                moment(&attempt.at),
                attempt.endpoint.clone(),
                attempt
                    .status
                    .map(|status| status.to_string())
                    .unwrap_or_default(),
                format!("{} ms", attempt.took_ms),
                attempt.note.clone(),
            ]);
        }
        text += &format!("\n{}", table.text());
    }
    // JSON escapes control characters by itself.
    text + &format!("\n{:#}\n", detail.data)
}
