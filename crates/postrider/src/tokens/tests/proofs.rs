//! What a credential is proven by: new ones, shared ones, foreign ones, and those of people.

use std::{fs, sync::Arc, time::Duration};

use postrider_core::{
    ids::{CredentialKey, MailboxKey},
    time::Wall,
    token::Generation,
};
use postrider_oauth::certificate::Certificate;
use postrider_sandbox::token_endpoint::keys::{AppCertificate, ServiceAccountFile};
use secrecy::SecretString;

use super::{by_key, endpoint::Endpoint, microsoft, token, vault, world::World};
use crate::{
    clock,
    config::{
        AzureIdentity, CertificateRef, CertificateSource, Credential, CredentialKind, Environment,
        ForeignToken, GoogleServiceAccount, ManagedIdentity, MicrosoftApplication, MicrosoftProof,
        OAuth2, OAuth2Grant, Proxy, RefreshFrom, SecretRef, SignatureAlgorithm, TokenSource,
    },
    tokens::{CredentialFailure, CredentialState, Transition},
    vault::Vault,
};

fn credential(key: &str, kind: CredentialKind) -> Credential {
    Credential {
        key: key.into(),
        kind,
        proxy: Proxy::None,
        expires: None,
        must_not_open: Vec::new(),
    }
}

pub(super) fn in_file(folder: &tempfile::TempDir, name: &str, text: &str) -> SecretRef {
    fs::write(folder.path().join(name), text).unwrap();
    SecretRef::File(folder.path().join(name))
}

