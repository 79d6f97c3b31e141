//! Credentials: each type's keys, their defaults, and what a provider would refuse. It asks no
//! provider.

mod google;
mod microsoft;
mod other;
mod url;

use std::{collections::BTreeMap, sync::Arc};

use postrider_core::ids::CredentialKey;

use super::{Findings, secrets::references, server::is_exchange_online};
use crate::config::{
    model::{Credential, CredentialKind, Mailbox, Proxy, Server, StoreConfig, VaultConfig},
    raw::{self, CredentialType},
    units::parse_date,
};

pub(super) fn credentials(
    raw: &raw::Root,
    proxy: &Proxy,
    findings: &mut Findings<'_>,
) -> BTreeMap<CredentialKey, Arc<Credential>> {
    let mut credentials = BTreeMap::new();
    for (name, written) in &raw.credentials {
        let path = format!("credentials.{name}");
        findings.check_key(&path, name);
        let Some(written_type) = written.kind else {
            let hint = "write \"microsoft\", \"google\", \"oauth2\", \"password\" or another type";
            findings.missing(&format!("{path}.type"), hint);
            continue;
        };
        refuse_strangers(&path, written_type, written, findings);
        let kind = kind(&path, written_type, written, findings);
        let proxy = match written_type {
            CredentialType::ManagedIdentity => Proxy::None,
            CredentialType::Microsoft
            | CredentialType::MicrosoftDelegated
            | CredentialType::Google
            | CredentialType::GoogleDelegated
            | CredentialType::OAuth2
            | CredentialType::Password
            | CredentialType::Token => {
                findings.proxy(&format!("{path}.proxy"), written.proxy.as_ref(), proxy)
            }
        };
        let credential = Credential {
            key: CredentialKey::new(name.as_str()),
            expires: expires(&path, written, findings),
            must_not_open: must_not_open(&path, written, findings),
            proxy,
            // Where something is missing, it was told, and nothing is loaded.
            kind: match kind {
                Some(kind) => kind,
                None => continue,
            },
        };
        credentials.insert(credential.key.clone(), Arc::new(credential));
    }
    credentials
}

