//! Any other provider: RFC 6749, RFC 7636 and RFC 8628, without anything of one's own.

use serde_json::json;

use super::{
    ask::{Ask, DEVICE_CODE, Desk},
    browser::{self, Visit},
    config::{Provider, Rotation},
    issue,
    refusal::Refusal,
    state::{Answer, State},
};
use crate::authority::{Bearer, TokenAuthority};

pub(super) fn answer(
    state: &mut State,
    authority: &TokenAuthority,
    ask: &Ask,
    desk: Desk,
) -> Result<Answer, Refusal> {
    match desk {
        Desk::Authorize => authorize(state, ask),
        Desk::Device => device(state, ask),
        Desk::Token | Desk::TokenV1 => token(state, authority, ask),
    }
}

fn client(state: &State, ask: &Ask) -> Result<usize, Refusal> {
    if !ask.is_post() || !ask.is_form || ask.form.repeated().is_some() {
        return Err(invalid(
            "invalid_request",
            "one form, by POST, each name once",
        ));
    }
    // RFC 6749 section 2.3: one way to authenticate, not two.
    if ask.basic.is_some() && ask.form.get("client_secret").is_some() {
        return Err(invalid(
            "invalid_request",
            "two kinds of client authentication",
        ));
    }
    let is_generic = |provider: &Provider| *provider == Provider::Generic;
    let found = ask
        .client_id()
        .and_then(|client| state.find(is_generic, None, client));
    let app = found.ok_or_else(unauthenticated)?;
    let config = &state.apps[app].config;
    match ask.client_secret() {
        Some(secret) if config.secrets.iter().any(|known| known == secret) => Ok(app),
        None if config.secrets.is_empty() => Ok(app),
        Some(_) | None => Err(unauthenticated()),
    }
}

fn token(state: &mut State, authority: &TokenAuthority, ask: &Ask) -> Result<Answer, Refusal> {
    let app = client(state, ask)?;
    let field = |name: &str| {
        let why = format!("{name} is missing");
        ask.form
            .get(name)
            .ok_or_else(|| invalid("invalid_request", &why))
    };
    let settings = state.apps[app].config.delegated.clone();
    let grant = field("grant_type")?;
    let sign_in = match grant {
        "client_credentials" => None,
        "refresh_token" => {
            let old = field("refresh_token")?;
            Some(state.sign_ins.refresh(app, old, settings.rotation))
        }
        "authorization_code" => {
            let (code, verifier) = (field("code")?, ask.form.get("code_verifier"));
            let redirect_uri = Some(field("redirect_uri")?);
            Some(state.sign_ins.redeem(app, code, redirect_uri, verifier))
        }
        DEVICE_CODE => Some(state.sign_ins.poll(app, &settings, field("device_code")?)),
        _ => return Err(invalid("unsupported_grant_type", "no such grant here")),
    };
    let sign_in = sign_in.transpose().map_err(Refusal::plain)?;
    let config = &state.apps[app].config;
    let token = issue::opaque("", config.claims.bytes_min);
    let bearer = match &sign_in {
        None => Bearer::Application,
        Some(sign_in) => issue::user(config, &sign_in.user),
    };
    authority.accept(&token, bearer, Some(config.lifetime));
    let mut body = issue::answer(config, &token);
    state.issued(app, token);
    if let Some(sign_in) = sign_in {
        body["scope"] = sign_in.scope.as_str().into();
        let again = grant != "refresh_token" || settings.rotation != Rotation::NoNewOne;
        if again {
            body["refresh_token"] = state.new_refresh(app, sign_in).into();
        }
    }
    Ok(Answer::Json(body))
}

fn device(state: &mut State, ask: &Ask) -> Result<Answer, Refusal> {
    let app = client(state, ask)?;
    let scope = ask.form.get("scope").unwrap_or_default();
    let settings = state.apps[app].config.delegated.clone();
    let (device_code, user_code) = state.sign_ins.start_device(app, &settings, scope);
    Ok(Answer::Json(json!({
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri": "https://sandbox.example/device",
        "verification_uri_complete": format!("https://sandbox.example/device?code={user_code}"),
        "expires_in": settings.device_lifetime.as_secs(),
        "interval": settings.device_interval.as_secs(),
    })))
}

fn authorize(state: &mut State, ask: &Ask) -> Result<Answer, Refusal> {
    let page = |text: &str| Refusal::Page {
        status: 400,
        text: text.to_owned(),
    };
    let is_generic = |provider: &Provider| *provider == Provider::Generic;
    let client = ask.query.get("client_id").unwrap_or_default();
    let app = state.find(is_generic, None, client);
    let app = app.ok_or_else(|| page("no such client"))?;
    let redirect_uri = ask.query.get("redirect_uri").unwrap_or_default();
    if !browser::is_loopback(redirect_uri) {
        return Err(page("no such redirect_uri"));
    }
    let visit = Visit {
        app,
        redirect_uri,
        scope: ask.query.get("scope").unwrap_or_default(),
        denied: "the user declined",
    };
    Ok(visit.answer(state, ask))
}

fn unauthenticated() -> Refusal {
    Refusal::oauth(401, "invalid_client", "client authentication failed")
}

fn invalid(error: &'static str, why: &str) -> Refusal {
    Refusal::oauth(400, error, why)
}
