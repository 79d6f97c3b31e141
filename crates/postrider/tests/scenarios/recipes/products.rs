//! What each product does with a request, as far as a recipe uses it: those that find by searching.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::desk::{Ask, Office, RIGHT, Ticket, quoted};

/// Names and bytes.
pub(super) type Files = Vec<(String, Vec<u8>)>;

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn gone(ask: &Ask) -> (u16, Value) {
    (
        404,
        json!({ "error": format!("no route for {} {}", ask.method, ask.path) }),
    )
}

pub(super) fn ticket<'a>(office: &'a mut Office, id: &str) -> &'a mut Ticket {
    let at: usize = id.trim_start_matches("SUP-").parse().unwrap();
    &mut office.tickets[at - 1]
}

/// An email article of another sender than Customer is mailed out.
fn article(office: &mut Office, article: &Value) -> Result<Files, (u16, Value)> {
    if article["body"].as_str().is_none_or(str::is_empty) {
        return Err((
            422,
            json!({ "error": "Need at least article: { body: \"some text\" }" }),
        ));
    }
    if article["type"] == "email" && article["sender"] != "Customer" {
        office.mailed.push(text(&article["body"]));
    }
    let mut files = Vec::new();
    for file in article["attachments"].as_array().into_iter().flatten() {
        assert!(file["mime-type"].is_string());
        match STANDARD.decode(text(&file["data"])) {
            Ok(bytes) => files.push((text(&file["filename"]), bytes)),
            Err(_) => return Err((422, json!({ "error": "Invalid base64 for attachment" }))),
        }
    }
    Ok(files)
}

/// What a column is to be.
fn values(ask: &Ask, column: &str) -> Vec<String> {
    let condition = format!("condition[{column}]");
    let value = format!("{condition}[value][]");
    let values: Vec<_> = ask.all(&value).map(str::to_owned).collect();
    if !values.is_empty() {
        assert_eq!(ask.of(&format!("{condition}[operator]")), "is");
    }
    values
}

pub(crate) fn zammad(office: &mut Office, ask: &Ask) -> (u16, Value) {
    if ask.header("authorization") != RIGHT {
        return (401, json!({ "error": "Invalid BasicAuth credentials" }));
    }
    match ask.what() {
        ("GET", parts) if parts == ["api", "v1", "tickets", "search"] => {
            assert_eq!((ask.of("limit"), ask.of("expand")), ("1", "true"));
            // What was just written is found by its columns; the search index is a few seconds late.
            assert_eq!(ask.of("query"), "");
            let ids: Vec<_> = values(ask, "article.message_id");
            let numbers: Vec<_> = values(ask, "ticket.number");
            assert_ne!((ids.len(), numbers.len()), (0, 0), "that is every ticket");
            let holds = |ticket: &Ticket| {
                let mut of_ticket = ticket.facts.as_array().unwrap().iter();
                of_ticket.any(|id| ids.contains(&text(id)))
            };
            let found = office.tickets.iter().enumerate().rev();
            let found = found
                .filter(|(at, ticket)| numbers.contains(&(at + 1).to_string()) || holds(ticket))
                .take(1);
            let found =
                found.map(|(at, _)| json!({ "id": at + 1, "number": (at + 1).to_string() }));
            (200, found.collect())
        }
        ("GET", parts) if parts.len() == 5 && parts[3] == "by_ticket" => {
            let ids = ticket(office, parts[4]).facts.as_array().unwrap().clone();
            let articles = ids
                .into_iter()
                .map(|id| json!({ "id": 1, "message_id": id }));
            (200, articles.collect())
        }
        ("POST", parts) if parts == ["api", "v1", "tickets"] => {
            let body = ask.json();
            assert_eq!(body["group"], "Users");
            assert_eq!(body["customer_id"], "guess:kim@example.org");
            match article(office, &body["article"]) {
                Err(error) => error,
                Ok(files) => {
                    office.tickets.push(Ticket {
                        facts: json!([body["article"]["message_id"]]),
                        text: text(&body["article"]["body"]),
                        notes: Vec::new(),
                        files,
                    });
                    (201, json!({ "id": office.tickets.len() }))
                }
            }
        }
        ("POST", parts) if parts == ["api", "v1", "ticket_articles"] => {
            let body = ask.json();
            match article(office, &body) {
                Err(error) => error,
                Ok(files) => {
                    let id = body["ticket_id"].to_string();
                    let ticket = ticket(office, &id);
                    ticket
                        .facts
                        .as_array_mut()
                        .unwrap()
                        .push(body["message_id"].clone());
                    ticket.notes.push(text(&body["body"]));
                    ticket.files.extend(files);
                    (201, json!({ "id": 1 }))
                }
            }
        }
        _ => gone(ask),
    }
}

