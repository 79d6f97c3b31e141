//! What is told of a credential while it works: new proofs, sign-ins, tokens by order.

use std::{
    fs, io,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use postrider_core::{ids::CredentialKey, token::Generation};
use postrider_sandbox::token_endpoint::keys::ServiceAccountFile;
use secrecy::SecretString;

use super::{
    endpoint::{Endpoint, Mode},
    proofs::{in_file, many_users, person, until},
    token, vault,
    world::World,
};
use crate::{
    clock,
    config::Environment,
    tokens::{Renewed, Transition},
    vault::Vault,
};

fn reason(told: &Transition) -> (&'static str, &'static str) {
    let news = told.news().unwrap_or_else(|| panic!("{told:?}"));
    (news.event_type.as_str(), news.reason)
}

#[tokio::test]
async fn a_refused_new_secret_has_an_end_that_is_told() {
    let mut world = World::new().await;
    world
        .endpoint
        .set(|script| script.accepted.push("better".to_owned()));
    world.login("a").await.unwrap();
    let refused = ("credential.refused", "new_secret_refused");
    fs::write(world.path("secret"), "wr0ng").unwrap();
    assert_eq!(reason(&world.transition().await), refused);
    fs::write(world.path("secret"), "better").unwrap();
    let accepted = ("credential.recovered", "new_secret_accepted");
    assert_eq!(reason(&world.transition().await), accepted);
    // Taken back, nothing is wrong any more either.
    fs::write(world.path("secret"), "wr0ng again").unwrap();
    assert_eq!(reason(&world.transition().await), refused);
    fs::write(world.path("secret"), "better").unwrap();
    let withdrawn = ("credential.recovered", "new_secret_withdrawn");
    assert_eq!(reason(&world.transition().await), withdrawn);
    assert!(world.no_transition());
}

#[tokio::test]
async fn a_credential_that_recovers_whole_says_so_once() {
    let mut world = World::new().await;
    let first = world.login("a").await.unwrap();
    fs::write(world.path("secret"), "wr0ng").unwrap();
    world.transition().await;
    // The token goes, and what gave it is not accepted any more.
    world.endpoint.set(|script| script.accepted.clear());
    world.refused("a", first.generation);
    assert!(world.login("a").await.is_err());
    let told = world.transition().await;
    assert!(matches!(told, Transition::Refused { .. }), "{told:?}");
    world
        .endpoint
        .set(|script| script.accepted.push("better".to_owned()));
    fs::write(world.path("secret"), "better").unwrap();
    let told = world.transition().await;
    assert!(matches!(told, Transition::Recovered { .. }), "{told:?}");
    assert!(world.no_transition());
}

#[tokio::test]
async fn a_refused_new_key_and_its_end_are_one_piece_of_news_each_however_many_its_users() {
    let (mut world, mailboxes) = many_users(5, Duration::ZERO).await;
    let contoso = CredentialKey::new("contoso");
    for mailbox in &mailboxes {
        world.tokens.login(mailbox, &contoso).await.unwrap();
    }
    let accepted = world
        .endpoint
        .take(|script| std::mem::take(&mut script.accepted));
    let new_key = |world: &World| {
        let key = ServiceAccountFile::generate("rider@project.example").unwrap();
        fs::write(
            world.path("key.json"),
            key.json(world.endpoint.base.as_str()),
        )
        .unwrap();
    };
    new_key(&world);
    assert_eq!(reason(&world.transition().await).1, "new_secret_refused");
    world.requests_reach(10).await;
    world.endpoint.set(|script| script.accepted = accepted);
    new_key(&world);
    assert_eq!(reason(&world.transition().await).1, "new_secret_accepted");
    world.requests_reach(15).await;
    until(|| {
        mailboxes
            .iter()
            .all(|mailbox| world.login_now(mailbox.as_str()) > Some(Generation(1)))
    })
    .await;
    assert!(world.no_transition());
}

/// What this process logs.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        struct Writer;
        impl io::Write for Writer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                log().lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        tracing_subscriber::fmt()
            .with_writer(|| Writer)
            .with_ansi(false)
            .init();
        Mutex::default()
    })
}

