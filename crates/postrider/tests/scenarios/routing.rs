//! Who gets what: conditions, messages that lie in several mailboxes, templates; and the commands for
//! trying them out.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    recipes::{
        desk::{Desk, RIGHT},
        products,
    },
    world::{SECRET, Settings, World},
};

/// A world in which `[endpoints.tickets]` has these lines too.
async fn routed(mailboxes: usize, lines: &str) -> World {
    World::watching(Settings {
        mailboxes,
        endpoint: lines.to_owned(),
        ..Settings::default()
    })
    .await
}

fn mail(id: &str, subject: &str) -> Vec<u8> {
    format!("Message-ID: <{id}>\r\nFrom: kim@example.org\r\nSubject: {subject}\r\n\r\nHello\r\n")
        .into_bytes()
}

fn deliver(world: &World, mailbox: usize, raw: &[u8]) {
    world.deliver_raw(mailbox, world.next_number(), raw.to_vec());
}

fn received(world: &World) -> Vec<Value> {
    world
        .receiver
        .received()
        .iter()
        .map(|one| one.json())
        .collect()
}

/// So many messages became events in this mailbox.
async fn expect_events(world: &World, mailbox: &str, events: u64) {
    world
        .expect("events stored", |world| {
            world.mailbox(mailbox)["sums"]["event"] == events
        })
        .await;
}

