//! Mailboxes: inheritance from groups, references, and what one mailbox means for another.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use postrider_core::{
    backoff::Backoff,
    ids::{CredentialKey, EndpointKey, FolderName, MailboxKey},
    watch::{Policy, Start},
};
use postrider_imap::role::Role;

use super::{Findings, Shared, credential::misplaced, lead, server::Servers};
use crate::config::{
    model::{Limits, Mailbox, Proxy, Server},
    raw::{self, Member, Settings},
    units::{Span, parse_date},
};

/// A mailbox as it was written, with the group that it inherits from.
struct Source<'a> {
    key: &'a str,
    path: String,
    address: Option<&'a String>,
    own: &'a Settings,
    group: Option<(String, &'a Settings)>,
}

impl<'a> Source<'a> {
    /// A setting and the path at which it was set: the mailbox's own wins.
    fn pick<T>(&self, key: &str, of: impl Fn(&'a Settings) -> Option<T>) -> (Option<T>, String) {
        let own = format!("{}.{key}", self.path);
        match (of(self.own), &self.group) {
            (None, Some((path, group))) => match of(group) {
                Some(value) => (Some(value), format!("{path}.{key}")),
                None => (None, own),
            },
            (value, _) => (value, own),
        }
    }
}

pub(super) fn mailboxes<'a>(
    raw: &'a raw::Root,
    proxy: &'a Proxy,
    limits: &Limits,
    findings: &mut Findings<'_>,
) -> BTreeMap<MailboxKey, Arc<Mailbox>> {
    let mut resolver = Resolver {
        raw,
        servers: Servers::new(raw, proxy, limits.connections_per_mailbox, findings),
        folders: Shared::new(),
        endpoints: Shared::new(),
        labels: Shared::new(),
        policies: Shared::new(),
    };
    let no_settings = Settings::default();
    let mut mailboxes = BTreeMap::new();
    let mut homes: BTreeMap<&str, String> = BTreeMap::new();
    for source in sources(raw, &no_settings) {
        findings.check_key(&source.path, source.key);
        if let Some(other) = homes.insert(source.key, source.path.clone()) {
            let at = findings.places.at(&other);
            let what = format!("the mailbox `{}` is there twice: also at {at}", source.key);
            findings.error(&source.path, what, "keep one of them");
            continue;
        }
        if let Some(mailbox) = resolver.mailbox(&source, limits, findings) {
            mailboxes.insert(mailbox.key.clone(), Arc::new(mailbox));
        }
    }
    for (name, group) in &raw.groups {
        let path = format!("groups.{name}");
        findings.check_key(&path, name);
        if group.mailboxes.is_empty() {
            let hint = format!("add [{path}.mailboxes]");
            findings.warn(&path, format!("`{path}` has no mailbox"), &hint);
        }
    }
    twins(&mailboxes, &homes, findings);
    crowds(&mailboxes, &homes, findings);
    lead::widen(&mut mailboxes, limits);
    mailboxes
}

fn sources<'a>(raw: &'a raw::Root, no_settings: &'a Settings) -> Vec<Source<'a>> {
    let mut sources = Vec::new();
    for (name, group) in &raw.groups {
        for (key, member) in &group.mailboxes {
            let (address, own) = match member {
                Member::Address(address) => (Some(address), no_settings),
                Member::Table(mailbox) => (mailbox.address.as_ref(), &mailbox.settings),
            };
            sources.push(Source {
                key,
                path: format!("groups.{name}.mailboxes.{key}"),
                address,
                own,
                group: Some((format!("groups.{name}"), &group.settings)),
            });
        }
    }
    for (key, mailbox) in &raw.mailboxes {
        sources.push(Source {
            key,
            path: format!("mailboxes.{key}"),
            address: mailbox.address.as_ref(),
            own: &mailbox.settings,
            group: None,
        });
    }
    sources
}

struct Resolver<'a> {
    raw: &'a raw::Root,
    servers: Servers<'a>,
    folders: Shared<[FolderName]>,
    endpoints: Shared<[EndpointKey]>,
    labels: Shared<BTreeMap<String, String>>,
    policies: Shared<Policy>,
}

