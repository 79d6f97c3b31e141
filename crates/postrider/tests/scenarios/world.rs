//! A small world around the real daemon: a mail server, a receiver, a token endpoint, a network that
//! breaks, and the process itself, which is really killed.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use postrider_sandbox::{
    imap::{Config, ImapServer, Profile, TlsMode},
    mail,
    mailboxes::{Access, Mailboxes},
    proxy::FaultProxy,
    receiver::Receiver,
    tls::Tls,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::post::Post;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const PASSWORD: &str = "correct horse";

/// Long enough for a busy machine, short enough that a test that fails does so soon.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) tls: Tls,
    pub(crate) server: ImapServer,
    pub(crate) proxy: FaultProxy,
    pub(crate) receiver: Receiver,
    pub(crate) users: Vec<String>,
    pub(crate) settings: Settings,
    /// More variables of the daemon's environment.
    pub(crate) environment: Vec<(String, String)>,
    daemon: Option<Child>,
    post: Post,
}

/// What a scenario wants different.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) mailboxes: usize,
    /// As they stand in `folders = […]`.
    pub(crate) folders: &'static str,
    /// Lines for `[groups.all]`.
    pub(crate) group: String,
    /// As they stand in `endpoints = […]`.
    pub(crate) endpoints: &'static str,
    /// Lines for `[endpoints.tickets]`.
    pub(crate) endpoint: String,
    /// More TOML.
    pub(crate) more: String,
    /// The `[credentials.lab]` section.
    pub(crate) credential: String,
    /// Where store and spool lie; the world's own folder where there is none.
    pub(crate) store: Option<PathBuf>,
    /// Whom the mail server plays.
    pub(crate) profile: Profile,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mailboxes: 1,
            folders: "\"INBOX\"",
            group: "idle_cycle = \"5s\"\n".to_owned(),
            endpoints: "\"tickets\"",
            endpoint: String::new(),
            more: String::new(),
            credential: "type = \"password\"\npassword = { env = \"LAB_PASSWORD\" }\n".to_owned(),
            store: None,
            profile: Profile::dovecot(),
        }
    }
}