async fn expect_settled(world: &World) {
    world
        .expect("all deliveries settled", |world| {
            world.ask(&["endpoints", "list"]).is_ok_and(|json| {
                let all = json["endpoints"].as_array();
                all.is_some_and(|all| all.iter().all(|one| one["pending"] == 0))
            })
        })
        .await;
    assert_eq!(world.metric("postrider_unaccounted_messages").await, 0.0);
    assert_eq!(world.metric("postrider_unaccounted_deliveries").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_what_its_condition_lets_through() {
    let when =
        "when = '\"urgent\" in (data.message.subject or \"\")|lower and not data.auto.is_bounce'\n";
    let world = routed(1, when).await;
    deliver(&world, 0, &mail("a@x", "Urgent: paper jam"));
    deliver(&world, 0, &mail("b@x", "Newsletter"));
    deliver(&world, 0, &mail("c@x", "URGENT again"));
    expect_events(&world, "box0", 3).await;
    expect_settled(&world).await;
    let mut subjects: Vec<_> = received(&world)
        .iter()
        .map(|one| {
            one["data"]["message"]["subject"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    subjects.sort();
    assert_eq!(subjects, ["URGENT again", "Urgent: paper jam"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_cannot_be_evaluated_counts_as_true_and_says_so() {
    let world = routed(1, "when = 'data.message.in_reply_to + 1 > 0'\n").await;
    deliver(&world, 0, &mail("a@x", "a"));
    expect_events(&world, "box0", 1).await;
    expect_settled(&world).await;
    let events = received(&world);
    assert_eq!(events[0]["data"]["delivery"]["when_failed"], true);
    let failures = "postrider_endpoint_when_failures_total{endpoint=\"tickets\"}";
    world.expect_metric(failures, 1.0).await;
    assert!(world.log().contains("cannot be evaluated for an event"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_several_mailboxes_goes_once_where_that_is_asked_for() {
    let world = routed(3, "suppress_duplicates = { window = \"1h\" }\n").await;
    let raw = mail("everybody@x", "To all of you");
    for mailbox in 0..3 {
        deliver(&world, mailbox, &raw);
    }
    deliver(&world, 1, &mail("other@x", "Another"));
    for (mailbox, events) in [("box0", 1), ("box1", 2), ("box2", 1)] {
        expect_events(&world, mailbox, events).await;
    }
    expect_settled(&world).await;
    let events = received(&world);
    let same = |one: &&Value| one["data"]["message"]["message_id"] == "everybody@x";
    assert_eq!(events.iter().filter(same).count(), 1);
    assert_eq!(events.len(), 2);
    let suppressed = "postrider_deliveries_suppressed_total{endpoint=\"tickets\"}";
    world.expect_metric(suppressed, 2.0).await;
    let list = world
        .ask(&["events", "list", "--state", "discarded"])
        .unwrap();
    let discarded = list["events"].as_array().unwrap();
    assert_eq!(discarded.len(), 2, "{list:#}");
    let id = discarded[0]["id"].as_str().unwrap();
    let shown = world.ask(&["events", "show", id]).unwrap().to_string();
    assert!(
        shown.contains("the same Message-ID was sent as event"),
        "{shown}"
    );
}

fn recipe(name: &str, url: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/recipes");
    let text = fs::read_to_string(root.join(name)).unwrap();
    let lines = text
        .lines()
        .map(|line| match line.starts_with("url = \"https://") {
            true => format!("url = \"{url}\"\n"),
            false => format!("{line}\n"),
        });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipe_makes_tickets_of_mail_with_what_is_attached() {
    let desk = Desk::start(products::zammad).await;
    let mut world = World::new(Settings {
        endpoints: "\"tickets\", \"zammad\"",
        more: recipe("zammad.toml", &format!("http://{}", desk.at)),
        ..Settings::default()
    })
    .await;
    let authorization = ("ZAMMAD_AUTHORIZATION".to_owned(), RIGHT.to_owned());
    world.environment.push(authorization);
    world.start();
    world.expect_watching(1).await;
    // Larger than what is kept in the database, so it is streamed from the spool.
    let raw = crate::recipes::mail_with(300_000, "first@example.org", "", "Printer");
    deliver(&world, 0, &raw);
    let reply = crate::recipes::mail_with(
        10,
        "second@example.org",
        "References: <first@example.org>\r\n",
        "Re: Printer",
    );
    deliver(&world, 0, &reply);
    expect_events(&world, "box0", 2).await;
    expect_settled(&world).await;
    let tickets = desk.tickets();
    assert_eq!(tickets.len(), 1, "{}", desk.log());
    assert_eq!(tickets[0].notes.len(), 1);
    assert_eq!(tickets[0].files[0].1, crate::recipes::file_bytes(300_000));
}

fn eml(world: &World) -> PathBuf {
    let file = world.dir.path().join("one.eml");
    fs::write(&file, mail("one@x", "A \"test\"")).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn test_route_shows_who_gets_a_message_and_the_signed_request_without_sending_it() {
    let world = World::new(Settings {
        endpoints: "\"tickets\", \"bounces\"",
        more: "[endpoints.bounces]\nurl = \"https://bounces.example.org/\"\nsecret = { env = \"HOOK_SECRET\" }\n\
               headers = { \"X-Api-Key\" = { env = \"LAB_PASSWORD\" } }\nwhen = \"data.auto.is_bounce\"\n"
            .to_owned(),
        ..Settings::default()
    })
    .await;
    world.write_config();
    let file = eml(&world);
    let told = world.ask(&["test-route", file.to_str().unwrap()]).unwrap();
    let (tickets, bounces) = (&told[0], &told[1]);
    assert_eq!(
        (&tickets["goes"], &bounces["goes"]),
        (&Value::from(true), &Value::from(false))
    );
    assert_eq!(bounces["why"], "its `when` is not true");
    let request = &tickets["requests"][0];
    assert_eq!(bounces["requests"].as_array().map(Vec::len), Some(0));
    assert_eq!(
        (&request["method"], &request["url"]),
        (&Value::from("POST"), &Value::from(world.receiver.url()))
    );
    let header = |name: &str| {
        let all = request["headers"].as_array().unwrap();
        let found = all.iter().find(|pair| pair[0] == name);
        found
            .map(|pair| pair[1].as_str().unwrap().to_owned())
            .unwrap()
    };
    let body = request["body"].as_str().unwrap();
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
    let signed = webhook
        .sign(&header("webhook-id"), timestamp, body.as_bytes())
        .unwrap();
    assert_eq!(header("webhook-signature"), signed, "signed as it is shown");
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["data"]["message"]["subject"], "A \"test\"");
    assert_eq!(received(&world).len(), 0, "nothing is sent");
    let wrong = world.ask(&["test-route", file.to_str().unwrap(), "--endpoint", "ticket"]);
    assert!(wrong.unwrap_err().contains("did you mean `tickets`?"));
    let text = world
        .command()
        .args(["test-route", file.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("bounces: does not get it: its `when` is not true"),
        "{text}"
    );
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn test_route_shows_the_request_where_the_secrets_are_not_at_hand() {
    let world = World::new(Settings::default()).await;
    world.write_config();
    let message = std::fs::File::open(eml(&world)).unwrap();
    let output = world
        .command()
        .env_remove("HOOK_SECRET")
        .args(["test-route", "-"])
        .stdin(message)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "a stand-in is used here: secret variable HOOK_SECRET is not set",
        &format!("POST {}", world.receiver.url()),
        "\"subject\":\"A \\\"test\\\"\"",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn test_route_shows_every_request_of_a_template_and_fails_where_one_cannot_be_made() {
    let mut world = World::new(Settings {
        endpoints: "\"tickets\", \"zammad\"",
        more: recipe("zammad.toml", "https://desk.example.org"),
        ..Settings::default()
    })
    .await;
    let authorization = ("ZAMMAD_AUTHORIZATION".to_owned(), RIGHT.to_owned());
    world.environment.push(authorization);
    world.write_config();
    let file = eml(&world);
    let told = world.ask(&["test-route", file.to_str().unwrap()]).unwrap();
    let requests = told[1]["requests"].as_array().unwrap();
    let step = |name: &str| {
        let found = requests.iter().find(|one| one["step"] == name);
        found.unwrap_or_else(|| panic!("{name}: {told:#}"))
    };
    assert_eq!(requests[0]["step"], "seen");
    assert_eq!(step("seen")["only_if"], Value::Null);
    let create = step("create");
    assert!(
        create["only_if"].as_str().unwrap().contains("answers.seen")
            || create["only_if"]
                .as_str()
                .unwrap()
                .contains("answers.articles")
    );
    assert_eq!(create["url"], "https://desk.example.org/api/v1/tickets");
    assert!(
        create["body"].as_str().unwrap().contains("A \\\"test\\\""),
        "{create:#}"
    );
    assert!(!told.to_string().contains(RIGHT), "no secret is shown");
    let text = world
        .command()
        .args(["test-route", file.to_str().unwrap(), "--endpoint", "zammad"])
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("[step create]\n[only if: "), "{text}");
    // A mail of which a step cannot be made.
    let broken = recipe("zammad.toml", "https://desk.example.org").replace(
        "when = \"answers.seen.json\"",
        "when = \"data.message.subject + 1\"",
    );
    let config = fs::read_to_string(world.config_path()).unwrap();
    let good = recipe("zammad.toml", "https://desk.example.org");
    assert!(config.contains(&good));
    fs::write(world.config_path(), config.replace(&good, &broken)).unwrap();
    let output = world
        .command()
        .args(["test-route", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("it cannot be sent to zammad"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_test_tells_whether_a_receiver_refuses_what_it_has_to() {
    let world = World::new(Settings::default()).await;
    let file = eml(&world);
    let send = |secret: &str, more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args([
                "send-test",
                file.to_str().unwrap(),
                "--url",
                &world.receiver.url(),
            ])
            .args(["--secret", secret])
            .args(more)
            .output()
            .unwrap()
    };
    for more in [
        &[][..],
        &["--replay"],
        &["--bad-signature"],
        &["--old-timestamp"],
    ] {
        let output = send(SECRET, more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{more:?}: {told}");
    }
    let events = received(&world);
    assert_eq!(events.len(), 3, "one alone, and one twice");
    assert!(events.iter().all(|one| one["data"]["test"] == true));
    assert_eq!(events[1]["id"], events[2]["id"]);
    let output = send("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not accept the event"));
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_verifies_what_arrives_and_shows_it() {
    let world = World::new(Settings::default()).await;
    let file = eml(&world);
    let mut listener = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(["listen", "--json", "--count", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    let (url, secret) = (
        first["url"].as_str().unwrap(),
        first["secret"].as_str().unwrap(),
    );
    let send = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args([
                "send-test",
                file.to_str().unwrap(),
                "--url",
                url,
                "--secret",
                secret,
            ])
            .args(more)
            .status()
            .unwrap()
            .success()
    };
    assert!(send(&["--bad-signature"]) && send(&["--old-timestamp"]) && send(&["--replay"]));
    let told: Vec<Value> = (0..4).map(|_| next()).collect();
    let verified: Vec<_> = told
        .iter()
        .map(|one| one["verified"].as_bool().unwrap())
        .collect();
    assert_eq!(verified, [false, false, true, true], "{told:#?}");
    assert!(told[1]["problem"].as_str().unwrap().contains("s off"));
    assert_eq!(
        (&told[2]["repeat"], &told[3]["repeat"]),
        (&Value::from(false), &Value::from(true))
    );
    assert_eq!(told[3]["event"]["data"]["message"]["subject"], "A \"test\"");
    assert!(listener.wait().unwrap().success());
}
