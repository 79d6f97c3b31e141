//! What each claim of a token means for reading mail over IMAP
//! (<https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>). Claims
//! are for diagnosis only; nothing is verified, and nothing else is decided by them. No IO.

use postrider_core::time::Wall;
use postrider_oauth::claims::Claims;

use super::super::render::age;
use crate::config::{Credential, CredentialKind};

const APPLICATION: &str = "IMAP.AccessAsApp";
const PERSON: &str = "IMAP.AccessAsUser.All";

/// Exchange Online's own application id, which may stand for its name.
const EXCHANGE_ID: &str = "00000002-0000-0ff1-ce00-000000000000";
const EXCHANGE: &[&str] = &[
    EXCHANGE_ID,
    "outlook.office365.com",
    "outlook.office.com",
    "outlook.office365.us",
    "outlook-dod.office365.us",
    "webmail.apps.mil",
    "partner.outlook.cn",
];
const GRAPH: &[&str] = &[
    "00000003-0000-0000-c000-000000000000",
    "graph.microsoft.com",
    "graph.microsoft.us",
    "dod-graph.microsoft.us",
    "microsoftgraph.chinacloudapi.cn",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// With this no mailbox opens.
    Wrong,
    Note,
}

impl Verdict {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Wrong => "wrong",
            Self::Note => "note",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) claim: &'static str,
    /// Empty where the token does not have it.
    pub(super) value: String,
    pub(super) verdict: Verdict,
    pub(super) text: String,
}

/// For whom a token of Entra stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    ForTheApplication,
    ForAPerson,
}

