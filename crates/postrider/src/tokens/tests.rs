//! Credentials against a token endpoint over real HTTP.

mod endpoint;
mod news;
mod passwords;
mod proofs;
mod world;

use std::{fs, time::Duration};

use secrecy::ExposeSecret;

use self::{
    endpoint::{Endpoint, Mode},
    world::World,
};
use super::*;
use crate::config::{Cloud, CredentialKind, MicrosoftApplication, MicrosoftProof, Proxy};
use crate::{clock, config::SecretRef};

fn by_key(credentials: impl IntoIterator<Item = Credential>) -> Credentials {
    credentials
        .into_iter()
        .map(|credential| (credential.key.clone(), Arc::new(credential)))
        .collect()
}

fn vault(folder: &tempfile::TempDir) -> VaultConfig {
    VaultConfig {
        path: folder.path().join("vault"),
        key: vec![SecretRef::File(folder.path().join("vault-key"))],
    }
}

/// Mailboxes `ann` and `bob`, whose user names are their addresses.
fn wanted<'a>(credentials: &'a Credentials, vault: &'a VaultConfig) -> Wanted<'a> {
    let user = |name: &str| {
        let user: Arc<str> = format!("{name}@contoso.com").into();
        (name.into(), ("contoso".into(), user))
    };
    Wanted {
        credentials,
        vault,
        keep_delivered: Duration::from_secs(7 * 86_400),
        users: [user("ann"), user("bob")].into(),
    }
}

fn microsoft(key: &str, endpoint: &Endpoint, client_id: &str, secrets: &[SecretRef]) -> Credential {
    Credential {
        key: key.into(),
        kind: CredentialKind::Microsoft(MicrosoftApplication {
            tenant: "contoso.onmicrosoft.com".to_owned(),
            client_id: client_id.to_owned(),
            proof: MicrosoftProof::Secrets(secrets.to_vec()),
            cloud: Cloud::Global,
            authority: endpoint.base.clone(),
            scope: "https://outlook.office365.com/.default".to_owned(),
        }),
        proxy: Proxy::None,
        expires: None,
        must_not_open: Vec::new(),
    }
}

