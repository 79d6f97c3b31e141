//! Opening a folder without changing it (EXAMINE), its wire name, and the highest UID in it.

use base64::{
    Engine, alphabet, engine::general_purpose::GeneralPurpose, engine::general_purpose::NO_PAD,
};
use postrider_core::{
    ids::{FolderName, Uid, UidValidity},
    watch::Selected,
};

use crate::{
    conversation::{Conversation, Part, argument, ignore},
    error::{Breach, Error, Refusal},
    parse::{Response, Untagged},
    search,
};

pub(crate) async fn examine(
    conversation: &mut Conversation,
    folder: &FolderName,
) -> Result<Selected, Error> {
    let name = argument(&wire_name(folder.as_str()), "the folder's name")?;
    let mut uid_validity = None;
    conversation.exists = 0;
    conversation.uid_next = None;
    let parts = [Part::Text(b"EXAMINE "), name.part()];
    let deadline = conversation.deadlines.command;
    conversation
        .command_of("EXAMINE", &parts, deadline, |response| {
            uid_validity = response.uid_validity().or(uid_validity);
            Ok(())
        })
        .await
        .map_err(missing)?;
    let uid_validity = uid_validity.ok_or(Breach::NoUidValidity)?;
    conversation.changed = false;
    let uid_next = conversation.uid_next.and_then(Uid::new);
    let highest = highest(conversation).await?;
    if let (None, Some(highest)) = (uid_next, highest) {
        // Surveys of large folders go by it.
        conversation.uid_next = highest.get().checked_add(1);
    }
    Ok(Selected {
        uid_validity: UidValidity(uid_validity),
        uid_next,
        exists: conversation.exists,
        highest,
        session_ends: None,
    })
}

fn missing(error: Error) -> Error {
    match error {
        Error::Refused {
            refusal: Refusal::No,
            text,
            ..
        } => Error::FolderMissing { text },
        other => other,
    }
}

/// By search, or where the server does not take `*` or finds nothing, by the last message's number.
/// A folder with messages of which none can be found is an error, never an empty folder.
async fn highest(conversation: &mut Conversation) -> Result<Option<Uid>, Error> {
    if conversation.exists == 0 {
        // `*` is an error to some servers where there is no message.
        let found = search::run(conversation, "UID SEARCH ALL").await?;
        return Ok(found.into_iter().max());
    }
    let found = match search::run(conversation, "UID SEARCH UID *").await {
        Ok(found) => found.into_iter().max(),
        Err(Error::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    if found.is_some() {
        return Ok(found);
    }
    conversation.command("NOOP", "NOOP", ignore).await?;
    let exists = conversation.exists;
    if exists == 0 {
        return Ok(None);
    }
    let mut found = None;
    let fetch = format!("FETCH {exists} (UID)");
    conversation
        .command("FETCH", &fetch, |response| {
            if let Response::Untagged(Untagged::Fetch(fetch)) = response {
                found = found.max(fetch.uid);
            }
            Ok(())
        })
        .await?;
    match found {
        Some(uid) => Ok(Some(uid)),
        None => Err(Breach::NoHighestUid { exists }.into()),
    }
}

/// Modified UTF-7 (RFC 3501 section 5.1.3). INBOX is the same in any case.
fn wire_name(name: &str) -> String {
    const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);
    if name.eq_ignore_ascii_case("INBOX") {
        return "INBOX".to_owned();
    }
    let mut wire = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    let unshift = |shifted: &mut Vec<u8>, wire: &mut String| {
        if !shifted.is_empty() {
            wire.push('&');
            wire.push_str(&BASE64.encode(&shifted));
            wire.push('-');
            shifted.clear();
        }
    };
    for char in name.chars() {
        // CR, LF and NUL stay as they are, for `argument` to refuse.
        if matches!(char, ' '..='~' | '\r' | '\n' | '\0') {
            unshift(&mut shifted, &mut wire);
            wire.push(char);
            if char == '&' {
                wire.push('-');
            }
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    unshift(&mut shifted, &mut wire);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_go_out_in_modified_utf_7() {
        assert_eq!(wire_name("inbox"), "INBOX");
        assert_eq!(
            wire_name("Éléments envoyés"),
            "&AMk-l&AOk-ments envoy&AOk-s"
        );
        assert_eq!(wire_name("R&D"), "R&-D");
        assert_eq!(wire_name("台北/日本語"), "&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(wire_name("😀"), "&2D3eAA-");
    }
}
