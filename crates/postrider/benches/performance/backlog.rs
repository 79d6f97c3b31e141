//! What a claim and a settlement cost a healthy endpoint while very many deliveries wait at a dead
//! one, beside the same without them, on the store itself.

use std::{path::Path, time::Instant};

use bytes::Bytes;
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
    Settlement, Store, Then,
};

use crate::{Size, report::Spread};

const NOW: Wall = Wall(1_790_000_000_000);
const BODY_BYTES: usize = 500;
/// Deliveries that are claimed and settled one by one, as with one slot.
const SAMPLES: u32 = 1_000;
/// Messages of one commit.
const COMMIT: u32 = 1_000;

pub(crate) struct Backlog {
    pub(crate) pending: u32,
    /// Milliseconds of a claim and a settlement.
    pub(crate) alone: Spread,
    pub(crate) beside: Spread,
}

pub(crate) async fn measure(size: Size, folder: &Path) -> Backlog {
    let dir = tempfile::tempdir_in(folder).unwrap();
    let options = Options {
        path: dir.path().join("postrider.db"),
        spool: dir.path().join("spool"),
        allow_network_filesystem: false,
        reserve_bytes: 8 << 20,
        budget_bytes: None,
        budget_action: postrider_store::BudgetAction::PauseReading,
        due_ahead_max: std::time::Duration::from_secs(86_400),
    };
    let store = Store::open(options).await.unwrap();
    let watch = WatchKey {
        mailbox: MailboxKey::from("support"),
        folder: FolderName::from("INBOX"),
    };
    let account = Account {
        server: "imap.example.org:993".to_owned(),
        username: "support@example.org".to_owned(),
    };
    store.load(&watch, &account, NOW).await.unwrap();
    let mut next = 1;
    let alone = healthy(&store, &watch, &mut next).await;
    let pending = size.backlog;
    for _ in 0..pending.div_ceil(COMMIT) {
        store
            .commit(commit(&watch, next, COMMIT, "dead"))
            .await
            .unwrap();
        next += COMMIT;
    }
    let beside = healthy(&store, &watch, &mut next).await;
    store.close().await.unwrap();
    println!(
        "backlog: a claim and a settlement take {:.3} ms (p50) alone, {:.3} ms beside {pending} pending",
        alone.p50, beside.p50
    );
    Backlog {
        pending,
        alone,
        beside,
    }
}

/// Claims and settles one delivery after the other.
async fn healthy(store: &Store, watch: &WatchKey, next: &mut u32) -> Spread {
    store
        .commit(commit(watch, *next, SAMPLES, "tickets"))
        .await
        .unwrap();
    *next += SAMPLES;
    let tickets = EndpointKey::from("tickets");
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let started = Instant::now();
        let claimed = store.claim_due(&tickets, 1, NOW).await.unwrap();
        let settlement = Settlement {
            delivery: claimed[0].delivery,
            order: None,
            at: NOW,
            outcome: Settled::Delivered,
            status: Some(200),
            note: "accepted".to_owned(),
            took: std::time::Duration::from_millis(3),
            then: Then::Nothing,
        };
        store.settle(vec![settlement]).await.unwrap();
        samples.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Spread::of(samples)
}

fn commit(watch: &WatchKey, first: u32, messages: u32, endpoint: &str) -> Commit {
    let uids: Vec<Uid> = (first..first + messages).filter_map(Uid::new).collect();
    let print = |uid: &Uid| {
        let id = format!("{uid}@example.org");
        Fingerprint::of(Some(&id), "", "", "", Some(NOW))
    };
    let data = Bytes::from(vec![b'x'; BODY_BYTES]);
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
        message_id: Some(format!("{uid}@example.org")),
        data: data.clone(),
        raw: None,
        spool: None,
        deliveries: vec![NewDelivery {
            order: None,
            endpoint: EndpointKey::from(endpoint),
            leased: false,
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