fn token(access: &Access) -> &str {
    match &access.secret {
        LoginSecret::Token(token) => token.expose_secret(),
        LoginSecret::Password(_) => panic!("a password"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_at_a_cold_start_make_one_request() {
    let world = World::new().await;
    let delay = Duration::from_millis(200);
    world.endpoint.set(|script| script.delay = delay);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let tokens = Arc::clone(&world.tokens);
        callers.spawn(async move {
            tokens
                .login(&MailboxKey::new(format!("m{number}")), &"contoso".into())
                .await
        });
    }
    while let Some(access) = callers.join_next().await {
        let access = access.unwrap().unwrap();
        assert_eq!(
            (token(&access), access.generation),
            ("token-1", Generation(1))
        );
        // The life counts from before the request: the endpoint's delay is not part of it.
        let life = access.expires.unwrap() - clock::monotonic();
        assert!(
            life <= Duration::from_secs(3599) - delay && life > Duration::from_secs(3580),
            "{life:?}"
        );
    }
    assert_eq!(world.endpoint.requests().len(), 1);
    assert_eq!(world.status().state, CredentialState::Ready);
}

#[tokio::test]
async fn a_token_in_use_is_refreshed_ahead_of_its_end() {
    let world = World::new().await;
    world
        .endpoint
        .set(|script| script.expires_in = serde_json::json!(2));
    let first = world.login("support").await.unwrap();
    // The mailbox sits in IDLE: nobody asks again.
    assert_eq!(
        world.login("sales").await.unwrap().generation,
        first.generation
    );
    world.requests_reach(2).await;
    assert!(
        clock::monotonic() < first.expires.unwrap(),
        "ahead of its end"
    );
    let second = world.login_succeeds_again().await;
    assert_eq!(token(&second), "token-2");
    assert!(second.expires > first.expires);
}

#[tokio::test]
async fn the_old_token_is_used_through_an_outage() {
    let mut world = World::new().await;
    world
        .endpoint
        .set(|script| script.expires_in = serde_json::json!(6));
    let first = world.login("support").await.unwrap();
    assert_eq!(
        world.login("support").await.unwrap().generation,
        first.generation
    );
    world.endpoint.set(|script| script.mode = Mode::Outage);
    world.requests_reach(2).await;
    let deadline = clock::monotonic() + Duration::from_secs(2);
    while world.status().state != CredentialState::Unavailable {
        assert!(clock::monotonic() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        world.login("support").await.unwrap().generation,
        first.generation
    );
    world.endpoint.set(|script| script.mode = Mode::Good);
    assert_eq!(
        world.transition().await,
        Transition::Available {
            credential: "contoso".into(),
            user: None,
        }
    );
    assert_eq!(world.login_succeeds_again().await.generation, Generation(2));
}

#[tokio::test]
async fn an_outage_is_no_refusal_and_its_end_is_noticed_by_itself() {
    let mut world = World::new().await;
    world.endpoint.set(|script| script.mode = Mode::Outage);
    let failure = world.login("support").await.unwrap_err();
    let CredentialFailure::Unavailable {
        retry_after: Some(wait),
        ..
    } = &failure
    else {
        panic!("{failure:?}")
    };
    assert!(*wait <= Duration::from_secs(1), "{wait:?}");
    assert!(failure.to_string().contains("503"), "{failure}");
    world.endpoint.set(|script| script.mode = Mode::Good);
    assert_eq!(
        world.transition().await,
        Transition::Available {
            credential: "contoso".into(),
            user: None,
        }
    );
    assert_eq!(
        world.login("support").await.unwrap().generation,
        Generation(1)
    );
}

#[tokio::test]
async fn a_refused_secret_that_is_replaced_works_without_a_restart() {
    let mut world = World::new().await;
    fs::write(world.path("secret"), "wr0ng-secret").unwrap();
    world.tokens.secrets().look().await;
    let failure = world.login("support").await.unwrap_err();
    let said = format!("{failure} {failure:?} {:?}", world.status());
    assert!(
        matches!(failure, CredentialFailure::Refused { .. }),
        "{said}"
    );
    assert!(
        said.contains("AADSTS7000215") && said.contains("Secret ID"),
        "{said}"
    );
    assert!(!said.contains("wr0ng-secret"), "{said}");
    assert!(matches!(
        world.transition().await,
        Transition::Refused { .. }
    ));
    assert_eq!(world.status().state, CredentialState::Refused);
    assert!(world.login("support").await.is_err());
    assert_eq!(
        world.endpoint.requests().len(),
        1,
        "it is not asked again before its time"
    );
    // As a secret manager does it: a new file in the old one's place.
    fs::write(world.path("next"), "right").unwrap();
    fs::rename(world.path("next"), world.path("secret")).unwrap();
    assert!(matches!(
        world.transition().await,
        Transition::Recovered { .. }
    ));
    assert_eq!(token(&world.login("support").await.unwrap()), "token-1");
}

#[tokio::test]
async fn a_throttle_in_plain_text_is_obeyed() {
    let world = World::new().await;
    world
        .endpoint
        .set(|script| script.mode = Mode::Throttled { seconds: 60 });
    for _ in 0..20 {
        let failure = world.login("support").await.unwrap_err();
        let CredentialFailure::Unavailable {
            retry_after: Some(wait),
            ..
        } = &failure
        else {
            panic!("{failure:?}")
        };
        assert!(
            *wait > Duration::from_secs(50) && *wait <= Duration::from_secs(60),
            "{wait:?}"
        );
    }
    assert_eq!(world.endpoint.requests().len(), 1);
}

#[tokio::test]
async fn a_secret_that_is_not_there_yet_is_refused_and_then_found() {
    let endpoint = Endpoint::start(&["right"]).await;
    let folder = tempfile::tempdir().unwrap();
    let secrets = [SecretRef::File(folder.path().join("later"))];
    let credentials = [microsoft("contoso", &endpoint, "client", &secrets)];
    let mut world = World::with(endpoint, folder, credentials);
    let failure = world.login("support").await.unwrap_err();
    assert!(
        failure.to_string().contains("later") && failure.to_string().contains("hint: "),
        "{failure}"
    );
    assert!(world.endpoint.requests().is_empty());
    assert!(matches!(
        world.transition().await,
        Transition::Refused { .. }
    ));
    fs::write(world.path("later"), "right").unwrap();
    assert!(matches!(
        world.transition().await,
        Transition::Recovered { .. }
    ));
}

#[tokio::test]
async fn the_older_secret_serves_until_the_newest_is_known() {
    let endpoint = Endpoint::start(&["old"]).await;
    let folder = tempfile::tempdir().unwrap();
    let secrets: Vec<SecretRef> = ["new", "old"]
        .map(|name| {
            fs::write(folder.path().join(name), name).unwrap();
            SecretRef::File(folder.path().join(name))
        })
        .into();
    let credentials = [microsoft("contoso", &endpoint, "client", &secrets)];
    let world = World::with(endpoint, folder, credentials);
    world
        .endpoint
        .set(|script| script.expires_in = serde_json::json!(2));
    let first = world.login("support").await.unwrap();
    assert_eq!(world.endpoint.requests(), ["new", "old"]);
    assert_eq!(world.status().live_secret, Some(1));
    assert_eq!(
        world.login("support").await.unwrap().generation,
        first.generation
    );
    world.requests_reach(3).await;
    assert_eq!(
        world.endpoint.requests()[2],
        "old",
        "the one that works is tried first"
    );
}

#[tokio::test]
async fn one_mailbox_cannot_take_a_proven_token_from_the_others() {
    let world = World::new().await;
    let first = world.login("a").await.unwrap().generation;
    world.accepted("a", first);
    world.accepted("b", first);
    for _ in 0..5 {
        assert_eq!(world.refused("broken", first), Next::Same);
        assert_eq!(world.refused("a", first), Next::Same);
    }
    assert_eq!(world.login("a").await.unwrap().generation, first);
    assert_eq!(world.endpoint.requests().len(), 1);
    assert_eq!(world.refused("b", first), Next::Another);
    let second = world.login("a").await.unwrap().generation;
    assert_eq!(second, Generation(2));
    assert_eq!(
        world.refused("a", first),
        Next::Another,
        "an older token's refusal means nothing"
    );
    // Nobody has logged in with the second one: it is dropped once, then kept for five minutes.
    assert_eq!(world.refused("a", second), Next::Another);
    let third = world.login("a").await.unwrap().generation;
    assert_eq!(world.refused("a", third), Next::Same);
    assert_eq!(world.refused("b", third), Next::Same);
    assert_eq!(world.login("a").await.unwrap().generation, third);
    assert_eq!(world.endpoint.requests().len(), 3);
}

#[tokio::test]
async fn a_reload_resets_only_what_changed() {
    let world = World::new().await;
    let secrets = [SecretRef::File(world.path("secret"))];
    let same = || microsoft("contoso", &world.endpoint, "client", &secrets);
    let twin = || microsoft("twin", &world.endpoint, "client", &secrets);
    world.login("support").await.unwrap();
    world.put(&by_key([same(), twin()])).unwrap();
    let contoso = world.login("support").await.unwrap();
    let shared = world
        .tokens
        .login(&"sales".into(), &"twin".into())
        .await
        .unwrap();
    assert_eq!(
        token(&contoso),
        token(&shared),
        "the same client has one token, whatever its names"
    );
    assert_eq!(world.endpoint.requests().len(), 1);
    world
        .put(&by_key([
            microsoft("contoso", &world.endpoint, "another", &secrets),
            twin(),
        ]))
        .unwrap();
    assert_eq!(token(&world.login("support").await.unwrap()), "token-2");
    assert_eq!(
        token(
            &world
                .tokens
                .login(&"sales".into(), &"twin".into())
                .await
                .unwrap()
        ),
        "token-1"
    );
    let mut plaintext = same();
    if let CredentialKind::Microsoft(app) = &mut plaintext.kind {
        app.authority = url::Url::parse("http://login.example.org").unwrap();
    }
    let error = world.put(&by_key([plaintext])).unwrap_err().to_string();
    assert!(
        error.contains("credential contoso") && error.contains("hint: "),
        "{error}"
    );
    assert_eq!(
        token(&world.login("support").await.unwrap()),
        "token-2",
        "the old set stays"
    );
    world.put(&by_key([twin()])).unwrap();
    assert_eq!(
        world.login("support").await.unwrap_err(),
        CredentialFailure::Unknown("contoso".into())
    );
}

#[tokio::test]
async fn a_refused_credential_that_a_reload_mends_is_told_without_being_asked() {
    let mut world = World::new().await;
    fs::write(world.path("other"), "wr0ng").unwrap();
    let wrong = [SecretRef::File(world.path("other"))];
    let right = [SecretRef::File(world.path("secret"))];
    let with =
        |secrets: &[SecretRef]| by_key([microsoft("contoso", &world.endpoint, "client", secrets)]);
    let (wrong, right) = (with(&wrong), with(&right));
    world.put(&wrong).unwrap();
    assert!(world.login("support").await.is_err());
    assert!(matches!(
        world.transition().await,
        Transition::Refused { .. }
    ));
    world.put(&right).unwrap();
    assert!(matches!(
        world.transition().await,
        Transition::Recovered { .. }
    ));
    world.login("support").await.unwrap();
}

#[tokio::test]
async fn who_waits_during_a_reload_gets_the_new_credentials_token() {
    let world = World::new().await;
    world
        .endpoint
        .set(|script| script.delay = Duration::from_millis(300));
    let tokens = Arc::clone(&world.tokens);
    let waiting =
        tokio::spawn(async move { tokens.login(&"support".into(), &"contoso".into()).await });
    world.requests_reach(1).await;
    let secrets = [SecretRef::File(world.path("secret"))];
    world
        .put(&by_key([microsoft(
            "contoso",
            &world.endpoint,
            "another",
            &secrets,
        )]))
        .unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(
        world.endpoint.requests().len(),
        2,
        "the old client's request counts no more"
    );
}

#[tokio::test]
async fn a_request_takes_the_configured_proxy() {
    let endpoint = Endpoint::start(&["right"]).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "right").unwrap();
    let secrets = [SecretRef::File(folder.path().join("secret"))];
    let mut credential = microsoft("contoso", &endpoint, "client", &secrets);
    credential.proxy = Proxy::Url(endpoint.base.clone());
    if let CredentialKind::Microsoft(app) = &mut credential.kind {
        app.authority = url::Url::parse("http://127.0.0.1:1").unwrap();
    }
    let world = World::with(endpoint, folder, [credential]);
    assert_eq!(token(&world.login("support").await.unwrap()), "token-1");
}

#[tokio::test]
async fn nothing_prints_a_token_or_a_secret() {
    let world = World::new().await;
    let access = world.login("support").await.unwrap();
    let login = access.login("support@contoso.com");
    let said = format!("{access:?} {login:?} {:?}", world.tokens.snapshot());
    assert!(
        !said.contains("token-1") && !said.contains("right"),
        "{said}"
    );
}
