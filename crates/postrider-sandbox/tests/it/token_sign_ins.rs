//! People who sign in: device code, authorization code with PKCE, refresh tokens.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_sandbox::{
    authority::Standing,
    token_endpoint::{
        Decision, Delegated, GrantKind, Provider, RefreshEnd, Rotation, TokenConfig, TokenTrouble,
        User,
    },
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    post::post,
    token_client::{CLIENT, Desk, TOKEN, USER_SCOPE, claims, percent},
};

const DEVICE: &str = "/contoso.onmicrosoft.com/oauth2/v2.0/devicecode";
const AUTHORIZE: &str = "/contoso.onmicrosoft.com/oauth2/v2.0/authorize";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ANN: &str = "ann@contoso.com";

async fn signing_in(change: impl FnOnce(&mut Delegated)) -> Desk {
    let mut config = TokenConfig::default();
    config.delegated.device_interval = Duration::ZERO;
    config.delegated.users = vec![User {
        name: ANN.to_owned(),
        opens: vec!["support@contoso.com".to_owned()],
    }];
    change(&mut config.delegated);
    Desk::start(config).await
}

async fn begin(desk: &Desk) -> (String, String) {
    let fields = [("client_id", CLIENT), ("scope", USER_SCOPE)];
    let (status, body) = desk.form(DEVICE, &fields).await;
    assert_eq!(status, 200, "{body}");
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    assert!(text("message").contains(&text("user_code")));
    (text("device_code"), text("user_code"))
}

async fn poll(desk: &Desk, code: &str) -> (u16, Value) {
    let fields = [
        ("client_id", CLIENT),
        ("grant_type", DEVICE_GRANT),
        ("device_code", code),
    ];
    desk.form(TOKEN, &fields).await
}

#[tokio::test]
async fn a_device_code_is_pending_until_somebody_decides() {
    let desk = signing_in(|_| {}).await;
    let (code, user_code) = begin(&desk).await;
    assert_eq!(poll(&desk, &code).await.1["error"], "authorization_pending");
    let undecided = desk.endpoint.user_codes(CLIENT).unwrap();
    assert_eq!(undecided, [user_code.as_str()]);
    desk.endpoint
        .decide(&user_code, Decision::Approve(ANN.to_owned()))
        .unwrap();
    let (status, body) = poll(&desk, &code).await;
    assert_eq!((status, &claims(&body)["upn"]), (200, &ANN.into()));
    assert!(body["refresh_token"].is_string() && body["id_token"].is_string());
    let token = body["access_token"].as_str().unwrap();
    for (user, good) in [
        (ANN, true),
        ("support@contoso.com", true),
        ("boss@contoso.com", false),
    ] {
        let standing = desk.authority.standing(token, user);
        assert_eq!(matches!(standing, Standing::Good { .. }), good, "{user}");
    }
    // It is used up.
    assert_eq!(poll(&desk, &code).await.1["error"], "bad_verification_code");
    assert!(desk.endpoint.decide(&user_code, Decision::Decline).is_err());

    for (decision, error) in [
        (Decision::Decline, "authorization_declined"),
        (Decision::Expire, "expired_token"),
    ] {
        let (code, user_code) = begin(&desk).await;
        desk.endpoint.decide(&user_code, decision).unwrap();
        assert_eq!(poll(&desk, &code).await.1["error"], error);
    }
    assert_eq!(
        desk.endpoint.tally(CLIENT, GrantKind::DeviceStart).answered,
        3
    );
}

