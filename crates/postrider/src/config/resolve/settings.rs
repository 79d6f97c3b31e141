//! The sections that concern the process as a whole.

use std::{net::SocketAddr, path::Path, sync::Arc};

use postrider_store::BudgetAction;

use super::Findings;
use crate::config::{
    model::{
        AdminConfig, AdminTcp, HttpConfig, Limits, LogConfig, LogFormat, Network, Proxy,
        StoreConfig,
    },
    problem::is_key,
    raw,
};

pub(super) fn instance(raw: &raw::Root, findings: &mut Findings<'_>) -> Arc<str> {
    let name = &raw.instance;
    if !is_key(name) {
        let hint = "1 to 63 of a-z, 0-9 and -, starting with a letter or digit: \"prod\"";
        findings.error(
            "instance",
            format!("`instance` is `{name}`, which is no name"),
            hint,
        );
    }
    if looks_like_a_host(name, findings.environment.host.as_deref()) {
        let what = format!("`instance` is `{name}`, which looks like a host's or a pod's name");
        let hint =
            "on another machine every message would get another id: choose a name like \"prod\"";
        findings.warn("instance", what, hint);
    }
    name.as_str().into()
}

/// The machine's own name, or `NAME-7d4b9c6f5d-x2x9k` as Kubernetes names the pods of a deployment.
fn looks_like_a_host(name: &str, host: Option<&str>) -> bool {
    if host.is_some_and(|host| host == name || host.split('.').next() == Some(name)) {
        return true;
    }
    let mut parts = name.rsplit('-');
    let (Some(pod), Some(set), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let has_digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    pod.len() == 5 && (8..=10).contains(&set.len()) && has_digit(set)
}

pub(super) fn store(raw: &raw::Store, findings: &mut Findings<'_>) -> StoreConfig {
    let hint = "write sqlite:///var/lib/postrider/postrider.db";
    let file = match raw.url.strip_prefix("sqlite:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => {
            let what = format!("`store.url` is `{}`: only sqlite is there", raw.url);
            let hint = match raw.url.contains(':') {
                true => hint.to_owned(),
                false => format!("write sqlite:{}", raw.url),
            };
            findings.error("store.url", what, &hint);
            "postrider.db"
        }
    };
    if file.is_empty() || file.contains("memory:") || file.contains('?') {
        let what = "`store.url` names no file: state has to outlive the process";
        findings.error("store.url", what, hint);
    }
    let path = findings.path(file);
    let spool = match &raw.spool {
        Some(spool) => findings.path(spool),
        None => path.parent().unwrap_or(Path::new(".")).join("spool"),
    };
    let defaults = raw::Store::default();
    if path.starts_with("/tmp") || path.starts_with("/var/tmp") {
        let what = format!(
            "`store.url`: {} lies where files are cleaned up",
            path.display()
        );
        findings.warn("store.url", what, &format!("write {}", defaults.url));
    }
    StoreConfig {
        path,
        spool,
        allow_network_filesystem: raw.allow_network_filesystem,
        reserve_bytes: raw.reserve.0,
        budget_bytes: raw.budget.map(|budget| budget.0),
        budget_action: match raw.budget_action {
            raw::BudgetAction::PauseReading => BudgetAction::PauseReading,
            raw::BudgetAction::Warn => BudgetAction::Warn,
        },
        keep_delivered: raw.keep_delivered.0,
    }
}

pub(super) fn http(raw: &raw::Root, findings: &mut Findings<'_>) -> HttpConfig {
    let text = raw.http.listen.as_str();
    if text == "off" {
        return HttpConfig { listen: None };
    }
    let listen = text.parse::<SocketAddr>().ok();
    if listen.is_none() {
        let what = format!("`http.listen` is `{text}`, which is no ADDRESS:PORT");
        findings.error(
            "http.listen",
            what,
            "write \"127.0.0.1:9420\", \"[::]:9420\" or \"off\"",
        );
    }
    HttpConfig { listen }
}

pub(super) fn admin(raw: &raw::Root, findings: &mut Findings<'_>) -> AdminConfig {
    let text = raw.admin.listen.as_str();
    let path = match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => path,
        Some(_) | None => {
            let what = format!("`admin.listen` is `{text}`, it has to be a unix socket");
            findings.error(
                "admin.listen",
                what,
                "write \"unix:/run/postrider/admin.sock\"",
            );
            "admin.sock"
        }
    };
    let socket = findings.path(path);
    // sockaddr_un holds 108 bytes with the end mark (unix(7)).
    if socket.as_os_str().len() > 107 {
        let what = format!(
            "`admin.listen`: {} is longer than 107 bytes",
            socket.display()
        );
        findings.error(
            "admin.listen",
            what,
            "a unix socket's path cannot be longer",
        );
    }
    AdminConfig {
        socket,
        tcp: admin_tcp(&raw.admin.tcp, findings),
    }
}

