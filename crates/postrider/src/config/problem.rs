//! What is wrong with a configuration, and where. A problem never carries the value of a secret.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a key was set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a file, counted from 1; 0 for the file as a whole.
    File { file: Arc<Path>, line: usize },
    /// A variable of the environment.
    Variable(String),
}

impl Place {
    pub fn whole(file: &Path) -> Self {
        Self::File {
            file: file.into(),
            line: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0 } => write!(f, "{}", file.display()),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "{name}"),
        }
    }
}

/// One error or warning, told as `FILE:LINE: what` and, on a line of its own, a hint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    pub what: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(place: Place, what: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a hint only where there is something to say.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Where each key of the merged configuration was set, by its dotted path.
#[derive(Clone, Debug)]
pub struct Places {
    main: PathBuf,
    set: BTreeMap<String, Place>,
}

impl Places {
    pub fn new(main: &Path) -> Self {
        Self {
            main: main.to_owned(),
            set: BTreeMap::new(),
        }
    }

    pub fn get(&self, path: &str) -> Option<&Place> {
        self.set.get(path)
    }

    /// The first path, in their order, that fits.
    pub fn find(&self, fits: impl Fn(&str) -> bool) -> Option<&str> {
        self.set.keys().map(String::as_str).find(|path| fits(path))
    }

    pub fn insert(&mut self, path: String, place: Place) {
        self.set.insert(path, place);
    }

    /// The place of a key, or of the nearest table around it.
    pub fn at(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.set.get(path) {
                return place.clone();
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return Place::whole(&self.main),
            }
        }
    }
}

/// The candidate that was probably meant: near enough that a slip of the fingers explains it.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len().max(written.len()) / 3).clamp(1, 3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A key that names something: opaque, stable, fit for a path, a label and a URN.
pub(crate) fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.len() <= 63
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