impl<'a> Resolver<'a> {
    fn mailbox(
        &mut self,
        source: &Source<'a>,
        limits: &Limits,
        findings: &mut Findings<'_>,
    ) -> Option<Mailbox> {
        let address = address(source, findings);
        let server = match source.pick("server", |settings| settings.server.as_ref()) {
            (Some(server), path) => self.servers.find(&path, server, findings),
            (None, path) => {
                let hint = "write \"exchange-online\", or { host = \"imap.example.org\" }";
                findings.missing(&path, hint);
                None
            }
        };
        let credential = self.credential(source, findings);
        let folders = folders(source, server.as_deref(), findings);
        let endpoints = self.endpoints(source, findings);
        let cycle = server.as_deref().and_then(|server| server.cycle);
        let policy = policy(source, cycle, limits, findings);
        let (username, path) = source.pick("username", |settings| settings.username.as_ref());
        if username.is_some_and(|name| name.is_empty() || name.contains(|c: char| c.is_control())) {
            findings.error(&path, format!("`{path}` is no user name"), "");
        }
        let address: Arc<str> = address?.into();
        let server = server?;
        let (authserv, _) = source.pick("trusted_authserv_id", |settings| {
            settings.trusted_authserv_id.as_deref().map(Arc::from)
        });
        let (written, path) = source.pick("after", |settings| settings.after.as_ref());
        let after =
            written.and_then(|written| super::after::after(&path, written, &endpoints, findings));
        if let (Some(after), Some(folders)) = (&after, &folders) {
            super::after::target_is_not_watched(&path, after, folders, findings);
        }
        let places = server.connections_per_mailbox as usize;
        if after.is_some() && folders.as_ref().is_some_and(|all| all.len() >= places) {
            let what = format!(
                "`{path}` needs a connection beside those of the folders, and there is none"
            );
            findings.warn(
                &path,
                what,
                "raise `connections_per_mailbox` if the server allows it",
            );
        }
        let mailbox = Mailbox {
            after: after.map(Arc::new),
            key: MailboxKey::new(source.key),
            username: username.map_or_else(|| address.clone(), |name| name.as_str().into()),
            address,
            trusted_authserv_id: authserv.or_else(|| server.trusted_authserv_id.clone()),
            server,
            credential: credential?,
            folders: self.folders.share(folders?),
            endpoints: self.endpoints.share(endpoints),
            labels: self.labels.share(labels(source)),
            policy: self.policies.share(policy?),
        };
        self.doubt(source, &mailbox, findings);
        Some(mailbox)
    }

    fn credential(
        &self,
        source: &Source<'a>,
        findings: &mut Findings<'_>,
    ) -> Option<CredentialKey> {
        let (name, path) = source.pick("credential", |settings| settings.credential.as_ref());
        let Some(name) = name else {
            findings.missing(&path, "write a name from [credentials]");
            return None;
        };
        if !self.raw.credentials.contains_key(name) {
            let known = self.raw.credentials.keys().map(String::as_str);
            findings.unknown_name(&path, "the credential", name, known, "credentials");
            return None;
        }
        Some(CredentialKey::new(name.as_str()))
    }

