//! A bare client of the token endpoint: forms and queries in, status and JSON out.

use postrider_sandbox::{
    authority::TokenAuthority,
    token_endpoint::{TokenConfig, TokenEndpoint},
};
use serde_json::Value;

use crate::post::{Answered, get, post};

pub(crate) const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const TENANT: &str = "contoso.onmicrosoft.com";
pub(crate) const TOKEN: &str = "/contoso.onmicrosoft.com/oauth2/v2.0/token";
pub(crate) const APP_SCOPE: &str = "https://outlook.office365.com/.default";
pub(crate) const USER_SCOPE: &str =
    "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid";

pub(crate) struct Desk {
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) authority: TokenAuthority,
}

impl Desk {
    pub(crate) async fn start(config: TokenConfig) -> Self {
        let authority = TokenAuthority::new();
        let endpoint = TokenEndpoint::start(config, authority.clone());
        Self {
            endpoint: endpoint.await.unwrap(),
            authority,
        }
    }

    /// The URL of Entra's token endpoint, which an assertion has to name.
    pub(crate) fn audience(&self) -> String {
        format!("{}{TOKEN}", self.endpoint.authority_url())
    }

    pub(crate) async fn answered(&self, path: &str, fields: &[(&str, &str)]) -> Answered {
        let kind = "application/x-www-form-urlencoded".to_owned();
        let headers = [("Content-Type", kind)];
        let body = encoded(fields);
        let answered = post(self.endpoint.address(), path, &headers, &body);
        answered.await.expect("an answer")
    }

    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let answered = self.answered(path, fields).await;
        let body = serde_json::from_str(&answered.body);
        (answered.status, body.unwrap_or(Value::Null))
    }

    /// `error` and the first of `error_codes`.
    pub(crate) async fn refusal(&self, path: &str, fields: &[(&str, &str)]) -> (String, u64) {
        let (status, body) = self.form(path, fields).await;
        assert!((400..=401).contains(&status), "{status} {body}");
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        (error, body["error_codes"][0].as_u64().unwrap_or_default())
    }

    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, String)],
    ) -> Answered {
        let target = format!("{path}?{}", encoded(query));
        let answered = get(self.endpoint.address(), &target, headers);
        answered.await.expect("an answer")
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", percent(value)))
        .collect();
    pairs.join("&")
}

pub(crate) fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The claims of a JWT.
pub(crate) fn claims(body: &Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let token = body["access_token"].as_str().unwrap();
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
