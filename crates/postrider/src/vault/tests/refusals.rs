//! Keys, files and folders that are not as they should be: each is refused by name, with what to
//! do about it, and nothing is lost.

use std::os::unix::fs::symlink;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;

fn refusal(vault: &Vault) -> VaultError {
    vault.load(&credential()).unwrap_err()
}

#[test]
fn a_master_key_is_32_bytes_in_base64_or_hex() {
    let place = Place::new();
    place.signed_in();
    let unpadded = BASE64.trim_end_matches('=');
    for good in [
        BASE64,
        HEX,
        &HEX.to_uppercase(),
        unpadded,
        &format!(" {BASE64}\n"),
    ] {
        assert_eq!(tokens(&place.vault(&[good])), ["one"], "{good}");
    }
    let url_safe = OTHER.replace('/', "_").replace('+', "-");
    place.vault(&[OTHER, HEX]).rewrap(Run::Real).unwrap();
    assert_eq!(tokens(&place.vault(&[&url_safe])), ["one"]);
    let bad = [
        ("correct horse battery staple", "neither base64 nor hex"),
        ("c2hvcnQ=", "not 32 bytes long"),
        (&HEX.replace('0', "g"), "neither base64 nor hex"),
        (&format!("{BASE64}{BASE64}"), "neither base64 nor hex"),
    ];
    for (bad, why) in bad {
        let error = refusal(&place.vault(&[bad]));
        assert!(matches!(error, VaultError::Key(_)), "{error}");
        let (text, hint) = (error.to_string(), error.hint());
        assert!(text.contains(why) && !text.contains(bad), "{text}");
        assert!(hint.contains("openssl rand -base64 32"), "{hint}");
    }
}

#[test]
fn without_a_master_key_nothing_is_stored_and_the_command_is_told() {
    let place = Place::new();
    let vault = place.vault(&[]);
    let error = vault
        .sign_in(&credential(), &secret("one"), None, AT)
        .unwrap_err();
    assert!(matches!(error, VaultError::NoKey));
    assert!(error.hint().contains("openssl rand -base64 32"));
    assert!(!place.folder().exists());
}

#[test]
fn a_key_file_that_is_gone_does_not_cost_the_token_that_just_came() {
    let place = Place::new();
    let vault = place.signed_in();
    fs::write(place.home.path().join("1-0.key"), "").unwrap();
    vault
        .rotate(&credential(), &secret("one"), &secret("two"), AT)
        .unwrap();
    let fresh = Vault::new(
        place.folder(),
        vec![SecretRef::File(place.home.path().join("1-0.key"))],
        place.environment.clone(),
    );
    let error = refusal(&fresh);
    assert!(error.to_string().contains("is empty"), "{error}");
    assert_eq!(tokens(&place.vault(&[HEX])), ["two", "one"]);
}

#[test]
fn another_master_key_is_named_and_costs_nothing() {
    let place = Place::new();
    place.signed_in();
    let before = fs::read(place.record()).unwrap();
    let vault = place.vault(&[OTHER]);
    let error = refusal(&vault);
    let VaultError::OtherKey { wanted, known, .. } = &error else {
        panic!("{error}");
    };
    assert!(known.len() == 1 && !known.contains(wanted));
    assert!(vault.confirm(&credential(), &secret("one")).is_err());
    assert_eq!(fs::read(place.record()).unwrap(), before);

    // Signing in anew keeps the file for whoever finds the key.
    vault
        .sign_in(&credential(), &secret("anew"), None, LATER)
        .unwrap();
    assert_eq!(tokens(&vault), ["anew"]);
    let aside = place.folder().join("delegated.unreadable-1");
    assert_eq!(fs::read(&aside).unwrap(), before);
    fs::rename(aside, place.record()).unwrap();
    assert_eq!(tokens(&place.vault(&[HEX])), ["one"]);
}

#[test]
fn a_record_under_another_name_does_not_open() {
    let place = Place::new();
    let vault = place.signed_in();
    let other = CredentialKey::from("another");
    let copy = place.folder().join("another.vault");
    fs::copy(place.record(), &copy).unwrap();
    let error = vault.load(&other).unwrap_err();
    assert!(
        error.to_string().contains("another credential's"),
        "{error}"
    );
    let renamed = fs::read_to_string(&copy).unwrap();
    fs::write(&copy, renamed.replace("\"delegated\"", "\"another\"")).unwrap();
    let error = vault.load(&other).unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
}

#[test]
fn a_newer_versions_record_is_left_alone() {
    let place = Place::new();
    let vault = place.signed_in();
    let text = fs::read_to_string(place.record()).unwrap();
    fs::write(
        place.record(),
        text.replace("\"version\":1", "\"version\":2"),
    )
    .unwrap();
    assert!(matches!(
        refusal(&vault),
        VaultError::TooNew { version: 2, .. }
    ));
    assert!(
        vault
            .rotate(&credential(), &secret("one"), &secret("two"), AT)
            .is_err()
    );
}

