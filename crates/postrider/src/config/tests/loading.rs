//! What loads, and to what.

use std::{sync::Arc, time::Duration};

use postrider_core::{
    event::EventType,
    ids::{CredentialKey, EndpointKey, MailboxKey},
    watch::Start,
};

use super::*;
use crate::config::{
    CredentialKind, Mailbox, MicrosoftProof, OAuthMechanism, Proxy, SecretRef, StableBytes, TlsMode,
};

const SAMPLE: &str = r#"
instance = "prod"

[store]
url = "sqlite:///var/lib/postrider/postrider.db"

[http]
listen = "127.0.0.1:9420"
[admin]
listen = "unix:/run/postrider/admin.sock"
[network]
proxy = "none"

[credentials.contoso]
type = "microsoft"
tenant = "contoso.onmicrosoft.com"
client_id = "11111111-2222-3333-4444-555555555555"
client_secret = { file = "/run/secrets/contoso" }

[credentials.lab]
type = "password"
password = { env = "LAB_PASSWORD" }

[endpoints.tickets]
url = "https://tickets.example.org/hooks/mail"
secret = { env = "TICKETS_WEBHOOK_SECRET" }
types = ["message.received"]

[groups.helpdesk]
server = "exchange-online"
credential = "contoso"
folders = ["INBOX"]
endpoints = ["tickets"]
labels = { team = "helpdesk", tier = "1" }
idle_cycle = "4m"
[groups.helpdesk.mailboxes]
support = "support@contoso.com"
sales = { address = "sales@contoso.com", folders = ["inbox", "Orders"], labels = { tier = "2" }, start = 2026-05-01 }

[mailboxes.lab]
address = "lab@example.org"
server = { host = "imap.example.org", port = 993, tls = "implicit" }
credential = "lab"
folders = ["INBOX"]
endpoints = ["tickets"]
start = "new"
"#;

fn mailbox(loaded: &Loaded, key: &str) -> Arc<Mailbox> {
    loaded.config.mailboxes[&MailboxKey::new(key)].clone()
}

#[test]
fn the_sample_loads_with_inheritance_and_defaults() {
    let loaded = World::new(SAMPLE).load();
    let support = mailbox(&loaded, "support");
    assert_eq!(&*support.address, "support@contoso.com");
    assert_eq!(support.username, support.address);
    assert_eq!(support.server.host, "outlook.office365.com");
    assert_eq!(
        (support.server.port, support.server.tls),
        (993, TlsMode::Implicit)
    );
    assert_eq!(support.server.oauth, OAuthMechanism::XOAuth2);
    assert_eq!(support.server.stable_bytes, StableBytes::No);
    assert_eq!(support.policy.cycle, Duration::from_secs(240));
    assert_eq!(support.policy.start, Start::New);
    assert_eq!(support.policy.backoff.max, Duration::from_secs(15));
    let sales = mailbox(&loaded, "sales");
    let folders: Vec<_> = sales.folders.iter().map(|folder| folder.as_str()).collect();
    assert_eq!(folders, ["INBOX", "Orders"]);
    assert_eq!(sales.labels["team"], "helpdesk");
    assert_eq!(sales.labels["tier"], "2");
    assert_eq!(
        sales.policy.start,
        Start::Since(Wall::from_seconds(1_777_593_600))
    );
    assert_eq!(sales.policy.cycle, Duration::from_secs(240));
    assert_eq!(
        mailbox(&loaded, "lab").policy.cycle,
        Duration::from_secs(300)
    );
    let contoso = &loaded.config.credentials[&CredentialKey::new("contoso")];
    let CredentialKind::Microsoft(app) = &contoso.kind else {
        panic!("{contoso:?}");
    };
    assert_eq!(app.authority.as_str(), "https://login.microsoftonline.com/");
    assert_eq!(app.scope, "https://outlook.office365.com/.default");
    let secret = SecretRef::File("/run/secrets/contoso".into());
    assert_eq!(app.proof, MicrosoftProof::Secrets(vec![secret]));
    let tickets = &loaded.config.endpoints[&EndpointKey::new("tickets")];
    assert_eq!(tickets.types, [EventType::MessageReceived]);
    assert_eq!(tickets.retry.give_up_after, Duration::from_secs(5 * 86_400));
    assert_eq!(loaded.config.network.proxy, Proxy::None);
    assert_eq!(
        loaded.config.store.spool,
        PathBuf::from("/var/lib/postrider/spool")
    );
}

