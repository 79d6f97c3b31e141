//! A process that ends in the middle of a write, at every step of it; and a real one, with SIGKILL.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::Instant,
};

use proptest::prelude::*;

use super::*;

const PLACE: &str = "POSTRIDER_VAULT_CHILD";

/// How far a write came before the process ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Begun,
    /// After this share of the bytes, in per cent.
    Filling(usize),
    Filled,
    Settled,
    /// The rename is done, the folder is not yet on the disk.
    Renamed,
}

/// A rotation from `used` to `fresh` that ends there.
fn rotate_until(vault: &Vault, used: &str, fresh: &str, ended: Ended) {
    let write = vault.folder.write(&credential()).unwrap();
    let keys = vault.keys.now();
    let mut stored = vault.load(&credential()).unwrap().unwrap();
    stored.previous = Some(secret(used));
    stored.current = secret(fresh);
    let bytes = envelope::seal(&stored, &credential(), keys.newest().unwrap()).unwrap();
    let replacement = write.begin().unwrap();
    match ended {
        Ended::Begun => {}
        Ended::Filling(share) => replacement
            .fill(&bytes[..bytes.len() * share / 100])
            .unwrap(),
        Ended::Filled => replacement.fill(&bytes).unwrap(),
        Ended::Settled => {
            replacement.fill(&bytes).unwrap();
            replacement.settle().unwrap();
        }
        Ended::Renamed => {
            replacement.fill(&bytes).unwrap();
            replacement.settle().unwrap();
            replacement.take_effect().unwrap();
        }
    }
}

fn anywhere() -> impl Strategy<Value = Ended> {
    prop_oneof![
        Just(Ended::Begun),
        (0usize..100).prop_map(Ended::Filling),
        Just(Ended::Filled),
        Just(Ended::Settled),
        Just(Ended::Renamed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The provider here gives a new refresh token each time and takes the last two.
    #[test]
    fn a_crash_at_any_step_leaves_a_token_that_works(steps in proptest::collection::vec(proptest::option::of(anywhere()), 1..12)) {
        let place = Place::new();
        let mut vault = place.vault(&[BASE64]);
        vault.sign_in(&credential(), &secret("0"), None, AT).unwrap();
        let mut issued = 0;
        for step in steps {
            let used = tokens(&vault).remove(0);
            let back = issued - used.parse::<i32>().unwrap();
            prop_assert!((0..=1).contains(&back), "{} of {}", used, issued);
            issued = used.parse::<i32>().unwrap() + 1;
            let fresh = issued.to_string();
            match step {
                None => {
                    let kept = vault.rotate(&credential(), &secret(&used), &secret(&fresh), AT).unwrap();
                    prop_assert_eq!(kept, Kept::Stored);
                    prop_assert_eq!(tokens(&vault), [fresh, used]);
                }
                Some(ended) => {
                    rotate_until(&vault, &used, &fresh, ended);
                    // The next process.
                    vault = place.vault(&[BASE64]);
                    let after = tokens(&vault);
                    match ended {
                        Ended::Renamed => prop_assert_eq!(after, [fresh, used]),
                        Ended::Begun | Ended::Filling(_) | Ended::Filled | Ended::Settled => {
                            prop_assert_eq!(&after[0], &used);
                        }
                    }
                }
            }
        }
        let record = vault.load(&credential()).unwrap().unwrap();
        vault.confirm(&credential(), &record.current).unwrap();
        vault.rotate(&credential(), &record.current, &secret("last"), AT).unwrap();
        prop_assert_eq!(names(&place.folder()), [".lock", "delegated.vault"]);
    }
}

#[test]
fn a_write_that_fails_leaves_the_record_and_nothing_else() {
    let place = Place::new();
    let vault = place.signed_in();
    let before = fs::read(place.record()).unwrap();
    // What cannot be replaced: a folder of that name. The rename is the step that fails.
    let elsewhere = place.home.path().join("elsewhere");
    fs::rename(place.record(), &elsewhere).unwrap();
    fs::create_dir(place.record()).unwrap();
    let write = vault.folder.write(&credential()).unwrap();
    let error = write.replace(b"new").unwrap_err();
    assert!(
        matches!(
            error,
            VaultError::Io {
                what: "replaced",
                ..
            }
        ),
        "{error}"
    );
    drop(write);
    fs::remove_dir(place.record()).unwrap();
    fs::rename(elsewhere, place.record()).unwrap();
    assert_eq!(fs::read(place.record()).unwrap(), before);
    assert_eq!(names(&place.folder()), [".lock", "delegated.vault"]);

    // A step before it: the new file cannot be made.
    let blocked = place.folder().join("delegated.vault-new");
    fs::create_dir_all(blocked.join("in-the-way")).unwrap();
    let rotated = vault.rotate(&credential(), &secret("one"), &secret("two"), AT);
    assert!(rotated.is_err());
    assert_eq!(tokens(&vault), ["one"]);
}

/// Not a test of its own: the process that the test below starts, and kills.
#[test]
fn child_that_rotates_until_it_is_killed() {
    let Ok(home) = std::env::var(PLACE) else {
        return;
    };
    let home = Path::new(&home);
    let place = Place::new();
    let key = SecretRef::File(home.join("1-0.key"));
    let vault = Vault::new(home.join("vault"), vec![key], place.environment.clone());
    let mut told = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("told"))
        .unwrap();
    loop {
        let used = tokens(&vault).remove(0);
        let fresh = (used.parse::<u32>().unwrap() + 1).to_string();
        let kept = vault.rotate(&credential(), &secret(&used), &secret(&fresh), AT);
        assert_eq!(kept.unwrap(), Kept::Stored);
        told.write_all(format!("{fresh}\n").as_bytes()).unwrap();
    }
}

fn start(home: &Path) -> Child {
    let name = "vault::tests::crash::child_that_rotates_until_it_is_killed";
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(PLACE, home)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_leaves_the_last_token_that_it_was_told_is_stored() {
    let place = Place::new();
    let vault = place.vault(&[BASE64]);
    vault
        .sign_in(&credential(), &secret("0"), None, AT)
        .unwrap();
    let told = || {
        let text = fs::read_to_string(place.home.path().join("told")).unwrap_or_default();
        let lines: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        lines.last().copied().unwrap_or_default()
    };
    for _ in 0..5 {
        let mut child = start(place.home.path());
        let (before, deadline) = (told(), Instant::now() + Duration::from_secs(60));
        while told() < before + 20 {
            assert!(Instant::now() < deadline, "the child stores nothing");
            std::thread::sleep(Duration::from_millis(3));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let current: u32 = tokens(&vault)[0].parse().unwrap();
        let told = told();
        assert!(
            (told..=told + 1).contains(&current),
            "{current}, told {told}"
        );
    }
}
