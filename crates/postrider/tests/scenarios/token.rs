//! `postrider token`: one request for each kind of credential, decoded, with nothing secret printed
//! and no daemon.

use std::{fs, process::Command};

use postrider_sandbox::{
    authority::TokenAuthority,
    token_endpoint::{Provider, TokenConfig, TokenEndpoint, TokenShape, keys::AppCertificate},
};
use serde_json::Value;

use crate::world::{Settings, World};

struct Scene {
    world: World,
    tokens: TokenEndpoint,
}

impl Scene {
    async fn new(config: TokenConfig) -> Self {
        let tokens = TokenEndpoint::start(config, TokenAuthority::new())
            .await
            .unwrap();
        let world = World::new(Settings::default()).await;
        Self { world, tokens }
    }

    /// The outcome as JSON, the exit code and what was complained of.
    fn token(&mut self, credential: &str) -> (Value, Option<i32>, String) {
        self.world.settings.credential = credential.to_owned();
        self.world.write_config();
        let output = Command::new(env!("CARGO_BIN_EXE_postrider"))
            .env("POSTRIDER_CONFIG", self.world.config_path())
            .env("HOOK_SECRET", crate::world::SECRET)
            .env("OLD", "not~the~secret")
            .env("GOOD", "sandbox~secret")
            .args(["token", "lab", "--json"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let token = self.tokens.last_token();
        for secret in ["sandbox~secret", "not~the~secret"]
            .into_iter()
            .chain(token.as_deref())
        {
            assert!(
                !text.contains(secret) && !error.contains(secret),
                "a secret is printed"
            );
        }
        let json = serde_json::from_str(&text).unwrap_or_default();
        (json, output.status.code(), error)
    }

    fn application(&self, proof: &str) -> String {
        let config = TokenConfig::default();
        format!(
            "type = \"microsoft\"\ntenant = \"{}\"\nclient_id = \"{}\"\nauthority = \"{}\"\n{proof}\n",
            config.tenant,
            config.client_id,
            self.tokens.authority_url()
        )
    }
}

fn claim<'a>(token: &'a Value, name: &str) -> &'a Value {
    let claims = token["claims"].as_array().unwrap();
    claims
        .iter()
        .find(|claim| claim["claim"] == name)
        .unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_token_is_explained_and_a_secret_on_its_way_in_is_passed_over() {
    let mut scene = Scene::new(TokenConfig::default()).await;
    let secrets = "client_secret = [{ env = \"OLD\" }, { env = \"GOOD\" }]";
    let (token, code, error) = scene.token(&scene.application(secrets));
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(token["proof"], "client secret 2 of 2");
    assert_eq!(claim(&token, "roles")["verdict"], "good");
    let oid = claim(&token, "oid");
    assert_eq!(oid["value"], "99999999-8888-7777-6666-555555555555");
    assert!(
        oid["remark"]
            .as_str()
            .unwrap()
            .contains("-ObjectId for New-ServicePrincipal")
    );

    scene.tokens.change(|config| config.roles.clear());
    let (token, code, error) = scene.token(&scene.application(secrets));
    assert_eq!(
        (code, &claim(&token, "roles")["verdict"]),
        (Some(1), &"wrong".into())
    );
    assert!(
        error.contains("no mailbox opens") && error.contains("Grant admin consent"),
        "{error}"
    );

    scene
        .tokens
        .change(|config| config.shape = TokenShape::Opaque);
    let (token, code, _) = scene.token(&scene.application(secrets));
    assert_eq!((code, &token["readable"]), (Some(0), &false.into()));
    let (_, code, error) = scene.token(&scene.application("client_secret = { env = \"OLD\" }"));
    assert_eq!(code, Some(1));
    assert!(
        error.contains("7000215") && error.contains("hint:"),
        "{error}"
    );
    scene.tokens.down().await;
    let (_, code, error) = scene.token(&scene.application(secrets));
    assert_eq!(code, Some(75), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_managed_identity_ask_in_their_own_way() {
    let certificate = AppCertificate::generate("postrider").unwrap();
    let config = TokenConfig {
        certificates: vec![certificate.certificate_pem().to_owned()],
        ..TokenConfig::default()
    };
    let mut scene = Scene::new(config).await;
    let file = scene.world.dir.path().join("client.pem");
    fs::write(&file, certificate.both_pem()).unwrap();
    let proof = format!("certificate = {{ file = \"{}\" }}", file.display());
    let (token, code, error) = scene.token(&scene.application(&proof));
    assert_eq!(
        (code, &token["proof"]),
        (Some(0), &"certificate".into()),
        "{error}"
    );
    assert!(
        claim(&token, "appidacr")["remark"]
            .as_str()
            .unwrap()
            .contains("certificate")
    );

    let config = TokenConfig {
        provider: Provider::ManagedIdentity { resource_id: None },
        ..TokenConfig::default()
    };
    let mut scene = Scene::new(config).await;
    let identity = format!(
        "type = \"managed-identity\"\nendpoint = \"{}\"\n",
        scene.tokens.authority_url()
    );
    let (token, code, error) = scene.token(&identity);
    assert_eq!(
        (code, &token["type"]),
        (Some(0), &"managed-identity".into()),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_s_token_is_read_and_a_password_has_none() {
    let mut scene = Scene::new(TokenConfig::default()).await;
    let program = "type = \"token\"\ncommand = [\"/bin/echo\", \"opaque-token\"]\n";
    let (token, code, error) = scene.token(program);
    assert_eq!(
        (code, &token["proof"]),
        (Some(0), &"program".into()),
        "{error}"
    );
    assert_eq!(token["readable"], false);
    assert!(!token.to_string().contains("opaque-token"));
    let (_, code, error) = scene.token("type = \"password\"\npassword = { env = \"GOOD\" }\n");
    assert_eq!(code, Some(1));
    assert!(error.contains("asks for no token"), "{error}");
}