/// Waits until the world says so.
pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = clock::monotonic() + Duration::from_secs(10);
    while !holds() {
        assert!(clock::monotonic() < deadline, "still not");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_new_secret_that_is_refused_is_told_and_nothing_stops() {
    let mut world = World::new().await;
    let first = world.login("support").await.unwrap();
    fs::write(world.path("secret"), "wr0ng").unwrap();
    let told = world.transition().await;
    let Transition::ProofRefused { detail, .. } = &told else {
        panic!("{told:?}")
    };
    assert!(
        detail.contains("client secret (number 1) is refused") && detail.contains("AADSTS7000215"),
        "{detail}"
    );
    assert!(!detail.contains("wr0ng"), "{detail}");
    assert_eq!(told.news().unwrap().reason, "new_secret_refused");
    assert_eq!(world.endpoint.requests(), ["right", "wr0ng"], "one request");
    let status = world.status();
    assert_eq!(
        (status.state, status.live_secret),
        (CredentialState::Ready, Some(0))
    );
    let same = world.login("support").await.unwrap();
    assert_eq!(same.generation, first.generation);
    // The token is dropped: the old secret, which is on no disk any more, gives the next one.
    world.refused("support", first.generation);
    let second = world.login("support").await.unwrap();
    assert_eq!(second.generation, Generation(2));
    assert_eq!(world.endpoint.requests(), ["right", "wr0ng", "right"]);
}

#[tokio::test]
async fn a_new_secret_that_works_is_proven_at_once_and_takes_the_olds_place() {
    let world = World::new().await;
    world
        .endpoint
        .set(|script| script.accepted.push("newer".to_owned()));
    let first = world.login("support").await.unwrap();
    fs::write(world.path("secret"), "newer").unwrap();
    world.requests_reach(2).await;
    let second = world.login_succeeds_again().await;
    assert_eq!(world.endpoint.requests(), ["right", "newer"]);
    until(|| world.status().state == CredentialState::Ready).await;
    assert!(second.generation >= first.generation);
    // The old one is not needed any more, and not tried.
    world
        .endpoint
        .set(|script| script.accepted = vec!["right".to_owned()]);
    fs::write(world.path("secret"), "").unwrap();
    world.tokens.secrets().look().await;
    assert_eq!(
        world.endpoint.requests().len(),
        2,
        "an empty file is no secret"
    );
}

#[tokio::test]
async fn an_outage_while_a_new_secret_is_proven_harms_nobody() {
    let world = World::new().await;
    let first = world.login("support").await.unwrap();
    world
        .endpoint
        .set(|script| script.mode = super::Mode::Outage);
    fs::write(world.path("secret"), "newer").unwrap();
    world.requests_reach(2).await;
    let same = world.login("support").await.unwrap();
    assert_eq!(same.generation, first.generation);
    world.endpoint.set(|script| {
        script.mode = super::Mode::Good;
        script.accepted = vec!["newer".to_owned()];
    });
    until(|| world.login_now("support") > Some(first.generation)).await;
}

#[tokio::test]
async fn names_of_one_application_share_a_token_and_their_secrets() {
    let endpoint = Endpoint::start(&["second"]).await;
    let folder = tempfile::tempdir().unwrap();
    let one = [in_file(&folder, "first", "first")];
    let other = [in_file(&folder, "second", "second")];
    let credentials = [
        microsoft("contoso", &endpoint, "client", &one),
        microsoft("twin", &endpoint, "client", &other),
    ];
    let world = World::with(endpoint, folder, credentials);
    let mine = world.login("support").await.unwrap();
    let twins = world
        .tokens
        .login(&"sales".into(), &"twin".into())
        .await
        .unwrap();
    assert_eq!(token(&mine), token(&twins));
    assert_eq!(world.endpoint.requests(), ["first", "second"]);
}

fn thumbprint(pem: &str) -> (String, Wall) {
    let read = Certificate::from_pem(pem.as_bytes(), pem.as_bytes()).unwrap();
    (read.thumbprint_sha256(), read.not_after())
}

#[tokio::test]
async fn a_certificate_is_replaced_when_the_new_one_is_whole_and_accepted() {
    let (old, new) = (
        AppCertificate::generate("old").unwrap().both_pem(),
        AppCertificate::generate("new").unwrap().both_pem(),
    );
    let ((old_name, old_end), (new_name, _)) = (thumbprint(&old), thumbprint(&new));
    let endpoint = Endpoint::start(&[&old_name, &new_name]).await;
    let folder = tempfile::tempdir().unwrap();
    in_file(&folder, "app.pem", &old);
    let mut certified = microsoft("contoso", &endpoint, "client", &[]);
    if let CredentialKind::Microsoft(MicrosoftApplication { proof, .. }) = &mut certified.kind {
        *proof = MicrosoftProof::Certificates(vec![CertificateRef {
            source: CertificateSource::Pem(folder.path().join("app.pem")),
            algorithm: SignatureAlgorithm::Ps256,
        }]);
    }
    let world = World::with(endpoint, folder, [certified]);
    let first = world.login("a").await.unwrap();
    assert_eq!(world.status().secret_expires_at, Some(old_end));
    // Half of it is written, and stays so for a while.
    fs::write(world.path("app.pem"), &new[..new.len() / 2]).unwrap();
    until(|| !world.status().secret_problems.is_empty()).await;
    let problem = world.status().secret_problems.join("; ");
    assert!(problem.contains("certificate number 1: "), "{problem}");
    assert!(problem.contains("hint: "), "{problem}");
    assert_eq!(world.login("a").await.unwrap().generation, first.generation);
    assert_eq!(world.endpoint.requests(), [old_name.as_str()]);
    fs::write(world.path("app.pem"), &new).unwrap();
    world.requests_reach(2).await;
    until(|| world.login_now("a") > Some(first.generation)).await;
    assert_eq!(world.endpoint.requests(), [old_name, new_name]);
    assert!(world.status().secret_problems.is_empty());
    let pem = new.as_bytes();
    let portal = Certificate::from_pem(pem, pem).unwrap().portal_thumbprint();
    let told = world.status().certificates;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0].thumbprint, told[0].is_live), (&portal, true));
    assert!(told[0].subject.contains("new"), "{told:?}");
}

