//! A logged-in session: the crate's face. An error after which it cannot go on closes it, and every
//! later call says so; the big steps are boxed, so that a waiting session is small.

use std::future::Future;

use postrider_core::{
    cursor::Cursor,
    ids::{FolderName, Uid},
    time::Wall,
    watch::{Part, Selected, Survey},
};
use tokio::time::Instant;

use crate::{
    auth, connect,
    conversation::{Conversation, IdleTrust},
    error::{Error, ServerText},
    list::{self, Folder},
    logout,
    read::{self, BodySink, Memory, ReadAnswers},
    role::{Role, Unresolved},
    search, select,
    server::{Login, Server},
    survey,
    wait::{self, WaitEnd},
};

pub use crate::conversation::FrontEnd;

pub struct Session {
    pub(crate) conversation: Box<Conversation>,
}

impl Session {
    /// Connects, encrypts, logs in and probes.
    pub async fn open(server: &Server, login: &Login) -> Result<Self, Error> {
        Box::pin(async {
            let mut conversation = Box::new(connect::open(server).await?);
            auth::login(&mut conversation, server, login).await?;
            Ok(Self { conversation })
        })
        .await
        .map_err(no_session)
    }

    /// Opens the folder read-only; `session_ends` is `None`, for the caller to fill in.
    pub async fn examine(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        let result = Box::pin(select::examine(&mut self.conversation, folder)).await;
        self.conversation.settle(result)
    }

    /// All UIDs after the cursor, and its gaps that are still there. In a huge folder it may end
    /// early (after some 100,000): survey again until it is empty.
    pub async fn survey(&mut self, after: &Cursor) -> Result<Survey, Error> {
        let result = Box::pin(survey::after(&mut self.conversation, after)).await;
        self.conversation.settle(result)
    }

    /// Gives exactly one answer for each UID, in ascending order, or an error and none.
    pub async fn read<S: BodySink>(
        &mut self,
        uids: &[Uid],
        part: Part,
        memory: Memory,
        sink: &mut S,
    ) -> Result<ReadAnswers<S::Writer>, Error> {
        let run = read::run(&mut self.conversation, uids, part, memory, sink);
        let result = Box::pin(run).await;
        self.conversation.settle(result)
    }

    /// Waits until the server announces something, the time is up, or `interrupt` is ready; what
    /// `interrupt` gave is never lost. The next call after it may be any other.
    pub async fn wait<T>(
        &mut self,
        until: Instant,
        interrupt: impl Future<Output = T>,
    ) -> Result<WaitEnd<T>, Error> {
        let result = wait::run(&mut self.conversation, until, interrupt).await;
        self.conversation.settle(result)
    }

    /// The UIDs of all messages that came on the day of `since` or later; a day more, because
    /// servers count days in a time zone of their own.
    pub async fn search_since(&mut self, since: Wall) -> Result<Vec<Uid>, Error> {
        let result = Box::pin(survey::since(&mut self.conversation, since)).await;
        self.conversation.settle(result)
    }

    /// All folders of the account.
    pub async fn folders(&mut self) -> Result<Vec<Folder>, Error> {
        let result = Box::pin(list::run(&mut self.conversation)).await;
        self.conversation.settle(result)
    }

    /// The name of the folder that has this role.
    pub async fn folder_of(&mut self, role: Role) -> Result<FolderName, Error> {
        let folders = self.folders().await?;
        let why = match role.of(&folders) {
            Ok(folder) => return Ok(folder.name.clone()),
            Err(Unresolved::None) => "no folder is known",
            Err(Unresolved::Several) => "several folders may be meant",
        };
        Err(Error::NoFolderOfRole {
            role: role.as_str(),
            why,
            there: names(&folders),
        })
    }

    /// The UIDs of the messages of the open folder with this Message-ID, given with its brackets.
    pub async fn search_message_id(&mut self, message_id: &str) -> Result<Vec<Uid>, Error> {
        let result = Box::pin(search::message_id(&mut self.conversation, message_id)).await;
        self.conversation.settle(result)
    }

    pub async fn logout(mut self) {
        Box::pin(logout::run(&mut self.conversation)).await;
    }

    /// Whether the next wait is an IDLE; else it polls.
    pub fn idles(&self) -> bool {
        self.conversation.capabilities.idle
            && matches!(self.conversation.idle, IdleTrust::Trusted { .. })
    }

    /// Which software the server's greeting speaks of.
    pub fn front_end(&self) -> FrontEnd {
        self.conversation.front_end
    }

    /// How many messages the folder has, as told last.
    pub fn exists(&self) -> u32 {
        self.conversation.exists
    }

    /// Closed by an error before; only opening another helps.
    pub fn is_closed(&self) -> bool {
        self.conversation.is_closed()
    }

    /// Bytes received, after decryption.
    pub fn received_bytes(&self) -> u64 {
        self.conversation.received()
    }

    /// Responses that did not parse and were passed over.
    pub fn skipped_responses(&self) -> u64 {
        self.conversation.skipped()
    }
}

/// What is there, for an error: as many names as fit.
fn names(folders: &[Folder]) -> String {
    const CHARS_MAX: usize = 1_000;
    let mut text = String::new();
    for folder in folders {
        let name = ServerText::new(folder.name.as_str().as_bytes());
        if text.len() + name.as_str().len() > CHARS_MAX {
            text.push_str(", …");
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name.as_str());
    }
    text
}

/// Where no session came to be, none is usable.
fn no_session(error: Error) -> Error {
    match error {
        Error::Refused { text, .. } => Error::Unavailable { text },
        Error::Argument { .. } => Error::LoginRefused {
            text: ServerText::new(error.to_string().as_bytes()),
        },
        other => other,
    }
}
