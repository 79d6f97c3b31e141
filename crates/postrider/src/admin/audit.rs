//! `/v1/audit` and `/v1/tokens`: who did what, and who may.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_core::time::Wall;
use postrider_store::NewToken;

use super::{
    api,
    caller::Caller,
    server::{Admin, Refusal, time},
};
use crate::clock;

const LIMIT_DEFAULT: u32 = 100;
/// What a token begins with, so that scanners and people know one when they see it.
const PREFIX: &str = "postrider_";
const LIST: &str = "postrider admin token list";

pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<api::AuditQuery>,
) -> Result<Json<api::Audit>, Refusal> {
    let since = query.since.as_deref().map(time).transpose()?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    let rows = admin.shared.store.audit(since, limit).await?;
    let entry = |row: postrider_store::AuditRow| api::AuditEntry {
        id: row.id,
        at: row.at.rfc3339(),
        who: row.who,
        through: row.through,
        what: row.what,
        selector: row.selector,
        affected: row.affected,
        why: row.why,
    };
    Ok(Json(api::Audit {
        audit: rows.into_iter().map(entry).collect(),
    }))
}

/// As it is stored: 256 random bits need no slow hash.
pub(super) fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

pub(super) async fn create_token(
    State(admin): State<Admin>,
    caller: Caller,
    Json(request): Json<api::CreateToken>,
) -> Result<Json<api::CreatedToken>, Refusal> {
    let name = request.name;
    if !is_name(&name) {
        return Err(Refusal::bad_request(
            format!("`{name}` is no name"),
            "lower-case letters, digits and -, at most 63, not - first",
        ));
    }
    let expires = request.expires.as_deref().map(time).transpose()?;
    if expires.is_some_and(|at| at <= clock::wall()) {
        return Err(Refusal::bad_request("it would have ended already", ""));
    }
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the system gives no random bytes",
            "",
        )
    })?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let new = NewToken {
        name: name.clone(),
        hash: hash(&token),
        scope: request.scope.as_str().to_owned(),
        expires,
    };
    if !admin
        .shared
        .store
        .create_token(new, &caller.act(None))
        .await?
    {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("there is a token `{name}` already"),
            "revoke it first, or choose another name",
        ));
    }
    Ok(Json(api::CreatedToken {
        name,
        token,
        scope: request.scope,
        expires: expires.map(Wall::rfc3339),
    }))
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && text.bytes().all(plain)
}

pub(super) async fn tokens(State(admin): State<Admin>) -> Result<Json<api::Tokens>, Refusal> {
    let now = clock::wall();
    let rows = admin.shared.store.admin_tokens().await?;
    let token = |row: postrider_store::TokenRow| api::Token {
        name: row.name,
        scope: row.scope,
        state: match (row.revoked, row.expires) {
            (Some(_), _) => "revoked",
            (None, Some(at)) if at <= now => "expired",
            (None, _) => "live",
        }
        .to_owned(),
        created_at: row.created_at.rfc3339(),
        created_by: row.created_by,
        expires: row.expires.map(Wall::rfc3339),
        revoked: row.revoked.map(Wall::rfc3339),
    };
    Ok(Json(api::Tokens {
        tokens: rows.into_iter().map(token).collect(),
    }))
}

pub(super) async fn revoke_token(
    State(admin): State<Admin>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<api::Done>, Refusal> {
    let store = &admin.shared.store;
    if !store.revoke_token(&name, &caller.act(None)).await? {
        return Err(Refusal::not_found("live token", &name, LIST));
    }
    Ok(Json(api::Done {
        id: name,
        done: "revoked".to_owned(),
        folders: Vec::new(),
    }))
}
