//! One file, walked key by key against the table of known keys. Every mismatch is told with its
//! line; what is wrong is left out, so that the rest can still be checked.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use figment::value::{Dict, Value};
use toml_edit::{ImDocument, Item, TableLike, Value as Toml};

use super::{
    problem::{Place, Places, Problem, nearest},
    shape::Shape,
    units::{Size, Span},
};

/// What all files and the environment gave so far.
pub(crate) struct Gathered {
    pub(crate) places: Places,
    pub(crate) problems: Vec<Problem>,
    /// Paths that were set, but wrongly: nobody needs to hear that they are missing.
    pub(crate) spoiled: Vec<String>,
}

/// A file's lines, to tell a key's line from its offset.
struct Lines {
    file: Arc<Path>,
    starts: Vec<usize>,
}

impl Lines {
    fn of(file: Arc<Path>, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            starts: std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    fn place(&self, offset: usize) -> Place {
        Place::File {
            file: self.file.clone(),
            line: self.starts.partition_point(|start| *start <= offset),
        }
    }
}

/// Walks one file. `taken` holds the places of files before it: the same key twice is an error.
pub(crate) fn file(file: &Path, text: &str, shape: &Shape, gathered: &mut Gathered) -> Dict {
    let lines = Lines::of(file.into(), text);
    let document = match ImDocument::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let what = format!("not TOML: {}", error.message().trim().replace('\n', ", "));
            gathered.problems.push(Problem::new(lines.place(at), what));
            return Dict::new();
        }
    };
    let mut walk = Walk {
        lines: &lines,
        gathered,
        here: lines.place(0),
    };
    match walk.item("", &Wrapped(document.as_table()), shape) {
        Some(Value::Dict(_, dict)) => dict,
        _ => Dict::new(),
    }
}

/// A value from the environment, written as TOML (a list or a table), checked like a file's.
pub(crate) fn variable(
    name: &str,
    path: &str,
    value: &Toml,
    shape: &Shape,
    gathered: &mut Gathered,
) -> Option<Value> {
    let lines = Lines::of(Path::new("").into(), "");
    let mut walk = Walk {
        lines: &lines,
        gathered,
        here: Place::Variable(name.to_owned()),
    };
    walk.value(path, value, shape)
}

struct Walk<'a> {
    lines: &'a Lines,
    gathered: &'a mut Gathered,
    /// Where the value at hand stands, for values that carry no position of their own.
    here: Place,
}

/// A table in any of its spellings.
struct Wrapped<'a>(&'a dyn TableLike);

