//! The table of known keys, derived from the schema of the raw configuration: what may stand
//! where. It knows no values and no files.

use std::{collections::BTreeMap, sync::OnceLock};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{
    raw,
    units::{Size, Span},
};

/// What may stand at a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Exactly these keys.
    Table(BTreeMap<String, Shape>),
    /// Names that the operator chooses.
    Map(Box<Shape>),
    List(Box<Shape>),
    Text,
    /// `new`, `all` or a date, which TOML may also write without quotes.
    Start,
    /// A date, which TOML may also write without quotes.
    Date,
    Choice(Vec<String>),
    Integer {
        min: i64,
        max: i64,
    },
    Bool,
    Duration {
        min: Span,
        max: Span,
    },
    Size {
        min: Size,
        max: Size,
    },
    /// References to a secret; a plain string here would be the secret itself.
    Secret(Box<Shape>),
    /// Alternatives that TOML itself tells apart: a string, a list, a table.
    OneOf(Vec<Shape>),
}

/// The schema as it is published: no `null`, which TOML does not have, no unknown keys, and the
/// defaults of inherited settings filled in.
pub(crate) fn schema() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<raw::Root>()
        .to_value();
    tidy(&mut schema);
    let defaults = serde_json::to_value(raw::Settings::defaults()).unwrap_or_default();
    for path in [
        "/properties/groups/additionalProperties/properties",
        "/properties/mailboxes/additionalProperties/properties",
    ] {
        if let Some(Value::Object(properties)) = schema.pointer_mut(path) {
            fill_defaults(properties, &defaults);
        }
    }
    schema
}

/// The shape of the whole file; built once.
pub(crate) fn root() -> &'static Shape {
    static ROOT: OnceLock<Shape> = OnceLock::new();
    ROOT.get_or_init(|| Shape::of(&schema()))
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            if object.get("default").is_some_and(is_nothing) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            if let Some(Value::Array(options)) = object.get_mut("anyOf") {
                options.retain(|option| option.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = options.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            if object.get("properties").is_some_and(Value::is_object)
                && object.get("type").is_some_and(|name| name == "object")
            {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Absent, or a container of defaults whose keys tell theirs themselves.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(_) => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn fill_defaults(properties: &mut Map<String, Value>, defaults: &Value) {
    for (key, property) in properties {
        let (Some(default), Value::Object(property)) = (defaults.get(key), property) else {
            continue;
        };
        match (default, property.get_mut("properties")) {
            (Value::Object(_), Some(Value::Object(inner))) => fill_defaults(inner, default),
            (Value::Null, _) => {}
            (default, _) => {
                property.insert("default".to_owned(), default.clone());
            }
        }
    }
}

impl Shape {
    fn of(schema: &Value) -> Self {
        if schema.get("x-secret").is_some() {
            let inner = match schema.get("anyOf") {
                Some(_) => Self::alternatives(schema),
                None => Self::object(schema),
            };
            return Self::Secret(Box::new(inner));
        }
        if schema.get("anyOf").is_some() {
            return Self::alternatives(schema);
        }
        if let Some(Value::Array(choices)) = schema.get("enum") {
            let texts = choices.iter().filter_map(Value::as_str).map(str::to_owned);
            return Self::Choice(texts.collect());
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("duration") => return Self::duration(schema),
            Some("size") => return Self::size(schema),
            Some("start") => return Self::Start,
            Some("date") => return Self::Date,
            Some(_) | None => {}
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => Self::object(schema),
            Some("array") => Self::List(Box::new(schema.get("items").map_or(Self::Text, Self::of))),
            Some("integer") => Self::integer(schema),
            Some("boolean") => Self::Bool,
            Some(_) | None => Self::Text,
        }
    }

    fn alternatives(schema: &Value) -> Self {
        let options = schema.get("anyOf").and_then(Value::as_array);
        Self::OneOf(options.into_iter().flatten().map(Self::of).collect())
    }

    fn object(schema: &Value) -> Self {
        match (schema.get("properties"), schema.get("additionalProperties")) {
            (Some(Value::Object(properties)), _) => Self::Table(
                properties
                    .iter()
                    .map(|(key, schema)| (key.clone(), Self::of(schema)))
                    .collect(),
            ),
            (_, Some(inner @ Value::Object(_))) => Self::Map(Box::new(Self::of(inner))),
            _ => Self::Map(Box::new(Self::Text)),
        }
    }

    fn integer(schema: &Value) -> Self {
        let width = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => i64::from(u8::MAX),
            Some("uint16") => i64::from(u16::MAX),
            Some("uint32") => i64::from(u32::MAX),
            Some(_) | None => i64::MAX,
        };
        let bound = |name| schema.get(name).and_then(Value::as_i64);
        Self::Integer {
            min: bound("minimum").unwrap_or(0),
            max: bound("maximum").unwrap_or(width).min(width),
        }
    }

    fn duration(schema: &Value) -> Self {
        let bound = |name| {
            schema
                .get(name)
                .and_then(Value::as_str)
                .and_then(Span::parse)
        };
        Self::Duration {
            min: bound("x-min").unwrap_or(Span::seconds(0)),
            max: bound("x-max").unwrap_or(Span::days(3650)),
        }
    }

    fn size(schema: &Value) -> Self {
        let bound = |name| {
            schema
                .get(name)
                .and_then(Value::as_str)
                .and_then(Size::parse)
        };
        Self::Size {
            min: bound("x-min").unwrap_or(Size(0)),
            max: bound("x-max").unwrap_or(Size(i64::MAX as u64)),
        }
    }

    /// What has to stand here, in words.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Self::Table(_) | Self::Map(_) => "a table".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Date => "a date".to_owned(),
            Self::Start => "\"new\", \"all\" or a date".to_owned(),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices
                    .iter()
                    .map(|choice| format!("\"{choice}\""))
                    .collect();
                quoted.join(" or ")
            }
            Self::Integer { .. } => "a whole number".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Duration { .. } => "a duration".to_owned(),
            Self::Size { .. } => "a size".to_owned(),
            Self::Secret(_) => "a reference to a secret".to_owned(),
            Self::OneOf(options) => {
                let words: Vec<_> = options.iter().map(Self::wanted).collect();
                words.join(" or ")
            }
        }
    }

    /// The tables in which a key of this name is known, for a key that stands in the wrong one.
    pub(crate) fn homes(&self, key: &str) -> Vec<String> {
        let mut homes = Vec::new();
        self.collect_homes(key, "", &mut homes);
        homes
    }

    fn collect_homes(&self, key: &str, path: &str, homes: &mut Vec<String>) {
        let join = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        match self {
            Self::Table(keys) => {
                if keys.contains_key(key) && !path.is_empty() {
                    homes.push(format!("[{path}]"));
                }
                for (name, shape) in keys {
                    shape.collect_homes(key, &join(name), homes);
                }
            }
            Self::Map(inner) => inner.collect_homes(key, &join("NAME"), homes),
            Self::List(_)
            | Self::Text
            | Self::Start
            | Self::Date
            | Self::Choice(_)
            | Self::Integer { .. }
            | Self::Bool
            | Self::Duration { .. }
            | Self::Size { .. }
            | Self::Secret(_)
            | Self::OneOf(_) => {}
        }
    }
}
