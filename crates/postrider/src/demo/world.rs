//! The demo's surroundings, its configuration file, and the daemon that was started from it. The
//! daemon is told nothing that does not stand in that file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_core::{gate::Gate, ids::MailboxKey, watch::Order};
use postrider_sandbox::{
    authority::TokenAuthority,
    imap::{Config as ImapConfig, ImapServer, Scope, TlsMode},
    mail,
    mailboxes::{Access, Mailboxes},
    receiver::Receiver,
    tls::Tls,
    token_endpoint::{Decision, Delegated, TokenConfig, TokenEndpoint, User},
};
use time::OffsetDateTime;

use crate::{
    config::{Config, Environment},
    run::Daemon,
    telemetry::{Telemetry, delivery::EndpointState},
    watch_line::WatchLine,
};

const DOMAIN: &str = "contoso.example";
const MAIL_BYTES: usize = 2000;

/// What a play needs.
pub(super) struct Scenery {
    pub(super) mailboxes: &'static [&'static str],
    /// One of them, which the application may not open at first.
    pub(super) ungranted: Option<&'static str>,
    pub(super) token_life: Duration,
    /// More settings for the mailboxes' group.
    pub(super) group: &'static str,
    /// Somebody who can sign in (`postrider login person`).
    pub(super) person: Option<&'static str>,
    /// A mailbox that nobody configures, and that must stay shut.
    pub(super) shut: Option<&'static str>,
    pub(super) play_max: Duration,
}

pub(super) struct World {
    scenery: &'static Scenery,
    pub(super) imap: ImapServer,
    pub(super) tokens: TokenEndpoint,
    pub(super) authority: TokenAuthority,
    pub(super) receiver: Receiver,
    pub(super) daemon: Daemon,
    pub(super) mailboxes: Mailboxes,
    config_path: PathBuf,
    /// When each message was put into its mailbox, by Message-ID.
    sent: BTreeMap<String, Instant>,
    delivered: u64,
}

