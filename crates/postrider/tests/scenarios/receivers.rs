//! Receivers that others would write: from the documents alone, in Python and JavaScript, with the
//! Standard Webhooks libraries. They verify, deduplicate and rebuild a conversation.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::Value;
use time::OffsetDateTime;

use crate::world::{SECRET, Settings, World};

/// How many mails the conversation has.
const MAILS: u64 = 20;

pub(crate) struct Receiver {
    process: Child,
    pub(crate) port: u16,
}

impl Receiver {
    pub(crate) fn start(mut command: Command) -> Self {
        let program = format!("{command:?}");
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}; run scripts/install-test-tools.sh")
            });
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| {
            panic!("{program} did not start: {line:?}; run scripts/install-test-tools.sh")
        });
        Self { process, port }
    }

    pub(crate) async fn state(&self) -> Value {
        let url = format!("http://127.0.0.1:{}/threads", self.port);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

fn python() -> Command {
    let mut command = Command::new(root().join(".venv/bin/python"));
    command
        .arg(root().join("crates/postrider/tests/receivers/receiver.py"))
        .arg(SECRET);
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command
        .arg(root().join("crates/postrider/tests/receivers/receiver.mjs"))
        .arg(SECRET)
        .arg(root().join(".node/package.json"));
    command
}

fn id(number: u64) -> String {
    format!("talk-{number}@example.org")
}

/// Each mail answers one before it: the way through the tree goes into References.
fn parent(number: u64) -> Option<u64> {
    (number > 0).then_some(number / 2)
}

fn mail(number: u64) -> Vec<u8> {
    let mut ancestors = Vec::new();
    let mut at = number;
    while let Some(before) = parent(at) {
        ancestors.insert(0, format!("<{}>", id(before)));
        at = before;
    }
    let answers = match ancestors.last() {
        None => String::new(),
        Some(last) => format!(
            "In-Reply-To: {last}\r\nReferences: {}\r\n",
            ancestors.join("\r\n ")
        ),
    };
    format!(
        "From: Ann <ann@example.org>\r\nTo: Support <box0@example.org>\r\nSubject: Re: printer\r\n\
         Message-ID: <{}>\r\n{answers}Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nmail {number}\r\n",
        id(number)
    )
    .into_bytes()
}

async fn rebuilds_a_conversation(command: Command) {
    let receiver = Receiver::start(command);
    let mut world = World::new(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    world.environment.push((
        "POSTRIDER__ENDPOINTS__TICKETS__URL".to_owned(),
        format!("http://127.0.0.1:{}/hooks/mail", receiver.port),
    ));
    world.start();
    world.expect_watching(2).await;
    let mut numbers: Vec<u64> = (0..MAILS).collect();
    numbers.shuffle(&mut StdRng::seed_from_u64(5));
    for (turn, number) in numbers.into_iter().enumerate() {
        // The conversation goes through both mailboxes, and the daemon dies in its middle.
        let user = &world.users[turn % 2];
        let now = OffsetDateTime::now_utc();
        world
            .mailboxes
            .deliver(user, "INBOX", mail(number), now)
            .unwrap();
        world.deliver(turn % 2);
        if turn == 10 {
            world.kill();
            world.start();
        }
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let state = loop {
        let settled = world
            .ask(&["endpoints", "list"])
            .is_ok_and(|list| list["endpoints"][0]["pending"] == 0);
        // After that: what is settled has been told.
        let state = receiver.state().await;
        if state["events"] == 2 * MAILS && settled {
            break state;
        }
        assert!(Instant::now() < deadline, "{state:#}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(state["refused"], 0);
    assert!(state["repeats"].as_u64().unwrap() >= 5, "{state:#}");
    let expected: BTreeMap<String, Option<String>> = (0..MAILS)
        .map(|number| (id(number), parent(number).map(id)))
        .collect();
    let threads = state["threads"].as_object().unwrap();
    assert_eq!(
        serde_json::from_value::<BTreeMap<String, Option<String>>>(threads[&id(0)].clone())
            .unwrap(),
        expected
    );
    // The other mails are a thread each.
    assert_eq!(threads.len() as u64, 1 + MAILS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_python_rebuilds_a_conversation() {
    rebuilds_a_conversation(python()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_node_rebuilds_a_conversation() {
    rebuilds_a_conversation(node()).await;
}
