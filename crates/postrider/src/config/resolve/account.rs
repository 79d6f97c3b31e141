//! Credentials: each type's keys, and what Entra would refuse.

use std::{collections::BTreeMap, sync::Arc};

use postrider_core::ids::CredentialKey;

use super::{Findings, endpoint::is_loopback, secrets::references};
use crate::config::{
    model::{Credential, CredentialKind, Proxy},
    raw::{self, CredentialType},
};

const AUTHORITY: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://outlook.office365.com/.default";

pub(super) fn credentials(
    raw: &raw::Root,
    proxy: &Proxy,
    findings: &mut Findings<'_>,
) -> BTreeMap<CredentialKey, Arc<Credential>> {
    let mut credentials = BTreeMap::new();
    for (name, written) in &raw.credentials {
        let path = format!("credentials.{name}");
        findings.check_key(&path, name);
        let kind = match written.kind {
            Some(CredentialType::Microsoft) => Some(microsoft(&path, written, findings)),
            Some(CredentialType::Password) => Some(password(&path, written, findings)),
            None => {
                findings.missing(
                    &format!("{path}.type"),
                    "write \"microsoft\" or \"password\"",
                );
                None
            }
        };
        let proxy = findings.proxy(&format!("{path}.proxy"), written.proxy.as_ref(), proxy);
        let key = CredentialKey::new(name.as_str());
        if let Some(kind) = kind {
            credentials.insert(key.clone(), Arc::new(Credential { key, kind, proxy }));
        }
    }
    credentials
}

fn password(path: &str, written: &raw::Credential, findings: &mut Findings<'_>) -> CredentialKind {
    let strangers = [
        ("tenant", written.tenant.is_some()),
        ("client_id", written.client_id.is_some()),
        ("client_secret", written.client_secret.is_some()),
        ("authority", written.authority.is_some()),
        ("scope", written.scope.is_some()),
    ];
    refuse(path, "password", &strangers, findings);
    CredentialKind::Password {
        password: references(
            &format!("{path}.password"),
            written.password.as_ref(),
            findings,
        ),
    }
}

fn microsoft(path: &str, written: &raw::Credential, findings: &mut Findings<'_>) -> CredentialKind {
    refuse(
        path,
        "microsoft",
        &[("password", written.password.is_some())],
        findings,
    );
    let tenant = required(path, "tenant", written.tenant.as_ref(), findings);
    if matches!(tenant.as_str(), "common" | "organizations" | "consumers") {
        let what = format!("`{path}.tenant` is `{tenant}`: client credentials need one tenant");
        let hint =
            "write the tenant's id, or one of its domains such as \"contoso.onmicrosoft.com\"";
        findings.error(&format!("{path}.tenant"), what, hint);
    } else if tenant.contains(['/', ' ', '?', '#', '@']) {
        let what = format!("`{path}.tenant` is `{tenant}`, which is no tenant");
        let hint =
            "write the tenant's id, or one of its domains such as \"contoso.onmicrosoft.com\"";
        findings.error(&format!("{path}.tenant"), what, hint);
    }
    let client_id = required(path, "client_id", written.client_id.as_ref(), findings);
    if !client_id.is_empty() && uuid::Uuid::parse_str(&client_id).is_err() {
        let what = format!("`{path}.client_id` is no id of an Entra application");
        let hint = "copy \"Application (client) ID\" from the app registration's overview";
        findings.warn(&format!("{path}.client_id"), what, hint);
    }
    let secret = format!("{path}.client_secret");
    CredentialKind::Microsoft {
        tenant,
        client_id,
        client_secret: references(&secret, written.client_secret.as_ref(), findings),
        authority: authority(path, written.authority.as_ref(), findings),
        scope: scope(path, written.scope.as_ref(), findings),
    }
}

fn required(path: &str, key: &str, value: Option<&String>, findings: &mut Findings<'_>) -> String {
    match value.filter(|value| !value.trim().is_empty()) {
        Some(value) => value.clone(),
        None => {
            findings.missing(
                &format!("{path}.{key}"),
                "it stands on the app registration's overview",
            );
            String::new()
        }
    }
}

fn refuse(path: &str, kind: &str, strangers: &[(&str, bool)], findings: &mut Findings<'_>) {
    for (key, _) in strangers.iter().filter(|(_, set)| *set) {
        let path = format!("{path}.{key}");
        let what = format!("`{path}` does not belong to a credential of type {kind}");
        findings.error(&path, what, "remove it, or change `type`");
    }
}

/// The login host; the path to the token endpoint is added to it.
fn authority(path: &str, written: Option<&String>, findings: &mut Findings<'_>) -> url::Url {
    let path = format!("{path}.authority");
    let text = written.map_or(AUTHORITY, String::as_str);
    let url = match url::Url::parse(text) {
        Ok(url) if url.has_host() => url,
        Ok(_) | Err(_) => {
            let what = format!("`{path}` is `{text}`, which is no URL");
            findings.error(&path, what, &format!("write \"{AUTHORITY}\""));
            return fallback();
        }
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        let what = format!("`{path}` is not https: the client secret would travel in clear text");
        findings.error(&path, what, &format!("write \"{AUTHORITY}\""));
    }
    if url.password().is_some() || !url.username().is_empty() {
        findings.error(&path, format!("`{path}` holds credentials"), "remove them");
    }
    if url.path().ends_with("/oauth2/token") {
        let what = format!("`{path}` is a token endpoint of the old v1 form, which knows no scope");
        findings.warn(
            &path,
            what,
            "write the login host alone; the v2.0 endpoint is added",
        );
    } else if url.path().contains("/oauth2/") {
        let what = format!("`{path}` is a token endpoint, it has to be the login host");
        findings.warn(&path, what, &format!("write \"{AUTHORITY}\""));
    }
    url
}

#[expect(
    clippy::expect_used,
    reason = "the text is a constant, and a test parses it"
)]
fn fallback() -> url::Url {
    url::Url::parse(AUTHORITY).expect("a constant URL")
}

fn scope(path: &str, written: Option<&String>, findings: &mut Findings<'_>) -> String {
    let path = format!("{path}.scope");
    let scope = written.map_or(SCOPE, String::as_str);
    if !scope.ends_with("/.default") {
        let what =
            format!("`{path}` is `{scope}`: for client credentials it has to end in /.default");
        findings.warn(&path, what, &format!("write \"{SCOPE}\""));
    }
    scope.to_owned()
}