#[tokio::test]
async fn a_service_accounts_tokens_are_each_for_one_user_and_go_with_the_mailbox() {
    let users = ["ann@contoso.com", "bob@contoso.com"];
    let endpoint = Endpoint::start(&users).await;
    let folder = tempfile::tempdir().unwrap();
    let key = ServiceAccountFile::generate("rider@project.example").unwrap();
    let json = key.json(endpoint.base.as_str());
    let google = CredentialKind::Google(GoogleServiceAccount {
        service_account: vec![in_file(&folder, "key.json", &json)],
        scope: "https://mail.google.com/".to_owned(),
        token_url: Some(endpoint.base.clone()),
    });
    let credential = credential("contoso", google);
    let world = World::with(endpoint, folder, [credential.clone()]);
    assert!(world.endpoint.requests().is_empty(), "nobody has asked yet");
    let ann = world.login("ann").await.unwrap();
    let bob = world.login("bob").await.unwrap();
    assert_ne!(token(&ann), token(&bob));
    assert_eq!(token(&world.login("ann").await.unwrap()), token(&ann));
    assert_eq!(world.endpoint.requests(), users);
    assert_eq!(world.status().users, 2);
    let failure = world.login("nobody").await.unwrap_err();
    assert_eq!(failure, CredentialFailure::Unknown("contoso".into()));
    let beside = world.tokens.login_as(&"contoso".into(), users[0]).await;
    assert_ne!(token(&beside.unwrap()), token(&ann));
    assert_eq!(world.status().users, 2);
    let credentials = by_key([credential]);
    let settings = vault(&world.folder);
    let mut wanted = super::wanted(&credentials, &settings);
    wanted.users.remove(&"bob".into());
    world.tokens.put(&wanted).unwrap();
    assert_eq!(world.status().users, 1);
    assert_eq!(token(&world.login("ann").await.unwrap()), token(&ann));
}

/// A service account, and mailboxes of as many users.
pub(super) async fn many_users(count: usize, delay: Duration) -> (World, Vec<MailboxKey>) {
    let users: Vec<String> = (0..count).map(|n| format!("user{n}@contoso.com")).collect();
    let accepted: Vec<&str> = users.iter().map(String::as_str).collect();
    let endpoint = Endpoint::start(&accepted).await;
    endpoint.set(|script| script.delay = delay);
    let folder = tempfile::tempdir().unwrap();
    let key = ServiceAccountFile::generate("rider@project.example").unwrap();
    let json = key.json(endpoint.base.as_str());
    let google = CredentialKind::Google(GoogleServiceAccount {
        service_account: vec![in_file(&folder, "key.json", &json)],
        scope: "https://mail.google.com/".to_owned(),
        token_url: Some(endpoint.base.clone()),
    });
    let credential = credential("contoso", google);
    let world = World::with(endpoint, folder, [credential.clone()]);
    let credentials = by_key([credential]);
    let settings = vault(&world.folder);
    let mut wanted = super::wanted(&credentials, &settings);
    wanted.users = users
        .iter()
        .map(|user| {
            let key = MailboxKey::new(user.split('@').next().unwrap());
            (key, ("contoso".into(), user.as_str().into()))
        })
        .collect();
    let mailboxes = wanted.users.keys().cloned().collect();
    world.tokens.put(&wanted).unwrap();
    (world, mailboxes)
}

