//! What a token says about itself: Entra gives tokens to applications that have no permission, and
//! for resources that are not Exchange; they look fine and open nothing.

use postrider_oauth::claims::Claims;

use super::{
    Cause, Diagnosis, Told,
    facts::{Facts, Provider},
    names::Names,
};

const PERMISSION: &str = "IMAP.AccessAsApp";
const USER_PERMISSION: &str = "IMAP.AccessAsUser.All";

/// Exchange Online's and Microsoft Graph's own application ids, which may stand for their names.
const EXCHANGE_ID: &str = "00000002-0000-0ff1-ce00-000000000000";
const GRAPH_ID: &str = "00000003-0000-0000-c000-000000000000";

const EXCHANGE_HOSTS: &[&str] = &[
    "outlook.office365.com",
    "outlook.office.com",
    "outlook.office365.us",
    "outlook-dod.office365.us",
    "webmail.apps.mil",
    "partner.outlook.cn",
    "ps.outlook.com",
];
const GRAPH_HOSTS: &[&str] = &[
    "graph.microsoft.com",
    "graph.microsoft.us",
    "dod-graph.microsoft.us",
    "microsoftgraph.chinacloudapi.cn",
];

/// Why this token cannot open a mailbox of Exchange; `None` where nothing speaks against it, or
/// where it says nothing.
pub fn check(facts: &Facts<'_>) -> Option<Diagnosis> {
    let claims = facts.claims?;
    let is_exchange = facts
        .mailbox
        .is_none_or(|mailbox| mailbox.provider == Provider::Exchange);
    if !is_exchange || !facts.credential.is_entra() {
        return None;
    }
    let names = Names(facts);
    let told = audience(&names, claims)
        .or_else(|| expired(&names, claims))
        .or_else(|| identity(&names, claims))
        .or_else(|| match facts.credential.is_application() {
            true => application(&names, claims),
            false => delegated(&names, claims),
        })?;
    Some(told.with(evidence(claims)))
}

/// The claims that count, in one line each.
fn evidence(claims: &Claims) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        lines.push(format!(
            "{name} = {}",
            value.unwrap_or_else(|| "(none)".to_owned())
        ));
    };
    let joined = |list: &[String], by| (!list.is_empty()).then(|| list.join(by));
    line("aud", joined(&claims.aud, ", "));
    if claims.scp.is_empty() || !claims.roles.is_empty() {
        line("roles", joined(&claims.roles, ", "));
    }
    if !claims.scp.is_empty() {
        line("scp", joined(&claims.scp, " "));
    }
    line("tid", claims.tid.clone());
    line("appid", claims.appid.clone());
    line("oid", claims.oid.clone());
    lines
}

fn audience(names: &Names<'_>, claims: &Claims) -> Option<Told> {
    if claims.aud.is_empty() {
        return None;
    }
    let any_of = |hosts: &[&str], id: &str| {
        claims.aud.iter().any(|aud| {
            let parsed = url::Url::parse(aud).ok();
            let host = parsed.as_ref().and_then(url::Url::host_str).unwrap_or(aud);
            aud.eq_ignore_ascii_case(id)
                || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
        })
    };
    let credential = names.credential();
    let set = format!(
        "set [credentials.{credential}] scope = \"{}\", or leave it out",
        names.scope()
    );
    if any_of(GRAPH_HOSTS, GRAPH_ID) {
        return Some(Told::new(
            Cause::TokenForGraph,
            "the token is for Microsoft Graph, which opens no mailbox over IMAP: the scope is Graph's",
            [set],
        ));
    }
    let asked = names.0.credential.scope.as_deref().unwrap_or_default();
    let resource = asked.trim_end_matches("/.default").trim_end_matches('/');
    let as_asked = claims
        .aud
        .iter()
        .any(|aud| !resource.is_empty() && aud.trim_end_matches('/') == resource);
    if any_of(EXCHANGE_HOSTS, EXCHANGE_ID) || as_asked {
        return None;
    }
    Some(Told::new(
        Cause::TokenForOtherResource,
        "the token is not for Exchange Online",
        [set],
    ))
}

fn expired(names: &Names<'_>, claims: &Claims) -> Option<Told> {
    let end = claims.exp?;
    (end.0 <= names.0.now.0).then(|| {
        Told::new(
            Cause::TokenExpired,
            "the token's time is over, by this machine's clock",
            [
                "check this machine's clock (`timedatectl`); postrider asks for a new token by itself"
                    .to_owned(),
            ],
        )
    })
}

