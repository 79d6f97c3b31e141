//! From what is written to what the daemon works with: inheritance, defaults, references, and
//! every check that needs more than one key. It reads no secret and no network.

mod after;
mod credential;
mod endpoint;
mod format;
mod lead;
mod links;
mod mailbox;
mod routing;
mod secrets;
mod server;
mod settings;
mod template;
mod transport;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    environment::Environment,
    load::Merged,
    model::{Config, Proxy},
    problem::{Places, Problem, is_key, nearest},
    raw,
};

/// What was found on the way; `problems` empty means that the configuration is good.
pub(crate) struct Findings<'a> {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) places: &'a Places,
    pub(crate) environment: &'a Environment,
    base: &'a Path,
    spoiled: BTreeSet<&'a str>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(merged: &'a Merged, environment: &'a Environment, base: &'a Path) -> Self {
        Self {
            problems: Vec::new(),
            warnings: Vec::new(),
            places: &merged.gathered.places,
            environment,
            base,
            spoiled: merged.gathered.spoiled.iter().map(String::as_str).collect(),
        }
    }

    fn error(&mut self, path: &str, what: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let problem = Problem::new(self.places.at(path), what).maybe_hint(hint);
        self.problems.push(problem);
    }

    fn warn(&mut self, path: &str, what: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let problem = Problem::new(self.places.at(path), what).maybe_hint(hint);
        self.warnings.push(problem);
    }

    /// Whether something at this path was refused already.
    fn is_spoiled(&self, path: &str) -> bool {
        self.spoiled.contains(path)
    }

    /// A key that has to be there and is not; silent where it is there, but wrong.
    fn missing(&mut self, path: &str, hint: &str) {
        if !self.is_spoiled(path) {
            self.error(path, format!("`{path}` is missing"), hint);
        }
    }

    fn unknown_name<'n>(
        &mut self,
        path: &str,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
        section: &str,
    ) {
        if self.spoiled.contains(section) {
            return;
        }
        let hint = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match known.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => format!("add [{section}.{name}]"),
                known => format!("add [{section}.{name}], or use one of: {known}"),
            },
        };
        self.error(
            path,
            format!("`{path}` names {what} `{name}`, which is not there"),
            &hint,
        );
    }

    fn check_key(&mut self, path: &str, key: &str) {
        if !is_key(key) {
            let hint = "a name is 1 to 63 of a-z, 0-9 and -, and starts with a letter or digit";
            self.error(path, format!("`{key}` is no name"), hint);
        }
    }

    /// Relative paths start from the main file's folder.
    fn path(&self, text: &str) -> PathBuf {
        let path = Path::new(text);
        if path.is_absolute() || self.base == Path::new(".") {
            return path.to_owned();
        }
        // `./x` as well, without the dot in what is told of it.
        let plain = path.strip_prefix(".").unwrap_or(path);
        self.base.join(plain)
    }

    fn ca_file(&mut self, path: &str, text: Option<&String>) -> Option<PathBuf> {
        let file = self.path(text?);
        if let Err(error) = std::fs::File::open(&file) {
            let what = format!("`{path}`: {} cannot be read: {error}", file.display());
            self.warn(path, what, "");
        }
        Some(file)
    }

    fn proxy(&mut self, path: &str, text: Option<&String>, otherwise: &Proxy) -> Proxy {
        let Some(text) = text else {
            return otherwise.clone();
        };
        match text.as_str() {
            "none" => return Proxy::None,
            "env" => return Proxy::Env,
            _ => {}
        }
        let hint = "write \"none\", \"env\", \"http://HOST:PORT\" or \"socks5h://HOST:PORT\"";
        match url::Url::parse(text) {
            Ok(url) if url.password().is_some() || !url.username().is_empty() => {
                let what =
                    format!("`{path}` holds credentials, which do not belong into this file");
                let hint = "write \"env\" and set HTTPS_PROXY for the service";
                self.error(path, what, hint);
            }
            Ok(url) if matches!(url.scheme(), "http" | "socks5h") && url.has_host() => {
                return Proxy::Url(url);
            }
            Ok(url) if url.scheme() == "socks5" => {
                let what = format!("`{path}`: socks5 would resolve names here, not at the proxy");
                self.error(path, what, "write socks5h://");
            }
            Ok(_) | Err(_) => {
                self.error(
                    path,
                    format!("`{path}` is `{text}`, which is no proxy"),
                    hint,
                );
            }
        }
        otherwise.clone()
    }
}

/// One allocation for equal things, however many there are and however they are mixed.
struct Shared<T: ?Sized>(HashMap<String, Arc<T>>);

impl<T: ?Sized + std::fmt::Debug> Shared<T> {
    fn new() -> Self {
        Self(HashMap::new())
    }
    fn share(&mut self, made: impl Into<Arc<T>>) -> Arc<T> {
        let made = made.into();
        // What is written alike is alike: none of these types hides a part of itself in `Debug`.
        self.0.entry(format!("{made:?}")).or_insert(made).clone()
    }
}

/// The whole configuration, as far as it makes sense; `findings` has what does not.
pub(crate) fn resolve(raw: &raw::Root, findings: &mut Findings<'_>) -> Config {
    let network = settings::network(raw, findings);
    let credentials = credential::credentials(raw, &network.proxy, findings);
    let mut endpoints = endpoint::endpoints(raw, &network.proxy, findings);
    let limits = settings::limits(&raw.limits, findings);
    let mailboxes = mailbox::mailboxes(raw, &network.proxy, &limits, findings);
    after::tell(&mut endpoints, &mailboxes);
    credential::contradictions(&credentials, mailboxes.values(), findings);
    let store = settings::store(&raw.store, findings);
    let links = links::links(&raw.links, findings);
    links::tell(&mut endpoints, links.as_ref(), &store, findings);
    let config = Config {
        links,
        instance: settings::instance(raw, findings),
        vault: credential::vault(raw, &store, &credentials, findings),
        store,
        http: settings::http(raw, findings),
        admin: settings::admin(raw, findings),
        log: settings::log(raw, findings),
        limits,
        network,
        credentials,
        endpoints,
        mailboxes,
    };
    unused(&config, findings);
    config
}

/// What is configured and serves nothing is a slip more often than a plan.
fn unused(config: &Config, findings: &mut Findings<'_>) {
    if config.mailboxes.is_empty() && findings.problems.is_empty() {
        findings.warn(
            "mailboxes",
            "no mailbox is configured",
            "add [mailboxes.NAME]",
        );
    }
    let mut used: BTreeMap<String, ()> = BTreeMap::new();
    for mailbox in config.mailboxes.values() {
        used.insert(format!("credentials.{}", mailbox.credential), ());
        for endpoint in mailbox.endpoints.iter() {
            used.insert(format!("endpoints.{endpoint}"), ());
        }
    }
    let names = config
        .credentials
        .keys()
        .map(|key| format!("credentials.{key}"));
    for path in names {
        if !used.contains_key(&path) {
            findings.warn(&path, format!("`{path}` is used by no mailbox"), "");
        }
    }
    for (key, endpoint) in &config.endpoints {
        let path = format!("endpoints.{key}");
        let mail = postrider_core::event::EventType::MessageReceived;
        if !used.contains_key(&path) && endpoint.types.contains(&mail) {
            let what = format!("`{path}` is used by no mailbox and gets no mail");
            findings.warn(&path, what, "name it in a mailbox's `endpoints`");
        }
    }
}
