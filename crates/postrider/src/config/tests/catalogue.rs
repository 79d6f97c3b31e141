//! Each wrong input with the exact words that an operator reads.

use super::*;

#[track_caller]
fn error(good: &str, bad: &str, wanted: &str) {
    assert_eq!(spoiled(good, bad).errors(), wanted);
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    error(
        r#"host = "imap.example.org""#,
        "host = imap",
        r#"c.toml:11: not TOML: invalid string, expected `"`, `'`"#,
    );
    error(
        "[mailboxes.lab]",
        r#"[endpoints.tickets]
[mailboxes.lab]"#,
        "c.toml:9: not TOML: invalid table header, duplicate key `tickets` in table `endpoints`",
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one_or_its_home() {
    error(
        "[endpoints.tickets]",
        "[endpoint.tickets]",
        r#"c.toml:5: unknown key `endpoint`
  hint: did you mean `endpoints`?"#,
    );
    error(
        "folders =",
        "folder =",
        r#"c.toml:13: unknown key `mailboxes.lab.folder`
  hint: did you mean `folders`?"#,
    );
    error(
        r#"folders = ["INBOX"]"#,
        r#"folders = ["INBOX"]
max_in_flight = 3"#,
        r#"c.toml:14: unknown key `mailboxes.lab.max_in_flight`
  hint: `max_in_flight` is a key of [endpoints.NAME]"#,
    );
    error(
        "[credentials.lab]",
        r#"[http]
foobarbaz = 1
[credentials.lab]"#,
        r#"c.toml:2: unknown key `http.foobarbaz`
  hint: known here: listen"#,
    );
    error(
        r#"{ host = "imap.example.org" }"#,
        r#"{ hosts = "imap.example.org", ssl = true }"#,
        r#"c.toml:11: unknown key `mailboxes.lab.server.hosts`
  hint: did you mean `host`?
c.toml:11: unknown key `mailboxes.lab.server.ssl`
  hint: known here: ca_file, connections_max, connections_per_mailbox, host, idle, oauth, port, preset, proxy, stable_bytes, tls, trusted_authserv_id"#,
    );
}

#[test]
fn a_secret_is_a_reference_and_is_never_repeated() {
    error(
        r#"{ env = "LAB_PASSWORD" }"#,
        r#""hunter2""#,
        r#"c.toml:3: `credentials.lab.password` holds a secret itself, it has to be a reference
  hint: write { file = "/run/secrets/NAME" }, { env = "NAME" } or { credential = "NAME" }"#,
    );
    error(
        r#"{ env = "LAB_PASSWORD" }"#,
        r#"{ env = "LAB_PASSWORD", file = "/x" }"#,
        r#"c.toml:3: `credentials.lab.password` has to name exactly one of `file`, `env` and `credential`
  hint: several secrets are a list: [{ … }, { … }]"#,
    );
    error(
        r#"{ env = "LAB_PASSWORD" }"#,
        r#"{ environment = "LAB_PASSWORD" }"#,
        r#"c.toml:3: unknown key `credentials.lab.password.environment`
  hint: known here: credential, env, file"#,
    );
    error(
        r#"{ env = "LAB_PASSWORD" }"#,
        "[]",
        "c.toml:3: `credentials.lab.password` is an empty list",
    );
    error(
        r#"{ env = "LAB_PASSWORD" }"#,
        r#"{ credential = "/etc/x" }"#,
        r#"c.toml:3: `credentials.lab.password`: a systemd credential has a name, not a path
  hint: write the name that stands in LoadCredential="#,
    );
}

#[test]
fn a_value_of_another_kind_is_told_with_what_it_has_to_be() {
    error(
        r#"["INBOX"]"#,
        r#""INBOX""#,
        r#"c.toml:13: `mailboxes.lab.folders` is text, it has to be a list
  hint: write ["INBOX"]"#,
    );
    error(
        r#"["INBOX"]"#,
        r#"["INBOX", 3]"#,
        "c.toml:13: `mailboxes.lab.folders` is a number, it has to be text",
    );
    error(
        r#""lab@example.org""#,
        "5",
        "c.toml:10: `mailboxes.lab.address` is a number, it has to be text",
    );
    error(
        "[credentials.lab]",
        r#"store.allow_network_filesystem = "yes"
[credentials.lab]"#,
        "c.toml:1: `store.allow_network_filesystem` is text, it has to be true or false",
    );
    error(
        "[credentials.lab]",
        r#"store = "x"
[credentials.lab]"#,
        "c.toml:1: `store` is text, it has to be a table",
    );
    error(
        "[credentials.lab]",
        r#"limits.audit_days = 1.5
[credentials.lab]"#,
        "c.toml:1: `limits.audit_days` is a number with a fraction, it has to be a whole number",
    );
    error(
        r#""password""#,
        r#""passwort""#,
        r#"c.toml:2: `credentials.lab.type` is `passwort`, it has to be "microsoft" or "microsoft-delegated" or "managed-identity" or "google" or "google-delegated" or "oauth2" or "password" or "token"
  hint: did you mean `password`?"#,
    );
    error(
        r#"host = "imap.example.org""#,
        r#"host = "imap.example.org", tls = "ssl""#,
        r#"c.toml:11: `mailboxes.lab.server.tls` is `ssl`, it has to be "implicit" or "starttls" or "none""#,
    );
}

#[test]
fn durations_sizes_and_numbers_have_units_and_bounds() {
    error(
        "[credentials.lab]",
        r#"limits.grace = 30
[credentials.lab]"#,
        r#"c.toml:1: `limits.grace` is a number without a unit
  hint: write "30s" or "30m""#,
    );
    error(
        "[credentials.lab]",
        r#"limits.grace = "30 seconds"
[credentials.lab]"#,
        r#"c.toml:1: `limits.grace` is `30 seconds`, which is no duration
  hint: write a number and a unit: "250ms", "30s", "5m", "12h", "5d""#,
    );
    error(
        "[credentials.lab]",
        r#"limits.grace = "1h"
[credentials.lab]"#,
        "c.toml:1: `limits.grace` is 1h, it has to be at most 10m",
    );
    error(
        "[credentials.lab]",
        r#"limits.event = "64k"
[credentials.lab]"#,
        r#"c.toml:1: `limits.event` is `64k`, which is no size
  hint: write a number and a unit: "512B", "64KiB", "50MiB", "2GiB""#,
    );
    error(
        "[credentials.lab]",
        r#"limits.event = 10
[credentials.lab]"#,
        "c.toml:1: `limits.event` is 10B, it has to be at least 12KiB",
    );
    error(
        "[credentials.lab]",
        r#"limits.audit_days = 0
[credentials.lab]"#,
        "c.toml:1: `limits.audit_days` is 0, it has to be at least 1",
    );
}

#[test]
fn a_name_that_is_not_there_is_told_with_the_nearest_one() {
    error(
        r#"credential = "lab"
"#,
        r#"credential = "lap"
"#,
        r#"c.toml:12: `mailboxes.lab.credential` names the credential `lap`, which is not there
  hint: did you mean `lab`?"#,
    );
    error(
        r#"["tickets"]"#,
        r#"["jira"]"#,
        r#"c.toml:14: `mailboxes.lab.endpoints` names the endpoint `jira`, which is not there
  hint: add [endpoints.jira], or use one of: tickets"#,
    );
    error(
        r#"{ host = "imap.example.org" }"#,
        r#""exchange""#,
        r#"c.toml:11: `mailboxes.lab.server` names the server `exchange`, which is not there
  hint: add [servers.exchange], or use one of: exchange-online, exchange-gcc-high, exchange-dod, exchange-china, gmail, yahoo, aol, fastmail, icloud, dovecot"#,
    );
    error(
        r#"{ host = "imap.example.org" }"#,
        r#""outlook.office365.com""#,
        r#"c.toml:11: `mailboxes.lab.server` is `outlook.office365.com`, which is a host, not a name
  hint: write "exchange-online""#,
    );
    error(
        r#"{ host = "imap.example.org" }"#,
        r#""imap.example.org""#,
        r#"c.toml:11: `mailboxes.lab.server` is `imap.example.org`, which is a host, not a name
  hint: write { host = "imap.example.org" }"#,
    );
    error(
        r#"host = "imap.example.org""#,
        r#"preset = "exchange""#,
        r#"c.toml:11: `mailboxes.lab.server.preset`: there is no preset `exchange`
  hint: known: exchange-online, exchange-gcc-high, exchange-dod, exchange-china, gmail, yahoo, aol, fastmail, icloud, dovecot"#,
    );
    error(
        "secret = {",
        r#"types = ["message.recieved"]
secret = {"#,
        r#"c.toml:7: `endpoints.tickets.types`: there is no type `message.recieved`
  hint: did you mean `message.received`?"#,
    );
}

#[test]
fn what_is_missing_is_told_with_what_to_write() {
    error(
        r#"address = "lab@example.org"
server = { host = "imap.example.org" }
credential = "lab"
folders = ["INBOX"]
"#,
        "",
        r#"c.toml:9: `mailboxes.lab.address` is missing
  hint: write the mailbox's address
c.toml:9: `mailboxes.lab.credential` is missing
  hint: write a name from [credentials]
c.toml:9: `mailboxes.lab.folders` is missing
  hint: write folders = ["INBOX"]
c.toml:9: `mailboxes.lab.server` is missing
  hint: write "exchange-online", or { host = "imap.example.org" }"#,
    );
    error(
        r#"{ host = "imap.example.org" }"#,
        r#"{ preset = "dovecot" }"#,
        r#"c.toml:11: `mailboxes.lab.server.host` is missing
  hint: write the IMAP server's name"#,
    );
    error(
        r#"url = "https://tickets.example.org/hooks/mail"
"#,
        "",
        r#"c.toml:5: `endpoints.tickets.url` is missing
  hint: write where events are to be posted"#,
    );
    error(
        r#"secret = { env = "TICKETS_SECRET" }
"#,
        "",
        r#"c.toml:5: `endpoints.tickets.secret` is missing
  hint: write { file = "/run/secrets/NAME" }, { env = "NAME" } or { credential = "NAME" }"#,
    );
    error(
        r#"type = "password"
"#,
        "",
        r#"c.toml:1: `credentials.lab.type` is missing
  hint: write "microsoft", "google", "oauth2", "password" or another type"#,
    );
    error(
        r#"["INBOX"]"#,
        "[]",
        r#"c.toml:13: `mailboxes.lab.folders` is empty
  hint: write folders = ["INBOX"]"#,
    );
}

#[test]
fn an_endpoint_is_posted_to_safely_or_not_at_all() {
    error(
        "https://tickets",
        "https://user:pass@tickets",
        r#"c.toml:6: `endpoints.tickets.url` holds credentials, which would end in logs
  hint: remove them: bodies are signed, the receiver checks the signature"#,
    );
    error(
        "https://tickets",
        "http://tickets",
        r#"c.toml:6: `endpoints.tickets.url` is plain http to another machine
  hint: write https://, or set allow_plaintext = true"#,
    );
    error(
        "https://tickets.example.org/hooks/mail",
        "tickets",
        r#"c.toml:6: `endpoints.tickets.url` is no https URL
  hint: write "https://HOST/PATH""#,
    );
}

#[test]
fn a_credential_takes_the_keys_of_its_type() {
    error(
        r#"type = "password""#,
        r#"type = "password"
tenant = "x""#,
        r#"c.toml:3: `credentials.lab.tenant` does not belong to a credential of type password
  hint: remove it, or change `type`"#,
    );
    error(
        r#"type = "password"
password = { env = "LAB_PASSWORD" }"#,
        r#"type = "microsoft"
tenant = "common"
authority = "http://login.example.org""#,
        r#"c.toml:1: `credentials.lab.client_id` is missing
  hint: it stands on the app registration's overview
c.toml:1: `credentials.lab.client_secret` is missing
  hint: write client_secret = { file = "/run/secrets/NAME" }, certificate = { file = "/run/secrets/NAME.pem" } or federated_token = { file = "…" }
c.toml:3: `credentials.lab.tenant` is `common`: client credentials need one tenant
  hint: write the tenant's id, or one of its domains such as "contoso.onmicrosoft.com"
c.toml:4: `credentials.lab.authority` is not https: the client secret would travel in clear text
  hint: write "https://login.microsoftonline.com""#,
    );
}

#[test]
fn a_proxy_has_no_credentials_and_resolves_names_itself() {
    error(
        "[credentials.lab]",
        r#"network.proxy = "socks5://p:1"
[credentials.lab]"#,
        r#"c.toml:1: `network.proxy`: socks5 would resolve names here, not at the proxy
  hint: write socks5h://"#,
    );
    error(
        "[credentials.lab]",
        r#"network.proxy = "http://u:p@p:1"
[credentials.lab]"#,
        r#"c.toml:1: `network.proxy` holds credentials, which do not belong into this file
  hint: write "env" and set HTTPS_PROXY for the service"#,
    );
    error(
        "[credentials.lab]",
        r#"network.proxy = "p:1"
[credentials.lab]"#,
        r#"c.toml:1: `network.proxy` is `p:1`, which is no proxy
  hint: write "none", "env", "http://HOST:PORT" or "socks5h://HOST:PORT""#,
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    error(
        "folders =",
        r#"start = "now"
folders ="#,
        r#"c.toml:13: `mailboxes.lab.start` is `now`, it has to be "new", "all" or a date
  hint: write a date as "2026-05-01" or "2026-05-01T08:00:00Z""#,
    );
    error(
        "folders =",
        r#"idle_cycle = "20m"
folders ="#,
        r#"c.toml:13: `mailboxes.lab.idle_cycle` is not below `limits.stalled_after`: the mailbox would count as stalled
  hint: life is proven once per cycle; lower it, or raise `limits.stalled_after`"#,
    );
    error(
        "folders =",
        r#"backoff = { first = "1m" }
folders ="#,
        "c.toml:13: `mailboxes.lab.backoff`: `first` is above `max`",
    );
    error(
        r#"["INBOX"]"#,
        r#"["A","B","C","D","E","F","G","H","I"]"#,
        r#"c.toml:13: `mailboxes.lab.folders` names 9 folders, which need a connection each; a mailbox may hold 8
  hint: raise `limits.connections_per_mailbox` if the server allows it"#,
    );
    error(
        r#""imap.example.org""#,
        r#""imaps://imap.example.org:993""#,
        r#"c.toml:11: `mailboxes.lab.server.host` is `imaps://imap.example.org:993`, which is no host
  hint: write the name alone, and the port as `port`"#,
    );
    error(
        "[mailboxes.lab]",
        "[mailboxes.Lab_1]",
        r#"c.toml:9: `Lab_1` is no name
  hint: a name is 1 to 63 of a-z, 0-9 and -, and starts with a letter or digit"#,
    );
    error(
        "[mailboxes.lab]",
        r#"[groups.g.mailboxes]
lab = "lab@example.org"
[mailboxes.lab]"#,
        r#"c.toml:10: `groups.g.mailboxes.lab.credential` is missing
  hint: write a name from [credentials]
c.toml:10: `groups.g.mailboxes.lab.folders` is missing
  hint: write folders = ["INBOX"]
c.toml:10: `groups.g.mailboxes.lab.server` is missing
  hint: write "exchange-online", or { host = "imap.example.org" }
c.toml:11: the mailbox `lab` is there twice: also at c.toml:10
  hint: keep one of them"#,
    );
}

#[test]
fn the_sections_of_the_process_are_checked_all_at_once() {
    error(
        "[credentials.lab]",
        r#"instance = "Prod 1"
store.url = "postgres://x"
http.listen = "9420"
admin.listen = "127.0.0.1:1"
log.level = "loud,,="
limits.parse = "100MiB"
[credentials.lab]"#,
        r#"c.toml:1: `instance` is `Prod 1`, which is no name
  hint: 1 to 63 of a-z, 0-9 and -, starting with a letter or digit: "prod"
c.toml:2: `store.url` is `postgres://x`: only sqlite is there
  hint: write sqlite:///var/lib/postrider/postrider.db
c.toml:3: `http.listen` is `9420`, which is no ADDRESS:PORT
  hint: write "127.0.0.1:9420", "[::]:9420" or "off"
c.toml:4: `admin.listen` is `127.0.0.1:1`, it has to be a unix socket
  hint: write "unix:/run/postrider/admin.sock"
c.toml:5: `log.level` has `loud`, which is no level
  hint: write off, error, warn, info, debug or trace, or per module "info,postrider=debug"
c.toml:6: `limits.memory` (128MiB) does not hold one message of `limits.parse` (100MiB): parsing takes up to twice its size
  hint: raise `limits.memory` or lower `limits.parse`"#,
    );
    error(
        "[credentials.lab]",
        r#"store.url = "sqlite::memory:"
[credentials.lab]"#,
        r#"c.toml:1: `store.url` names no file: state has to outlive the process
  hint: write sqlite:///var/lib/postrider/postrider.db"#,
    );
}

#[test]
fn the_admin_listener_over_tcp_is_checked_and_a_public_one_doubted() {
    error(
        "[credentials.lab]",
        r#"admin.tcp.listen = "localhost"
admin.tcp.allowed_hosts = ["https://x"]
[credentials.lab]"#,
        r#"c.toml:1: `admin.tcp.listen` is `localhost`, which is no ADDRESS:PORT
  hint: write "127.0.0.1:9421" or "off""#,
    );
    error(
        "[credentials.lab]",
        r#"admin.tcp.listen = "127.0.0.1:9421"
admin.tcp.allowed_hosts = ["https://x"]
[credentials.lab]"#,
        r#"c.toml:2: `admin.tcp.allowed_hosts` has `https://x`, which is no host name
  hint: write names alone: "postrider.example.org""#,
    );
}
