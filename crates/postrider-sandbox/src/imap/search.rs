//! SEARCH and UID SEARCH (RFC 3501 §6.4.4), with the keys that a watcher and its audit need.

use time::Date;

use super::{
    session::{Reply, Session},
    syntax::{Bad, Scanner, SequenceSet},
};
use crate::mailboxes::Message;

/// One search key; all of a command's keys must hold.
enum Key {
    All,
    Uid(SequenceSet),
    Numbers(SequenceSet),
    Since(Date),
    Before(Date),
    On(Date),
    Seen,
    Unseen,
    Header(String, String),
    Larger(usize),
    Smaller(usize),
}

impl Session {
    pub(super) fn search(&mut self, name: &str, mut scanner: Scanner<'_>) -> Result<Reply, Bad> {
        let mut keys = Vec::new();
        while scanner.accept(b' ') {
            if let Some(key) = read_key(&mut scanner)? {
                keys.push(key);
            }
        }
        scanner.end()?;
        if keys.is_empty() {
            return Err("a search key is missing");
        }
        self.tell_news();
        let user = self.presence.user().unwrap_or_default().to_owned();
        let Some(view) = &self.presence.view else {
            return Err("no folder is open");
        };
        let positions = candidates(&keys, &view.uids);
        // A folder that was removed under the session has nothing to be found.
        let found = self
            .presence
            .shared
            .mailboxes
            .look(&user, &view.folder, |folder| {
                let messages = folder.messages_at(view.epoch);
                let matches = positions.into_iter().filter(|position| {
                    let message = messages.get(&view.uids[*position]);
                    message.is_some_and(|message| keys.iter().all(|key| holds(key, message)))
                });
                matches.collect::<Vec<_>>()
            })
            .unwrap_or_default();
        let mut line = "* SEARCH".to_owned();
        for position in found {
            line.push(' ');
            if name == "UID SEARCH" {
                line.push_str(&view.uids[position].to_string());
            } else {
                line.push_str(&(position + 1).to_string());
            }
        }
        self.wire.put_line(line);
        Ok(Reply::Ok(format!("{name} completed.").into()))
    }
}

fn read_key(scanner: &mut Scanner<'_>) -> Result<Option<Key>, Bad> {
    if scanner
        .peek()
        .is_some_and(|byte| byte.is_ascii_digit() || byte == b'*')
    {
        return scanner.set().map(Key::Numbers).map(Some);
    }
    let word = scanner.word()?;
    match word.as_str() {
        "ALL" => return Ok(Some(Key::All)),
        "SEEN" => return Ok(Some(Key::Seen)),
        "UNSEEN" => return Ok(Some(Key::Unseen)),
        _ => scanner.space()?,
    }
    let key = match word.as_str() {
        "UID" => Key::Uid(scanner.set()?),
        "SINCE" => Key::Since(scanner.date()?),
        "BEFORE" => Key::Before(scanner.date()?),
        "ON" => Key::On(scanner.date()?),
        "LARGER" => Key::Larger(scanner.number()? as usize),
        "SMALLER" => Key::Smaller(scanner.number()? as usize),
        "HEADER" => {
            let field = scanner.string()?;
            scanner.space()?;
            Key::Header(field, scanner.string()?)
        }
        "CHARSET" => {
            scanner.string()?;
            return Ok(None);
        }
        _ => return Err("a search key is unknown"),
    };
    Ok(Some(key))
}

/// The positions that all sets among the keys name.
fn candidates(keys: &[Key], uids: &[u32]) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..uids.len()).collect();
    for key in keys {
        let named = match key {
            Key::Uid(set) => set.positions(uids),
            Key::Numbers(set) => {
                let count = u32::try_from(uids.len()).unwrap_or(u32::MAX);
                set.positions(&(1..=count).collect::<Vec<_>>())
            }
            Key::All
            | Key::Since(_)
            | Key::Before(_)
            | Key::On(_)
            | Key::Seen
            | Key::Unseen
            | Key::Header(..)
            | Key::Larger(_)
            | Key::Smaller(_) => continue,
        };
        positions.retain(|position| named.binary_search(position).is_ok());
    }
    positions
}

fn holds(key: &Key, message: &Message) -> bool {
    let date = message.internal_date.date();
    match key {
        Key::All | Key::Uid(_) | Key::Numbers(_) => true,
        Key::Since(day) => date >= *day,
        Key::Before(day) => date < *day,
        Key::On(day) => date == *day,
        Key::Seen => message.is_seen(),
        Key::Unseen => !message.is_seen(),
        Key::Header(field, value) => has_header(&message.raw, field, value),
        Key::Larger(size) => message.raw.len() > *size,
        Key::Smaller(size) => message.raw.len() < *size,
    }
}

fn has_header(raw: &[u8], field: &str, value: &str) -> bool {
    let wanted = [field.to_owned()];
    let header = super::fetch::header_fields(raw, &wanted, super::fetch::Fields::These);
    let text = String::from_utf8_lossy(&header).to_ascii_lowercase();
    let value = value.to_ascii_lowercase();
    text.split_once(':')
        .is_some_and(|(_, rest)| rest.contains(&value))
}
