//! One folder as the server holds it, and what its open sessions see of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::sync::lock;

use super::{Times, Trouble, names::Role};

#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) role: Option<Role>,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) messages: BTreeMap<u32, Arc<Message>>,
    /// Counts every change; a session that has seen this version has nothing to announce.
    pub(crate) version: u64,
    /// The version at which a message was last removed.
    pub(crate) expunged_at: u64,
    /// Counts the changes that open sessions do not notice.
    pub(crate) epoch: u64,
    /// The mail as sessions from earlier epochs still see it.
    retired: HashMap<u64, BTreeMap<u32, Arc<Message>>>,
    pub(super) troubles: HashMap<u32, (Trouble, Times)>,
    pub(crate) watchers: HashMap<u64, Arc<Notify>>,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) raw: Bytes,
    pub(crate) internal_date: OffsetDateTime,
    /// Gmail's X-GM-MSGID and X-GM-THRID.
    pub(crate) id: u64,
    thread: AtomicU64,
    seen: AtomicBool,
    flags: Mutex<BTreeSet<String>>,
    /// How often it was built anew.
    rebuilt: AtomicU64,
}

impl Message {
    pub(super) fn new(raw: Bytes, internal_date: OffsetDateTime, id: u64) -> Self {
        Self {
            raw,
            internal_date,
            id,
            thread: AtomicU64::new(id),
            seen: AtomicBool::new(false),
            flags: Mutex::default(),
            rebuilt: AtomicU64::new(0),
        }
    }

    pub(crate) fn thread(&self) -> u64 {
        self.thread.load(Ordering::Relaxed)
    }

    pub(super) fn join(&self, other: &Self) {
        self.thread.store(other.thread(), Ordering::Relaxed);
    }

    /// Other bytes at each call: a header more, whose content changes.
    pub(crate) fn rebuild(&self) -> Bytes {
        let times = self.rebuilt.fetch_add(1, Ordering::Relaxed);
        let mut raw = format!("X-Sandbox-Rebuilt: {times}\r\n").into_bytes();
        raw.extend_from_slice(&self.raw);
        raw.into()
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    pub(super) fn add_flag(&self, flag: &str) {
        if flag.eq_ignore_ascii_case("\\Seen") {
            self.set_seen();
        }
        lock(&self.flags).insert(flag.to_owned());
    }

    pub(super) fn flags(&self) -> BTreeSet<String> {
        lock(&self.flags).clone()
    }

    pub(crate) fn set_seen(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }
}

impl Folder {
    pub(super) fn new(uid_validity: u32) -> Self {
        Self {
            role: None,
            uid_validity,
            uid_next: 1,
            messages: BTreeMap::new(),
            version: 0,
            expunged_at: 0,
            epoch: 0,
            retired: HashMap::new(),
            troubles: HashMap::new(),
            watchers: HashMap::new(),
        }
    }

    /// Adds a message under the next UID, which it returns.
    pub(super) fn add(&mut self, message: Arc<Message>) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        self.messages.insert(uid, message);
        uid
    }

    pub(super) fn holds(&self, message: &Arc<Message>) -> bool {
        self.messages.values().any(|one| Arc::ptr_eq(one, message))
    }

    pub(super) fn begin_epoch(&mut self) {
        self.retired.insert(self.epoch, self.messages.clone());
        self.epoch += 1;
    }

    /// The mail as a session sees it that opened the folder in this epoch.
    pub(crate) fn messages_at(&self, epoch: u64) -> &BTreeMap<u32, Arc<Message>> {
        if epoch == self.epoch {
            return &self.messages;
        }
        self.retired.get(&epoch).unwrap_or(&self.messages)
    }

    pub(crate) fn take_trouble(&mut self, uid: u32) -> Option<Trouble> {
        let (trouble, times) = self.troubles.get_mut(&uid)?;
        let trouble = *trouble;
        match times {
            Times::Always => {}
            Times::Next(0) => {
                self.troubles.remove(&uid);
                return None;
            }
            Times::Next(left) => *left -= 1,
        }
        Some(trouble)
    }
}
