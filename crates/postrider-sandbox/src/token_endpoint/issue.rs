//! Tokens and the answers that carry them; the shared [`TokenAuthority`] learns what each is worth.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    aadsts::guid,
    config::{ClaimsVersion, ExpiresIn, TokenConfig, TokenShape},
    desk::noise,
};
use crate::authority::{Bearer, Holder, TokenAuthority};

pub(super) const GRAPH: &str = "https://graph.microsoft.com";

/// Mail hosts that are resources of Entra, and the id of Exchange Online itself.
const MAIL: &[&str] = &[
    "https://outlook.office365.com",
    "https://outlook.office.com",
    "https://outlook.office365.us",
    "https://outlook-dod.office365.us",
    "https://webmail.apps.mil",
    "https://partner.outlook.cn",
    "00000002-0000-0ff1-ce00-000000000000",
];

pub(super) fn is_mail(resource: &str) -> bool {
    let resource = resource.trim_end_matches('/');
    MAIL.iter().any(|mail| mail.eq_ignore_ascii_case(resource))
}

/// What a token of Entra says and is good for.
pub(super) struct Granted<'a> {
    pub(super) audience: &'a str,
    /// `appidacr`: 0 public, 1 secret, 2 certificate or another assertion.
    pub(super) proof: &'static str,
    pub(super) to: To<'a>,
}

pub(super) enum To<'a> {
    Application { roles: &'a [String] },
    User { name: &'a str, scp: &'a str },
}

/// Mints a token as Entra does, and tells the authority.
pub(super) fn entra_token(
    config: &TokenConfig,
    granted: &Granted<'_>,
    authority: &TokenAuthority,
) -> String {
    let token = match config.shape {
        TokenShape::Opaque => opaque("EwB", config.claims.bytes_min),
        TokenShape::Jwt => jwt(config, granted),
    };
    if let Some(bearer) = opens(config, granted) {
        let holder = Holder {
            tenant: config.tenant.clone(),
            client_id: config.client_id.clone(),
            object_id: config.claims.oid.clone(),
        };
        authority.accept_for(&token, bearer, Some(config.lifetime), holder);
    }
    token
}

/// Whose mailboxes the token opens; Exchange takes no token that is meant for someone else.
fn opens(config: &TokenConfig, granted: &Granted<'_>) -> Option<Bearer> {
    let elsewhere = config.claims.tid.as_ref();
    if !is_mail(granted.audience) || elsewhere.is_some_and(|tid| *tid != config.tenant) {
        return None;
    }
    match granted.to {
        To::Application { roles } => {
            let may = |role: &String| role == "IMAP.AccessAsApp" || role == "POP.AccessAsApp";
            let may = config.claims.scp.is_none() && roles.iter().any(may);
            may.then_some(Bearer::Application)
        }
        To::User { name, scp } => {
            let mut scopes = scp.split(' ');
            let may = |scope| scope == "IMAP.AccessAsUser.All" || scope == "POP.AccessAsUser.All";
            scopes.any(may).then(|| user(config, name))
        }
    }
}

/// A user's own mailbox, and those that were shared with them.
pub(super) fn user(config: &TokenConfig, name: &str) -> Bearer {
    let mut names = vec![name.to_owned()];
    let users = &config.delegated.users;
    if let Some(user) = users.iter().find(|user| user.name == name) {
        names.extend(user.opens.iter().cloned());
    }
    Bearer::Users(names)
}

fn jwt(config: &TokenConfig, granted: &Granted<'_>) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let tenant = config.claims.tid.as_ref().unwrap_or(&config.tenant);
    let mut claims = json!({
        "aud": granted.audience,
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(seconds(config)),
        "oid": config.claims.oid,
        "tid": tenant,
        "uti": noise(16),
    });
    let (app, proof) = match config.claims.version {
        ClaimsVersion::V1 => {
            claims["ver"] = "1.0".into();
            claims["iss"] = format!("https://sts.windows.net/{tenant}/").into();
            ("appid", "appidacr")
        }
        ClaimsVersion::V2 => {
            claims["ver"] = "2.0".into();
            claims["iss"] = format!("https://login.microsoftonline.com/{tenant}/v2.0").into();
            ("azp", "azpacr")
        }
    };
    claims[app] = config.client_id.as_str().into();
    claims[proof] = granted.proof.into();
    match (&granted.to, &config.claims.scp) {
        (To::Application { .. }, Some(scp)) => claims["scp"] = scp.as_str().into(),
        (To::Application { roles: [] }, None) => {}
        (To::Application { roles }, None) => {
            claims["idtyp"] = "app".into();
            claims["roles"] = json!(roles);
        }
        (To::User { name, scp }, _) => {
            claims["scp"] = (*scp).into();
            claims["upn"] = (*name).into();
            claims["unique_name"] = (*name).into();
        }
    }
    let token = unsigned(&claims);
    let missing = config.claims.bytes_min.saturating_sub(token.len());
    if missing == 0 {
        return token;
    }
    claims["xms_padding"] = "x".repeat(missing).into();
    unsigned(&claims)
}

/// A JWT whose signature nobody checks here.
fn unsigned(claims: &Value) -> String {
    let head = json!({"typ": "JWT", "alg": "RS256", "kid": "sandbox"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&head), part(claims), noise(256))
}

pub(super) fn opaque(start: &str, bytes_min: usize) -> String {
    let mut token = format!("{start}{}", noise(64));
    while token.len() < bytes_min {
        token.push_str(&noise(64));
    }
    token
}

pub(super) fn id_token(config: &TokenConfig, name: &str) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    unsigned(&json!({
        "aud": config.client_id,
        "iss": format!("https://login.microsoftonline.com/{}/v2.0", config.tenant),
        "iat": now,
        "exp": now.saturating_add(3600),
        "preferred_username": name,
        "email": name,
        "name": "Sandbox User",
        "oid": guid(),
        "tid": config.tenant,
        "ver": "2.0",
    }))
}

/// The fields that every provider's answer has.
pub(super) fn answer(config: &TokenConfig, token: &str) -> Value {
    let mut body = json!({"token_type": "Bearer", "access_token": token});
    if let Some(expires_in) = expires_in(config) {
        body["expires_in"] = expires_in;
    }
    body
}

/// With Entra's own fields.
pub(super) fn entra_answer(config: &TokenConfig, token: &str) -> Value {
    let mut body = answer(config, token);
    if let (true, Some(expires_in)) = (config.ext_expires_in, expires_in(config)) {
        body["ext_expires_in"] = expires_in;
    }
    if let Some(refresh_in) = config.refresh_in {
        body["refresh_in"] = refresh_in.as_secs().into();
    }
    body
}

/// The older endpoint's answer: text throughout, and the resource named.
pub(super) fn v1_answer(config: &TokenConfig, token: &str, resource: &str) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let lifetime = seconds(config);
    json!({
        "token_type": "Bearer",
        "expires_in": lifetime.to_string(),
        "ext_expires_in": lifetime.to_string(),
        "expires_on": now.saturating_add(lifetime).to_string(),
        "not_before": now.to_string(),
        "resource": resource,
        "access_token": token,
    })
}

fn expires_in(config: &TokenConfig) -> Option<Value> {
    match config.expires_in {
        ExpiresIn::Number => Some(seconds(config).into()),
        ExpiresIn::Text => Some(seconds(config).to_string().into()),
        ExpiresIn::Missing => None,
    }
}

pub(super) fn seconds(config: &TokenConfig) -> i64 {
    i64::try_from(config.lifetime.as_secs()).unwrap_or(i64::MAX)
}
