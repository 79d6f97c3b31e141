//! The keys that events have, to find slips in what operators write about them: taken from samples
//! that the code makes which makes the real ones.

use std::sync::LazyLock;

use postrider_core::{event::EventType, time::Wall};
use postrider_webhook::payload;
use serde_json::{Value, json};

use crate::config::nearest;

/// Every key that an event may have, as it is sent.
static SENT: LazyLock<Value> = LazyLock::new(|| {
    let mut event: Value = serde_json::from_str(&payload::sample()).unwrap_or_default();
    let facts = payload::SystemFacts {
        mailbox: None,
        scope: "",
        reason: "",
        detail: "",
        hint: None,
        since: Wall(0),
        diagnosis: Some(payload::DiagnosisFacts {
            cause: "",
            what: "",
            fix: "",
        }),
    };
    let system: Value = serde_json::from_slice(&payload::system_data(&facts)).unwrap_or_default();
    if let (Some(data), Value::Object(system)) = (event["data"].as_object_mut(), system) {
        for (key, value) in system {
            data.entry(key).or_insert(value);
        }
    }
    event
});

/// What is known of an event before it is stored.
pub(super) static EVENT: LazyLock<Value> = LazyLock::new(|| {
    let mut data = SENT["data"].clone();
    if let Some(data) = data.as_object_mut() {
        // What belongs to an attempt is not known before.
        data.remove("delivery");
        data.remove("test");
    }
    json!({
        "type": EventType::MessageReceived.as_str(),
        "subject": "",
        "time": "",
        "data": data,
    })
});

/// Like [`unknown`], for what is looked up when an event is sent.
pub(crate) fn unknown_in_template(path: &str) -> Option<Option<String>> {
    unknown_in(&SENT, path)
}

/// `Some`: no event has this, with the nearest path that there is. Below lists and what may be null
/// nothing is said, and labels and headers have the names that people give them.
pub(super) fn unknown(path: &str) -> Option<Option<String>> {
    unknown_in(&EVENT, path)
}

fn unknown_in(event: &Value, path: &str) -> Option<Option<String>> {
    let mut at = event;
    let mut walked = String::new();
    for (index, part) in path.split('.').enumerate() {
        let Value::Object(keys) = at else {
            return None;
        };
        if matches!(walked.as_str(), "data.mailbox.labels") {
            return None;
        }
        let Some(next) = keys.get(part) else {
            // Functions of the language are variables to it.
            if index == 0 && matches!(part, "range" | "dict" | "namespace" | "debug") {
                return None;
            }
            let Some(near) = nearest(part, keys.keys().map(String::as_str)) else {
                return Some(None);
            };
            let rest = path.split('.').skip(index + 1);
            let fixed = walked.split('.').filter(|part| !part.is_empty());
            let all: Vec<&str> = fixed.chain([near]).chain(rest).collect();
            return Some(Some(all.join(".")));
        };
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(part);
        at = next;
    }
    None
}
