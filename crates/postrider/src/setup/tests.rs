//! The printed set-up: one sample of everything is kept in docs/samples, and whatever is asked for,
//! an independent parser takes the script, and nothing but quotes holds what somebody chose.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use super::*;
use crate::config::{Config, Environment, Links};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

fn addresses(all: &[&str]) -> Vec<Address> {
    all.iter()
        .map(|address| Address::parse(address).unwrap())
        .collect()
}

fn contoso() -> Exchange {
    Exchange {
        credential: Some("contoso".to_owned()),
        cloud: Cloud::Global,
        tenant: Tenant::parse("contoso.onmicrosoft.com").unwrap(),
        client_id: ClientId::parse("11111111-2222-3333-4444-555555555555").ok(),
        object_id: ObjectId::parse("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee").ok(),
        mailboxes: addresses(&[
            "support@contoso.com",
            "invoices@contoso.com",
            "o'brien@contoso.com",
        ]),
        identity: Identity::Certificate,
        protocols: Protocols::Imap,
        read_receipts: ReadReceipts::Suppress,
        reach: Reach::All,
        removed: Removed::Leave,
    }
}

/// Compares with the sample in the repository, or with `UPDATE=1` writes it.
fn is_current(path: &str, wanted: &str) {
    let path = repository(path);
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; write it anew with: UPDATE=1 cargo nextest run -p postrider setup",
        path.display()
    );
}

