//! Added latency: from the moment at which a bare IDLE client sees `EXISTS` to the moment at which
//! the signed event has arrived, on the same mailbox, for the same message. What the server takes
//! to announce mail (Dovecot waits 500 ms after a change) is in both and cancels out.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use postrider_sandbox::{mail, receiver::Receiver};
use rand::seq::SliceRandom as _;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Size,
    daemon::{Daemon, PASSWORD, SECRET, Setup},
    raw_client::RawClient,
    report::Spread,
    support::dovecot::{Dovecot, Settings},
};

pub(crate) struct Latency {
    pub(crate) mailboxes: usize,
    pub(crate) messages: usize,
    pub(crate) inotify_instances: usize,
    /// Milliseconds from a bare client's EXISTS to the event.
    pub(crate) added: Spread,
    /// Milliseconds between the EXISTS of two bare clients of one mailbox, whichever was first.
    pub(crate) apart: Spread,
    /// Milliseconds from the accepted delivery to the event.
    pub(crate) whole: Spread,
    /// Milliseconds of the daemon's CPU per message.
    pub(crate) cpu_ms: f64,
    /// Mean milliseconds of the daemon's own steps, by its metrics.
    pub(crate) steps: Vec<(&'static str, f64)>,
}

const MAIL_BYTES: usize = 5 * 1024;
const MAX_IN_FLIGHT: u32 = 16;
/// The mean gap between two deliveries. Gaps are random, because regular ones lock onto the
/// server's timer.
const GAP: Duration = Duration::from_millis(60);
/// Logins at once of the bare clients.
const LOGINS: usize = 8;
/// Every fifth mailbox has a second bare client: what the two see apart is the server's doing, and
/// the measure's own error.
const WITNESS_EACH: usize = 5;

pub(crate) async fn measure(size: Size, folder: &Path) -> Latency {
    let count = size.latency_mailboxes;
    let users: Vec<String> = (0..count).map(|n| format!("box{n}@example.org")).collect();
    let logins: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), PASSWORD)).collect();
    let dovecot = Dovecot::start(Settings {
        passwords: &logins,
        ..Settings::default()
    })
    .await;
    let receiver = Receiver::start(SECRET).await.unwrap();
    let mut daemon = start(folder, &dovecot, &receiver.url(), &users);
    daemon
        .expect_watching(count, Duration::from_secs(120))
        .await;
    println!("latency: {count} mailboxes watched");
    let (seen, witnessed) = (Seen::default(), Seen::default());
    let bare = (
        bare_clients(&dovecot, &users, 1, &seen).await,
        bare_clients(&dovecot, &users, WITNESS_EACH, &witnessed).await,
    );
    println!("latency: as many bare clients in IDLE, and a second one in some mailboxes");
    // Dovecot's new processes come to rest.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = daemon.metrics().await.unwrap_or_default();
    let cpu = daemon.cpu();
    let delivered = deliver(&dovecot, &users, size.latency_messages).await;
    let all = receiver
        .wait_for(delivered.len(), Duration::from_secs(60))
        .await;
    daemon.still_runs();
    assert!(
        all,
        "{} of {} arrived\n{}",
        receiver.distinct_ids(),
        delivered.len(),
        daemon.log()
    );
    let cpu_ms = (daemon.cpu() - cpu) * 1000.0 / delivered.len() as f64;
    // The last EXISTS is seen by then as well.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(bare);
    never_polled(&dovecot);
    let steps = steps(&before, &daemon.metrics().await.unwrap_or_default());
    let arrived = arrivals(&receiver);
    let (seen, witnessed) = (seen.lock().unwrap(), witnessed.lock().unwrap());
    let added = delivered.keys().map(|n| ms(seen[n], arrived[n])).collect();
    let apart = witnessed.iter().map(|(n, at)| ms(seen[n], *at).abs());
    let whole = delivered
        .iter()
        .map(|(n, at)| ms(*at, arrived[n]))
        .collect();
    Latency {
        mailboxes: count,
        messages: delivered.len(),
        inotify_instances: inotify_instances(),
        added: Spread::of(added),
        apart: Spread::of(apart.collect()),
        whole: Spread::of(whole),
        cpu_ms,
        steps,
    }
}

