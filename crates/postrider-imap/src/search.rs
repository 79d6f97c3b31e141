//! One UID SEARCH, complete after its tagged OK, and UID sets for commands. Plain syntax only: no
//! RETURN (some servers reject it), while replies of both forms (RFC 3501, RFC 4731) are taken.

use postrider_core::ids::Uid;

use crate::{
    conversation::Conversation,
    error::{Breach, Error},
    parse::{Response, Skipped, Untagged, numbers::RESULTS_MAX},
};

/// A SEARCH reply is one line: 80,000 UIDs of ten digits and a space fit into its limit.
pub(crate) const WINDOW: u32 = 80_000;
/// All windows together: 4 MB, and more mail than any audit or survey asks for at once.
const FOUND_MAX: usize = 1_000_000;
/// Servers take command lines of at least 8,000 bytes (RFC 2683 section 3.2.1.5), Exchange 10,240.
const SET_BYTES_MAX: usize = 4_000;

/// Ascending, without repeats.
pub(crate) async fn run(conversation: &mut Conversation, command: &str) -> Result<Vec<Uid>, Error> {
    let mut found: Vec<Uid> = Vec::new();
    conversation
        .command("UID SEARCH", command, |response| match response {
            Response::Untagged(Untagged::Search(uids)) => {
                if found.len() + uids.len() > RESULTS_MAX {
                    return Err(Breach::TooManyResults(RESULTS_MAX).into());
                }
                found.extend(uids.into_iter().filter_map(Uid::new));
                Ok(())
            }
            Response::Skipped(Skipped::Search) => Err(Breach::UnreadableSearch.into()),
            _ => Ok(()),
        })
        .await?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// By the header field, which servers match in part and without regard to case.
pub(crate) async fn message_id(
    conversation: &mut Conversation,
    message_id: &str,
) -> Result<Vec<Uid>, Error> {
    const CHARS_MAX: usize = 900;
    let what = "the Message-ID";
    let plain = |char: char| char.is_ascii() && !char.is_ascii_control();
    if message_id.is_empty() || message_id.len() > CHARS_MAX || !message_id.chars().all(plain) {
        return Err(Error::Argument { what });
    }
    let quoted = message_id.replace('\\', "\\\\").replace('"', "\\\"");
    run(
        conversation,
        &format!("UID SEARCH HEADER Message-ID \"{quoted}\""),
    )
    .await
}

/// Searches `from:*` with more criteria, in windows where the folder is large; stops once `enough`
/// UIDs are found, always at the end of a window.
pub(crate) async fn upwards(
    conversation: &mut Conversation,
    from: u32,
    criteria: &str,
    enough: usize,
) -> Result<Vec<Uid>, Error> {
    let mut found = Vec::new();
    let mut low = from;
    loop {
        let high = window_end(conversation, low);
        let range = match high {
            Some(high) => format!("{low}:{high}"),
            // Not on an empty folder: `*` is an error to some servers there.
            None if conversation.exists == 0 => format!("{low}:4294967295"),
            None => format!("{low}:*"),
        };
        let part = run(conversation, &format!("UID SEARCH UID {range}{criteria}")).await?;
        // `n:*` always tells the last message, even below n.
        found.extend(part.into_iter().filter(|uid| uid.get() >= low));
        if found.len() > FOUND_MAX {
            return Err(Breach::TooManyResults(FOUND_MAX).into());
        }
        match high {
            Some(high) if found.len() < enough => low = high + 1,
            Some(_) | None => return Ok(found),
        }
    }
}

/// The end of a window that begins at `low`; `None`: all the rest may be asked for at once.
fn window_end(conversation: &Conversation, low: u32) -> Option<u32> {
    if conversation.exists <= WINDOW {
        return None;
    }
    let high = low.checked_add(WINDOW - 1)?;
    let next = conversation.uid_next?;
    (high < next).then_some(high)
}

/// The UIDs as sets (`1:3,7`), each short enough for one command, with the part that it names.
pub(crate) fn sets(uids: &[Uid]) -> Vec<(String, &[Uid])> {
    let mut sets = Vec::new();
    let mut rest = uids;
    while !rest.is_empty() {
        let (mut text, mut taken) = (String::new(), 0);
        while taken < rest.len() && text.len() < SET_BYTES_MAX {
            let run = consecutive(&rest[taken..]);
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&rest[taken].to_string());
            if run > 1 {
                text.push_str(&format!(":{}", rest[taken + run - 1]));
            }
            taken += run;
        }
        let (part, after) = rest.split_at(taken);
        sets.push((text, part));
        rest = after;
    }
    sets
}

fn consecutive(uids: &[Uid]) -> usize {
    1 + uids
        .windows(2)
        .take_while(|pair| pair[1].get() == pair[0].get() + 1)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(numbers: impl IntoIterator<Item = u32>) -> Vec<Uid> {
        numbers.into_iter().filter_map(Uid::new).collect()
    }

    #[test]
    fn sets_name_runs_and_nothing_else() {
        let asked = uids([1, 2, 3, 7, 9, 10]);
        assert_eq!(sets(&asked), [("1:3,7,9:10".to_owned(), asked.as_slice())]);
        assert!(sets(&[]).is_empty());
    }

    #[test]
    fn long_sets_are_split_into_commands() {
        let asked = uids((0..2_000).map(|n| 4_000_000_000 + 2 * n));
        let sets = sets(&asked);
        assert!(sets.len() > 1);
        assert!(sets.iter().all(|(text, _)| text.len() < SET_BYTES_MAX + 24));
        let all: Vec<Uid> = sets.iter().flat_map(|(_, part)| part.to_vec()).collect();
        assert_eq!(all, asked);
    }
}
