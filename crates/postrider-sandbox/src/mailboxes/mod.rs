//! The mail that the sandbox's servers serve: accounts, folders, messages, and the levers that
//! change them behind a session's back. It knows nothing of the wire.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use time::OffsetDateTime;

pub(crate) use self::folder::{Folder, Message};
use crate::{authority::TokenAuthority, error::Error, sync::lock};

mod folder;

/// A cheap handle; clones share the same mail.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    accounts: HashMap<String, Account>,
    folders_made: u32,
}

#[derive(Debug)]
struct Account {
    access: Access,
    folders: BTreeMap<String, Folder>,
}

/// How an account may be opened.
#[derive(Clone, Debug, Default)]
pub struct Access {
    password: Option<String>,
    tokens: Option<TokenAuthority>,
}

impl Access {
    pub fn password(password: &str) -> Self {
        Self::default().or_password(password)
    }

    pub fn tokens(authority: &TokenAuthority) -> Self {
        Self::default().or_tokens(authority)
    }

    #[must_use]
    pub fn or_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    #[must_use]
    pub fn or_tokens(mut self, authority: &TokenAuthority) -> Self {
        self.tokens = Some(authority.clone());
        self
    }

    pub(crate) fn takes_password(&self, password: &str) -> bool {
        self.password.as_deref() == Some(password)
    }

    pub(crate) fn authority(&self) -> Option<&TokenAuthority> {
        self.tokens.as_ref()
    }
}

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

    /// Adds an empty folder; an existing one stays as it is.
    pub fn add_folder(&self, user: &str, folder: &str) -> Result<(), Error> {
        let mut world = lock(&self.0);
        let fresh = world.new_folder();
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
        let message = Arc::new(Message::new(raw.into(), internal_date));
        self.change(user, folder, |folder| {
            let uid = folder.uid_next;
            folder.uid_next += 1;
            folder.messages.insert(uid, message);
            uid
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

    pub(crate) fn access(&self, user: &str) -> Option<Access> {
        let world = lock(&self.0);
        world.accounts.get(&key(user)).map(|one| one.access.clone())
    }

    pub(crate) fn folder_names(&self, user: &str) -> Vec<String> {
        let world = lock(&self.0);
        let account = world.accounts.get(&key(user));
        account.map_or_else(Vec::new, |one| one.folders.keys().cloned().collect())
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
