//! GitLab (incoming mail, Service Desk): `POST /api/v4/internal/mail_room/incoming_email` or
//! `…/service_desk_email`, the message as the body, as GitLab's own mail_room delivers it.
//!
//! Sources: GitLab `lib/gitlab/mail_room.rb` (header and issuer), `lib/gitlab/mail_room/authenticator.rb`,
//! `lib/api/internal/mail_room.rb`; the `mail_room` gem's `delivery/postback.rb`; GitLab's chart.
//! - `Gitlab-Mailroom-Api-Request` carries a JWT (RFC 7519) by HS256: `iss` is `gitlab-mailroom`, `iat`
//!   at most five minutes old, and a `nonce`. The secret is a file with base64 of 32 bytes.
//! - 200 and `{"success":true}`: queued. 400: too large for the queue; GitLab has answered the sender.
//!   401: the token is wrong, or this kind of mail is not switched on.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, Mac as _};
use postrider_core::delivery::{
    Class,
    classify::{Rule, Text},
};
use reqwest::header::HeaderName;
use sha2::Sha256;
use uuid::Uuid;

use super::{Key, Shape, other_success, rule, sensitive, whole};
use crate::{
    body::RawMessage,
    format::{RenderError, Source},
};

pub(super) const PATH: &str = "/api/v4/internal/mail_room";

const TOKEN: HeaderName = HeaderName::from_static("gitlab-mailroom-api-request");
const ISSUER: &str = "gitlab-mailroom";

pub(super) fn request(source: &Source<'_>, message: &RawMessage, key: &Key) -> Shape {
    let secret = secret(key).map_err(RenderError::Other)?;
    let (mut headers, body) = whole(message, "text/plain");
    let token = token(&secret, source.now.seconds()).map_err(RenderError::Other)?;
    headers.insert(TOKEN, sensitive(&token).map_err(RenderError::Other)?);
    Ok((headers, body))
}

/// The secret, out of the base64 in which GitLab keeps it.
pub(super) fn secret(key: &Key) -> Result<Vec<u8>, String> {
    match STANDARD.decode(key.text()) {
        Ok(secret) if !secret.is_empty() => Ok(secret),
        Ok(_) | Err(_) => Err(
            "the key is not base64; hint: take over the file of GitLab's \
             `incoming_email` or `service_desk_email` webhook secret as it is"
                .to_owned(),
        ),
    }
}

fn token(secret: &[u8], now: i64) -> Result<String, String> {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = serde_json::json!({
        "iss": ISSUER,
        "iat": now,
        "nonce": Uuid::new_v4().simple().to_string(),
    });
    let head = serde_json::json!({ "alg": "HS256", "typ": "JWT" });
    let text = format!("{}.{}", part(head), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| error.to_string())?;
    mac.update(text.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(format!("{text}.{signature}"))
}

pub(super) fn answers() -> Vec<Rule> {
    vec![
        rule(
            &[(200, 299)],
            Text::Begins("{\"success\":true".to_owned()),
            Class::Delivered,
        ),
        other_success(),
    ]
}