impl Walk<'_> {
    fn item(&mut self, path: &str, table: &Wrapped<'_>, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::Table(keys) => Some(self.table(path, table.0, keys)),
            Shape::Map(inner) => Some(self.map(path, table.0, inner)),
            Shape::Secret(inner) => self.item(path, table, inner),
            Shape::OneOf(options) => {
                let option = options.iter().find(|option| {
                    matches!(option, Shape::Table(_) | Shape::Map(_) | Shape::Secret(_))
                });
                match option {
                    Some(option) => self.item(path, table, option),
                    None => self.mismatch(path, shape, "a table"),
                }
            }
            Shape::List(_)
            | Shape::Text
            | Shape::Start
            | Shape::Date
            | Shape::Choice(_)
            | Shape::Integer { .. }
            | Shape::Bool
            | Shape::Duration { .. }
            | Shape::Size { .. } => self.mismatch(path, shape, "a table"),
        }
    }

    fn table(
        &mut self,
        path: &str,
        table: &dyn TableLike,
        keys: &BTreeMap<String, Shape>,
    ) -> Value {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            let path = join(path, name);
            let place = self.place_of(table, name, item);
            match keys.get(name) {
                Some(shape) => {
                    if let Some(value) = self.entry(&path, place, item, shape) {
                        dict.insert(name.to_owned(), value);
                    }
                }
                None => self.unknown(&path, name, place, keys),
            }
        }
        Value::from(dict)
    }

    fn map(&mut self, path: &str, table: &dyn TableLike, inner: &Shape) -> Value {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            let path = join(path, name);
            let place = self.place_of(table, name, item);
            if let Some(value) = self.entry(&path, place, item, inner) {
                dict.insert(name.to_owned(), value);
            }
        }
        Value::from(dict)
    }

    /// One key of a table: told where it stands, refused where another file has it already.
    fn entry(&mut self, path: &str, place: Place, item: &Item, shape: &Shape) -> Option<Value> {
        if let Some(other) = self.gathered.places.get(path).cloned()
            && is_elsewhere(&other, &self.lines.file)
            && (!item.is_table_like() || is_whole(path))
        {
            let what = format!("`{path}` is set in two files: here and at {other}");
            self.gathered
                .problems
                .push(Problem::new(place, what).hint("keep one of them"));
            return None;
        }
        let before = std::mem::replace(&mut self.here, place.clone());
        if self.gathered.places.get(path).is_none() {
            self.gathered.places.insert(path.to_owned(), place);
        }
        let value = match item {
            Item::None => None,
            Item::Table(table) => self.item(path, &Wrapped(table), shape),
            Item::Value(value) => self.value(path, value, shape),
            Item::ArrayOfTables(tables) => self.tables(path, tables, shape),
        };
        self.here = before;
        value
    }

    fn tables(
        &mut self,
        path: &str,
        tables: &toml_edit::ArrayOfTables,
        shape: &Shape,
    ) -> Option<Value> {
        let Some(inner) = list_of(shape) else {
            return self.mismatch(path, shape, "a list of tables");
        };
        // Each has a place of its own: what is wrong with the third is not told with the first's line.
        let before = self.here.clone();
        let values: Vec<_> = tables
            .iter()
            .enumerate()
            .filter_map(|(index, table)| {
                let path = format!("{path}[{index}]");
                if let (Some(span), Place::File { .. }) = (table.span(), &before) {
                    self.here = self.lines.place(span.start);
                }
                self.gathered.places.insert(path.clone(), self.here.clone());
                self.item(&path, &Wrapped(table), inner)
            })
            .collect();
        self.here = before;
        Some(Value::from(values))
    }

    fn value(&mut self, path: &str, value: &Toml, shape: &Shape) -> Option<Value> {
        match value {
            Toml::InlineTable(table) => self.item(path, &Wrapped(table), shape),
            Toml::Array(array) => {
                let Some(inner) = list_of(shape) else {
                    return self.mismatch(path, shape, "a list");
                };
                let values: Vec<_> = array
                    .iter()
                    .filter_map(|value| {
                        if let (Some(span), Place::File { .. }) = (value.span(), &self.here) {
                            self.here = self.lines.place(span.start);
                        }
                        self.value(path, value, inner)
                    })
                    .collect();
                (values.len() == array.len()).then(|| Value::from(values))
            }
            Toml::String(text) => self.text(path, text.value(), shape),
            Toml::Integer(number) => self.integer(path, *number.value(), shape),
            Toml::Boolean(truth) if matches!(shape, Shape::Bool) => {
                Some(Value::from(*truth.value()))
            }
            Toml::Boolean(_) => self.mismatch(path, shape, "true or false"),
            Toml::Datetime(at) if matches!(shape, Shape::Start | Shape::Date) => {
                Some(Value::from(at.value().to_string()))
            }
            Toml::Datetime(_) => self.mismatch(path, shape, "a date"),
            Toml::Float(_) => self.mismatch(path, shape, "a number with a fraction"),
        }
    }

    fn integer(&mut self, path: &str, number: i64, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::Integer { min, max } if (*min..=*max).contains(&number) => {
                Some(Value::from(number))
            }
            Shape::Integer { min, max } => self.out_of_range(path, &number, min, max),
            Shape::Size { min, max } => match u64::try_from(number) {
                Ok(bytes) => self.size(path, Size(bytes), (*min, *max)),
                Err(_) => self.mismatch(path, shape, "a negative number"),
            },
            Shape::Duration { .. } => {
                self.spoil(path);
                let what = format!("`{path}` is a number without a unit");
                let hint = format!("write \"{number}s\" or \"{number}m\"");
                self.tell(Problem::new(self.here.clone(), what).hint(hint))
            }
            Shape::Table(_)
            | Shape::Map(_)
            | Shape::List(_)
            | Shape::Text
            | Shape::Start
            | Shape::Date
            | Shape::Choice(_)
            | Shape::Bool
            | Shape::Secret(_)
            | Shape::OneOf(_) => self.mismatch(path, shape, "a number"),
        }
    }

    /// Text from a file, or any plain value from the environment where text is wanted.
    pub(crate) fn text(&mut self, path: &str, text: &str, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::Text | Shape::Start | Shape::Date => Some(Value::from(text)),
            Shape::Choice(choices) => match choices.iter().any(|choice| choice == text) {
                true => Some(Value::from(text)),
                false => {
                    self.spoil(path);
                    let what = format!("`{path}` is `{text}`, it has to be {}", shape.wanted());
                    let near = nearest(text, choices.iter().map(String::as_str));
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    self.tell(Problem::new(self.here.clone(), what).maybe_hint(hint))
                }
            },
            Shape::Duration { min, max } => match Span::parse(text) {
                Some(span) if span >= *min && span <= *max => Some(Value::from(span.to_string())),
                Some(span) => self.out_of_range(path, &span, min, max),
                None => {
                    self.spoil(path);
                    let what = format!("`{path}` is `{text}`, which is no duration");
                    let hint =
                        "write a number and a unit: \"250ms\", \"30s\", \"5m\", \"12h\", \"5d\"";
                    self.tell(Problem::new(self.here.clone(), what).hint(hint))
                }
            },
            Shape::Size { min, max } => match Size::parse(text) {
                Some(size) => self.size(path, size, (*min, *max)),
                None => {
                    self.spoil(path);
                    let what = format!("`{path}` is `{text}`, which is no size");
                    let hint =
                        "write a number and a unit: \"512B\", \"64KiB\", \"50MiB\", \"2GiB\"";
                    self.tell(Problem::new(self.here.clone(), what).hint(hint))
                }
            },
            Shape::OneOf(options) => {
                let scalar = options
                    .iter()
                    .find(|option| matches!(option, Shape::Text | Shape::Choice(_)));
                match scalar {
                    Some(scalar) => self.text(path, text, scalar),
                    None => self.mismatch(path, shape, "text"),
                }
            }
            Shape::Secret(_) => {
                self.spoil(path);
                let what = format!("`{path}` holds a secret itself, it has to be a reference");
                let hint = "write { file = \"/run/secrets/NAME\" }, { env = \"NAME\" } or { credential = \"NAME\" }";
                self.tell(Problem::new(self.here.clone(), what).hint(hint))
            }
            Shape::List(_) => {
                self.spoil(path);
                let what = format!("`{path}` is text, it has to be a list");
                let hint = format!("write [\"{text}\"]");
                self.tell(Problem::new(self.here.clone(), what).hint(hint))
            }
            Shape::Table(_) | Shape::Map(_) | Shape::Integer { .. } | Shape::Bool => {
                self.mismatch(path, shape, "text")
            }
        }
    }

    fn size(&mut self, path: &str, size: Size, (min, max): (Size, Size)) -> Option<Value> {
        if size >= min && size <= max {
            return Some(Value::from(size.0));
        }
        self.out_of_range(path, &size, &min, &max)
    }

    fn out_of_range<T>(&mut self, path: &str, got: &T, min: &T, max: &T) -> Option<Value>
    where
        T: PartialOrd + std::fmt::Display,
    {
        self.spoil(path);
        let bound = match got < min {
            true => format!("at least {min}"),
            false => format!("at most {max}"),
        };
        let what = format!("`{path}` is {got}, it has to be {bound}");
        self.tell(Problem::new(self.here.clone(), what))
    }

    fn mismatch(&mut self, path: &str, shape: &Shape, found: &str) -> Option<Value> {
        self.spoil(path);
        let what = format!("`{path}` is {found}, it has to be {}", shape.wanted());
        self.tell(Problem::new(self.here.clone(), what))
    }

    fn unknown(&mut self, path: &str, name: &str, place: Place, keys: &BTreeMap<String, Shape>) {
        let near = nearest(name, keys.keys().map(String::as_str));
        let hint = unknown_hint(name, near, keys);
        let table = path[..path.len() - name.len()].trim_end_matches('.');
        self.spoil(table);
        if let Some(near) = near {
            self.spoil(&join(table, near));
        }
        self.gathered
            .problems
            .push(Problem::new(place, format!("unknown key `{path}`")).hint(hint));
    }

    fn spoil(&mut self, path: &str) {
        self.gathered.spoiled.push(path.to_owned());
    }

    fn tell(&mut self, problem: Problem) -> Option<Value> {
        self.gathered.problems.push(problem);
        None
    }

    fn place_of(&self, table: &dyn TableLike, name: &str, item: &Item) -> Place {
        let key = table.get_key_value(name).and_then(|(key, _)| key.span());
        match key.or_else(|| item.span()) {
            Some(span) if matches!(self.here, Place::File { .. }) => self.lines.place(span.start),
            Some(_) | None => self.here.clone(),
        }
    }
}

