//! Who is watched: the workers of this process, to be looked at by commands, metrics and the
//! status line. The supervisor alone changes it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use postrider_core::ids::MailboxKey;

use crate::{config::Mailbox, gate::MailboxGate, watch_line::WatchLine};

/// One mailbox and its watches.
#[derive(Clone)]
pub struct Worker {
    pub mailbox: Arc<Mailbox>,
    pub gate: Arc<MailboxGate>,
    pub lines: Arc<[Arc<WatchLine>]>,
}

#[derive(Default)]
pub struct Directory(RwLock<BTreeMap<MailboxKey, Worker>>);

impl Directory {
    pub fn get(&self, key: &MailboxKey) -> Option<Worker> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    pub fn all(&self) -> Vec<Worker> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Looks at each worker without cloning them all.
    pub fn each(&self, mut look: impl FnMut(&Worker)) {
        for worker in self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            look(worker);
        }
    }

    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn put(&self, worker: Worker) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(worker.mailbox.key.clone(), worker);
    }

    pub(crate) fn remove(&self, key: &MailboxKey) -> Option<Worker> {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key)
    }
}