fn start(folder: &Path, dovecot: &Dovecot, hook: &str, users: &[String]) -> Daemon {
    Daemon::start(
        folder,
        &Setup {
            imaps_port: dovecot.imaps_port(),
            ca_pem: &fs::read_to_string(dovecot.ca_file()).unwrap(),
            credential: "type = \"password\"\npassword = { env = \"BENCH_PASSWORD\" }",
            client_secret: None,
            hook,
            max_in_flight: MAX_IN_FLIGHT,
            start: "new",
            mailboxes: users,
        },
    )
}

/// From one time to another; below 0 where the other was first.
fn ms(from: Instant, to: Instant) -> f64 {
    let sign = if to >= from { 1.0 } else { -1.0 };
    sign * to.max(from).duration_since(from.min(to)).as_secs_f64() * 1000.0
}

fn never_polled(dovecot: &Dovecot) {
    let late = dovecot.log().matches("inotify").count();
    assert_eq!(
        late, 0,
        "the server ran out of inotify instances, so it polls; see scripts/test-env.sh"
    );
}

/// When EXISTS was seen first in a mailbox.
type Seen = Arc<Mutex<HashMap<usize, Instant>>>;

/// A bare IDLE client in every `each`-th mailbox, noting when it sees EXISTS.
async fn bare_clients(
    dovecot: &Dovecot,
    users: &[String],
    each: usize,
    seen: &Seen,
) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let turns = Arc::new(Semaphore::new(LOGINS));
    let ready = Arc::new(Semaphore::new(0));
    let (port, tls) = (dovecot.imaps_port(), dovecot.tls().client_config());
    for (n, user) in users.iter().cloned().enumerate().step_by(each) {
        let (turns, ready, seen, tls) = (
            Arc::clone(&turns),
            Arc::clone(&ready),
            Arc::clone(seen),
            Arc::clone(&tls),
        );
        clients.spawn(async move {
            let turn = turns.acquire().await.unwrap();
            let mut client = RawClient::open(port, &tls, &user, PASSWORD).await;
            client.idle().await;
            drop(turn);
            ready.add_permits(1);
            loop {
                let at = client.exists().await;
                seen.lock().unwrap().entry(n).or_insert(at);
            }
        });
    }
    let all = u32::try_from(clients.len()).unwrap();
    let limit = Duration::from_secs(120);
    let waited = tokio::time::timeout(limit, ready.acquire_many(all)).await;
    assert!(
        waited.is_ok(),
        "{} of {all} bare clients idle\n{}",
        ready.available_permits(),
        tail(&dovecot.log())
    );
    clients
}

/// One message to each of so many mailboxes in random order, at random gaps; when each was accepted.
async fn deliver(dovecot: &Dovecot, users: &[String], messages: usize) -> HashMap<usize, Instant> {
    let mut order: Vec<usize> = (0..users.len()).collect();
    order.shuffle(&mut rand::rng());
    let mut lmtp = dovecot.lmtp().await;
    let mut delivered = HashMap::new();
    for n in order.into_iter().take(messages) {
        lmtp.deliver(&users[n], &mail::plain(n as u64, MAIL_BYTES))
            .await;
        delivered.insert(n, Instant::now());
        // Exponential gaps: arrivals as independent senders make them.
        let chance: f64 = rand::random_range(f64::EPSILON..1.0);
        tokio::time::sleep(GAP.mul_f64(-chance.ln())).await;
    }
    delivered
}

/// When the event of each mailbox's message arrived.
fn arrivals(receiver: &Receiver) -> HashMap<usize, Instant> {
    let mut arrived = HashMap::new();
    for one in receiver.received() {
        let json = one.json();
        let key = json["data"]["mailbox"]["id"].as_str().unwrap();
        let n = key
            .strip_prefix("box")
            .and_then(|n| n.parse().ok())
            .unwrap();
        arrived.entry(n).or_insert(one.arrived);
    }
    arrived
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn inotify_instances() -> usize {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// What the daemon itself says its steps took between two looks at its metrics.
fn steps(before: &str, after: &str) -> Vec<(&'static str, f64)> {
    let value = |metrics: &str, name: &str| {
        let found = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        found.unwrap_or_default()
    };
    let mean = |name: &str, labels: &str| {
        let more = |what: &str| {
            let name = format!("postrider_{name}_duration_seconds_{what}{labels}");
            value(after, &name) - value(before, &name)
        };
        more("sum") / more("count") * 1000.0
    };
    vec![
        ("survey", mean("imap_command", "{command=\"survey\"}")),
        ("read", mean("imap_command", "{command=\"read\"}")),
        ("commit", mean("store_commit", "")),
        ("post", mean("webhook_request", "{endpoint=\"tickets\"}")),
    ]
}
