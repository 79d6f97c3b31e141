//! Any other token endpoint, and tokens that somebody else obtains.

use std::{path::PathBuf, time::Duration};

use super::{Findings, required, url};
use crate::config::{
    model::{ClientAuth, ForeignToken, OAuth2, OAuth2Grant, RefreshFrom, SecretRef, TokenSource},
    raw,
    resolve::secrets::references,
};

const LIFETIME: Duration = Duration::from_secs(3600);

pub(super) fn oauth2(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<OAuth2> {
    let key = format!("{path}.token_url");
    let hint = "write the provider's token endpoint";
    let token_url = url::provider(&key, written.token_url.as_ref(), None, hint, findings);
    if token_url.as_ref().is_some_and(is_entra_v1) {
        let what =
            format!("`{key}` is a token endpoint of the old v1 form, whose tokens lack `roles`");
        findings.warn(&key, what, "use type = \"microsoft\"");
    }
    let hint = "the provider gave it when the client was registered";
    let client_id = required(
        path,
        "client_id",
        written.client_id.as_ref(),
        hint,
        findings,
    );
    let (client_secret, grant) = grant(path, written, findings);
    Some(OAuth2 {
        token_url: token_url?,
        client_id,
        client_secret,
        scope: written.scope.clone(),
        grant,
        client_auth: match written.client_auth {
            Some(raw::ClientAuth::Basic) => ClientAuth::Basic,
            Some(raw::ClientAuth::Body) | None => ClientAuth::Body,
        },
        authorize_url: url::optional(
            &format!("{path}.authorize_url"),
            written.authorize_url.as_ref(),
            findings,
        ),
        device_url: url::optional(
            &format!("{path}.device_url"),
            written.device_url.as_ref(),
            findings,
        ),
    })
}

fn grant(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> (Vec<SecretRef>, OAuth2Grant) {
    let secret_path = format!("{path}.client_secret");
    match written.grant.unwrap_or(raw::Grant::ClientCredentials) {
        raw::Grant::ClientCredentials => {
            if written.refresh_token.is_some() {
                let key = format!("{path}.refresh_token");
                let what = format!("`{key}` has no effect with grant = \"client_credentials\"");
                findings.error(&key, what, "write grant = \"refresh_token\"");
            }
            let secret = references(&secret_path, written.client_secret.as_ref(), findings);
            (secret, OAuth2Grant::ClientCredentials)
        }
        raw::Grant::RefreshToken => {
            let secret = match &written.client_secret {
                Some(_) => references(&secret_path, written.client_secret.as_ref(), findings),
                None => Vec::new(),
            };
            let from = match &written.refresh_token {
                Some(_) => RefreshFrom::Secrets(references(
                    &format!("{path}.refresh_token"),
                    written.refresh_token.as_ref(),
                    findings,
                )),
                None => RefreshFrom::Vault,
            };
            let no_login = written.authorize_url.is_none() && written.device_url.is_none();
            if from == RefreshFrom::Vault && no_login {
                let what = format!("`{path}` has no way to get its refresh token");
                let hint = "write device_url or authorize_url for `postrider login`, or refresh_token = { file = \"…\" }";
                findings.error(path, what, hint);
            }
            (secret, OAuth2Grant::RefreshToken(from))
        }
    }
}

fn is_entra_v1(url: &::url::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let entra = [
        "microsoftonline.com",
        "microsoftonline.us",
        "microsoftonline.cn",
        "windows.net",
    ];
    entra.iter().any(|end| host.ends_with(end)) && url.path().ends_with("/oauth2/token")
}

pub(super) fn token(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<ForeignToken> {
    let source = match (&written.token, &written.command) {
        (Some(_), None) => TokenSource::Secrets(references(
            &format!("{path}.token"),
            written.token.as_ref(),
            findings,
        )),
        (None, Some(command)) => program(&format!("{path}.command"), command, findings)?,
        (None, None) => {
            if !findings.is_spoiled(&format!("{path}.command")) {
                let hint = "write token = { file = \"/run/secrets/NAME\" } or command = [\"/PROGRAM\", \"ARGUMENT\"]";
                findings.missing(&format!("{path}.token"), hint);
            }
            return None;
        }
        (Some(_), Some(_)) => {
            let what = format!("`{path}` has to have exactly one of `token` and `command`");
            findings.error(path, what, "keep one of them");
            return None;
        }
    };
    Some(ForeignToken {
        source,
        lifetime: written.lifetime.map_or(LIFETIME, |span| span.0),
    })
}

/// No shell and no search path: what runs is what is written.
fn program(path: &str, command: &[String], findings: &mut Findings<'_>) -> Option<TokenSource> {
    let Some((program, args)) = command.split_first() else {
        findings.error(path, format!("`{path}` is an empty list"), "");
        return None;
    };
    let file = PathBuf::from(program);
    if !file.is_absolute() {
        let what = format!("`{path}` begins with `{program}`, which is no absolute path");
        findings.error(
            path,
            what,
            "write [\"/usr/local/bin/PROGRAM\", \"ARGUMENT\"]",
        );
        return None;
    }
    if !file.is_file() {
        let what = format!("`{path}`: {} is not there", file.display());
        findings.warn(path, what, "");
    }
    Some(TokenSource::Command {
        program: file,
        args: args.to_vec(),
    })
}