#[test]
fn ten_thousand_mailboxes_of_a_group_share_what_they_inherit() {
    let mut text = SAMPLE.split("support = ").next().unwrap().to_owned();
    for number in 0..10_000 {
        text += &format!("m{number} = \"m{number}@contoso.com\"\n");
    }
    let loaded = World::new(&text).load();
    assert_eq!(loaded.config.mailboxes.len(), 10_000);
    let (first, last) = (mailbox(&loaded, "m0"), mailbox(&loaded, "m9999"));
    assert!(Arc::ptr_eq(&first.server, &last.server));
    assert!(Arc::ptr_eq(&first.policy, &last.policy));
    assert!(Arc::ptr_eq(&first.folders, &last.folders));
    assert!(Arc::ptr_eq(&first.endpoints, &last.endpoints));
    assert!(Arc::ptr_eq(&first.labels, &last.labels));
    assert!(Arc::ptr_eq(&first.address, &first.username));
}

#[test]
fn ten_thousand_mailboxes_with_nothing_in_common_load_too() {
    let mut text = GOOD.split("[mailboxes").next().unwrap().to_owned();
    for number in 0..10_000 {
        text += &format!(
            "[mailboxes.m{number}]\naddress = \"m{number}@example.org\"\nserver = {{ host = \"imap{number}.example.org\" }}\n\
             credential = \"lab\"\nfolders = [\"F{number}\"]\nendpoints = [\"tickets\"]\nflood_limit = {number}\n"
        );
    }
    assert_eq!(World::new(&text).load().config.mailboxes.len(), 10_000);
}

#[test]
fn the_environment_wins_and_is_read_as_the_key_wants_it() {
    let world = World::new(SAMPLE)
        .set("POSTRIDER__INSTANCE", "007")
        .set("POSTRIDER__LIMITS__GRACE", "40s")
        .set("POSTRIDER__LIMITS__AUDIT_DAYS", "7")
        .set("POSTRIDER__LIMITS__MEMORY", "268435456")
        .set("POSTRIDER__STORE__ALLOW_NETWORK_FILESYSTEM", "true")
        .set(
            "POSTRIDER__ENDPOINTS__TICKETS__TYPES",
            "message.received, mailbox.held",
        )
        .set("POSTRIDER__MAILBOXES__LAB__FOLDERS", "[\"A, B\"]")
        .set("POSTRIDER__MAILBOXES__LAB__SERVER", "gmail")
        .set(
            "POSTRIDER__GROUPS__HELPDESK__MAILBOXES__SUPPORT__USERNAME",
            "true",
        )
        .set("POSTRIDER_SERVICE_HOST", "10.0.0.1");
    let loaded = world.load();
    assert_eq!(&*loaded.config.instance, "007");
    assert_eq!(loaded.config.limits.grace, Duration::from_secs(40));
    assert_eq!(loaded.config.limits.audit_days, 7);
    assert_eq!(loaded.config.limits.memory_bytes, 256 << 20);
    assert!(loaded.config.store.allow_network_filesystem);
    let tickets = &loaded.config.endpoints[&EndpointKey::new("tickets")];
    assert_eq!(
        tickets.types,
        [EventType::MessageReceived, EventType::MailboxHeld]
    );
    assert_eq!(mailbox(&loaded, "lab").folders[0].as_str(), "A, B");
    assert_eq!(mailbox(&loaded, "lab").server.host, "imap.gmail.com");
    let support = mailbox(&loaded, "support");
    assert_eq!(
        (&*support.address, &*support.username),
        ("support@contoso.com", "true")
    );
}

#[test]
fn included_files_add_to_groups_and_paths_start_from_the_main_file() {
    let main = SAMPLE.replacen(
        "instance",
        "include = [\"mailboxes.d/*.toml\", \"more.toml\"]\ninstance",
        1,
    );
    let world = World::new(&main)
        .file("mailboxes.d/b.toml", "[groups.helpdesk.mailboxes]\nhr = \"hr@contoso.com\"\n")
        .file("mailboxes.d/a.toml", "[groups.helpdesk.mailboxes]\nit = \"it@contoso.com\"\n")
        .file("mailboxes.d/.hidden.toml", "nonsense")
        .file("mailboxes.d/notes.txt", "nonsense")
        .file("more.toml", "[servers.intern]\nhost = \"imap.example.org\"\nca_file = \"ca.pem\"\n[mailboxes.x]\naddress = \"x@example.org\"\nserver = \"intern\"\ncredential = \"lab\"\nfolders = [\"INBOX\"]\nendpoints = [\"tickets\"]\n")
        .file("ca.pem", "");
    let loaded = world.load();
    assert_eq!(loaded.config.mailboxes.len(), 6);
    let names: Vec<_> = loaded
        .files
        .iter()
        .map(|file| file.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["c.toml", "a.toml", "b.toml", "more.toml"]);
    let ca_file = mailbox(&loaded, "x").server.ca_file.clone();
    assert_eq!(ca_file, Some(world.folder.path().join("ca.pem")));
}

