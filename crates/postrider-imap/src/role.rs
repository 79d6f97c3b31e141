//! Folders by what they are for (RFC 6154): by the server's own attributes, else by the names that
//! servers are known to give them. Exchange names its folders in the language of the mailbox's first
//! sign-in and tells no roles. Nothing is guessed: where two folders fit, or none, that is an error.

use crate::list::Folder;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
}

/// Why no folder can be taken for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    None,
    Several,
}

impl Role {
    pub const ALL: &'static [Self] = &[
        Self::All,
        Self::Archive,
        Self::Drafts,
        Self::Flagged,
        Self::Junk,
        Self::Sent,
        Self::Trash,
    ];

    /// As RFC 6154 writes it, and as it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// Whether the text is a role, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|role| role.as_str().eq_ignore_ascii_case(text))
    }

    /// The folder of this role: the one that the server marks, else the one with a name of
    /// Exchange's, else the one with a name that is common elsewhere.
    pub fn of(self, folders: &[Folder]) -> Result<&Folder, Unresolved> {
        let marked = |folder: &Folder| folder.has(self.as_str());
        let named = |names: &[&str], folder: &Folder| {
            let name = top_level(folder).to_lowercase();
            names.contains(&name.as_str())
        };
        let (exchange, common) = self.names();
        only(folders, marked)
            .or_else(|| only(folders, |folder| named(exchange, folder)))
            .or_else(|| only(folders, |folder| named(common, folder)))
            .unwrap_or(Err(Unresolved::None))
    }

    /// Lower-case names: Exchange's by language, and those of other servers and clients.
    fn names(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::All => (&[], &["all mail"]),
            Self::Archive => (ARCHIVE, &["archives"]),
            Self::Drafts => (DRAFTS, &[]),
            Self::Flagged => (&[], &["starred"]),
            Self::Junk => (JUNK, &["junk", "spam", "bulk", "bulk mail"]),
            Self::Sent => (SENT, &["sent", "sent mail", "sent messages"]),
            Self::Trash => (TRASH, &["trash", "deleted messages", "bin"]),
        }
    }
}

/// The only folder for which it holds; `None` where it holds for none.
fn only(folders: &[Folder], fits: impl Fn(&Folder) -> bool) -> Option<Result<&Folder, Unresolved>> {
    let mut fitting = folders
        .iter()
        .filter(|folder| folder.opens() && fits(folder));
    let first = fitting.next()?;
    Some(match fitting.next() {
        None => Ok(first),
        Some(_) => Err(Unresolved::Several),
    })
}

/// Some servers keep everything below INBOX. Deeper folders are people's own.
fn top_level(folder: &Folder) -> &str {
    let name = folder.name.as_str();
    let (Some(delimiter), Some((head, rest))) = (folder.delimiter, name.split_at_checked(5)) else {
        return name;
    };
    match rest.strip_prefix(delimiter) {
        Some(rest) if head.eq_ignore_ascii_case("INBOX") => rest,
        Some(_) | None => name,
    }
}