/// `None`: it is not Entra's, and its claims mean whatever its provider says.
pub(super) fn stands_for(credential: &Credential, host: &str) -> Option<Stands> {
    let entra = host.starts_with("login.") && host.contains("microsoftonline");
    match &credential.kind {
        CredentialKind::Microsoft(_) | CredentialKind::ManagedIdentity(_) => {
            Some(Stands::ForTheApplication)
        }
        CredentialKind::MicrosoftDelegated(_) => Some(Stands::ForAPerson),
        CredentialKind::OAuth2(oauth2) if entra => Some(match oauth2.grant {
            crate::config::OAuth2Grant::ClientCredentials => Stands::ForTheApplication,
            crate::config::OAuth2Grant::RefreshToken(_) => Stands::ForAPerson,
        }),
        CredentialKind::OAuth2(_)
        | CredentialKind::Google(_)
        | CredentialKind::GoogleDelegated(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => None,
    }
}

pub(super) fn remarks(
    credential: &Credential,
    stands: Option<Stands>,
    claims: &Claims,
    now: Wall,
) -> Vec<Remark> {
    let mut remarks = vec![audience(stands, claims)];
    match stands {
        Some(Stands::ForTheApplication) => remarks.extend([roles(claims), no_scopes(claims)]),
        Some(Stands::ForAPerson) => remarks.extend([scopes(claims), person(claims)]),
        None => remarks.extend([
            plain("roles", claims.roles.join(" ")),
            plain("scp", claims.scp.join(" ")),
            person(claims),
        ]),
    }
    remarks.extend([
        tenant(credential, claims),
        client(credential, claims),
        shown(claims),
        object(stands, claims),
        end(claims, now),
        version(stands, claims),
    ]);
    // What is not there and means nothing is not worth a line.
    remarks.retain(|remark| {
        !remark.value.is_empty() || remark.verdict == Verdict::Wrong || !remark.text.is_empty()
    });
    remarks
}

fn remark(claim: &'static str, value: String, verdict: Verdict, text: impl Into<String>) -> Remark {
    Remark {
        claim,
        value,
        verdict,
        text: text.into(),
    }
}

fn plain(claim: &'static str, value: String) -> Remark {
    remark(claim, value, Verdict::Note, "")
}

fn optional(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

fn audience(stands: Option<Stands>, claims: &Claims) -> Remark {
    let value = claims.aud.join(" ");
    let is_of = |hosts: &[&str]| {
        claims.aud.iter().any(|aud| {
            let parsed = url::Url::parse(aud).ok();
            let host = parsed.as_ref().and_then(url::Url::host_str).unwrap_or(aud);
            hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
        })
    };
    if stands.is_none() {
        return plain("aud", value);
    }
    if is_of(EXCHANGE) {
        return remark("aud", value, Verdict::Good, "for Exchange Online");
    }
    let text = match is_of(GRAPH) {
        true => "for Microsoft Graph, whose tokens open no mailbox over IMAP: leave `scope` out",
        false => "not for Exchange Online: leave `scope` out, or name Exchange Online's in it",
    };
    remark("aud", value, Verdict::Wrong, text)
}

fn roles(claims: &Claims) -> Remark {
    let value = claims.roles.join(" ");
    if claims.roles.iter().any(|role| role == APPLICATION) {
        return remark(
            "roles",
            value,
            Verdict::Good,
            "the permission for IMAP is granted",
        );
    }
    let text = "IMAP.AccessAsApp is missing: API permissions > Add > APIs my organization uses > Office \
                365 Exchange Online > Application permissions > IMAP.AccessAsApp, then Grant admin consent";
    remark("roles", value, Verdict::Wrong, text)
}

fn no_scopes(claims: &Claims) -> Remark {
    let value = claims.scp.join(" ");
    match value.is_empty() {
        true => plain("scp", value),
        false => remark(
            "scp",
            value,
            Verdict::Wrong,
            "the token stands for a person, not for the application",
        ),
    }
}

fn scopes(claims: &Claims) -> Remark {
    let value = claims.scp.join(" ");
    if claims.scp.iter().any(|scope| scope == PERSON) {
        return remark(
            "scp",
            value,
            Verdict::Good,
            "the permission for IMAP is granted",
        );
    }
    let text = "IMAP.AccessAsUser.All is missing: API permissions > Add > Microsoft Graph > Delegated \
                permissions > IMAP.AccessAsUser.All, then `postrider login` again";
    remark("scp", value, Verdict::Wrong, text)
}

fn person(claims: &Claims) -> Remark {
    let value = optional(claims.upn.as_ref());
    match value.is_empty() {
        true => plain("upn", value),
        false => remark(
            "upn",
            value,
            Verdict::Note,
            "who signed in; other mailboxes must give this account full access",
        ),
    }
}

fn tenant(credential: &Credential, claims: &Claims) -> Remark {
    let value = optional(claims.tid.as_ref());
    let configured = match &credential.kind {
        CredentialKind::Microsoft(application) => application.tenant.as_str(),
        CredentialKind::MicrosoftDelegated(delegated) => delegated.tenant.as_str(),
        CredentialKind::ManagedIdentity(_)
        | CredentialKind::Google(_)
        | CredentialKind::GoogleDelegated(_)
        | CredentialKind::OAuth2(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => "",
    };
    let is_id = uuid::Uuid::parse_str(configured).is_ok();
    if value.is_empty() {
        return plain("tid", value);
    }
    match is_id {
        true if configured.eq_ignore_ascii_case(&value) => remark(
            "tid",
            value,
            Verdict::Good,
            "the configured tenant; the mailboxes must be in it",
        ),
        true => remark(
            "tid",
            value,
            Verdict::Wrong,
            format!("another tenant than the configured {configured}"),
        ),
        false => remark(
            "tid",
            value,
            Verdict::Note,
            "the tenant; the mailboxes must be in it",
        ),
    }
}

fn client(credential: &Credential, claims: &Claims) -> Remark {
    let value = optional(claims.appid.as_ref());
    let configured = match &credential.kind {
        CredentialKind::Microsoft(application) => Some(&application.client_id),
        CredentialKind::MicrosoftDelegated(delegated) => Some(&delegated.client_id),
        CredentialKind::OAuth2(oauth2) => Some(&oauth2.client_id),
        CredentialKind::ManagedIdentity(_)
        | CredentialKind::Google(_)
        | CredentialKind::GoogleDelegated(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => None,
    };
    match configured {
        _ if value.is_empty() => plain("appid", value),
        Some(id) if id.eq_ignore_ascii_case(&value) => remark(
            "appid",
            value,
            Verdict::Good,
            "the configured client id; the -AppId for New-ServicePrincipal",
        ),
        Some(_) => remark(
            "appid",
            value,
            Verdict::Note,
            "not the configured client id",
        ),
        None => remark(
            "appid",
            value,
            Verdict::Note,
            "the -AppId for New-ServicePrincipal",
        ),
    }
}

fn shown(claims: &Claims) -> Remark {
    let value = optional(claims.app_acr.as_ref());
    let text = match value.as_str() {
        "0" => "a public client: it showed nothing",
        "1" => "the client showed a secret",
        "2" => "the client showed a certificate or an assertion",
        _ => "",
    };
    remark("appidacr", value, Verdict::Note, text)
}

fn object(stands: Option<Stands>, claims: &Claims) -> Remark {
    let value = optional(claims.oid.as_ref());
    let text = match (stands, value.is_empty()) {
        (_, true) | (None, false) => "",
        (Some(Stands::ForTheApplication), false) => {
            "the -ObjectId for New-ServicePrincipal (--object-id of `setup exchange`)"
        }
        (Some(Stands::ForAPerson), false) => "the person's object id",
    };
    remark("oid", value, Verdict::Note, text)
}

fn end(claims: &Claims, now: Wall) -> Remark {
    let Some(end) = claims.exp else {
        return plain("exp", String::new());
    };
    let value = end.rfc3339();
    let age = age(&value, now);
    match end.0 > now.0 {
        true => remark("exp", value, Verdict::Good, age),
        false => {
            let text = format!("ended {age} ago by this machine's clock: check it (`timedatectl`)");
            remark("exp", value, Verdict::Wrong, text)
        }
    }
}

fn version(stands: Option<Stands>, claims: &Claims) -> Remark {
    let value = optional(claims.ver.as_ref());
    let text = match (stands, value.as_str()) {
        (Some(_), "1.0") => "as usual for Exchange Online",
        (Some(_), "2.0") => "unusual: tokens for Exchange Online say 1.0",
        (Some(_) | None, _) => "",
    };
    remark("ver", value, Verdict::Note, text)
}

#[cfg(test)]
mod tests;
