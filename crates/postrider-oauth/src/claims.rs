//! What a token says of itself (JWT claims), for diagnosis only: nothing is verified, and providers
//! reserve the right to make their tokens opaque, so everything is optional and nothing is decided
//! by it (<https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>).

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use postrider_core::time::Wall;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::error::one_line;

/// Entries of a list that are kept; an application has a handful of roles.
const LIST_MAX: usize = 64;

/// Padding is against RFC 7515 and seen.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// All texts are one printable line. Lists are empty where the claim is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// For whom the token is: a string or a list of them on the wire.
    pub aud: Vec<String>,
    pub iss: Option<String>,
    /// Application permissions, such as `IMAP.AccessAsApp`.
    pub roles: Vec<String>,
    /// Delegated permissions, such as `IMAP.AccessAsUser.All`.
    pub scp: Vec<String>,
    /// The tenant's id.
    pub tid: Option<String>,
    /// The client id: `appid`, or `azp` in tokens of version 2.
    pub appid: Option<String>,
    /// The object id of the enterprise application, or of the user.
    pub oid: Option<String>,
    pub sub: Option<String>,
    /// The account's name, from whichever claim has it.
    pub upn: Option<String>,
    /// How the client showed who it is (`appidacr` or `azpacr`): `0` not at all, `1` by a secret,
    /// `2` by a certificate.
    pub app_acr: Option<String>,
    /// `app` or `user`.
    pub idtyp: Option<String>,
    pub ver: Option<String>,
    pub exp: Option<Wall>,
    pub nbf: Option<Wall>,
    pub iat: Option<Wall>,
}

impl Claims {
    /// `None` where the token is no JWT, such as those of personal accounts.
    pub fn decode(token: &SecretString) -> Option<Self> {
        let mut parts = token.expose_secret().trim().split('.');
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let payload = LENIENT.decode(payload).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
        Some(Self::read(&claims))
    }

    fn read(claims: &Map<String, Value>) -> Self {
        let text = |names: &[&str]| names.iter().find_map(|name| words(claims.get(*name)?));
        let list = |name: &str| claims.get(name).map(many).unwrap_or_default();
        let time = |name: &str| claims.get(name).and_then(at);
        Self {
            aud: list("aud"),
            iss: text(&["iss"]),
            roles: list("roles"),
            scp: list("scp")
                .iter()
                .flat_map(|scopes| scopes.split_ascii_whitespace())
                .map(str::to_owned)
                .take(LIST_MAX)
                .collect(),
            tid: text(&["tid"]),
            appid: text(&["appid", "azp"]),
            oid: text(&["oid"]),
            sub: text(&["sub"]),
            upn: text(&["upn", "preferred_username", "unique_name", "email"]),
            app_acr: text(&["appidacr", "azpacr"]),
            idtyp: text(&["idtyp"]),
            ver: text(&["ver"]),
            exp: time("exp"),
            nbf: time("nbf"),
            iat: time("iat"),
        }
    }
}

/// A text, or a number written as one.
fn words(value: &Value) -> Option<String> {
    let words = match value {
        Value::String(text) => one_line(text),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!words.is_empty()).then_some(words)
}

fn many(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().filter_map(words).take(LIST_MAX).collect(),
        Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_) | Value::Object(_) => {
            words(value).into_iter().collect()
        }
    }
}

/// `NumericDate` of RFC 7519, a number that may have a fraction; some write it as text.
fn at(value: &Value) -> Option<Wall> {
    let seconds = match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }?;
    Some(Wall::from_seconds(seconds))
}

