//! The configuration as an operator meets it: files in, a configuration or messages out.

mod catalogue;
mod credentials;
mod doubts;
mod files;
mod formats;
mod loading;
mod reload;
mod routing;
mod servers;
mod shipped;
mod transport;

use std::{collections::BTreeMap, fs, path::PathBuf};

use postrider_core::time::Wall;

use super::{Config, Environment, Loaded, Problem};

/// A folder with configuration files that goes away with the value.
struct World {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl World {
    fn new(main: &str) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Environment {
                variables: BTreeMap::new(),
                host: Some("mail1".to_owned()),
                // 2026-11-23
                now: Wall::from_seconds(1_795_392_000),
            },
        };
        world.file("c.toml", main)
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.environment
            .variables
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn main(&self) -> PathBuf {
        self.folder.path().join("c.toml")
    }

    fn try_load(&self) -> Result<Loaded, Vec<Problem>> {
        Config::load(&self.main(), &self.environment)
    }

    fn load(&self) -> Loaded {
        match self.try_load() {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{}", self.print(&problems)),
        }
    }

    fn print(&self, problems: &[Problem]) -> String {
        let folder = format!("{}/", self.folder.path().display());
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&folder, "")
    }

    fn errors(&self) -> String {
        self.print(&self.try_load().map(|_| "it loads").unwrap_err())
    }

    fn warnings(&self) -> String {
        let loaded = self.load();
        self.print(&loaded.warnings)
    }
}

/// A good configuration, to be spoiled: 16 lines.
const GOOD: &str = r#"[credentials.lab]
type = "password"
password = { env = "LAB_PASSWORD" }

[endpoints.tickets]
url = "https://tickets.example.org/hooks/mail"
secret = { env = "TICKETS_SECRET" }

[mailboxes.lab]
address = "lab@example.org"
server = { host = "imap.example.org" }
credential = "lab"
folders = ["INBOX"]
endpoints = ["tickets"]
"#;

fn good() -> World {
    spoiled("", "")
}

/// The good configuration with one text in place of another.
fn spoiled(good: &str, bad: &str) -> World {
    assert!(GOOD.contains(good), "{good}");
    World::new(&GOOD.replacen(good, bad, 1))
        .set("LAB_PASSWORD", "hunter2")
        .set("TICKETS_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
}