// English, German, French, Spanish, Italian, Dutch, Portuguese (both), Polish, Swedish, Danish,
// Norwegian, Finnish, Czech, Hungarian, Russian, Turkish, Japanese, Chinese (both), Korean.
const JUNK: &[&str] = &[
    "junk email",
    "junk e-mail",
    "junk-e-mail",
    "courrier indésirable",
    "correo no deseado",
    "correo electrónico no deseado",
    "posta indesiderata",
    "ongewenste e-mail",
    "lixo eletrônico",
    "lixo eletrónico",
    "e-mail de lixo",
    "wiadomości-śmieci",
    "skräppost",
    "uønsket mail",
    "uønsket post",
    "uønsket e-post",
    "søppelpost",
    "roskaposti",
    "nevyžádaná pošta",
    "nevyžádaná e-mailová pošta",
    "levélszemét",
    "нежелательная почта",
    "gereksiz e-posta",
    "önemsiz e-posta",
    "迷惑メール",
    "垃圾邮件",
    "垃圾郵件",
    "정크 메일",
];
const SENT: &[&str] = &[
    "sent items",
    "gesendete elemente",
    "éléments envoyés",
    "elementos enviados",
    "posta inviata",
    "verzonden items",
    "itens enviados",
    "elementy wysłane",
    "skickat",
    "skickade objekt",
    "sendt post",
    "sendte elementer",
    "lähetetyt",
    "odeslaná pošta",
    "elküldött elemek",
    "отправленные",
    "gönderilmiş öğeler",
    "送信済みアイテム",
    "已发送邮件",
    "寄件備份",
    "보낸 편지함",
];
const TRASH: &[&str] = &[
    "deleted items",
    "gelöschte elemente",
    "éléments supprimés",
    "elementos eliminados",
    "posta eliminata",
    "verwijderde items",
    "itens excluídos",
    "itens eliminados",
    "elementy usunięte",
    "borttaget",
    "borttagna objekt",
    "slettet post",
    "slettede elementer",
    "poistetut",
    "odstraněná pošta",
    "törölt elemek",
    "удаленные",
    "silinmiş öğeler",
    "削除済みアイテム",
    "已删除邮件",
    "刪除的郵件",
    "지운 편지함",
];
const DRAFTS: &[&str] = &[
    "drafts",
    "entwürfe",
    "brouillons",
    "borradores",
    "bozze",
    "concepten",
    "rascunhos",
    "wersje robocze",
    "kopie robocze",
    "utkast",
    "kladder",
    "kladd",
    "luonnokset",
    "koncepty",
    "piszkozatok",
    "черновики",
    "taslaklar",
    "下書き",
    "草稿",
    "임시 보관함",
];
const ARCHIVE: &[&str] = &[
    "archive",
    "archiv",
    "archivo",
    "archivio",
    "archief",
    "arquivo",
    "arquivo morto",
    "archiwum",
    "arkiv",
    "arkisto",
    "archívum",
    "архив",
    "arşiv",
    "アーカイブ",
    "存档",
    "封存",
    "보관",
];

#[cfg(test)]
mod tests {
    use postrider_core::ids::FolderName;

    use super::*;

    fn folder(name: &str, attributes: &[&str]) -> Folder {
        Folder {
            name: FolderName::new(name),
            delimiter: Some('/'),
            attributes: attributes.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    fn resolved(role: Role, folders: &[Folder]) -> Result<&str, Unresolved> {
        role.of(folders).map(|folder| folder.name.as_str())
    }

    #[test]
    fn what_the_server_marks_wins_over_names() {
        let folders = [
            folder("Junk Email", &["\\hasnochildren"]),
            folder("Werbung", &["\\junk"]),
        ];
        assert_eq!(resolved(Role::Junk, &folders), Ok("Werbung"));
    }

    #[test]
    fn exchanges_names_are_known_in_its_languages() {
        let names = ["Junk-E-Mail", "Courrier indésirable", "Wiadomości-śmieci"];
        for name in names {
            let folders = [folder("INBOX", &[]), folder(name, &[]), folder("Spam", &[])];
            assert_eq!(resolved(Role::Junk, &folders), Ok(name));
        }
        let sent = [folder("ÉLÉMENTS envoyés", &[])];
        assert_eq!(resolved(Role::Sent, &sent), Ok("ÉLÉMENTS envoyés"));
    }

    #[test]
    fn names_below_inbox_count_and_deeper_ones_do_not() {
        let folders = [
            folder("Customers/Archive", &[]),
            folder("INBOX/Archive", &[]),
        ];
        assert_eq!(resolved(Role::Archive, &folders), Ok("INBOX/Archive"));
    }

    #[test]
    fn nothing_is_guessed() {
        let two = [folder("Junk", &[]), folder("Spam", &[])];
        assert_eq!(resolved(Role::Junk, &two), Err(Unresolved::Several));
        assert_eq!(resolved(Role::Trash, &two), Err(Unresolved::None));
        let closed = [folder("Trash", &["\\noselect"])];
        assert_eq!(resolved(Role::Trash, &closed), Err(Unresolved::None));
    }

    #[test]
    fn tables_hold_names_as_they_are_compared() {
        for role in Role::ALL {
            let (exchange, common) = role.names();
            for name in exchange.iter().chain(common) {
                assert_eq!(*name, name.to_lowercase());
            }
            assert_eq!(Role::parse(&role.as_str().to_uppercase()), Some(*role));
        }
        assert_eq!(Role::parse("Junk"), None);
    }
}