impl World {
    /// Starts the surroundings, writes the configuration, reads it as `run` does, and starts the daemon.
    pub(super) async fn start(scenery: &'static Scenery, folder: &Path) -> anyhow::Result<Self> {
        let authority = TokenAuthority::new();
        let mailboxes = Mailboxes::new();
        for name in scenery.mailboxes {
            mailboxes.add_account(&address(name), Access::tokens(&authority));
        }
        if let Some(name) = scenery.ungranted {
            mailboxes.set_access(&address(name), Access::revoke)?;
        }
        if let Some(name) = scenery.shut {
            mailboxes.add_account(&address(name), Access::tokens(&authority).ungranted());
        }
        let tls = Tls::generate()?;
        fs::write(folder.join("ca.pem"), tls.ca_pem())?;
        let imap = ImapServer::start(
            ImapConfig::exchange(TlsMode::Implicit(tls)),
            mailboxes.clone(),
        )
        .await?;
        let client_secret = STANDARD.encode(rand::random::<[u8; 24]>());
        let settings = TokenConfig {
            secrets: vec![client_secret.clone()],
            lifetime: scenery.token_life,
            delegated: scenery.person.map(delegated).unwrap_or_default(),
            ..TokenConfig::default()
        };
        let tokens = TokenEndpoint::start(settings.clone(), authority.clone()).await?;
        let webhook_secret = format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 24]>()));
        let receiver = Receiver::start(&webhook_secret).await?;
        secret_file(&folder.join("client-secret"), &client_secret)?;
        secret_file(&folder.join("webhook-secret"), &webhook_secret)?;
        let vault_key = STANDARD.encode(rand::random::<[u8; 32]>());
        secret_file(&folder.join("vault-key"), &vault_key)?;
        let config_path = folder.join("postrider.toml");
        let text = configuration(
            scenery,
            &settings,
            &tokens.authority_url(),
            &receiver.url(),
            imap.port(),
        );
        fs::write(&config_path, text)?;
        let daemon = daemon(&config_path).await?;
        Ok(Self {
            scenery,
            imap,
            tokens,
            authority,
            receiver,
            daemon,
            mailboxes,
            config_path,
            sent: BTreeMap::new(),
            delivered: 0,
        })
    }

    /// Puts a mail into the next mailbox.
    pub(super) fn deliver(&mut self) -> anyhow::Result<()> {
        let turn = usize::try_from(self.delivered)? % self.scenery.mailboxes.len();
        self.deliver_to(self.scenery.mailboxes[turn])
    }

    pub(super) fn deliver_to(&mut self, name: &str) -> anyhow::Result<()> {
        let number = self.delivered;
        self.delivered += 1;
        let user = address(name);
        let raw = mail::plain(number, MAIL_BYTES);
        let at = Instant::now();
        self.mailboxes
            .deliver(&user, "INBOX", raw, OffsetDateTime::now_utc())?;
        self.sent.insert(
            mail::message_id(number).trim_matches(['<', '>']).to_owned(),
            at,
        );
        Ok(())
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Messages that the receiver has not accepted.
    pub(super) fn missing(&self) -> usize {
        let arrived: BTreeSet<String> = self.arrivals().into_keys().collect();
        self.sent.keys().filter(|id| !arrived.contains(*id)).count()
    }

    /// From the mailbox to the receiver, for what was sent since; fastest first.
    pub(super) fn latencies(&self, since: Instant) -> Vec<Duration> {
        let arrivals = self.arrivals();
        let sent = self.sent.iter().filter(|(_, at)| **at >= since);
        let mut all: Vec<Duration> = sent
            .filter_map(|(id, at)| Some(arrivals.get(id)?.saturating_duration_since(*at)))
            .collect();
        all.sort_unstable();
        all
    }

    /// When each message was accepted first, by Message-ID.
    fn arrivals(&self) -> BTreeMap<String, Instant> {
        let mut arrivals = BTreeMap::new();
        for one in self.receiver.received() {
            let json = one.json();
            if let Some(id) = json["data"]["message"]["message_id"].as_str() {
                arrivals.entry(id.to_owned()).or_insert(one.arrived);
            }
        }
        arrivals
    }

    /// The watch of a mailbox's INBOX.
    pub(super) fn watch(&self, name: &str) -> anyhow::Result<Arc<WatchLine>> {
        let worker = self.daemon.directory.get(&MailboxKey::from(name));
        let line = worker.and_then(|worker| worker.lines.first().cloned());
        line.with_context(|| format!("no watch of {name}"))
    }

    /// What `postrider mailboxes resync` does.
    pub(super) fn resync(&self, name: &str) -> anyhow::Result<()> {
        let worker = self.daemon.directory.get(&MailboxKey::from(name));
        let worker = worker.with_context(|| format!("no mailbox {name}"))?;
        worker.gate.with(Gate::credential_changed);
        for line in worker.lines.iter() {
            anyhow::ensure!(line.order(Order::Resync), "{name} takes no order");
        }
        Ok(())
    }

    /// Whether a secret's file was read anew, as `/metrics` tells it.
    pub(super) fn is_secret_replaced(&self) -> bool {
        let families = self.daemon.shared.telemetry.catalogue.registry().gather();
        let mut reads = families
            .iter()
            .filter(|family| family.name() == "postrider_secret_reads_total")
            .flat_map(|family| family.get_metric());
        reads.any(|one| {
            let mut labels = one.get_label().iter();
            labels.any(|label| label.value() == "replaced") && one.get_counter().get_value() > 0.0
        })
    }

    /// How long ago the last login was accepted.
    pub(super) fn youngest_session(&self) -> Duration {
        let attempts = self.imap.login_attempts(Scope::Server);
        let last = attempts.iter().rfind(|one| one.accepted);
        last.map_or(Duration::ZERO, |one| one.at.elapsed())
    }

    /// Puts another secret into the file that the configuration names, as a secrets manager does.
    pub(super) fn write_secret(&self, secret: &str) -> anyhow::Result<()> {
        let path = self.config_path.with_file_name("client-secret");
        let fresh = path.with_extension("new");
        secret_file(&fresh, secret)?;
        fs::rename(&fresh, &path).context("the secret's file")
    }

    pub(super) fn endpoint_state(&self) -> Option<EndpointState> {
        self.daemon
            .shared
            .dispatcher
            .status()
            .first()
            .map(|status| status.state)
    }

    /// Where to look while it stays up.
    pub(super) fn directions(&self) -> String {
        let program = std::env::args().next();
        let program = program.as_deref().unwrap_or("postrider");
        let mut text = format!(
            "\nUp until Ctrl-C, with a mail every {} seconds. In another terminal:\n\n  \
             export POSTRIDER_CONFIG={}\n",
            super::SERVED_EVERY.as_secs(),
            self.config_path.display()
        );
        let mut commands = vec![
            "mailboxes list",
            "doctor support",
            "doctor",
            "explain support",
            "events list",
            "credentials",
            "token contoso",
            "setup exchange",
        ];
        commands.extend(self.scenery.person.map(|_| "login person"));
        for command in commands {
            text += &format!("  {program} {command}\n");
        }
        if let Some(http) = self.daemon.http {
            text += &format!("  curl http://{http}/metrics\n");
        }
        let log = self.config_path.with_file_name("log");
        text += &format!("  tail -f {}\n", log.display());
        text + &format!(
            "\nmail server 127.0.0.1:{}, token endpoint {}, receiver {}\n",
            self.imap.port(),
            self.tokens.authority_url(),
            self.receiver.url()
        )
    }

    /// The address that must stay shut.
    pub(super) fn shut(&self) -> Option<String> {
        self.scenery.shut.map(address)
    }

    /// A file beside the configuration, where orders to the demo are written while it stays up.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.config_path.with_file_name(name)
    }

    /// Stops the daemon in order; the rest ends when it is dropped.
    pub(super) async fn end(self) {
        self.daemon.stop().await;
    }
}

