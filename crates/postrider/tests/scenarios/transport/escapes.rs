//! What a mail says stays in its place: no log line, metric, command or stored answer holds it
//! unescaped, and none of them holds a secret.

use std::{fs, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use time::OffsetDateTime;

use super::QUICK;
use crate::{
    endpoint_faults::desk::{Desk, Fault},
    world::{PASSWORD, SECRET, Settings, World},
};

/// Ends lines, drives terminals (seven and eight bits), turns text around, and is found again.
const HOSTILE: &str = "of-a-mail\r\n\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\0\u{7f}\u{8}\u{85}\u{2028}\u{202e}live\u{2066}\u{200f}\u{feff}\n{\"level\":\"ERROR\"}\"'<b>&%0d%0a";

const HEADER_KEY: &str = "key-of-a-header-4711";
const PATH_KEY: &str = "path-that-is-a-secret";
const QUERY_KEY: &str = "query-that-is-a-secret";

fn word() -> String {
    format!("=?utf-8?B?{}?=", STANDARD.encode(HOSTILE))
}

fn mail(number: usize, subject: &str) -> Vec<u8> {
    let encoded: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let word = word();
    let raw = "\u{1b}[2J\u{202e}\u{9b}\u{7f}\u{8}";
    format!(
        "From: {word} <evil{raw}@example.org>\r\nTo: \"{raw}\" <box0@example.org>\r\nSubject: {subject}\r\n\
         Message-ID: <{number}-{raw}-of-a-mail@example.org>\r\nIn-Reply-To: <{raw}@example.org>\r\n\
         List-Id: {word} <{raw}.example.org>\r\nX-{number}: {raw}\r\nAuto-Submitted: auto-{raw}\r\n\
         Date: {raw}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=\"{raw}\"\r\n\r\n{HOSTILE}\r\n\
         --b\r\nContent-Type: application/{raw}; name=\"{word}\"\r\nContent-ID: <{raw}>\r\n\
         Content-Disposition: attachment; filename*=utf-8''..%2f{encoded}\r\n\r\nx\r\n--b--\r\n"
    )
    .into_bytes()
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn check(what: &str, text: &str) {
    let harm = text
        .chars()
        .position(|c| is_hidden(c) && !"\n\t".contains(c));
    if let Some(at) = harm {
        let around: String = text.chars().skip(at.saturating_sub(60)).take(120).collect();
        panic!("{what} holds {around:?}");
    }
    for secret in [
        SECRET,
        &SECRET[6..],
        PASSWORD,
        HEADER_KEY,
        PATH_KEY,
        QUERY_KEY,
    ] {
        assert!(!text.contains(secret), "{what} holds the secret {secret}");
    }
}

fn text(output: Output) -> String {
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8(both).unwrap()
}

async fn scene(format: &str, level: &str) -> (World, Desk) {
    let desk = Desk::default();
    let path = format!("/hooks/{PATH_KEY}?token={QUERY_KEY}");
    desk.set(&path, Fault::Echo);
    let port = desk.listen(0, None).await;
    let mut world = World::new(Settings::default()).await;
    world
        .environment
        .push(("HEADER_KEY".to_owned(), HEADER_KEY.to_owned()));
    world.settings.more = format!(
        "[endpoints.echo]\nurl = \"http://127.0.0.1:{port}{path}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n\
         headers = {{ \"X-Api-Key\" = {{ env = \"HEADER_KEY\" }} }}\n{QUICK}\
         when = \"(data.message.subject or '') | int == 7\"\n\
         [endpoints.late]\nurl = \"http://127.0.0.1:{port}/late\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n\
         [log]\nformat = \"{format}\"\nlevel = \"{level}\"\n"
    );
    world.settings.endpoints = "\"tickets\", \"echo\"";
    world.start();
    world.expect_watching(1).await;
    let long = "=?utf-8?Q?=1B[2J=E2=80=AE?= ".repeat(40_000);
    for (number, subject) in [word(), long].iter().enumerate() {
        let now = OffsetDateTime::now_utc();
        let user = &world.users[0];
        let raw = mail(number, subject);
        world.mailboxes.deliver(user, "INBOX", raw, now).unwrap();
    }
    world
        .expect("both mails arrived, and were echoed", |world| {
            world.receiver.received().len() == 2 && desk.seen(&path).len() >= 2
        })
        .await;
    super::expect_trouble(&world, "echo", "answered 500").await;
    (world, desk)
}

/// Commands that show what came from outside.
fn commands(world: &World) -> Vec<Vec<String>> {
    let listed = world.ask(&["events", "list"]).unwrap();
    let events = listed["events"].as_array().unwrap();
    let mut commands: Vec<Vec<String>> = [
        &["events", "list"][..],
        &["events", "list", "--state", "pending"],
        &["events", "export"],
        &["endpoints", "list"],
        &["endpoints", "ping", "late"],
        &["mailboxes", "list"],
        &["mailboxes", "show", "box0"],
        &["explain", "box0"],
        &["credentials"],
        &["admin", "audit"],
        &["check-config"],
        &["check-config", "--effective", "box0"],
        &["reload", "--dry-run"],
        &["test-route", "mail.eml"],
        &["doctor", "box0"],
    ]
    .iter()
    .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
    .collect();
    for event in events.iter().filter(|one| one["message_id"].is_string()) {
        let id = event["id"].as_str().unwrap();
        let message = event["message_id"].as_str().unwrap();
        commands.push(["events", "show", id].map(str::to_owned).to_vec());
        commands.push(
            ["explain", "box0", "--message-id", message]
                .map(str::to_owned)
                .to_vec(),
        );
        let replay = ["events", "replay", id, "--dry-run"];
        commands.push(replay.map(str::to_owned).to_vec());
    }
    assert!(commands.len() > 18, "the events are listed: {listed:#}");
    commands
}

async fn nothing_leaves_its_place(format: &str, level: &str) {
    let (world, _desk) = scene(format, level).await;
    fs::write(world.dir.path().join("mail.eml"), mail(9, &word())).unwrap();
    for words in commands(&world) {
        for more in [&[][..], &["--json"]] {
            let mut command = world.command();
            command
                .current_dir(world.dir.path())
                .args(&words)
                .args(more);
            let told = text(command.output().unwrap());
            let told = match words[0].as_str() {
                // It shows the request to whoever wrote its URL.
                "test-route" => told.replace(PATH_KEY, "").replace(QUERY_KEY, ""),
                _ => told,
            };
            check(&format!("{words:?} {more:?}"), &told);
            assert!(!told.is_empty(), "{words:?} says something");
        }
    }
    let event = world.ask(&["events", "list"]).unwrap()["events"][0]["id"].clone();
    let shown = world
        .ask(&["events", "show", event.as_str().unwrap()])
        .unwrap();
    let note = shown["attempts"].to_string();
    assert!(note.contains("[redacted]"), "{shown:#}");
    if format == "json" {
        // A line for people does not name the port in a way that is found.
        let metrics = world.metrics().await;
        check("/metrics", &metrics);
        assert!(!metrics.contains("of-a-mail"), "{metrics}");
    }
    let log = world.log();
    check("the log", &log);
    // What is wrong with a configuration is told before there is a log.
    let lines = log.lines().skip_while(|line| !line.starts_with('{'));
    for line in lines.filter(|_| format == "json") {
        let line: Result<Value, _> = serde_json::from_str(line);
        assert!(line.is_ok(), "one line, one happening: {line:?}");
    }
    if level == "info" {
        assert!(!log.contains("of-a-mail"), "{log}");
        assert!(!log.contains("example.org"), "{log}");
    }
    // What is stored of answers is what is shown of them.
    for file in ["postrider.db", "postrider.db-wal"] {
        let bytes = fs::read(world.dir.path().join(file)).unwrap_or_default();
        for secret in [SECRET, PASSWORD, HEADER_KEY, PATH_KEY, QUERY_KEY] {
            let found = bytes
                .windows(secret.len())
                .any(|at| at == secret.as_bytes());
            assert!(!found, "{file} holds the secret {secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_mail_or_a_secret_leaves_its_place_in_logs_for_people() {
    nothing_leaves_its_place("human", "info").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_mail_or_a_secret_leaves_its_place_in_logs_of_every_step() {
    nothing_leaves_its_place("json", "trace").await;
}
