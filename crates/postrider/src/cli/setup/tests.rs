//! What `setup exchange` takes from the command line, and what from the configuration.

use std::{fs, path::PathBuf};

use clap::Parser;

use super::*;
use crate::{
    cli::args::{Cli, Command, Setup},
    config::Environment,
};

const HEAD: &str = r#"
instance = "prod"
[store]
url = "sqlite://./p.db"
[admin]
listen = "unix:./a.sock"
[endpoints.tickets]
url = "https://tickets.contoso.com/hook"
secret = { env = "TICKETS_WEBHOOK_SECRET" }
[credentials.contoso]
type = "microsoft"
tenant = "contoso.onmicrosoft.com"
client_id = "11111111-2222-3333-4444-555555555555"
client_secret = { env = "CONTOSO_SECRET" }
[groups.helpdesk]
server = "exchange-online"
credential = "contoso"
folders = ["INBOX"]
endpoints = ["tickets"]
[groups.helpdesk.mailboxes]
support = "support@contoso.com"
again = { address = "Support@contoso.com", folders = ["Archive"] }
shared = { address = "alias@contoso.com", username = "shared@contoso.com" }
"#;

const SECOND: &str = r#"
[credentials.fabrikam]
type = "microsoft"
tenant = "fabrikam.onmicrosoft.com"
client_id = "99999999-2222-3333-4444-555555555555"
client_secret = { env = "FABRIKAM_SECRET" }
[mailboxes.orders]
address = "orders@fabrikam.com"
server = "exchange-online"
credential = "fabrikam"
folders = ["INBOX"]
endpoints = ["tickets"]
"#;

const UNUSED: &str = r#"
[credentials.spare]
type = "microsoft"
tenant = "contoso.onmicrosoft.com"
client_id = "88888888-2222-3333-4444-555555555555"
client_secret = { env = "SPARE_SECRET" }
"#;

fn loaded(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postrider.toml");
    fs::write(&file, text).unwrap();
    match Config::load(&file, &Environment::of_process()) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn args(words: &[&str]) -> Box<SetupExchange> {
    let words = ["postrider", "setup", "exchange"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Setup {
            what: Setup::Exchange(args),
        } => args,
        other => panic!("{other:?}"),
    }
}

fn texts(setup: &Exchange) -> Vec<&str> {
    setup.mailboxes.iter().map(Address::as_str).collect()
}

#[test]
fn a_configuration_with_one_application_says_it_all() {
    let config = loaded(HEAD);
    let setup = gather(&args(&[]), Some(&config)).unwrap();
    assert_eq!(setup.tenant.as_str(), "contoso.onmicrosoft.com");
    assert_eq!(setup.identity, Identity::Secret);
    // The mailbox that is opened is the one of the login's name, each once.
    assert_eq!(texts(&setup), ["Support@contoso.com", "shared@contoso.com"]);
    assert_eq!(setup.read_receipts, ReadReceipts::Suppress);
}

#[test]
fn with_several_applications_one_has_to_be_named() {
    let config = loaded(&format!("{HEAD}{SECOND}"));
    let failure = gather(&args(&[]), Some(&config)).unwrap_err();
    assert_eq!(
        failure.hint.as_deref(),
        Some("--credential contoso | fabrikam")
    );
    let setup = gather(&args(&["--credential", "fabrikam"]), Some(&config)).unwrap();
    assert_eq!(texts(&setup), ["orders@fabrikam.com"]);
    let failure = gather(&args(&["--credential", "fabricam"]), Some(&config)).unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("did you mean `fabrikam`?"));
    // One that no mailbox uses is not meant.
    let config = loaded(&format!("{HEAD}{UNUSED}"));
    let setup = gather(&args(&[]), Some(&config)).unwrap();
    assert_eq!(texts(&setup), ["Support@contoso.com", "shared@contoso.com"]);
}

#[test]
fn the_command_line_wins_and_needs_no_configuration() {
    let words = [
        "--tenant",
        "fabrikam.onmicrosoft.com",
        "--mailboxes",
        "a@fabrikam.com,b@fabrikam.com,A@fabrikam.com",
        "--cloud",
        "gcc-high",
        "--pop",
        "--only-missing",
        "--for-removed",
        "--read-receipts",
        "keep",
    ];
    let setup = gather(&args(&words), None).unwrap();
    assert_eq!(texts(&setup), ["a@fabrikam.com", "b@fabrikam.com"]);
    assert_eq!(setup.cloud, Cloud::GccHigh);
    assert_eq!(setup.protocols, Protocols::ImapAndPop);
    assert_eq!(
        (setup.reach, setup.removed, setup.read_receipts),
        (Reach::OnlyMissing, Removed::Revoke, ReadReceipts::Keep)
    );
    assert_eq!(setup.client_id, None, "the script says where to fill it in");
}

#[test]
fn odd_values_are_refused_with_their_reason() {
    let base = ["--tenant", "contoso.com", "--mailboxes"];
    let failure = |words: &[&str]| {
        let words: Vec<&str> = base.iter().chain(words).copied().collect();
        gather(&args(&words), None).unwrap_err().to_string()
    };
    let text = failure(&["a@contoso.com,b;c@contoso.com,d"]);
    assert!(
        text.contains("`b;c@contoso.com` is no mailbox address"),
        "{text}"
    );
    assert!(
        text.contains("`d` is no mailbox address: it has no @"),
        "{text}"
    );
    let text = failure(&["a@contoso.com", "--client-id", "my-app"]);
    assert!(text.contains("`my-app` is no client id"), "{text}");
}

#[test]
fn no_mailbox_and_no_configuration_are_told_with_what_to_say() {
    let failure = exchange(&PathBuf::from("/nonexistent.toml"), &args(&[]), false).unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
    assert!(failure.hint.unwrap().contains("--mailboxes"));
    let config = loaded(&format!("{HEAD}{UNUSED}"));
    let failure = gather(&args(&["--credential", "spare"]), Some(&config)).unwrap_err();
    assert_eq!(failure.error, "no mailbox uses this credential");
}
