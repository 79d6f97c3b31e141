//! What programs lean on: `docs/schemas/` is what the types say, and a difference that would break
//! somebody is never written by the way.

use std::{env, fs};

use postrider::admin::openapi;
use postrider_webhook::payload::{sample, schema};
use serde_json::Value;

#[path = "../support/schema.rs"]
mod check;

/// What somebody who relies on `old` cannot live with.
fn breaking(old: &Value, new: &Value, at: &str, found: &mut Vec<String>) {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return;
    };
    for (key, was) in old {
        let is = new.get(key);
        match key.as_str() {
            "type" | "const" | "$ref" if is != Some(was) => {
                let is = is.cloned().unwrap_or_default();
                found.push(format!("{at}: {key} was {was}, is {is}"));
            }
            "properties" | "paths" | "webhooks" | "schemas" | "$defs" => {
                for (name, was) in was.as_object().into_iter().flatten() {
                    match is.and_then(|is| is.get(name)) {
                        Some(is) => breaking(was, is, &format!("{at}/{name}"), found),
                        None => found.push(format!("{at}/{name}: is gone")),
                    }
                }
            }
            "required" => {
                let is = is.and_then(Value::as_array).cloned().unwrap_or_default();
                for name in was.as_array().into_iter().flatten() {
                    if !is.contains(name) {
                        found.push(format!("{at}/{name}: was always there"));
                    }
                }
            }
            "oneOf" | "anyOf" | "allOf" | "enum" => alternatives(key, was, is, at, found),
            _ => {
                if let Some(is) = is {
                    breaking(was, is, &format!("{at}/{key}"), found);
                }
            }
        }
    }
}

/// Each has to be there still. A value may be of a new kind only where somebody asks for it: a type of event.
fn alternatives(key: &str, was: &Value, is: Option<&Value>, at: &str, found: &mut Vec<String>) {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (was, is) = (list(Some(was)), list(is));
    for one in &was {
        let at = format!("{at}/{key}/{}", name(one));
        match is.iter().find(|other| name(other) == name(one)) {
            Some(other) => breaking(one, other, &at, found),
            None => found.push(format!("{at}: is gone")),
        }
    }
    let known: Vec<_> = was.iter().map(name).collect();
    let new = is.iter().map(name).filter(|name| !known.contains(name));
    if key == "anyOf" {
        found.extend(new.map(|name| format!("{at}/{key}/{name}: nobody knows it")));
    }
}

/// By what an alternative is told from the others.
fn name(one: &Value) -> String {
    let properties = one["properties"].as_object().into_iter().flatten();
    let consts = properties.filter_map(|(_, property)| property.get("const"));
    let own = ["const", "$ref", "type"].map(|key| one.get(key));
    let parts: Vec<_> = consts.chain(own.into_iter().flatten()).collect();
    match parts.is_empty() {
        true => one.to_string(),
        false => parts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn is_current(name: &str, document: &Value) {
    let path = super::root().join("docs/schemas").join(name);
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let text = format!("{document:#}\n");
    if stored == text {
        return;
    }
    let mut found = Vec::new();
    let old = serde_json::from_str(&stored).unwrap_or_default();
    breaking(&old, document, "", &mut found);
    let update = env::var("UPDATE").unwrap_or_default();
    assert!(
        found.is_empty() || update == "breaking",
        "{name} breaks those who rely on it: {found:#?}\nkeep the key, or give the thing a new version (UPDATE=breaking writes it)"
    );
    assert!(
        !update.is_empty(),
        "docs/schemas/{name} differs; run again with UPDATE=1 and commit it"
    );
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn the_schema_of_events_is_current_and_breaks_nobody() {
    is_current("event.json", &schema::document());
}

#[test]
fn the_document_of_the_admin_api_is_current_and_breaks_nobody() {
    is_current("admin.json", &openapi::document());
}

#[test]
fn the_sample_is_as_the_schema_says_and_the_schema_knows_each_of_its_keys() {
    let (schema, sample) = (schema::document(), serde_json::from_str(&sample()).unwrap());
    let message = &schema["oneOf"][0];
    assert_eq!(
        check::problems(&schema, message, &sample),
        Vec::<String>::new()
    );
    assert_eq!(
        check::unnamed(&schema, message, &sample),
        Vec::<String>::new()
    );
    let mut full: Value = sample;
    full["data"]["raw"] = serde_json::json!({
        "included": true, "omitted_reason": null, "size": 3, "content": "eHl6", "href": null,
    });
    assert_eq!(
        check::problems(&schema, message, &full),
        Vec::<String>::new()
    );
    let mut wrong = full;
    wrong["data"]["imap"]["uid"] = "7".into();
    wrong["data"].as_object_mut().unwrap().remove("text");
    wrong["data"]["folder_name"] = "INBOX".into();
    assert_eq!(check::problems(&schema, message, &wrong).len(), 2);
    assert_eq!(
        check::unnamed(&schema, message, &wrong),
        ["$.data.folder_name"]
    );
}

#[test]
fn a_difference_that_breaks_somebody_is_told() {
    let schema = schema::document();
    let changed = |change: fn(&mut Value)| {
        let mut new = schema.clone();
        change(&mut new["$defs"]["MessageEventData"]);
        let mut found = Vec::new();
        breaking(&schema, &new, "", &mut found);
        found
    };
    assert!(changed(|_| ()).is_empty());
    assert!(
        changed(|data| data["properties"]["more"] = serde_json::json!({"type": "string"}))
            .is_empty()
    );
    let gone = changed(|data| {
        data["properties"].as_object_mut().unwrap().remove("folder");
    });
    assert_eq!(gone, ["/MessageEventData/folder: is gone"]);
    let other = changed(|data| data["properties"]["folder"]["type"] = "integer".into());
    assert_eq!(other.len(), 1, "{other:?}");
    let refers = changed(|data| data["properties"]["text"]["$ref"] = "#/$defs/Raw".into());
    assert_eq!(refers.len(), 1, "{refers:?}");
    let inline = changed(|data| data["properties"]["text"] = serde_json::json!({}));
    assert_eq!(inline.len(), 1, "{inline:?}");
    let more = changed(|data| {
        let sender = data["properties"]["sender"]["anyOf"].as_array_mut();
        sender.unwrap().push(serde_json::json!({"type": "string"}));
    });
    assert_eq!(more.len(), 1, "{more:?}");
    let mut fewer = schema.clone();
    let dropped = fewer["oneOf"].as_array_mut().unwrap().remove(3);
    let mut found = Vec::new();
    breaking(&schema, &fewer, "", &mut found);
    assert_eq!(found.len(), 1, "{found:?}");
    found.clear();
    breaking(&fewer, &schema, "", &mut found);
    assert!(found.is_empty(), "{dropped} may come: {found:?}");
}