    fn endpoints(&self, source: &Source<'a>, findings: &mut Findings<'_>) -> Vec<EndpointKey> {
        let (names, path) = source.pick("endpoints", |settings| settings.endpoints.as_ref());
        let names = names.map_or(&[][..], Vec::as_slice);
        if names.is_empty() {
            let what = format!(
                "the mailbox `{}` has no endpoint: its events go nowhere",
                source.key
            );
            findings.warn(&path, what, "write endpoints = [\"NAME\"]");
        }
        let mut keys = Vec::new();
        for name in names {
            let key = EndpointKey::new(name.as_str());
            if !self.raw.endpoints.contains_key(name) {
                let known = self.raw.endpoints.keys().map(String::as_str);
                findings.unknown_name(&path, "the endpoint", name, known, "endpoints");
            } else if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn doubt(&self, source: &Source<'a>, mailbox: &Mailbox, findings: &mut Findings<'_>) {
        let kind = self
            .raw
            .credentials
            .get(mailbox.credential.as_str())
            .and_then(|written| written.kind);
        if let Some((why, hint)) = misplaced(kind, &mailbox.server) {
            let (_, path) = source.pick("credential", |settings| settings.credential.as_ref());
            let why = why.replace("{}", mailbox.credential.as_str());
            findings.warn(&path, format!("`{path}`: {why}"), hint);
        }
        if !mailbox.address.contains('@') {
            let path = format!("{}.address", source.path);
            let what = format!(
                "`{path}` is `{}`, which is no mail address",
                mailbox.address
            );
            findings.warn(&path, what, "a user name that differs goes into `username`");
        }
    }
}

fn address(source: &Source<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let path = format!("{}.address", source.path);
    let Some(address) = source.address else {
        findings.missing(&path, "write the mailbox's address");
        return None;
    };
    if address.is_empty() || address.contains(|c: char| c.is_control() || c.is_whitespace()) {
        findings.error(&path, format!("`{path}` is no address"), "");
        return None;
    }
    Some(address.clone())
}

fn folders(
    source: &Source<'_>,
    server: Option<&Server>,
    findings: &mut Findings<'_>,
) -> Option<Vec<FolderName>> {
    let (names, path) = source.pick("folders", |settings| settings.folders.as_ref());
    let Some(names) = names else {
        findings.missing(&path, "write folders = [\"INBOX\"]");
        return None;
    };
    let mut folders: Vec<FolderName> = Vec::new();
    for name in names {
        // RFC 3501 section 5.1: INBOX is the same in any case, other names are not.
        let name = match (name.strip_prefix('\\'), Role::parse(name)) {
            (_, Some(role)) => role.as_str(),
            (Some(_), None) => {
                let known = Role::ALL.iter().map(|role| role.as_str());
                let hint = format!("roles are {}", known.collect::<Vec<_>>().join(", "));
                let what = format!("`{path}` has `{name}`, which is no role of a folder");
                findings.error(&path, what, &hint);
                continue;
            }
            (None, None) if name.eq_ignore_ascii_case("inbox") => "INBOX",
            (None, None) => name,
        };
        let folder = FolderName::new(name);
        if name.is_empty() || name.contains(|c: char| c.is_control()) {
            findings.error(&path, format!("`{path}` has an impossible folder name"), "");
        } else if folders.contains(&folder) {
            findings.warn(&path, format!("`{path}` names `{name}` twice"), "");
        } else {
            folders.push(folder);
        }
    }
    if names.is_empty() {
        findings.error(
            &path,
            format!("`{path}` is empty"),
            "write folders = [\"INBOX\"]",
        );
    }
    if let Some(server) = server
        && folders.len() > server.connections_per_mailbox as usize
    {
        let what = format!(
            "`{path}` names {} folders, which need a connection each; a mailbox may hold {}",
            folders.len(),
            server.connections_per_mailbox
        );
        findings.error(
            &path,
            what,
            "raise `limits.connections_per_mailbox` if the server allows it",
        );
    }
    (!folders.is_empty()).then_some(folders)
}

fn labels(source: &Source<'_>) -> BTreeMap<String, String> {
    let group = source
        .group
        .as_ref()
        .and_then(|(_, group)| group.labels.as_ref());
    let own = source.own.labels.as_ref();
    group
        .into_iter()
        .chain(own)
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn policy(
    source: &Source<'_>,
    cycle: Option<Duration>,
    limits: &Limits,
    findings: &mut Findings<'_>,
) -> Option<Policy> {
    let (start, path) = source.pick("start", |settings| settings.start.as_ref());
    let start = match start.map_or("new", String::as_str) {
        "new" => Start::New,
        "all" => Start::All,
        text => match parse_date(text) {
            Some(at) => {
                if at > findings.environment.now {
                    let what = format!("`{path}` is {text}, which is in the future");
                    findings.warn(&path, what, "mail that comes until then is never sent");
                }
                Start::Since(at)
            }
            None => {
                let what = format!("`{path}` is `{text}`, it has to be \"new\", \"all\" or a date");
                findings.error(
                    &path,
                    what,
                    "write a date as \"2026-05-01\" or \"2026-05-01T08:00:00Z\"",
                );
                return None;
            }
        },
    };
    let policy = policy_of(source, cycle, start)?;
    let (_, path) = source.pick("idle_cycle", |settings| settings.idle_cycle);
    if policy.cycle >= limits.stalled_after {
        let what = format!(
            "`{path}` is not below `limits.stalled_after`: the mailbox would count as stalled"
        );
        findings.error(
            &path,
            what,
            "life is proven once per cycle; lower it, or raise `limits.stalled_after`",
        );
    }
    if policy.backoff.first > policy.backoff.max {
        let (_, path) = source.pick("backoff", |settings| settings.backoff.as_ref());
        findings.error(&path, format!("`{path}`: `first` is above `max`"), "");
    }
    Some(policy)
}

/// Mailbox, group, the server's preset, default: the first that says something. `None` cannot be:
/// defaults say all.
fn policy_of(source: &Source<'_>, cycle: Option<Duration>, start: Start) -> Option<Policy> {
    let mut defaults = Settings::defaults();
    defaults.idle_cycle = cycle.map(Span).or(defaults.idle_cycle);
    let layers = [
        Some(source.own),
        source.group.as_ref().map(|(_, group)| *group),
        Some(&defaults),
    ];
    macro_rules! first {
        ($key:ident) => {
            layers.iter().flatten().find_map(|settings| settings.$key)?
        };
        (backoff.$key:ident) => {
            layers
                .iter()
                .flatten()
                .find_map(|settings| settings.backoff.as_ref()?.$key)?
        };
    }
    Some(Policy {
        start,
        cycle: first!(idle_cycle).0,
        examine_every: first!(examine_every).0,
        batch_max: first!(batch_max) as usize,
        gaps_max: first!(gaps_max) as usize,
        flood_limit: first!(flood_limit),
        flood_age: first!(flood_age).0,
        suspect_tries_max: first!(suspect_tries_max),
        backoff: Backoff {
            first: first!(backoff.first).0,
            max: first!(backoff.max).0,
            stable: first!(backoff.stable).0,
        },
        standby_lead_max: first!(standby_lead_max).0,
    })
}

/// A server with fewer connections than folders: those that come last are never watched.
fn crowds(
    mailboxes: &BTreeMap<MailboxKey, Arc<Mailbox>>,
    homes: &BTreeMap<&str, String>,
    findings: &mut Findings<'_>,
) {
    let mut wanted: BTreeMap<(&str, u16), (usize, u32, &MailboxKey)> = BTreeMap::new();
    for mailbox in mailboxes.values() {
        if let Some(max) = mailbox.server.connections_max {
            let key = (mailbox.server.host.as_str(), mailbox.server.port);
            let (folders, ..) = wanted.entry(key).or_insert((0, max, &mailbox.key));
            *folders += mailbox.folders.len();
        }
    }
    for ((host, _), (folders, max, first)) in wanted {
        if folders > max as usize {
            let home = homes
                .get(first.as_str())
                .map_or("mailboxes", String::as_str);
            let what = format!(
                "{folders} folders at {host} need a connection each, and `connections_max` is {max}: the rest waits and is not watched"
            );
            findings.warn(home, what, "raise `connections_max` of the server");
        }
    }
}

/// Two mailboxes that watch the same folder of the same account send everything twice.
fn twins(
    mailboxes: &BTreeMap<MailboxKey, Arc<Mailbox>>,
    homes: &BTreeMap<&str, String>,
    findings: &mut Findings<'_>,
) {
    let mut seen: BTreeMap<(String, u16, String, FolderName), MailboxKey> = BTreeMap::new();
    for mailbox in mailboxes.values() {
        for folder in mailbox.folders.iter() {
            let account = (
                mailbox.server.host.to_lowercase(),
                mailbox.server.port,
                mailbox.username.to_lowercase(),
                folder.clone(),
            );
            let Some(other) = seen.insert(account, mailbox.key.clone()) else {
                continue;
            };
            let home = homes
                .get(mailbox.key.as_str())
                .map_or("mailboxes", String::as_str);
            let what = format!(
                "the mailboxes `{other}` and `{}` watch the same folder {folder}: its mail is sent twice",
                mailbox.key
            );
            findings.warn(home, what, "keep one of them");
        }
    }
}
