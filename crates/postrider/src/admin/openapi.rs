//! The OpenAPI 3.1 document of the admin API, made from the table of routes and the types that
//! travel. Nothing is written by hand but the words around them.

use axum::Json;
use postrider_core::event::EventType;
use postrider_webhook::payload::schema;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api,
    routes::{self, Route},
};

/// Where OpenAPI keeps what is referred to.
const COMPONENTS: &str = "/components/schemas";

/// What is asked is read, what is answered is written: a key that may be left out of a request is
/// always there in an answer.
struct Generators {
    asked: SchemaGenerator,
    answered: SchemaGenerator,
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = COMPONENTS.into();
        settings.meta_schema = None;
    })
}

/// The whole document.
pub fn document() -> Value {
    let mut generators = Generators {
        asked: settings().into_generator(),
        answered: settings().for_serialize().into_generator(),
    };
    let failure = generators.answered.subschema_for::<api::Failure>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::all() {
        let operation = operation(&route, &failure, &mut generators);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation;
    }
    let webhooks = webhooks(&mut generators.answered);
    let mut schemas = generators.asked.take_definitions(true);
    schemas.append(&mut generators.answered.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "postrider",
            "version": "1",
            "description": "The admin API: what may be asked of a running daemon, over its unix socket, or over TCP with a bearer token. And the webhooks: what it sends. Times are RFC 3339 in UTC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9421", "description": "[admin.tcp] listen"}],
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "As `postrider admin token create` told it. Not needed on the unix socket.",
            }},
        },
    })
}

/// What an endpoint with `format = "event"` gets.
fn webhooks(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let header = |name: &str, what: &str| json!({"name": name, "in": "header", "required": true, "description": what, "schema": {"type": "string"}});
    let headers = [
        header("webhook-id", "The event's id; a repeat has the same."),
        header(
            "webhook-timestamp",
            "When this attempt was signed, in seconds since 1970.",
        ),
        header(
            "webhook-signature",
            "Standard Webhooks signatures, separated by spaces.",
        ),
    ];
    let webhook = |kind: &EventType| {
        let schema = schema::of(*kind, generator);
        let operation = json!({"post": {
            "operationId": format!("webhook_{}", kind.as_str().replace('.', "_")),
            "summary": kind.as_str(),
            "security": [],
            "parameters": headers,
            "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
            "responses": {
                "2XX": {"description": "Accepted: it is not sent again."},
                "default": {"description": "It is sent again later; see docs/WEBHOOKS.md."},
            },
        }});
        (kind.as_str().to_owned(), operation)
    };
    EventType::ALL.iter().map(webhook).collect()
}

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The document as it is printed and kept among the documents.
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn operation(route: &Route, failure: &Schema, generators: &mut Generators) -> Value {
    let answer = match route.answer {
        Some(answer) => answer(&mut generators.answered).to_value(),
        None => json!({"type": "object"}),
    };
    let refused = json!({
        "description": "It was not done; the answer says why.",
        "content": {"application/json": {"schema": failure}},
    });
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.what,
        "description": format!("Needs a token of scope `{}` or wider.", route.scope.as_str()),
        "x-scope": route.scope.as_str(),
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": answer}}},
            "default": refused,
        },
    });
    let mut parameters = path_parameters(route.path);
    parameters.extend(route.query.into_iter().flat_map(|query| {
        let schema = query(&mut generators.asked).to_value();
        query_parameters(&schema)
    }));
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({
            "required": route.body_required,
            "content": {"application/json": {"schema": body(&mut generators.asked)}},
        });
    }
    operation
}

/// `post_mailboxes_id_pause`
fn id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1/");
    let word = |part: &str| part.trim_matches(['{', '}']).replace('.', "_");
    let words: Vec<String> = path.split('/').map(word).collect();
    format!(
        "{}_{}",
        route.method.as_str().to_lowercase(),
        words.join("_")
    )
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect()
}

/// Each property of a query's type is a parameter that may be left out.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let properties = schema["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, schema)| json!({"name": name, "in": "query", "required": false, "schema": schema}))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` of a value.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let (true, Some(to)) = (key == "$ref", value.as_str()) {
                        found.insert(to.to_owned());
                    }
                    references(value, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let mut names = BTreeSet::new();
        let mut operations = 0;
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values() {
                operations += 1;
                names.insert(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(names.len(), operations);
        assert_eq!(operations, routes::all().len());
    }

    #[test]
    fn a_look_needs_no_more_than_the_right_to_look_and_an_order_more() {
        for route in routes::all() {
            let is_look = route.method == axum::http::Method::GET && route.path != "/v1/tokens";
            assert_eq!(is_look, route.scope == api::Scope::Read, "{}", route.path);
        }
    }
}
