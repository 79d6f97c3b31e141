//! A person's access, whose refresh token changes with every use and has to outlive the process.

use std::time::{Duration, SystemTime};

use postrider_sandbox::token_endpoint::{
    Decision, Delegated, GrantKind, RefreshEnd, Rotation, TokenConfig, TokenTrouble, User,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{Scene, TENANT, address, client_id};

/// Half of it is the time to a refresh.
const LIFE: Duration = Duration::from_secs(8);

/// 32 bytes in base64.
const VAULT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

impl Scene {
    /// A credential of a person who owns the mailbox.
    fn with_person(&mut self, name: &str, rotation: Rotation) {
        let client = client_id(name);
        self.tokens.add(TokenConfig {
            client_id: client.clone(),
            secrets: Vec::new(),
            lifetime: LIFE,
            delegated: Delegated {
                users: vec![User {
                    name: address(name),
                    opens: Vec::new(),
                }],
                device_interval: Duration::from_secs(1),
                device_decision: Some((0, Decision::Approve(address(name)))),
                rotation,
                ..Delegated::default()
            },
            ..TokenConfig::default()
        });
        let lines = format!(
            "type = \"microsoft-delegated\"\ntenant = \"{TENANT}\"\nclient_id = \"{client}\"\n\
             authority = \"{}\"\n",
            self.tokens.authority_url()
        );
        self.with_credential(name, &lines);
    }

    /// `postrider login`, by a device code that the person approves.
    fn log_in(&self, name: &str) {
        let output = self.world.command().args(["login", name]).output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn refreshes(&self, name: &str) -> usize {
        let tally = self.tokens.tally(&client_id(name), GrantKind::RefreshToken);
        tally.answered as usize
    }

    /// When the person's record in the vault was written last.
    fn stored_at(&self, name: &str) -> SystemTime {
        let folder = self.world.dir.path().join("vault");
        let records = std::fs::read_dir(folder).unwrap();
        let mut times = records.filter_map(|record| {
            let record = record.unwrap();
            let ours = record.file_name().to_string_lossy().starts_with(name);
            ours.then(|| record.metadata().unwrap().modified().unwrap())
        });
        times.next().expect("a record in the vault")
    }
}

async fn signed_in(people: &[(&str, Rotation)]) -> Scene {
    let mut scene = Scene::new().await;
    scene.more += "[vault]\nkey = { env = \"VAULT_KEY\" }\n";
    let key = ("VAULT_KEY".to_owned(), VAULT_KEY.to_owned());
    scene.world.environment.push(key);
    for (name, rotation) in people {
        scene.with_person(name, *rotation);
    }
    scene.write_config();
    for (name, _) in people {
        scene.log_in(name);
    }
    scene.start();
    scene.world.expect_watching(people.len() + 1).await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_changes_with_every_use_outlives_kill_9() {
    let mut scene = signed_in(&[
        ("ann", Rotation::OldStaysGood),
        ("strict", Rotation::OldIsRevoked),
    ])
    .await;
    let mut rng = StdRng::seed_from_u64(9);
    for round in 0..3 {
        scene.deliver_to_all();
        let (before, stored) = (scene.refreshes("strict"), scene.stored_at("strict"));
        scene
            .expect("a refresh of the strict one", |scene| {
                scene.refreshes("strict") > before
            })
            .await;
        // Where the old one is revoked, only what was stored counts.
        scene
            .expect("the new one stored", |scene| {
                scene.stored_at("strict") > stored
            })
            .await;
        // Ann's may be anywhere between asking and storing.
        let anywhere = Duration::from_millis(rng.random_range(0..1_500));
        tokio::time::sleep(anywhere).await;
        scene.world.kill();
        scene.world.start();
        scene.world.expect_watching(3).await;
        assert!(
            scene.events("credential.refused", "ann").is_empty(),
            "round {round}"
        );
        assert!(
            scene.events("credential.refused", "strict").is_empty(),
            "round {round}"
        );
    }
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_costs_nothing_and_a_revoked_sign_in_asks_for_a_person() {
    let scene = signed_in(&[
        ("lost", Rotation::OldStaysGood),
        ("revoked", Rotation::OldStaysGood),
    ])
    .await;
    let lost = TokenTrouble::AnswerLost.times(2);
    scene.meets("lost", lost);
    let client = client_id("revoked");
    scene
        .tokens
        .end_refresh_tokens(&client, RefreshEnd::Revoked)
        .unwrap();
    scene.deliver_to_all();
    let event = scene.expect_event("credential.refused", "revoked").await;
    assert!(event.to_string().contains("AADSTS50173"), "{event:#}");
    scene.assert_log("revoked", "postrider login");
    let before = scene.refreshes("lost");
    scene
        .expect("refreshes after the lost ones", |scene| {
            scene.refreshes("lost") > before + 1
        })
        .await;
    assert!(scene.events("credential.refused", "lost").is_empty());

    // The daemon takes a new sign-in up by itself.
    scene.deliver("revoked");
    scene.log_in("revoked");
    scene.expect_event("credential.recovered", "revoked").await;
    scene.world.expect_watching(3).await;
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}