fn identity(names: &Names<'_>, claims: &Claims) -> Option<Told> {
    let credential = names.credential();
    let configured = names.0.credential;
    // A tenant may be configured by a domain, which no claim holds.
    let tenant = configured
        .tenant
        .as_deref()
        .filter(|tenant| uuid::Uuid::try_parse(tenant).is_ok());
    if let (Some(tenant), Some(tid)) = (tenant, claims.tid.as_deref())
        && !tenant.eq_ignore_ascii_case(tid)
    {
        return Some(Told::new(
            Cause::TokenOfOtherTenant,
            format!("the token is another tenant's ({tid}), not {tenant}'s"),
            [format!(
                "set [credentials.{credential}] tenant to the mailboxes' tenant, and register the application there"
            )],
        ));
    }
    if let (Some(client), Some(appid)) = (configured.client_id.as_deref(), claims.appid.as_deref())
        && !client.eq_ignore_ascii_case(appid)
    {
        return Some(Told::new(
            Cause::TokenOfOtherApplication,
            format!("the token is another application's ({appid}), not {client}'s"),
            [format!(
                "check where [credentials.{credential}] gets its token"
            )],
        ));
    }
    None
}

fn application(names: &Names<'_>, claims: &Claims) -> Option<Told> {
    if claims.roles.iter().any(|role| role == PERMISSION) {
        return None;
    }
    let credential = names.credential();
    let is_v1 = names
        .0
        .credential
        .token_url
        .as_deref()
        .is_some_and(|url| url.trim_end_matches('/').ends_with("/oauth2/token"));
    let permission = names.page("API permissions > Add a permission > APIs my organization uses > Office 365 Exchange Online > Application permissions > IMAP.AccessAsApp (Microsoft Graph's list does not have it)");
    let consent = names.page("API permissions > Grant admin consent");
    let wait = format!(
        "then wait some minutes: a token that was given before stays as it is; `postrider credentials renew {credential}` asks for the next one at once"
    );
    Some(if !claims.scp.is_empty() {
        Told::new(
            Cause::UserTokenForApplication,
            "the token stands for a user, and application access is configured",
            [format!(
                "[credentials.{credential}]: application access takes client credentials; for a signed-in user use type = \"microsoft-delegated\" and `postrider login {credential}`"
            )],
        )
    } else if is_v1 {
        Told::new(
            Cause::TokenEndpointV1,
            "the token has no roles: it comes from the old v1 endpoint",
            [
                format!(
                    "[credentials.{credential}] token_url must end in /oauth2/v2.0/token; or use type = \"microsoft\", which knows it"
                ),
                permission,
                consent,
            ],
        )
    } else if claims.roles.is_empty() {
        Told::new(
            Cause::AppConsentMissing,
            format!(
                "the token has no role at all: the permission {PERMISSION} was not added, or no administrator has consented"
            ),
            [
                permission,
                consent,
                format!("or open, as an administrator: {}", names.consent_url()),
                wait,
            ],
        )
    } else {
        Told::new(
            Cause::AppPermissionMissing,
            format!(
                "the application lacks the permission {PERMISSION} (or consent to it); it has others"
            ),
            [permission, consent, wait],
        )
    })
}

fn delegated(names: &Names<'_>, claims: &Claims) -> Option<Told> {
    let credential = names.credential();
    let has_role = claims.roles.iter().any(|role| role == PERMISSION);
    match claims.scp.is_empty() {
        false if claims.scp.iter().any(|scope| scope == USER_PERMISSION) => None,
        false => Some(Told::new(
            Cause::DelegatedPermissionMissing,
            format!("the token lacks the permission {USER_PERMISSION}"),
            [
                names.page("API permissions > Add a permission > APIs my organization uses > Office 365 Exchange Online > Delegated permissions > IMAP.AccessAsUser.All"),
                format!(
                    "set [credentials.{credential}] scope = \"{}\", or leave it out",
                    names.scope()
                ),
                format!("then sign in again: postrider login {credential}"),
            ],
        )),
        // A token from elsewhere may be either kind.
        true if has_role => {
            (names.0.credential.way == super::Way::Delegated).then(|| {
                Told::new(
                    Cause::ApplicationTokenForUser,
                    "the token stands for the application, and a signed-in user is configured",
                    [format!(
                        "[credentials.{credential}]: use type = \"microsoft\" for application access"
                    )],
                )
            })
        }
        true => application(names, claims),
    }
}