fn admin_tcp(raw: &raw::AdminTcp, findings: &mut Findings<'_>) -> Option<AdminTcp> {
    const LISTEN: &str = "admin.tcp.listen";
    if raw.listen == "off" {
        return None;
    }
    let Ok(listen) = raw.listen.parse::<SocketAddr>() else {
        let what = format!("`{LISTEN}` is `{}`, which is no ADDRESS:PORT", raw.listen);
        findings.error(LISTEN, what, "write \"127.0.0.1:9421\" or \"off\"");
        return None;
    };
    if !listen.ip().is_loopback() {
        let what = format!(
            "`{LISTEN}` is no loopback address, and there is no TLS: tokens cross the network as they are"
        );
        let hint = "listen on 127.0.0.1, or let nobody reach it but a proxy with TLS";
        findings.warn(LISTEN, what, hint);
    }
    let mut allowed_hosts: Vec<String> = raw
        .allowed_hosts
        .iter()
        .map(|host| host.trim_matches(['[', ']']).to_ascii_lowercase())
        .collect();
    if let Some(wrong) = allowed_hosts
        .iter()
        .find(|host| host.is_empty() || host.contains(['/', '*', ' ', '@']))
    {
        let what = format!("`admin.tcp.allowed_hosts` has `{wrong}`, which is no host name");
        findings.error(
            "admin.tcp.allowed_hosts",
            what,
            "write names alone: \"postrider.example.org\"",
        );
    }
    if allowed_hosts.is_empty() {
        allowed_hosts.push(listen.ip().to_string());
        if listen.ip().is_loopback() {
            allowed_hosts.push("localhost".to_owned());
        }
    }
    Some(AdminTcp {
        listen,
        allowed_hosts,
    })
}

pub(super) fn log(raw: &raw::Root, findings: &mut Findings<'_>) -> LogConfig {
    let level = raw.log.level.clone();
    if let Some(wrong) = level
        .split(',')
        .map(str::trim)
        .find(|one| !is_directive(one))
    {
        let what = format!("`log.level` has `{wrong}`, which is no level");
        let hint =
            "write off, error, warn, info, debug or trace, or per module \"info,postrider=debug\"";
        findings.error("log.level", what, hint);
    }
    LogConfig {
        format: match raw.log.format {
            raw::LogFormat::Auto => LogFormat::Auto,
            raw::LogFormat::Json => LogFormat::Json,
            raw::LogFormat::Human => LogFormat::Human,
        },
        level,
    }
}

/// `LEVEL` or `MODULE=LEVEL`. A module's bare name would be a filter too, but is a misspelt level
/// more often.
fn is_directive(text: &str) -> bool {
    let level = match text.split_once('=') {
        Some(("", _)) => return false,
        Some((_, level)) => level,
        None => text,
    };
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    levels.iter().any(|known| level.eq_ignore_ascii_case(known))
}

pub(super) fn network(raw: &raw::Root, findings: &mut Findings<'_>) -> Network {
    Network {
        proxy: findings.proxy("network.proxy", Some(&raw.network.proxy), &Proxy::None),
    }
}

pub(super) fn limits(raw: &raw::Limits, findings: &mut Findings<'_>) -> Limits {
    if raw.inline > raw.parse {
        let what = format!(
            "`limits.inline` ({}) is above `limits.parse` ({})",
            raw.inline, raw.parse
        );
        findings.error(
            "limits.inline",
            what,
            "a message that is held in memory is parsed whole",
        );
    }
    if raw.parse.0.saturating_mul(2) > raw.memory.0 {
        let what = format!(
            "`limits.memory` ({}) does not hold one message of `limits.parse` ({}): parsing takes up to twice its size",
            raw.memory, raw.parse
        );
        findings.error(
            "limits.memory",
            what,
            "raise `limits.memory` or lower `limits.parse`",
        );
    }
    Limits::from(raw)
}

impl From<&raw::Limits> for Limits {
    fn from(raw: &raw::Limits) -> Self {
        Self {
            memory_bytes: raw.memory.0,
            inline_bytes: raw.inline.0,
            parse_bytes: raw.parse.0,
            event_bytes: raw.event.0,
            logins_per_second: raw.logins_per_second,
            login_burst: raw.login_burst,
            connections_per_mailbox: raw.connections_per_mailbox,
            grace: raw.grace.0,
            stalled_after: raw.stalled_after.0,
            audit_every: raw.audit_every.0,
            audit_days: raw.audit_days,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::looks_like_a_host;

    #[test]
    fn an_instance_named_after_a_host_or_pod_is_noticed() {
        assert!(looks_like_a_host("mail1", Some("mail1.example.org")));
        assert!(looks_like_a_host("postrider-7d4b9c6f5d-x2x9k", None));
        assert!(!looks_like_a_host("prod", Some("mail1")));
        assert!(!looks_like_a_host("prod-eu-west", None));
    }
}
