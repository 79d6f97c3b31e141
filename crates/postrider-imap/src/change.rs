//! Changing messages of one folder: flags, and moves to another folder. The one place of this crate
//! that changes a mailbox, by UID alone, and only what it was told to; sessions that read never come
//! here.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use postrider_core::{
    fingerprint::Fingerprint,
    ids::{FolderName, Uid, UidValidity},
    message, watch,
};
use tokio::io::Sink;

use crate::{
    conversation::{Conversation, Part, argument, ignore},
    error::{Breach, Error, Refusal},
    name::wire_name,
    parse::{Response, Untagged, status::Status},
    read::{self, Body, BodySink, Memory},
    search,
    session::Session,
};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Imap(#[from] Error),
    #[error(
        "the server opens the folder read-only\n\nhint: the account needs the right to change it (with Exchange: FullAccess, not only ReadPermission)"
    )]
    ReadOnly,
    #[error(
        "the folder does not keep the flag {0}\n\nhint: Exchange has no keywords of one's own; use move_to, or add_flag with \\Seen"
    )]
    NotKept(String),
    #[error(
        "the server offers neither MOVE nor UIDPLUS with the right to delete, so nothing can be moved safely\n\nhint: use add_flag or keyword"
    )]
    NoMove,
}

impl ChangeError {
    /// Whether the same try can be made on another session with another result: the network, or the
    /// server's state, and not its nature.
    pub fn session(&self) -> Option<&Error> {
        match self {
            Self::Imap(error) => Some(error),
            Self::ReadOnly | Self::NotKept(_) | Self::NoMove => None,
        }
    }
}

/// A session with one folder open for changes.
pub struct Editor {
    session: Session,
    uid_validity: UidValidity,
    /// As PERMANENTFLAGS told them; `None`: all may be changed (RFC 9051 section 6.3.2).
    permanent: Option<Vec<String>>,
}

impl Editor {
    /// Opens the folder with SELECT. The session comes back where that is refused and it can go on.
    pub async fn open(
        mut session: Session,
        folder: &FolderName,
    ) -> Result<Self, (Option<Session>, ChangeError)> {
        let selected = Box::pin(select(&mut session.conversation, folder)).await;
        match selected {
            Ok((uid_validity, permanent)) => Ok(Self {
                session,
                uid_validity,
                permanent,
            }),
            Err(error) => {
                let usable = error.session().is_none_or(Error::usable);
                if !usable {
                    session.conversation.close();
                }
                Err((usable.then_some(session), error))
            }
        }
    }

    /// Under which numbering the UIDs of the folder are.
    pub fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    /// Which of these messages are still in the folder, and by what they are known again; `None`
    /// where that cannot be read.
    pub async fn present(
        &mut self,
        uids: &[Uid],
    ) -> Result<BTreeMap<Uid, Option<Fingerprint>>, Error> {
        let (mut present, mut sink) = (BTreeMap::new(), TooLarge);
        for uids in uids.chunks(FACTS_AT_A_TIME) {
            let read = read::run(
                &mut self.session.conversation,
                uids,
                watch::Part::Facts,
                FACTS_MEMORY,
                &mut sink,
            );
            let read = Box::pin(read).await;
            for one in self.session.conversation.settle(read)?.answers {
                let header: &[u8] = match &one.body {
                    Body::Missing => continue,
                    Body::Unreadable | Body::Spooled { .. } => {
                        present.insert(one.uid, None);
                        continue;
                    }
                    Body::Empty => b"",
                    Body::Memory(bytes) => bytes,
                };
                let print = message::fingerprint(header, one.internal_date);
                present.insert(one.uid, Some(print));
            }
        }
        Ok(present)
    }

    /// Sets a flag (`\Seen`) or a keyword on these messages. What is gone is passed over.
    pub async fn add_flag(&mut self, uids: &[Uid], flag: &str) -> Result<(), ChangeError> {
        if !self.keeps(flag) {
            return Err(ChangeError::NotKept(flag.to_owned()));
        }
        self.store(uids, flag).await?;
        Ok(())
    }

