//! A small world around the real daemon: a Dovecot that takes mail by LMTP, a receiver that takes an
//! event only if the `standardwebhooks` crate verifies it, and the process, which is really killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postrider_sandbox::{
    mail,
    proxy::FaultProxy,
    receiver::{Behaviour, Outcome, Receiver},
};
use serde_json::Value;
use standardwebhooks::Webhook;
use tempfile::TempDir;

use crate::support::{
    dovecot::{self, Dovecot},
    lmtp::Lmtp,
};

pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(super) const PASSWORD: &str = "correct horse";
pub(super) const APP_SECRET: &str = "app~secret";

/// What the receiver answers to an event that `standardwebhooks` does not verify.
const UNVERIFIED: u16 = 418;

/// Long enough for a busy machine, short enough that a test that fails does so soon.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// How soon a mailbox is watched again when what was wrong is over.
pub(super) const RECOVERY: Duration = Duration::from_secs(30);

/// Requests that may run at a time.
pub(super) const IN_FLIGHT_MAX: usize = 4;

pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) dovecot: Dovecot,
    pub(super) proxy: FaultProxy,
    pub(super) receiver: Receiver,
    pub(super) users: Vec<String>,
    pub(super) settings: Settings,
    daemon: Option<Child>,
    /// The messages that the server accepted, and when.
    sent: Mutex<BTreeMap<u64, Instant>>,
    number: AtomicU64,
}

/// What a test wants different.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) mailboxes: usize,
    pub(super) credential: &'static str,
    /// Lines for `[groups.all]`.
    pub(super) group: String,
    /// More keys of single mailboxes, in the form of an inline table's inside.
    pub(super) members: BTreeMap<usize, String>,
    /// More sections.
    pub(super) more: String,
    pub(super) folders: Vec<&'static str>,
    /// Tokens that open every mailbox.
    pub(super) app_tokens: Vec<String>,
    pub(super) way: Way,
}

/// How the daemon reaches the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    /// By a proxy that breaks.
    Breakable,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mailboxes: 1,
            credential: "lab",
            group: String::new(),
            members: BTreeMap::new(),
            more: String::new(),
            folders: vec!["INBOX"],
            app_tokens: Vec::new(),
            way: Way::Direct,
        }
    }
}

/// A larger number where the run is to prove more (`make prove`).
pub(super) fn scaled(count: usize) -> usize {
    match std::env::var_os("POSTRIDER_PROVE") {
        Some(_) => count * 5,
        None => count,
    }
}

impl World {
    pub(super) async fn new(settings: Settings) -> Self {
        let users: Vec<String> = (0..settings.mailboxes)
            .map(|n| format!("box{n}@example.org"))
            .collect();
        let passwords: Vec<(&str, &str)> =
            users.iter().map(|user| (user.as_str(), PASSWORD)).collect();
        let app_tokens: Vec<&str> = settings.app_tokens.iter().map(String::as_str).collect();
        let dovecot = Dovecot::start(dovecot::Settings {
            passwords: &passwords,
            app_tokens: &app_tokens,
            ..dovecot::Settings::default()
        })
        .await;
        for user in &users {
            for folder in settings.folders.iter().filter(|name| **name != "INBOX") {
                dovecot.create_folder(user, folder).await;
            }
        }
        let proxy = FaultProxy::start(([127, 0, 0, 1], dovecot.imaps_port()).into())
            .await
            .unwrap();
        let receiver = Receiver::start(SECRET).await.unwrap();
        let verifier = Webhook::new(SECRET).unwrap();
        receiver.when(
            move |request| verifier.verify(&request.body, &request.headers).is_err(),
            Behaviour::status(UNVERIFIED),
        );
        Self {
            dir: tempfile::tempdir().unwrap(),
            dovecot,
            proxy,
            receiver,
            users,
            settings,
            daemon: None,
            sent: Mutex::default(),
            number: AtomicU64::new(1),
        }
    }

    /// A world with a daemon that watches all its mailboxes.
    pub(super) async fn watching(settings: Settings) -> Self {
        let mut world = Self::new(settings).await;
        world.start();
        world.expect_watching(world.settings.mailboxes).await;
        world
    }

