//! FETCH and UID FETCH (RFC 3501 §6.4.5): flags, dates, sizes and bodies, whole or in parts. What a
//! message's trouble makes of its response is decided here too.

use bytes::Bytes;

use super::{
    presence::{Mode, View},
    session::{Reply, Session, Stop, without_secrets},
    syntax::{Bad, Scanner, SequenceSet, internal_date, quoted},
    utf7,
};
use crate::mailboxes::{Folder, Message, Trouble, names::Role};

/// A body below this is copied into the output buffer, a larger one is sent from where it lies.
const COPY_BELOW: usize = 16 * 1024;

enum Item {
    Uid,
    Flags,
    InternalDate,
    Size,
    Body(BodyItem),
    /// Gmail's X-GM-MSGID, X-GM-THRID and X-GM-LABELS.
    MessageId,
    ThreadId,
    Labels,
}

/// How the levers want messages to be told.
#[derive(Clone, Copy)]
struct Telling {
    size_error_percent: i8,
    rebuilds: bool,
}

struct BodyItem {
    section: Section,
    peek: Peek,
    partial: Option<(usize, usize)>,
}

#[derive(PartialEq, Eq)]
enum Peek {
    Yes,
    No,
}

enum Section {
    Whole,
    Header,
    Fields(Vec<String>, Fields),
    Text,
}

/// Which header fields are meant by a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    These,
    AllBut,
}

enum Piece {
    Text(String),
    Body(Bytes),
    /// The connection ends here.
    Cut,
}

impl Session {
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        mut scanner: Scanner<'_>,
        line: &[u8],
    ) -> Result<Reply, Stop> {
        let (set, mut items) = match arguments(&mut scanner) {
            Ok(arguments) => arguments,
            Err(bad) => return Ok(bad.into()),
        };
        let by_uid = name == "UID FETCH";
        if by_uid && !items.iter().any(|item| matches!(item, Item::Uid)) {
            items.insert(0, Item::Uid);
        }
        if items.iter().any(sets_seen) {
            let why = "BODY[] without PEEK sets \\Seen";
            self.presence.complain(without_secrets(name, line), why);
        }
        if items.iter().any(is_gmail) && !self.offers("X-GM-EXT-1") {
            let why = "X-GM-EXT-1 was not offered";
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::Bad("Command Argument Error. 12".into()));
        }
        self.tell_news();
        let telling = self.telling();
        let user = self.presence.user().unwrap_or_default().to_owned();
        let Some(view) = &self.presence.view else {
            return Ok(Reply::from("no folder is open"));
        };
        let positions = if by_uid {
            set.positions(&view.uids)
        } else {
            let count = u32::try_from(view.uids.len()).unwrap_or(u32::MAX);
            set.positions(&(1..=count).collect::<Vec<_>>())
        };
        for position in positions {
            let Some(view) = &self.presence.view else {
                break;
            };
            let mailboxes = &self.presence.shared.mailboxes;
            let labels = match items.iter().any(|item| matches!(item, Item::Labels)) {
                true => mailboxes.labels(&user, &view.folder, view.uids[position]),
                false => Vec::new(),
            };
            let labels = labels_text(&labels);
            let look =
                |folder: &mut Folder| response(folder, view, position, &items, telling, &labels);
            // A folder that was removed under the session has no responses any more.
            let pieces = mailboxes.look(&user, &view.folder, look);
            for piece in pieces.unwrap_or_default() {
                self.put_piece(piece).await?;
            }
            self.wire.flush_if_much().await?;
        }
        Ok(Reply::Ok(format!("{name} completed.").into()))
    }

    fn telling(&self) -> Telling {
        let wrong = self.presence.ask(|levers| {
            let percent = levers.size_error_percent;
            (percent != 0).then_some(percent)
        });
        Telling {
            size_error_percent: wrong.unwrap_or_default(),
            rebuilds: self.presence.is_set(|levers| levers.rebuild_messages),
        }
    }

    async fn put_piece(&mut self, piece: Piece) -> Result<(), Stop> {
        match piece {
            Piece::Text(text) => self.wire.put(text),
            Piece::Body(body) if body.len() < COPY_BELOW => self.wire.put(&body),
            Piece::Body(body) => self.wire.send(&body).await?,
            Piece::Cut => {
                self.wire.flush().await?;
                return Err(Stop::Gone);
            }
        }
        Ok(())
    }
}

