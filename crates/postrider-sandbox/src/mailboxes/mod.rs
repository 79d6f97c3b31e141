//! The mail that the sandbox's servers serve: accounts, folders, messages, and the levers that
//! change them behind a session's back. It knows nothing of the wire.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use time::OffsetDateTime;

pub use self::access::Access;
pub(crate) use self::folder::{Folder, Message};
use self::names::{Names, Role};
use crate::{error::Error, sync::lock};

pub mod names;

mod access;
mod folder;

/// A cheap handle; clones share the same mail.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    accounts: HashMap<String, Account>,
    folders_made: u32,
    messages_made: u64,
}

#[derive(Debug)]
struct Account {
    access: Access,
    folders: BTreeMap<String, Folder>,
}

/// X-GM-MSGID of the first message; Gmail's have such a size.
const FIRST_MESSAGE: u64 = 1_780_000_000_000_000_000;

/// What happens to the UIDs of a folder whose UIDVALIDITY changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renumber {
    Keep,
    /// The messages get UIDs from this one on, in order.
    From(u32),
}

/// What goes wrong when one message is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// `BODY[] NIL` though the message has a size.
    NilBody,
    /// `BODY[] {0}` though the message has a size.
    EmptyBody,
    /// The response is no IMAP.
    Garbage,
    /// The connection ends in the middle of the body.
    Cut,
    /// The response is left out, as if the message were gone.
    LeftOut,
    /// `RFC822.SIZE` is this, whatever the body has.
    Size(u32),
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    Always,
    Next(u32),
}