impl World {
    pub(crate) async fn new(settings: Settings) -> Self {
        let mailboxes = Mailboxes::new();
        let users: Vec<String> = (0..settings.mailboxes)
            .map(|n| format!("box{n}@example.org"))
            .collect();
        for user in &users {
            mailboxes.add_account(user, Access::password(PASSWORD));
        }
        let tls = Tls::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), tls.ca_pem()).unwrap();
        let config = Config::new(TlsMode::Implicit(tls.clone()), settings.profile.clone());
        let server = ImapServer::start(config, mailboxes.clone()).await.unwrap();
        let proxy = FaultProxy::start(server.address()).await.unwrap();
        let receiver = Receiver::start(SECRET).await.unwrap();
        Self {
            post: Post::new(mailboxes.clone()),
            dir,
            mailboxes,
            tls,
            server,
            proxy,
            receiver,
            users,
            settings,
            environment: Vec::new(),
            daemon: None,
        }
    }

    /// A world with a daemon that watches all its mailboxes.
    pub(crate) async fn watching(settings: Settings) -> Self {
        let mut world = Self::new(settings).await;
        world.start();
        world.expect_watching(world.settings.mailboxes).await;
        world
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("postrider.toml")
    }

    pub(crate) fn write_config(&self) {
        let dir = self.dir.path();
        let store = self
            .settings
            .store
            .clone()
            .unwrap_or_else(|| dir.to_path_buf());
        let keys: String = self
            .users
            .iter()
            .enumerate()
            .map(|(n, user)| format!("box{n} = \"{user}\"\n"))
            .collect();
        let text = format!(
            "instance = \"test\"\n[store]\nurl = \"sqlite://{store}/postrider.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [admin]\nlisten = \"unix:{dir}/admin.sock\"\n[credentials.lab]\n{credential}\
             [endpoints.tickets]\nurl = \"{url}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\nmax_in_flight = 4\n{endpoint}\
             [groups.all]\nserver = {{ host = \"localhost\", port = {port}, tls = \"implicit\", ca_file = \"{dir}/ca.pem\" }}\n\
             credential = \"lab\"\nfolders = [{folders}]\nendpoints = [{endpoints}]\n{group}\
             [groups.all.mailboxes]\n{keys}{more}",
            store = store.display(),
            dir = dir.display(),
            credential = self.settings.credential,
            url = self.receiver.url(),
            port = self.proxy.port(),
            folders = self.settings.folders,
            endpoints = self.settings.endpoints,
            endpoint = self.settings.endpoint,
            group = self.settings.group,
            more = self.settings.more,
        );
        fs::write(self.config_path(), text).unwrap();
    }

    /// The program, in the daemon's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command
            .env("LAB_PASSWORD", PASSWORD)
            .env("HOOK_SECRET", SECRET)
            .env("POSTRIDER_CONFIG", self.config_path())
            .envs(self.environment.iter().cloned());
        command
    }

    pub(crate) fn start(&mut self) {
        self.write_config();
        assert!(self.daemon.is_none(), "the daemon runs already");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let daemon = self
            .command()
            .arg("run")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    /// SIGKILL, at whatever instruction it is.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Whether the process is there and no zombie.
    pub(crate) fn is_running(&mut self) -> bool {
        let daemon = self.daemon.as_mut().expect("the daemon was started");
        daemon.try_wait().unwrap().is_none()
    }

    /// Forgets a daemon that has ended by itself.
    pub(crate) fn reap(&mut self) {
        self.daemon = None;
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.pid().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal("-TERM");
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if daemon.try_wait().unwrap().is_some() {
                return daemon.wait().unwrap().code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        panic!("the daemon did not stop on SIGTERM\n{}", self.log());
    }

    /// Fails at once where the daemon has ended by itself.
    pub(crate) fn assert_running(&self) {
        let ended = self.daemon.as_ref().is_some_and(|daemon| {
            let stat =
                fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_none_or(|rest| rest.trim_start().starts_with('Z'))
        });
        assert!(!ended, "the daemon ended by itself\n{}", self.log());
    }

    /// The most memory that the daemon had at any time (VmHWM).
    pub(crate) fn memory_high_water_kib(&self) -> u64 {
        let pid = self.daemon.as_ref().expect("the daemon runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("a line VmHWM");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A command of the operator; its JSON.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self
            .command()
            .args(arguments)
            .arg("--json")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!(
                "{} {}",
                text,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    pub(crate) fn mailbox(&self, key: &str) -> Value {
        self.ask(&["mailboxes", "show", key]).unwrap_or(Value::Null)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A URL of the public listener; its port is the system's choice, and the log names it.
    pub(crate) fn http(&self, path: &str) -> String {
        let log = self.log();
        let told = "\"http\":\"";
        let start = log.rfind(told).expect("the log names the port");
        let rest = &log[start + told.len()..];
        let address = rest.split_once('"').expect("the address ends").0;
        format!("http://{address}/{path}")
    }

    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(self.http("metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let text = self.metrics().await;
        text.lines()
            .find_map(|known| known.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("no metric {line} in\n{text}"))
    }

    /// Waits until a metric has a value.
    pub(crate) async fn expect_metric(&self, line: &str, value: f64) {
        let deadline = Instant::now() + SOON;
        loop {
            let now = self.metric(line).await;
            if now == value {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{line} is {now}, not {value}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // ------------------------------------------------------------ mail

    /// Delivers a plain message to a mailbox.
    pub(crate) fn deliver(&self, mailbox: usize) -> String {
        let number = self.next_number();
        self.deliver_raw(mailbox, number, mail::plain(number, 800))
    }

    pub(crate) fn deliver_raw(&self, mailbox: usize, number: u64, raw: Vec<u8>) -> String {
        self.deliver_at(mailbox, number, raw, time::OffsetDateTime::now_utc())
    }

    pub(crate) fn deliver_at(
        &self,
        mailbox: usize,
        number: u64,
        raw: Vec<u8>,
        at: time::OffsetDateTime,
    ) -> String {
        self.post.deliver(&self.users[mailbox], number, raw, at)
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.post.next_number()
    }

    /// For a task that delivers while the world breaks.
    pub(crate) fn post(&self) -> Post {
        self.post.clone()
    }

    /// Begins anew: what was sent so far has arrived and is expected no more.
    pub(crate) fn forget(&self) {
        self.post.forget();
        self.receiver.clear();
    }

    pub(crate) fn burst(&self, mailbox: usize, count: usize) {
        for _ in 0..count {
            self.deliver(mailbox);
        }
    }

    /// Message-IDs of the accepted events.
    pub(crate) fn arrived(&self) -> BTreeSet<String> {
        let messages = self.receiver.received().into_iter().map(|one| one.json());
        messages
            .filter_map(|json| {
                json["data"]["message"]["message_id"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect()
    }

    pub(crate) fn lost(&self) -> Vec<String> {
        let arrived = self.arrived();
        let sent = self.post.sent().into_iter();
        sent.filter(|id| !arrived.contains(id)).collect()
    }

    // ------------------------------------------------------------ expectations

    /// Waits until every message that was delivered has arrived at the receiver.
    pub(crate) async fn expect_all(&self) {
        self.expect_all_within(SOON).await;
    }

    pub(crate) async fn expect_all_within(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.lost().is_empty() {
            let lost = self.lost();
            assert!(
                Instant::now() < deadline,
                "{} of {} messages did not arrive within {limit:?}, {:?} among them; mailboxes: {:#}\nendpoints: {:#}\n{}",
                lost.len(),
                self.post.sent().len(),
                lost.first(),
                self.ask(&["mailboxes", "list"])
                    .unwrap_or_else(Value::String),
                self.ask(&["endpoints", "list"])
                    .unwrap_or_else(Value::String),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn expect_watching(&self, count: usize) {
        self.expect(&format!("{count} mailboxes watched"), |world| {
            world.ask(&["mailboxes", "list"]).is_ok_and(|json| {
                let all = json["mailboxes"].as_array().cloned().unwrap_or_default();
                all.iter()
                    .filter(|mailbox| mailbox["state"] == "watching")
                    .count()
                    == count
            })
        })
        .await;
    }

    pub(crate) async fn expect_state(&self, key: &str, state: &str) {
        self.expect(&format!("{key} {state}"), |world| {
            world.mailbox(key)["state"] == state
        })
        .await;
    }

    pub(crate) async fn expect(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition(self) {
            self.assert_running();
            assert!(
                Instant::now() < deadline,
                "not so within {SOON:?}: {what}; mailboxes: {:#}\n{}",
                self.ask(&["mailboxes", "list"])
                    .unwrap_or_else(Value::String),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The account adds up: nothing lost, nothing unaccounted for, no id twice with other content,
    /// nothing changed in a mailbox.
    pub(crate) async fn expect_account(&self) {
        self.expect("all deliveries settled", |world| {
            world.ask(&["endpoints", "list"]).is_ok_and(|json| {
                json["endpoints"]
                    .as_array()
                    .is_some_and(|all| all.iter().all(|one| one["pending"] == 0))
            })
        })
        .await;
        assert_eq!(self.lost(), Vec::<String>::new());
        let list = self.ask(&["mailboxes", "list"]).unwrap();
        for mailbox in list["mailboxes"].as_array().unwrap() {
            let sums = &mailbox["sums"];
            assert_eq!(sums["unaccounted_messages"], 0, "{mailbox:#}");
        }
        assert_eq!(self.metric("postrider_unaccounted_messages").await, 0.0);
        assert_eq!(self.metric("postrider_unaccounted_deliveries").await, 0.0);
        assert!(
            self.server.violations().is_empty(),
            "{:?}",
            self.server.violations()
        );
        assert!(
            self.receiver.rejections().is_empty(),
            "{:?}",
            self.receiver.rejections()
        );
        let messages = self.arrived().len();
        let ids = self.receiver.distinct_ids();
        assert_eq!(ids, messages, "as many ids as messages");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
