//! IMAP servers: presets, names from `[servers]`, inline tables.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{Findings, Shared, endpoint::is_loopback_name};
use crate::config::{
    model::{IdleMode, OAuthMechanism, Proxy, Server, StableBytes, TlsMode},
    problem::nearest,
    raw::{self, ServerRef},
};

/// What is known of a kind of server.
struct Preset {
    name: &'static str,
    /// `None`: the operator's own server, which has a host of its own.
    host: Option<&'static str>,
    oauth: OAuthMechanism,
    stable_bytes: StableBytes,
    /// How long an IDLE may last: below what the server, or a firewall on the way, puts up with.
    cycle: Option<Duration>,
    /// Connections of one account: below what the server allows, since people read their mail too.
    connections: Option<u32>,
}

const MINUTE: u64 = 60;

const ELSEWHERE: Preset = Preset {
    name: "",
    host: None,
    oauth: OAuthMechanism::Auto,
    stable_bytes: StableBytes::Yes,
    cycle: None,
    connections: None,
};

/// Offers XOAUTH2 alone, rebuilds messages at each read, and falls silent in long IDLEs. Its limit of
/// connections is not published; 8 are below every figure that is known of.
const EXCHANGE: Preset = Preset {
    oauth: OAuthMechanism::XOAuth2,
    stable_bytes: StableBytes::No,
    cycle: Some(Duration::from_secs(5 * MINUTE)),
    connections: Some(8),
    ..ELSEWHERE
};

/// Ends sessions after 300 s without a word from the client. Where it has no IDLE it is polled.
const YAHOO: Preset = Preset {
    oauth: OAuthMechanism::XOAuth2,
    cycle: Some(Duration::from_secs(4 * MINUTE)),
    connections: Some(5),
    ..ELSEWHERE
};

static PRESETS: [Preset; 10] = [
    Preset {
        name: "exchange-online",
        host: Some("outlook.office365.com"),
        ..EXCHANGE
    },
    Preset {
        name: "exchange-gcc-high",
        host: Some("outlook.office365.us"),
        ..EXCHANGE
    },
    Preset {
        name: "exchange-dod",
        host: Some("outlook-dod.office365.us"),
        ..EXCHANGE
    },
    Preset {
        name: "exchange-china",
        host: Some("partner.outlook.cn"),
        ..EXCHANGE
    },
    // 15 connections per account, and IDLEs of at most 10 min.
    Preset {
        name: "gmail",
        host: Some("imap.gmail.com"),
        oauth: OAuthMechanism::XOAuth2,
        cycle: Some(Duration::from_secs(9 * MINUTE)),
        connections: Some(10),
        ..ELSEWHERE
    },
    Preset {
        name: "yahoo",
        host: Some("imap.mail.yahoo.com"),
        ..YAHOO
    },
    Preset {
        name: "aol",
        host: Some("imap.aol.com"),
        ..YAHOO
    },
    Preset {
        name: "fastmail",
        host: Some("imap.fastmail.com"),
        connections: Some(8),
        ..ELSEWHERE
    },
    Preset {
        name: "icloud",
        host: Some("imap.mail.me.com"),
        connections: Some(5),
        ..ELSEWHERE
    },
    // 10 connections per user and address (mail_max_userip_connections).
    Preset {
        name: "dovecot",
        connections: Some(8),
        ..ELSEWHERE
    },
];

/// Servers by what was written, each resolved and judged once.
pub(super) struct Servers<'a> {
    raw: &'a raw::Root,
    proxy: &'a Proxy,
    /// `limits.connections_per_mailbox`.
    connections: u32,
    shared: Shared<Server>,
    named: std::collections::BTreeMap<String, Option<Arc<Server>>>,
}

impl<'a> Servers<'a> {
    pub(super) fn new(
        raw: &'a raw::Root,
        proxy: &'a Proxy,
        connections: u32,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut servers = Self {
            raw,
            proxy,
            connections,
            shared: Shared::new(),
            named: std::collections::BTreeMap::new(),
        };
        for (name, written) in &raw.servers {
            let path = format!("servers.{name}");
            findings.check_key(&path, name);
            if PRESETS.iter().any(|preset| preset.name == name) {
                let what = format!("`{path}` has the name of a preset");
                findings.error(
                    &path,
                    what,
                    &format!("choose another name, and preset = \"{name}\""),
                );
            }
            let server = servers.build(&path, written, findings);
            servers.named.insert(name.clone(), server);
        }
        servers
    }

    /// `path` is where `written` stands: for a group's server that of the group, so that it is
    /// judged once for all its mailboxes.
    pub(super) fn find(
        &mut self,
        path: &str,
        written: &ServerRef,
        findings: &mut Findings<'_>,
    ) -> Option<Arc<Server>> {
        let known = match written {
            ServerRef::Name(name) => self.named.get(name),
            ServerRef::Inline(_) => self.named.get(path),
        };
        if let Some(known) = known {
            return known.clone();
        }
        match written {
            ServerRef::Name(name) => {
                let written = raw::Server {
                    preset: Some(name.clone()),
                    ..raw::Server::default()
                };
                let preset = PRESETS.iter().find(|preset| preset.name == name);
                let server = match preset {
                    Some(_) => self.build(path, &written, findings),
                    None if name.contains('.') => {
                        let what = format!("`{path}` is `{name}`, which is a host, not a name");
                        let preset = PRESETS.iter().find(|preset| preset.host == Some(name));
                        let hint = match preset {
                            Some(preset) => format!("write \"{}\"", preset.name),
                            None => format!("write {{ host = \"{name}\" }}"),
                        };
                        findings.error(path, what, &hint);
                        return None;
                    }
                    None => {
                        let own = self.raw.servers.keys().map(String::as_str);
                        let known = own.chain(PRESETS.iter().map(|preset| preset.name));
                        findings.unknown_name(path, "the server", name, known, "servers");
                        return None;
                    }
                };
                self.named.insert(name.clone(), server.clone());
                server
            }
            ServerRef::Inline(written) => {
                let server = self.build(path, written, findings);
                self.named.insert(path.to_owned(), server.clone());
                server
            }
        }
    }