fn kind(
    path: &str,
    written_type: CredentialType,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<CredentialKind> {
    match written_type {
        CredentialType::Microsoft => {
            microsoft::application(path, written, findings).map(CredentialKind::Microsoft)
        }
        CredentialType::MicrosoftDelegated => Some(CredentialKind::MicrosoftDelegated(
            microsoft::delegated(path, written, findings),
        )),
        CredentialType::ManagedIdentity => microsoft::managed_identity(path, written, findings)
            .map(CredentialKind::ManagedIdentity),
        CredentialType::Google => Some(CredentialKind::Google(google::service_account(
            path, written, findings,
        ))),
        CredentialType::GoogleDelegated => Some(CredentialKind::GoogleDelegated(
            google::delegated(path, written, findings),
        )),
        CredentialType::OAuth2 => {
            other::oauth2(path, written, findings).map(CredentialKind::OAuth2)
        }
        CredentialType::Password => {
            let password = format!("{path}.password");
            Some(CredentialKind::Password {
                password: references(&password, written.password.as_ref(), findings),
            })
        }
        CredentialType::Token => other::token(path, written, findings).map(CredentialKind::Token),
    }
}

/// The keys that belong to some types only, whether each is set, and to which types.
fn owned_keys(written: &raw::Credential) -> [(&'static str, bool, &'static [CredentialType]); 22] {
    use CredentialType::{
        Google, GoogleDelegated, ManagedIdentity, Microsoft, MicrosoftDelegated, OAuth2, Password,
        Token,
    };
    const ENTRA: &[CredentialType] = &[Microsoft, MicrosoftDelegated];
    const SCOPED: &[CredentialType] = &[
        Microsoft,
        MicrosoftDelegated,
        Google,
        GoogleDelegated,
        OAuth2,
    ];
    const SECRET: &[CredentialType] = &[Microsoft, MicrosoftDelegated, GoogleDelegated, OAuth2];
    const CLIENT: &[CredentialType] = &[
        Microsoft,
        MicrosoftDelegated,
        ManagedIdentity,
        GoogleDelegated,
        OAuth2,
    ];
    const LOGIN: &[CredentialType] = &[GoogleDelegated, OAuth2];
    let w = written;
    [
        ("tenant", w.tenant.is_some(), ENTRA),
        ("client_id", w.client_id.is_some(), CLIENT),
        ("client_secret", w.client_secret.is_some(), SECRET),
        ("certificate", w.certificate.is_some(), &[Microsoft]),
        ("federated_token", w.federated_token.is_some(), &[Microsoft]),
        ("cloud", w.cloud.is_some(), ENTRA),
        ("authority", w.authority.is_some(), ENTRA),
        ("scope", w.scope.is_some(), SCOPED),
        ("object_id", w.object_id.is_some(), &[ManagedIdentity]),
        ("resource_id", w.resource_id.is_some(), &[ManagedIdentity]),
        ("resource", w.resource.is_some(), &[ManagedIdentity]),
        ("endpoint", w.endpoint.is_some(), &[ManagedIdentity]),
        ("service_account", w.service_account.is_some(), &[Google]),
        (
            "token_url",
            w.token_url.is_some(),
            &[Google, GoogleDelegated, OAuth2],
        ),
        ("authorize_url", w.authorize_url.is_some(), LOGIN),
        ("device_url", w.device_url.is_some(), LOGIN),
        ("grant", w.grant.is_some(), &[OAuth2]),
        ("client_auth", w.client_auth.is_some(), &[OAuth2]),
        ("refresh_token", w.refresh_token.is_some(), &[OAuth2]),
        ("password", w.password.is_some(), &[Password]),
        ("token", w.token.is_some() || w.command.is_some(), &[Token]),
        ("lifetime", w.lifetime.is_some(), &[Token]),
    ]
}

fn refuse_strangers(
    path: &str,
    kind: CredentialType,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) {
    let name = type_name(kind);
    for (key, set, owners) in owned_keys(written) {
        if set && !owners.contains(&kind) {
            let key = match key {
                "token" if written.token.is_none() => "command",
                key => key,
            };
            let path = format!("{path}.{key}");
            let what = format!("`{path}` does not belong to a credential of type {name}");
            findings.error(&path, what, "remove it, or change `type`");
        }
    }
    let path = match (kind, &written.proxy, &written.must_not_open) {
        (CredentialType::ManagedIdentity, Some(_), _) => format!("{path}.proxy"),
        (CredentialType::Password, _, Some(_)) => format!("{path}.must_not_open"),
        _ => return,
    };
    let what = format!("`{path}` does not belong to a credential of type {name}");
    let hint = match kind {
        CredentialType::ManagedIdentity => "remove it: the metadata service is this machine's own",
        CredentialType::Microsoft
        | CredentialType::MicrosoftDelegated
        | CredentialType::Google
        | CredentialType::GoogleDelegated
        | CredentialType::OAuth2
        | CredentialType::Password
        | CredentialType::Token => "remove it: a password opens one account",
    };
    findings.error(&path, what, hint);
}

fn type_name(kind: CredentialType) -> &'static str {
    match kind {
        CredentialType::Microsoft => "microsoft",
        CredentialType::MicrosoftDelegated => "microsoft-delegated",
        CredentialType::ManagedIdentity => "managed-identity",
        CredentialType::Google => "google",
        CredentialType::GoogleDelegated => "google-delegated",
        CredentialType::OAuth2 => "oauth2",
        CredentialType::Password => "password",
        CredentialType::Token => "token",
    }
}

fn required(
    path: &str,
    key: &str,
    value: Option<&String>,
    hint: &str,
    findings: &mut Findings<'_>,
) -> String {
    match value.filter(|value| !value.trim().is_empty()) {
        Some(value) => value.clone(),
        None => {
            findings.missing(&format!("{path}.{key}"), hint);
            String::new()
        }
    }
}

