//! SEARCH and UID SEARCH (RFC 3501 §6.4.4), with the keys that a watcher and its audit need.

use time::Date;

use super::{
    session::{Reply, Session, without_secrets},
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
    /// Gmail's.
    MessageId(u64),
    ThreadId(u64),
}

/// What of an extended result (RFC 4731) is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Min,
    Max,
    All,
    Count,
}

impl Session {
    pub(super) fn search(
        &mut self,
        name: &str,
        mut scanner: Scanner<'_>,
        line: &[u8],
    ) -> Result<Reply, Bad> {
        let wanted = returns(&mut scanner)?;
        if wanted.is_some() && !self.offers("ESEARCH") {
            let why = "ESEARCH was not offered";
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::Bad("Command Argument Error. 12".into()));
        }
        let mut keys = Vec::new();
        while scanner.accept(b' ') {
            if let Some(key) = read_key(&mut scanner)? {
                if key.is_gmail() && !self.offers("X-GM-EXT-1") {
                    return Err("a search key is unknown");
                }
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
        let number = |position: usize| match name {
            "UID SEARCH" => view.uids[position],
            _ => u32::try_from(position + 1).unwrap_or(u32::MAX),
        };
        let found: Vec<u32> = found.into_iter().map(number).collect();
        let unasked = self.rev2 || self.presence.is_set(|levers| levers.answer_esearch);
        let answer = match wanted {
            None if unasked => extended(name, line, &found, &[Wanted::All]),
            None => {
                let found = found.iter().map(|number| format!(" {number}"));
                format!("* SEARCH{}", found.collect::<String>())
            }
            Some(wanted) => extended(name, line, &found, &wanted),
        };
        self.wire.put_line(answer);
        Ok(Reply::Ok(format!("{name} completed.").into()))
    }
}

/// ` RETURN (ALL COUNT)`, if it is there.
fn returns(scanner: &mut Scanner<'_>) -> Result<Option<Vec<Wanted>>, Bad> {
    if !scanner.accept_word(b" RETURN ") {
        return Ok(None);
    }
    let options = scanner.list()?;
    let mut wanted = Vec::new();
    for option in options {
        wanted.push(match option.to_ascii_uppercase().as_str() {
            "MIN" => Wanted::Min,
            "MAX" => Wanted::Max,
            "ALL" => Wanted::All,
            "COUNT" => Wanted::Count,
            _ => return Err("a return option is unknown"),
        });
    }
    if wanted.is_empty() {
        wanted.push(Wanted::All);
    }
    Ok(Some(wanted))
}

/// `* ESEARCH (TAG "a") UID ALL 1:3,7`.
fn extended(name: &str, line: &[u8], found: &[u32], wanted: &[Wanted]) -> String {
    let tag = String::from_utf8_lossy(Scanner::new(line).until(b" ")).into_owned();
    let mut answer = format!("* ESEARCH (TAG \"{tag}\")");
    if name == "UID SEARCH" {
        answer.push_str(" UID");
    }
    for one in wanted {
        let part = match (one, found) {
            (Wanted::Count, _) => format!(" COUNT {}", found.len()),
            (Wanted::Min | Wanted::Max | Wanted::All, []) => continue,
            (Wanted::Min, [first, ..]) => format!(" MIN {first}"),
            (Wanted::Max, [.., last]) => format!(" MAX {last}"),
            (Wanted::All, _) => format!(" ALL {}", ranges(found)),
        };
        answer.push_str(&part);
    }
    answer
}

/// `1:3,7`, of ascending numbers.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let all: Vec<String> = runs
        .map(|run| match run {
            [first, .., last] => format!("{first}:{last}"),
            [one] => one.to_string(),
            [] => String::new(),
        })
        .collect();
    all.join(",")
}

impl Key {
    fn is_gmail(&self) -> bool {
        matches!(self, Self::MessageId(_) | Self::ThreadId(_))
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
        "X-GM-MSGID" => Key::MessageId(scanner.long_number()?),
        "X-GM-THRID" => Key::ThreadId(scanner.long_number()?),
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
            | Key::Smaller(_)
            | Key::MessageId(_)
            | Key::ThreadId(_) => continue,
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
        Key::MessageId(id) => message.id == *id,
        Key::ThreadId(id) => message.thread() == *id,
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
