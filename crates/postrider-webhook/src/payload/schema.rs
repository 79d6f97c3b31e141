//! The JSON Schema (2020-12) of events, from the types that write them. What it requires is always
//! there; what it does not name may come: a receiver has to leave alone what it does not know.

use postrider_core::event::EventType;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    SystemFacts,
    data::{Data, Delivery, Envelope},
};

/// RFC 3339 in UTC, with milliseconds.
pub(super) struct Time;

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

/// How an event that is sent again is marked.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReplayMark {
    /// When an operator ordered it.
    #[schemars(with = "Time")]
    at: String,
    /// Who ordered it: a user's name, or that of a token for the admin API.
    by: String,
    /// Which replay of this delivery it is, from 1.
    number: u32,
    /// It goes out under another id than the event's own.
    as_new: bool,
    /// The event's own id, where it does.
    of: Option<String>,
}

/// The message itself, as an endpoint gets it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Whole {
    /// Whether it is in `content`.
    included: bool,
    omitted_reason: Option<String>,
    size: Option<u64>,
    /// Base64.
    content: Option<String>,
    href: Option<String>,
}

/// A message that was found, and what is known of it.
#[derive(Serialize, JsonSchema)]
struct MessageEvent<'a> {
    #[serde(flatten)]
    envelope: Envelope<'a>,
    data: MessageEventData<'a>,
}

#[derive(Serialize, JsonSchema)]
struct MessageEventData<'a> {
    #[serde(flatten)]
    data: Data<'a>,
    /// Made by an operator to try a receiver; it speaks of no mail of anybody's.
    test: bool,
    delivery: Delivery<'a>,
}

/// A change of state that somebody should hear of.
#[derive(Serialize, JsonSchema)]
struct SystemEvent<'a> {
    #[serde(flatten)]
    envelope: Envelope<'a>,
    data: SystemEventData<'a>,
}

#[derive(Serialize, JsonSchema)]
struct SystemEventData<'a> {
    #[serde(flatten)]
    data: SystemFacts<'a>,
    /// Made by an operator to try a receiver.
    test: bool,
    delivery: Delivery<'a>,
}

/// The schema of one type of events, with what it refers to added to the generator, which has to be
/// one for serialising.
pub fn of(event_type: EventType, generator: &mut SchemaGenerator) -> Value {
    let schema = if event_type == EventType::MessageReceived {
        generator.subschema_for::<MessageEvent<'static>>()
    } else {
        generator.subschema_for::<SystemEvent<'static>>()
    };
    json!({
        "allOf": [schema],
        "properties": {"type": {"const": event_type.as_str()}},
    })
}

/// The schema of all events.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings.into_generator();
    let each: Vec<Value> = EventType::ALL
        .iter()
        .map(|kind| of(*kind, &mut generator))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:postrider:schema/event.v1.json",
        "title": "An event of postrider",
        "description": "A CloudEvents 1.0 event in structured mode that is a Standard Webhooks payload as well.",
        "oneOf": each,
        "$defs": generator.take_definitions(true),
    })
}
