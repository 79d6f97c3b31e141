//! Sign-ins that will do and those that will not, each with its fix.

use std::time::Duration;

use postrider_core::ids::CredentialKey;
use postrider_oauth::client::ClientAuth;
use secrecy::ExposeSecret;
use url::Url;

use super::*;
use crate::config::{
    Cloud, GoogleDelegated, MicrosoftDelegated, OAuth2, OAuth2Grant, Proxy, RefreshFrom,
};

const EXCHANGE: &str = "https://outlook.office.com/IMAP.AccessAsUser.All";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn credential(kind: CredentialKind) -> Credential {
    Credential {
        key: CredentialKey::from("ann"),
        kind,
        proxy: Proxy::None,
        expires: None,
        must_not_open: Vec::new(),
    }
}

fn microsoft() -> Credential {
    credential(CredentialKind::MicrosoftDelegated(MicrosoftDelegated {
        tenant: "organizations".to_owned(),
        client_id: "c".to_owned(),
        client_secret: Vec::new(),
        cloud: Cloud::Global,
        authority: url("https://login.microsoftonline.com"),
        scope: Cloud::Global.delegated_scope().to_owned(),
    }))
}

fn google() -> Credential {
    credential(CredentialKind::GoogleDelegated(GoogleDelegated {
        client_id: "c".to_owned(),
        client_secret: Vec::new(),
        scope: GOOGLE.to_owned(),
        token_url: url("https://oauth2.googleapis.com/token"),
        device_url: url("https://oauth2.googleapis.com/device/code"),
        authorize_url: url("https://accounts.google.com/o/oauth2/v2/auth"),
    }))
}

fn other() -> Credential {
    credential(CredentialKind::OAuth2(OAuth2 {
        token_url: url("https://id.example.org/token"),
        client_id: "c".to_owned(),
        client_secret: Vec::new(),
        scope: None,
        grant: OAuth2Grant::RefreshToken(RefreshFrom::Vault),
        client_auth: crate::config::ClientAuth::Body,
        authorize_url: None,
        device_url: None,
    }))
}

fn judge(credential: &Credential, scope: Option<&str>, refresh: bool) -> Result<Granted, Failure> {
    let client = TokenClient::oauth2(
        &url("https://id.example.org/token"),
        "c",
        Some("mail"),
        ClientAuth::Body,
    )
    .unwrap();
    let grant = Grant {
        access_token: SecretString::from("opaque"),
        expires_in: Duration::from_secs(3600),
        refresh_in: None,
        ext_expires_in: None,
        refresh_token: refresh.then(|| SecretString::from("refresh")),
        scope: scope.map(str::to_owned),
        id_claims: Some(Claims {
            upn: Some("ann@contoso.com".to_owned()),
            ..Claims::default()
        }),
    };
    Granted::judge(credential, &client, &grant)
}

fn refusal(credential: &Credential, scope: Option<&str>, refresh: bool) -> (String, String) {
    let failure = judge(credential, scope, refresh).err().unwrap();
    assert_eq!(failure.exit, Exit::Failed);
    (failure.error, failure.hint.unwrap())
}

#[test]
fn a_sign_in_that_will_do_says_who_and_what() {
    let granted = judge(&microsoft(), Some(EXCHANGE), true).ok().unwrap();
    assert_eq!(granted.account.as_deref(), Some("ann@contoso.com"));
    assert_eq!(granted.scopes, [EXCHANGE]);
    assert_eq!(granted.refresh.expose_secret(), "refresh");
    assert!(judge(&google(), Some("openid https://mail.google.com/"), true).is_ok());
    // Where nothing is told, it is what was asked for.
    let granted = judge(&other(), None, true).ok().unwrap();
    assert_eq!(granted.scopes, ["mail"]);
}

#[test]
fn a_missing_refresh_token_is_told_with_each_providers_fix() {
    for (credential, scope, fix) in [
        (microsoft(), EXCHANGE, "offline_access"),
        (google(), GOOGLE, "https://myaccount.google.com/permissions"),
        (other(), "mail", "offline_access"),
    ] {
        let (error, hint) = refusal(&credential, Some(scope), false);
        assert!(
            error.contains("no refresh token") && error.contains("nothing was stored"),
            "{error}"
        );
        assert!(hint.contains(fix), "{hint}");
    }
}

#[test]
fn a_missing_permission_for_imap_is_told_before_anything_is_stored() {
    let (error, hint) = refusal(
        &microsoft(),
        Some("https://outlook.office.com/User.Read"),
        true,
    );
    assert!(error.contains("IMAP.AccessAsUser.All"), "{error}");
    assert!(hint.contains("Delegated > IMAP.AccessAsUser.All"), "{hint}");
    let graph = "https://graph.microsoft.com/IMAP.AccessAsUser.All";
    let (_, hint) = refusal(&microsoft(), Some(graph), true);
    assert!(
        hint.contains("Microsoft Graph, whose tokens open no mailbox"),
        "{hint}"
    );
    let (_, hint) = refusal(&google(), Some("openid email"), true);
    assert!(hint.contains("tick the box"), "{hint}");
}
