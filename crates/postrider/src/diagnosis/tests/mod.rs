//! Every cause by what leads to it, and what the operator reads then.

mod logins;
mod network;
mod tokens;

use postrider_core::time::Wall;
use postrider_oauth::claims::Claims;

use super::*;
use crate::config::Cloud;

pub(super) const NOW: Wall = Wall(1_790_000_000_000);
pub(super) const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const TENANT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
pub(super) const OID: &str = "99999999-8888-7777-6666-555555555555";

pub(super) fn application() -> CredentialFacts {
    CredentialFacts {
        key: "contoso".to_owned(),
        way: Way::Application,
        proof: Proof::Secret,
        cloud: Cloud::Global,
        tenant: Some(TENANT.to_owned()),
        client_id: Some(CLIENT.to_owned()),
        scope: Some("https://outlook.office365.com/.default".to_owned()),
        token_url: Some(format!(
            "https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
        )),
    }
}

pub(super) fn with(way: Way, proof: Proof) -> CredentialFacts {
    let url = match way {
        Way::ServiceAccount | Way::GoogleDelegated => "https://oauth2.googleapis.com/token",
        _ => "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    };
    CredentialFacts {
        way,
        proof,
        token_url: Some(url.to_owned()),
        scope: None,
        ..application()
    }
}

pub(super) fn mailbox(way: Way, host: &str) -> MailboxFacts {
    MailboxFacts {
        address: "support@contoso.com".to_owned(),
        username: "support@contoso.com".to_owned(),
        host: host.to_owned(),
        port: 993,
        folder: "Reports".to_owned(),
        provider: Provider::of(way, host),
        proxied: false,
    }
}

pub(super) fn good_claims() -> Claims {
    Claims {
        aud: vec!["https://outlook.office365.com".to_owned()],
        roles: vec!["IMAP.AccessAsApp".to_owned()],
        tid: Some(TENANT.to_owned()),
        appid: Some(CLIENT.to_owned()),
        oid: Some(OID.to_owned()),
        exp: Some(Wall(NOW.0 + 3_600_000)),
        ..Claims::default()
    }
}

pub(super) fn facts<'a>(
    credential: &'a CredentialFacts,
    mailbox: Option<&'a MailboxFacts>,
    claims: Option<&'a Claims>,
) -> Facts<'a> {
    Facts {
        credential,
        mailbox,
        claims,
        others: Others::Unknown,
        before: Before::Unknown,
        skew_s: None,
        now: NOW,
    }
}

pub(super) fn all_text(diagnosis: &Diagnosis) -> String {
    let mut lines = vec![diagnosis.what.clone()];
    lines.extend(diagnosis.evidence.iter().cloned());
    lines.extend(diagnosis.fix.iter().cloned());
    for other in &diagnosis.or {
        lines.push(other.what.clone());
        lines.extend(other.check.iter().chain(&other.fix).cloned());
    }
    lines.join("\n")
}

/// What holds for each: words for a person, a step to take, no foreign address, no placeholder
/// where the fact is known.
#[track_caller]
pub(super) fn assert_sound(diagnosis: &Diagnosis) {
    let text = all_text(diagnosis);
    assert!(
        !diagnosis.what.is_empty() && !diagnosis.fix.is_empty(),
        "{diagnosis:#?}"
    );
    assert!(
        diagnosis.fix.iter().all(|line| !line.contains('\n')),
        "{text}"
    );
    for word in text.split_whitespace().filter(|word| word.contains('@')) {
        assert!(
            word.contains("support@contoso.com") || word.contains("[address]"),
            "{word} in {text}"
        );
    }
    assert!(!text.contains("<application"), "{text}");
    let short = diagnosis.short();
    assert!(
        !short.fix.is_empty() && !short.fix.starts_with("Connect-"),
        "{short:?}"
    );
}

#[test]
fn names_are_stable_words() {
    let mut names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    let is_word = |name: &str| {
        name.chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
    };
    assert!(names.iter().all(|name| is_word(name)));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Cause::ALL.len());
}

#[test]
fn an_apostrophe_ends_no_string_in_powershell() {
    assert_eq!(
        names::quoted("o'brien@contoso.com"),
        "'o''brien@contoso.com'"
    );
    assert_eq!(names::quoted("a\u{2019}; rm"), "'a\u{2019}\u{2019}; rm'");
    assert_eq!(names::quoted("a\nb"), "'ab'");
}