pub(crate) fn jira(office: &mut Office, ask: &Ask) -> (u16, Value) {
    if ask.header("authorization") != RIGHT {
        return (
            401,
            json!({ "errorMessage": "Client must be authenticated" }),
        );
    }
    match ask.what() {
        ("GET", parts) if parts == ["rest", "api", "3", "search", "jql"] => {
            let words = quoted(ask.of("jql"));
            let word = words.last().unwrap();
            let found = office.tickets.iter().enumerate().filter(|(_, ticket)| {
                ticket.text.contains(word) || ticket.notes.iter().any(|note| note.contains(word))
            });
            let issues: Vec<_> = found
                .map(|(at, ticket)| {
                    let files = ticket
                        .files
                        .iter()
                        .map(|(name, _)| json!({ "filename": name }));
                    json!({ "id": "1", "key": format!("SUP-{}", at + 1),
                            "fields": { "attachment": files.collect::<Vec<_>>() } })
                })
                .collect();
            (200, json!({ "issues": issues, "isLast": true }))
        }
        ("POST", parts) => match parts.as_slice() {
            ["rest", "servicedeskapi", "request"] => {
                let body = ask.json();
                let fields = &body["requestFieldValues"];
                assert!(fields["summary"].as_str().unwrap().len() <= 255);
                office.tickets.push(Ticket {
                    text: text(&fields["description"]),
                    ..Ticket::default()
                });
                (
                    201,
                    json!({ "issueId": "1", "issueKey": format!("SUP-{}", office.tickets.len()) }),
                )
            }
            ["rest", "servicedeskapi", "request", key, "comment"] => {
                let body = ask.json();
                if body["public"] != false {
                    office.mailed.push(text(&body["body"]));
                }
                ticket(office, key).notes.push(text(&body["body"]));
                (201, json!({ "id": "1" }))
            }
            [_, _, _, _, "attachTemporaryFile" | "attachment"] => jira_file(office, ask, &parts),
            _ => gone(ask),
        },
        _ => gone(ask),
    }
}

fn jira_file(office: &mut Office, ask: &Ask, parts: &[&str]) -> (u16, Value) {
    match parts {
        [
            "rest",
            "servicedeskapi",
            "servicedesk",
            "10",
            "attachTemporaryFile",
        ] => {
            if ask.header("x-atlassian-token") != "no-check" {
                return (403, json!({ "message": "XSRF check failed" }));
            }
            let (name, filename, bytes) = ask.parts().remove(0);
            assert_eq!(name, "file");
            office.uploads.push((filename.unwrap(), bytes));
            let id = format!("temp{}", office.uploads.len());
            (
                201,
                json!({ "temporaryAttachments": [{ "temporaryAttachmentId": id }] }),
            )
        }
        ["rest", "servicedeskapi", "request", key, "attachment"] => {
            for id in ask.json()["temporaryAttachmentIds"].as_array().unwrap() {
                let at: usize = text(id).trim_start_matches("temp").parse().unwrap();
                let file = office.uploads[at - 1].clone();
                ticket(office, key).files.push(file);
            }
            (201, json!({}))
        }
        _ => gone(ask),
    }
}

/// The conditions of an encoded query.
fn conditions(query: &str) -> Vec<(String, String)> {
    let split = |one: &str| {
        let (name, value) = one.split_once("LIKE").or_else(|| one.split_once('='))?;
        Some((name.to_owned(), value.to_owned()))
    };
    query.split('^').filter_map(split).collect()
}

fn servicenow_file(office: &mut Office, ask: &Ask, id: &str, name: &str) -> (u16, Value) {
    if ask.of("sysparm_query").contains("^NQ") {
        // Another query, which finds something.
        return (200, json!({ "result": [{ "sys_id": "a" }] }));
    }
    let files = &ticket(office, id).files;
    let found = files.iter().filter(|(file, _)| file == name);
    let rows: Vec<_> = found.map(|_| json!({ "sys_id": "a" })).collect();
    (200, json!({ "result": rows }))
}

pub(crate) fn servicenow(office: &mut Office, ask: &Ask) -> (u16, Value) {
    if ask.header("authorization") != RIGHT {
        return (
            401,
            json!({ "error": { "message": "User Not Authenticated" } }),
        );
    }
    let query = conditions(ask.of("sysparm_query"));
    let is = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    };
    match ask.what() {
        ("GET", parts) if parts == ["api", "now", "table", "incident"] => {
            let wanted = is("correlation_id");
            let found = office.tickets.iter().enumerate();
            let found = found.filter(|(_, ticket)| ticket.facts["correlation_id"] == wanted);
            let rows = found.map(|(at, ticket)| {
                json!({ "sys_id": (at + 1).to_string(), "number": "INC1",
                        "correlation_display": ticket.facts["correlation_display"] })
            });
            (200, json!({ "result": rows.take(1).collect::<Vec<_>>() }))
        }
        ("POST", parts) if parts == ["api", "now", "table", "incident"] => {
            let body = ask.json();
            office.tickets.push(Ticket {
                text: text(&body["description"]),
                facts: body,
                ..Ticket::default()
            });
            (
                201,
                json!({ "result": { "sys_id": office.tickets.len().to_string() } }),
            )
        }
        ("GET", parts) if parts == ["api", "now", "table", "sys_journal_field"] => {
            let (id, words) = (is("element_id").to_owned(), is("value").to_owned());
            let notes = &ticket(office, &id).notes;
            let found = notes.iter().filter(|note| note.contains(&words));
            let rows: Vec<_> = found.map(|_| json!({ "sys_id": "j" })).collect();
            (200, json!({ "result": rows }))
        }
        ("PATCH", parts) if parts.starts_with(&["api", "now", "table", "incident"]) => {
            let body = ask.json();
            if body.get("comments").is_some() {
                office.mailed.push(text(&body["comments"]));
            }
            ticket(office, parts[4])
                .notes
                .push(text(&body["work_notes"]));
            (200, json!({ "result": {} }))
        }
        ("GET", parts) if parts == ["api", "now", "attachment"] => {
            servicenow_file(office, ask, is("table_sys_id"), is("file_name"))
        }
        ("POST", parts) if parts == ["api", "now", "attachment", "file"] => {
            assert_eq!(ask.header("content-type"), "application/octet-stream");
            let file = (ask.of("file_name").to_owned(), ask.body.to_vec());
            ticket(office, ask.of("table_sys_id")).files.push(file);
            (201, json!({ "result": {} }))
        }
        _ => gone(ask),
    }
}
