//! How an application proves itself to Entra, and that nothing less than right will do.

use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use postrider_sandbox::{
    authority::Standing,
    token_endpoint::{
        GrantKind, TokenConfig,
        keys::{AppCertificate, Issuer, Signing},
    },
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::{
    post::post,
    token_client::{APP_SCOPE, CLIENT, Desk, TOKEN, claims, percent},
};

const BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const POD: &str = "system:serviceaccount:mail:postrider";
const EXCHANGE: &str = "api://AzureADTokenExchange";

fn with_assertion(assertion: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("client_id", CLIENT),
        ("scope", APP_SCOPE),
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BEARER),
        ("client_assertion", assertion),
    ]
}

fn header(certificate: &AppCertificate) -> Value {
    let pem: String = certificate
        .certificate_pem()
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = STANDARD.decode(pem).unwrap();
    json!({"x5t#S256": URL_SAFE_NO_PAD.encode(Sha256::digest(der))})
}

fn right(desk: &Desk, id: &str) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "aud": desk.audience(), "iss": CLIENT, "sub": CLIENT, "jti": id,
        "nbf": now, "iat": now, "exp": now + 300,
    })
}

#[tokio::test]
async fn a_certificate_proves_the_application_by_either_algorithm() {
    let certificate = AppCertificate::generate("postrider").unwrap();
    let config = TokenConfig {
        certificates: vec![certificate.certificate_pem().to_owned()],
        ..TokenConfig::default()
    };
    let desk = Desk::start(config).await;
    for (id, signing) in [("1", Signing::Ps256), ("2", Signing::Rs256)] {
        let claims_shown = right(&desk, id);
        let shown = certificate
            .key
            .sign(signing, header(&certificate), &claims_shown);
        let (status, body) = desk.form(TOKEN, &with_assertion(&shown.unwrap())).await;
        assert_eq!((status, &claims(&body)["appidacr"]), (200, &"2".into()));
    }
    let tally = desk.endpoint.tally(CLIENT, GrantKind::Certificate);
    assert_eq!((tally.requests, tally.answered), (2, 2));
}

#[tokio::test]
async fn an_assertion_that_is_off_in_any_claim_is_refused_by_its_number() {
    let certificate = AppCertificate::generate("postrider").unwrap();
    let stranger = AppCertificate::generate("postrider").unwrap();
    let now = OffsetDateTime::now_utc();
    let day = time::Duration::DAY;
    let old = AppCertificate::between("postrider", now - day * 9, now - day).unwrap();
    let registered = [&certificate, &old].map(|one| one.certificate_pem().to_owned());
    let desk = Desk::start(TokenConfig {
        certificates: registered.to_vec(),
        ..TokenConfig::default()
    });
    let desk = desk.await;
    let seconds = now.unix_timestamp();
    let off: [(&str, Value, u64); 8] = [
        (
            "aud",
            "https://login.microsoftonline.com/other".into(),
            50_027,
        ),
        ("iss", "somebody".into(), 50_027),
        ("sub", "somebody".into(), 50_027),
        ("jti", "".into(), 50_027),
        ("exp", (seconds - 600).into(), 50_027),
        ("exp", Value::Null, 50_027),
        ("nbf", (seconds + 600).into(), 50_027),
        ("jti", "used".into(), 50_012),
    ];
    let used = certificate
        .key
        .sign(Signing::Ps256, header(&certificate), &right(&desk, "used"));
    assert_eq!(
        desk.form(TOKEN, &with_assertion(&used.unwrap())).await.0,
        200
    );
    for (claim, value, code) in off {
        let mut shown = right(&desk, "fresh");
        shown[claim] = value.clone();
        let shown = certificate
            .key
            .sign(Signing::Ps256, header(&certificate), &shown);
        let shown = shown.unwrap();
        let refused = desk.refusal(TOKEN, &with_assertion(&shown)).await;
        assert_eq!(refused.1, code, "{claim} = {value}");
    }
    let fresh = right(&desk, "another");
    let by =
        |one: &AppCertificate, shown: Value| one.key.sign(Signing::Ps256, shown, &fresh).unwrap();
    let with_chain = json!({"x5t#S256": "unknown", "x5c": ["MIIB"]});
    let table = [
        (by(&stranger, header(&stranger)), 700_027),
        (by(&stranger, header(&certificate)), 700_027),
        (by(&old, header(&old)), 700_027),
        (by(&certificate, with_chain), 700_030),
        (by(&certificate, json!({})), 50_027),
        ("nonsense".to_owned(), 50_027),
    ];
    for (shown, code) in table {
        let refused = desk.refusal(TOKEN, &with_assertion(&shown)).await;
        assert_eq!(refused.1, code);
    }
}

#[tokio::test]
async fn a_federated_assertion_counts_when_issuer_subject_and_audience_match() {
    let cluster = Issuer::new("https://oidc.example.net/cluster").unwrap();
    let hour = Duration::from_secs(3600);
    let desk = Desk::start(TokenConfig {
        federated: vec![cluster.credential(POD)],
        federation_flaps: 2,
        ..TokenConfig::default()
    });
    let desk = desk.await;
    let shown = cluster.token(POD, EXCHANGE, hour).unwrap();
    for _ in 0..2 {
        let refused = desk.refusal(TOKEN, &with_assertion(&shown)).await;
        assert_eq!(refused, ("invalid_request".to_owned(), 70_021));
    }
    assert_eq!(desk.form(TOKEN, &with_assertion(&shown)).await.0, 200);
    let elsewhere = Issuer::new(&cluster.url).unwrap();
    let table = [
        (
            cluster.token("system:serviceaccount:x:y", EXCHANGE, hour),
            70_021,
        ),
        (cluster.token(POD, "https://vault", hour), 70_021),
        (elsewhere.token(POD, EXCHANGE, hour), 50_013),
    ];
    for (shown, code) in table {
        let refused = desk.refusal(TOKEN, &with_assertion(&shown.unwrap())).await;
        assert_eq!(refused.1, code);
    }
    let tally = desk.endpoint.tally(CLIENT, GrantKind::Federated);
    assert_eq!((tally.requests, tally.answered), (6, 1));
}

