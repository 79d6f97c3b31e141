//! A mail server as far as a watch can see it: a folder whose messages come, go, and are
//! numbered anew. It is the truth that the watch is held against.

use std::{collections::BTreeMap, time::Duration};

use postrider_core::{
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    time::Wall,
    watch::{Facts, Selected},
};

use crate::rng::Rng;

#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// Which message it is; it stays the same when the folder is numbered anew.
    pub(crate) id: u64,
    pub(crate) facts: Facts,
    pub(crate) nature: Nature,
    /// It was in the folder before the watch saw it first.
    pub(crate) before_start: bool,
}

/// What happens to who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Nature {
    Good,
    /// The connection ends.
    Poison,
    /// The process ends.
    Killer,
    /// Never a body.
    Empty,
    /// An answer that does not parse.
    Unreadable,
    /// A tagged NO.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) validity: u32,
    pub(crate) next: u32,
    pub(crate) mails: BTreeMap<u32, Mail>,
}

pub(crate) struct Server {
    /// Every numbering that there ever was; sessions may look at one that is gone.
    pub(crate) folders: Vec<Folder>,
    pub(crate) tells_next: bool,
    next_id: u64,
}

impl Server {
    pub(crate) fn new(tells_next: bool, validity: u32) -> Self {
        let folder = Folder {
            validity,
            next: 1,
            mails: BTreeMap::new(),
        };
        Self {
            folders: vec![folder],
            tells_next,
            next_id: 1,
        }
    }

    pub(crate) fn current(&self) -> usize {
        self.folders.len() - 1
    }

    pub(crate) fn folder(&mut self) -> &mut Folder {
        let current = self.current();
        &mut self.folders[current]
    }

    pub(crate) fn mail(&mut self, date: Wall, nature: Nature) -> Mail {
        let id = self.next_id;
        self.next_id += 1;
        let internal_date = Some(date);
        let message_id = format!("{id}@example.org");
        Mail {
            id,
            facts: Facts {
                fingerprint: Fingerprint::of(Some(&message_id), "", "", "", internal_date),
                internal_date,
            },
            nature,
            before_start: false,
        }
    }

    /// Another copy of a message: the same fingerprint, another message all the same.
    pub(crate) fn copy(&mut self, mail: &Mail) -> Mail {
        let id = self.next_id;
        self.next_id += 1;
        Mail { id, ..mail.clone() }
    }

    pub(crate) fn append(&mut self, mail: Mail) {
        let folder = self.folder();
        folder.mails.insert(folder.next, mail);
        folder.next += 1;
    }

    pub(crate) fn selected(&self, folder: usize) -> Selected {
        let tells_next = self.tells_next;
        let folder = &self.folders[folder];
        Selected {
            uid_validity: UidValidity(folder.validity),
            uid_next: tells_next.then(|| Uid::new(folder.next)).flatten(),
            exists: u32::try_from(folder.mails.len()).unwrap(),
            highest: folder.mails.keys().last().copied().and_then(Uid::new),
            session_ends: None,
        }
    }

    /// The folder gets another UIDVALIDITY: most of its mail is there again under new numbers,
    /// and maybe old mail that nobody had seen.
    pub(crate) fn recreate(&mut self, rng: &mut Rng, validity: u32, archive: Vec<Mail>) {
        let mut mails: Vec<Mail> = self.folder().mails.values().cloned().collect();
        if rng.chance(0.3) {
            mails.retain(|_| rng.chance(0.8));
        }
        if rng.chance(0.3) {
            for index in (1..mails.len()).rev() {
                let other = usize::try_from(rng.range(0, index as u64)).unwrap();
                mails.swap(index, other);
            }
        }
        let at = usize::try_from(rng.range(0, mails.len() as u64)).unwrap();
        mails.splice(at..at, archive);
        let first = u32::try_from(rng.range(1, 3)).unwrap();
        self.folders.push(Folder {
            validity,
            next: first,
            mails: BTreeMap::new(),
        });
        for mail in mails {
            self.append(mail);
        }
    }

    /// The folder is what it was when `next` was the next UID: later mail is gone, and its UIDs
    /// are given out again.
    pub(crate) fn roll_back(&mut self, next: u32) {
        let mut folder = self.folder().clone();
        folder.mails.retain(|uid, _| *uid < next);
        folder.next = next;
        self.folders.push(folder);
    }

    pub(crate) fn expunge(&mut self, uid: u32) {
        self.folder().mails.remove(&uid);
    }
}

pub(crate) fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}
