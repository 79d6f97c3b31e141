//! One look at the mail server over a session of its own, read-only: where the watched folders
//! stand, and in which folder a message is. Bounded in folders and in time, and never tried while
//! the mailbox's gate is shut: an operator's question must not make trouble worse.

use std::{collections::BTreeMap, time::Duration};

use postrider_core::{
    cursor::{Cursor, Epoch},
    ids::{FolderName, Uid, UidValidity},
    time::{Monotonic, Wall},
    watch::Selected,
};
use postrider_imap::{role::Role, session::Session};

use super::Admin;
use crate::{clock, directory::Worker, side};

/// The command line waits for 90 s.
const TIME_MAX: Duration = Duration::from_secs(60);
/// At a tenth of a second each; more is told as left out.
const FOLDERS_MAX: usize = 300;
/// Of one message in one folder.
const COPIES_MAX: usize = 10;

const OVER: &str = "the time for looking is over";

/// What the server showed.
#[derive(Default)]
pub(super) struct Seen {
    /// The watched folders.
    pub(super) folders: BTreeMap<FolderName, Selected>,
    /// Where the message is.
    pub(super) places: Vec<Place>,
    pub(super) opened: u32,
    pub(super) left_out: Vec<String>,
    pub(super) note: Option<String>,
}

pub(super) struct Place {
    /// As the server calls it.
    pub(super) name: FolderName,
    pub(super) uid: Uid,
    /// As the configuration calls it, where it is watched.
    pub(super) watched: Option<FolderName>,
}

impl Seen {
    pub(super) fn nothing(why: &str) -> Self {
        Self {
            note: Some(why.to_owned()),
            ..Self::default()
        }
    }
}

pub(super) async fn look(admin: &Admin, worker: &Worker, message_id: Option<&str>) -> Seen {
    let until = clock::monotonic() + TIME_MAX;
    let opened = tokio::time::timeout(TIME_MAX, side::open(&admin.shared, worker)).await;
    let (mut session, _place) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(why)) => return Seen::nothing(&format!("it was not asked: {why}")),
        Err(_) => return Seen::nothing("logging in took too long"),
    };
    let mut seen = Seen::default();
    let looked = visit(&mut session, worker, message_id, until, &mut seen).await;
    if let Err(why) = looked {
        seen.note = Some(why);
    }
    session.logout().await;
    seen
}

/// Which messages of a folder are meant.
pub(in crate::admin) enum Range {
    /// Pairs of first and last.
    Uids(Vec<(u32, u32)>),
    /// As the server counts days (INTERNALDATE); the second one is the first that is not meant.
    Days(Wall, Option<Wall>),
}

/// The UIDs of a range that are in a folder now, and the numbering that they belong to.
pub(in crate::admin) async fn list(
    admin: &Admin,
    worker: &Worker,
    folder: &FolderName,
    range: &Range,
) -> Result<(UidValidity, Vec<Uid>), String> {
    let until = clock::monotonic() + TIME_MAX;
    let opened = tokio::time::timeout(TIME_MAX, side::open(&admin.shared, worker)).await;
    let (mut session, _place) = opened.map_err(|_| "logging in took too long".to_owned())??;
    let name = match Role::parse(folder.as_str()) {
        Some(role) => within(until, session.folder_of(role)).await?,
        None => folder.clone(),
    };
    let selected = within(until, session.examine(&name)).await?;
    let uids = match range {
        Range::Uids(ranges) => by_uid(&mut session, &selected, ranges, until).await?,
        Range::Days(since, end) => by_day(&mut session, *since, *end, until).await?,
    };
    session.logout().await;
    Ok((selected.uid_validity, uids))
}

async fn by_uid(
    session: &mut Session,
    selected: &Selected,
    ranges: &[(u32, u32)],
    until: Monotonic,
) -> Result<Vec<Uid>, String> {
    let first = ranges.iter().map(|(first, _)| *first).min().unwrap_or(1);
    let last = ranges.iter().map(|(_, last)| *last).max().unwrap_or(0);
    let mut from = Cursor::begin(selected.uid_validity, Epoch(0));
    from.last = Uid::new(first.saturating_sub(1));
    let mut all = Vec::new();
    loop {
        let listed = within(until, session.survey(&from)).await?.uids;
        let Some(end) = listed.last().copied() else {
            break;
        };
        all.extend(listed);
        if end.get() >= last || from.last == Some(end) {
            break;
        }
        from.last = Some(end);
    }
    let is_meant = |uid: &Uid| {
        let of = |(first, last): &(u32, u32)| (*first..=*last).contains(&uid.get());
        ranges.iter().any(of)
    };
    all.retain(is_meant);
    Ok(all)
}