fn arguments(scanner: &mut Scanner<'_>) -> Result<(SequenceSet, Vec<Item>), Bad> {
    scanner.space()?;
    let set = scanner.set()?;
    scanner.space()?;
    let mut items = Vec::new();
    if scanner.accept(b'(') {
        while !scanner.accept(b')') {
            if !items.is_empty() {
                scanner.space()?;
            }
            items.push(item(scanner)?);
        }
    } else {
        items.push(item(scanner)?);
    }
    scanner.end()?;
    Ok((set, items))
}

fn item(scanner: &mut Scanner<'_>) -> Result<Item, Bad> {
    let peek = match scanner.word()?.as_str() {
        "UID" => return Ok(Item::Uid),
        "FLAGS" => return Ok(Item::Flags),
        "INTERNALDATE" => return Ok(Item::InternalDate),
        "RFC822.SIZE" => return Ok(Item::Size),
        "X-GM-MSGID" => return Ok(Item::MessageId),
        "X-GM-THRID" => return Ok(Item::ThreadId),
        "X-GM-LABELS" => return Ok(Item::Labels),
        "BODY.PEEK" => Peek::Yes,
        "BODY" => Peek::No,
        _ => return Err("a fetch item is unknown"),
    };
    if !scanner.accept(b'[') {
        return Err("a section is missing");
    }
    let section = section(scanner)?;
    if !scanner.accept(b']') {
        return Err("a section does not end");
    }
    let partial = if scanner.accept(b'<') {
        let from = scanner.number()? as usize;
        if !scanner.accept(b'.') {
            return Err("a partial is wrong");
        }
        let count = scanner.number()? as usize;
        if count == 0 || !scanner.accept(b'>') {
            return Err("a partial is wrong");
        }
        Some((from, count))
    } else {
        None
    };
    Ok(Item::Body(BodyItem {
        section,
        peek,
        partial,
    }))
}

fn section(scanner: &mut Scanner<'_>) -> Result<Section, Bad> {
    if scanner.peek() == Some(b']') {
        return Ok(Section::Whole);
    }
    let fields = match scanner.word()?.as_str() {
        "HEADER" => return Ok(Section::Header),
        "TEXT" => return Ok(Section::Text),
        "HEADER.FIELDS" => Fields::These,
        "HEADER.FIELDS.NOT" => Fields::AllBut,
        _ => return Err("a section is not served here"),
    };
    scanner.space()?;
    Ok(Section::Fields(scanner.list()?, fields))
}

fn is_gmail(item: &Item) -> bool {
    match item {
        Item::MessageId | Item::ThreadId | Item::Labels => true,
        Item::Uid | Item::Flags | Item::InternalDate | Item::Size | Item::Body(_) => false,
    }
}

/// `(\Inbox "Invoices")`, with the names that Gmail has for its own folders.
fn labels_text(labels: &[(String, Option<Role>)]) -> String {
    let all: Vec<String> = labels
        .iter()
        .map(|(name, role)| match role {
            None if name == "INBOX" => "\"\\\\Inbox\"".to_owned(),
            None => String::from_utf8_lossy(&quoted(utf7::encode(name).as_bytes())).into_owned(),
            Some(Role::Flagged) => "\"\\\\Starred\"".to_owned(),
            Some(role) => format!("\"\\{}\"", role.attribute()),
        })
        .collect();
    format!("({})", all.join(" "))
}

fn sets_seen(item: &Item) -> bool {
    matches!(item, Item::Body(body) if body.peek == Peek::No)
}

/// One message's response; nothing if it is gone.
fn response(
    folder: &mut Folder,
    view: &View,
    position: usize,
    items: &[Item],
    telling: Telling,
    labels: &str,
) -> Vec<Piece> {
    let uid = view.uids[position];
    let Some(message) = folder.messages_at(view.epoch).get(&uid).cloned() else {
        return Vec::new();
    };
    let trouble = folder.take_trouble(uid);
    let number = position + 1;
    match trouble {
        Some(Trouble::LeftOut) => return Vec::new(),
        Some(Trouble::Garbage) => {
            let text = format!("* {number} FETCH (UID {uid} FLAGS ((( BODY[]] {{x}} \"\r\n");
            return vec![Piece::Text(text)];
        }
        Some(Trouble::NilBody | Trouble::EmptyBody | Trouble::Cut | Trouble::Size(_)) | None => {}
    }
    if view.mode == Mode::ReadWrite && items.iter().any(sets_seen) {
        message.set_seen();
    }
    let told = Told {
        uid,
        raw: if telling.rebuilds {
            message.rebuild()
        } else {
            message.raw.clone()
        },
        size_error_percent: telling.size_error_percent,
        message: &message,
        labels,
        trouble,
    };
    let mut pieces = vec![Piece::Text(format!("* {number} FETCH ("))];
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pieces.push(Piece::Text(" ".to_owned()));
        }
        put_item(&mut pieces, item, &told);
    }
    pieces.push(Piece::Text(")\r\n".to_owned()));
    pieces
}