    fn build(
        &mut self,
        path: &str,
        written: &raw::Server,
        findings: &mut Findings<'_>,
    ) -> Option<Arc<Server>> {
        let preset = match &written.preset {
            None => None,
            Some(name) => Some(preset_named(path, name, findings)?),
        };
        let own = written
            .host
            .as_deref()
            .map(str::trim)
            .filter(|host| !host.is_empty());
        let Some(host) = own.or(preset.and_then(|preset| preset.host)) else {
            findings.missing(&format!("{path}.host"), "write the IMAP server's name");
            return None;
        };
        if host.contains([':', '/', ' ']) && host.parse::<IpAddr>().is_err() {
            let path = format!("{path}.host");
            let what = format!("`{path}` is `{host}`, which is no host");
            findings.error(&path, what, "write the name alone, and the port as `port`");
            return None;
        }
        let tls = tls_mode(written.tls);
        let server = Server {
            host: host.to_owned(),
            port: written.port.unwrap_or(match tls {
                TlsMode::Implicit => 993,
                TlsMode::StartTls | TlsMode::None => 143,
            }),
            tls,
            ca_file: findings.ca_file(&format!("{path}.ca_file"), written.ca_file.as_ref()),
            proxy: findings.proxy(&format!("{path}.proxy"), written.proxy.as_ref(), self.proxy),
            idle: match written.idle {
                Some(raw::IdleMode::Auto) | None => IdleMode::Auto,
                Some(raw::IdleMode::Poll) => IdleMode::Poll,
            },
            oauth: match written.oauth {
                Some(raw::OAuthMechanism::Auto) => OAuthMechanism::Auto,
                Some(raw::OAuthMechanism::XOAuth2) => OAuthMechanism::XOAuth2,
                Some(raw::OAuthMechanism::OAuthBearer) => OAuthMechanism::OAuthBearer,
                None => preset.map_or(OAuthMechanism::Auto, |preset| preset.oauth),
            },
            stable_bytes: match written.stable_bytes {
                Some(true) => StableBytes::Yes,
                Some(false) => StableBytes::No,
                None => preset.map_or(StableBytes::No, |preset| preset.stable_bytes),
            },
            connections_max: written.connections_max,
            connections_per_mailbox: written.connections_per_mailbox.unwrap_or_else(|| {
                let known = preset.and_then(|preset| preset.connections);
                known.map_or(self.connections, |known| known.min(self.connections))
            }),
            cycle: preset.and_then(|preset| preset.cycle),
            trusted_authserv_id: written.trusted_authserv_id.as_deref().map(Arc::from),
        };
        doubt(path, &server, findings);
        Some(self.shared.share(server))
    }
}

fn preset_named(path: &str, name: &str, findings: &mut Findings<'_>) -> Option<&'static Preset> {
    let found = PRESETS.iter().find(|preset| preset.name == name);
    if found.is_none() {
        let names = PRESETS.each_ref().map(|preset| preset.name);
        let hint = nearest(name, names).map_or_else(
            || format!("known: {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        let path = format!("{path}.preset");
        let what = format!("`{path}`: there is no preset `{name}`");
        findings.error(&path, what, &hint);
    }
    found
}

fn tls_mode(written: Option<raw::TlsMode>) -> TlsMode {
    match written {
        Some(raw::TlsMode::Implicit) | None => TlsMode::Implicit,
        Some(raw::TlsMode::StartTls) => TlsMode::StartTls,
        Some(raw::TlsMode::None) => TlsMode::None,
    }
}

fn doubt(path: &str, server: &Server, findings: &mut Findings<'_>) {
    let loopback = is_loopback_name(&server.host)
        || server
            .host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    let tls = format!("{path}.tls");
    match (server.tls, server.port) {
        (TlsMode::None, _) if !loopback => {
            let what = format!(
                "`{tls}`: passwords, tokens and mail travel to {} in clear text",
                server.host
            );
            findings.warn(&tls, what, "use tls = \"implicit\" or \"starttls\"");
        }
        (TlsMode::Implicit, 143) => {
            let what = format!("`{path}.port` is 143, where servers expect starttls");
            findings.warn(
                &format!("{path}.port"),
                what,
                "use port 993, or tls = \"starttls\"",
            );
        }
        (TlsMode::StartTls, 993) => {
            let what =
                format!("`{tls}` is starttls on port 993, where servers expect implicit TLS");
            findings.warn(&tls, what, "use port 143, or tls = \"implicit\"");
        }
        (TlsMode::Implicit | TlsMode::StartTls | TlsMode::None, _) => {}
    }
}

/// Whether it is Exchange Online, by whatever name it was configured.
pub(super) fn is_exchange_online(server: &Server) -> bool {
    let host = server.host.to_lowercase();
    ["office365.com", "office365.us", "outlook.com", "outlook.cn"]
        .iter()
        .any(|end| host == *end || host.ends_with(&format!(".{end}")))
}
