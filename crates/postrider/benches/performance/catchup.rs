//! Catch-up: a mailbox full of mail that was there before the daemon started, to the last 2xx.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use postrider_sandbox::{mail, receiver::Receiver};

use crate::{
    Size,
    daemon::{Daemon, PASSWORD, SECRET, Setup},
    raw_client::RawClient,
    support::dovecot::{Dovecot, Settings},
};

pub(crate) struct CatchUp {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) runs: Vec<Run>,
    /// Messages per second of one bare pipelined `UID FETCH`, the best of those beside the runs.
    pub(crate) bare: f64,
}

pub(crate) struct Run {
    pub(crate) max_in_flight: u32,
    /// From the start of the process to the last 2xx.
    pub(crate) seconds: f64,
    /// Milliseconds of the daemon's CPU per event.
    pub(crate) cpu_ms: f64,
}

impl Run {
    pub(crate) fn rate(&self, messages: usize) -> f64 {
        messages as f64 / self.seconds
    }
}

pub(crate) const MAX_IN_FLIGHT: u32 = 16;
/// What is configured where nothing is said.
const DEFAULT_IN_FLIGHT: u32 = 4;
const MAIL_BYTES: usize = 5 * 1024;
const USER: &str = "full@example.org";

pub(crate) async fn measure(size: Size, folder: &Path) -> CatchUp {
    let messages = size.catchup_messages;
    let passwords = [(USER, PASSWORD)];
    let dovecot = Dovecot::start(Settings {
        passwords: &passwords,
        ..Settings::default()
    })
    .await;
    fill(&dovecot, messages).await;
    println!("catch-up: {messages} messages are there");
    let mut runs = Vec::new();
    let mut bare = f64::MAX;
    for in_flight in
        std::iter::repeat_n(MAX_IN_FLIGHT, size.catchup_runs).chain([DEFAULT_IN_FLIGHT])
    {
        bare = bare.min(bare_fetch(&dovecot, messages).await);
        runs.push(catch_up(&dovecot, folder, messages, in_flight).await);
        let run = runs.last().unwrap();
        println!(
            "catch-up: {in_flight} in flight, {:.2} s, {:.3} ms CPU each",
            run.seconds, run.cpu_ms
        );
    }
    CatchUp {
        messages,
        bytes: MAIL_BYTES,
        runs,
        bare: messages as f64 / bare,
    }
}

async fn fill(dovecot: &Dovecot, messages: usize) {
    let mut client = open(dovecot).await;
    for first in (0..messages).step_by(500) {
        let part = first..messages.min(first + 500);
        let mails: Vec<Vec<u8>> = part.map(|n| mail::plain(n as u64, MAIL_BYTES)).collect();
        client.append(&mails).await;
    }
    assert_eq!(dovecot.messages(USER).await, messages);
}

async fn open(dovecot: &Dovecot) -> RawClient {
    RawClient::open(
        dovecot.imaps_port(),
        &dovecot.tls().client_config(),
        USER,
        PASSWORD,
    )
    .await
}

/// Seconds, connection and login included.
async fn bare_fetch(dovecot: &Dovecot, messages: usize) -> f64 {
    let started = Instant::now();
    let bytes = open(dovecot).await.fetch_all().await;
    assert!(bytes >= messages * MAIL_BYTES, "{bytes} bytes came");
    started.elapsed().as_secs_f64()
}

async fn catch_up(dovecot: &Dovecot, folder: &Path, messages: usize, max_in_flight: u32) -> Run {
    let receiver = Receiver::start(SECRET).await.unwrap();
    let started = Instant::now();
    let daemon = Daemon::start(
        folder,
        &Setup {
            imaps_port: dovecot.imaps_port(),
            ca_pem: &fs::read_to_string(dovecot.ca_file()).unwrap(),
            credential: "type = \"password\"\npassword = { env = \"BENCH_PASSWORD\" }",
            client_secret: None,
            hook: &receiver.url(),
            max_in_flight,
            start: "all",
            mailboxes: &[USER.to_owned()],
        },
    );
    let all = receiver.wait_for(messages, Duration::from_secs(120)).await;
    let seconds = started.elapsed().as_secs_f64();
    assert!(
        all,
        "{} of {messages} arrived\n{}",
        receiver.distinct_ids(),
        daemon.log()
    );
    assert_eq!(receiver.repeats(), 0);
    Run {
        max_in_flight,
        seconds,
        cpu_ms: daemon.cpu() * 1000.0 / messages as f64,
    }
}