#[tokio::test]
async fn a_secret_that_was_read_anew_is_in_use_when_it_is_proven_and_not_before() {
    log();
    let said = || String::from_utf8_lossy(&log().lock().unwrap()).into_owned();
    let world = World::new().await;
    let file = world.path("secret").display().to_string();
    let of_file = || -> Vec<String> {
        let said = said();
        let lines = said.lines().filter(|line| line.contains(&file));
        lines.map(str::to_owned).collect()
    };
    let in_use = || said().contains("the new client secret (number 1) is proven and is in use");
    world.login("a").await.unwrap();
    world
        .endpoint
        .set(|script| script.delay = Duration::from_millis(300));
    fs::write(world.path("secret"), "wr0ng").unwrap();
    until(|| !of_file().is_empty()).await;
    assert!(
        of_file()[0].ends_with("was read anew and is being proven"),
        "{:?}",
        of_file()
    );
    until(|| said().contains("is refused, the one before stays in use")).await;
    assert!(!in_use());
    world
        .endpoint
        .set(|script| script.accepted.push("better".to_owned()));
    fs::write(world.path("secret"), "better").unwrap();
    until(|| of_file().len() == 2).await;
    assert!(!in_use(), "it is not proven yet");
    until(in_use).await;
}

#[tokio::test]
async fn a_new_sign_in_is_noticed_within_five_seconds_and_worth_another_try() {
    let endpoint = Endpoint::start(&["first", "second"]).await;
    let folder = tempfile::tempdir().unwrap();
    in_file(&folder, "vault-key", &"ab".repeat(32));
    let settings = vault(&folder);
    let vault = Vault::new(settings.path, settings.key, Environment::default());
    let sign_in = |refresh: &str| {
        let refresh = SecretString::from(refresh);
        vault
            .sign_in(&"contoso".into(), &refresh, None, clock::wall())
            .unwrap();
    };
    sign_in("first");
    let person = person(&endpoint);
    let mut world = World::with(endpoint, folder, [person]);
    let first = world.login("a").await.unwrap();
    // Its mail server refuses them: the wrong person has signed in. Nobody asks meanwhile.
    assert!(world.no_transition());
    let began = clock::monotonic();
    sign_in("second");
    assert_eq!(
        world.transition().await,
        Transition::Available {
            credential: "contoso".into(),
            user: None,
        }
    );
    assert!(clock::monotonic() - began < Duration::from_secs(5));
    assert!(world.login("a").await.unwrap().generation > first.generation);
    assert_eq!(world.endpoint.requests(), ["first", "second"]);
}

#[tokio::test]
async fn a_new_token_by_order_takes_the_old_ones_place_and_those_that_rest_hear_of_it() {
    let mut world = World::new().await;
    let contoso = CredentialKey::new("contoso");
    world.login("a").await.unwrap();
    let before = world.status().last_token_at.unwrap();
    assert_eq!(world.tokens.renew(&contoso).await, Renewed::Done);
    assert_eq!(token(&world.login("a").await.unwrap()), "token-2");
    assert!(world.status().last_token_at.unwrap() >= before);
    assert_eq!(
        world.transition().await,
        Transition::Available {
            credential: "contoso".into(),
            user: None,
        }
    );
    let again = world.tokens.renew(&contoso).await;
    let Renewed::TooSoon { wait } = again else {
        panic!("{again:?}")
    };
    assert!(wait <= Duration::from_secs(10), "{wait:?}");
    assert!(!world.tokens.renew_for(&"a".into(), &contoso));
    assert_eq!(world.endpoint.requests().len(), 2);
    let nobody = world.tokens.renew(&"nobody".into()).await;
    assert_eq!(nobody, Renewed::Unknown);
}

#[tokio::test]
async fn an_order_that_brings_no_token_takes_none_away() {
    let world = World::new().await;
    let first = world.login("a").await.unwrap();
    world.endpoint.set(|script| script.mode = Mode::Outage);
    let renewed = world.tokens.renew(&"contoso".into()).await;
    let Renewed::Failed(why) = renewed else {
        panic!("{renewed:?}")
    };
    assert!(why.contains("503"), "{why}");
    let access = world.login("a").await.unwrap();
    assert_eq!(access.generation, first.generation);
}
