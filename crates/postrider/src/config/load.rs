//! Finds the files, merges them with the environment, and extracts the raw configuration. The
//! only module that knows figment. Nothing here judges what the keys mean.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{
    environment::{self, Environment},
    problem::{Place, Places, Problem},
    raw,
    shape::{self, Shape},
    walk::{self, Gathered},
};

/// A configuration file is text that people write; what is larger is something else.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The merged configuration with everything that was wrong on the way.
pub(crate) struct Merged {
    pub(crate) raw: Option<raw::Root>,
    pub(crate) gathered: Gathered,
    /// The main file first.
    pub(crate) files: Vec<PathBuf>,
}

pub(crate) fn merge(main: &Path, environment: &Environment) -> Merged {
    let root = shape::root();
    let mut gathered = Gathered {
        places: Places::new(main),
        problems: Vec::new(),
        spoiled: Vec::new(),
    };
    let mut files = vec![main.to_owned()];
    let mut figment = Figment::new();
    if let Some(dict) = read(main, root, &mut gathered) {
        for file in included(main, &dict, &mut gathered) {
            if let Some(dict) = read(&file, &without_include(root), &mut gathered) {
                figment = figment.merge(Layer::new(&file, dict));
            }
            files.push(file);
        }
        figment = figment.merge(Layer::new(main, dict));
    }
    let dict = environment::read(environment, root, &mut gathered);
    figment = figment.merge(Layer::new(Path::new("the environment"), dict));
    let raw = match figment.extract::<raw::Root>() {
        Ok(raw) => Some(raw),
        Err(errors) => {
            // What the walk let pass has to extract; should it not, it is told all the same.
            for error in errors {
                let place = gathered.places.at(&error.path.join("."));
                gathered
                    .problems
                    .push(Problem::new(place, error.kind.to_string()));
            }
            None
        }
    };
    Merged {
        raw,
        gathered,
        files,
    }
}

struct Layer {
    name: String,
    dict: Dict,
}

impl Layer {
    fn new(file: &Path, mut dict: Dict) -> Self {
        spell_members(&mut dict);
        Self {
            name: file.display().to_string(),
            dict,
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// `support = "support@…"` becomes `support = { address = "support@…" }`, so that the
/// environment can add a key to it.
fn spell_members(dict: &mut Dict) {
    let Some(Value::Dict(_, groups)) = dict.get_mut("groups") else {
        return;
    };
    for group in groups.values_mut() {
        let Value::Dict(_, group) = group else {
            continue;
        };
        let Some(Value::Dict(_, members)) = group.get_mut("mailboxes") else {
            continue;
        };
        for member in members.values_mut() {
            if let Value::String(_, address) = member {
                let address = Value::from(std::mem::take(address));
                *member = Value::from(Dict::from([("address".to_owned(), address)]));
            }
        }
    }
}

fn read(file: &Path, shape: &Shape, gathered: &mut Gathered) -> Option<Dict> {
    let whole = Place::whole(file);
    let mut refuse = |problem: Problem| {
        gathered.problems.push(problem);
        None
    };
    match fs::metadata(file) {
        Ok(facts) if facts.is_dir() => {
            return refuse(Problem::new(whole, "is a directory, not a file"));
        }
        Ok(facts) if facts.len() > FILE_BYTES_MAX => {
            return refuse(Problem::new(whole, "is larger than 64 MiB"));
        }
        Ok(_) => {}
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "write it (`postrider demo` prints one to begin with), or name another with --config or POSTRIDER_CONFIG; \
                     without them it is ./postrider.toml, else /etc/postrider/postrider.toml"
                }
                _ => "give the file with --config, or set POSTRIDER_CONFIG",
            };
            return refuse(Problem::new(whole, format!("cannot be read: {error}")).hint(hint));
        }
    }
    match fs::read_to_string(file) {
        Ok(text) => Some(walk::file(file, &text, shape, gathered)),
        Err(error) => refuse(Problem::new(whole, format!("cannot be read: {error}"))),
    }
}

fn without_include(root: &Shape) -> Shape {
    let mut root = root.clone();
    if let Shape::Table(keys) = &mut root {
        keys.remove("include");
    }
    root
}

fn included(main: &Path, dict: &Dict, gathered: &mut Gathered) -> Vec<PathBuf> {
    let Some(Value::Array(_, patterns)) = dict.get("include") else {
        return Vec::new();
    };
    let base = base_of(main);
    let mut files = Vec::new();
    for pattern in patterns.iter().filter_map(Value::as_str) {
        match matching(&base, pattern) {
            Ok(found) => files.extend(found),
            Err(why) => {
                let what = format!("`include`: {pattern} {why}");
                let place = gathered.places.at("include");
                gathered.problems.push(Problem::new(place, what));
            }
        }
    }
    files.sort();
    files.dedup();
    files.retain(|file| file != main);
    files
}

/// The folder that relative paths of a configuration start from.
pub(crate) fn base_of(main: &Path) -> PathBuf {
    match main.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The files that a pattern names. One without wildcards has to exist; one with may match nothing.
fn matching(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let whole = if base == Path::new(".") {
        PathBuf::from(pattern)
    } else {
        base.join(pattern)
    };
    let is_wild = |text: &str| text.contains(['*', '?']);
    if !is_wild(pattern) {
        return match whole.is_file() {
            true => Ok(vec![whole]),
            false => Err("is no file".to_owned()),
        };
    }
    let folder = base_of(&whole);
    let name = whole.file_name().and_then(|name| name.to_str());
    let Some(name) = name.filter(|_| !folder.to_string_lossy().contains(['*', '?'])) else {
        return Err("has a wildcard before its last part".to_owned());
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot be listed: {error}")),
    };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            !file.starts_with('.') && fits(name.as_bytes(), file.as_bytes())
        })
        .map(|entry| match whole.parent() {
            Some(parent) => parent.join(entry.file_name()),
            None => entry.path(),
        })
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

/// Whether a file name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| fits(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, name @ ..]) => fits(rest, name),
        ([byte, rest @ ..], [first, name @ ..]) => byte == first && fits(rest, name),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn wildcards_fit_within_a_file_name() {
        for (pattern, name, fit) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a?.toml", "a1.toml", true),
            ("a?.toml", "a.toml", false),
            ("*", "", true),
            ("*b*", "abc", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), fit, "{pattern}");
        }
    }
}