pub(super) fn address(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}

/// One who signs in by device code or browser, at once and without being asked.
fn delegated(name: &'static str) -> Delegated {
    let user = address(name);
    Delegated {
        browser: Some(user.clone()),
        users: vec![User {
            name: user.clone(),
            opens: Vec::new(),
        }],
        device_interval: Duration::from_secs(1),
        device_decision: Some((2, Decision::Approve(user))),
        ..Delegated::default()
    }
}

/// For nobody else's eyes, as the daemon wants it.
fn secret_file(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret.as_bytes())
}

fn configuration(
    scenery: &Scenery,
    tokens: &TokenConfig,
    authority: &str,
    hook: &str,
    imap_port: u16,
) -> String {
    let mailboxes: String = scenery
        .mailboxes
        .iter()
        .map(|name| format!("{name} = \"{}\"\n", address(name)))
        .collect();
    let shut = scenery.shut.map_or_else(String::new, |name| {
        format!("must_not_open = [\"{}\"]\n", address(name))
    });
    let person = scenery.person.map_or_else(String::new, |_| {
        format!(
            r#"
[credentials.person]
type = "microsoft-delegated"
tenant = "{tenant}"
client_id = "{client}"
authority = "{authority}"

[vault]
key = {{ file = "./vault-key" }}
"#,
            tenant = tokens.tenant,
            client = tokens.client_id,
        )
    });
    format!(
        r#"# What the demo's daemon runs on. Paths start from this file's folder.
instance = "demo"

[store]
url = "sqlite://./postrider.db"

[http]
listen = "127.0.0.1:0"

[admin]
listen = "unix:./admin.sock"

[limits]
grace = "3s"

[credentials.contoso]
type = "microsoft"
tenant = "{tenant}"
client_id = "{client}"
client_secret = {{ file = "./client-secret" }}
authority = "{authority}"
{shut}{person}
[endpoints.tickets]
url = "{hook}"
secret = {{ file = "./webhook-secret" }}

[groups.helpdesk]
server = {{ preset = "exchange-online", host = "127.0.0.1", port = {imap_port}, ca_file = "./ca.pem" }}
credential = "contoso"
folders = ["INBOX"]
endpoints = ["tickets"]
{group}
[groups.helpdesk.mailboxes]
{mailboxes}"#,
        group = scenery.group,
        tenant = tokens.tenant,
        client = tokens.client_id,
    )
}

async fn daemon(config_path: &Path) -> anyhow::Result<Daemon> {
    // The demo is the same everywhere: no POSTRIDER__ variable changes it.
    let environment = Environment {
        now: crate::clock::wall(),
        ..Environment::default()
    };
    let loaded = Config::load(config_path, &environment).map_err(|problems| {
        let all: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.place, problem.what))
            .collect();
        anyhow::anyhow!("its configuration: {}", all.join("; "))
    })?;
    let telemetry = Arc::new(Telemetry::new().context("metrics")?);
    Ok(Daemon::start(loaded.config, config_path.to_owned(), telemetry).await?)
}
