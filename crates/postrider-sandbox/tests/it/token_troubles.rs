//! What goes wrong at a token endpoint, on demand.

use std::time::Duration;

use postrider_sandbox::token_endpoint::{
    ExpiresIn, GrantKind, TokenConfig, TokenCounters, TokenTrouble,
};
use serde_json::Value;

use crate::{
    post::Answered,
    token_client::{APP_SCOPE, CLIENT, Desk, TENANT, TOKEN},
};

const RIGHT: [(&str, &str); 4] = [
    ("client_id", CLIENT),
    ("scope", APP_SCOPE),
    ("client_secret", "sandbox~secret"),
    ("grant_type", "client_credentials"),
];

async fn meet(desk: &Desk, trouble: TokenTrouble) -> Answered {
    desk.endpoint.set_trouble(trouble.times(1));
    desk.answered(TOKEN, &RIGHT).await
}

#[tokio::test]
async fn every_number_of_entra_comes_with_its_error_and_status() {
    let desk = Desk::start(TokenConfig::default()).await;
    let table = [
        (7_000_215, 401, "invalid_client"),
        (7_000_222, 401, "invalid_client"),
        (700_016, 400, "unauthorized_client"),
        (90_002, 400, "invalid_request"),
        (700_027, 401, "invalid_client"),
        (70_021, 400, "invalid_request"),
        (1_002_012, 400, "invalid_scope"),
        (500_011, 400, "invalid_resource"),
        (65_001, 400, "invalid_grant"),
        (50_076, 400, "invalid_grant"),
        (53_003, 400, "invalid_grant"),
        (700_082, 400, "invalid_grant"),
        (90_033, 400, "temporarily_unavailable"),
    ];
    for (code, status, error) in table {
        let answered = meet(&desk, TokenTrouble::Aadsts(code)).await;
        let body: Value = serde_json::from_str(&answered.body).unwrap();
        assert_eq!(
            (answered.status, &body["error"]),
            (status, &error.into()),
            "{code}"
        );
        assert_eq!(body["error_codes"][0], code);
        let said = body["error_description"].as_str().unwrap();
        assert!(
            said.starts_with(&format!("AADSTS{code}: ")) && !said.contains('{'),
            "{said}"
        );
        assert!(said.contains("\r\nCorrelation ID: "), "{said}");
    }
    let counters = desk.endpoint.counters();
    assert_eq!((counters.refused, counters.troubled), (13, 0));
}

#[tokio::test]
async fn outages_and_throttles_come_in_every_shape() {
    let desk = Desk::start(TokenConfig::default()).await;
    let minute = Duration::from_secs(60);
    let answered = meet(&desk, TokenTrouble::ThrottledUntil(minute)).await;
    assert!(answered.status == 429 && answered.head.contains("retry-after: "));
    assert!(answered.head.contains(" gmt\r\n"), "{}", answered.head);
    let odd = TokenTrouble::ThrottledOddly(Some("soon".to_owned()));
    assert!(meet(&desk, odd).await.head.contains("retry-after: soon"));
    let without = meet(&desk, TokenTrouble::ThrottledOddly(None)).await;
    assert!(without.status == 429 && !without.head.contains("retry-after"));

    let page = meet(&desk, TokenTrouble::Html(502)).await;
    assert!(page.status == 502 && page.body.contains("<html>"));
    let page = meet(&desk, TokenTrouble::LoginPage).await;
    assert!(page.status == 200 && page.body.contains("<form"));
    let half = meet(&desk, TokenTrouble::Truncated).await;
    assert!(half.status == 200 && serde_json::from_str::<Value>(&half.body).is_err());
    let away = meet(
        &desk,
        TokenTrouble::Redirect("http://127.0.0.1:1/".to_owned()),
    )
    .await;
    assert_eq!(
        (away.status, away.location().unwrap().as_str()),
        (302, "http://127.0.0.1:1/")
    );
    let echo = meet(&desk, TokenTrouble::EchoSecret).await;
    assert!(echo.status == 401 && echo.body.contains("sandbox~secret"));
    assert_eq!(desk.answered(TOKEN, &RIGHT).await.status, 200);
}

#[tokio::test]
async fn one_identitys_trouble_is_not_anothers() {
    let desk = Desk::start(TokenConfig::default()).await;
    let endpoint = &desk.endpoint;
    let (other, tenant) = ("22222222-2222-3333-4444-555555555555", "fabrikam.example");
    endpoint.add(TokenConfig {
        tenant: tenant.to_owned(),
        client_id: other.to_owned(),
        expires_in: ExpiresIn::Text,
        ext_expires_in: false,
        refresh_in: Some(Duration::from_secs(1800)),
        ..TokenConfig::default()
    });
    endpoint
        .set_trouble_of(CLIENT, TokenTrouble::Status(503))
        .unwrap();
    let mut fields = RIGHT;
    fields[0].1 = other;
    let path = format!("/{tenant}/oauth2/v2.0/token");
    let (status, body) = desk.form(&path, &fields).await;
    assert_eq!((status, &body["expires_in"]), (200, &"3599".into()));
    assert!(body["ext_expires_in"].is_null() && body["refresh_in"] == 1800);
    assert_eq!(desk.answered(TOKEN, &RIGHT).await.status, 503);
    // The other one is unknown in this tenant.
    assert_eq!(desk.refusal(TOKEN, &fields).await.1, 700_016);
    assert_ne!(TENANT, tenant);

    let tally = endpoint.tally(CLIENT, GrantKind::ClientSecret);
    assert_eq!((tally.requests, tally.answered), (1, 0));
    assert_eq!(endpoint.asked(other).len(), 2);
    assert_eq!(endpoint.asked(other)[1].status, Some(400));
    let counters = endpoint.counters();
    let expected = TokenCounters {
        requests: 3,
        issued: 1,
        refused: 1,
        troubled: 1,
        in_flight_max: 1,
    };
    assert_eq!(counters, expected);
}
