//! An application's tokens end again and again while mail arrives: each session is replaced before
//! its token ends, so no mail waits for it. A mail to a mailbox with a password, delivered at the
//! same moment, says how fast the machine was just then.
//!
//! `make prove` runs 200 mailboxes through 20 expiries (`POSTRIDER_PROVE`); otherwise a small sample
//! runs.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use postrider_sandbox::{
    authority::TokenAuthority,
    mail,
    mailboxes::Access,
    token_endpoint::{TokenConfig, TokenEndpoint},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    post::message_id,
    prove,
    world::{PASSWORD, Settings, World},
};

/// How much later than its neighbour an event may come.
const LATER_MAX: Duration = Duration::from_secs(2);
/// Mailboxes with a password, whose sessions nothing ends.
const NEIGHBOURS: usize = 10;

struct Extent {
    mailboxes: usize,
    lifetime: Duration,
    expiries: u32,
    /// The longest gap between two pairs of mail.
    gap: Duration,
}

impl Extent {
    fn chosen() -> Self {
        match std::env::var_os("POSTRIDER_PROVE") {
            Some(_) => Self {
                mailboxes: 200,
                lifetime: Duration::from_secs(40),
                expiries: 20,
                gap: Duration::from_millis(80),
            },
            None => Self {
                mailboxes: 30,
                lifetime: Duration::from_secs(12),
                expiries: 3,
                gap: Duration::from_millis(120),
            },
        }
    }
}

/// Two mails of one moment.
struct Pair {
    sent: Instant,
    token: String,
    neighbour: String,
}

struct Scene {
    world: World,
    tokens: TokenEndpoint,
    neighbours: Vec<String>,
}

impl Scene {
    async fn new(extent: &Extent) -> Self {
        let authority = TokenAuthority::new();
        let config = TokenConfig {
            lifetime: extent.lifetime,
            ..TokenConfig::default()
        };
        let (tenant, client) = (config.tenant.clone(), config.client_id.clone());
        let secret = config.secrets[0].clone();
        let tokens = TokenEndpoint::start(config, authority.clone())
            .await
            .unwrap();
        let mut world = World::new(Settings {
            mailboxes: extent.mailboxes,
            // No cycle comes to the help of a mail that nobody announced.
            group: "idle_cycle = \"5m\"\n".to_owned(),
            ..Settings::default()
        })
        .await;
        let dir = world.dir.path().to_path_buf();
        fs::write(dir.join("secret"), secret).unwrap();
        world.settings.credential = format!(
            "type = \"microsoft\"\ntenant = \"{tenant}\"\nclient_id = \"{client}\"\nauthority = \"{}\"\nclient_secret = {{ file = \"{}\" }}\n",
            tokens.authority_url(),
            dir.join("secret").display()
        );
        for user in &world.users {
            world
                .mailboxes
                .add_account(user, Access::tokens(&authority));
        }
        let neighbours: Vec<String> = (0..NEIGHBOURS)
            .map(|n| format!("neighbour{n}@example.org"))
            .collect();
        let mut keys = String::new();
        for (n, user) in neighbours.iter().enumerate() {
            world
                .mailboxes
                .add_account(user, Access::password(PASSWORD));
            keys += &format!("neighbour{n} = \"{user}\"\n");
        }
        world.settings.more = format!(
            "[limits]\nlogins_per_second = 100\nlogin_burst = 100\n\
             [credentials.neighbour]\ntype = \"password\"\npassword = {{ env = \"LAB_PASSWORD\" }}\n\
             [groups.neighbours]\nserver = {{ host = \"localhost\", port = {port}, tls = \"implicit\", ca_file = \"{dir}/ca.pem\" }}\n\
             credential = \"neighbour\"\nfolders = [\"INBOX\"]\nendpoints = [\"tickets\"]\nidle_cycle = \"5m\"\n\
             [groups.neighbours.mailboxes]\n{keys}",
            port = world.proxy.port(),
            dir = dir.display(),
        );
        world.start();
        world.expect_watching(extent.mailboxes + NEIGHBOURS).await;
        Self {
            world,
            tokens,
            neighbours,
        }
    }

