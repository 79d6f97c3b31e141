use std::{fs, path::PathBuf};

use super::*;

struct World {
    folder: tempfile::TempDir,
    secrets: Secrets,
}

impl World {
    /// Looks only when told to, so that a test decides the order of things.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut environment = Environment::default();
        let credentials = folder.path().to_str().unwrap().to_owned();
        environment
            .variables
            .insert("CREDENTIALS_DIRECTORY".to_owned(), credentials);
        environment
            .variables
            .insert("LAB_PASSWORD".to_owned(), "from-environment".to_owned());
        let telemetry = Arc::new(Telemetry::new().unwrap());
        let pace = Pace {
            tick: Duration::from_secs(3600),
            settle: Duration::from_millis(20),
        };
        Self {
            secrets: Secrets::new(environment, telemetry, pace),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, value: &str) -> SecretRef {
        fs::write(self.path(name), value).unwrap();
        SecretRef::File(self.path(name))
    }
}

fn values(list: &SecretList) -> Vec<&str> {
    list.live().map(ExposeSecret::expose_secret).collect()
}

#[tokio::test]
async fn secrets_come_from_files_environment_and_systemd_newest_first() {
    let world = World::new();
    let references = [
        world.write("newest", "one\n"),
        SecretRef::Env("LAB_PASSWORD".to_owned()),
        {
            world.write("by-systemd", "three");
            SecretRef::Credential("by-systemd".to_owned())
        },
    ];
    let list = world.secrets.watch(&references).borrow().clone();
    assert_eq!(values(&list), ["one", "from-environment", "three"]);
    assert!(!format!("{list:?}").contains("one"));
}

#[tokio::test]
async fn a_replaced_file_is_read_again_and_told_once() {
    let world = World::new();
    let references = [world.write("secret", "old")];
    let mut receiver = world.secrets.watch(&references);
    world.secrets.look().await;
    assert!(!receiver.has_changed().unwrap(), "nothing changed");
    world.write("next", "new\n");
    fs::rename(world.path("next"), world.path("secret")).unwrap();
    world.secrets.look().await;
    assert!(receiver.has_changed().unwrap());
    assert_eq!(values(&receiver.borrow_and_update()), ["new"]);
    world.write("secret", "new");
    world.secrets.look().await;
    assert!(
        !receiver.has_changed().unwrap(),
        "the same value written again is no change"
    );
}

#[tokio::test]
async fn an_empty_or_missing_file_keeps_the_old_value_and_says_so() {
    let world = World::new();
    let references = [world.write("secret", "good")];
    let receiver = world.secrets.watch(&references);
    for broken in [Some(""), Some("\n"), None] {
        match broken {
            Some(text) => {
                world.write("secret", text);
            }
            None => fs::remove_file(world.path("secret")).unwrap(),
        }
        world.secrets.look().await;
        let list = receiver.borrow().clone();
        assert_eq!(values(&list), ["good"], "{broken:?}");
        let problem = list.problems().next().unwrap();
        assert!(
            problem.contains("secret file") && problem.contains("hint: "),
            "{problem}"
        );
        assert!(!problem.contains("good"));
    }
    world.write("secret", "better");
    world.secrets.look().await;
    assert_eq!(values(&receiver.borrow()), ["better"]);
    assert_eq!(receiver.borrow().problems().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_read_at_the_next_look() {
    let world = World::new();
    let references = [world.write("secret", "old")];
    let receiver = world.secrets.watch(&references);
    world.write("secret", "ha");
    let changed = world.secrets.inner.changed();
    world.write("secret", "half and half");
    world.secrets.inner.take(changed);
    assert_eq!(values(&receiver.borrow()), ["old"]);
    world.secrets.look().await;
    assert_eq!(values(&receiver.borrow()), ["half and half"]);
}

#[tokio::test]
async fn a_secret_that_is_not_there_yet_is_found_when_it_comes() {
    let world = World::new();
    let references = [
        SecretRef::File(world.path("later")),
        SecretRef::Env("NOT_SET".to_owned()),
    ];
    let mut receiver = world.secrets.watch(&references);
    assert_eq!(receiver.borrow().problems().count(), 2);
    world.write("later", "here");
    world.secrets.look().await;
    assert_eq!(values(&receiver.borrow_and_update()), ["here"]);
}

#[tokio::test]
async fn a_folder_is_no_secret() {
    let world = World::new();
    let receiver = world
        .secrets
        .watch(&[SecretRef::File(world.folder.path().to_owned())]);
    let problem = receiver.borrow().problems().next().unwrap();
    assert!(problem.contains("no regular file"), "{problem}");
}

#[tokio::test]
async fn lists_that_nobody_holds_are_forgotten() {
    let world = World::new();
    drop(world.secrets.watch(&[world.write("a", "1")]));
    let _kept = world.secrets.watch(&[world.write("b", "2")]);
    world.secrets.look().await;
    assert_eq!(world.secrets.inner.watched().len(), 1);
}
