//! What each product does with a request, as far as a recipe uses it: those that find by a key.

use serde_json::{Value, json};

use super::{
    desk::{Ask, Office, RIGHT, Ticket, quoted},
    products::{Files, gone, text, ticket},
};

fn attached(ask: &Ask) -> Files {
    let parts = ask.parts().into_iter();
    let files = parts.filter(|(name, _, _)| name == "attachments[]");
    files
        .map(|(_, name, bytes)| (name.unwrap(), bytes))
        .collect()
}

pub(crate) fn freshdesk(office: &mut Office, ask: &Ask) -> (u16, Value) {
    if ask.header("authorization") != RIGHT {
        return (401, json!({ "code": "invalid_credentials" }));
    }
    match ask.what() {
        ("GET", parts) if parts == ["api", "v2", "search", "tickets"] => {
            let word = quoted(ask.of("query")).remove(0);
            let word = word
                .trim_start_matches("cf_mail_thread:'")
                .trim_end_matches('\'');
            // The newest is not in the index yet.
            let indexed = office.tickets.len().saturating_sub(1);
            let found = office.tickets.iter().take(indexed).enumerate();
            let found = found.filter(|(_, ticket)| ticket.facts["cf_mail_thread"] == word);
            let results: Vec<_> = found
                .map(|(at, ticket)| json!({ "id": at + 1, "custom_fields": ticket.facts }))
                .collect();
            (200, json!({ "total": results.len(), "results": results }))
        }
        ("GET", parts) if parts == ["api", "v2", "tickets"] => {
            assert_eq!(
                (ask.of("order_by"), ask.of("order_type")),
                ("created_at", "desc")
            );
            let tickets = office.tickets.iter().enumerate().rev();
            let mut tickets: Vec<_> = tickets
                .map(|(at, ticket)| json!({ "id": at + 1, "custom_fields": ticket.facts }))
                .collect();
            // Somebody wrote one by hand.
            tickets.push(json!({ "id": 99, "custom_fields": { "cf_mail_thread": null } }));
            (200, Value::Array(tickets))
        }
        ("POST", parts) if parts == ["api", "v2", "tickets"] => {
            assert_eq!(ask.part("email"), "kim@example.org");
            assert_eq!(
                (ask.part("status"), ask.part("source")),
                ("2".to_owned(), "1".to_owned())
            );
            office.tickets.push(Ticket {
                facts: json!({ "cf_mail_thread": ask.part("custom_fields[cf_mail_thread]"),
                               "cf_mail_event": ask.part("custom_fields[cf_mail_event]") }),
                text: ask.part("description"),
                notes: Vec::new(),
                files: attached(ask),
            });
            (201, json!({ "id": office.tickets.len() }))
        }
        ("GET", parts) if parts.len() == 4 && parts[..3] == ["api", "v2", "tickets"] => {
            let notes = ticket(office, parts[3]).notes.iter();
            let notes: Vec<_> = notes.map(|note| json!({ "body": note })).collect();
            (200, json!({ "id": 1, "conversations": notes }))
        }
        ("POST", parts) if parts.len() == 5 && parts[4] == "notes" => {
            if ask.part("private") != "true" {
                office.mailed.push(ask.part("body"));
            }
            let ticket = ticket(office, parts[3]);
            ticket.notes.push(ask.part("body"));
            ticket.files.extend(attached(ask));
            (201, json!({ "id": 1 }))
        }
        _ => gone(ask),
    }
}

fn zendesk_files(office: &Office, comment: &Value) -> Files {
    let tokens = comment["uploads"].as_array().unwrap().iter();
    let at = |token: &Value| {
        text(token)
            .trim_start_matches('t')
            .parse::<usize>()
            .unwrap()
    };
    tokens
        .map(|token| office.uploads[at(token) - 1].clone())
        .collect()
}

pub(crate) fn zendesk(office: &mut Office, ask: &Ask) -> (u16, Value) {
    if ask.header("authorization") != RIGHT {
        return (401, json!({ "error": "Couldn't authenticate you" }));
    }
    match ask.what() {
        ("GET", parts) if parts == ["api", "v2", "tickets"] => {
            let found = office.tickets.iter().enumerate();
            let found = found.filter(|(_, one)| one.facts["external_id"] == ask.of("external_id"));
            let tickets: Vec<_> = found.map(|(at, _)| json!({ "id": at + 1 })).collect();
            (200, json!({ "tickets": tickets, "count": tickets.len() }))
        }
        ("GET", parts) if parts.len() == 5 && parts[4] == "comments" => {
            let ticket = ticket(office, parts[3]);
            let all = ticket.notes.iter().rev().chain([&ticket.text]);
            let comments: Vec<_> = all.map(|body| json!({ "body": body })).collect();
            (200, json!({ "comments": comments }))
        }
        ("POST", parts) if parts == ["api", "v2", "uploads"] => {
            let file = (ask.of("filename").to_owned(), ask.body.to_vec());
            office.uploads.push(file);
            (
                201,
                json!({ "upload": { "token": format!("t{}", office.uploads.len()) } }),
            )
        }
        ("POST", parts) if parts == ["api", "v2", "tickets"] => {
            let key = ask.header("idempotency-key").to_owned();
            assert_eq!(key, ask.header("webhook-id"), "the event's own id");
            if let Some(at) = office.keys.get(&key) {
                return (201, json!({ "ticket": { "id": at } }));
            }
            let body = ask.json();
            assert_eq!(body["ticket"]["requester"]["name"], "Kim \"K\" Lee");
            let comment = &body["ticket"]["comment"];
            let files = zendesk_files(office, comment);
            office.tickets.push(Ticket {
                facts: body["ticket"].clone(),
                text: text(&comment["body"]),
                notes: Vec::new(),
                files,
            });
            office.keys.insert(key, office.tickets.len());
            (201, json!({ "ticket": { "id": office.tickets.len() } }))
        }
        ("PUT", parts) if parts.len() == 4 => {
            let body = ask.json();
            let comment = &body["ticket"]["comment"];
            if comment["public"] != false {
                office.mailed.push(text(&comment["body"]));
            }
            let files = zendesk_files(office, comment);
            let ticket = ticket(office, parts[3]);
            ticket.notes.push(text(&comment["body"]));
            ticket.files.extend(files);
            (200, json!({ "ticket": {} }))
        }
        _ => gone(ask),
    }
}

