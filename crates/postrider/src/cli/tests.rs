//! The client against a small server on a unix socket, and what people see.

mod pages;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::IntoResponse,
};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::{
    args::{Cli, Command},
    client::Client,
    failure::{Exit, Failure},
};

type Seen = Arc<Mutex<Vec<String>>>;

/// Answers every request with one status and body, and keeps what was asked.
struct Daemon {
    folder: tempfile::TempDir,
    seen: Seen,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    body: Value,
    seen: Seen,
}

async fn answer(
    State(answer): State<Answer>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> impl IntoResponse {
    let body = String::from_utf8(body.to_vec()).unwrap();
    answer
        .seen
        .lock()
        .unwrap()
        .push(format!("{method} {uri} {body}").trim_end().to_owned());
    (answer.status, Json(answer.body))
}

impl Daemon {
    fn answering(status: u16, body: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::default();
        let listener = UnixListener::bind(folder.path().join("admin.sock")).unwrap();
        let state = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body,
            seen: seen.clone(),
        };
        let router = Router::new().fallback(answer).with_state(state);
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { folder, seen }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    async fn run(&self, words: &[&str]) -> Result<(), Failure> {
        let cli = Cli::try_parse_from(["postrider", "--json"].iter().chain(words)).unwrap();
        command(&cli, &Client::new(self.socket())).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn command(cli: &Cli, client: &Client) -> Result<(), Failure> {
    match &cli.command {
        Command::Status => super::mailboxes::status(client, cli.json).await,
        Command::Mailboxes { command } => {
            super::mailboxes::run(client, command.as_ref(), cli.json).await
        }
        Command::Events { command } => super::events::run(client, command.as_ref(), cli.json).await,
        Command::Endpoints { command } => {
            super::endpoints::run(client, command.as_ref(), cli.json).await
        }
        Command::Admin { command } => super::admin::run(client, command, cli.json).await,
        Command::Explain(args) => super::explain::run(client, args, cli.json).await,
        Command::Reload { dry_run } => super::reload::run(client, *dry_run, cli.json).await,
        Command::Credentials { command } => {
            super::credentials::run(client, command.as_ref(), cli.json).await
        }
        Command::Run
        | Command::Login(_)
        | Command::Token(_)
        | Command::Rekey { .. }
        | Command::CheckConfig(_)
        | Command::Demo(_)
        | Command::Setup { .. }
        | Command::Doctor(_)
        | Command::Schema { .. }
        | Command::Completions { .. }
        | Command::TestRoute(_)
        | Command::SendTest(_)
        | Command::Listen(_) => panic!("needs no daemon"),
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of commands")]
async fn every_command_asks_what_the_daemon_understands() {
    let daemon = Daemon::answering(200, json!({"id": "support", "done": "done"}));
    for words in [
        &["mailboxes"][..],
        &["mailboxes", "list", "--problems"],
        &["mailboxes", "show", "support"],
        &["mailboxes", "pause", "../endpoints"],
        &["mailboxes", "release", "support", "--send"],
        &[
            "mailboxes",
            "release",
            "support",
            "--since",
            "2026-05-01",
            "--folder",
            "INBOX",
        ],
        &[
            "events",
            "list",
            "--state",
            "dead",
            "--message-id",
            "<a+b@c>",
            "--limit",
            "5",
        ],
        &[
            "events",
            "replay",
            "--dead",
            "--endpoint",
            "tickets",
            "--dry-run",
        ],
        &["events", "replay", "5b6f"],
        &["events", "replay", "--cancel", "17"],
        &[
            "events",
            "replay",
            "--from-mailbox",
            "support",
            "--uids",
            "1:9",
            "--dry-run",
        ],
        &["events", "discard", "5b6f", "5b70", "--reason", "spam"],
        &["admin", "audit", "--since", "2026-05-01"],
        &["admin", "token", "revoke", "ci"],
        &[
            "endpoints",
            "resume",
            "tickets",
            "--reason",
            "the desk is up",
        ],
        &["reload", "--dry-run"],
        &["explain", "support", "--message-id", "<a+b@c>", "--offline"],
        &["status"],
    ] {
        daemon.run(words).await.unwrap();
    }
    assert_eq!(
        daemon.seen(),
        [
            "GET /v1/mailboxes",
            "GET /v1/mailboxes?problems=true",
            "GET /v1/mailboxes/support",
            r#"POST /v1/mailboxes/..%2Fendpoints/pause {"why":null}"#,
            r#"POST /v1/mailboxes/support/release {"release":"send","folder":null,"why":null}"#,
            r#"POST /v1/mailboxes/support/release {"release":"since","at":"2026-05-01T00:00:00.000Z","folder":"INBOX","why":null}"#,
            "GET /v1/events?state=dead&message_id=a%2Bb%40c&limit=5",
            r#"POST /v1/events/replay {"select":"dead","endpoint":"tickets","mailbox":null,"since":null,"until":null,"as_new":false,"rate":null,"why":null,"dry_run":true}"#,
            r#"POST /v1/events/replay {"select":"event","id":"5b6f","endpoint":null,"as_new":false,"rate":null,"why":null,"dry_run":false}"#,
            r#"POST /v1/replays/17/cancel {"why":null,"dry_run":false}"#,
            r#"POST /v1/mailboxes/support/reread {"folder":null,"uids":"1:9","since":null,"until":null,"why":null,"dry_run":true}"#,
            r#"POST /v1/events/discard {"select":"events","ids":["5b6f","5b70"],"endpoint":null,"reason":"spam","dry_run":false}"#,
            "GET /v1/audit?since=2026-05-01T00%3A00%3A00.000Z&limit=50",
            "POST /v1/tokens/ci/revoke",
            r#"POST /v1/endpoints/tickets/resume {"why":"the desk is up"}"#,
            "POST /v1/reload?dry_run=true",
            "GET /v1/mailboxes/support/explain?message_id=a%2Bb%40c&offline=true",
            "GET /v1/status",
        ]
    );
}

#[tokio::test]
async fn a_new_token_is_ordered_by_the_credentials_name() {
    let daemon = Daemon::answering(200, json!({"id": "contoso", "done": "renewed"}));
    let words = ["credentials", "renew", "contoso"];
    daemon.run(&words).await.unwrap();
    assert_eq!(daemon.seen(), ["POST /v1/credentials/contoso/renew"]);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_hint_and_a_refused_configuration_is_78() {
    let daemon = Daemon::answering(
        404,
        json!({"error": "there is no mailbox `x`", "hint": "did you mean `y`?"}),
    );
    let failure = daemon.run(&["mailboxes", "show", "x"]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert_eq!(
        failure.to_string(),
        "error: there is no mailbox `x`\n\nhint: did you mean `y`?\n"
    );
    let daemon = Daemon::answering(
        422,
        json!({"error": "refused", "details": ["c.toml:1: wrong"]}),
    );
    let failure = daemon.run(&["reload"]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
    assert_eq!(failure.to_string(), "c.toml:1: wrong\n\nerror: refused\n");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_69_and_says_where_it_was_looked_for() {
    let client = Client::new(PathBuf::from("/nonexistent/admin.sock"));
    let cli = Cli::try_parse_from(["postrider", "status"]).unwrap();
    let failure = command(&cli, &client).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(
        failure
            .to_string()
            .starts_with("error: no postrider answers at /nonexistent/admin.sock\n\nhint: ")
    );
}

#[tokio::test]
async fn a_daemon_that_hangs_up_is_69() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { drop(listener.accept().await) });
    let cli = Cli::try_parse_from(["postrider", "status"]).unwrap();
    let failure = command(&cli, &Client::new(socket)).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
}

#[tokio::test]
async fn a_ping_that_fails_fails() {
    let pinged =
        json!({"event": "5b6f", "outcome": "failed", "status": 401, "took_ms": 12, "detail": "no"});
    let daemon = Daemon::answering(200, pinged);
    let failure = daemon
        .run(&["endpoints", "ping", "tickets"])
        .await
        .unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
}
