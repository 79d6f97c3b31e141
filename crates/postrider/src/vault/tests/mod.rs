//! The vault on real files: what is kept, what is refused, and what a crash leaves.

mod crash;
mod refusals;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, path::PathBuf};

use tempfile::TempDir;

use super::*;

const AT: Wall = Wall(1_800_000_000_000);
const LATER: Wall = Wall(1_800_000_600_000);
const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The same bytes as [`HEX`].
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

struct Place {
    home: TempDir,
    environment: Environment,
}

impl Place {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            environment: Environment {
                variables: std::collections::BTreeMap::new(),
                host: None,
                now: AT,
            },
        }
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("vault")
    }

    fn record(&self) -> PathBuf {
        self.folder().join("delegated.vault")
    }

    /// A vault whose key files hold these, newest first.
    fn vault(&self, keys: &[&str]) -> Vault {
        let references = keys.iter().enumerate().map(|(number, key)| {
            let path = self
                .home
                .path()
                .join(format!("{}-{number}.key", keys.len()));
            fs::write(&path, key).unwrap();
            SecretRef::File(path)
        });
        Vault::new(
            self.folder(),
            references.collect(),
            self.environment.clone(),
        )
    }

    fn signed_in(&self) -> Vault {
        let vault = self.vault(&[BASE64]);
        vault
            .sign_in(&credential(), &secret("one"), Some("ann@contoso.com"), AT)
            .unwrap();
        vault
    }
}

fn credential() -> CredentialKey {
    CredentialKey::from("delegated")
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn tokens(vault: &Vault) -> Vec<String> {
    let stored = vault.load(&credential()).unwrap().unwrap();
    stored
        .candidates()
        .map(|token| token.expose_secret().to_owned())
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_stored_is_there_for_the_next_process() {
    let place = Place::new();
    assert!(place.vault(&[HEX]).load(&credential()).unwrap().is_none());
    place.signed_in();
    let stored = place.vault(&[HEX]).load(&credential()).unwrap().unwrap();
    assert_eq!(stored.current.expose_secret(), "one");
    assert_eq!(stored.account.as_deref(), Some("ann@contoso.com"));
    assert_eq!((stored.signed_in_at, stored.obtained_at), (AT, AT));
    assert!(!format!("{stored:?}").contains("one\""));
}

#[test]
fn the_token_is_on_the_disk_for_its_owner_only_and_never_in_clear() {
    let place = Place::new();
    let vault = place.signed_in();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&place.folder()), mode(&place.record())),
        (0o700, 0o600)
    );
    let text = fs::read_to_string(place.record()).unwrap();
    for clear in ["one", "ann", "contoso", BASE64] {
        assert!(!text.contains(clear), "{clear} in {text}");
    }
    vault
        .rotate(&credential(), &secret("one"), &secret("two"), LATER)
        .unwrap();
    assert_eq!(mode(&place.record()), 0o600);
    assert_eq!(names(&place.folder()), [".lock", "delegated.vault"]);
}

#[test]
fn the_old_token_is_kept_until_the_new_one_has_given_a_token() {
    let place = Place::new();
    let vault = place.signed_in();
    let rotate = |used, fresh| vault.rotate(&credential(), &secret(used), &secret(fresh), LATER);
    assert_eq!(rotate("one", "two").unwrap(), Kept::Stored);
    assert_eq!(tokens(&vault), ["two", "one"]);
    assert_eq!(
        vault.confirm(&credential(), &secret("two")).unwrap(),
        Kept::Stored
    );
    assert_eq!(tokens(&vault), ["two"]);
    assert_eq!(rotate("two", "three").unwrap(), Kept::Stored);
    assert_eq!(rotate("three", "four").unwrap(), Kept::Stored);
    assert_eq!(tokens(&vault), ["four", "three"]);
    let stored = vault.load(&credential()).unwrap().unwrap();
    assert_eq!((stored.signed_in_at, stored.obtained_at), (AT, LATER));
    assert_eq!(stored.account.as_deref(), Some("ann@contoso.com"));
}

