//! Google: service accounts with domain-wide delegation, and persons.

use super::{Findings, required, url};
use crate::config::{
    model::{GoogleDelegated, GoogleServiceAccount},
    raw,
    resolve::secrets::references,
};

const SCOPE: &str = "https://mail.google.com/";
/// For service accounts alone: shows all labels whatever the user's IMAP settings
/// (<https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>).
const ADMIN_SCOPE: &str = "https://www.googleapis.com/auth/gmail.imap_admin";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const DEVICE_URL: &str = "https://oauth2.googleapis.com/device/code";
const AUTHORIZE_URL: &str = "https://accounts.google.com/o/oauth2/v2/auth";

pub(super) fn service_account(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> GoogleServiceAccount {
    GoogleServiceAccount {
        service_account: references(
            &format!("{path}.service_account"),
            written.service_account.as_ref(),
            findings,
        ),
        scope: scope(path, written, &[SCOPE, ADMIN_SCOPE], findings),
        token_url: url::optional(
            &format!("{path}.token_url"),
            written.token_url.as_ref(),
            findings,
        ),
    }
}

pub(super) fn delegated(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> GoogleDelegated {
    let clients = "it stands under APIs & Services, Credentials in the Google Cloud console";
    let mut place = |key: &str, text: Option<&String>, default: &str| {
        let hint = format!("write \"{default}\"");
        let found = url::provider(
            &format!("{path}.{key}"),
            text,
            Some(default),
            &hint,
            findings,
        );
        found.unwrap_or_else(|| constant(default))
    };
    let token_url = place("token_url", written.token_url.as_ref(), TOKEN_URL);
    let device_url = place("device_url", written.device_url.as_ref(), DEVICE_URL);
    let authorize_url = place(
        "authorize_url",
        written.authorize_url.as_ref(),
        AUTHORIZE_URL,
    );
    GoogleDelegated {
        client_id: required(
            path,
            "client_id",
            written.client_id.as_ref(),
            clients,
            findings,
        ),
        client_secret: references(
            &format!("{path}.client_secret"),
            written.client_secret.as_ref(),
            findings,
        ),
        scope: scope(path, written, &[SCOPE], findings),
        token_url,
        device_url,
        authorize_url,
    }
}

fn scope(
    path: &str,
    written: &raw::Credential,
    known: &[&str],
    findings: &mut Findings<'_>,
) -> String {
    let scope = written.scope.as_deref().unwrap_or(SCOPE);
    if !scope.split_whitespace().any(|part| known.contains(&part)) {
        let path = format!("{path}.scope");
        let what = format!("`{path}` is `{scope}`, with which Gmail lets nobody read by IMAP");
        findings.warn(&path, what, &format!("write \"{SCOPE}\""));
    }
    scope.to_owned()
}

#[expect(
    clippy::expect_used,
    reason = "the texts are constants, and a test parses them"
)]
fn constant(text: &str) -> ::url::Url {
    ::url::Url::parse(text).expect("a constant URL")
}
