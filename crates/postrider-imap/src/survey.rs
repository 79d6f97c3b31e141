//! Which UIDs lie after the cursor, and which of its gaps are still there. Complete up to where it
//! ends, or an error: the caller surveys again until nothing is found.

use postrider_core::{cursor::Cursor, ids::Uid, time::Wall, watch::Survey};

use crate::{conversation::Conversation, error::Error, parse::date::search_date, search};

/// A survey stops after the window in which it passes this many: 400 KB, and hours of reading.
const UIDS_ENOUGH: usize = 100_000;
const DAY_SECONDS: u64 = 86_400;

pub(crate) async fn after(
    conversation: &mut Conversation,
    cursor: &Cursor,
) -> Result<Survey, Error> {
    conversation.changed = false;
    let mut uids = Vec::new();
    for (set, gaps) in search::sets(&cursor.gaps) {
        let found = search::run(conversation, &format!("UID SEARCH UID {set}")).await?;
        uids.extend(found.into_iter().filter(|uid| gaps.contains(uid)));
    }
    let from = match cursor.last {
        None => Some(1),
        Some(last) => last.get().checked_add(1),
    };
    if let Some(from) = from {
        uids.extend(search::upwards(conversation, from, "", UIDS_ENOUGH).await?);
    }
    uids.sort_unstable();
    uids.dedup();
    Ok(Survey { uids })
}

/// All UIDs of messages that came (INTERNALDATE) on the day of `since` or later, from a day earlier
/// on: servers disregard the time zone (RFC 3501 section 6.4.4).
pub(crate) async fn since(conversation: &mut Conversation, since: Wall) -> Result<Vec<Uid>, Error> {
    let day = since - std::time::Duration::from_secs(DAY_SECONDS);
    let Some(date) = search_date(day) else {
        return Err(Error::Argument { what: "the date" });
    };
    search::upwards(conversation, 1, &format!(" SINCE {date}"), usize::MAX).await
}
