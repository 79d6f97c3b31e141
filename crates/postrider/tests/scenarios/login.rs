//! People sign in: by a code, through a browser; what is stored, what is told, and what is refused
//! before or after. The providers are the sandbox's.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use postrider_sandbox::{
    authority::TokenAuthority,
    mailboxes::Access,
    token_endpoint::{
        Decision, Delegated, GrantKind, Provider, RefreshEnd, Rotation, TokenConfig, TokenEndpoint,
        TokenTrouble, User,
    },
};
use serde_json::Value;

use crate::world::{Settings, World};

const ANN: &str = "ann@contoso.com";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEWER_KEY: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

/// A configuration with one credential that acts for a person, and its provider.
struct Scene {
    world: World,
    tokens: TokenEndpoint,
    client_id: String,
    authority: TokenAuthority,
}

impl Scene {
    /// Entra; the code is typed in at once.
    async fn entra() -> Self {
        Self::new(TokenConfig::default(), "", Rotation::OldIsRevoked).await
    }

    async fn new(config: TokenConfig, more: &str, rotation: Rotation) -> Self {
        let client_id = config.client_id.clone();
        let tenant = config.tenant.clone();
        let provider = config.provider.clone();
        let config = TokenConfig {
            delegated: Delegated {
                users: vec![User {
                    name: ANN.to_owned(),
                    opens: vec!["box0@example.org".to_owned()],
                }],
                device_interval: Duration::from_secs(1),
                device_decision: Some((1, Decision::Approve(ANN.to_owned()))),
                rotation,
                ..Delegated::default()
            },
            ..config
        };
        let authority = TokenAuthority::new();
        let tokens = TokenEndpoint::start(config, authority.clone())
            .await
            .unwrap();
        let at = match provider {
            Provider::Google => {
                let base = tokens.authority_url();
                format!(
                    "type = \"google-delegated\"\nclient_secret = {{ env = \"CLIENT_SECRET\" }}\n\
                     token_url = \"{}\"\ndevice_url = \"{base}/device/code\"\n\
                     authorize_url = \"{base}/o/oauth2/v2/auth\"\n",
                    tokens.google_token_url()
                )
            }
            Provider::Generic => {
                let base = tokens.authority_url();
                format!(
                    "type = \"oauth2\"\ngrant = \"refresh_token\"\ntoken_url = \"{}\"\n\
                     scope = \"mail offline_access\"\nclient_secret = {{ env = \"CLIENT_SECRET\" }}\n\
                     device_url = \"{base}/oauth/device\"\nauthorize_url = \"{base}/oauth/authorize\"\n",
                    tokens.token_url()
                )
            }
            Provider::Entra
            | Provider::ManagedIdentity { .. }
            | Provider::GoogleServiceAccount(_) => format!(
                "type = \"microsoft-delegated\"\ntenant = \"{tenant}\"\nauthority = \"{}\"\n",
                tokens.authority_url()
            ),
        };
        let mut world = World::new(Settings {
            credential: format!("{at}client_id = \"{client_id}\"\n{more}"),
            ..Settings::default()
        })
        .await;
        world.settings.more = format!(
            "[vault]\nkey = {{ file = \"{}/vault.key\" }}\n",
            world.dir.path().display()
        );
        world
            .environment
            .push(("CLIENT_SECRET".to_owned(), "sandbox~secret".to_owned()));
        let key = world.dir.path().join("vault.key");
        fs::write(&key, KEY).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        world.write_config();
        Self {
            world,
            tokens,
            client_id,
            authority,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command
            .env("POSTRIDER_CONFIG", self.world.config_path())
            .env("LAB_PASSWORD", crate::world::PASSWORD)
            .env("HOOK_SECRET", crate::world::SECRET)
            .envs(self.world.environment.iter().cloned())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// A command that ends by itself; what it said, with nothing secret in it.
    fn run(&self, arguments: &[&str]) -> Told {
        let told = Told::of(self.command(arguments).output().unwrap());
        self.assert_secret(&told);
        told
    }

    fn assert_secret(&self, told: &Told) {
        let refresh = self.tokens.last_refresh_token_of(&self.client_id).unwrap();
        let access = self.tokens.last_token_of(&self.client_id).unwrap();
        for secret in [
            refresh,
            access,
            Some("sandbox~secret".to_owned()),
            Some(KEY.to_owned()),
        ]
        .iter()
        .flatten()
        {
            assert!(!told.text.contains(secret.as_str()), "a secret is printed");
            assert!(!told.error.contains(secret.as_str()), "a secret is printed");
        }
    }

    fn record(&self) -> PathBuf {
        self.world.dir.path().join("vault/lab.vault")
    }

    fn asked(&self, kind: GrantKind) -> u64 {
        self.tokens.tally(&self.client_id, kind).requests
    }
}

struct Told {
    code: Option<i32>,
    text: String,
    error: String,
}

impl Told {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            text: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text, self.error);
        self.text
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.good()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_a_code_and_the_token_is_in_the_vault() {
    let scene = Scene::entra().await;
    let text = scene.run(&["login", "lab"]).good();
    for words in [
        "enter the code",
        "signed in   ann@contoso.com",
        "IMAP.AccessAsUser.All",
        "encrypted",
        "proven",
        "box0 (logs in as box0@example.org: ann@contoso.com needs full access to it)",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let record = fs::read_to_string(scene.record()).unwrap();
    let refresh = scene
        .tokens
        .last_refresh_token_of(&scene.client_id)
        .unwrap();
    assert!(!record.contains(&refresh.unwrap()) && !record.contains("ann@"));
    assert_eq!(scene.asked(GrantKind::DeviceStart), 1);
    assert_eq!(scene.asked(GrantKind::RefreshToken), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_a_line_of_json_for_each_step() {
    let scene = Scene::entra().await;
    let text = scene.run(&["login", "lab", "--json"]).good();
    let steps: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [code, done] = steps.as_slice() else {
        panic!("{text}");
    };
    assert_eq!(code["step"], "code");
    assert!(code["user_code"].is_string() && code["verification_uri"].is_string());
    assert_eq!(done["step"], "signed_in");
    assert_eq!(done["account"], ANN);
    assert_eq!(done["proven"], true);
    assert_eq!(done["mailboxes"][0], "box0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoded_token_stores_the_refresh_token_that_came_with_it() {
    let scene = Scene::entra().await;
    scene.run(&["login", "lab"]).good();
    // Each request ends the refresh token before it: forgetting one would end the access.
    for _ in 0..3 {
        let token = scene.run(&["token", "lab", "--json"]).json();
        assert_eq!(token["refresh_token"], "stored", "{token:#}");
        let claims = token["claims"].as_array().unwrap();
        let of = |name: &str| claims.iter().find(|claim| claim["claim"] == name).unwrap();
        assert_eq!(of("scp")["verdict"], "good");
        assert_eq!(of("aud")["verdict"], "good");
        assert_eq!(of("upn")["value"], ANN);
    }
    let text = scene.run(&["token", "lab"]).good();
    assert!(text.contains("refresh token of ann@contoso.com"), "{text}");
    assert!(text.contains("is in the vault"), "{text}");
    scene
        .tokens
        .end_refresh_tokens(&scene.client_id, RefreshEnd::Revoked)
        .unwrap();
    let told = scene.run(&["token", "lab"]);
    assert_eq!(told.code, Some(1));
    assert!(
        told.error.contains("invalid_grant") && told.error.contains("hint:"),
        "{}",
        told.error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_master_keys_take_over_and_old_ones_can_go() {
    let scene = Scene::entra().await;
    scene.run(&["login", "lab"]).good();
    let (key, newer) = (
        scene.world.dir.path().join("vault.key"),
        scene.world.dir.path().join("newer.key"),
    );
    fs::write(&newer, NEWER_KEY).unwrap();
    let keys = |list: &[&PathBuf]| {
        let list: Vec<_> = list
            .iter()
            .map(|path| format!("{{ file = \"{}\" }}", path.display()))
            .collect();
        let old = fs::read_to_string(scene.world.config_path()).unwrap();
        let (before, _) = old.split_once("[vault]").unwrap();
        fs::write(
            scene.world.config_path(),
            format!("{before}[vault]\nkey = [{}]\n", list.join(", ")),
        )
        .unwrap();
    };
    keys(&[&newer, &key]);
    let planned = scene.run(&["rekey", "--dry-run", "--json"]).json();
    assert_eq!(planned["records"][0]["outcome"], "rewrapped");
    let text = scene.run(&["rekey"]).good();
    assert!(
        text.contains("lab: now under the newest key") && text.contains("no longer needed"),
        "{text}"
    );
    keys(&[&newer]);
    scene.run(&["token", "lab"]).good();
    keys(&[&key]);
    let told = scene.run(&["token", "lab"]);
    assert_eq!(told.code, Some(78), "{}", told.error);
    assert!(
        told.error.contains("is locked with the master key"),
        "{}",
        told.error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_sign_in_where_it_could_not_be_stored() {
    let scene = Scene::entra().await;
    fs::write(scene.world.dir.path().join("vault.key"), "too short").unwrap();
    let told = scene.run(&["login", "lab"]);
    assert_eq!(told.code, Some(78));
    assert!(
        told.error.contains("openssl rand -base64 32"),
        "{}",
        told.error
    );
    assert_eq!(scene.asked(GrantKind::DeviceStart), 0);
    let told = scene.run(&["login", "lba"]);
    assert_eq!(
        (told.code, told.error.contains("did you mean `lab`?")),
        (Some(1), true)
    );
    let told = scene.run(&["token", "lab"]);
    assert!(told.error.contains("postrider login lab") || told.code == Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declined_or_of_no_use_is_told_and_nothing_is_stored() {
    let scene = Scene::entra().await;
    scene.tokens.change(|config| {
        config.delegated.device_decision = Some((1, Decision::Decline));
    });
    let told = scene.run(&["login", "lab"]);
    assert_eq!(told.code, Some(1));
    assert!(
        told.error.contains("declined") && told.error.contains("hint:"),
        "{}",
        told.error
    );
    scene.tokens.change(|config| {
        config.delegated.device_decision = Some((1, Decision::Expire));
    });
    let told = scene.run(&["login", "lab"]);
    assert_eq!(told.code, Some(75), "{}", told.error);

    let graph = "scope = \"https://graph.microsoft.com/IMAP.AccessAsUser.All offline_access\"\n";
    let scene = Scene::new(TokenConfig::default(), graph, Rotation::OldStaysGood).await;
    let told = scene.run(&["login", "lab"]);
    assert_eq!(told.code, Some(1));
    assert!(told.error.contains("nothing was stored"), "{}", told.error);
    assert!(!scene.record().exists());

    let once = "scope = \"https://outlook.office.com/IMAP.AccessAsUser.All\"\n";
    let scene = Scene::new(TokenConfig::default(), once, Rotation::OldStaysGood).await;
    let told = scene.run(&["login", "lab"]);
    assert_eq!(told.code, Some(1));
    assert!(told.error.contains("offline_access"), "{}", told.error);
    assert!(!scene.record().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_while_somebody_types_the_code_ends_nothing() {
    let scene = Scene::entra().await;
    scene.tokens.change(|config| {
        config.delegated.device_decision = None;
    });
    let mut login = Login::start(&scene, &["login", "lab", "--json"]);
    let code = login.step();
    let user_code = code["user_code"].as_str().unwrap().to_owned();
    scene.tokens.set_trouble(TokenTrouble::CloseUnanswered);
    let before = scene.tokens.counters().requests;
    let deadline = Instant::now() + Duration::from_secs(20);
    while scene.tokens.counters().requests == before {
        assert!(Instant::now() < deadline, "no poll met the outage");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.tokens.set_trouble(TokenTrouble::None);
    scene
        .tokens
        .decide(&user_code, Decision::Approve(ANN.to_owned()))
        .unwrap();
    assert_eq!(login.step()["step"], "signed_in");
    scene.assert_secret(&login.end());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_through_a_browser() {
    for provider in [Provider::Entra, Provider::Google, Provider::Generic] {
        let config = TokenConfig {
            provider: provider.clone(),
            ..TokenConfig::default()
        };
        let scene = Scene::new(config, "", Rotation::OldStaysGood).await;
        let mut login = Login::start(&scene, &["login", "lab", "--browser", "--json"]);
        let step = login.step();
        assert_eq!(step["step"], "browser");
        let browser = reqwest::Client::builder().no_proxy().build().unwrap();
        let page = browser
            .get(step["url"].as_str().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(page.status().as_u16(), 200, "{provider:?} {}", page.url());
        let page = page.text().await.unwrap();
        assert!(page.contains("Go back to the terminal"), "{page}");
        let done = login.step();
        assert_eq!(done["proven"], true, "{provider:?} {done:#}");
        scene.assert_secret(&login.end());
        let token = scene.run(&["token", "lab", "--json"]).json();
        assert_eq!(token["credential"], "lab");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_takes_the_next_client_secret_where_the_newest_is_refused() {
    let secrets = "client_secret = [{ env = \"NEWEST_SECRET\" }, { env = \"CLIENT_SECRET\" }]\n";
    for browser in [false, true] {
        let mut scene = Scene::new(TokenConfig::default(), secrets, Rotation::OldIsRevoked).await;
        let newest = ("NEWEST_SECRET".to_owned(), "not-known-yet".to_owned());
        scene.world.environment.push(newest);
        if !browser {
            let text = scene.run(&["login", "lab"]).good();
            assert!(text.contains("proven"), "{text}");
            continue;
        }
        let mut login = Login::start(&scene, &["login", "lab", "--browser", "--json"]);
        let step = login.step();
        let browser = reqwest::Client::builder().no_proxy().build().unwrap();
        let page = browser.get(step["url"].as_str().unwrap()).send();
        assert_eq!(page.await.unwrap().status().as_u16(), 200);
        let done = login.step();
        assert_eq!(done["proven"], true, "{done:#}");
        scene.assert_secret(&login.end());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_takes_a_sign_in_up_by_itself() {
    let mut scene = Scene::entra().await;
    let user = scene.world.users[0].clone();
    scene
        .world
        .mailboxes
        .add_account(&user, Access::tokens(&scene.authority));
    scene.world.start();
    scene
        .world
        .expect("the missing sign-in told", |world| {
            let told = world.ask(&["credentials"]).unwrap_or_default();
            told["credentials"][0]["secret_problems"]
                .as_array()
                .is_some_and(|problems| {
                    problems
                        .iter()
                        .any(|one| one.as_str().unwrap().contains("postrider login lab"))
                })
        })
        .await;
    scene.run(&["login", "lab"]).good();
    scene.world.expect_watching(1).await;
    scene.world.burst(0, 2);
    scene.world.expect_all().await;
    let told = scene.world.ask(&["credentials"]).unwrap();
    let lab = &told["credentials"][0];
    assert_eq!(
        (&lab["state"], &lab["account"]),
        (&"ready".into(), &ANN.into()),
        "{told:#}"
    );
    assert_eq!(lab["mailboxes"][0], "box0");
    scene.run(&["token", "lab"]).good();
    scene.world.expect_account().await;
}

/// A sign-in that is followed step by step.
struct Login {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    seen: String,
}

impl Login {
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut process = scene
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            lines,
            seen: String::new(),
        }
    }

    fn step(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        self.seen += &line;
        serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut error = String::new();
            let mut stderr = self.process.stderr.take().unwrap();
            stderr.read_to_string(&mut error).unwrap();
            panic!("{line}{error}")
        })
    }

    fn end(mut self) -> Told {
        let code = self.process.wait().unwrap().code();
        assert_eq!(code, Some(0));
        Told {
            code,
            text: self.seen.clone(),
            error: String::new(),
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        // Ended, or to be ended with the test that failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