/// One message as it is told this time.
struct Told<'a> {
    uid: u32,
    raw: Bytes,
    size_error_percent: i8,
    message: &'a Message,
    labels: &'a str,
    trouble: Option<Trouble>,
}

impl Told<'_> {
    fn size(&self) -> i64 {
        let size = i64::try_from(self.raw.len()).unwrap_or(i64::MAX);
        match self.trouble {
            Some(Trouble::Size(size)) => i64::from(size),
            _ => size + size * i64::from(self.size_error_percent) / 100,
        }
    }
}

fn put_item(pieces: &mut Vec<Piece>, item: &Item, told: &Told<'_>) {
    let message = told.message;
    let text = match item {
        Item::Uid => format!("UID {}", told.uid),
        Item::Flags if message.is_seen() => "FLAGS (\\Seen)".to_owned(),
        Item::Flags => "FLAGS ()".to_owned(),
        Item::InternalDate => format!("INTERNALDATE \"{}\"", internal_date(message.internal_date)),
        Item::Size => format!("RFC822.SIZE {}", told.size()),
        Item::MessageId => format!("X-GM-MSGID {}", message.id),
        Item::ThreadId => format!("X-GM-THRID {}", message.thread()),
        Item::Labels => format!("X-GM-LABELS {}", told.labels),
        Item::Body(body) => return put_body(pieces, body, told),
    };
    pieces.push(Piece::Text(text));
}

fn put_body(pieces: &mut Vec<Piece>, item: &BodyItem, told: &Told<'_>) {
    let mut body = section_bytes(&told.raw, &item.section);
    let mut label = format!("BODY[{}]", section_label(&item.section));
    if let Some((from, count)) = item.partial {
        let from_here = from.min(body.len());
        body = body.slice(from_here..from.saturating_add(count).min(body.len()));
        label.push_str(&format!("<{from}>"));
    }
    let whole = matches!(item.section, Section::Whole);
    match told.trouble {
        Some(Trouble::NilBody) if whole => pieces.push(Piece::Text(format!("{label} NIL"))),
        Some(Trouble::EmptyBody) if whole => {
            pieces.push(Piece::Text(format!("{label} {{0}}\r\n")));
        }
        Some(Trouble::Cut) if whole => {
            pieces.push(Piece::Text(format!("{label} {{{}}}\r\n", body.len())));
            pieces.push(Piece::Body(body.slice(..body.len() / 2)));
            pieces.push(Piece::Cut);
        }
        _ => {
            pieces.push(Piece::Text(format!("{label} {{{}}}\r\n", body.len())));
            pieces.push(Piece::Body(body));
        }
    }
}

fn section_label(section: &Section) -> String {
    match section {
        Section::Whole => String::new(),
        Section::Header => "HEADER".to_owned(),
        Section::Text => "TEXT".to_owned(),
        Section::Fields(names, Fields::These) => format!("HEADER.FIELDS ({})", names.join(" ")),
        Section::Fields(names, Fields::AllBut) => {
            format!("HEADER.FIELDS.NOT ({})", names.join(" "))
        }
    }
}

fn section_bytes(raw: &Bytes, section: &Section) -> Bytes {
    let header = header_end(raw);
    match section {
        Section::Whole => raw.clone(),
        Section::Header => raw.slice(..header),
        Section::Text => raw.slice(header..),
        Section::Fields(names, fields) => header_fields(raw, names, *fields).into(),
    }
}

/// Where the body begins: behind the first empty line.
fn header_end(raw: &[u8]) -> usize {
    let mut start = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        start += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            return start;
        }
    }
    raw.len()
}

/// The named header fields with their folded lines, and an empty line.
pub(super) fn header_fields(raw: &[u8], names: &[String], fields: Fields) -> Vec<u8> {
    let mut found = Vec::new();
    let mut taking = false;
    for line in raw[..header_end(raw)].split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let listed = names.iter().any(|wanted| {
                wanted
                    .as_bytes()
                    .eq_ignore_ascii_case(name.trim_ascii_end())
            });
            taking = listed == (fields == Fields::These);
        }
        if taking {
            found.extend_from_slice(line);
        }
    }
    found.extend_from_slice(b"\r\n");
    found
}
