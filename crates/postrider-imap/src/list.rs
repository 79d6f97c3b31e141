//! The folders of an account: one plain LIST, without RETURN options, which some servers reject.

use postrider_core::ids::FolderName;

use crate::{
    conversation::Conversation,
    error::{Breach, Error},
    name::shown_name,
    parse::{Response, Untagged},
};

/// Accounts with more folders are not known.
const FOLDERS_MAX: usize = 10_000;
/// What all of them together may take: 256 bytes each. A server's longest lines would make a gigabyte.
const BYTES_MAX: usize = FOLDERS_MAX * 256;

/// A folder as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub name: FolderName,
    /// The server's separator of levels, if it has levels.
    pub delimiter: Option<char>,
    /// In lower case, with their backslash: `\\noselect`, `\\junk` (RFC 3501, RFC 6154).
    pub attributes: Vec<String>,
}

impl Folder {
    pub fn has(&self, attribute: &str) -> bool {
        let mut own = self.attributes.iter();
        own.any(|one| one.eq_ignore_ascii_case(attribute))
    }

    /// Whether it can be opened, and not only has others below it.
    pub fn opens(&self) -> bool {
        !self.has("\\noselect") && !self.has("\\nonexistent")
    }
}

/// Names that cannot be written in modified UTF-7 as they came are left out: they cannot be opened.
pub(crate) async fn run(conversation: &mut Conversation) -> Result<Vec<Folder>, Error> {
    let mut folders = Vec::new();
    let mut bytes: usize = 0;
    conversation
        .command("LIST", "LIST \"\" \"*\"", |response| {
            let Response::Untagged(Untagged::List(listed)) = response else {
                return Ok(());
            };
            let attributes = listed.attributes.iter();
            let attributes: usize = attributes.map(|one| size_of::<String>() + one.len()).sum();
            bytes += size_of::<Folder>() + listed.name.len() + attributes;
            if folders.len() == FOLDERS_MAX || bytes > BYTES_MAX {
                return Err(Breach::TooManyFolders(FOLDERS_MAX).into());
            }
            if let Some(name) = shown_name(&listed.name) {
                folders.push(Folder {
                    name: FolderName::new(name),
                    delimiter: listed.delimiter,
                    attributes: listed.attributes,
                });
            }
            Ok(())
        })
        .await?;
    Ok(folders)
}
