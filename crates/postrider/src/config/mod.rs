//! The configuration: read whole, checked whole, then handed out as shared, comparable pieces.

mod diff;
mod effective;
mod environment;
mod load;
pub mod model;
mod problem;
mod raw;
mod reference;
mod resolve;
mod secret;
mod shape;
mod units;
mod walk;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use diff::{Aspect, Changes, Delta, diff};
pub use effective::{Effective, Setting};
pub use environment::Environment;
pub use model::*;
pub(crate) use problem::nearest;
pub use problem::{Place, Places, Problem};
pub use reference::{json_schema, page as reference_page};
pub use secret::SecretError;
pub use units::parse_date;

/// A good configuration.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// What can hardly be meant.
    pub warnings: Vec<Problem>,
    /// The main file first, then what it includes.
    pub files: Vec<PathBuf>,
    pub places: Places,
}

/// Reads and checks the configuration in the environment of this process.
pub fn load(main: &Path) -> Result<Loaded, Vec<Problem>> {
    Config::load(main, &Environment::of_process())
}

/// Where the daemon of this configuration listens for commands, whatever else is wrong with it.
pub fn admin_socket(main: &Path) -> Result<PathBuf, Problem> {
    let merged = load::merge(main, &Environment::of_process());
    let raw = merged.raw.as_ref().filter(|_| main.is_file());
    let socket = raw.and_then(|raw| raw.admin.listen.strip_prefix("unix:"));
    match (socket, merged.gathered.problems.into_iter().next()) {
        (Some(socket), _) => Ok(load::base_of(main).join(socket)),
        (None, Some(problem)) => Err(problem),
        (None, None) => {
            let place = merged.gathered.places.at("admin.listen");
            Err(Problem::new(place, "`admin.listen` is no unix socket"))
        }
    }
}

impl Config {
    /// Reads and checks everything. The errors are all that were found, in the order of files
    /// and lines; secrets are looked at, but not kept.
    pub fn load(main: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
        let merged = load::merge(main, environment);
        let base = load::base_of(main);
        let mut findings = resolve::Findings::new(&merged, environment, &base);
        let config = merged
            .raw
            .as_ref()
            .map(|raw| resolve::resolve(raw, &mut findings));
        let (mut problems, mut warnings) = (findings.problems, findings.warnings);
        let gathered = merged.gathered;
        problems.extend(gathered.problems);
        in_order(&mut problems, &merged.files);
        in_order(&mut warnings, &merged.files);
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded {
                config,
                warnings,
                files: merged.files,
                places: gathered.places,
            }),
            Some(_) | None => Err(problems),
        }
    }
}

fn in_order(problems: &mut Vec<Problem>, files: &[PathBuf]) {
    problems.sort_by_cached_key(|problem| {
        let rank = match &problem.place {
            Place::File { file, line } => (
                files.iter().position(|known| known.as_path() == &**file),
                *line,
            ),
            Place::Variable(_) => (Some(usize::MAX), 0),
        };
        (rank, problem.what.clone())
    });
    problems.dedup();
}
