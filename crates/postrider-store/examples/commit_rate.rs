//! How fast this store commits on this machine: `cargo run --release -p postrider-store --example
//! commit_rate [DIRECTORY]`. The bare disk stands beside it.
#![expect(clippy::print_stdout, reason = "it is what this program is for")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails is of no use")]

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use postrider_core::{
    cursor::{Cursor, Epoch},
    event::{EventType, Identity},
    fingerprint::Fingerprint,
    ids::{EndpointKey, FolderName, MailboxKey, Uid, UidValidity, WatchKey},
    time::Wall,
    watch::{Entry, ItemKey, Outcome},
};
use postrider_store::{
    Account, Commit, EventIdentity, FoundBy, LedgerFacts, NewDelivery, NewEvent, Options, Settled,
    Settlement, Store,
};

const NOW: Wall = Wall(1_760_000_000_000);
const BODY_BYTES: usize = 8 * 1024;

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir_in(std::env::args().nth(1).as_deref().unwrap_or(".")).unwrap();
    println!(
        "bare 4 KiB write and fdatasync      {}",
        spread(bare(dir.path(), 2000))
    );
    let store = Store::open(Options {
        path: dir.path().join("postrider.db"),
        spool: dir.path().join("spool"),
        allow_network_filesystem: false,
        reserve_bytes: 8 * 1024 * 1024,
        budget_bytes: None,
        budget_action: postrider_store::BudgetAction::PauseReading,
        due_ahead_max: Duration::from_secs(24 * 3600),
    })
    .await
    .unwrap();
    one_at_a_time(&store).await;
    for (mailboxes, messages) in [(64, 1), (16, 16), (4, 64), (1, 256)] {
        at_once(&store, mailboxes, messages).await;
    }
    let started = Instant::now();
    let sums = store.sums().await.unwrap();
    println!(
        "both sums over {} ledger rows   {:.0} ms, unaccounted {} and {}",
        sums.uids,
        started.elapsed().as_secs_f64() * 1000.0,
        sums.unaccounted_messages(),
        sums.unaccounted_deliveries()
    );
    store.close().await.unwrap();
}

/// As a write-ahead log does once it has grown: pages over old pages, each made durable.
fn bare(dir: &Path, times: usize) -> Vec<Duration> {
    const PAGE_BYTES: usize = 4096;
    const PAGES: usize = 1000;
    let file = File::create(dir.join("bare")).unwrap();
    file.write_all_at(&vec![7; PAGES * PAGE_BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let page = [8u8; PAGE_BYTES];
    let sync = |turn: usize| {
        let started = Instant::now();
        file.write_all_at(&page, (turn % PAGES * PAGE_BYTES) as u64)
            .unwrap();
        file.sync_data().unwrap();
        started.elapsed()
    };
    (0..times).map(sync).collect()
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
    format!("p50 {:.3} ms  p99 {:.3} ms", at(50), at(99))
}

/// What a quiet daemon does for one message: commit, send (not here), settle.
async fn one_at_a_time(store: &Store) {
    let watch = watch(store, "single").await;
    let (mut commits, mut claims, mut settles) = (Vec::new(), Vec::new(), Vec::new());
    for uid in 1..=2000 {
        let started = Instant::now();
        let receipt = store.commit(commit(&watch, uid, 1)).await.unwrap();
        commits.push(started.elapsed());
        let started = Instant::now();
        store
            .claim_due(&EndpointKey::from("tickets"), 1, NOW)
            .await
            .unwrap();
        claims.push(started.elapsed());
        let started = Instant::now();
        store.settle(settled(&receipt)).await.unwrap();
        settles.push(started.elapsed());
    }
    println!("commit of one 8 KiB event, alone    {}", spread(commits));
    println!("claim with nothing due, alone       {}", spread(claims));
    println!("settle of one delivery, alone       {}", spread(settles));
}

/// Mailboxes that commit batches as fast as they are stored; then the same with settling.
async fn at_once(store: &Store, mailboxes: usize, messages: u32) {
    const EVENTS: u32 = 30_000;
    let rounds = EVENTS / (u32::try_from(mailboxes).unwrap() * messages);
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut tasks = Vec::new();
    for number in 0..mailboxes {
        let store = store.clone();
        let watch = watch(&store, &format!("m{messages}-{number}")).await;
        tasks.push(tokio::spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..rounds {
                receipts.push(
                    store
                        .commit(commit(&watch, 1 + round * messages, messages))
                        .await
                        .unwrap(),
                );
            }
            receipts
        }));
    }
    let mut receipts = Vec::new();
    for task in tasks {
        receipts.extend(task.await.unwrap());
    }
    let stored = started.elapsed();
    let cpu = cpu_time() - cpu;
    let started = Instant::now();
    for group in receipts.chunks(16.max(256 / messages as usize)) {
        store
            .settle(group.iter().flat_map(settled).collect())
            .await
            .unwrap();
    }
    let settled = started.elapsed();
    let events = f64::from(rounds * messages) * mailboxes as f64;
    println!(
        "{mailboxes:3} mailboxes, {messages:3} events per commit   {:7.0} events/s stored ({:.0} us CPU each)  {:7.0} deliveries/s settled",
        events / stored.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / events,
        events / settled.as_secs_f64()
    );
}