pub(crate) fn glpi(office: &mut Office, ask: &Ask) -> (u16, Value) {
    let (method, parts) = ask.what();
    assert_eq!(parts[0], "apirest.php");
    if ask.header("app-token") != RIGHT {
        return (401, json!(["ERROR_WRONG_APP_TOKEN_PARAMETER", ""]));
    }
    if parts[1] == "initSession" {
        return (200, json!({ "session_token": "s1" }));
    }
    if ask.header("session-token") != "s1" {
        return (401, json!(["ERROR_SESSION_TOKEN_INVALID", ""]));
    }
    match (method, &parts[1..]) {
        ("GET", ["search", "Ticket"]) => {
            assert_eq!(ask.of("criteria[0][field]"), "21");
            let word = ask.of("criteria[0][value]");
            let found = office.tickets.iter().enumerate();
            let found: Vec<_> = found
                .filter(|(_, ticket)| ticket.text.contains(word))
                .map(|(at, ticket)| json!({ "2": at + 1, "21": ticket.text }))
                .collect();
            match found.is_empty() {
                true => (200, json!({ "totalcount": 0, "count": 0 })),
                false => (200, json!({ "totalcount": found.len(), "data": found })),
            }
        }
        ("POST", ["Ticket"]) => {
            office.tickets.push(Ticket {
                text: text(&ask.json()["input"]["content"]),
                ..Ticket::default()
            });
            (201, json!({ "id": office.tickets.len(), "message": "" }))
        }
        ("GET", ["Ticket", id, "ITILFollowup"]) => {
            let notes = ticket(office, id).notes.iter();
            (200, notes.map(|note| json!({ "content": note })).collect())
        }
        ("POST", ["Ticket", id, "ITILFollowup"]) => {
            let input = &ask.json()["input"];
            if input["is_private"] != 1 {
                office.mailed.push(text(&input["content"]));
            }
            ticket(office, id).notes.push(text(&input["content"]));
            (201, json!({ "id": 1 }))
        }
        ("GET", ["Ticket", id, "Document_Item"]) => {
            let files = ticket(office, id).files.iter();
            (
                200,
                files
                    .map(|(name, _)| json!({ "documents_id": name }))
                    .collect(),
            )
        }
        ("POST", ["Document"]) => {
            let manifest: Value = serde_json::from_str(&ask.part("uploadManifest")).unwrap();
            let input = &manifest["input"];
            let (_, name, bytes) = ask.parts().pop().unwrap();
            assert_eq!(input["_filename"][0], name.unwrap());
            let id = input["items_id"].to_string();
            ticket(office, &id)
                .files
                .push((text(&input["name"]), bytes));
            (201, json!({ "id": 1 }))
        }
        ("GET", ["killSession"]) => (200, json!(true)),
        _ => gone(ask),
    }
}

/// Threads as tickets; everything is answered with 200.
pub(crate) fn slack(office: &mut Office, ask: &Ask) -> (u16, Value) {
    if ask.header("authorization") != RIGHT {
        return (200, json!({ "ok": false, "error": "invalid_auth" }));
    }
    match ask.what() {
        ("GET", parts) if parts == ["api", "conversations.history"] => {
            let mut messages: Vec<Value> = vec![json!({ "ts": "0.1", "text": "somebody talks" })];
            for (at, one) in office.tickets.iter().enumerate() {
                messages.insert(0, json!({ "ts": format!("{}.0", at + 1), "text": one.text, "metadata": one.facts }));
            }
            (200, json!({ "ok": true, "messages": messages }))
        }
        // Answers are there alone.
        ("GET", parts) if parts == ["api", "conversations.replies"] => {
            let id = ask.of("ts").split('.').next().unwrap().to_owned();
            let one = ticket(office, &id);
            let mut messages = vec![json!({ "text": one.text, "metadata": one.facts })];
            messages.extend(one.notes.iter().map(|note| json!({ "text": note })));
            (200, json!({ "ok": true, "messages": messages }))
        }
        ("POST", parts) if parts == ["api", "chat.postMessage"] => {
            let body = ask.json();
            assert!(!text(&body["text"]).contains('<'), "markup is escaped");
            match body["thread_ts"].as_str() {
                None => office.tickets.push(Ticket {
                    text: text(&body["text"]),
                    facts: body["metadata"].clone(),
                    ..Ticket::default()
                }),
                Some(ts) => {
                    let id = ts.split('.').next().unwrap().to_owned();
                    // Answers carry their metadata too.
                    let note = format!("{} {}", text(&body["text"]), body["metadata"]);
                    ticket(office, &id).notes.push(note);
                }
            }
            (200, json!({ "ok": true, "ts": "5.0" }))
        }
        _ => gone(ask),
    }
}
