//! The admin API over TCP: what a token may ask, who is let in at all, and that the OpenAPI document
//! tells the truth about every route.

use serde_json::Value;

use crate::{
    repair::{audit, dead_letters},
    schema,
    world::{Settings, World},
};

/// The commands of a token, over TCP.
struct Over<'a> {
    world: &'a World,
    url: String,
    token: String,
}

impl Over<'_> {
    fn ask(&self, words: &[&str]) -> Result<Value, String> {
        let mut command = self.world.command();
        command
            .env("POSTRIDER_SOCKET", &self.url)
            .env("POSTRIDER_ADMIN_TOKEN", &self.token)
            .args(words)
            .arg("--json");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }
}

fn admin_url(world: &World) -> String {
    let log = world.log();
    let told = "\"admin_tcp\":\"";
    let start = log.rfind(told).expect("the log names it");
    let rest = &log[start + told.len()..];
    format!("http://{}", rest.split_once('"').unwrap().0)
}

fn token(world: &World, name: &str, scope: &str) -> String {
    let words = [
        "admin",
        "token",
        "create",
        name,
        "--scope",
        scope,
        "--expires",
        "90d",
    ];
    let made = world.ask(&words).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

async fn over_tcp() -> World {
    let settings = Settings {
        more: "[admin.tcp]\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        ..Settings::default()
    };
    World::watching(settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_do_what_it_is_for_and_nothing_after_it_is_revoked() {
    let world = over_tcp().await;
    world.burst(0, 3);
    world.expect_all().await;
    world.expect_account().await;
    let over = |token: &str| Over {
        world: &world,
        url: admin_url(&world),
        token: token.to_owned(),
    };
    let reads = over(&token(&world, "grafana", "read"));
    let replays = over(&token(&world, "desk", "replay"));
    assert_eq!(
        reads.ask(&["endpoints", "list"]).unwrap()["endpoints"][0]["delivered"],
        3
    );
    let words = ["events", "replay", "--delivered", "--endpoint", "tickets"];
    let refused = reads.ask(&words).unwrap_err();
    assert!(
        refused.contains("this token is for `read` only"),
        "{refused}"
    );
    assert_eq!(replays.ask(&words).unwrap()["deliveries"], 3);
    let refused = replays.ask(&["endpoints", "pause", "tickets"]).unwrap_err();
    assert!(refused.contains("scope `admin`"), "{refused}");
    assert!(reads.ask(&["admin", "token", "list"]).is_err());
    let row = audit(&world).remove(0);
    assert_eq!(
        (&row["who"], &row["what"]),
        (&"desk".into(), &"replay".into())
    );
    assert_eq!(row["through"], "token from 127.0.0.1");

    world.ask(&["admin", "token", "revoke", "desk"]).unwrap();
    assert!(
        replays
            .ask(&["status"])
            .unwrap_err()
            .contains("no good token")
    );
    assert!(over("postrider_guess").ask(&["status"]).is_err());
    let list = world.ask(&["admin", "token", "list"]).unwrap();
    let states: Vec<_> = list["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, ["live", "revoked"]);
    let whole = list.to_string() + &world.log();
    assert!(!whole.contains(&reads.token), "a token is told once");
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_is_refused_and_guessing_is_slowed_down() {
    let world = over_tcp().await;
    let url = format!("{}/v1/status", admin_url(&world));
    let token = token(&world, "ci", "admin");
    let http = reqwest::Client::new();
    let status = async |host: Option<&str>, token: &str| {
        let mut request = http.get(&url).bearer_auth(token);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(None, &token).await, 200);
    assert_eq!(status(Some("localhost"), &token).await, 200);
    assert_eq!(status(Some("evil.example"), &token).await, 421);
    for _ in 0..10 {
        assert_eq!(status(None, "guess").await, 401);
    }
    assert_eq!(status(None, "guess").await, 429);
    assert_eq!(
        status(None, &token).await,
        200,
        "who has a good one does not wait"
    );
    let refused = "postrider_admin_requests_refused_total{reason=\"host\"}";
    assert_eq!(world.metric(refused).await, 1.0);
    let answer = http.get(&url).bearer_auth(&token).send().await.unwrap();
    assert!(
        answer
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
    assert_eq!(answer.headers()["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_what_the_document_says() {
    let world = over_tcp().await;
    let ids = dead_letters(&world, 1).await;
    world.burst(0, 2);
    world
        .expect("two arrive", |world| world.arrived().len() == 2)
        .await;
    world.ask(&["events", "replay", "--dead"]).unwrap();
    let (base, token) = (admin_url(&world), token(&world, "ci", "admin"));
    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let request = http.get(format!("{base}{path}")).bearer_auth(&token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json::<Value>().await.unwrap()
    };
    let document = get("/v1/openapi.json").await;
    let mut looked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(look) = operations.get("get") else {
            continue;
        };
        let id = if path.starts_with("/v1/events") {
            &ids[0]
        } else {
            "box0"
        };
        let answer = get(&path.replace("{id}", id)).await;
        let schema = &look["responses"]["200"]["content"]["application/json"]["schema"];
        let wrong = schema::problems(&document, schema, &answer);
        assert!(wrong.is_empty(), "{path}: {wrong:#?}\n{answer:#}");
        if path != "/v1/openapi.json" {
            let unnamed = schema::unnamed(&document, schema, &answer);
            assert!(unnamed.is_empty(), "{path}: {unnamed:#?}");
        }
        looked += 1;
    }
    assert!(looked >= 11, "{looked}");
    // And what was sent is what the same document says of the webhooks.
    for received in world.receiver.received() {
        let json = received.json();
        let kind = json["type"].as_str().unwrap_or_default();
        let body = &document["webhooks"][kind]["post"]["requestBody"];
        let schema = &body["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{kind}");
        let wrong = schema::problems(&document, schema, &json);
        assert!(wrong.is_empty(), "{wrong:#?}\n{json:#}");
    }
}

/// Orders over TCP, as a program gives them.
struct Program {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Program {
    fn of(world: &World) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: admin_url(world),
            token: token(world, "ci", "admin"),
        }
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json");
        let request = request.bearer_auth(&self.token).body(body.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn document(&self) -> Value {
        let request = self.http.get(format!("{}/v1/openapi.json", self.base));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        answer.json().await.unwrap()
    }
}

/// What is asked where something has to be said.
fn asked(path: &str, event: &str) -> String {
    match path {
        "/v1/mailboxes/{id}/reread" => "{\"uids\":\"1:*\",\"dry_run\":true}".to_owned(),
        "/v1/mailboxes/{id}/release" => "{\"release\":\"skip\"}".to_owned(),
        "/v1/events/replay" => format!("{{\"select\":\"event\",\"id\":\"{event}\"}}"),
        "/v1/events/discard" => {
            "{\"select\":\"dead\",\"endpoint\":\"tickets\",\"reason\":\"x\"}".to_owned()
        }
        "/v1/replays/{id}/cancel" => "{}".to_owned(),
        "/v1/tokens/create" => "{\"name\":\"other\",\"scope\":\"read\"}".to_owned(),
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_answered_as_the_document_says() {
    let world = over_tcp().await;
    let ids = dead_letters(&world, 2).await;
    let program = Program::of(&world);
    let document = program.document().await;
    let replay = asked("/v1/events/replay", &ids[0]);
    let (_, replayed) = program.post("/v1/events/replay", &replay).await;
    // What is paused is read no more: that comes last.
    let mut paths: Vec<_> = document["paths"].as_object().unwrap().iter().collect();
    paths.sort_by_key(|(path, _)| path.ends_with("/pause"));
    let mut orders = 0;
    for (path, operations) in paths {
        let Some(order) = operations.get("post") else {
            continue;
        };
        let id = match path.split('/').nth(2).unwrap_or_default() {
            "mailboxes" => "box0".to_owned(),
            "endpoints" => "tickets".to_owned(),
            "replays" => replayed["replay"].to_string(),
            "credentials" => "sandbox".to_owned(),
            _ => "other".to_owned(),
        };
        let body = asked(path, &ids[1]);
        let (status, answer) = program.post(&path.replace("{id}", &id), &body).await;
        // Nothing is held, and no such credential has tokens: refused, as the document says.
        let refused = ["/v1/mailboxes/{id}/release", "/v1/credentials/{id}/renew"];
        let is_refused = refused.contains(&path.as_str());
        assert!(status == 200 || is_refused, "{path}: {status} {answer:#}");
        let told = if status == 200 { "200" } else { "default" };
        let schema = &order["responses"][told]["content"]["application/json"]["schema"];
        let wrong = schema::problems(&document, schema, &answer);
        assert!(wrong.is_empty(), "{path}: {wrong:#?}\n{answer:#}");
        let unnamed = schema::unnamed(&document, schema, &answer);
        assert!(unnamed.is_empty(), "{path}: {unnamed:#?}");
        orders += 1;
    }
    assert!(orders >= 16, "{orders}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_refuses_a_request_it_is_told_alike() {
    let world = over_tcp().await;
    let program = Program::of(&world);
    let large = format!("{{\"why\":\"{}\"}}", "x".repeat(3 << 20));
    for (path, body, status) in [
        ("/v1/nothing", "", 404),
        ("/v1/status", "", 405),
        ("/v1/events/discard", "{\"select\":\"dead\"}", 400),
        ("/v1/events/replay", "{", 400),
        ("/v1/events/replay", large.as_str(), 413),
        ("/v1/replays/none/cancel", "{}", 400),
        ("/v1/endpoints/tickets/pause", "[", 400),
        ("/v1/endpoints/none/pause", "", 404),
    ] {
        let (is, answer) = program.post(path, body).await;
        assert_eq!(is, status, "{path}: {answer:#}");
        let told = answer["error"].as_str();
        assert!(
            told.is_some_and(|told| !told.is_empty()),
            "{path}: {answer:#}"
        );
    }
}
