//! One mailbox's turn: its rows that are due, over one session, folder by folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use postrider_core::{
    fingerprint::Fingerprint,
    ids::{FolderName, MailboxKey, Uid, UidValidity},
    time::Wall,
};
use postrider_imap::{
    change::{ChangeError, Editor},
    role::Role,
    session::Session,
};
use postrider_store::{AfterRow, StoreError, Tried};
use uuid::Uuid;

use super::RETRY;
use crate::{
    clock,
    config::{After, AfterAction},
    directory::{Directory, Worker},
    shared::Shared,
    side,
    telemetry::after::Ended,
};

/// Rows per look into the store; what is left has its turn in the next one.
const ROWS_MAX: u32 = 500;

/// A turn that takes longer is broken off, and its session with it.
const TURN_MAX: Duration = Duration::from_secs(300);

/// After so many tries that failed, the next one that does is told, with what can be done about it.
const TELL_AFTER: u32 = 1;

/// Events whose message was copied where it is to be moved to, and whose original could not be
/// removed yet. A process that starts anew copies them once more.
pub(super) type Copied = Mutex<BTreeSet<(Uuid, FolderName)>>;

/// What became of one message.
enum Fate {
    Done,
    /// It is not there any more.
    Gone,
    /// Something else lies under its UID: the account behind the mailbox has changed, say.
    Another,
    /// Whether it is the one cannot be read.
    Unclear,
}

/// Where a message is, as its event says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    folder: FolderName,
    validity: u32,
}

pub(super) async fn work(
    shared: &Shared,
    directory: &Directory,
    copied: &Copied,
    key: &MailboxKey,
) {
    let rows = match shared.store.after_due(key, clock::wall(), ROWS_MAX).await {
        Ok(rows) if rows.is_empty() => return,
        Ok(rows) => rows,
        Err(error) => return store_failed(shared, &error),
    };
    let tries = rows.iter().map(|row| row.tries).min().unwrap_or(0);
    let mut turn = Turn {
        shared,
        key,
        copied,
        tried: Vec::new(),
        left: rows,
    };
    let worker = directory.get(key);
    let asked = worker.and_then(|worker| {
        let after = worker.mailbox.after.clone()?;
        Some((worker, after))
    });
    let done = match asked {
        // A mailbox that starts anew right now has no worker for a moment.
        None => Err("the mailbox is not watched".to_owned()),
        Some((worker, after)) => {
            let turn = turn.take(&worker, &after);
            let timed = tokio::time::timeout(TURN_MAX, turn).await;
            timed.unwrap_or_else(|_| Err("the server took too long".to_owned()))
        }
    };
    if let Err(why) = done {
        shared
            .telemetry
            .after
            .postponed(key, &why, tries >= TELL_AFTER);
        turn.postpone_the_rest(&why);
    }
    if let Err(error) = shared.store.after_tried(turn.tried).await {
        // The rows stay due: the next turn finds the messages as this one left them.
        store_failed(shared, &error);
        tokio::time::sleep(RETRY.first).await;
    }
}

fn store_failed(shared: &Shared, error: &StoreError) {
    let process = &shared.telemetry.process;
    process.store_failed("dealing with messages after delivery", error);
    if let StoreError::Fatal(_) = error {
        shared.fatal.cancel();
    }
}

struct Turn<'a> {
    shared: &'a Shared,
    key: &'a MailboxKey,
    copied: &'a Copied,
    tried: Vec<(Uuid, Tried)>,
    left: Vec<AfterRow>,
}

