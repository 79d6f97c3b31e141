//! Google's token endpoint: service accounts that act for a domain's users, and people who signed in
//! (<https://developers.google.com/identity/protocols/oauth2/service-account>).

use serde_json::json;
use time::OffsetDateTime;

use super::{
    ask::{Ask, DEVICE_CODE, Desk, JWT_BEARER},
    browser::{self, Visit},
    config::{Provider, ServiceAccount},
    desk::{Denied, SignIn},
    issue,
    refusal::Refusal,
    state::{Answer, State},
};
use crate::authority::{Bearer, TokenAuthority};

/// What a key file names, whatever address the sandbox has.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Scopes that open mailboxes over IMAP.
const MAIL: &[&str] = &[
    "https://mail.google.com/",
    "https://www.googleapis.com/auth/gmail.imap_admin",
];

/// An assertion may live so long, and clocks may be so far apart.
const HOUR: i64 = 3600;
const SKEW: i64 = 300;

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

fn token(state: &mut State, authority: &TokenAuthority, ask: &Ask) -> Result<Answer, Refusal> {
    if !ask.is_post() || !ask.is_form {
        return Err(invalid("invalid_request", "Could not parse the request."));
    }
    let grant = ask.form.get("grant_type").unwrap_or_default();
    if grant == JWT_BEARER {
        return service_account(state, authority, ask);
    }
    let app = client(state, ask)?;
    let field = |name: &str| {
        let why = format!("Missing required parameter: {name}");
        ask.form
            .get(name)
            .ok_or_else(|| invalid("invalid_request", &why))
    };
    let settings = state.apps[app].config.delegated.clone();
    let mut first = true;
    let sign_in = match grant {
        "refresh_token" => {
            first = false;
            let token = field("refresh_token")?;
            state.sign_ins.refresh(app, token, settings.rotation)
        }
        "authorization_code" => {
            let (code, verifier) = (field("code")?, ask.form.get("code_verifier"));
            let redirect_uri = Some(field("redirect_uri")?);
            state.sign_ins.redeem(app, code, redirect_uri, verifier)
        }
        DEVICE_CODE => {
            let code = field("device_code")?;
            state.sign_ins.poll(app, &settings, code)
        }
        _ => return Err(invalid("unsupported_grant_type", "Invalid grant_type")),
    };
    let sign_in = sign_in.map_err(worded)?;
    Ok(person(state, authority, app, &sign_in, first))
}

/// The device flow has statuses of its own here.
fn worded(denied: Denied) -> Refusal {
    match denied {
        Denied::Pending => Refusal::oauth(428, "authorization_pending", "Precondition Required"),
        Denied::SlowDown => Refusal::oauth(403, "slow_down", "Forbidden"),
        Denied::Declined => Refusal::oauth(403, "access_denied", "Forbidden"),
        denied => Refusal::plain(denied),
    }
}

fn person(
    state: &mut State,
    authority: &TokenAuthority,
    app: usize,
    sign_in: &SignIn,
    first: bool,
) -> Answer {
    let config = &state.apps[app].config;
    let token = issue::opaque("ya29.a0", config.claims.bytes_min);
    if opens_mail(&sign_in.scope) {
        let bearer = issue::user(config, &sign_in.user);
        authority.accept(&token, bearer, Some(config.lifetime));
    }
    let mut body = issue::answer(config, &token);
    body["scope"] = sign_in.scope.as_str().into();
    if sign_in.scope.split(' ').any(|scope| scope == "openid") {
        body["id_token"] = issue::id_token(config, &sign_in.user).into();
    }
    state.issued(app, token);
    if first {
        body["refresh_token"] = state.new_refresh(app, sign_in.clone()).into();
    }
    Answer::Json(body)
}

fn opens_mail(scope: &str) -> bool {
    scope.split(' ').any(|scope| MAIL.contains(&scope))
}

/// Google's clients have a secret, installed ones too.
fn client(state: &State, ask: &Ask) -> Result<usize, Refusal> {
    let unknown = || Refusal::oauth(401, "invalid_client", "The OAuth client was not found.");
    let client = ask.client_id().ok_or_else(unknown)?;
    let is_google = |provider: &Provider| *provider == Provider::Google;
    let app = state.find(is_google, None, client).ok_or_else(unknown)?;
    let secrets = &state.apps[app].config.secrets;
    let proven = ask
        .client_secret()
        .is_some_and(|secret| secrets.iter().any(|known| known == secret));
    if proven || secrets.is_empty() {
        Ok(app)
    } else {
        Err(Refusal::oauth(401, "invalid_client", "Unauthorized"))
    }
}