/// The session's search begins a day early, for the time zones that servers disregard; here a day
/// is the server's own.
async fn by_day(
    session: &mut Session,
    since: Wall,
    end: Option<Wall>,
    until: Monotonic,
) -> Result<Vec<Uid>, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut all = within(until, session.search_since(since + DAY)).await?;
    if let Some(end) = end {
        let later = within(until, session.search_since(end + DAY)).await?;
        all.retain(|uid| later.binary_search(uid).is_err());
    }
    Ok(all)
}

async fn visit(
    session: &mut Session,
    worker: &Worker,
    message_id: Option<&str>,
    until: Monotonic,
    seen: &mut Seen,
) -> Result<(), String> {
    let mut watched = Vec::new();
    for line in worker.lines.iter() {
        let folder = &line.key.folder;
        let Some(name) = named(session, folder, until, seen).await? else {
            continue;
        };
        let visit = Visit {
            name: name.clone(),
            watched: Some(folder.clone()),
        };
        if let Some(selected) = visit_one(session, visit, message_id, until, seen).await? {
            seen.folders.insert(folder.clone(), selected);
        }
        watched.push(name);
    }
    if message_id.is_none() {
        return Ok(());
    }
    let listed = within(until, session.folders()).await?;
    let others = listed
        .into_iter()
        .filter(|folder| folder.opens())
        .map(|folder| folder.name)
        .filter(|name| !watched.iter().any(|known| is_same(known, name)));
    for (number, folder) in others.enumerate() {
        if number >= FOLDERS_MAX || clock::monotonic() >= until {
            seen.left_out.push(folder.to_string());
        } else {
            let visit = Visit {
                name: folder,
                watched: None,
            };
            visit_one(session, visit, message_id, until, seen).await?;
        }
    }
    match seen.left_out.is_empty() {
        true => Ok(()),
        false => Err("not all folders were looked at".to_owned()),
    }
}

/// The folder's own name, where the configuration names it by its role.
async fn named(
    session: &mut Session,
    folder: &FolderName,
    until: Monotonic,
    seen: &mut Seen,
) -> Result<Option<FolderName>, String> {
    let Some(role) = Role::parse(folder.as_str()) else {
        return Ok(Some(folder.clone()));
    };
    match within(until, session.folder_of(role)).await {
        Ok(name) => Ok(Some(name)),
        Err(why) if session.is_closed() => Err(why),
        Err(_) => {
            seen.left_out.push(folder.to_string());
            Ok(None)
        }
    }
}

/// A folder to look into.
struct Visit {
    name: FolderName,
    watched: Option<FolderName>,
}

/// `None` where this folder cannot be opened; an error where the session is over.
async fn visit_one(
    session: &mut Session,
    visit: Visit,
    message_id: Option<&str>,
    until: Monotonic,
    seen: &mut Seen,
) -> Result<Option<Selected>, String> {
    if clock::monotonic() >= until {
        return Err(OVER.to_owned());
    }
    let selected = match within(until, session.examine(&visit.name)).await {
        Ok(selected) => selected,
        Err(why) if session.is_closed() => return Err(why),
        Err(_) => {
            seen.left_out.push(visit.name.to_string());
            return Ok(None);
        }
    };
    seen.opened += 1;
    if let Some(message_id) = message_id {
        let query = format!("<{message_id}>");
        let found = within(until, session.search_message_id(&query)).await?;
        for uid in found.into_iter().take(COPIES_MAX) {
            seen.places.push(Place {
                name: visit.name.clone(),
                uid,
                watched: visit.watched.clone(),
            });
        }
    }
    Ok(Some(selected))
}

/// INBOX is the same in any case (RFC 3501 section 5.1).
fn is_same(one: &FolderName, other: &FolderName) -> bool {
    let is_inbox = |name: &FolderName| name.as_str().eq_ignore_ascii_case("INBOX");
    one == other || (is_inbox(one) && is_inbox(other))
}

/// The session's own deadlines hold for each command; this one is for all of them together. What
/// is cut off leaves a session that is not used again.
async fn within<T>(
    until: Monotonic,
    asked: impl Future<Output = Result<T, postrider_imap::error::Error>>,
) -> Result<T, String> {
    let left = until - clock::monotonic();
    match tokio::time::timeout(left, asked).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(side::first_line(&error.to_string())),
        Err(_) => Err(OVER.to_owned()),
    }
}