/// The commands that a script calls, once each; fails where the parser finds an error.
fn parsed(script: &str) -> Vec<String> {
    let python = repository(".venv/bin/python");
    assert!(python.exists(), "run scripts/install-test-tools.sh first");
    let mut child = Command::new(python)
        .arg(repository("scripts/check_powershell.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{wrong}\n{script}");
    let commands = String::from_utf8(output.stdout).unwrap();
    commands.lines().map(str::to_owned).collect()
}

#[test]
fn the_sample_of_a_set_up_is_current() {
    is_current(
        "docs/samples/setup-exchange.ps1",
        &script::script(&contoso()),
    );
}

#[test]
fn whatever_is_asked_for_the_script_parses_and_is_ascii() {
    let mut setups = vec![contoso()];
    for cloud in [Cloud::Global, Cloud::GccHigh, Cloud::Dod, Cloud::China] {
        setups.push(Exchange {
            cloud,
            client_id: None,
            object_id: None,
            identity: Identity::Open,
            protocols: Protocols::ImapAndPop,
            read_receipts: ReadReceipts::Keep,
            ..contoso()
        });
    }
    for identity in [Identity::Secret, Identity::Federation, Identity::Managed] {
        setups.push(Exchange {
            identity,
            reach: Reach::OnlyMissing,
            removed: Removed::Revoke,
            mailboxes: addresses(&["$a`~!#%&'*+-/=?^_{|}@contoso.com".replace('`', "").as_str()]),
            ..contoso()
        });
    }
    for setup in setups {
        let script = script::script(&setup);
        assert!(script.is_ascii(), "{setup:?}");
        parsed(&script);
    }
}

/// What the script may call, beside its own functions: a new name here is a change to be thought of.
const CALLED: &[&str] = &[
    "Add-MailboxPermission",
    "Connect-ExchangeOnline",
    "ForEach-Object",
    "Get-AcceptedDomain",
    "Get-CASMailbox",
    "Get-Command",
    "Get-ConnectionInformation",
    "Get-EXOMailbox",
    "Get-MailboxPermission",
    "Get-ServicePrincipal",
    "New-Object",
    "New-ServicePrincipal",
    "Out-Null",
    "Remove-MailboxPermission",
    "Remove-ServicePrincipal",
    "Select-Object",
    "Set-CASMailbox",
    "Sort-Object",
    "Start-Sleep",
    "Where-Object",
    "Write-Host",
    "Write-Progress",
    "Write-Warning",
];

#[test]
fn the_script_calls_what_it_is_meant_to_and_asks_nobody() {
    let script = script::script(&contoso());
    for command in parsed(&script) {
        let own = script.contains(&format!("function {command}"));
        assert!(own || CALLED.contains(&command.as_str()), "{command}");
    }
    for line in script.lines().filter(|line| !line.starts_with('#')) {
        // Commands that delete have a prompt of their own.
        if line.trim_start().starts_with("Remove-") && line.contains("-Identity") {
            assert!(line.contains("-Confirm:$false"), "{line}");
        }
        assert!(!line.contains("Read-Host"), "{line}");
    }
}

#[test]
fn what_somebody_chose_stands_in_quotes_and_nowhere_else() {
    let odd = Exchange {
        mailboxes: addresses(&["$(evil)'@contoso.com".replace(['(', ')'], "").as_str()]),
        ..contoso()
    };
    let script = script::script(&odd);
    let lines: Vec<_> = script
        .lines()
        .filter(|line| line.contains("evil"))
        .collect();
    assert_eq!(lines, ["    '$evil''@contoso.com'"]);
}

#[test]
fn hundreds_of_mailboxes_are_one_loop() {
    let many: Vec<String> = (0..700).map(|n| format!("box{n}@contoso.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let setup = Exchange {
        mailboxes: addresses(&many),
        ..contoso()
    };
    let (one, all) = (script::script(&contoso()), script::script(&setup));
    let grants = |script: &str| script.matches("Add-MailboxPermission -Identity").count();
    assert_eq!(grants(&one), grants(&all));
    assert_eq!(all.lines().count() - one.lines().count(), 697);
    parsed(&all);
}

#[test]
fn a_managed_identity_gets_its_permission_by_graph() {
    let setup = Exchange {
        identity: Identity::Managed,
        ..contoso()
    };
    let steps = steps::steps(&setup);
    let text = format!("{steps:?}");
    assert!(text.contains("New-MgServicePrincipalAppRoleAssignment"));
    assert!(!text.contains("New registration"), "{text}");
}

#[test]
fn the_sample_of_the_firewall_page_is_current() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postrider.toml");
    fs::write(folder.path().join("secret"), "s3cret").unwrap();
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    fs::write(folder.path().join("hook"), secret).unwrap();
    fs::write(
        &file,
        r#"
instance = "prod"
[network]
proxy = "http://proxy.contoso.com:3128"
[store]
url = "sqlite://./p.db"
[admin]
listen = "unix:./a.sock"
[credentials.contoso]
type = "microsoft"
tenant = "contoso.onmicrosoft.com"
client_id = "11111111-2222-3333-4444-555555555555"
client_secret = { file = "secret" }
[credentials.azure]
type = "managed-identity"
[endpoints.tickets]
url = "https://tickets.contoso.com/hooks/path-that-is-a-secret"
secret = { file = "hook" }
proxy = "none"
[mailboxes.support]
address = "support@contoso.com"
server = "exchange-online"
credential = "contoso"
folders = ["INBOX"]
endpoints = ["tickets"]
"#,
    )
    .unwrap();
    let config = Config::load(&file, &Environment::of_process()).unwrap();
    let mut config = config.config;
    let page = firewall::page(Cloud::Global, Protocols::Imap, Some(&config));
    assert!(!page.contains("path-that-is-a-secret"));
    is_current("docs/samples/firewall.md", &page);
    config.links = Some(Arc::new(Links {
        listen: "127.0.0.1:9422".parse().unwrap(),
        public_url: "https://links.contoso.com/mail/".parse().unwrap(),
        key: Vec::new(),
        expires: Duration::from_secs(60),
    }));
    let page = firewall::page(Cloud::Global, Protocols::Imap, Some(&config));
    let line = "calls `https://links.contoso.com`, and the proxy there calls postrider at `127.0.0.1:9422`";
    assert!(page.contains(line), "{page}");
}