/// What to say of a key that nobody knows.
pub(crate) fn unknown_hint(
    name: &str,
    near: Option<&str>,
    keys: &BTreeMap<String, Shape>,
) -> String {
    if let Some(near) = near {
        return format!("did you mean `{near}`?");
    }
    if name == "include" {
        return "files are included by the main file only".to_owned();
    }
    let homes = super::shape::root().homes(name);
    if let Some(home) = homes.first() {
        return format!("`{name}` is a key of {home}");
    }
    let known: Vec<_> = keys.keys().map(String::as_str).collect();
    format!("known here: {}", known.join(", "))
}

pub(crate) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn list_of(shape: &Shape) -> Option<&Shape> {
    match shape {
        Shape::List(inner) => Some(inner),
        Shape::Secret(inner) => list_of(inner),
        Shape::OneOf(options) => options.iter().find_map(list_of),
        Shape::Table(_)
        | Shape::Map(_)
        | Shape::Text
        | Shape::Start
        | Shape::Date
        | Shape::Choice(_)
        | Shape::Integer { .. }
        | Shape::Bool
        | Shape::Duration { .. }
        | Shape::Size { .. } => None,
    }
}

fn is_elsewhere(place: &Place, file: &Arc<Path>) -> bool {
    match place {
        Place::File { file: other, .. } => other != file,
        Place::Variable(_) => false,
    }
}

/// Things with a name of their own come from one file as a whole: a mailbox that is put together
/// from two files is a copy that somebody forgot to rename.
fn is_whole(path: &str) -> bool {
    let parts: Vec<_> = path.split('.').collect();
    matches!(
        parts.as_slice(),
        ["mailboxes" | "endpoints" | "credentials" | "servers", _] | ["groups", _, "mailboxes", _]
    )
}
