//! Keys from the environment: `POSTRIDER__SECTION__KEY`. A value is read as its key wants it,
//! never guessed: `007` stays text where text is wanted. Secrets do not come this way.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};
use postrider_core::time::Wall;

use super::{
    problem::{Place, Problem, nearest},
    shape::Shape,
    walk::{self, Gathered},
};

const PREFIX: &str = "POSTRIDER__";

/// What a configuration is judged against besides its files.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub variables: BTreeMap<String, String>,
    /// The host's name, which must not be the instance's.
    pub host: Option<String>,
    pub now: Wall,
}

impl Environment {
    /// That of this process. Variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            host: host.map(|name| name.trim().to_owned()),
            now: crate::clock::wall(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// The keys that the environment sets, merged into one dictionary.
pub(crate) fn read(environment: &Environment, shape: &Shape, gathered: &mut Gathered) -> Dict {
    let mut dict = Dict::new();
    for (name, text) in &environment.variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        match locate(rest, shape) {
            Ok((path, _)) if path == ["include"] => {
                let place = Place::Variable(name.clone());
                let what = "files are included by the main file only";
                gathered.problems.push(Problem::new(place, what));
            }
            Ok((path, shape)) => {
                if let Some(value) = coerce(name, &path.join("."), text, shape, gathered) {
                    let place = Place::Variable(name.clone());
                    gathered.places.insert(path.join("."), place);
                    insert(&mut dict, &path, value);
                }
            }
            Err(Lost { hint }) => {
                let place = Place::Variable(name.clone());
                gathered
                    .problems
                    .push(Problem::new(place, "sets no known key").hint(hint));
            }
        }
    }
    dict
}

struct Lost {
    hint: String,
}

fn locate<'a>(rest: &str, root: &'a Shape) -> Result<(Vec<String>, &'a Shape), Lost> {
    let mut shape = root;
    let mut path: Vec<String> = Vec::new();
    let parts: Vec<_> = rest.split("__").collect();
    for (at, part) in parts.iter().enumerate() {
        let name = part.to_lowercase();
        if matches!(shape, Shape::Secret(_)) {
            break;
        }
        // An alternative that can be written as a table is entered by its keys.
        if let Shape::OneOf(options) = shape
            && let Some(table) = options
                .iter()
                .find(|option| matches!(option, Shape::Table(_)))
        {
            shape = table;
        }
        match shape {
            Shape::Table(keys) => {
                shape = keys.get(&name).ok_or_else(|| {
                    let near = nearest(&name, keys.keys().map(String::as_str));
                    let hint = near.map(|near| {
                        let mut meant = parts.clone();
                        meant[at] = near;
                        format!("did you mean {PREFIX}{}?", meant.join("__").to_uppercase())
                    });
                    let known = || walk::unknown_hint(&name, None, keys);
                    Lost {
                        hint: hint.unwrap_or_else(known),
                    }
                })?;
                path.push(name);
            }
            // Names have no underscore, variables no hyphen.
            Shape::Map(inner) => {
                shape = inner;
                path.push(name.replace('_', "-"));
            }
            Shape::List(_)
            | Shape::Text
            | Shape::Start
            | Shape::Date
            | Shape::Choice(_)
            | Shape::Integer { .. }
            | Shape::Bool
            | Shape::Duration { .. }
            | Shape::Size { .. }
            | Shape::Secret(_)
            | Shape::OneOf(_) => {
                return Err(Lost {
                    hint: format!("`{}` has no keys below it", path.join(".")),
                });
            }
        }
    }
    Ok((path, shape))
}

fn coerce(
    name: &str,
    path: &str,
    text: &str,
    shape: &Shape,
    gathered: &mut Gathered,
) -> Option<Value> {
    let place = Place::Variable(name.to_owned());
    let written = match shape {
        Shape::Secret(_) => {
            let what = format!("`{path}` is a secret, which cannot be set by this variable");
            let hint = "write { env = \"NAME\" } in the file and put the secret into NAME";
            gathered.spoiled.push(path.to_owned());
            gathered.problems.push(Problem::new(place, what).hint(hint));
            return None;
        }
        Shape::Integer { .. } => text.trim().parse::<i64>().ok().map(toml_edit::Value::from),
        Shape::Bool => text.trim().parse::<bool>().ok().map(toml_edit::Value::from),
        Shape::Size { .. } => Some(match text.trim().parse::<i64>() {
            Ok(bytes) => toml_edit::Value::from(bytes),
            Err(_) => toml_edit::Value::from(text),
        }),
        Shape::List(_) if text.trim_start().starts_with('[') => text.trim().parse().ok(),
        Shape::List(_) => Some(toml_edit::Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect(),
        )),
        Shape::OneOf(_) | Shape::Table(_) | Shape::Map(_) if text.trim_start().starts_with('{') => {
            text.trim().parse().ok()
        }
        Shape::Table(_) | Shape::Map(_) => None,
        Shape::OneOf(_)
        | Shape::Text
        | Shape::Start
        | Shape::Date
        | Shape::Choice(_)
        | Shape::Duration { .. } => Some(toml_edit::Value::from(text)),
    };
    match written {
        Some(value) => walk::variable(name, path, &value, shape, gathered),
        None => {
            gathered.spoiled.push(path.to_owned());
            let what = format!("`{path}` has to be {}", shape.wanted());
            gathered.problems.push(Problem::new(place, what));
            None
        }
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = dict
                .entry(first.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