#[tokio::test]
async fn what_is_missing_or_wrong_has_its_own_number() {
    let desk = Desk::start(TokenConfig {
        expired_secrets: vec!["last-year".to_owned()],
        ..TokenConfig::default()
    });
    let desk = desk.await;
    let right = [
        ("client_id", CLIENT),
        ("scope", APP_SCOPE),
        ("client_secret", "sandbox~secret"),
        ("grant_type", "client_credentials"),
    ];
    let table: [(&str, &str, u64); 9] = [
        ("client_id", "22222222-2222-3333-4444-555555555555", 700_016),
        ("client_secret", "last-year", 7_000_222),
        ("client_secret", "wrong", 7_000_215),
        ("client_secret", "", 7_000_218),
        (
            "scope",
            "https://outlook.office365.com/IMAP.AccessAsApp",
            1_002_012,
        ),
        ("scope", "https://outlook.example/.default", 500_011),
        ("scope", "https://a/.default https://b/.default", 700_022),
        ("scope", "", 900_144),
        ("grant_type", "password", 70_003),
    ];
    for (name, value, code) in table {
        let mut fields = right;
        for field in &mut fields {
            if field.0 == name {
                field.1 = value;
            }
        }
        assert_eq!(desk.refusal(TOKEN, &fields).await.1, code, "{name}={value}");
    }
    let elsewhere = |tenant: &str| format!("/{tenant}/oauth2/v2.0/token");
    let table = [("fabrikam.example", 90_002), ("common", 50_194)];
    for (tenant, code) in table {
        assert_eq!(desk.refusal(&elsewhere(tenant), &right).await.1, code);
    }
    let twice = [right.as_slice(), &[("scope", APP_SCOPE)]].concat();
    assert_eq!(desk.refusal(TOKEN, &twice).await.1, 9_000_411);

    let (status, body) = desk.form(TOKEN, &right[..2]).await;
    let said = body["error_description"].as_str().unwrap();
    assert!(
        said.contains("'grant_type'.\r\nTrace ID: "),
        "{status} {said}"
    );
    assert!(said.contains("\r\nTimestamp: 20"), "{said}");
}

#[tokio::test]
async fn id_and_secret_may_stand_in_the_authorization_header() {
    let desk = Desk::start(TokenConfig::default()).await;
    let basic = STANDARD.encode(format!("{CLIENT}:sandbox%7Esecret"));
    let headers = [
        ("Authorization", format!("Basic {basic}")),
        (
            "Content-Type",
            "application/x-www-form-urlencoded".to_owned(),
        ),
    ];
    let body = format!("grant_type=client_credentials&scope={}", percent(APP_SCOPE));
    let answered = post(desk.endpoint.address(), TOKEN, &headers, &body).await;
    assert_eq!(answered.unwrap().status, 200);
}

#[tokio::test]
async fn a_token_that_says_the_wrong_thing_opens_no_mailbox() {
    let desk = Desk::start(TokenConfig::default()).await;
    let fields = [
        ("client_id", CLIENT),
        ("scope", APP_SCOPE),
        ("client_secret", "sandbox~secret"),
        ("grant_type", "client_credentials"),
    ];
    type Lever = fn(&mut TokenConfig);
    let table: [(Lever, bool); 7] = [
        (|_| {}, true),
        (|config| config.roles.clear(), false),
        (
            |config| config.audience = "https://graph.microsoft.com".to_owned(),
            false,
        ),
        (
            |config| config.claims.scp = Some("IMAP.AccessAsUser.All".to_owned()),
            false,
        ),
        (
            |config| config.claims.tid = Some("another".to_owned()),
            false,
        ),
        (
            |config| config.claims.oid = "not-the-principal".to_owned(),
            false,
        ),
        (|config| config.claims.bytes_min = 5000, true),
    ];
    let authority = &desk.authority;
    authority.only_principals(&["99999999-8888-7777-6666-555555555555"]);
    for (n, (lever, good)) in table.into_iter().enumerate() {
        desk.endpoint.change(|config| {
            *config = TokenConfig::default();
            lever(config);
        });
        let (_, body) = desk.form(TOKEN, &fields).await;
        let token = body["access_token"].as_str().unwrap();
        let standing = authority.standing(token, "any@contoso.com");
        assert_eq!(matches!(standing, Standing::Good { .. }), good, "{n}");
        assert!(token.len() > 5000 || n != 6);
    }
    let v1 = [
        ("client_id", CLIENT),
        ("resource", "https://outlook.office365.com"),
        ("client_secret", "sandbox~secret"),
        ("grant_type", "client_credentials"),
    ];
    let (status, body) = desk
        .form("/contoso.onmicrosoft.com/oauth2/token", &v1)
        .await;
    assert_eq!((status, &claims(&body)["roles"]), (200, &Value::Null));
    assert!(body["expires_in"].is_string());
}
