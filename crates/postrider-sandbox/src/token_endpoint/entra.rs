//! Entra's desks: who may ask for a token, and for which resource. It is as strict as the real one.

use serde_json::{Value, json};

use super::{
    aadsts::{self, Names},
    ask::{Ask, CERTIFICATE_OR_FEDERATED, DEVICE_CODE, Desk},
    assertion,
    browser::{self, Visit},
    config::{Provider, Rotation},
    desk::SignIn,
    issue::{self, GRAPH, Granted, To, is_mail},
    refusal::Refusal,
    state::{Answer, State},
};
use crate::authority::TokenAuthority;

/// Resources beside mail that a tenant has.
const OTHERS: &[&str] = &[
    GRAPH,
    "https://ps.outlook.com",
    "https://management.azure.com",
];

/// What stands in a scope for the sign-in itself.
const OPENID: &[&str] = &["openid", "profile", "email", "offline_access"];

pub(super) fn answer(
    state: &mut State,
    authority: &TokenAuthority,
    ask: &Ask,
    tenant: &str,
    desk: Desk,
) -> Result<Answer, Refusal> {
    match desk {
        Desk::Authorize => authorize(state, ask, tenant),
        Desk::Device => {
            let app = client(state, ask, tenant)?;
            device(state, ask, app)
        }
        Desk::Token => {
            let app = client(state, ask, tenant)?;
            token(state, authority, ask, app)
        }
        Desk::TokenV1 => {
            let app = client(state, ask, tenant)?;
            token_v1(state, authority, ask, app)
        }
    }
}

fn is_entra(provider: &Provider) -> bool {
    *provider == Provider::Entra
}

/// The application that asks; whether it is who it says is not known yet.
fn client(state: &State, ask: &Ask, tenant: &str) -> Result<usize, Refusal> {
    if !ask.is_post() {
        let words = format!(
            "The endpoint only accepts POST requests. Received a {} request.",
            ask.method
        );
        return Err(Refusal::says(900_561, &words));
    }
    if !state.has_tenant(tenant) {
        let anyone = ["common", "organizations", "consumers"].contains(&tenant);
        return Err(Refusal::aadsts(if anyone { 50_194 } else { 90_002 }));
    }
    if !ask.is_form {
        return Err(Refusal::missing("grant_type"));
    }
    if ask.form.repeated().is_some() {
        return Err(Refusal::aadsts(9_000_411));
    }
    let client = ask
        .client_id()
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let found = state.find(is_entra, Some(tenant), client);
    found.ok_or_else(|| Refusal::aadsts(700_016))
}

/// How the application proved itself: the value of `appidacr`.
fn authenticate(state: &mut State, ask: &Ask, app: usize) -> Result<Option<&'static str>, Refusal> {
    let config = &mut state.apps[app].config;
    if let Some(shown) = ask.form.get("client_assertion") {
        if ask.form.get("client_assertion_type") != Some(CERTIFICATE_OR_FEDERATED) {
            return Err(Refusal::missing("client_assertion_type"));
        }
        assertion::check(config, &mut state.used_assertions, shown, &ask.url)?;
        return Ok(Some("2"));
    }
    let Some(secret) = ask.client_secret() else {
        return Ok(None);
    };
    let is = |known: &String| known == secret;
    if config.secrets.iter().any(is) {
        Ok(Some("1"))
    } else if config.expired_secrets.iter().any(is) {
        Err(Refusal::aadsts(7_000_222))
    } else if config.secrets.is_empty() && config.delegated.public_client {
        Err(Refusal::aadsts(700_025))
    } else {
        Err(Refusal::aadsts(7_000_215))
    }
}