fn service_account(
    state: &mut State,
    authority: &TokenAuthority,
    ask: &Ask,
) -> Result<Answer, Refusal> {
    let grant = |why: &str| invalid("invalid_grant", why);
    let jwt = ask.bearer_assertion();
    let jwt = jwt.ok_or_else(|| grant("Bad Request"))?;
    let email = jwt.claim("iss").unwrap_or_default();
    let found = state.apps.iter().enumerate().find_map(|(at, app)| {
        let account = account(&app.config.provider)?;
        (app.config.client_id == email).then_some((at, account))
    });
    let (app, account) = found.ok_or_else(|| grant("Invalid grant: account not found"))?;
    if jwt.header("alg") != Some("RS256") || !jwt.is_signed_by(&account.public_key) {
        return Err(grant("Invalid JWT Signature."));
    }
    if jwt.header("kid").is_some_and(|kid| kid != account.key_id) {
        return Err(grant("Invalid JWT Signature."));
    }
    let audience = jwt.claim("aud");
    if audience != Some(TOKEN_URI) && audience != Some(ask.url.as_str()) {
        let why = format!("Invalid JWT: Failed audience check. The right audience is {TOKEN_URI}");
        return Err(grant(&why));
    }
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let (from, until) = (jwt.seconds("iat"), jwt.seconds("exp"));
    let short = match (from, until) {
        (Some(from), Some(until)) => {
            from <= now + SKEW && until > now - SKEW && (1..=HOUR).contains(&(until - from))
        }
        (Some(_) | None, None) | (None, Some(_)) => false,
    };
    if !short {
        return Err(grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
             timeframe. Check your iat and exp values in the JWT claim.",
        ));
    }
    let scope = jwt.claim("scope").filter(|scope| !scope.is_empty());
    let scope =
        scope.ok_or_else(|| invalid("invalid_scope", "Empty or missing scope not allowed."))?;
    let subject = jwt.claim("sub").filter(|subject| *subject != email);
    if let Some(subject) = subject {
        may_act_for(account, subject, scope)?;
    }
    let config = &state.apps[app].config;
    let token = issue::opaque("ya29.c.b0", config.claims.bytes_min);
    if let (Some(subject), true) = (subject, opens_mail(scope)) {
        let bearer = Bearer::User(subject.to_owned());
        authority.accept(&token, bearer, Some(config.lifetime));
    }
    let body = issue::answer(config, &token);
    state.issued(app, token);
    Ok(Answer::Json(body))
}

fn may_act_for(account: &ServiceAccount, subject: &str, scope: &str) -> Result<(), Refusal> {
    let delegated = |scope: &str| account.delegated.iter().any(|known| known == scope);
    if !scope.split(' ').all(delegated) {
        let why = "Client is unauthorized to retrieve access tokens using this method, or client \
                   not authorized for any of the scopes requested.";
        return Err(Refusal::oauth(401, "unauthorized_client", why));
    }
    let domain = subject.rsplit_once('@').map(|(_, domain)| domain);
    if domain != Some(account.domain.as_str()) {
        return Err(invalid("invalid_grant", "Invalid email or User ID"));
    }
    Ok(())
}

fn account(provider: &Provider) -> Option<&ServiceAccount> {
    match provider {
        Provider::GoogleServiceAccount(account) => Some(account),
        Provider::Entra
        | Provider::ManagedIdentity { .. }
        | Provider::Google
        | Provider::Generic => None,
    }
}

/// Few scopes may be had by the device flow, and mail is not among them
/// (<https://developers.google.com/identity/protocols/oauth2/limited-input-device#allowedscopes>).
fn device(state: &mut State, ask: &Ask) -> Result<Answer, Refusal> {
    let unknown = || Refusal::oauth(401, "invalid_client", "The OAuth client was not found.");
    let client = ask.client_id().ok_or_else(unknown)?;
    let is_google = |provider: &Provider| *provider == Provider::Google;
    let app = state.find(is_google, None, client).ok_or_else(unknown)?;
    let scope = ask.form.get("scope").unwrap_or_default();
    let allowed = ["openid", "email", "profile"];
    if scope.is_empty() || !scope.split(' ').all(|scope| allowed.contains(&scope)) {
        let why = format!("Invalid device flow scope: {scope}");
        return Err(invalid("invalid_scope", &why));
    }
    let settings = state.apps[app].config.delegated.clone();
    let (device_code, user_code) = state.sign_ins.start_device(app, &settings, scope);
    Ok(Answer::Json(json!({
        "device_code": device_code,
        "user_code": user_code,
        "expires_in": settings.device_lifetime.as_secs(),
        "interval": settings.device_interval.as_secs(),
        "verification_url": "https://www.google.com/device",
    })))
}

fn authorize(state: &mut State, ask: &Ask) -> Result<Answer, Refusal> {
    let page = |text: &str| Refusal::Page {
        status: 400,
        text: text.to_owned(),
    };
    let client = ask.query.get("client_id").unwrap_or_default();
    let is_google = |provider: &Provider| *provider == Provider::Google;
    let app = state.find(is_google, None, client);
    let app = app.ok_or_else(|| page("Error 401: invalid_client"))?;
    let redirect_uri = ask.query.get("redirect_uri").unwrap_or_default();
    if !browser::is_loopback(redirect_uri) {
        return Err(page("Error 400: redirect_uri_mismatch"));
    }
    let visit = Visit {
        app,
        redirect_uri,
        scope: ask.query.get("scope").unwrap_or_default(),
        denied: "The user denied access.",
    };
    Ok(visit.answer(state, ask))
}

fn invalid(error: &'static str, why: &str) -> Refusal {
    Refusal::oauth(400, error, why)
}
