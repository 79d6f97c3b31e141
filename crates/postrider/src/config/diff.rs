//! What differs between two configurations: what a reload has to do, and what it cannot do.

use std::{collections::BTreeMap, fmt, sync::Arc};

use postrider_core::ids::{CredentialKey, EndpointKey, MailboxKey};

use super::model::{Config, Mailbox};

/// Everything that differs. Pieces that are equal keep running untouched.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    pub credentials: Delta<CredentialKey>,
    pub endpoints: Delta<EndpointKey>,
    pub mailboxes: Delta<MailboxKey>,
    /// What differs of each changed mailbox, in the order of the configuration's keys.
    pub aspects: BTreeMap<MailboxKey, Vec<Aspect>>,
    /// Keys that only a new process takes up, by their name in the configuration.
    pub restart_needed: Vec<String>,
}

/// Keys by what became of them, each list in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta<K> {
    pub added: Vec<K>,
    pub changed: Vec<K>,
    pub removed: Vec<K>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    Address,
    Username,
    Server,
    Credential,
    Folders,
    Endpoints,
    Labels,
    /// `idle_cycle`, `flood_limit` and the like: running watches take it up in place.
    Policy,
    TrustedAuthservId,
    After,
}

impl Aspect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Username => "username",
            Self::Server => "server",
            Self::Credential => "credential",
            Self::Folders => "folders",
            Self::Endpoints => "endpoints",
            Self::Labels => "labels",
            Self::Policy => "policy",
            Self::TrustedAuthservId => "trusted_authserv_id",
            Self::After => "after",
        }
    }

    /// Whether the mailbox's sessions have to be opened anew.
    pub fn needs_new_session(self) -> bool {
        match self {
            Self::Username | Self::Server | Self::Credential => true,
            Self::Address
            | Self::Folders
            | Self::Endpoints
            | Self::Labels
            | Self::Policy
            | Self::TrustedAuthservId
            | Self::After => false,
        }
    }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.credentials.is_empty()
            && self.endpoints.is_empty()
            && self.mailboxes.is_empty()
            && self.restart_needed.is_empty()
    }
}

impl<K> Delta<K> {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

pub fn diff(old: &Config, new: &Config) -> Changes {
    let mailboxes = delta(&old.mailboxes, &new.mailboxes);
    let aspects = mailboxes.changed.iter().filter_map(|key| {
        let (was, now) = (old.mailboxes.get(key)?, new.mailboxes.get(key)?);
        Some((key.clone(), aspects(was, now)))
    });
    Changes {
        credentials: delta(&old.credentials, &new.credentials),
        endpoints: delta(&old.endpoints, &new.endpoints),
        aspects: aspects.collect(),
        mailboxes,
        restart_needed: restart_needed(old, new),
    }
}

fn delta<K: Ord + Clone, V: PartialEq>(
    old: &BTreeMap<K, Arc<V>>,
    new: &BTreeMap<K, Arc<V>>,
) -> Delta<K> {
    let differs = |(key, now): &(&K, &Arc<V>)| old.get(*key).is_some_and(|was| was != *now);
    Delta {
        added: missing_in(new, old),
        changed: new
            .iter()
            .filter(differs)
            .map(|(key, _)| key.clone())
            .collect(),
        removed: missing_in(old, new),
    }
}

fn missing_in<K: Ord + Clone, V>(these: &BTreeMap<K, V>, those: &BTreeMap<K, V>) -> Vec<K> {
    let keys = these.keys().filter(|key| !those.contains_key(*key));
    keys.cloned().collect()
}

fn aspects(old: &Mailbox, new: &Mailbox) -> Vec<Aspect> {
    [
        (Aspect::Address, old.address != new.address),
        (Aspect::Username, old.username != new.username),
        (Aspect::Server, old.server != new.server),
        (Aspect::Credential, old.credential != new.credential),
        (Aspect::Folders, old.folders != new.folders),
        (Aspect::Endpoints, old.endpoints != new.endpoints),
        (Aspect::Labels, old.labels != new.labels),
        (Aspect::Policy, old.policy != new.policy),
        (Aspect::After, old.after != new.after),
        (
            Aspect::TrustedAuthservId,
            old.trusted_authserv_id != new.trusted_authserv_id,
        ),
    ]
    .into_iter()
    .filter_map(|(aspect, differs)| differs.then_some(aspect))
    .collect()
}

/// What is fixed for the life of a process: names that ids are made of, files, listeners, and the
/// pools that are sized once.
fn restart_needed(old: &Config, new: &Config) -> Vec<String> {
    [
        ("instance", old.instance != new.instance),
        ("store", old.store != new.store),
        ("http.listen", old.http != new.http),
        ("admin.listen", old.admin.socket != new.admin.socket),
        ("admin.tcp", old.admin.tcp != new.admin.tcp),
        ("links.listen", links_at(old) != links_at(new)),
        ("log", old.log != new.log),
        ("limits", old.limits != new.limits),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(name, _)| name.to_owned())
    .collect()
}

/// The listener is bound once; the other keys of links are looked up when they are needed.
fn links_at(config: &Config) -> Option<std::net::SocketAddr> {
    config.links.as_ref().map(|links| links.listen)
}

/// One line per piece: `+` added, `~` changed, `-` removed, `!` needs a restart.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing differs");
        }
        self.credentials.lines(f, "credential")?;
        self.endpoints.lines(f, "endpoint")?;
        for key in &self.mailboxes.added {
            writeln!(f, "+ mailbox {key}")?;
        }
        for (key, aspects) in &self.aspects {
            let aspects: Vec<_> = aspects.iter().map(|aspect| aspect.as_str()).collect();
            writeln!(f, "~ mailbox {key}: {}", aspects.join(", "))?;
        }
        for key in &self.mailboxes.removed {
            writeln!(f, "- mailbox {key} (its pending deliveries stay)")?;
        }
        for key in &self.restart_needed {
            writeln!(
                f,
                "! {key} differs: needs a restart, until then the old holds"
            )?;
        }
        Ok(())
    }
}

impl<K: fmt::Display> Delta<K> {
    fn lines(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        for (sign, keys) in [
            ('+', &self.added),
            ('~', &self.changed),
            ('-', &self.removed),
        ] {
            for key in keys {
                writeln!(f, "{sign} {what} {key}")?;
            }
        }
        Ok(())
    }
}
