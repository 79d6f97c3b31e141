//! What goes wrong where tokens come from, with the real daemon: what the operator sees, what is
//! asked again and when, and that no mail is lost. Each scenario runs one daemon with many
//! credentials, each with an application of its own and one mailbox, beside a neighbour with a
//! password, which nothing here may touch.

mod outage;
mod providers;
mod rotation;
mod sign_in;
mod trouble;

use std::{
    fs,
    time::{Duration, Instant},
};

use postrider_sandbox::{
    authority::TokenAuthority,
    mail,
    mailboxes::Access,
    receiver::Receiver,
    token_endpoint::{Asked, TokenConfig, TokenEndpoint, TokenTrouble},
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::world::{SECRET, Settings, World};

pub(crate) const TENANT: &str = "contoso.onmicrosoft.com";
const RIGHT: &str = "sandbox~secret";

/// The world with a token endpoint, and somebody who hears of credentials.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) tokens: TokenEndpoint,
    pub(crate) authority: TokenAuthority,
    /// Gets the system events.
    ops: Receiver,
    names: Vec<String>,
    more: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let authority = TokenAuthority::new();
        // The first application is nobody's.
        let tokens = TokenEndpoint::start(TokenConfig::default(), authority.clone())
            .await
            .unwrap();
        let world = World::new(Settings {
            group: "idle_cycle = \"5s\"\nstart = \"all\"\n".to_owned(),
            ..Settings::default()
        })
        .await;
        let ops = Receiver::start(SECRET).await.unwrap();
        let more = format!(
            "[limits]\nlogins_per_second = 100\nlogin_burst = 100\n\
             [endpoints.ops]\nurl = \"{}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n\
             types = [\"mailbox.auth_failed\", \"mailbox.recovered\", \"credential.refused\", \"credential.recovered\"]\n",
            ops.url()
        );
        Self {
            world,
            tokens,
            authority,
            ops,
            names: Vec::new(),
            more,
        }
    }

    /// A file in the world's folder, written whole.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.world.dir.path().join(name);
        let half = path.with_extension("half");
        fs::write(&half, text).unwrap();
        fs::rename(half, &path).unwrap();
        path.display().to_string()
    }

    /// An application with a secret in the file `NAME.secret`, and a mailbox that it opens.
    pub(crate) fn with_secret(&mut self, name: &str, secret: &str) {
        let file = self.write(&format!("{name}.secret"), secret);
        self.with_proof(name, &format!("client_secret = {{ file = \"{file}\" }}\n"));
    }

    /// An application that proves itself as this TOML says, and a mailbox that it opens.
    pub(crate) fn with_proof(&mut self, name: &str, proof: &str) {
        let client_id = client_id(name);
        let authority = self.tokens.authority_url();
        let lines = format!(
            "type = \"microsoft\"\ntenant = \"{TENANT}\"\nclient_id = \"{client_id}\"\n\
             authority = \"{authority}\"\n{proof}"
        );
        self.tokens.add(TokenConfig {
            client_id,
            ..TokenConfig::default()
        });
        self.with_credential(name, &lines);
    }

    /// Any credential, and a mailbox that it opens.
    pub(crate) fn with_credential(&mut self, name: &str, lines: &str) {
        self.more += &format!("[credentials.{name}]\n{lines}");
        let text = self.mailbox(name, name);
        self.more += &text;
        self.names.push(name.to_owned());
    }

    /// One more mailbox of a credential.
    pub(crate) fn share(&mut self, credential: &str, name: &str) {
        let text = self.mailbox(credential, name);
        self.more += &text;
        self.names.push(name.to_owned());
    }

    fn mailbox(&self, credential: &str, name: &str) -> String {
        self.world
            .mailboxes
            .add_account(&address(name), Access::tokens(&self.authority));
        format!(
            "[mailboxes.{name}]\naddress = \"{}\"\ncredential = \"{credential}\"\n\
             server = {{ host = \"localhost\", port = {}, tls = \"implicit\", ca_file = \"{}/ca.pem\" }}\n\
             folders = [\"INBOX\"]\nendpoints = [\"tickets\", \"ops\"]\nidle_cycle = \"5s\"\nstart = \"all\"\n",
            address(name),
            self.world.proxy.port(),
            self.world.dir.path().display(),
        )
    }

    /// An application whose requests meet this.
    pub(crate) fn with_trouble(&mut self, name: &str, secret: &str, trouble: TokenTrouble) {
        self.with_secret(name, secret);
        self.meets(name, trouble);
    }

    pub(crate) fn meets(&self, name: &str, trouble: TokenTrouble) {
        let client_id = client_id(name);
        self.tokens.set_trouble_of(&client_id, trouble).unwrap();
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut TokenConfig)) {
        self.tokens.change_of(&client_id(name), change).unwrap();
    }

    pub(crate) fn write_config(&mut self) {
        self.world.settings.more = self.more.clone();
        self.world.write_config();
    }

    pub(crate) fn start(&mut self) {
        self.world.settings.more = self.more.clone();
        self.world.start();
    }

    // ------------------------------------------------------------ mail

    pub(crate) fn deliver(&self, name: &str) {
        let number = self.world.next_number();
        let raw = mail::plain(number, 600);
        let now = OffsetDateTime::now_utc();
        self.world.post().deliver(&address(name), number, raw, now);
    }

    /// To every mailbox, the neighbour's too.
    pub(crate) fn deliver_to_all(&self) {
        self.world.deliver(0);
        for name in &self.names {
            self.deliver(name);
        }
    }

    // ------------------------------------------------------------ what can be seen

    /// The requests of this application.
    pub(crate) fn asked(&self, name: &str) -> Vec<Asked> {
        self.tokens.asked(&client_id(name))
    }

    /// Its requests that gave a token.
    pub(crate) fn granted(&self, name: &str) -> usize {
        let asked = self.asked(name);
        asked.iter().filter(|one| one.status == Some(200)).count()
    }

    /// The times between its requests.
    pub(crate) fn gaps(&self, name: &str) -> Vec<Duration> {
        let asked = self.asked(name);
        asked.windows(2).map(|two| two[1].at - two[0].at).collect()
    }

    pub(crate) fn state(&self, name: &str) -> String {
        let state = &self.world.mailbox(name)["state"];
        state.as_str().unwrap_or_default().to_owned()
    }

    /// System events of a type that name this mailbox or credential.
    pub(crate) fn events(&self, event_type: &str, name: &str) -> Vec<Value> {
        let all = self.ops.received().into_iter().map(|one| one.json());
        all.filter(|event| {
            let mailbox = event["data"]["mailbox"]["id"] == name;
            event["type"] == event_type && (mailbox || event["data"]["scope"] == name)
        })
        .collect()
    }

    pub(crate) async fn expect_event(&self, event_type: &str, name: &str) -> Value {
        let what = format!("{event_type} of {name}");
        self.expect(&what, |scene| !scene.events(event_type, name).is_empty())
            .await;
        self.events(event_type, name).remove(0)
    }

    pub(crate) async fn expect_state(&self, name: &str, state: &str) {
        self.world.expect_state(name, state).await;
    }

    pub(crate) async fn expect(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        self.world.expect(what, |_| condition(self)).await;
    }

    /// The lines of the log that name a credential or its mailbox.
    pub(crate) fn log_of(&self, name: &str) -> Vec<String> {
        let log = self.world.log();
        let (credential, mailbox) = (
            format!("\"credential\":\"{name}\""),
            format!("\"mailbox\":\"{name}\""),
        );
        log.lines()
            .filter(|line| line.contains(&credential) || line.contains(&mailbox))
            .map(str::to_owned)
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_log(&self, name: &str, words: &str) {
        let lines = self.log_of(name);
        assert!(
            lines.iter().any(|line| line.contains(words)),
            "no log line of {name} says {words:?}:\n{}",
            lines.join("\n")
        );
    }

    /// That this stays so for a while.
    pub(crate) async fn holds_for(
        &self,
        time: Duration,
        what: &str,
        condition: impl Fn(&Self) -> bool,
    ) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            assert!(condition(self), "{what}\n{}", self.world.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The directory's id of an application, the same for the same name.
pub(crate) fn client_id(name: &str) -> String {
    let sum = name.bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    format!("11111111-2222-3333-4444-{:012x}", sum & 0xffff_ffff_ffff)
}

pub(crate) fn address(name: &str) -> String {
    format!("{name}@contoso.com")
}