    /// Moves these messages to another folder: by MOVE, else by a copy whose original is removed by
    /// its UID. A session that is lost in between leaves message and copy both. What is gone is
    /// passed over. Of those in `copied` a copy is there already; those that are copied now come to
    /// it, so that a removal that is refused is repeated alone.
    pub async fn move_to(
        &mut self,
        uids: &[Uid],
        folder: &FolderName,
        copied: &mut BTreeSet<Uid>,
    ) -> Result<(), ChangeError> {
        let capabilities = self.session.conversation.capabilities;
        if capabilities.moves {
            for (set, _) in search::sets(uids) {
                self.over(&set, "UID MOVE", folder).await?;
            }
            return Ok(());
        }
        if !capabilities.uid_plus || !self.keeps("\\Deleted") {
            return Err(ChangeError::NoMove);
        }
        let new = uids.iter().filter(|uid| !copied.contains(uid));
        let new: Vec<Uid> = new.copied().collect();
        for (set, uids) in search::sets(&new) {
            self.over(&set, "UID COPY", folder).await?;
            copied.extend(uids);
        }
        self.store(uids, "\\Deleted").await?;
        for (set, _) in search::sets(uids) {
            let command = format!("UID EXPUNGE {set}");
            let conversation = &mut self.session.conversation;
            let done = conversation.command("UID EXPUNGE", &command, ignore).await;
            conversation.settle(done)?;
        }
        Ok(())
    }

    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// To open another folder.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// A flag that is not among the permanent ones is lost with the session, and on Exchange even a
    /// refusal; `\*` stands for any new keyword.
    fn keeps(&self, flag: &str) -> bool {
        let Some(permanent) = &self.permanent else {
            return true;
        };
        let named = |known: &String| known.eq_ignore_ascii_case(flag);
        permanent.iter().any(named)
            || (!flag.starts_with('\\') && permanent.iter().any(|known| known == "\\*"))
    }

    async fn store(&mut self, uids: &[Uid], flag: &str) -> Result<(), Error> {
        if !is_flag(flag) {
            return Err(Error::Argument { what: "the flag" });
        }
        for (set, _) in search::sets(uids) {
            let command = format!("UID STORE {set} +FLAGS.SILENT ({flag})");
            let conversation = &mut self.session.conversation;
            let done = conversation.command("UID STORE", &command, ignore).await;
            conversation.settle(done)?;
        }
        Ok(())
    }

    async fn over(
        &mut self,
        set: &str,
        name: &'static str,
        folder: &FolderName,
    ) -> Result<(), Error> {
        let target = argument(&wire_name(folder.as_str()), "the folder's name")?;
        let head = format!("{name} {set} ");
        let parts = [Part::Text(head.as_bytes()), target.part()];
        let conversation = &mut self.session.conversation;
        let deadline = conversation.deadlines.command;
        let done = conversation
            .command_of(name, &parts, deadline, ignore)
            .await;
        conversation.settle(done).map(drop)
    }
}

/// Headers of so many messages are in memory at a time, and so much of them.
const FACTS_AT_A_TIME: usize = 50;
const FACTS_MEMORY: Memory = Memory {
    message_bytes: 64 << 10,
    total_bytes: 4 << 20,
};

/// Header fields that do not fit are no message that could be known again.
struct TooLarge;

impl BodySink for TooLarge {
    type Writer = Sink;

    async fn open(&mut self, _size: u64) -> io::Result<Sink> {
        Ok(tokio::io::sink())
    }
}

/// An atom, with a backslash before it where it is one of the system's.
fn is_flag(flag: &str) -> bool {
    let name = flag.strip_prefix('\\').unwrap_or(flag);
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

async fn select(
    conversation: &mut Conversation,
    folder: &FolderName,
) -> Result<(UidValidity, Option<Vec<String>>), ChangeError> {
    let name = argument(&wire_name(folder.as_str()), "the folder's name")?;
    let parts = [Part::Text(b"SELECT "), name.part()];
    let deadline = conversation.deadlines.command;
    let (mut uid_validity, mut permanent) = (None, None);
    let selected = conversation.command_of("SELECT", &parts, deadline, |response| {
        uid_validity = response.uid_validity().or(uid_validity);
        if let Response::Untagged(Untagged::Status(status)) = &response {
            permanent = permanent_flags(status).or(permanent.take());
        }
        Ok(())
    });
    let status = selected.await.map_err(|error| match error {
        Error::Refused {
            refusal: Refusal::No,
            text,
            ..
        } => Error::FolderMissing { text },
        other => other,
    })?;
    if status.code_name() == Some("READ-ONLY") {
        return Err(ChangeError::ReadOnly);
    }
    let uid_validity = uid_validity.ok_or(Error::from(Breach::NoUidValidity))?;
    Ok((UidValidity(uid_validity), permanent))
}

/// `[PERMANENTFLAGS (\Seen \*)]`.
fn permanent_flags(status: &Status) -> Option<Vec<String>> {
    if status.code_name() != Some("PERMANENTFLAGS") {
        return None;
    }
    let text = String::from_utf8_lossy(&status.text);
    let (_, rest) = text.split_once('(')?;
    let (flags, _) = rest.split_once(')')?;
    Some(flags.split_ascii_whitespace().map(str::to_owned).collect())
}