#[test]
fn modes_that_let_others_in_are_refused_with_the_command_to_type() {
    let place = Place::new();
    let vault = place.signed_in();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for (path, mode, command) in [
        (place.record(), 0o640, "chmod 600"),
        (place.record(), 0o604, "chmod 600"),
        (place.folder(), 0o750, "chmod 700"),
        (place.folder(), 0o702, "chmod 700"),
    ] {
        let before = fs::metadata(&path).unwrap().permissions().mode();
        open(&path, mode).unwrap();
        let error = refusal(&vault);
        assert!(matches!(error, VaultError::TooOpen { .. }), "{error}");
        assert!(error.hint().contains(command), "{}", error.hint());
        open(&path, before).unwrap();
    }
    assert_eq!(tokens(&vault), ["one"]);
}

#[test]
fn links_folders_and_huge_files_are_no_records() {
    let place = Place::new();
    let vault = place.signed_in();
    let real = place.home.path().join("elsewhere");
    fs::rename(place.record(), &real).unwrap();
    symlink(&real, place.record()).unwrap();
    assert!(matches!(refusal(&vault), VaultError::Io { .. }));
    fs::remove_file(place.record()).unwrap();
    fs::create_dir(place.record()).unwrap();
    assert!(refusal(&vault).to_string().contains("no regular file"));
    fs::remove_dir(place.record()).unwrap();
    let huge = fs::File::create(place.record()).unwrap();
    huge.set_len(1 << 30).unwrap();
    huge.set_permissions(fs::Permissions::from_mode(0o600))
        .unwrap();
    assert!(refusal(&vault).to_string().contains("too long"));
}

#[test]
fn a_name_cannot_lead_out_of_the_folder() {
    let place = Place::new();
    let vault = place.signed_in();
    for name in ["../x", "a/b", "", ".lock", "A", "a.b"] {
        let name = CredentialKey::from(name);
        let error = vault.sign_in(&name, &secret("x"), None, AT).unwrap_err();
        assert!(matches!(error, VaultError::Name(_)), "{error}");
    }
}

/// Where the tests run as root, as in a container, the other half of the rule can be shown too.
#[test]
fn the_vault_belongs_to_the_owner_of_the_folder_above_it() {
    let place = Place::new();
    if !rustix::process::geteuid().is_root() {
        let vault = place.signed_in();
        assert_eq!(tokens(&vault), ["one"]);
        return;
    }
    use std::os::unix::fs::{MetadataExt as _, chown};
    chown(place.home.path(), Some(4711), Some(4712)).unwrap();
    let vault = place.signed_in();
    for path in [place.folder(), place.record(), place.folder().join(".lock")] {
        let data = fs::metadata(&path).unwrap();
        assert_eq!((data.uid(), data.gid()), (4711, 4712), "{}", path.display());
    }
    chown(place.record(), Some(4713), None).unwrap();
    let error = refusal(&vault);
    assert!(matches!(
        error,
        VaultError::Foreign {
            owner: 4713,
            expected: 4711,
            ..
        }
    ));
    assert!(error.hint().contains("chown"), "{}", error.hint());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_record_goes_unnoticed(at in 0usize..600, flip in 1u8..=255) {
        let place = Place::new();
        let vault = place.signed_in();
        let mut bytes = fs::read(place.record()).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        fs::write(place.record(), &bytes).unwrap();
        match vault.load(&credential()) {
            // White space, or an escape in JSON: the same record in other bytes.
            Ok(stored) => {
                let stored = stored.unwrap();
                prop_assert_eq!(stored.current.expose_secret(), "one");
            }
            Err(VaultError::Damaged { .. } | VaultError::OtherKey { .. } | VaultError::TooNew { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn any_token_comes_back_as_it_was(token in "\\PC{1,200}", account in proptest::option::of("\\PC{0,40}")) {
        let place = Place::new();
        let vault = place.vault(&[BASE64]);
        vault.sign_in(&credential(), &secret(&token), account.as_deref(), AT).unwrap();
        let stored = vault.load(&credential()).unwrap().unwrap();
        prop_assert_eq!(stored.current.expose_secret(), token.as_str());
        prop_assert_eq!(stored.account, account);
    }
}

#[test]
fn the_same_token_never_gives_the_same_bytes() {
    let place = Place::new();
    let sealed = || {
        place.signed_in();
        let text = fs::read_to_string(place.record()).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let part = |name: &str| STANDARD.decode(record[name].as_str().unwrap()).unwrap();
        (part("wrapped_key"), part("sealed"))
    };
    let (one, other) = (sealed(), sealed());
    assert_ne!(one.0[..12], other.0[..12]);
    assert_ne!(one.1[..12], other.1[..12]);
    assert_ne!(one.1[12..], other.1[12..]);
}