impl Mailboxes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an account with an INBOX, or replaces how an existing one is opened.
    pub fn add_account(&self, user: &str, access: Access) {
        let mut world = lock(&self.0);
        if let Some(account) = world.accounts.get_mut(&key(user)) {
            account.access = access;
            return;
        }
        let inbox = world.new_folder();
        let folders = BTreeMap::from([("INBOX".to_owned(), inbox)]);
        world
            .accounts
            .insert(key(user), Account { access, folders });
    }

    /// Changes how an account is opened: a grant, IMAP itself. Sessions that are there stay.
    pub fn set_access(&self, user: &str, change: impl FnOnce(&mut Access)) -> Result<(), Error> {
        let mut world = lock(&self.0);
        change(&mut world.account(user)?.access);
        Ok(())
    }

    /// Adds an empty folder under its name as people read it; an existing one stays as it is.
    pub fn add_folder(&self, user: &str, folder: &str) -> Result<(), Error> {
        self.add_folder_for(user, folder, None)
    }

    /// Adds the folders of a fresh account.
    pub fn add_folders(&self, user: &str, names: Names) -> Result<(), Error> {
        let mut all = names.iter();
        all.try_for_each(|(name, role)| self.add_folder_for(user, name, *role))
    }

    fn add_folder_for(&self, user: &str, folder: &str, role: Option<Role>) -> Result<(), Error> {
        let mut world = lock(&self.0);
        let mut fresh = world.new_folder();
        fresh.role = role;
        world
            .account(user)?
            .folders
            .entry(folder_name(folder))
            .or_insert(fresh);
        Ok(())
    }

    /// Removes a folder with its mail. Adding it again gives it another UIDVALIDITY.
    pub fn remove_folder(&self, user: &str, folder: &str) -> Result<(), Error> {
        let mut world = lock(&self.0);
        let account = world.account(user)?;
        match account.folders.remove(&folder_name(folder)) {
            Some(_) => Ok(()),
            None => Err(unknown_folder(user, folder)),
        }
    }

    /// Puts a message into a folder, wakes who watches it, and returns its UID.
    pub fn deliver(
        &self,
        user: &str,
        folder: &str,
        raw: impl Into<Bytes>,
        internal_date: OffsetDateTime,
    ) -> Result<u32, Error> {
        let id = {
            let mut world = lock(&self.0);
            world.messages_made += 1;
            FIRST_MESSAGE + world.messages_made
        };
        let message = Arc::new(Message::new(raw.into(), internal_date, id));
        self.change(user, folder, |folder| folder.add(message))
    }

    /// Puts a message into another folder as well, as a label of Gmail's does: another UID, the same
    /// X-GM-MSGID. Returns the UID.
    pub fn label(&self, user: &str, from: &str, uid: u32, to: &str) -> Result<u32, Error> {
        let message = self.message(user, from, uid)?;
        self.change(user, to, |folder| folder.add(message))
    }

    /// Makes a message part of another one's conversation (X-GM-THRID).
    pub fn join_thread(&self, user: &str, folder: &str, uid: u32, of: u32) -> Result<(), Error> {
        let first = self.message(user, folder, of)?;
        self.message(user, folder, uid)?.join(&first);
        Ok(())
    }

    fn message(&self, user: &str, folder: &str, uid: u32) -> Result<Arc<Message>, Error> {
        let found = self.look(user, folder, |folder| folder.messages.get(&uid).cloned())?;
        found.ok_or_else(|| Error::UnknownMessage {
            user: user.to_owned(),
            folder: folder.to_owned(),
            uid,
        })
    }

    /// The next message gets a UID that is higher by so many, as after mail that was moved away.
    pub fn skip_uids(&self, user: &str, folder: &str, count: u32) -> Result<(), Error> {
        self.change(user, folder, |folder| {
            folder.uid_next = folder.uid_next.saturating_add(count);
        })
    }

    /// Removes messages; UIDs that are not there are passed over.
    pub fn expunge(&self, user: &str, folder: &str, uids: &[u32]) -> Result<(), Error> {
        self.change(user, folder, |folder| {
            for uid in uids {
                folder.messages.remove(uid);
            }
            folder.expunged_at = folder.version + 1;
        })
    }

    /// Gives the folder another UIDVALIDITY. Sessions that have it open do not notice: they go on
    /// with the mail as it was until they select it again.
    pub fn set_uidvalidity(
        &self,
        user: &str,
        folder: &str,
        uid_validity: u32,
        renumber: Renumber,
    ) -> Result<(), Error> {
        self.change(user, folder, |folder| {
            folder.begin_epoch();
            folder.uid_validity = uid_validity;
            if let Renumber::From(first) = renumber {
                let old = std::mem::take(&mut folder.messages);
                folder.messages = (first..).zip(old.into_values()).collect();
                let count = u32::try_from(folder.messages.len()).unwrap_or(u32::MAX);
                folder.uid_next = first.saturating_add(count);
            }
        })
    }

    /// Sets the folder back to an earlier state, as a restored backup does: messages at or above
    /// `uid_next` are gone, and new mail gets their UIDs again, under the same UIDVALIDITY.
    pub fn uids_go_back(&self, user: &str, folder: &str, uid_next: u32) -> Result<(), Error> {
        self.change(user, folder, |folder| {
            folder.begin_epoch();
            folder.messages.split_off(&uid_next);
            folder.uid_next = uid_next;
        })
    }

    /// Makes one message hard to read.
    pub fn trouble(
        &self,
        user: &str,
        folder: &str,
        uid: u32,
        trouble: Trouble,
        times: Times,
    ) -> Result<(), Error> {
        self.change(user, folder, |folder| {
            folder.troubles.insert(uid, (trouble, times));
        })
    }

    /// The message can be read again.
    pub fn end_trouble(&self, user: &str, folder: &str, uid: u32) -> Result<(), Error> {
        self.change(user, folder, |folder| {
            folder.troubles.remove(&uid);
        })
    }

    /// The UIDs in a folder, ascending.
    pub fn uids(&self, user: &str, folder: &str) -> Result<Vec<u32>, Error> {
        self.look(user, folder, |folder| {
            folder.messages.keys().copied().collect()
        })
    }

    pub fn uidvalidity(&self, user: &str, folder: &str) -> Result<u32, Error> {
        self.look(user, folder, |folder| folder.uid_validity)
    }

    /// The UIDs whose `\Seen` flag a client has set, by reading without PEEK.
    pub fn seen(&self, user: &str, folder: &str) -> Result<Vec<u32>, Error> {
        self.look(user, folder, |folder| {
            let seen = folder.messages.iter().filter(|(_, one)| one.is_seen());
            seen.map(|(uid, _)| *uid).collect()
        })
    }

    /// Sets a flag on messages as a client does; UIDs that are not there are passed over.
    pub fn flag(&self, user: &str, folder: &str, uids: &[u32], flag: &str) -> Result<(), Error> {
        self.look(user, folder, |folder| {
            for message in uids.iter().filter_map(|uid| folder.messages.get(uid)) {
                message.add_flag(flag);
            }
        })
    }

    /// The flags and keywords that clients set on a message, `\Seen` by reading aside.
    pub fn flags(&self, user: &str, folder: &str, uid: u32) -> Result<BTreeSet<String>, Error> {
        Ok(self.message(user, folder, uid)?.flags())
    }

    pub(crate) fn access(&self, user: &str) -> Option<Access> {
        let world = lock(&self.0);
        world.accounts.get(&key(user)).map(|one| one.access.clone())
    }

    pub(crate) fn folder_names(&self, user: &str) -> Vec<(String, Option<Role>)> {
        let world = lock(&self.0);
        let account = world.accounts.get(&key(user));
        account.map_or_else(Vec::new, |one| {
            let all = one.folders.iter();
            all.map(|(name, folder)| (name.clone(), folder.role))
                .collect()
        })
    }

    /// The other folders that a message is in; that of all mail is no label.
    pub(crate) fn labels(&self, user: &str, here: &str, uid: u32) -> Vec<(String, Option<Role>)> {
        let Ok(message) = self.message(user, here, uid) else {
            return Vec::new();
        };
        let here = folder_name(here);
        let world = lock(&self.0);
        let account = world.accounts.get(&key(user));
        let folders = account.into_iter().flat_map(|one| &one.folders);
        folders
            .filter(|(name, folder)| **name != here && folder.role != Some(Role::All))
            .filter(|(_, folder)| folder.holds(&message))
            .map(|(name, folder)| (name.clone(), folder.role))
            .collect()
    }

    /// Reads or steers a folder without telling its watchers.
    pub(crate) fn look<R>(
        &self,
        user: &str,
        folder: &str,
        look: impl FnOnce(&mut Folder) -> R,
    ) -> Result<R, Error> {
        let mut world = lock(&self.0);
        let account = world.account(user)?;
        match account.folders.get_mut(&folder_name(folder)) {
            Some(folder) => Ok(look(folder)),
            None => Err(unknown_folder(user, folder)),
        }
    }

    fn change<R>(
        &self,
        user: &str,
        folder: &str,
        change: impl FnOnce(&mut Folder) -> R,
    ) -> Result<R, Error> {
        self.look(user, folder, |folder| {
            let done = change(folder);
            folder.version += 1;
            for watcher in folder.watchers.values() {
                watcher.notify_one();
            }
            done
        })
    }
}

impl World {
    fn new_folder(&mut self) -> Folder {
        self.folders_made += 1;
        Folder::new(1_700_000_000 + self.folders_made)
    }

    fn account(&mut self, user: &str) -> Result<&mut Account, Error> {
        self.accounts
            .get_mut(&key(user))
            .ok_or_else(|| Error::UnknownAccount {
                user: user.to_owned(),
            })
    }
}

fn key(user: &str) -> String {
    user.to_ascii_lowercase()
}

fn folder_name(name: &str) -> String {
    if name.eq_ignore_ascii_case("INBOX") {
        "INBOX".to_owned()
    } else {
        name.to_owned()
    }
}

fn unknown_folder(user: &str, folder: &str) -> Error {
    Error::UnknownFolder {
        user: user.to_owned(),
        folder: folder.to_owned(),
    }
}