/// Of all threads of this process: on a busy machine it says more than the clock.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

async fn watch(store: &Store, mailbox: &str) -> WatchKey {
    let watch = WatchKey {
        mailbox: MailboxKey::from(mailbox),
        folder: FolderName::from("INBOX"),
    };
    let account = Account {
        server: "imap.example.org:993".to_owned(),
        username: mailbox.to_owned(),
    };
    store.load(&watch, &account, NOW).await.unwrap();
    watch
}

fn settled(receipt: &postrider_store::Receipt) -> Vec<Settlement> {
    let one = |claimed: &postrider_store::Claimed| Settlement {
        then: postrider_store::Then::Nothing,
        order: None,
        delivery: claimed.delivery,
        at: NOW,
        outcome: Settled::Delivered,
        status: Some(200),
        note: "accepted".to_owned(),
        took: Duration::from_millis(3),
    };
    receipt.claimed.iter().map(one).collect()
}

fn commit(watch: &WatchKey, first: u32, messages: u32) -> Commit {
    let uids: Vec<Uid> = (first..first + messages).filter_map(Uid::new).collect();
    let print = |uid: &Uid| {
        Fingerprint::of(
            Some(&format!("{watch}/{uid}@example.org")),
            "",
            "",
            "",
            Some(NOW),
        )
    };
    let data = bytes::Bytes::from(vec![b'x'; BODY_BYTES]);
    let event = |uid: &Uid| NewEvent {
        identity: EventIdentity::Message(Box::new(Identity {
            instance: "bench".into(),
            mailbox: watch.mailbox.clone(),
            folder: watch.folder.clone(),
            uid_validity: UidValidity(1),
            uid: *uid,
            fingerprint: print(uid),
            internal_date: Some(NOW),
        })),
        event_type: EventType::MessageReceived,
        mailbox: Some(watch.mailbox.clone()),
        subject: format!("INBOX/1/{uid}"),
        time: NOW,
        message_id: Some(format!("{watch}/{uid}@example.org")),
        data: data.clone(),
        raw: None,
        spool: None,
        deliveries: vec![NewDelivery {
            order: None,
            endpoint: EndpointKey::from("tickets"),
            leased: true,
            when_failed: false,
            twins_since: None,
        }],
    };
    Commit {
        watch: watch.clone(),
        entry: Entry {
            outcomes: uids
                .iter()
                .map(|uid| (ItemKey::Uid(*uid), Outcome::Event))
                .collect(),
            cursor: Cursor {
                last: uids.last().copied(),
                ..Cursor::begin(UidValidity(1), Epoch(1))
            },
            hold: None,
            notices: Vec::new(),
            proven: true,
        },
        found_by: FoundBy::Idle,
        now: NOW,
        facts: uids
            .iter()
            .map(|uid| LedgerFacts {
                key: ItemKey::Uid(*uid),
                fingerprint: print(uid),
                internal_date: Some(NOW),
            })
            .collect(),
        events: uids.iter().map(event).collect(),
        quarantined: Vec::new(),
        ordered: None,
    }
}
