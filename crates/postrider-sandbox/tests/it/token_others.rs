//! Azure's instance metadata and Google's token endpoint.

use postrider_sandbox::{
    authority::Standing,
    token_endpoint::{
        Claims, GrantKind, Provider, TokenConfig, TokenTrouble,
        keys::{RsaKey, ServiceAccountFile, Signing},
    },
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::token_client::{Desk, claims};

const IMDS: &str = "/metadata/identity/oauth2/token";
const RESOURCE: &str = "https://outlook.office365.com";

fn managed(client_id: &str, oid: &str, resource_id: Option<&str>) -> TokenConfig {
    TokenConfig {
        provider: Provider::ManagedIdentity {
            resource_id: resource_id.map(str::to_owned),
        },
        client_id: client_id.to_owned(),
        claims: Claims {
            oid: oid.to_owned(),
            ..Claims::default()
        },
        ..TokenConfig::default()
    }
}

async fn imds(desk: &Desk, query: &[(&str, &str)], headers: &[(&str, &str)]) -> (u16, Value) {
    let version = [("api-version", "2018-02-01")];
    let headers: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let answered = desk.get(IMDS, &[&version, query].concat(), &headers).await;
    let body = serde_json::from_str(&answered.body);
    (answered.status, body.unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_machines_identity_gets_its_token_with_times_as_text() {
    let desk = Desk::start(managed("system", "oid-of-system", None)).await;
    let metadata = ("Metadata", "true");
    let resource = ("resource", RESOURCE);
    let (status, body) = imds(&desk, &[resource], &[metadata]).await;
    assert_eq!((status, &body["expires_in"]), (200, &"3599".into()));
    assert!(body["expires_on"].is_string() && body["not_before"].is_string());
    assert_eq!(claims(&body)["oid"], "oid-of-system");
    let token = body["access_token"].as_str().unwrap();
    let standing = desk.authority.standing(token, "any@contoso.com");
    assert!(matches!(standing, Standing::Good { .. }));

    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let table: [(Pairs<'_>, Pairs<'_>); 6] = [
        (&[resource], &[]),
        (&[resource], &[("Metadata", "TRUE")]),
        (&[resource], &[metadata, ("X-Forwarded-For", "10.0.0.1")]),
        (&[resource], &[metadata, ("Via", "1.1 proxy")]),
        (&[], &[metadata]),
        (&[resource, ("client_id", "nobody")], &[metadata]),
    ];
    for (query, headers) in table {
        let (status, body) = imds(&desk, query, headers).await;
        assert_eq!(
            (status, &body["error"]),
            (400, &"invalid_request".into()),
            "{headers:?}"
        );
    }
    let absolute = format!("{}{IMDS}", desk.endpoint.authority_url());
    let query = [("api-version", "2018-02-01"), resource];
    let answered = desk
        .get(&absolute, &query, &[("Metadata", "true".to_owned())])
        .await;
    assert_eq!(answered.status, 400, "asked as a proxy");
}

#[tokio::test]
async fn one_of_several_identities_has_to_be_named() {
    let desk = Desk::start(managed("one", "oid-1", Some("/subscriptions/1"))).await;
    desk.endpoint
        .add(managed("two", "oid-2", Some("/subscriptions/2")));
    let headers = [("Metadata", "true")];
    let resource = ("resource", RESOURCE);
    let (status, body) = imds(&desk, &[resource], &headers).await;
    let said = body["error_description"].as_str().unwrap();
    assert!(status == 400 && said.starts_with("Multiple user assigned"));
    for named in [
        ("client_id", "two"),
        ("object_id", "oid-2"),
        ("msi_res_id", "/subscriptions/2"),
    ] {
        let (status, body) = imds(&desk, &[resource, named], &headers).await;
        assert_eq!((status, &body["client_id"]), (200, &"two".into()));
    }
    assert_eq!(
        desk.endpoint
            .tally("two", GrantKind::ManagedIdentity)
            .answered,
        3
    );
    // It answers 404, 410 and 429 for a while after a machine has started.
    let gone = TokenTrouble::Status(410).times(1);
    desk.endpoint.set_trouble_of("two", gone).unwrap();
    let query = [resource, ("client_id", "two")];
    assert_eq!(imds(&desk, &query, &headers).await.0, 410);
    assert_eq!(imds(&desk, &query, &headers).await.0, 200);
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const MAIL: &str = "https://mail.google.com/";
const ROBOT: &str = "postrider@sandbox.iam.gserviceaccount.com";
const ANN: &str = "ann@example.com";

#[tokio::test]
async fn a_service_account_acts_for_users_of_its_domain_within_its_scopes() {
    let file = ServiceAccountFile::generate(ROBOT).unwrap();
    let desk = Desk::start(TokenConfig {
        provider: Provider::GoogleServiceAccount(file.account("example.com", &[MAIL])),
        client_id: ROBOT.to_owned(),
        ..TokenConfig::default()
    });
    let desk = desk.await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let right = json!({
        "iss": ROBOT, "sub": ANN, "scope": MAIL, "iat": now, "exp": now + 3600,
        "aud": desk.endpoint.google_token_url(),
    });
    let ask = async |assertion: &str| {
        let fields = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        desk.form("/token", &fields).await
    };
    let sign = |claims: &Value| file.key.sign(Signing::Rs256, json!({}), claims).unwrap();
    let (status, body) = ask(&sign(&right)).await;
    let token = body["access_token"].as_str().unwrap();
    assert!(status == 200 && token.starts_with("ya29."));
    let good = desk.authority.standing(token, ANN);
    assert!(matches!(good, Standing::Good { .. }));
    assert_eq!(
        desk.authority.standing(token, "bob@example.com"),
        Standing::Unknown
    );
    assert_eq!(desk.endpoint.asked(ROBOT)[0].subject.as_deref(), Some(ANN));

    let off: [(&str, Value, &str); 6] = [
        (
            "scope",
            "https://www.googleapis.com/auth/drive".into(),
            "unauthorized_client",
        ),
        ("sub", "ann@elsewhere.example".into(), "invalid_grant"),
        ("aud", "https://accounts.google.com".into(), "invalid_grant"),
        ("exp", (now + 3601).into(), "invalid_grant"),
        ("iat", (now + 600).into(), "invalid_grant"),
        ("iss", "nobody@sandbox".into(), "invalid_grant"),
    ];
    for (claim, value, error) in off {
        let mut shown = right.clone();
        shown[claim] = value;
        assert_eq!(ask(&sign(&shown)).await.1["error"], error, "{claim}");
    }
    let stranger = RsaKey::generate().unwrap();
    let shown = stranger.sign(Signing::Rs256, json!({}), &right).unwrap();
    assert_eq!(
        ask(&shown).await.1["error_description"],
        "Invalid JWT Signature."
    );
    let key: Value = serde_json::from_str(&file.json("https://x/token")).unwrap();
    assert_eq!(key["token_uri"], "https://x/token");
}

#[tokio::test]
async fn google_refreshes_without_a_new_refresh_token_and_has_no_device_flow_for_mail() {
    let client = "sandbox.apps.googleusercontent.com";
    let desk = Desk::start(TokenConfig {
        provider: Provider::Google,
        client_id: client.to_owned(),
        ..TokenConfig::default()
    });
    let desk = desk.await;
    let refresh = desk
        .endpoint
        .sign_in(client, "ann@contoso.com", MAIL)
        .unwrap();
    let mut fields = vec![
        ("client_id", client),
        ("grant_type", "refresh_token"),
        ("refresh_token", &refresh),
    ];
    assert_eq!(desk.form("/token", &fields).await.0, 401);
    fields.push(("client_secret", "sandbox~secret"));
    let (status, body) = desk.form("/token", &fields).await;
    assert_eq!((status, body["refresh_token"].is_null()), (200, true));
    let fields = [("client_id", client), ("scope", MAIL)];
    let (status, body) = desk.form("/device/code", &fields).await;
    assert_eq!((status, &body["error"]), (400, &"invalid_scope".into()));
}