fn whole(seconds: f64) -> Option<i64> {
    let duration = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    i64::try_from(duration.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn jwt(payload: &str) -> SecretString {
        SecretString::from(format!(
            "eyJhbGciOiJub25lIn0.{}.c2ln",
            URL_SAFE_NO_PAD.encode(payload)
        ))
    }

    #[test]
    fn an_application_token_of_exchange_is_read() {
        let claims = Claims::decode(&jwt(
            r#"{"aud":"https://outlook.office365.com","iss":"https://sts.windows.net/t/","iat":1700000000,"nbf":1700000000,"exp":1700003599.5,
                "appid":"client","appidacr":"2","idtyp":"app","oid":"enterprise","roles":["IMAP.AccessAsApp","POP.AccessAsApp"],"tid":"tenant","ver":"1.0"}"#,
        ))
        .unwrap();
        assert_eq!(claims.aud, ["https://outlook.office365.com"]);
        assert_eq!(claims.roles, ["IMAP.AccessAsApp", "POP.AccessAsApp"]);
        assert_eq!(claims.scp, Vec::<String>::new());
        assert_eq!(claims.appid.as_deref(), Some("client"));
        assert_eq!(claims.oid.as_deref(), Some("enterprise"));
        assert_eq!(claims.tid.as_deref(), Some("tenant"));
        assert_eq!(claims.app_acr.as_deref(), Some("2"));
        assert_eq!(claims.idtyp.as_deref(), Some("app"));
        assert_eq!(claims.exp, Some(Wall::from_seconds(1_700_003_599)));
    }

    #[test]
    fn a_users_token_of_version_2_is_read() {
        let claims = Claims::decode(&jwt(
            r#"{"aud":["a","b",7,null],"azp":"client","azpacr":0,"scp":"IMAP.AccessAsUser.All  offline_access",
                "preferred_username":"support@contoso.com","exp":"1700003599","ver":2.0}"#,
        ))
        .unwrap();
        assert_eq!(claims.aud, ["a", "b", "7"]);
        assert_eq!(claims.scp, ["IMAP.AccessAsUser.All", "offline_access"]);
        assert_eq!(claims.upn.as_deref(), Some("support@contoso.com"));
        assert_eq!(claims.appid.as_deref(), Some("client"));
        assert_eq!(claims.app_acr.as_deref(), Some("0"));
        assert_eq!(claims.exp, Some(Wall::from_seconds(1_700_003_599)));
        assert!(claims.roles.is_empty() && claims.oid.is_none());
    }

    #[test]
    fn opaque_tokens_have_no_claims_and_odd_ones_have_fewer() {
        let none = [
            "",
            "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA",
            "ya29.a0AfH6SMB",
            "a.b",
            "a.%%.c",
            "a.b.c.d",
            "eyJ.W10.x",
            "..",
        ];
        for token in none {
            assert_eq!(Claims::decode(&SecretString::from(token)), None, "{token}");
        }
        let odd = r#"{"aud":{},"roles":"IMAP.AccessAsApp","scp":["a b","c"],"exp":-1.5,"iat":true,"tid":"","oid":"x\u001b[31m\ny"}"#;
        let claims = Claims::decode(&jwt(odd)).unwrap();
        assert!(claims.aud.is_empty() && claims.exp.is_none() && claims.tid.is_none());
        assert_eq!(claims.roles, ["IMAP.AccessAsApp"]);
        assert_eq!(claims.scp, ["a", "b", "c"]);
        assert_eq!(claims.oid.as_deref(), Some("x[31m"));
    }

    proptest! {
        #[test]
        fn any_token_is_read_or_not_and_nothing_else(token in ".{0,200}", payload in r#"(\{"(aud|exp|scp|tid)":.{0,40}\})|.{0,60}"#) {
            let _ = Claims::decode(&SecretString::from(token));
            if let Some(claims) = Claims::decode(&jwt(&payload)) {
                let printed = format!("{claims:?}");
                prop_assert!(!printed.contains("\\u{"), "{printed}");
            }
        }
    }

    #[test]
    fn padding_is_no_matter() {
        let payload = r#"{"tid":"t1"}"#;
        for encoded in [
            URL_SAFE.encode(payload),
            STANDARD.encode(payload),
            URL_SAFE_NO_PAD.encode(payload),
        ] {
            let claims = Claims::decode(&SecretString::from(format!("a.{encoded}.b"))).unwrap();
            assert_eq!(claims.tid.as_deref(), Some("t1"));
        }
    }
}
