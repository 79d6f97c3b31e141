//! What holds for one mailbox after inheritance and defaults, and where each setting comes from.

use std::fmt;

use postrider_core::{
    ids::MailboxKey,
    watch::{Policy, Start},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Loaded,
    model::{IdleMode, Mailbox, OAuthMechanism, Proxy, Server, StableBytes, TlsMode},
    units::Span,
};

/// A mailbox's settings, printed as TOML that could stand in the file, each with its origin.
#[derive(Clone, Debug, Serialize)]
pub struct Effective {
    pub mailbox: String,
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    pub key: &'static str,
    pub value: Value,
    /// `FILE:LINE`, a variable, or `default`.
    pub from: String,
}

impl Loaded {
    /// `None`: there is no such mailbox.
    pub fn effective(&self, key: &str) -> Option<Effective> {
        let mailbox = self.config.mailboxes.get(&MailboxKey::new(key))?;
        let homes = self.homes(key);
        let settings = values(mailbox)
            .into_iter()
            .map(|(name, value)| Setting {
                key: name,
                value,
                from: self.origin(&homes, name),
            })
            .collect();
        Some(Effective {
            mailbox: key.to_owned(),
            settings,
        })
    }

    /// Where a mailbox's keys may have been set, the strongest first.
    fn homes(&self, key: &str) -> Vec<String> {
        let own = format!("mailboxes.{key}");
        if self.places.get(&own).is_some() {
            return vec![own];
        }
        let end = format!(".mailboxes.{key}");
        match self
            .places
            .find(|path| path.starts_with("groups.") && path.ends_with(&end))
        {
            Some(member) => {
                let group = member.trim_end_matches(&end).to_owned();
                vec![member.to_owned(), group]
            }
            None => Vec::new(),
        }
    }

    fn origin(&self, homes: &[String], name: &str) -> String {
        let set = homes.iter().find_map(|home| {
            let place = self.places.get(&format!("{home}.{name}"));
            // `support = "ADDRESS"`: the mailbox itself is its address.
            place.or_else(|| self.places.get(home).filter(|_| name == "address"))
        });
        match set {
            Some(place) => place.to_string(),
            None => "default".to_owned(),
        }
    }
}

fn values(mailbox: &Mailbox) -> Vec<(&'static str, Value)> {
    let Policy {
        start,
        cycle,
        examine_every,
        batch_max,
        gaps_max,
        flood_limit,
        flood_age,
        suspect_tries_max,
        backoff,
        standby_lead_max,
    } = &*mailbox.policy;
    let span = |duration| Span(duration).to_string();
    let names = |keys: &mut dyn Iterator<Item = String>| keys.collect::<Vec<_>>();
    let mut values = vec![
        ("address", json!(&*mailbox.address)),
        ("username", json!(&*mailbox.username)),
        ("server", server(&mailbox.server)),
        ("credential", json!(mailbox.credential.as_str())),
        (
            "folders",
            json!(names(&mut mailbox.folders.iter().map(ToString::to_string))),
        ),
        (
            "endpoints",
            json!(names(
                &mut mailbox.endpoints.iter().map(ToString::to_string)
            )),
        ),
        ("labels", json!(&*mailbox.labels)),
        ("start", json!(start_text(*start))),
        ("idle_cycle", json!(span(*cycle))),
        ("examine_every", json!(span(*examine_every))),
        ("batch_max", json!(batch_max)),
        ("gaps_max", json!(gaps_max)),
        ("flood_limit", json!(flood_limit)),
        ("flood_age", json!(span(*flood_age))),
        ("suspect_tries_max", json!(suspect_tries_max)),
        (
            "backoff",
            json!({"first": span(backoff.first), "max": span(backoff.max), "stable": span(backoff.stable)}),
        ),
        ("standby_lead_max", json!(span(*standby_lead_max))),
    ];
    if let Some(after) = &mailbox.after {
        values.push((
            "after",
            json!(format!("{}: {}", after.endpoint, after.action)),
        ));
    }
    if let Some(id) = &mailbox.trusted_authserv_id {
        values.push(("trusted_authserv_id", json!(&**id)));
    }
    values
}

fn start_text(start: Start) -> String {
    match start {
        Start::New => "new".to_owned(),
        Start::All => "all".to_owned(),
        Start::Since(at) => at.rfc3339(),
    }
}

fn server(server: &Server) -> Value {
    let mut value = json!({
        "host": server.host,
        "port": server.port,
        "tls": match server.tls {
            TlsMode::Implicit => "implicit",
            TlsMode::StartTls => "starttls",
            TlsMode::None => "none",
        },
        "idle": match server.idle {
            IdleMode::Auto => "auto",
            IdleMode::Poll => "poll",
        },
        "oauth": match server.oauth {
            OAuthMechanism::Auto => "auto",
            OAuthMechanism::XOAuth2 => "xoauth2",
            OAuthMechanism::OAuthBearer => "oauthbearer",
        },
        "stable_bytes": server.stable_bytes == StableBytes::Yes,
        "connections_per_mailbox": server.connections_per_mailbox,
        "proxy": match &server.proxy {
            Proxy::None => "none",
            Proxy::Env => "env",
            Proxy::Url(url) => url.as_str(),
        },
    });
    if let Value::Object(keys) = &mut value {
        if let Some(max) = server.connections_max {
            keys.insert("connections_max".to_owned(), json!(max));
        }
        if let Some(file) = &server.ca_file {
            keys.insert("ca_file".to_owned(), json!(file.display().to_string()));
        }
    }
    value
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[mailboxes.{}]", self.mailbox)?;
        for setting in &self.settings {
            let line = format!("{} = {}", setting.key, toml(&setting.value));
            writeln!(f, "{line:<48} # {}", setting.from)?;
        }
        Ok(())
    }
}

/// JSON's strings are TOML's basic strings.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(keys) if keys.is_empty() => "{}".to_owned(),
        Value::Object(keys) => {
            let pairs: Vec<_> = keys
                .iter()
                .map(|(key, value)| format!("{} = {}", toml_key(key), toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => Value::from(key).to_string(),
    }
}