fn expires(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<postrider_core::time::Wall> {
    let path = format!("{path}.expires");
    let text = &written.expires.as_ref()?.0;
    let Some(at) = parse_date(text) else {
        let what = format!("`{path}` is `{text}`, which is no date");
        findings.error(&path, what, "write a date as \"2027-05-01\"");
        return None;
    };
    if at <= findings.environment.now {
        let what = format!("`{path}` is {text}, which is over");
        findings.warn(&path, what, "replace the secret, and the date with it");
    }
    Some(at)
}

fn must_not_open(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    let path = format!("{path}.must_not_open");
    let addresses = written.must_not_open.clone().unwrap_or_default();
    for address in &addresses {
        if !address.contains('@') || address.contains(|c: char| c.is_control() || c == ' ') {
            let what = format!("`{path}` has `{address}`, which is no mail address");
            findings.error(&path, what, "");
        }
    }
    addresses
}

/// A mailbox that is opened with an access that must not open it.
pub(super) fn contradictions<'a>(
    credentials: &BTreeMap<CredentialKey, Arc<Credential>>,
    mailboxes: impl Iterator<Item = &'a Arc<Mailbox>>,
    findings: &mut Findings<'_>,
) {
    for mailbox in mailboxes {
        let Some(credential) = credentials.get(&mailbox.credential) else {
            continue;
        };
        let forbidden = credential.must_not_open.iter().find(|address| {
            address.eq_ignore_ascii_case(&mailbox.address)
                || address.eq_ignore_ascii_case(&mailbox.username)
        });
        if forbidden.is_some() {
            let path = format!("credentials.{}.must_not_open", credential.key);
            let what = format!(
                "`{path}` names the mailbox `{}`, which is to be watched with it",
                mailbox.key
            );
            findings.error(&path, what, "remove one of them");
        }
    }
}

/// The vault; its key has to be there where a credential needs it.
pub(super) fn vault(
    raw: &raw::Root,
    store: &StoreConfig,
    credentials: &BTreeMap<CredentialKey, Arc<Credential>>,
    findings: &mut Findings<'_>,
) -> VaultConfig {
    let path = match &raw.vault.path {
        Some(path) => findings.path(path),
        None => {
            let beside = store.path.parent();
            beside.unwrap_or(std::path::Path::new(".")).join("vault")
        }
    };
    let user = credentials.values().find(|one| one.kind.uses_vault());
    let key = match (&raw.vault.key, user) {
        (Some(key), _) => references("vault.key", Some(key), findings),
        (None, None) => Vec::new(),
        (None, Some(user)) => {
            if !findings.is_spoiled("vault.key") {
                let what = format!(
                    "`vault.key` is missing: the refresh token of `{}` is kept encrypted",
                    user.key
                );
                let hint = "write key = { file = \"/etc/postrider/vault.key\" }, and make the file with `openssl rand -base64 32`";
                findings.error("vault.key", what, hint);
            }
            Vec::new()
        }
    };
    VaultConfig { path, key }
}

/// Why this kind of access opens nothing at that server, and what would.
pub(super) fn misplaced(
    kind: Option<CredentialType>,
    server: &Server,
) -> Option<(&'static str, &'static str)> {
    let is_gmail = server.host.eq_ignore_ascii_case("imap.gmail.com");
    let use_microsoft = "use a credential of type \"microsoft\"";
    match kind? {
        CredentialType::Password if is_exchange_online(server) => Some((
            "Exchange Online accepts no passwords for IMAP, and `{}` is one",
            use_microsoft,
        )),
        CredentialType::Google | CredentialType::GoogleDelegated if is_exchange_online(server) => {
            Some((
                "Exchange Online knows nothing of Google's tokens, which `{}` gives",
                use_microsoft,
            ))
        }
        CredentialType::Microsoft
        | CredentialType::MicrosoftDelegated
        | CredentialType::ManagedIdentity
            if is_gmail =>
        {
            Some((
                "Gmail knows nothing of Microsoft's tokens, which `{}` gives",
                "use a credential of type \"google\" or \"google-delegated\"",
            ))
        }
        CredentialType::Microsoft
        | CredentialType::MicrosoftDelegated
        | CredentialType::ManagedIdentity
        | CredentialType::Google
        | CredentialType::GoogleDelegated
        | CredentialType::OAuth2
        | CredentialType::Password
        | CredentialType::Token => None,
    }
}
