//! Passwords: lists, and files that are replaced.

use std::fs;

use secrecy::ExposeSecret;

use super::{endpoint::Endpoint, world::World};
use crate::{
    config::{Credential, CredentialKind, Proxy, SecretRef},
    tokens::{Access, CredentialFailure, LoginSecret, Next, Transition},
};

fn password(access: &Access) -> &str {
    match &access.secret {
        LoginSecret::Password(password) => password.expose_secret(),
        LoginSecret::Token(_) => panic!("a token"),
    }
}

fn lab(folder: &tempfile::TempDir, names: &[&str]) -> Credential {
    let password = names
        .iter()
        .map(|name| SecretRef::File(folder.path().join(name)))
        .collect();
    Credential {
        key: "contoso".into(),
        kind: CredentialKind::Password { password },
        proxy: Proxy::None,
        expires: None,
        must_not_open: Vec::new(),
    }
}

#[tokio::test]
async fn each_mailbox_uses_the_first_password_that_its_server_accepts() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["new", "old"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let credential = lab(&folder, &["new", "old"]);
    let world = World::with(Endpoint::start(&[]).await, folder, [credential]);
    let first = world.login("a").await.unwrap();
    assert_eq!((password(&first), first.expires), ("new", None));
    assert_eq!(world.refused("a", first.generation), Next::Another);
    let second = world.login("a").await.unwrap();
    assert_eq!(password(&second), "old");
    world.accepted("a", second.generation);
    assert_eq!(password(&world.login("a").await.unwrap()), "old");
    assert_eq!(
        password(&world.login("b").await.unwrap()),
        "new",
        "another mailbox is another account"
    );
    assert_eq!(world.refused("a", second.generation), Next::Another);
    let third = world.login("a").await.unwrap();
    assert_eq!(password(&third), "new");
    assert_eq!(
        world.refused("a", third.generation),
        Next::Same,
        "all were refused in a row"
    );
}

#[tokio::test]
async fn a_replaced_password_is_told_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let credential = lab(&folder, &["password"]);
    let mut world = World::with(Endpoint::start(&[]).await, folder, [credential]);
    assert!(matches!(
        world.login("a").await,
        Err(CredentialFailure::Refused { .. })
    ));
    assert!(matches!(
        world.transition().await,
        Transition::Refused { .. }
    ));
    fs::write(world.path("password"), "one").unwrap();
    assert!(matches!(
        world.transition().await,
        Transition::Recovered { .. }
    ));
    let first = world.login("a").await.unwrap();
    assert_eq!(password(&first), "one");
    assert_eq!(world.refused("a", first.generation), Next::Same);
    fs::write(world.path("password"), "two").unwrap();
    assert_eq!(
        world.transition().await,
        Transition::Available {
            credential: "contoso".into(),
            user: None,
        }
    );
    let second = world.login("a").await.unwrap();
    assert_eq!(password(&second), "two");
    assert_eq!(
        world.refused("a", first.generation),
        Next::Another,
        "it was the old one that was refused"
    );
    assert!(second.generation > first.generation);
}
