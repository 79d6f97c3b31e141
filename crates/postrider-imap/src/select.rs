//! Opening a folder without changing it (EXAMINE), and the highest UID in it.

use postrider_core::{
    ids::{FolderName, Uid, UidValidity},
    watch::Selected,
};

use crate::{
    conversation::{Argument, Conversation, Part, argument, ignore},
    error::{Breach, Error, Refusal},
    name::wire_name,
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
    if conversation.uid_next.is_none() {
        ask_uid_next(conversation, &name).await?;
    }
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

/// Without UIDNEXT an emptied folder looks like one whose UIDs went back. RFC 3501 section 6.3.10
/// advises against STATUS of the open folder; it is asked for only where EXAMINE said nothing, and a
/// server that refuses leaves it unknown.
async fn ask_uid_next(conversation: &mut Conversation, name: &Argument) -> Result<(), Error> {
    let parts = [
        Part::Text(b"STATUS "),
        name.part(),
        Part::Text(b" (UIDNEXT)"),
    ];
    let deadline = conversation.deadlines.command;
    let asked = conversation
        .command_of("STATUS", &parts, deadline, ignore)
        .await;
    match asked {
        Ok(_) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
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
