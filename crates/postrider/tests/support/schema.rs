//! Just enough of JSON Schema 2020-12 to hold answers and events against what is said of them.

use serde_json::Value;

/// What of a value is not as its schema says; empty where all is. `root` is what references lead into.
pub(crate) fn problems(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(root, schema, value, "$", &mut found);
    found
}

fn look(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if schema == &Value::Bool(false) {
        found.push(format!("{at}: nothing is allowed here"));
    }
    let Some(keys) = schema.as_object() else {
        return;
    };
    for (key, rule) in keys {
        match key.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap_or_default().trim_start_matches('#');
                match root.pointer(pointer) {
                    Some(schema) => look(root, schema, value, at, found),
                    None => found.push(format!("{at}: {rule} leads nowhere")),
                }
            }
            "type" if !is_of(rule, value) => found.push(format!("{at}: {value} is no {rule}")),
            "const" if rule != value => found.push(format!("{at}: {value} is not {rule}")),
            "enum" if !rule.as_array().is_some_and(|all| all.contains(value)) => {
                found.push(format!("{at}: {value} is none of {rule}"));
            }
            "required" => {
                for name in rule
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                {
                    if value.is_object() && value.get(name).is_none() {
                        found.push(format!("{at}.{name}: is missing"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(name) {
                        look(root, schema, value, &format!("{at}.{name}"), found);
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    look(root, rule, value, &format!("{at}[{index}]"), found);
                }
            }
            "allOf" => {
                for schema in rule.as_array().into_iter().flatten() {
                    look(root, schema, value, at, found);
                }
            }
            "anyOf" | "oneOf" => {
                let all = rule.as_array().into_iter().flatten();
                let tried: Vec<_> = all.map(|one| problems(root, one, value)).collect();
                if !tried.iter().any(Vec::is_empty) {
                    found.push(format!("{at}: no choice fits: {tried:?}"));
                }
            }
            _ => {}
        }
    }
}

fn is_of(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match rule {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Keys that a value has and its schema does not name, through references and choices.
pub(crate) fn unnamed(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    seek(root, &[schema], value, "$", &mut found);
    found
}

fn seek(root: &Value, schemas: &[&Value], value: &Value, at: &str, found: &mut Vec<String>) {
    let schemas: Vec<&Value> = schemas.iter().flat_map(|one| all_of(root, one)).collect();
    // What is not described may be anything.
    if schemas.is_empty() {
        return;
    }
    if let Some(list) = value.as_array() {
        let items: Vec<&Value> = schemas.iter().filter_map(|one| one.get("items")).collect();
        for value in list {
            seek(root, &items, value, at, found);
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let named: Vec<&Value> = schemas
            .iter()
            .filter_map(|one| one.get("properties")?.get(name))
            .collect();
        // Maps, and what is a value of its own, name no keys.
        let is_open = |one: &&Value| {
            one.get("additionalProperties").is_some() || one.get("properties").is_none()
        };
        if named.is_empty() && !schemas.iter().any(is_open) {
            found.push(at);
        } else {
            seek(root, &named, value, &at, found);
        }
    }
}

/// A schema with all that it refers to or may be.
fn all_of<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut all = Vec::new();
    if schema.get("properties").is_some()
        || schema.get("items").is_some()
        || schema.get("additionalProperties").is_some()
    {
        all.push(schema);
    }
    let target = schema.get("$ref").and_then(Value::as_str);
    let target = target.and_then(|to| root.pointer(to.trim_start_matches('#')));
    all.extend(target.into_iter().flat_map(|schema| all_of(root, schema)));
    for key in ["allOf", "anyOf", "oneOf"] {
        let inner = schema.get(key).and_then(Value::as_array);
        all.extend(
            inner
                .into_iter()
                .flatten()
                .flat_map(|one| all_of(root, one)),
        );
    }
    all
}