    pub(super) fn write_config(&self) {
        let dir = self.dir.path().display();
        let members: String = self
            .users
            .iter()
            .enumerate()
            .map(|(n, user)| match self.settings.members.get(&n) {
                None => format!("box{n} = \"{user}\"\n"),
                Some(more) => format!("box{n} = {{ address = \"{user}\", {more} }}\n"),
            })
            .collect();
        let port = match self.settings.way {
            Way::Direct => self.dovecot.imaps_port(),
            Way::Breakable => self.proxy.port(),
        };
        let text = format!(
            "instance = \"e2e\"\n[store]\nurl = \"sqlite://{dir}/postrider.db\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"unix:{dir}/admin.sock\"\n\
             [credentials.lab]\ntype = \"password\"\npassword = {{ env = \"LAB_PASSWORD\" }}\n\
             [endpoints.tickets]\nurl = \"{url}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n\
             max_in_flight = {IN_FLIGHT_MAX}\n{more}\n\
             [groups.all]\nserver = {{ host = \"localhost\", port = {port}, ca_file = \"{ca}\" }}\n\
             credential = \"{credential}\"\nfolders = {folders:?}\nendpoints = [\"tickets\"]\n{group}\n\
             [groups.all.mailboxes]\n{members}",
            url = self.receiver.url(),
            more = self.settings.more,
            ca = self.dovecot.ca_file().display(),
            credential = self.settings.credential,
            folders = self.settings.folders,
            group = self.settings.group,
        );
        fs::write(self.config_path(), text).unwrap();
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("postrider.toml")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command
            .env("LAB_PASSWORD", PASSWORD)
            .env("WRONG_PASSWORD", "not it")
            .env("APP_SECRET", APP_SECRET)
            .env("HOOK_SECRET", SECRET)
            .env("POSTRIDER_CONFIG", self.config_path());
        command
    }

