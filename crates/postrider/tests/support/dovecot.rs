//! A Dovecot of the test's own: its own directory, ports, certificate and users, stopped and removed
//! when the test ends. Everything that is done to it is done to processes that it started.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{
    Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD,
};
use hmac::{Hmac, Mac as _};
use postrider_sandbox::tls::Tls;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{net::TcpStream, time::Instant};

use super::{
    dovecot_config::{
        AUDIENCE, CLIENT_LIMIT, ISSUER, Ports, TOKEN_SLOTS, Users, main_file, oauth2_file,
    },
    lmtp::Lmtp,
};

/// How long the server may take to come up or to go.
const LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const STEP: Duration = Duration::from_millis(10);

pub(crate) struct Dovecot {
    directory: TempDir,
    ports: Ports,
    tls: Tls,
    key: [u8; 32],
    master: Option<Child>,
    /// The tokens file is noticed as changed by its size, since its time counts whole seconds.
    token_changes: usize,
}

/// How it starts. Logins given here are good at once; what is changed later takes a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) hibernate: Hibernate,
    /// User and password.
    pub(crate) passwords: &'a [(&'a str, &'a str)],
    /// Tokens that open every mailbox.
    pub(crate) app_tokens: &'a [&'a str],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            hibernate: Hibernate::Never,
            passwords: &[],
            app_tokens: &[],
        }
    }
}

/// Whether sessions in IDLE are put to sleep after 3 s, which makes the server announce at once
/// instead of 500 ms after the first change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hibernate {
    Never,
    Soon,
}

impl Dovecot {
    pub(crate) async fn start(settings: Settings<'_>) -> Self {
        // Paths of unix sockets are short, so the directory's is as well.
        let directory = tempfile::Builder::new().prefix("pr-").tempdir_in("/tmp");
        let mut dovecot = Self {
            directory: directory.unwrap(),
            ports: Ports {
                imaps: free_port(),
                imap: free_port(),
            },
            tls: Tls::generate().unwrap(),
            key: rand::random(),
            master: None,
            token_changes: 0,
        };
        dovecot.lay_out(settings.hibernate);
        dovecot.set_passwords(settings.passwords).await;
        dovecot.set_app_tokens(settings.app_tokens).await;
        dovecot.start_again().await;
        dovecot
    }

    /// Implicit TLS.
    pub(crate) fn imaps_port(&self) -> u16 {
        self.ports.imaps
    }

    /// STARTTLS, without which no login is taken.
    pub(crate) fn starttls_port(&self) -> u16 {
        self.ports.imap
    }

    /// The certificate authority of the server's certificate, for `localhost` and `127.0.0.1`.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Who may log in with a password, from now on. Every other name exists as well, for mail and tokens.
    pub(crate) async fn set_passwords(&self, passwords: &[(&str, &str)]) {
        let lines = passwords
            .iter()
            .map(|(user, password)| format!("{user}:{{PLAIN}}{password}\n"));
        self.put("passwords", &lines.collect::<String>());
        self.changes_are_noticed().await;
    }

    /// The application tokens that open every mailbox, from now on; sessions that are there stay.
    pub(crate) async fn set_app_tokens(&mut self, tokens: &[&str]) {
        assert!(tokens.len() <= TOKEN_SLOTS, "at most {TOKEN_SLOTS} tokens");
        self.token_changes += 1;
        let mut text = format!("#{}\n", "-".repeat(self.token_changes));
        for (slot, token) in tokens.iter().enumerate() {
            text.push_str(&format!("slot{slot}:{{PLAIN}}{token}\n"));
        }
        self.put("tokens", &text);
        self.changes_are_noticed().await;
    }

