//! What folders are for, and what fresh accounts of the big servers call theirs.

/// What a folder is for (RFC 6154).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    All,
    Archive,
    Drafts,
    Flagged,
    Important,
    Junk,
    Sent,
    Trash,
}

impl Role {
    /// As LIST tells it where the server tells roles.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Important => "\\Important",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

/// The folders of a fresh account beside INBOX.
pub type Names = &'static [(&'static str, Option<Role>)];

pub const EXCHANGE_ENGLISH: Names = &[
    ("Archive", Some(Role::Archive)),
    ("Calendar", None),
    ("Deleted Items", Some(Role::Trash)),
    ("Drafts", Some(Role::Drafts)),
    ("Junk Email", Some(Role::Junk)),
    ("Sent Items", Some(Role::Sent)),
];

pub const EXCHANGE_FRENCH: Names = &[
    ("Archive", Some(Role::Archive)),
    ("Calendrier", None),
    ("Éléments supprimés", Some(Role::Trash)),
    ("Brouillons", Some(Role::Drafts)),
    ("Courrier indésirable", Some(Role::Junk)),
    ("Éléments envoyés", Some(Role::Sent)),
];

pub const EXCHANGE_GERMAN: Names = &[
    ("Archiv", Some(Role::Archive)),
    ("Kalender", None),
    ("Gelöschte Elemente", Some(Role::Trash)),
    ("Entwürfe", Some(Role::Drafts)),
    ("Junk-E-Mail", Some(Role::Junk)),
    ("Gesendete Elemente", Some(Role::Sent)),
];

pub const EXCHANGE_JAPANESE: Names = &[
    ("アーカイブ", Some(Role::Archive)),
    ("予定表", None),
    ("削除済みアイテム", Some(Role::Trash)),
    ("下書き", Some(Role::Drafts)),
    ("迷惑メール", Some(Role::Junk)),
    ("送信済みアイテム", Some(Role::Sent)),
];

pub const GMAIL_ENGLISH: Names = &[
    ("[Gmail]/All Mail", Some(Role::All)),
    ("[Gmail]/Drafts", Some(Role::Drafts)),
    ("[Gmail]/Important", Some(Role::Important)),
    ("[Gmail]/Sent Mail", Some(Role::Sent)),
    ("[Gmail]/Spam", Some(Role::Junk)),
    ("[Gmail]/Starred", Some(Role::Flagged)),
    ("[Gmail]/Trash", Some(Role::Trash)),
];

pub const GMAIL_GERMAN: Names = &[
    ("[Gmail]/Alle Nachrichten", Some(Role::All)),
    ("[Gmail]/Entwürfe", Some(Role::Drafts)),
    ("[Gmail]/Wichtig", Some(Role::Important)),
    ("[Gmail]/Gesendet", Some(Role::Sent)),
    ("[Gmail]/Spam", Some(Role::Junk)),
    ("[Gmail]/Markiert", Some(Role::Flagged)),
    ("[Gmail]/Papierkorb", Some(Role::Trash)),
];