    pub(super) fn start(&mut self) {
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
    pub(super) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM, to which it ends in order.
    pub(super) async fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || daemon.wait());
        let status = ended.await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// The most memory that the daemon ever had, in MiB.
    pub(super) fn memory_high_water(&self) -> f64 {
        let pid = self.daemon.as_ref().expect("the daemon runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("VmHWM in kB") / 1024.0
    }

    /// A command of the operator; its JSON.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = self.command();
        let output = command.args(arguments).arg("--json").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(text + &String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    pub(super) fn mailbox(&self, key: &str) -> Value {
        self.ask(&["mailboxes", "show", key]).unwrap_or(Value::Null)
    }

    /// All mailboxes, as `mailboxes list` tells of them.
    pub(super) fn mailboxes(&self) -> Vec<Value> {
        let list = self.ask(&["mailboxes", "list"]).unwrap_or(Value::Null);
        list["mailboxes"].as_array().cloned().unwrap_or_default()
    }

    pub(super) fn in_state(&self, state: &str) -> usize {
        let all = self.mailboxes();
        all.iter().filter(|one| one["state"] == state).count()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(super) async fn metric(&self, line: &str) -> f64 {
        // The port is the system's choice; the log names it.
        let log = self.log();
        let told = "\"http\":\"";
        let (_, rest) = log.rsplit_once(told).expect("the log names the port");
        let (address, _) = rest.split_once('"').expect("the log names the port");
        let answer = reqwest::get(format!("http://{address}/metrics")).await;
        let text = answer.unwrap().text().await.unwrap();
        text.lines()
            .find_map(|known| known.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("no metric {line} in\n{text}"))
    }

    // ------------------------------------------------------------ mail

    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a message to the server, which has it for good when this returns.
    pub(super) async fn deliver(&self, lmtp: &mut Lmtp, to: &str, number: u64, raw: &[u8]) {
        lmtp.deliver(to, raw).await;
        self.sent.lock().unwrap().insert(number, Instant::now());
    }

    /// Plain messages for a mailbox's INBOX.
    pub(super) async fn burst(&self, mailbox: usize, count: usize) {
        self.burst_to(&self.users[mailbox], count).await;
    }

    pub(super) async fn burst_to(&self, address: &str, count: usize) {
        let mut lmtp = self.dovecot.lmtp().await;
        for _ in 0..count {
            let number = self.next_number();
            let raw = mail::plain(number, 800);
            self.deliver(&mut lmtp, address, number, &raw).await;
        }
    }

    pub(super) fn sent(&self) -> BTreeMap<u64, Instant> {
        self.sent.lock().unwrap().clone()
    }

    /// The accepted events by the number of their message: ids, and when each came first.
    pub(super) fn arrived(&self) -> BTreeMap<u64, (BTreeSet<String>, Instant)> {
        let mut arrived: BTreeMap<u64, (BTreeSet<String>, Instant)> = BTreeMap::new();
        for one in self.receiver.received() {
            let number = number_of(&one.json()).expect("an event of a message that was sent");
            let entry = arrived
                .entry(number)
                .or_insert((BTreeSet::new(), one.arrived));
            entry.0.insert(one.id);
            entry.1 = entry.1.min(one.arrived);
        }
        arrived
    }

    /// The event of a message.
    pub(super) fn event(&self, number: u64) -> Value {
        let mut received = self.receiver.received().into_iter().map(|one| one.json());
        received
            .find(|json| number_of(json) == Some(number))
            .expect("the message's event")
    }

    /// Requests beyond the first for the same event, answered or not.
    pub(super) fn repeats(&self) -> usize {
        let attempts = self.receiver.attempts();
        let ids: BTreeSet<&str> = attempts.iter().map(|one| one.id.as_str()).collect();
        attempts.len() - ids.len()
    }
}

/// The number that the test mail carries in its Message-ID or, without headers, in its text.
fn number_of(event: &Value) -> Option<u64> {
    let data = &event["data"];
    let by_id = |id: &str| id.split_once('@')?.0.parse().ok();
    let by_text = |text: &str| {
        let rest = text.split_once("This is message ")?.1;
        rest.split_once(',')?.0.parse().ok()
    };
    let id = data["message"]["message_id"].as_str().and_then(by_id);
    id.or_else(|| data["text"]["plain"].as_str().and_then(by_text))
}

/// What the world must look like; each waits for it, and says what is not so.
impl World {
    pub(super) async fn expect(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        self.expect_within(SOON, what, condition).await;
    }

    /// Returns how long it took.
    pub(super) async fn expect_within(
        &self,
        limit: Duration,
        what: &str,
        condition: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        while !condition(self) {
            assert!(
                begun.elapsed() < limit,
                "not so within {limit:?}: {what}\n{}",
                self.report()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begun.elapsed()
    }

    fn report(&self) -> String {
        let told = |what: &[&str]| self.ask(what).unwrap_or_else(Value::String);
        format!(
            "mailboxes: {:#}\nendpoints: {:#}\nlog: {}\nserver: {}",
            told(&["mailboxes", "list"]),
            told(&["endpoints", "list"]),
            self.log(),
            self.dovecot.log()
        )
    }

    pub(super) async fn expect_watching(&self, count: usize) {
        let what = format!("{count} mailboxes watched");
        self.expect(&what, |world| world.in_state("watching") == count)
            .await;
    }

    pub(super) async fn expect_state(&self, key: &str, state: &str) {
        let what = format!("{key} {state}");
        self.expect(&what, |world| world.mailbox(key)["state"] == state)
            .await;
    }

    /// Waits until every message that was delivered has arrived at the receiver.
    pub(super) async fn expect_all(&self) {
        self.expect_all_within(SOON).await;
    }

    pub(super) async fn expect_all_within(&self, limit: Duration) {
        let sent = self.sent();
        self.expect_within(limit, "as many events as messages", |world| {
            world.receiver.distinct_ids() >= sent.len()
        })
        .await;
        let arrived = self.arrived();
        let lost: Vec<&u64> = sent.keys().filter(|it| !arrived.contains_key(it)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}\n{}", self.report());
    }

    /// The account adds up: nothing lost, nothing unaccounted for, one id for each message, every
    /// request verified, and nothing changed in any mailbox.
    pub(super) async fn expect_account(&self) {
        self.expect("all deliveries settled", |world| {
            let list = world.ask(&["endpoints", "list"]).unwrap_or(Value::Null);
            let all = list["endpoints"].as_array().cloned().unwrap_or_default();
            !all.is_empty()
                && all
                    .iter()
                    .all(|one| one["pending"] == 0 && one["dead"] == 0)
        })
        .await;
        let arrived = self.arrived();
        let numbers: Vec<u64> = arrived.keys().copied().collect();
        assert_eq!(self.sent().into_keys().collect::<Vec<_>>(), numbers);
        for (number, (ids, _)) in &arrived {
            assert_eq!(ids.len(), 1, "message {number} has one id: {ids:?}");
        }
        assert_eq!(self.receiver.distinct_ids(), arrived.len());
        for mailbox in self.mailboxes() {
            assert_eq!(mailbox["sums"]["unaccounted_messages"], 0, "{mailbox:#}");
            assert_eq!(mailbox["sums"]["unaccounted_deliveries"], 0, "{mailbox:#}");
        }
        assert_eq!(self.metric("postrider_unaccounted_messages").await, 0.0);
        assert_eq!(self.metric("postrider_unaccounted_deliveries").await, 0.0);
        assert_eq!(self.receiver.rejections(), Vec::<&str>::new());
        let unverified = |one: &postrider_sandbox::receiver::Received| {
            one.outcome == Outcome::Refused(UNVERIFIED)
        };
        assert!(!self.receiver.attempts().iter().any(unverified));
        for user in &self.users {
            for folder in &self.settings.folders {
                let flags = self.dovecot.flags(user, folder).await;
                let changed = flags
                    .iter()
                    .find(|one| !matches!(one.as_str(), "" | "\\Recent"));
                assert_eq!(changed, None, "{user} {folder}");
            }
        }
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