#[tokio::test]
async fn the_task_of_a_user_that_only_waits_is_small() {
    let (world, _) = many_users(1, Duration::ZERO).await;
    let Some(crate::tokens::Slot::Users(users)) = world.tokens.slot(&"contoso".into()) else {
        panic!("no users")
    };
    let bytes = users.task_bytes();
    assert!(bytes < 1024, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_of_a_service_account_do_not_all_ask_at_one_moment() {
    let (world, mailboxes) = many_users(60, Duration::from_millis(20)).await;
    let tokens = &world.tokens;
    let contoso = CredentialKey::new("contoso");
    let logins = mailboxes
        .iter()
        .map(|mailbox| tokens.login(mailbox, &contoso));
    for login in futures_util::future::join_all(logins).await {
        login.unwrap();
    }
    assert_eq!(world.endpoint.requests().len(), 60);
    let most = world.endpoint.most_at_once();
    assert!(most <= 16, "{most} at once");
}

#[tokio::test]
async fn one_users_recovery_wakes_that_users_mailboxes_alone() {
    let (mut world, mailboxes) = many_users(3, Duration::ZERO).await;
    let contoso = CredentialKey::new("contoso");
    world
        .endpoint
        .set(|script| script.mode = super::Mode::Outage);
    for mailbox in &mailboxes {
        world.tokens.login(mailbox, &contoso).await.unwrap_err();
    }
    world.endpoint.set(|script| script.mode = super::Mode::Good);
    let mut woken = Vec::new();
    for _ in &mailboxes {
        match world.transition().await {
            Transition::Available { user, .. } => woken.push(user.unwrap().to_string()),
            other => panic!("{other:?}"),
        }
    }
    woken.sort();
    let all = [0, 1, 2].map(|n| format!("user{n}@contoso.com"));
    assert_eq!(woken, all);
}

#[tokio::test]
async fn a_refused_service_account_is_one_piece_of_news_however_many_its_users() {
    let (mut world, mailboxes) = many_users(5, Duration::ZERO).await;
    let contoso = CredentialKey::new("contoso");
    world.endpoint.set(|script| script.accepted.clear());
    for mailbox in &mailboxes {
        world.tokens.login(mailbox, &contoso).await.unwrap_err();
    }
    let told = world.transition().await;
    assert!(matches!(told, Transition::Refused { .. }), "{told:?}");
    assert!(world.no_transition());
}

#[tokio::test]
async fn a_federated_token_is_read_for_every_request() {
    let endpoint = Endpoint::start(&["one", "two"]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut federated = microsoft("contoso", &endpoint, "client", &[]);
    if let CredentialKind::Microsoft(MicrosoftApplication { proof, .. }) = &mut federated.kind {
        *proof = MicrosoftProof::FederatedToken(folder.path().join("token"));
    }
    let world = World::with(endpoint, folder, [federated]);
    let failure = world.login("a").await.unwrap_err();
    assert!(
        matches!(failure, CredentialFailure::Unavailable { .. }),
        "{failure:?}"
    );
    fs::write(world.path("token"), "one\n").unwrap();
    let first = world.login_succeeds_again().await.generation;
    fs::write(world.path("token"), "two\n").unwrap();
    world.refused("a", first);
    world.login_succeeds_again().await;
    assert_eq!(world.endpoint.requests(), ["one", "two"]);
}

#[tokio::test]
async fn a_machines_identity_needs_no_secret_and_its_numbers_may_be_text() {
    let path = "/metadata/identity/oauth2/token";
    let endpoint = Endpoint::start(&[path]).await;
    let machine = CredentialKind::ManagedIdentity(ManagedIdentity {
        identity: AzureIdentity::Default,
        resource: "https://outlook.office365.com".to_owned(),
        endpoint: endpoint.base.clone(),
    });
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(endpoint, folder, [credential("contoso", machine)]);
    assert_eq!(token(&world.login("a").await.unwrap()), "token-1");
    assert_eq!(world.endpoint.requests(), [path]);
}

#[tokio::test]
async fn a_program_prints_tokens_and_its_failure_is_told_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let script = "test -e \"$0\" && cat \"$0\" || { echo no ticket >&2; exit 1; }";
    let file = folder.path().join("ticket").display().to_string();
    let program = CredentialKind::Token(ForeignToken {
        source: TokenSource::Command {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned(), file],
        },
        lifetime: Duration::from_secs(600),
    });
    let endpoint = Endpoint::start(&[]).await;
    let world = World::with(endpoint, folder, [credential("contoso", program)]);
    let failure = world.login("a").await.unwrap_err().to_string();
    assert!(failure.contains("exit status: 1: no ticket"), "{failure}");
    let printed = r#"{"access_token":"from-the-program","expires_in":300}"#;
    fs::write(world.path("ticket"), printed).unwrap();
    let access = world.login_succeeds_again().await;
    assert_eq!(token(&access), "from-the-program");
    let life = access.expires.unwrap() - clock::monotonic();
    assert!(life <= Duration::from_secs(300) && life > Duration::from_secs(280));
    assert!(world.endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_token_file_is_taken_up_when_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = CredentialKind::Token(ForeignToken {
        source: TokenSource::Secrets(vec![in_file(&folder, "token", "one")]),
        lifetime: Duration::from_secs(600),
    });
    let world = World::with(
        Endpoint::start(&[]).await,
        folder,
        [credential("contoso", foreign)],
    );
    assert_eq!(token(&world.login("a").await.unwrap()), "one");
    fs::write(world.path("token"), "two").unwrap();
    until(|| world.login_now("a") == Some(Generation(2))).await;
    assert_eq!(token(&world.login("a").await.unwrap()), "two");
}

pub(super) fn person(endpoint: &Endpoint) -> Credential {
    let kind = CredentialKind::OAuth2(OAuth2 {
        token_url: endpoint.base.clone(),
        client_id: "client".to_owned(),
        client_secret: Vec::new(),
        scope: None,
        grant: OAuth2Grant::RefreshToken(RefreshFrom::Vault),
        client_auth: crate::config::ClientAuth::Body,
        authorize_url: None,
        device_url: None,
    });
    credential("contoso", kind)
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_before_its_access_token_is_given_out() {
    let endpoint = Endpoint::start(&["first", "second"]).await;
    let folder = tempfile::tempdir().unwrap();
    in_file(&folder, "vault-key", &"ab".repeat(32));
    let settings = vault(&folder);
    let vault = Vault::new(settings.path, settings.key, Environment::default());
    let person = person(&endpoint);
    let world = World::with(endpoint, folder, [person]);
    let failure = world.login("a").await.unwrap_err().to_string();
    assert!(
        failure.contains("nobody has signed in; hint: postrider login contoso"),
        "{failure}"
    );
    let key = CredentialKey::new("contoso");
    let signed_in = SecretString::from("first");
    vault
        .sign_in(&key, &signed_in, Some("a@contoso.com"), clock::wall())
        .unwrap();
    world
        .endpoint
        .set(|script| script.refresh_token = Some("second".to_owned()));
    // The daemon looks at the vault by itself; asking wakes it.
    let first = world.login_succeeds_again().await;
    let stored = vault.load(&key).unwrap().unwrap();
    let text = |secret: &SecretString| secrecy::ExposeSecret::expose_secret(secret).to_owned();
    assert_eq!(text(&stored.current), "second");
    assert_eq!(
        stored.previous.as_ref().map(&text).as_deref(),
        Some("first")
    );
    world.refused("a", first.generation);
    world.login_succeeds_again().await;
    assert_eq!(world.endpoint.requests(), ["first", "second"]);
    let stored = vault.load(&key).unwrap().unwrap();
    assert!(stored.previous.is_none(), "the new one has given a token");
}

/// A person's refresh token is being exchanged for "second", and the answer takes its time.
async fn while_it_is_exchanged() -> (World, Vault) {
    let endpoint = Endpoint::start(&["first"]).await;
    let folder = tempfile::tempdir().unwrap();
    in_file(&folder, "vault-key", &"ab".repeat(32));
    let settings = vault(&folder);
    let vault = Vault::new(settings.path, settings.key, Environment::default());
    let signed_in = SecretString::from("first");
    vault
        .sign_in(&"contoso".into(), &signed_in, None, clock::wall())
        .unwrap();
    endpoint.set(|script| {
        script.refresh_token = Some("second".to_owned());
        script.delay = Duration::from_millis(300);
    });
    let person = person(&endpoint);
    let world = World::with(endpoint, folder, [person]);
    assert_eq!(world.login_now("a"), None);
    world.requests_reach(1).await;
    (world, vault)
}

fn refresh_token(vault: &Vault) -> String {
    let stored = vault.load(&"contoso".into()).unwrap().unwrap();
    secrecy::ExposeSecret::expose_secret(&stored.current).to_owned()
}

#[tokio::test]
async fn a_reload_while_a_refresh_token_is_exchanged_does_not_lose_the_new_one() {
    let (world, vault) = while_it_is_exchanged().await;
    world.put(&by_key([])).unwrap();
    until(|| refresh_token(&vault) == "second").await;
}

#[tokio::test]
async fn an_orderly_end_waits_for_a_refresh_token_that_is_exchanged() {
    let (world, vault) = while_it_is_exchanged().await;
    world.tokens.stop(Duration::from_secs(10)).await;
    assert_eq!(refresh_token(&vault), "second");
    let failure = world.login("a").await.unwrap_err().to_string();
    assert!(failure.contains("postrider is stopping"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_outage_costs_one_request_however_many_wait_for_it() {
    let mut world = World::new().await;
    world
        .endpoint
        .set(|script| script.mode = super::Mode::Outage);
    let log_in = |world: &World| {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..1000 {
            let tokens = Arc::clone(&world.tokens);
            callers.spawn(async move {
                let mailbox = postrider_core::ids::MailboxKey::new(format!("m{number}"));
                tokens.login(&mailbox, &"contoso".into()).await
            });
        }
        callers
    };
    let mut callers = log_in(&world);
    while let Some(done) = callers.join_next().await {
        assert!(done.unwrap().is_err());
    }
    let during = world.endpoint.requests().len();
    assert!(during <= 2, "{during}");
    world.endpoint.set(|script| script.mode = super::Mode::Good);
    assert!(matches!(
        world.transition().await,
        Transition::Available { .. }
    ));
    let before = world.endpoint.requests().len();
    let mut callers = log_in(&world);
    while let Some(done) = callers.join_next().await {
        assert_eq!(token(&done.unwrap().unwrap()), "token-1");
    }
    assert_eq!(
        world.endpoint.requests().len(),
        before,
        "the first good answer is everybody's"
    );
}

#[tokio::test]
async fn the_end_of_a_secret_is_told_once_per_threshold_with_the_same_time() {
    let endpoint = Endpoint::start(&["right"]).await;
    let folder = tempfile::tempdir().unwrap();
    let secrets = [in_file(&folder, "secret", "right")];
    let mut ending = microsoft("contoso", &endpoint, "client", &secrets);
    let day = Duration::from_secs(86_400);
    let expires = Wall::from_seconds((clock::wall() + day * 13).seconds());
    ending.expires = Some(expires);
    let again = ending.clone();
    let mut world = World::with(endpoint, folder, [ending]);
    let told = world.transition().await;
    let wanted = Transition::Expiring {
        credential: "contoso".into(),
        since: expires - day * 14,
        expires,
        days: 14,
    };
    assert_eq!(told, wanted);
    let news = told.news().unwrap();
    assert_eq!(
        (news.started, news.event_type.as_str()),
        (expires - day * 14, "credential.expiring")
    );
    assert_eq!(world.status().secret_expires_at, Some(expires));
    world.put(&by_key([again])).unwrap();
    world.login("a").await.unwrap();
    assert!(world.no_transition(), "it is told once");
}

#[test]
fn the_nearest_threshold_holds() {
    let day = |days: i64| Wall::from_seconds(days * 86_400);
    for (now, wanted) in [
        (69, None),
        (70, Some((30, day(70)))),
        (86, Some((14, day(86)))),
        (95, Some((7, day(93)))),
        (99, Some((1, day(99)))),
        (200, Some((1, day(99)))),
    ] {
        assert_eq!(crate::tokens::expiry::threshold(day(100), day(now)), wanted);
    }
}
