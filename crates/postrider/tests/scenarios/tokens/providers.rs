//! Every other way to a token: a machine's own identity, Google, and any provider that keeps to the
//! RFCs, each with the trouble that is its own.

use std::time::Duration;

use postrider_sandbox::token_endpoint::{
    Claims, ExpiresIn, GrantKind, Provider, TokenConfig, TokenTrouble, keys::ServiceAccountFile,
};

use super::{Scene, client_id};

const ROBOT: &str = "robot@sandbox.iam.gserviceaccount.com";
const MAIL: &str = "https://mail.google.com/";

/// Half of it is the time to a refresh.
const LIFE: Duration = Duration::from_secs(8);

impl Scene {
    /// A user-assigned identity of the machine that this runs on.
    fn with_identity(&mut self, name: &str, trouble: TokenTrouble) {
        let client = client_id(name);
        self.tokens.add(TokenConfig {
            provider: Provider::ManagedIdentity {
                resource_id: Some(format!("/subscriptions/0/{name}")),
            },
            client_id: client.clone(),
            claims: Claims {
                oid: format!("oid-of-{name}"),
                ..Claims::default()
            },
            lifetime: LIFE,
            ..TokenConfig::default()
        });
        self.tokens.set_trouble_of(&client, trouble).unwrap();
        let endpoint = self.tokens.authority_url();
        let lines = format!(
            "type = \"managed-identity\"\nclient_id = \"{client}\"\nendpoint = \"{endpoint}\"\n"
        );
        self.with_credential(name, &lines);
    }

    fn with_oauth2(&mut self, name: &str, more: &str) {
        let client = client_id(name);
        self.tokens.add(TokenConfig {
            provider: Provider::Generic,
            client_id: client.clone(),
            expires_in: ExpiresIn::Text,
            lifetime: LIFE,
            ..TokenConfig::default()
        });
        let file = self.write(&format!("{name}.secret"), "sandbox~secret");
        let url = self.tokens.token_url();
        let lines = format!(
            "type = \"oauth2\"\ntoken_url = \"{url}\"\nclient_id = \"{client}\"\n\
             client_secret = {{ file = \"{file}\" }}\n{more}"
        );
        self.with_credential(name, &lines);
    }

    /// Tokens of one service account are each for one user.
    fn with_robot(&mut self, users: [&str; 2]) {
        let robot = ServiceAccountFile::generate(ROBOT).unwrap();
        self.tokens.add(TokenConfig {
            provider: Provider::GoogleServiceAccount(robot.account("contoso.com", &[MAIL])),
            client_id: ROBOT.to_owned(),
            lifetime: LIFE,
            ..TokenConfig::default()
        });
        let key = robot.json(&self.tokens.google_token_url());
        let file = self.write("robot.json", &key);
        let lines = format!("type = \"google\"\nservice_account = {{ file = \"{file}\" }}\n");
        self.with_credential(users[0], &lines);
        self.share(users[0], users[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_opens_its_mailboxes_and_its_own_trouble_passes() {
    let mut scene = Scene::new().await;
    // A metadata service that has just started, moves, or is asked too often.
    let starting = [
        ("vm-404", 404),
        ("vm-410", 410),
        ("vm-429", 429),
        ("vm-500", 500),
    ];
    for (name, status) in starting {
        scene.with_identity(name, TokenTrouble::Status(status).times(1));
    }
    scene.with_oauth2("by-body", "");
    scene.with_oauth2("by-basic", "client_auth = \"basic\"\n");
    scene.with_robot(["anna", "bert"]);
    scene.start();
    let names = [
        "vm-404", "vm-410", "vm-500", "by-body", "by-basic", "anna", "bert",
    ];
    for name in names {
        scene.expect_state(name, "watching").await;
        scene.deliver(name);
    }
    for (name, _) in starting {
        let identity = scene
            .tokens
            .tally(&client_id(name), GrantKind::ManagedIdentity);
        assert!(identity.requests > 0, "{name}");
        assert!(
            scene.events("credential.refused", name).is_empty(),
            "{name}"
        );
    }
    // It did not say for how long: that is worth a minute.
    assert_eq!(scene.asked("vm-429").len(), 1);
    let renewed = |scene: &Scene| {
        let applications = ["vm-404", "by-body", "by-basic"];
        let robot = scene.tokens.asked(ROBOT);
        let of = |user: &str| {
            let asked = robot.iter();
            asked
                .filter(|one| one.subject.as_deref() == Some(user))
                .count()
        };
        applications.iter().all(|name| scene.granted(name) > 2)
            && of("anna@contoso.com") > 2
            && of("bert@contoso.com") > 2
    };
    scene.expect("tokens renewed", renewed).await;
    for name in names {
        assert_eq!(scene.state(name), "watching", "{name}");
        scene.deliver(name);
    }
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}