fn token(
    state: &mut State,
    authority: &TokenAuthority,
    ask: &Ask,
    app: usize,
) -> Result<Answer, Refusal> {
    let grant = ask.form.get("grant_type");
    let grant = grant.ok_or_else(|| Refusal::missing("grant_type"))?;
    let proof = authenticate(state, ask, app)?;
    if grant == "client_credentials" {
        let proof = proof.ok_or_else(|| Refusal::aadsts(7_000_218))?;
        let resource = application_resource(state, ask, app)?;
        return Ok(application(state, authority, app, &resource, proof));
    }
    if proof.is_none() && !state.apps[app].config.delegated.public_client {
        return Err(Refusal::aadsts(7_000_218));
    }
    let field = |name: &str| ask.form.get(name).ok_or_else(|| Refusal::missing(name));
    let settings = state.apps[app].config.delegated.clone();
    let (sign_in, old) = match grant {
        DEVICE_CODE => {
            let code = field("device_code")?;
            (state.sign_ins.poll(app, &settings, code), None)
        }
        "authorization_code" => {
            let (code, verifier) = (field("code")?, ask.form.get("code_verifier"));
            let redirect_uri = Some(field("redirect_uri")?);
            let sign_in = state.sign_ins.redeem(app, code, redirect_uri, verifier);
            (sign_in, None)
        }
        "refresh_token" => {
            let old = field("refresh_token")?;
            let sign_in = state.sign_ins.refresh(app, old, settings.rotation);
            (sign_in, Some(settings.rotation))
        }
        _ => return Err(Refusal::aadsts(70_003)),
    };
    let mut sign_in = sign_in.map_err(Refusal::entra)?;
    // A narrower or another scope may be asked for; the refresh token stays as wide as it was.
    let kept = sign_in.clone();
    if let Some(scope) = ask.form.get("scope") {
        sign_in.scope = scope.to_owned();
    }
    delegated(state, authority, app, &sign_in, &kept, proof, old)
}

/// Exactly one resource, and all that it has granted.
fn application_resource(state: &State, ask: &Ask, app: usize) -> Result<String, Refusal> {
    let scope = ask.form.get("scope");
    let scope = scope.ok_or_else(|| Refusal::missing("scope"))?;
    if scope.split_whitespace().count() > 1 {
        return Err(Refusal::aadsts(700_022));
    }
    let resource = scope.strip_suffix("/.default");
    let resource = resource.ok_or_else(|| Refusal::aadsts(1_002_012))?;
    known_resource(state, app, resource).map(str::to_owned)
}

fn known_resource<'a>(state: &State, app: usize, resource: &'a str) -> Result<&'a str, Refusal> {
    let resource = resource.trim_end_matches('/');
    let own = &state.apps[app].config.audience;
    if is_mail(resource) || OTHERS.contains(&resource) || own == resource {
        Ok(resource)
    } else {
        Err(Refusal::aadsts(500_011))
    }
}

fn application(
    state: &mut State,
    authority: &TokenAuthority,
    app: usize,
    resource: &str,
    proof: &'static str,
) -> Answer {
    let config = &state.apps[app].config;
    let mail = is_mail(resource) || config.audience == resource;
    let granted = Granted {
        audience: if mail { &config.audience } else { resource },
        proof,
        to: To::Application {
            roles: if mail { &config.roles } else { &[] },
        },
    };
    let token = issue::entra_token(config, &granted, authority);
    let body = issue::entra_answer(config, &token);
    state.issued(app, token);
    Answer::Json(body)
}

/// The older endpoint names a resource instead of a scope, and its tokens have no roles for mail.
fn token_v1(
    state: &mut State,
    authority: &TokenAuthority,
    ask: &Ask,
    app: usize,
) -> Result<Answer, Refusal> {
    if ask.form.get("grant_type") != Some("client_credentials") {
        return Err(Refusal::aadsts(70_003));
    }
    let proof = authenticate(state, ask, app)?;
    let proof = proof.ok_or_else(|| Refusal::aadsts(7_000_218))?;
    let resource = ask.form.get("resource");
    let resource = resource.ok_or_else(|| Refusal::missing("resource"))?;
    let resource = known_resource(state, app, resource)?;
    let config = &state.apps[app].config;
    let granted = Granted {
        audience: resource,
        proof,
        to: To::Application { roles: &[] },
    };
    let token = issue::entra_token(config, &granted, authority);
    let body = issue::v1_answer(config, &token, resource);
    state.issued(app, token);
    Ok(Answer::Json(body))
}

fn device(state: &mut State, ask: &Ask, app: usize) -> Result<Answer, Refusal> {
    let scope = ask.form.get("scope");
    let scope = scope.ok_or_else(|| Refusal::missing("scope"))?;
    delegated_resource(state, app, scope)?;
    let settings = state.apps[app].config.delegated.clone();
    let (device_code, user_code) = state.sign_ins.start_device(app, &settings, scope);
    Ok(Answer::Json(json!({
        "user_code": user_code,
        "device_code": device_code,
        "verification_uri": "https://microsoft.com/devicelogin",
        "expires_in": settings.device_lifetime.as_secs(),
        "interval": settings.device_interval.as_secs(),
        "message": format!(
            "To sign in, use a web browser to open the page https://microsoft.com/devicelogin and \
             enter the code {user_code} to authenticate."
        ),
    })))
}

