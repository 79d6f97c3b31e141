//! One claim off at a time.

use postrider_core::ids::CredentialKey;
use url::Url;

use super::*;
use crate::config::{Cloud, MicrosoftApplication, MicrosoftDelegated, MicrosoftProof, Proxy};

const TENANT: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
const NOW: Wall = Wall(1_800_000_000_000);

fn application() -> Credential {
    credential(CredentialKind::Microsoft(MicrosoftApplication {
        tenant: TENANT.to_owned(),
        client_id: CLIENT.to_owned(),
        proof: MicrosoftProof::Secrets(Vec::new()),
        cloud: Cloud::Global,
        authority: Url::parse("https://login.microsoftonline.com").unwrap(),
        scope: Cloud::Global.application_scope().to_owned(),
    }))
}

fn delegated() -> Credential {
    credential(CredentialKind::MicrosoftDelegated(MicrosoftDelegated {
        tenant: "organizations".to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: Vec::new(),
        cloud: Cloud::Global,
        authority: Url::parse("https://login.microsoftonline.com").unwrap(),
        scope: Cloud::Global.delegated_scope().to_owned(),
    }))
}

fn credential(kind: CredentialKind) -> Credential {
    Credential {
        key: CredentialKey::from("contoso"),
        kind,
        proxy: Proxy::None,
        expires: None,
        must_not_open: Vec::new(),
    }
}

fn good() -> Claims {
    let text = |value: &str| Some(value.to_owned());
    Claims {
        aud: vec!["https://outlook.office365.com".to_owned()],
        roles: vec![APPLICATION.to_owned()],
        tid: text(TENANT),
        appid: text(CLIENT),
        oid: text("99999999-8888-7777-6666-555555555555"),
        app_acr: text("1"),
        ver: text("1.0"),
        exp: Some(Wall(NOW.0 + 3_600_000)),
        ..Claims::default()
    }
}

fn about(credential: &Credential, claims: &Claims) -> Vec<Remark> {
    let stands = stands_for(credential, "login.microsoftonline.com");
    remarks(credential, stands, claims, NOW)
}

/// The claims that are wrong.
fn wrong(credential: &Credential, change: impl FnOnce(&mut Claims)) -> Vec<&'static str> {
    let mut claims = good();
    change(&mut claims);
    about(credential, &claims)
        .iter()
        .filter(|remark| remark.verdict == Verdict::Wrong)
        .map(|remark| remark.claim)
        .collect()
}

#[test]
fn an_application_token_that_will_do_has_nothing_wrong_and_names_the_object_id() {
    let remarks = about(&application(), &good());
    assert!(
        remarks
            .iter()
            .all(|remark| remark.verdict != Verdict::Wrong),
        "{remarks:?}"
    );
    let of = |claim| remarks.iter().find(|remark| remark.claim == claim).unwrap();
    assert!(
        of("oid")
            .text
            .starts_with("the -ObjectId for New-ServicePrincipal")
    );
    assert!(of("appid").text.contains("-AppId for New-ServicePrincipal"));
    assert_eq!(of("exp").text, "in 60m");
    assert!(of("appidacr").text.contains("secret"));
    assert!(!remarks.iter().any(|remark| remark.claim == "scp"));
}

#[test]
fn each_claim_that_is_off_is_named() {
    let one = application();
    let graph = |claims: &mut Claims| claims.aud = vec!["https://graph.microsoft.com".to_owned()];
    assert_eq!(wrong(&one, graph), ["aud"]);
    assert_eq!(wrong(&one, |claims| claims.aud.clear()), ["aud"]);
    assert_eq!(
        wrong(&one, |claims| claims.aud = vec![EXCHANGE_ID.to_owned()]),
        [""; 0]
    );
    assert_eq!(wrong(&one, |claims| claims.roles.clear()), ["roles"]);
    let other_role = |claims: &mut Claims| claims.roles = vec!["POP.AccessAsApp".to_owned()];
    assert_eq!(wrong(&one, other_role), ["roles"]);
    let person = |claims: &mut Claims| claims.scp = vec![PERSON.to_owned()];
    assert_eq!(wrong(&one, person), ["scp"]);
    let elsewhere = |claims: &mut Claims| claims.tid = Some("another".to_owned());
    assert_eq!(wrong(&one, elsewhere), ["tid"]);
    assert_eq!(
        wrong(&one, |claims| claims.exp = Some(Wall(NOW.0 - 1000))),
        ["exp"]
    );
}

#[test]
fn a_persons_token_needs_the_delegated_permission() {
    let person = |claims: &mut Claims| {
        claims.roles.clear();
        claims.scp = vec![PERSON.to_owned(), "offline_access".to_owned()];
        claims.upn = Some("ann@contoso.com".to_owned());
    };
    assert_eq!(wrong(&delegated(), person), [""; 0]);
    assert_eq!(wrong(&delegated(), |claims| claims.scp.clear()), ["scp"]);
}

#[test]
fn claims_of_other_providers_are_shown_and_not_judged() {
    let google = credential(CredentialKind::Password {
        password: Vec::new(),
    });
    let remarks = remarks(&google, None, &good(), NOW);
    assert!(
        remarks
            .iter()
            .all(|remark| remark.verdict != Verdict::Wrong),
        "{remarks:?}"
    );
    assert!(remarks.iter().any(|remark| remark.claim == "aud"));
}
