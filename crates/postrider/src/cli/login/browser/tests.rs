//! The loopback port against strangers, late comers and nobody at all. The way through a provider
//! is a scenario's.

use postrider_oauth::client::TokenClient;

use super::*;

async fn begin() -> (TcpListener, Url, Authorization, String) {
    let authority = Url::parse("https://login.microsoftonline.com").unwrap();
    let client = TokenClient::microsoft(&authority, "t", "c", "s").unwrap();
    let endpoint = client.authorization_endpoint().unwrap();
    let (listener, redirect) = listen("localhost", None).await.unwrap();
    let authorization = Authorization::begin(&client, &endpoint, &redirect, None).unwrap();
    let state = authorization
        .url()
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    (listener, redirect, authorization, state)
}

async fn get(at: &Url, rest: &str) -> (u16, String) {
    let port = at.port().unwrap();
    let http = network_client();
    let answer = http
        .get(format!("http://127.0.0.1:{port}{rest}"))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn network_client() -> reqwest::Client {
    let tls = crate::tls::trusting_nobody().unwrap();
    crate::network::build(crate::network::http_builder(&crate::config::Proxy::None, tls).unwrap())
        .unwrap()
}

#[tokio::test]
async fn strangers_are_sent_away_and_the_right_answer_still_counts() {
    let (listener, at, authorization, state) = begin().await;
    let waiting = tokio::spawn(wait(listener, authorization, Duration::from_secs(30)));
    for (rest, status) in [
        ("/favicon.ico", 404),
        ("/", 400),
        ("/?code=evil", 400),
        ("/?code=evil&state=guessed", 400),
        ("/?error=access_denied", 400),
    ] {
        let (found, page) = get(&at, rest).await;
        assert_eq!(found, status, "{rest}");
        assert!(
            !page.contains("evil"),
            "what a request holds is in the page"
        );
    }
    let (status, page) = get(&at, &format!("/?code=right&state={state}")).await;
    assert_eq!(status, 200);
    assert!(page.contains("Go back to the terminal") && !page.contains("right"));
    let proof = waiting.await.unwrap().unwrap();
    assert!(matches!(proof, Proof::AuthorizationCode { .. }));
}

#[tokio::test]
async fn a_refusal_at_the_provider_ends_the_wait_with_its_advice() {
    let (listener, at, authorization, state) = begin().await;
    let waiting = tokio::spawn(wait(listener, authorization, Duration::from_secs(30)));
    let rest = format!("/?error=access_denied&error_description=AADSTS65004%3A+no&state={state}");
    let (status, page) = get(&at, &rest).await;
    assert!(status == 200 && page.contains("did not succeed") && !page.contains("AADSTS"));
    let failure = waiting.await.unwrap().unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.error.contains("access_denied") && failure.hint.is_some());
}

#[tokio::test]
async fn where_nobody_comes_the_wait_ends_and_the_port_is_closed() {
    let (listener, at, authorization, _) = begin().await;
    let waited = wait(listener, authorization, Duration::from_millis(20)).await;
    assert_eq!(waited.unwrap_err().exit, Exit::TryAgain);
    let port = at.port().unwrap();
    let reached = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(reached.is_err());
}

#[tokio::test]
async fn only_this_machine_can_reach_the_port_and_a_taken_one_is_told() {
    let (listener, _) = listen("127.0.0.1", None).await.unwrap();
    let at = listener.local_addr().unwrap();
    assert!(at.ip().is_loopback());
    let failure = listen("127.0.0.1", Some(at.port())).await.unwrap_err();
    assert!(failure.hint.unwrap().contains("--port"));
}