impl Turn<'_> {
    /// An error concerns all rows that are left.
    async fn take(&mut self, worker: &Worker, after: &After) -> Result<(), String> {
        let (mut session, _place) = side::open(self.shared, worker).await?;
        let mut places: BTreeMap<Place, Vec<AfterRow>> = BTreeMap::new();
        for row in std::mem::take(&mut self.left) {
            match place(&row.subject) {
                Some((place, _)) => places.entry(place).or_default().push(row),
                // No subject of ours: there is nothing that could be done.
                None => self.over(&row, Ended::Gone),
            }
        }
        self.left = places.values().flatten().cloned().collect();
        if let AfterAction::MoveTo(target) = &after.action
            && let Some(role) = self.watched(&mut session, worker, target).await?
        {
            let why = format!(
                "the folder to move to is watched, as {}: what is moved there would be sent again\n\nhint: move to another folder",
                role.as_str()
            );
            let rows = std::mem::take(&mut self.left);
            self.refused(&rows, &why, true);
            places.clear();
        }
        for (place, rows) in places {
            session = self.deal(session, &place, &rows, after).await?;
        }
        session.logout().await;
        Ok(())
    }

    /// Under which role the folder is watched. Its name is checked when the configuration is loaded;
    /// which folders have roles only the server knows.
    async fn watched(
        &self,
        session: &mut Session,
        worker: &Worker,
        target: &FolderName,
    ) -> Result<Option<Role>, String> {
        let watched = worker.mailbox.folders.iter();
        for role in watched.filter_map(|folder| Role::parse(folder.as_str())) {
            match session.folder_of(role).await {
                Ok(folder) if folder == *target => return Ok(Some(role)),
                Ok(_) => {}
                Err(error) if session.is_closed() => return Err(words(&error.to_string())),
                // Not a folder of this role, then.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// One folder; the session comes back where it can go on.
    async fn deal(
        &mut self,
        mut session: Session,
        place: &Place,
        rows: &[AfterRow],
        after: &After,
    ) -> Result<Session, String> {
        let folder = match Role::parse(place.folder.as_str()) {
            None => place.folder.clone(),
            Some(role) => match session.folder_of(role).await {
                Ok(folder) => folder,
                Err(error) if session.is_closed() => return Err(words(&error.to_string())),
                Err(error) => {
                    self.change_refused(rows, &ChangeError::Imap(error));
                    return Ok(session);
                }
            },
        };
        let mut editor = match Editor::open(session, &folder).await {
            Ok(editor) => editor,
            Err((Some(session), error)) => {
                self.change_refused(rows, &error);
                return Ok(session);
            }
            Err((None, error)) => return Err(words(&error.to_string())),
        };
        if editor.uid_validity() != UidValidity(place.validity) {
            // The UIDs mean other messages now, if any.
            for row in rows {
                self.over(row, Ended::Gone);
            }
            return Ok(editor.into_session());
        }
        match act(&mut editor, rows, after, self.copied).await {
            Ok(fates) => {
                for (row, fate) in rows.iter().zip(fates) {
                    self.end(row, &fate);
                }
            }
            Err(error) if editor.is_closed() => return Err(words(&error.to_string())),
            Err(error) => self.change_refused(rows, &error),
        }
        Ok(editor.into_session())
    }

    fn end(&mut self, row: &AfterRow, fate: &Fate) {
        match fate {
            Fate::Done => self.over(row, Ended::Done),
            Fate::Gone => self.over(row, Ended::Gone),
            Fate::Another => {
                self.shared.telemetry.after.another(self.key);
                self.over(row, Ended::Gone);
            }
            Fate::Unclear => {
                let why = "the server's answer about the message cannot be read";
                self.refused(std::slice::from_ref(row), why, row.tries >= TELL_AFTER);
            }
        }
    }

    fn over(&mut self, row: &AfterRow, ended: Ended) {
        self.shared.telemetry.after.ended(self.key, ended);
        self.left.retain(|left| left.event != row.event);
        self.tried.push((row.event, Tried::Done));
    }

    fn change_refused(&mut self, rows: &[AfterRow], error: &ChangeError) {
        // What lies in the server's nature will not pass.
        let told = error.session().is_none() || rows.iter().any(|row| row.tries >= TELL_AFTER);
        self.refused(rows, &error.to_string(), told);
    }

    /// The server says no: these messages are tried again, later and later.
    fn refused(&mut self, rows: &[AfterRow], why: &str, told: bool) {
        self.shared.telemetry.after.refused(self.key, why, told);
        for row in rows {
            self.again(row, &words(why));
            self.left.retain(|left| left.event != row.event);
        }
    }

    fn postpone_the_rest(&mut self, why: &str) {
        for row in std::mem::take(&mut self.left) {
            self.again(&row, why);
        }
    }

    fn again(&mut self, row: &AfterRow, why: &str) {
        let wait = RETRY.wait(row.tries.saturating_add(1), clock::chance());
        let due: Wall = clock::wall() + wait;
        let note = why.to_owned();
        self.tried.push((row.event, Tried::Again { due, note }));
    }
}

/// Does it to those that are still there, and says what became of each row.
async fn act(
    editor: &mut Editor,
    rows: &[AfterRow],
    after: &After,
    copied: &Copied,
) -> Result<Vec<Fate>, ChangeError> {
    let uid = |row: &AfterRow| place(&row.subject).map(|(_, uid)| uid);
    let uids: Vec<Uid> = rows.iter().filter_map(uid).collect();
    let present = editor.present(&uids).await?;
    let fates: Vec<Fate> = rows
        .iter()
        .map(|row| fate(uid(row).and_then(|uid| present.get(&uid)), row))
        .collect();
    let ours = rows.iter().zip(&fates);
    let ours: BTreeMap<Uid, Uuid> = ours
        .filter(|(_, fate)| matches!(fate, Fate::Done))
        .filter_map(|(row, _)| Some((uid(row)?, row.event)))
        .collect();
    let uids: Vec<Uid> = ours.keys().copied().collect();
    if uids.is_empty() {
        return Ok(fates);
    }
    match &after.action {
        AfterAction::MoveTo(folder) => {
            let mut there: BTreeSet<Uid> = {
                let copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
                let known = ours
                    .iter()
                    .filter(|(_, event)| copied.contains(&(**event, folder.clone())));
                known.map(|(uid, _)| *uid).collect()
            };
            let moved = editor.move_to(&uids, folder, &mut there).await;
            let mut copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
            for (uid, event) in &ours {
                let copy = (*event, folder.clone());
                match moved.is_err() && there.contains(uid) {
                    true => copied.insert(copy),
                    false => copied.remove(&copy),
                };
            }
            drop(copied);
            moved?;
        }
        AfterAction::AddFlag(flag) => editor.add_flag(&uids, flag).await?,
    }
    Ok(fates)
}

/// What can be done for a row, by what lies under its UID.
fn fate(found: Option<&Option<Fingerprint>>, row: &AfterRow) -> Fate {
    match found {
        None => Fate::Gone,
        Some(None) => Fate::Unclear,
        Some(print) if *print == row.fingerprint => Fate::Done,
        Some(Some(_)) => Fate::Another,
    }
}

fn place(subject: &str) -> Option<(Place, Uid)> {
    let (folder, UidValidity(validity), uid) = side::place(subject)?;
    Some((Place { folder, validity }, uid))
}

/// What an operator reads beside the row.
fn words(error: &str) -> String {
    side::first_line(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_the_events_subject() {
        let (found, uid) = place("Sales/2026/INBOX/1714060800/4711").unwrap();
        assert_eq!(found.folder, FolderName::new("Sales/2026/INBOX"));
        assert_eq!((found.validity, uid.get()), (1_714_060_800, 4711));
        for odd in [
            "",
            "INBOX",
            "INBOX/1",
            "INBOX/x/1",
            "INBOX/1/0",
            "INBOX/1/-1",
        ] {
            assert!(place(odd).is_none(), "{odd}");
        }
    }
}
