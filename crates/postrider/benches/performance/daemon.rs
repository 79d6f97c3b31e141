//! The release binary as a process of its own, and what the kernel says about it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const PASSWORD: &str = "correct horse";
/// What Linux counts CPU time in, whatever its own clock does (proc(5), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What differs from one measurement to the next; all else is the default.
pub(crate) struct Setup<'a> {
    pub(crate) imaps_port: u16,
    pub(crate) ca_pem: &'a str,
    /// The body of `[credentials.bench]`.
    pub(crate) credential: &'a str,
    /// What goes into `./client-secret`.
    pub(crate) client_secret: Option<&'a str>,
    pub(crate) hook: &'a str,
    pub(crate) max_in_flight: u32,
    pub(crate) start: &'a str,
    /// Addresses; the keys are `box0`, `box1`, and so on.
    pub(crate) mailboxes: &'a [String],
}

pub(crate) struct Daemon {
    child: Child,
    http: u16,
    /// Configuration, log and socket.
    small: TempDir,
    _store: TempDir,
}

/// Bytes as `/proc/PID/smaps_rollup` and `/proc/PID/status` tell them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) pss: f64,
    pub(crate) pss_anon: f64,
    /// The most that was resident at any time so far.
    pub(crate) peak: f64,
}

impl Daemon {
    pub(crate) fn start(folder: &Path, setup: &Setup<'_>) -> Self {
        let store = tempfile::Builder::new()
            .prefix("store-")
            .tempdir_in(folder)
            .unwrap();
        // Paths of unix sockets are short, so this directory is not below the target folder.
        let small = tempfile::Builder::new().prefix("pr-").tempdir().unwrap();
        let http = free_port();
        fs::write(small.path().join("ca.pem"), setup.ca_pem).unwrap();
        if let Some(secret) = setup.client_secret {
            fs::write(small.path().join("client-secret"), secret).unwrap();
        }
        let config = small.path().join("postrider.toml");
        fs::write(&config, configuration(store.path(), http, setup)).unwrap();
        let log = fs::File::create(small.path().join("log")).unwrap();
        let child = Command::new(binary())
            .arg("--config")
            .arg(&config)
            .arg("run")
            .env("BENCH_PASSWORD", PASSWORD)
            .env("BENCH_HOOK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            http,
            small,
            _store: store,
        }
    }

    /// Waits until so many mailboxes are watched.
    pub(crate) async fn expect_watching(&mut self, mailboxes: usize, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            let watching = self.metric("postrider_mailboxes{state=\"watching\"}").await;
            if watching.is_some_and(|watching| watching >= mailboxes as f64) {
                return;
            }
            self.still_runs();
            assert!(
                Instant::now() < end,
                "{watching:?} watched of {mailboxes}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    pub(crate) fn still_runs(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "the daemon ended: {ended:?}\n{}",
            self.log()
        );
    }

    /// A line of `/metrics`; `None` while there is none.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics().await?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    pub(crate) async fn metrics(&self) -> Option<String> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.http))
            .await
            .ok()?;
        answer.text().await.ok()
    }

    pub(crate) fn memory(&self) -> Memory {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(self.proc(file)).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.expect("a field that Linux has") * 1024.0
        };
        Memory {
            pss: field("smaps_rollup", "Pss:"),
            pss_anon: field("smaps_rollup", "Pss_Anon:"),
            peak: field("status", "VmHWM:"),
        }
    }

    /// Seconds of CPU so far, user and system.
    pub(crate) fn cpu(&self) -> f64 {
        let text = fs::read_to_string(self.proc("stat")).unwrap();
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.small.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(store: &Path, http: u16, setup: &Setup<'_>) -> String {
    let keys: String = setup
        .mailboxes
        .iter()
        .enumerate()
        .map(|(n, address)| format!("box{n} = \"{address}\"\n"))
        .collect();
    format!(
        r#"instance = "bench"
[store]
url = "sqlite://{store}/postrider.db"
[http]
listen = "127.0.0.1:{http}"
[admin]
listen = "unix:./admin.sock"
[limits]
logins_per_second = 400
login_burst = 50
[credentials.bench]
{credential}
[endpoints.tickets]
url = "{hook}"
secret = {{ env = "BENCH_HOOK_SECRET" }}
max_in_flight = {max_in_flight}
[groups.all]
server = {{ host = "localhost", port = {port}, tls = "implicit", ca_file = "./ca.pem" }}
credential = "bench"
folders = ["INBOX"]
endpoints = ["tickets"]
start = "{start}"
[groups.all.mailboxes]
{keys}"#,
        store = store.display(),
        credential = setup.credential,
        hook = setup.hook,
        max_in_flight = setup.max_in_flight,
        port = setup.imaps_port,
        start = setup.start,
    )
}

/// Another one can be named, to compare two.
fn binary() -> std::ffi::OsString {
    let named = std::env::var_os("POSTRIDER_BENCH_BINARY");
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_postrider").into())
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