    /// A token for one user, which Dovecot checks by its signature and claims.
    pub(crate) fn user_token(&self, user: &str, lifetime: Duration) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.token_until(user, now + i64::try_from(lifetime.as_secs()).unwrap())
    }

    /// A token whose time has passed.
    pub(crate) fn expired_user_token(&self, user: &str) -> String {
        self.token_until(user, OffsetDateTime::now_utc().unix_timestamp() - 1)
    }

    fn token_until(&self, user: &str, exp: i64) -> String {
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({"typ": "JWT", "alg": "HS256"}));
        let claims = part(json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "email": user,
            "scope": "mail",
            "exp": exp,
        }));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap();
        mac.update(format!("{head}.{claims}").as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{head}.{claims}.{signature}")
    }

    /// Whose logins are refused, whatever they show, from now on.
    pub(crate) async fn refuse_logins(&self, users: &[&str]) {
        let lines = users.iter().map(|user| format!("{user}:{{PLAIN}}-\n"));
        self.put("refused", &lines.collect::<String>());
        self.changes_are_noticed().await;
    }

    /// A connection for deliveries; one can carry many.
    pub(crate) async fn lmtp(&self) -> Lmtp {
        Lmtp::connect(&self.path("run/lmtp")).await
    }

    pub(crate) async fn deliver(&self, user: &str, raw: &[u8]) {
        self.lmtp().await.deliver(user, raw).await;
    }

    /// Ends a user's sessions with a BYE.
    pub(crate) async fn kick(&self, user: &str) {
        self.doveadm(&["kick", "-f", user]).await;
    }

    /// Removes the messages that a doveadm search query finds (`ALL`, `UID 3`).
    pub(crate) async fn expunge(&self, user: &str, folder: &str, query: &str) {
        let mut arguments = vec!["expunge", "-u", user, "mailbox", folder];
        arguments.extend(query.split(' '));
        self.doveadm(&arguments).await;
    }

    /// Creates a folder, or removes it with its mail and creates it anew, under another UIDVALIDITY.
    pub(crate) async fn create_folder(&self, user: &str, folder: &str) {
        let found = self.doveadm(&["mailbox", "list", "-u", user]).await;
        if found.lines().any(|line| line == folder) {
            self.doveadm(&["mailbox", "delete", "-u", user, folder])
                .await;
        }
        self.doveadm(&["mailbox", "create", "-u", user, folder])
            .await;
    }

    /// Gives the INBOX another UIDVALIDITY behind the server's back; its UIDs stay. A session that
    /// has it open does not notice. Returns the new one.
    pub(crate) async fn change_uidvalidity(&self, user: &str) -> u32 {
        // The list is there once the folder was looked at.
        self.uidvalidity(user).await;
        let folder = self.path("mail").join(user);
        let list = folder.join("dovecot-uidlist");
        let text = fs::read(&list).unwrap();
        let end = text.iter().position(|byte| *byte == b'\n').unwrap();
        let head = std::str::from_utf8(&text[..end]).unwrap();
        let word = head.split(' ').find(|word| word.starts_with('V')).unwrap();
        let changed = word[1..].parse::<u32>().unwrap() + 1000;
        let mut new = head.replacen(word, &format!("V{changed}"), 1).into_bytes();
        new.extend_from_slice(&text[end..]);
        // In place, so that owner and mode stay.
        fs::write(&list, new).unwrap();
        // The list is read again when the folder's time has changed.
        for name in ["new", "cur"] {
            let touch = folder.join(name).join(".touch");
            fs::write(&touch, "").unwrap();
            fs::remove_file(&touch).unwrap();
        }
        assert_eq!(self.uidvalidity(user).await, changed);
        changed
    }

    pub(crate) async fn uidvalidity(&self, user: &str) -> u32 {
        let arguments = [
            "-f",
            "tab",
            "mailbox",
            "status",
            "-u",
            user,
            "uidvalidity",
            "INBOX",
        ];
        let text = self.doveadm(&arguments).await;
        let value = text.trim_end().rsplit(['\t', '\n']).next();
        value
            .and_then(|value| value.parse().ok())
            .expect("a UIDVALIDITY")
    }

    /// How many messages are in a user's INBOX.
    pub(crate) async fn messages(&self, user: &str) -> usize {
        let arguments = [
            "-f", "tab", "mailbox", "status", "-u", user, "messages", "INBOX",
        ];
        let text = self.doveadm(&arguments).await;
        let value = text.trim_end().rsplit(['\t', '\n']).next();
        value
            .and_then(|value| value.parse().ok())
            .expect("a number of messages")
    }

    /// The flags of each message of a folder, as the server would tell them.
    pub(crate) async fn flags(&self, user: &str, folder: &str) -> Vec<String> {
        let arguments = [
            "-f", "tab", "fetch", "-u", user, "flags", "mailbox", folder, "all",
        ];
        let text = self.doveadm(&arguments).await;
        text.lines().skip(1).map(str::to_owned).collect()
    }

    /// Waits until so many idling sessions are asleep (with [`Hibernate::Soon`]).
    pub(crate) async fn wait_for_hibernated(&self, sessions: usize) {
        let end = Instant::now() + LIMIT;
        let arguments = ["-f", "tab", "process", "status", "imap-hibernate"];
        loop {
            let text = self.doveadm(&arguments).await;
            let asleep = text.lines().skip(1).map(|line| {
                let free = line.split('\t').nth(2).and_then(|free| free.parse().ok());
                CLIENT_LIMIT - free.unwrap_or(CLIENT_LIMIT)
            });
            if asleep.sum::<usize>() >= sessions {
                return;
            }
            assert!(Instant::now() < end, "sessions stay awake: {text}");
            tokio::time::sleep(10 * STEP).await;
        }
    }

    /// SIGKILL for all of its processes: connections end without a word.
    pub(crate) async fn kill(&mut self) {
        let Some(mut master) = self.master.take() else {
            return;
        };
        signal(&master, Signal::KILL);
        tokio::task::spawn_blocking(move || master.wait())
            .await
            .unwrap()
            .unwrap();
        // What a killed master leaves behind ends a moment later.
        let address = ("127.0.0.1", self.ports.imaps);
        let end = Instant::now() + LIMIT;
        while TcpStream::connect(address).await.is_ok() {
            assert!(Instant::now() < end, "dovecot does not end");
            tokio::time::sleep(STEP).await;
        }
        // Its sockets would be taken for those of a server that still runs.
        fs::remove_dir_all(self.path("run")).unwrap();
        fs::create_dir(self.path("run")).unwrap();
    }

    /// SIGTERM for all of its processes: sessions get a BYE. Dovecot may take ten seconds to end
    /// altogether; what is still there after one is killed.
    pub(crate) async fn stop(&mut self) {
        let Some(master) = self.master.as_mut() else {
            return;
        };
        signal(master, Signal::TERM);
        let end = Instant::now() + Duration::from_secs(1);
        while master.try_wait().unwrap().is_none() && Instant::now() < end {
            tokio::time::sleep(STEP).await;
        }
        self.kill().await;
    }

    /// Starts it again on the same ports, with the same mail.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.master.is_none(), "it is running");
        let log = fs::File::create(self.path("start.log")).unwrap();
        let child = Command::new("dovecot")
            .args(["-F", "-c"])
            .arg(self.path("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // A group of its own: so all of it, and nothing else, is hit by a kill.
            .process_group(0)
            .spawn()
            .expect("dovecot; scripts/install-test-tools.sh installs it");
        self.master = Some(child);
        let end = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", self.ports.imaps))
            .await
            .is_err()
        {
            let ended = self.master.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "dovecot does not start: {}{}",
                fs::read_to_string(self.path("start.log")).unwrap_or_default(),
                self.log()
            );
            tokio::time::sleep(STEP).await;
        }
    }

    /// What the server logged, for a failing test to show.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("dovecot.log")).unwrap_or_default()
    }

    fn lay_out(&self, hibernate: Hibernate) {
        let users = users();
        let root = self.directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["run", "state", "mail", "home", "keys/default/HS256"] {
            fs::create_dir_all(self.path(name)).unwrap();
        }
        for name in ["mail", "home"] {
            give_to(&self.path(name), &users);
        }
        self.put("ca.pem", self.tls.ca_pem());
        self.put("cert.pem", self.tls.chain_pem());
        self.put("key.pem", self.tls.key_pem());
        self.put("keys/default/HS256/default", &STANDARD.encode(self.key));
        for name in ["refused", "passwords", "tokens", "dovecot.log"] {
            self.put(name, "");
        }
        self.put("oauth2.conf", &oauth2_file(root));
        let hibernate = hibernate == Hibernate::Soon;
        self.put(
            "dovecot.conf",
            &main_file(root, &self.ports, &users, hibernate),
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Dovecot looks at a changed login file at the first login after a second has passed.
    async fn changes_are_noticed(&self) {
        if self.master.is_some() {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    }

    async fn doveadm(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("doveadm");
        command
            .arg("-c")
            .arg(self.path("dovecot.conf"))
            .args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().expect("doveadm");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        // 68: there was nobody to kick.
        let fine = output.status.success() || output.status.code() == Some(68);
        assert!(fine, "doveadm {arguments:?}: {text}{error}");
        text
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let Some(mut master) = self.master.take() {
            signal(&master, Signal::KILL);
            let _ = master.wait();
        }
    }
}

/// To the group that the master was started as the first of. There may be nobody left in it.
fn signal(master: &Child, signal: Signal) {
    let _ = kill_process_group(Pid::from_child(master), signal);
}

/// A port below those that the kernel gives to outgoing connections, so that it is still free after
/// a restart.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(12_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// As root those that Debian's package made; else everything runs as who runs the test.
fn users() -> Users {
    if rustix::process::geteuid().is_root() {
        return Users {
            internal: "dovecot".to_owned(),
            login: "dovenull".to_owned(),
            mail: "mail".to_owned(),
            mail_group: "mail".to_owned(),
            internal_group: "dovecot".to_owned(),
        };
    }
    let name = |what: &str| {
        let output = Command::new("id").arg(what).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let (user, group) = (name("-un"), name("-gn"));
    Users {
        internal: user.clone(),
        login: user.clone(),
        mail: user,
        mail_group: group.clone(),
        internal_group: group,
    }
}

fn give_to(path: &Path, users: &Users) {
    let owner = format!("{}:{}", users.mail, users.mail_group);
    let done = Command::new("chown").arg(owner).arg(path).status();
    assert!(done.unwrap().success(), "chown {}", path.display());
}
