//! A machine's own identities, as Azure's instance metadata service hands out their tokens
//! (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>).

use hyper::Method;
use serde_json::json;
use time::OffsetDateTime;

use super::{
    ask::Ask,
    config::{Provider, TokenConfig},
    issue::{self, Granted, To},
    refusal::Refusal,
    state::{Answer, State},
};
use crate::authority::TokenAuthority;

/// The oldest version that has identities.
const VERSION: &str = "2018-02-01";

pub(super) fn answer(
    state: &mut State,
    authority: &TokenAuthority,
    ask: &Ask,
) -> Result<Answer, Refusal> {
    if ask.method != Method::GET {
        return Err(Refusal::oauth(405, "method_not_allowed", "GET only"));
    }
    if ask.proxied {
        return Err(bad("Requests through a proxy are not served"));
    }
    if ask.header("metadata") != Some("true") {
        return Err(bad("Required metadata header not specified"));
    }
    match ask.query.get("api-version") {
        None => return Err(bad("Required query variable 'api-version' is missing")),
        Some(version) if version < VERSION => {
            return Err(bad("The requested api version is not supported"));
        }
        Some(_) => {}
    }
    let resource = ask.query.get("resource");
    let resource = resource.ok_or_else(|| bad("Required audience parameter not specified"))?;
    if !resource.starts_with("https://") {
        let why = "AADSTS500011: The resource principal was not found in the tenant.";
        return Err(Refusal::oauth(400, "invalid_resource", why));
    }
    let app = identity(state, ask)?;
    let config = &state.apps[app].config;
    let mail = issue::is_mail(resource);
    let granted = Granted {
        audience: if mail { &config.audience } else { resource },
        proof: "2",
        to: To::Application {
            roles: if mail { &config.roles } else { &[] },
        },
    };
    let token = issue::entra_token(config, &granted, authority);
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let lifetime = issue::seconds(config);
    let body = json!({
        "access_token": token,
        "refresh_token": "",
        "client_id": config.client_id,
        "expires_in": lifetime.to_string(),
        "expires_on": now.saturating_add(lifetime).to_string(),
        "ext_expires_in": lifetime.to_string(),
        "not_before": now.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    state.issued(app, token);
    Ok(Answer::Json(body))
}

/// Which identity is meant.
pub(super) fn identity(state: &State, ask: &Ask) -> Result<usize, Refusal> {
    let all: Vec<usize> = (0..state.apps.len())
        .filter(|&app| resource_id(&state.apps[app].config).is_some())
        .collect();
    let only = |test: &dyn Fn(&TokenConfig) -> bool| {
        let mut found = all.iter().filter(|&&app| test(&state.apps[app].config));
        found
            .next()
            .copied()
            .ok_or_else(|| bad("Identity not found"))
    };
    let query = |name| ask.query.get(name);
    if let Some(id) = query("client_id") {
        return only(&|config| config.client_id == id);
    }
    if let Some(id) = query("object_id") {
        return only(&|config| config.claims.oid == id);
    }
    if let Some(id) = query("msi_res_id").or_else(|| query("mi_res_id")) {
        return only(&|config| resource_id(config) == Some(Some(id)));
    }
    let system = all
        .iter()
        .find(|&&app| resource_id(&state.apps[app].config) == Some(None));
    match (system, all.as_slice()) {
        (Some(&system), _) => Ok(system),
        (None, [one]) => Ok(*one),
        (None, []) => Err(bad("Identity not found")),
        (None, _) => Err(bad(
            "Multiple user assigned identities exist, please specify the clientId / resourceId of \
             the identity in the token request",
        )),
    }
}

/// Of a managed identity; the one that belongs to the machine itself has none.
fn resource_id(config: &TokenConfig) -> Option<Option<&str>> {
    match &config.provider {
        Provider::ManagedIdentity { resource_id } => Some(resource_id.as_deref()),
        Provider::Entra
        | Provider::Google
        | Provider::GoogleServiceAccount(_)
        | Provider::Generic => None,
    }
}

fn bad(why: &str) -> Refusal {
    Refusal::oauth(400, "invalid_request", why)
}
