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

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_answered_as_the_document_says_and_every_refusal_alike() {
    let world = over_tcp().await;
    let ids = dead_letters(&world, 2).await;
    let (base, token) = (admin_url(&world), token(&world, "ci", "admin"));
    let http = reqwest::Client::new();
    let post = async |path: &str, body: &str| {
        let request = http.post(format!("{base}{path}")).bearer_auth(&token);
        let request = request.header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap_or_default())
    };
    let document: Value = {
        let request = http.get(format!("{base}/v1/openapi.json"));
        let answer = request.bearer_auth(&token).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let one = format!(
        "{{\"select\":\"event\",\"id\":\"{}\",\"dry_run\":true}}",
        ids[0]
    );
    let bodies = [
        (
            "/v1/mailboxes/{id}/reread",
            "{\"uids\":\"1:*\",\"dry_run\":true}",
        ),
        ("/v1/events/replay", one.as_str()),
        (
            "/v1/events/discard",
            "{\"select\":\"dead\",\"endpoint\":\"tickets\",\"reason\":\"x\",\"dry_run\":true}",
        ),
        (
            "/v1/tokens/create",
            "{\"name\":\"other\",\"scope\":\"read\"}",
        ),
        ("/v1/replays/{id}/cancel", "{}"),
        // Nothing is held: it is refused, and told so.
        ("/v1/mailboxes/{id}/release", "{\"release\":\"skip\"}"),
    ];
    let (status, replayed) = post("/v1/events/replay", &one.replace("true", "false")).await;
    assert_eq!(status, 200, "{replayed:#}");
    // What is paused is read no more: that comes last.
    let mut paths: Vec<_> = document["paths"].as_object().unwrap().iter().collect();
    paths.sort_by_key(|(path, _)| path.ends_with("/pause"));
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
        let body = bodies.iter().find(|(known, _)| known == path);
        let (status, answer) = post(
            &path.replace("{id}", &id),
            body.map_or("", |(_, body)| body),
        )
        .await;
        let responses = &order["responses"];
        let told = match status {
            200 => &responses["200"],
            _ => &responses["default"],
        };
        let refused = ["/v1/mailboxes/{id}/release", "/v1/credentials/{id}/renew"];
        assert!(
            status == 200 || refused.contains(&path.as_str()),
            "{path}: {status} {answer:#}"
        );
        let schema = &told["content"]["application/json"]["schema"];
        let wrong = schema::problems(&document, schema, &answer);
        assert!(wrong.is_empty(), "{path}: {wrong:#?}\n{answer:#}");
        let unnamed = schema::unnamed(&document, schema, &answer);
        assert!(unnamed.is_empty(), "{path}: {unnamed:#?}");
    }
    for (path, body, status) in [
        ("/v1/nothing", "", 404),
        ("/v1/status", "", 405),
        ("/v1/events/discard", "{\"select\":\"dead\"}", 400),
        ("/v1/events/replay", "{", 400),
        ("/v1/replays/none/cancel", "{}", 400),
        ("/v1/endpoints/tickets/pause", "[", 400),
        ("/v1/endpoints/none/pause", "", 404),
    ] {
        let (is, answer) = post(path, body).await;
        assert_eq!(is, status, "{path}: {answer:#}");
        assert!(
            answer["error"]
                .as_str()
                .is_some_and(|told| !told.is_empty()),
            "{path}: {answer:#}"
        );
    }
    let large = format!("{{\"why\":\"{}\"}}", "x".repeat(3 << 20));
    let (status, answer) = post("/v1/events/replay", &large).await;
    assert_eq!(status, 413);
    assert!(answer["error"].is_string());
}