#[test]
fn where_the_new_token_is_refused_the_old_one_goes_on() {
    let place = Place::new();
    let vault = place.signed_in();
    let key = credential();
    vault
        .rotate(&key, &secret("one"), &secret("lost"), AT)
        .unwrap();
    // `lost` was refused, `one` gave another.
    vault
        .rotate(&key, &secret("one"), &secret("two"), AT)
        .unwrap();
    assert_eq!(tokens(&vault), ["two", "one"]);
    // `two` was refused, `one` gave a token and stays.
    vault
        .rotate(&key, &secret("one"), &secret("one"), AT)
        .unwrap();
    assert_eq!(tokens(&vault), ["one"]);
    let before = vault.stamp(&key);
    vault.confirm(&key, &secret("one")).unwrap();
    assert_eq!(vault.stamp(&key), before, "nothing to write");
}

#[test]
fn a_new_sign_in_is_not_undone_by_a_request_that_was_under_way() {
    let place = Place::new();
    let vault = place.signed_in();
    vault
        .sign_in(
            &credential(),
            &secret("anew"),
            Some("bob@contoso.com"),
            LATER,
        )
        .unwrap();
    let late = vault.rotate(&credential(), &secret("one"), &secret("two"), LATER);
    assert_eq!(late.unwrap(), Kept::Superseded);
    let late = vault.confirm(&credential(), &secret("one"));
    assert_eq!(late.unwrap(), Kept::Superseded);
    assert_eq!(
        tokens(&vault),
        ["anew"],
        "and the old account's token is gone"
    );
}

#[test]
fn every_write_changes_the_stamp() {
    let place = Place::new();
    assert_eq!(place.vault(&[HEX]).stamp(&credential()), None);
    let vault = place.signed_in();
    let mut seen = vec![vault.stamp(&credential()).unwrap()];
    for (used, fresh) in [("one", "two"), ("two", "one"), ("one", "two")] {
        let (used, fresh) = (secret(used), secret(fresh));
        vault.rotate(&credential(), &used, &fresh, AT).unwrap();
        let stamp = vault.stamp(&credential()).unwrap();
        assert_ne!(seen.last(), Some(&stamp));
        seen.push(stamp);
    }
}

#[test]
fn rewrapping_takes_the_newest_key_and_then_the_old_one_is_not_needed() {
    let place = Place::new();
    place.signed_in();
    let both = place.vault(&[OTHER, BASE64]);
    let outcomes = |run| -> Vec<_> {
        let all = both.rewrap(run).unwrap().into_iter();
        all.map(|one| one.outcome.unwrap()).collect()
    };
    let before = fs::read(place.record()).unwrap();
    assert_eq!(outcomes(Run::Dry), [Rewrap::Done]);
    assert_eq!(fs::read(place.record()).unwrap(), before);
    assert_eq!(outcomes(Run::Real), [Rewrap::Done]);
    assert_eq!(outcomes(Run::Real), [Rewrap::Newest]);
    assert_eq!(tokens(&place.vault(&[OTHER])), ["one"]);
    let error = place.vault(&[BASE64]).load(&credential()).unwrap_err();
    assert!(matches!(error, VaultError::OtherKey { .. }), "{error}");
}

#[test]
fn rewrapping_leaves_alone_what_it_cannot_open_and_does_the_rest() {
    let place = Place::new();
    let vault = place.signed_in();
    let other = CredentialKey::from("another");
    vault.sign_in(&other, &secret("x"), None, AT).unwrap();
    fs::write(place.record(), "{}").unwrap();
    let vault = place.vault(&[OTHER, BASE64]);
    let done = vault.rewrap(Run::Real).unwrap();
    let [another, delegated] = done.as_slice() else {
        panic!("{done:?}");
    };
    assert_eq!(another.credential, other);
    assert!(matches!(another.outcome, Ok(Rewrap::Done)));
    assert!(matches!(delegated.outcome, Err(VaultError::Damaged { .. })));
    assert_eq!(fs::read(place.record()).unwrap(), b"{}");
    let listed = vault.list().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed[0].state.is_ok() && listed[1].state.is_err());
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_refresh_token() {
    let place = Place::new();
    let vault = place.signed_in();
    let other = place.vault(&[BASE64]);
    let turn = vault.turn(&credential()).await.unwrap();
    let short = Duration::from_millis(50);
    let refused = other.folder.turn(&credential(), short).await.unwrap_err();
    assert!(matches!(refused, VaultError::Busy { .. }), "{refused}");
    // Another credential's turn is its own, and storing is possible meanwhile.
    other.turn(&CredentialKey::from("another")).await.unwrap();
    other.confirm(&credential(), &secret("one")).unwrap();
    drop(turn);
    other.turn(&credential()).await.unwrap();
}
