//! Where one message is, and what became of it.

use super::{Facts, api, fine, moment};

/// Where a message is, and what became of it.
pub(in crate::admin::explain) fn of_message(
    story: &api::Story,
    facts: &Facts<'_>,
    server: &api::ServerLook,
    of_mailbox: api::Verdict,
) -> api::Verdict {
    if let Some(life) = story.events.last() {
        return of_event(life, story.events.len(), facts);
    }
    let at_place = story.places.iter().filter_map(|place| place.taken.as_ref());
    if let Some(taken) = at_place.chain(&story.taken).next() {
        return of_taken(taken, &facts.mailbox.id);
    }
    if let Some(place) = story.places.iter().find(|place| place.watched) {
        return above_or_below(place, facts, of_mailbox);
    }
    if let Some(place) = story.places.first() {
        return api::Verdict {
            fine: false,
            text: format!(
                "it never came into a watched folder: it is in `{}` (UID {}), which is not watched",
                place.folder, place.uid
            ),
            hint: Some(format!(
                "add it to folders = […] of {}, or move the message",
                facts.mailbox.id
            )),
        };
    }
    nowhere(facts, server)
}

fn of_event(life: &api::EventLife, copies: usize, facts: &Facts<'_>) -> api::Verdict {
    let event = &life.event;
    let mut parts = Vec::new();
    let mut trouble = false;
    for delivery in &event.deliveries {
        parts.push(match delivery.state.as_str() {
            "delivered" => format!(
                "{} took it at {}",
                delivery.endpoint,
                moment(delivery.delivered_at.as_deref().unwrap_or_default())
            ),
            "pending" => {
                trouble = true;
                format!(
                    "{} has not taken it yet after {} {}{}",
                    delivery.endpoint,
                    delivery.attempts,
                    if delivery.attempts == 1 {
                        "attempt"
                    } else {
                        "attempts"
                    },
                    note(delivery)
                )
            }
            state => {
                trouble = true;
                format!("{}: {state}{}", delivery.endpoint, note(delivery))
            }
        });
    }
    let mut hint = format!("postrider events show {}", event.id);
    if parts.is_empty() {
        trouble = true;
        let (told, try_it) = nobodys(facts);
        parts.push(told);
        hint = try_it.unwrap_or(hint);
    }
    let copies = match copies {
        0 | 1 => String::new(),
        copies => format!(" ({copies} events, of which this is the newest)"),
    };
    api::Verdict {
        fine: !trouble,
        text: format!(
            "it became event {} at {}{copies}: {}",
            event.id,
            moment(&event.stored_at),
            parts.join("; ")
        ),
        hint: trouble.then_some(hint),
    }
}

/// Why no endpoint was to have an event, as far as the configuration of today tells it.
fn nobodys(facts: &Facts<'_>) -> (String, Option<String>) {
    let id = &facts.mailbox.id;
    match facts.conditions {
        [] => ("no endpoint was to have it".to_owned(), None),
        [one, ..] => (
            format!(
                "no endpoint was to have it: the condition (`when`) of {} did not let it through",
                facts.conditions.join(", ")
            ),
            Some(format!(
                "postrider test-route FILE.eml --mailbox {id} shows what conditions say; \
                 once they say yes, postrider events replay --never --endpoint {one} sends it"
            )),
        ),
    }
}

fn note(delivery: &api::Delivery) -> String {
    let note = delivery
        .dead_reason
        .as_ref()
        .or(delivery.last_note.as_ref());
    note.map_or_else(String::new, |note| format!(" ({note})"))
}

fn of_taken(taken: &api::Taken, id: &str) -> api::Verdict {
    let (meaning, hint) = match (taken.outcome.as_str(), taken.reason.as_deref()) {
        ("event", _) => (
            "it became an event, which was delivered or given up and has been pruned since",
            None,
        ),
        ("known", _) => (
            "it was known again after a break of continuity: its event was sent before",
            None,
        ),
        ("skipped", Some("before_start")) => (
            "it was there before the folder was first looked at, and start = \"new\" sends none of that",
            None,
        ),
        ("skipped", _) => (
            "it was held back, and an operator released the hold without it",
            None,
        ),
        ("quarantined", _) => (
            "it could not be read and was quarantined; its event says so, its bytes are kept",
            Some(format!("postrider events list --mailbox {id}")),
        ),
        (_, _) => ("it vanished from the folder before it could be read", None),
    };
    let reason = taken.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(", {reason}"));
    api::Verdict {
        fine: hint.is_none(),
        text: format!(
            "{meaning} ({}, UID {}, at {}, {}{reason}, found by {})",
            taken.folder,
            taken.uid,
            moment(&taken.taken_at),
            taken.outcome,
            taken.found_by
        ),
        hint,
    }
}

/// In a watched folder, without a row in the ledger.
fn above_or_below(
    place: &api::MessagePlace,
    facts: &Facts<'_>,
    of_mailbox: api::Verdict,
) -> api::Verdict {
    let mut shown = facts.mailbox.folders.iter();
    let shown = shown.find(|one| one.name == place.folder);
    let mut lives = facts.folders.iter();
    let life = lives.find(|one| one.name == place.folder);
    let cursor = shown.and_then(|folder| folder.last_uid);
    let at = format!("it is in {} (UID {})", place.folder, place.uid);
    let id = &facts.mailbox.id;
    if cursor.is_none_or(|cursor| place.uid > cursor) {
        return api::Verdict {
            text: format!("{at}, and not read yet; {}", of_mailbox.text),
            ..of_mailbox
        };
    }
    if life.and_then(|life| life.before_start_uid) >= Some(place.uid) {
        return fine(format!(
            "{at}; it was there before the folder was first looked at, and start = \"new\" sends none of that"
        ));
    }
    let cursor = cursor.unwrap_or_default();
    match shown.map_or(0, |folder| folder.gaps) {
        0 => api::Verdict {
            fine: false,
            text: format!(
                "{at}, below the cursor ({cursor}), and not in the ledger: the audit has to read it"
            ),
            hint: Some(format!(
                "postrider mailboxes resync {id} starts the audit now; then report this as a fault"
            )),
        },
        gaps => api::Verdict {
            fine: false,
            text: format!(
                "{at}, below the cursor ({cursor}), and one of {gaps} that could not be read yet; it is tried again"
            ),
            hint: Some(format!("postrider mailboxes show {id}")),
        },
    }
}

fn nowhere(facts: &Facts<'_>, server: &api::ServerLook) -> api::Verdict {
    let (text, hint) = match (&server.note, server.folders) {
        (None, folders) => (
            match folders {
                1 => "it is unknown here, and not in the one folder on the server".to_owned(),
                _ => format!(
                    "it is unknown here, and in none of the {folders} folders on the server"
                ),
            },
            "was it sent to this mailbox? A rule, a filter or a person may have moved or deleted it; in Exchange, message trace tells",
        ),
        (Some(note), 0) => (
            format!("it is unknown here; the server: {note}"),
            "ask again when the mailbox is well",
        ),
        (Some(note), folders) => (
            format!("it is unknown here; the server was asked in {folders} folders: {note}"),
            "ask again when the mailbox is well",
        ),
    };
    api::Verdict {
        fine: false,
        text: format!("{text} (mailbox {})", facts.mailbox.id),
        hint: Some(hint.to_owned()),
    }
}