    /// Delivers pairs until so many tokens have ended.
    async fn carry(&self, extent: &Extent) -> Vec<Pair> {
        let mut rng = StdRng::seed_from_u64(3);
        let post = self.world.post();
        let until = Instant::now() + extent.lifetime;
        let mut pairs = Vec::new();
        // A token ends one life after it was issued, so the last ones are still good.
        let first = self.tokens.counters().issued;
        while self.tokens.counters().issued < first + u64::from(extent.expiries)
            || Instant::now() < until
        {
            self.world.assert_running();
            let token = &self.world.users[rng.random_range(0..self.world.users.len())];
            let neighbour = &self.neighbours[rng.random_range(0..NEIGHBOURS)];
            let (ours, theirs) = (self.world.next_number(), self.world.next_number());
            let at = OffsetDateTime::now_utc();
            pairs.push(Pair {
                sent: Instant::now(),
                token: message_id(ours),
                neighbour: message_id(theirs),
            });
            post.deliver(token, ours, mail::plain(ours, 600), at);
            post.deliver(neighbour, theirs, mail::plain(theirs, 600), at);
            let gap = rng.random_range(extent.gap / 4..extent.gap);
            tokio::time::sleep(gap).await;
        }
        // The last replacements have to be seen to their end.
        tokio::time::sleep(extent.lifetime).await;
        pairs
    }

    fn arrivals(&self) -> HashMap<String, Instant> {
        let mut arrivals = HashMap::new();
        for one in self.world.receiver.received() {
            let json = one.json();
            if let Some(id) = json["data"]["message"]["message_id"].as_str() {
                arrivals.entry(id.to_owned()).or_insert(one.arrived);
            }
        }
        arrivals
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mail_waits_for_a_session_whose_token_ends() {
    let extent = Extent::chosen();
    let scene = Scene::new(&extent).await;
    let began = Instant::now();
    let requests_before = scene.tokens.counters().requests;
    let pairs = scene.carry(&extent).await;
    let took = began.elapsed();
    let requests = scene.tokens.counters().requests - requests_before;
    scene.world.expect_all().await;
    scene.world.expect_account().await;

    // A token is renewed at 80 % of its life, for one this short when half of it is over; up to
    // 5 % of that earlier.
    let period = extent.lifetime.mul_f64(0.5 * 0.95);
    let periods = (took.as_secs_f64() / period.as_secs_f64()).ceil() as u64;
    assert!(
        requests <= periods + 1,
        "{requests} token requests in {periods} refresh periods"
    );
    assert_eq!(scene.tokens.counters().in_flight_max, 1);

    let arrivals = scene.arrivals();
    let mut later: Vec<Duration> = pairs
        .iter()
        .map(|pair| {
            let (ours, theirs) = (arrivals[&pair.token], arrivals[&pair.neighbour]);
            assert!(ours >= pair.sent && theirs >= pair.sent);
            ours.saturating_duration_since(theirs)
        })
        .collect();
    later.sort();
    let worst = later[later.len() - 1];
    let p99 = later[later.len() * 99 / 100];
    println!(
        "{} mailboxes, {requests} tokens of {:?} in {took:.0?}: {} mails, 0 lost; at most {worst:.3?} later than a neighbour (p99 {p99:.3?})",
        extent.mailboxes,
        extent.lifetime,
        pairs.len() * 2
    );
    assert!(
        worst <= LATER_MAX,
        "an event came {worst:?} after its neighbour\n{}",
        scene.world.log()
    );
    let logins = scene
        .world
        .server
        .counters(postrider_sandbox::imap::Scope::Server)
        .logins;
    assert!(
        logins >= (extent.mailboxes as u64) * u64::from(extent.expiries),
        "{logins} logins: sessions were not replaced"
    );
    if std::env::var_os("POSTRIDER_PROVE").is_some() {
        let folder = prove::folder();
        fs::create_dir_all(&folder).unwrap();
        let figures = json!({
            "mailboxes": extent.mailboxes,
            "lifetime_s": extent.lifetime.as_secs(),
            "minutes": took.as_secs_f64() / 60.0,
            "token_requests": requests,
            "refresh_periods": periods,
            "logins": logins,
            "messages": pairs.len() * 2,
            "lost": 0,
            "repeats": scene.world.receiver.repeats(),
            "later_max_s": worst.as_secs_f64(),
            "later_p99_s": p99.as_secs_f64(),
        });
        fs::write(
            folder.join("expiry.json"),
            serde_json::to_string_pretty(&figures).unwrap(),
        )
        .unwrap();
    }
}
