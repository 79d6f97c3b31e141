use std::collections::BTreeMap;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn begin() -> Authorization {
    let client = TokenClient::microsoft(
        &url("https://login.microsoftonline.com"),
        "t",
        "client",
        "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
    )
    .unwrap();
    let endpoint = client.authorization_endpoint().unwrap();
    Authorization::begin(
        &client,
        &endpoint,
        &url("http://localhost:8400/"),
        Some("a@b.example"),
    )
    .unwrap()
}

fn query(url: &Url) -> BTreeMap<String, String> {
    url.query_pairs().into_owned().collect()
}

#[test]
fn the_challenge_is_that_of_the_rfc() {
    let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(
        challenge(&verifier),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
}

#[test]
fn the_address_asks_for_a_code_and_is_new_each_time() {
    let (one, other) = (begin(), begin());
    assert_eq!(one.url().path(), "/t/oauth2/v2.0/authorize");
    let (one, other) = (query(one.url()), query(other.url()));
    for (name, value) in [
        ("response_type", "code"),
        ("response_mode", "query"),
        ("client_id", "client"),
        ("redirect_uri", "http://localhost:8400"),
        (
            "scope",
            "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
        ),
        ("code_challenge_method", "S256"),
        ("login_hint", "a@b.example"),
    ] {
        assert_eq!(one[name], value);
    }
    assert_ne!(one["state"], other["state"]);
    assert_ne!(one["code_challenge"], other["code_challenge"]);
    assert_eq!(one["code_challenge"].len(), 43);
}

#[test]
fn google_is_asked_for_a_refresh_token() {
    let client = TokenClient::google_delegated(
        &url("https://oauth2.googleapis.com/token"),
        "c",
        "https://mail.google.com/",
    )
    .unwrap();
    let endpoint = client.authorization_endpoint().unwrap();
    let ours = Authorization::begin(&client, &endpoint, &url("http://127.0.0.1:1/"), None).unwrap();
    let pairs = query(ours.url());
    assert_eq!(
        (pairs["access_type"].as_str(), pairs["prompt"].as_str()),
        ("offline", "consent")
    );
}

#[test]
fn only_an_answer_with_the_right_state_counts() {
    let ours = begin();
    let state = query(ours.url())["state"].clone();
    for foreign in [
        "",
        "code=c",
        "code=c&state=",
        "code=c&state=x",
        &format!("code=c&state={state}x"),
    ] {
        assert_eq!(
            ours.accept(foreign, None).unwrap_err(),
            CallbackError::Foreign,
            "{foreign}"
        );
    }
    assert_eq!(
        ours.accept(&format!("state={state}"), None).unwrap_err(),
        CallbackError::NoCode
    );
    let proof = ours
        .accept(&format!("code=a%2Fb&state={state}&session_state=1"), None)
        .unwrap();
    let Proof::AuthorizationCode { code, .. } = &proof else {
        panic!("{proof:?}")
    };
    assert_eq!(code.expose_secret(), "a/b");
    assert_eq!(format!("{proof:?}"), "Proof(authorization code)");
}

#[test]
fn a_refusal_in_the_browser_has_its_advice() {
    let ours = begin();
    let state = query(ours.url())["state"].clone();
    let refusal = format!(
        "error=access_denied&error_description=AADSTS65004%3A+declined%0D%0ATrace&state={state}"
    );
    let CallbackError::Refused {
        error,
        description,
        hint,
    } = ours.accept(&refusal, None).unwrap_err()
    else {
        panic!("no refusal")
    };
    assert_eq!(
        (error.as_str(), description.as_str()),
        ("access_denied", "AADSTS65004: declined")
    );
    assert!(hint.contains("consent"), "{hint}");
}

#[test]
fn nobody_is_sent_to_a_listener_elsewhere() {
    let client = TokenClient::oauth2(
        &url("https://a.example/token"),
        "c",
        None,
        crate::client::ClientAuth::Body,
    )
    .unwrap();
    for redirect in ["http://example.org/", "https://localhost/"] {
        let error = Authorization::begin(
            &client,
            &url("https://a.example/auth"),
            &url(redirect),
            None,
        )
        .unwrap_err();
        assert_eq!(error, BeginError::Redirect, "{redirect}");
    }
}
