//! What loads and can hardly be meant, with the exact words that an operator reads.

use super::*;

#[track_caller]
fn warning(good: &str, bad: &str, wanted: &str) {
    assert_eq!(spoiled(good, bad).warnings(), wanted);
}

#[test]
fn a_good_file_has_neither_errors_nor_warnings() {
    assert_eq!(good().warnings(), "");
}

#[test]
fn what_serves_nothing_is_doubted() {
    warning(
        r#"endpoints = ["tickets"]
"#,
        "",
        r#"c.toml:5: `endpoints.tickets` is used by no mailbox and gets no mail
  hint: name it in a mailbox's `endpoints`
c.toml:9: the mailbox `lab` has no endpoint: its events go nowhere
  hint: write endpoints = ["NAME"]"#,
    );
    warning(
        "[mailboxes.lab]",
        r#"[credentials.old]
type = "password"
password = { env = "LAB_PASSWORD" }
[endpoints.old]
url = "https://x.example"
secret = { env = "LAB_PASSWORD" }
[mailboxes.lab]"#,
        r#"c.toml:9: `credentials.old` is used by no mailbox
c.toml:12: `endpoints.old` is used by no mailbox and gets no mail
  hint: name it in a mailbox's `endpoints`"#,
    );
    warning(
        "[mailboxes.lab]",
        r#"[groups.g]
server = "gmail"
[mailboxes.lab]"#,
        r#"c.toml:9: `groups.g` has no mailbox
  hint: add [groups.g.mailboxes]"#,
    );
    warning(
        r#"secret = { env = "TICKETS"#,
        r#"types = []
secret = { env = "TICKETS"#,
        "c.toml:7: `endpoints.tickets.types` is empty: nothing is sent",
    );
    warning(
        r#"secret = { env = "TICKETS"#,
        r#"allow_plaintext = true
secret = { env = "TICKETS"#,
        r#"c.toml:7: `endpoints.tickets.allow_plaintext` has no effect on https
  hint: remove it"#,
    );
    warning(
        r#"["INBOX"]"#,
        r#"["INBOX", "inbox"]"#,
        "c.toml:13: `mailboxes.lab.folders` names `INBOX` twice",
    );
}

#[test]
fn access_that_cannot_work_is_doubted() {
    warning(
        r#"{ host = "imap.example.org" }"#,
        r#""exchange-online""#,
        r#"c.toml:12: `mailboxes.lab.credential`: Exchange Online accepts no passwords for IMAP, and `lab` is one
  hint: use a credential of type "microsoft""#,
    );
    warning(
        r#"type = "password"
password = { env = "LAB_PASSWORD" }"#,
        r#"type = "microsoft"
tenant = "contoso.com"
client_id = "abc"
client_secret = { env = "LAB_PASSWORD" }
authority = "https://login.microsoftonline.com/contoso.com/oauth2/token"
scope = "https://outlook.office.com/IMAP.AccessAsUser.All""#,
        r#"c.toml:4: `credentials.lab.client_id` is no id of an Entra application
  hint: copy "Application (client) ID" from the app registration's overview
c.toml:6: `credentials.lab.authority` is a token endpoint of the old v1 form, whose tokens lack `roles`
  hint: write the login host alone; the v2.0 endpoint is added
c.toml:7: `credentials.lab.scope` is `https://outlook.office.com/IMAP.AccessAsUser.All`: for client credentials it has to end in /.default
  hint: write "https://outlook.office365.com/.default""#,
    );
    warning(
        r#""lab@example.org""#,
        r#""lab""#,
        r#"c.toml:10: `mailboxes.lab.address` is `lab`, which is no mail address
  hint: a user name that differs goes into `username`"#,
    );
}

#[test]
fn an_unusual_server_is_doubted() {
    warning(
        r#"host = "imap.example.org""#,
        r#"host = "imap.example.org", tls = "none""#,
        r#"c.toml:11: `mailboxes.lab.server.tls`: passwords, tokens and mail travel to imap.example.org in clear text
  hint: use tls = "implicit" or "starttls""#,
    );
    warning(
        r#"host = "imap.example.org""#,
        r#"host = "imap.example.org", port = 143"#,
        r#"c.toml:11: `mailboxes.lab.server.port` is 143, where servers expect starttls
  hint: use port 993, or tls = "starttls""#,
    );
    warning(
        r#"host = "imap.example.org""#,
        r#"host = "imap.example.org", port = 993, tls = "starttls""#,
        r#"c.toml:11: `mailboxes.lab.server.tls` is starttls on port 993, where servers expect implicit TLS
  hint: use port 143, or tls = "implicit""#,
    );
    warning(
        r#"host = "imap.example.org""#,
        r#"host = "imap.example.org", ca_file = "/nonexistent.pem""#,
        "c.toml:11: `mailboxes.lab.server.ca_file`: /nonexistent.pem cannot be read: No such file or directory (os error 2)",
    );
}

#[test]
fn what_would_surprise_later_is_doubted() {
    warning(
        "folders =",
        r#"start = "2027-01-01"
folders ="#,
        r#"c.toml:13: `mailboxes.lab.start` is 2027-01-01, which is in the future
  hint: mail that comes until then is never sent"#,
    );
    warning(
        "[credentials.lab]",
        r#"instance = "mail1"
[credentials.lab]"#,
        r#"c.toml:1: `instance` is `mail1`, which looks like a host's or a pod's name
  hint: on another machine every message would get another id: choose a name like "prod""#,
    );
    warning(
        "[credentials.lab]",
        r#"instance = "postrider-7d4b9c6f5d-x2x9k"
[credentials.lab]"#,
        r#"c.toml:1: `instance` is `postrider-7d4b9c6f5d-x2x9k`, which looks like a host's or a pod's name
  hint: on another machine every message would get another id: choose a name like "prod""#,
    );
    warning(
        "[credentials.lab]",
        r#"store.url = "sqlite:///tmp/x.db"
[credentials.lab]"#,
        r#"c.toml:1: `store.url`: /tmp/x.db lies where files are cleaned up
  hint: write sqlite:///var/lib/postrider/postrider.db"#,
    );
    warning(
        "[mailboxes.lab]",
        r#"[mailboxes.lab2]
address = "LAB@example.org"
server = { host = "imap.example.org" }
credential = "lab"
folders = ["inbox"]
endpoints = ["tickets"]
[mailboxes.lab]"#,
        r#"c.toml:9: the mailboxes `lab` and `lab2` watch the same folder INBOX: its mail is sent twice
  hint: keep one of them"#,
    );
}

#[test]
fn secrets_are_looked_at_from_here() {
    warning(
        r#"{ env = "LAB_PASSWORD" }"#,
        r#"{ file = "/nonexistent/lab" }"#,
        "c.toml:3: `credentials.lab.password`: secret file /nonexistent/lab cannot be read: No such file or directory (os error 2)",
    );
    warning(
        r#"{ env = "LAB_PASSWORD" }"#,
        r#"{ env = "NO_SUCH" }"#,
        "c.toml:3: `credentials.lab.password`: secret variable NO_SUCH is not set",
    );
}

#[test]
fn a_secret_that_everybody_can_read_is_doubted() {
    use std::os::unix::fs::PermissionsExt;
    let world =
        spoiled("{ env = \"LAB_PASSWORD\" }", "{ file = \"lab\" }").file("lab", "hunter2\n");
    let file = world.folder.path().join("lab");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(world.warnings(), "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        world.warnings(),
        "c.toml:3: `credentials.lab.password`: every user of this machine can read lab\n  hint: chmod o-r lab"
    );
}