#[tokio::test]
async fn who_polls_too_fast_is_told_to_slow_down() {
    let desk = signing_in(|settings| {
        settings.device_interval = Duration::from_secs(5);
        settings.device_decision = Some((1, Decision::Approve(ANN.to_owned())));
    });
    let desk = desk.await;
    let (code, _) = begin(&desk).await;
    assert_eq!(poll(&desk, &code).await.1["error"], "authorization_pending");
    assert_eq!(poll(&desk, &code).await.1["error"], "slow_down");
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://localhost:49152/";

async fn visit(desk: &Desk, redirect_uri: &str, challenge: &str) -> (u16, String) {
    let query = [
        ("client_id", CLIENT),
        ("response_type", "code"),
        ("redirect_uri", redirect_uri),
        ("scope", USER_SCOPE),
        ("state", "a state"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ];
    let answered = desk.get(AUTHORIZE, &query, &[]).await;
    let location = answered.location();
    (answered.status, location.unwrap_or(answered.body))
}

async fn redeem(desk: &Desk, code: &str, redirect_uri: &str, verifier: &str) -> (u16, Value) {
    let fields = [
        ("client_id", CLIENT),
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    ];
    desk.form(TOKEN, &fields).await
}

fn code_of(location: &str) -> String {
    let query = location.split_once("?code=").expect("a code").1;
    query.split('&').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_authorization_code_is_good_once_and_for_its_verifier_alone() {
    let desk = signing_in(|_| {}).await;
    let (status, to) = visit(&desk, REDIRECT, &challenge(VERIFIER)).await;
    assert_eq!(status, 302);
    assert!(to.starts_with("http://localhost:49152/?code=") && to.ends_with("&state=a%20state"));
    let code = code_of(&to);
    let wrong = "x".repeat(43);
    let table = [
        (REDIRECT, wrong.as_str(), 501_481),
        (REDIRECT, "", 501_481),
        ("http://localhost:1/", VERIFIER, 500_112),
    ];
    for (redirect_uri, verifier, number) in table {
        let (_, body) = redeem(&desk, &code, redirect_uri, verifier).await;
        assert_eq!(body["error_codes"][0], number, "{body}");
    }
    assert_eq!(redeem(&desk, &code, REDIRECT, VERIFIER).await.0, 200);
    let (_, body) = redeem(&desk, &code, REDIRECT, VERIFIER).await;
    assert_eq!(
        (&body["error"], &body["error_codes"][0]),
        (&"invalid_grant".into(), &54_005.into())
    );

    let (status, page) = visit(&desk, "http://127.0.0.1:49152/", &challenge(VERIFIER)).await;
    assert!(status == 400 && page.contains("AADSTS50011"), "{page}");
    let (_, to) = visit(&desk, REDIRECT, "short").await;
    assert!(to.contains("?error=invalid_request&"), "{to}");
    desk.endpoint
        .change(|config| config.delegated.browser = None);
    let (_, to) = visit(&desk, REDIRECT, &challenge(VERIFIER)).await;
    assert!(to.contains("?error=access_denied&"), "{to}");
}

async fn refresh(desk: &Desk, token: &str) -> (u16, Value) {
    let fields = [
        ("client_id", CLIENT),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    desk.form(TOKEN, &fields).await
}

#[tokio::test]
async fn a_refresh_token_rotates_and_ends_as_it_is_told() {
    let desk = signing_in(|_| {}).await;
    let endpoint = &desk.endpoint;
    let first = endpoint.sign_in(CLIENT, ANN, USER_SCOPE).unwrap();
    let (status, body) = refresh(&desk, &first).await;
    let second = body["refresh_token"].as_str().unwrap().to_owned();
    assert!(status == 200 && second != first);
    assert_eq!(
        endpoint.last_refresh_token_of(CLIENT).unwrap().unwrap(),
        second
    );
    assert_eq!(
        refresh(&desk, &first).await.0,
        200,
        "the old one stays good"
    );

    endpoint.change(|config| config.delegated.rotation = Rotation::OldIsRevoked);
    endpoint.set_trouble(TokenTrouble::AnswerLost.times(1));
    let body = format!(
        "client_id={CLIENT}&grant_type=refresh_token&refresh_token={}",
        percent(&second)
    );
    let headers = [(
        "Content-Type",
        "application/x-www-form-urlencoded".to_owned(),
    )];
    assert!(
        post(endpoint.address(), TOKEN, &headers, &body)
            .await
            .is_none()
    );
    assert!(
        !endpoint.is_good_refresh_token(&second),
        "it was used all the same"
    );
    assert_eq!(refresh(&desk, &second).await.1["error_codes"][0], 70_000);

    for (end, number) in [
        (RefreshEnd::Revoked, 50_173),
        (RefreshEnd::Idle, 700_082),
        (RefreshEnd::SecondFactor, 50_076),
        (RefreshEnd::SignInFrequency, 70_043),
    ] {
        let token = endpoint.sign_in(CLIENT, ANN, USER_SCOPE).unwrap();
        endpoint.end_refresh_tokens(CLIENT, end).unwrap();
        let (status, body) = refresh(&desk, &token).await;
        assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()));
        assert_eq!(body["error_codes"][0], number);
    }
}

#[tokio::test]
async fn a_bare_permission_is_graphs_and_a_confidential_client_needs_its_secret() {
    let desk = signing_in(|_| {}).await;
    let endpoint = &desk.endpoint;
    let bare = endpoint
        .sign_in(CLIENT, ANN, "IMAP.AccessAsUser.All")
        .unwrap();
    let (_, body) = refresh(&desk, &bare).await;
    assert_eq!(claims(&body)["aud"], "https://graph.microsoft.com");
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(desk.authority.standing(token, ANN), Standing::Unknown);

    endpoint.change(|config| config.delegated.public_client = false);
    let token = endpoint.sign_in(CLIENT, ANN, USER_SCOPE).unwrap();
    assert_eq!(refresh(&desk, &token).await.1["error_codes"][0], 7_000_218);
}

#[tokio::test]
async fn other_providers_word_it_as_the_rfcs_do() {
    let desk = Desk::start(TokenConfig {
        provider: Provider::Generic,
        ..TokenConfig::default()
    });
    let desk = desk.await;
    let credentials = [("client_id", CLIENT), ("client_secret", "sandbox~secret")];
    let ask = async |more: &[(&str, &str)]| {
        desk.form("/oauth/token", &[&credentials, more].concat())
            .await
    };
    let (status, body) = ask(&[("grant_type", "client_credentials")]).await;
    assert_eq!((status, body["ext_expires_in"].is_null()), (200, true));
    let token = desk.endpoint.sign_in(CLIENT, ANN, "mail").unwrap();
    let (status, body) = ask(&[("grant_type", "refresh_token"), ("refresh_token", &token)]).await;
    assert_eq!((status, &body["scope"]), (200, &"mail".into()));
    let (status, body) = ask(&[("grant_type", "refresh_token"), ("refresh_token", "no")]).await;
    assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()));
    assert!(body["error_codes"].is_null());
    let (status, body) = desk
        .form("/oauth/token", &[("grant_type", "client_credentials")])
        .await;
    assert_eq!((status, &body["error"]), (401, &"invalid_client".into()));
}
