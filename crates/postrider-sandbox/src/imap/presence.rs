//! What a session holds on to in the outside world: its place on the server's board, its login and
//! the folder it watches. All of it is let go when the session ends, however it ends.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use super::{
    Shared,
    board::{Counters, Entry, Violation},
    levers::{Goodbye, Levers, OnExpiry},
    profile::Profile,
};
use crate::{
    authority::{Standing, TokenAuthority},
    mailboxes::Folder,
    sync::lock,
};

pub(super) struct Presence {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<Entry>,
    /// Whom the server plays for this session.
    pub(super) profile: Arc<Profile>,
    pub(super) login: Option<Login>,
    pub(super) view: Option<View>,
    idling_since: Option<Instant>,
}

pub(super) struct Login {
    pub(super) user: String,
    pub(super) mailbox: Mailbox,
    pub(super) token: Option<HeldToken>,
}

/// Whether the login got further than to the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mailbox {
    Open,
    NotConnected,
}

/// The token that a session was opened with.
pub(super) struct HeldToken {
    pub(super) token: String,
    /// Whose token it is, where it is a person's.
    pub(super) bearer: String,
    pub(super) authority: TokenAuthority,
    pub(super) changes: watch::Receiver<()>,
}

/// A folder as one session knows it: sequence numbers are positions in `uids`.
#[derive(Debug)]
pub(super) struct View {
    pub(super) folder: String,
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) uids: Vec<u32>,
    pub(super) mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    ReadOnly,
    ReadWrite,
}

/// What a session has to say of its folder.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) lines: Vec<String>,
    pub(super) grew: bool,
}

impl View {
    /// Takes over what changed since the last look. A session from an earlier epoch sees no change.
    pub(super) fn catch_up(&mut self, folder: &Folder) -> News {
        let mut news = News::default();
        if folder.epoch != self.epoch || folder.version == self.version {
            return news;
        }
        if folder.expunged_at > self.version {
            let mut number = 1;
            self.uids.retain(|uid| {
                let stays = folder.messages.contains_key(uid);
                if stays {
                    number += 1;
                } else {
                    news.lines.push(format!("* {number} EXPUNGE"));
                }
                stays
            });
        }
        self.version = folder.version;
        let after = self.uids.last().map_or(1, |last| last + 1);
        let before = self.uids.len();
        self.uids
            .extend(folder.messages.range(after..).map(|(uid, _)| *uid));
        if self.uids.len() > before {
            news.grew = true;
            news.lines.push(format!("* {} EXISTS", self.uids.len()));
            news.lines
                .push(format!("* {} RECENT", self.uids.len() - before));
        }
        news
    }
}

impl Presence {
    pub(super) fn new(shared: Arc<Shared>, entry: Arc<Entry>) -> Self {
        Self {
            profile: shared.profile_for(None),
            shared,
            entry,
            login: None,
            view: None,
            idling_since: None,
        }
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.user.as_str())
    }

    pub(super) fn ask<R>(&self, ask: impl Fn(&mut Levers) -> Option<R>) -> Option<R> {
        lock(&self.shared.board).ask(self.user(), ask)
    }

    pub(super) fn is_set(&self, lever: impl Fn(&Levers) -> bool) -> bool {
        self.ask(|levers| lever(levers).then_some(())).is_some()
    }

    pub(super) fn count(&self, count: impl Fn(&mut Counters)) {
        lock(&self.shared.board).count(self.user(), count);
        self.shared.changes.tell();
    }

    pub(super) fn record(&self, command: String) {
        lock(&self.shared.board).record(self.user(), command);
    }

    pub(super) fn complain(&self, command: String, why: &'static str) {
        lock(&self.shared.board).violations.push(Violation {
            user: self.user().map(str::to_owned),
            command,
            why,
        });
    }

    pub(super) fn is_idling(&self) -> bool {
        self.idling_since.is_some()
    }

    pub(super) fn begin_idle(&mut self) {
        self.idling_since = Some(Instant::now());
        self.count(|counters| counters.idle += 1);
    }

    pub(super) fn end_idle(&mut self) {
        self.idling_since = None;
        self.count(|counters| counters.idle = counters.idle.saturating_sub(1));
    }

    /// When the server hangs up on a session that idles, and how.
    pub(super) fn idle_ends(&self) -> Option<(Instant, Goodbye)> {
        let since = self.idling_since?;
        let (after, goodbye) = match self.ask(|levers| levers.idle_max.clone()) {
            Some(set) => set,
            None => (self.profile.idle_max?, Goodbye::Eof),
        };
        Some((since + after, goodbye))
    }

    /// What is new in the open folder.
    pub(super) fn news(&mut self) -> News {
        let (Some(login), Some(view)) = (&self.login, &mut self.view) else {
            return News::default();
        };
        let folder = view.folder.clone();
        // A folder that was removed says nothing any more; selecting it again shows it.
        self.shared
            .mailboxes
            .look(&login.user, &folder, |folder| view.catch_up(folder))
            .unwrap_or_default()
    }

    pub(super) fn leave_folder(&mut self) {
        let (Some(login), Some(view)) = (&self.login, self.view.take()) else {
            return;
        };
        // The folder may be gone; then nobody watches it either.
        let _ = self
            .shared
            .mailboxes
            .look(&login.user, &view.folder, |folder| {
                folder.watchers.remove(&self.entry.id)
            });
    }

    /// What is to be done about the session's token now.
    pub(super) fn token_ended(&self) -> Option<OnExpiry> {
        let login = self.login.as_ref()?;
        let held = login.token.as_ref()?;
        match held.authority.standing(&held.token, &held.bearer) {
            Standing::Good { .. } => None,
            Standing::Expired | Standing::Unknown => Some(self.on_expiry()),
        }
    }

    /// When the token will end, if the session ends with it.
    pub(super) fn token_ends(&self) -> Option<Instant> {
        let login = self.login.as_ref()?;
        let held = login.token.as_ref()?;
        match held.authority.standing(&held.token, &held.bearer) {
            Standing::Good { ends } => ends,
            Standing::Expired | Standing::Unknown => None,
        }
    }

    fn on_expiry(&self) -> OnExpiry {
        self.ask(|levers| match levers.on_expiry {
            OnExpiry::Bye => None,
            other @ (OnExpiry::Eof
            | OnExpiry::ByeInsteadOfReply
            | OnExpiry::EofInsteadOfReply
            | OnExpiry::Ignore) => Some(other),
        })
        .unwrap_or_default()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.leave_folder();
        lock(&self.shared.board).leave(self.entry.id, self.is_idling());
        self.shared.changes.tell();
    }
}