#[test]
fn presets_and_named_servers_can_be_overridden() {
    let server = r#"{ preset = "exchange-online", host = "outlook.office365.us", proxy = "socks5h://proxy:1080" }"#;
    let loaded = spoiled(r#"{ host = "imap.example.org" }"#, server).load();
    let lab = mailbox(&loaded, "lab");
    assert_eq!(lab.server.host, "outlook.office365.us");
    assert_eq!(lab.server.oauth, OAuthMechanism::XOAuth2);
    assert_eq!(
        lab.server.proxy,
        Proxy::Url("socks5h://proxy:1080".parse().unwrap())
    );
    let loaded = spoiled(
        "host = \"imap.example.org\"",
        "host = \"::1\", tls = \"starttls\"",
    )
    .load();
    assert_eq!(mailbox(&loaded, "lab").server.port, 143);
}

#[test]
fn a_proxy_holds_for_everything_that_does_not_say_otherwise() {
    let text = format!("network.proxy = \"env\"\n{GOOD}");
    let text = text.replacen("[mailboxes", "proxy = \"http://proxy:3128\"\n[mailboxes", 1);
    let loaded = World::new(&text).load();
    let endpoint = &loaded.config.endpoints[&EndpointKey::new("tickets")];
    assert_eq!(
        endpoint.proxy,
        Proxy::Url("http://proxy:3128".parse().unwrap())
    );
    assert_eq!(
        loaded.config.credentials[&CredentialKey::new("lab")].proxy,
        Proxy::Env
    );
    assert_eq!(mailbox(&loaded, "lab").server.proxy, Proxy::Env);
}

#[test]
fn secrets_may_be_lists_and_are_read_without_their_line_end() {
    use secrecy::ExposeSecret;
    let world = spoiled(
        r#"secret = { env = "TICKETS_SECRET" }"#,
        r#"secret = [{ file = "new" }, { env = "TICKETS_SECRET" }, { credential = "old" }]"#,
    )
    .file("new", "whsec_bmV3\r\n")
    .file("credentials/old", "whsec_b2xk");
    let credentials = world.folder.path().join("credentials");
    let world = world.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    let loaded = world.load();
    let secrets = &loaded.config.endpoints[&EndpointKey::new("tickets")].secret;
    let read: Vec<_> = secrets
        .iter()
        .map(|one| one.read(&world.environment).unwrap())
        .collect();
    assert_eq!(read[0].expose_secret(), "whsec_bmV3");
    assert_eq!(read[2].expose_secret(), "whsec_b2xk");
    assert!(!format!("{:?}{read:?}", loaded.config).contains("whsec_"));
    let missing = SecretRef::Env("NO_SUCH".to_owned()).read(&world.environment);
    assert_eq!(
        missing.unwrap_err().to_string(),
        "secret variable NO_SUCH is not set"
    );
}

#[test]
fn what_holds_for_a_mailbox_is_shown_with_its_origin() {
    let world = World::new(SAMPLE).set(
        "POSTRIDER__GROUPS__HELPDESK__MAILBOXES__SUPPORT__BATCH_MAX",
        "7",
    );
    let loaded = world.load();
    let shown = world.print(&[]) + &loaded.effective("support").unwrap().to_string();
    let folder = format!("{}/", world.folder.path().display());
    let shown = shown.replace(&folder, "");
    for line in [
        "[mailboxes.support]\n",
        "address = \"support@contoso.com\"                  # c.toml:37\n",
        "username = \"support@contoso.com\"                 # default\n",
        "folders = [\"INBOX\"]                              # c.toml:32\n",
        "labels = { team = \"helpdesk\", tier = \"1\" }       # c.toml:34\n",
        "idle_cycle = \"4m\"                                # c.toml:35\n",
        "batch_max = 7                                    # POSTRIDER__GROUPS__HELPDESK__MAILBOXES__SUPPORT__BATCH_MAX\n",
        "examine_every = \"30m\"                            # default\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(loaded.effective("nobody").is_none());
}