/// The one resource of a sign-in's scopes, and the permissions without it. A bare permission is
/// Graph's.
fn delegated_resource(state: &State, app: usize, scope: &str) -> Result<(String, String), Refusal> {
    let wanted: Vec<&str> = scope
        .split_whitespace()
        .filter(|one| !OPENID.contains(one))
        .collect();
    let mut resources = Vec::new();
    let mut permissions = Vec::new();
    for one in wanted {
        let (resource, permission) = one.rsplit_once('/').unwrap_or((GRAPH, one));
        resources.push(known_resource(state, app, resource)?);
        permissions.push(permission);
    }
    resources.dedup();
    match resources.as_slice() {
        [] => Ok((GRAPH.to_owned(), "openid".to_owned())),
        [resource] => Ok(((*resource).to_owned(), permissions.join(" "))),
        [_, _, ..] => Err(Refusal::aadsts(700_022)),
    }
}

fn delegated(
    state: &mut State,
    authority: &TokenAuthority,
    app: usize,
    sign_in: &SignIn,
    kept: &SignIn,
    proof: Option<&'static str>,
    rotation: Option<Rotation>,
) -> Result<Answer, Refusal> {
    let (resource, scp) = delegated_resource(state, app, &sign_in.scope)?;
    let config = &state.apps[app].config;
    let granted = Granted {
        audience: &resource,
        proof: proof.unwrap_or("0"),
        to: To::User {
            name: &sign_in.user,
            scp: &scp,
        },
    };
    let token = issue::entra_token(config, &granted, authority);
    let mut body = issue::entra_answer(config, &token);
    let full: Vec<String> = scp
        .split(' ')
        .map(|one| format!("{resource}/{one}"))
        .collect();
    body["scope"] = full.join(" ").into();
    let has = |scope: &str, name: &str| scope.split_whitespace().any(|one| one == name);
    if has(&sign_in.scope, "openid") {
        body["id_token"] = issue::id_token(config, &sign_in.user).into();
    }
    state.issued(app, token);
    let again = match rotation {
        None => has(&kept.scope, "offline_access"),
        Some(Rotation::OldStaysGood | Rotation::OldIsRevoked) => true,
        Some(Rotation::NoNewOne) => false,
    };
    if again {
        body["refresh_token"] = Value::String(state.new_refresh(app, kept.clone()));
    }
    Ok(Answer::Json(body))
}

/// A browser comes. What is wrong with the client or its address is told to the person alone.
fn authorize(state: &mut State, ask: &Ask, tenant: &str) -> Result<Answer, Refusal> {
    let client = ask.query.get("client_id").unwrap_or_default();
    let redirect_uri = ask.query.get("redirect_uri").unwrap_or_default();
    let page = |code: u32| {
        let names = Names {
            app: client,
            tenant,
            resource: redirect_uri,
            user: "",
        };
        Refusal::Page {
            status: 400,
            text: aadsts::text(code, &names),
        }
    };
    if !state.has_tenant(tenant) {
        return Err(page(90_002));
    }
    let app = state.find(is_entra, Some(tenant), client);
    let app = app.ok_or_else(|| page(700_016))?;
    let registered = &state.apps[app].config.delegated.redirect_uris;
    if !browser::is_registered(registered, redirect_uri) {
        return Err(page(50_011));
    }
    if ask
        .query
        .get("response_mode")
        .is_some_and(|mode| mode != "query")
    {
        return Err(Refusal::Page {
            status: 400,
            text: "this sandbox answers in the query alone".to_owned(),
        });
    }
    let scope = ask.query.get("scope").unwrap_or_default();
    if delegated_resource(state, app, scope).is_err() {
        return Err(page(650_057));
    }
    let visit = Visit {
        app,
        redirect_uri,
        scope,
        denied: "AADSTS65004: User declined to consent to access the app.",
    };
    Ok(visit.answer(state, ask))
}
