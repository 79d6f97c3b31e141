//! The lists of numbers in replies to SEARCH: plain (RFC 3501 section 7.2.5, with RFC 7162's MODSEQ)
//! and extended (RFC 4731).

use crate::error::Breach;

/// More results than one SEARCH of ours can have; a range such as `1:4294967295` costs no memory.
pub(crate) const RESULTS_MAX: usize = 200_000;

/// ` 2 84 882 (MODSEQ 917162500)`. `None`: it is no such list.
pub(crate) fn search(list: &[u8]) -> Result<Option<Vec<u32>>, Breach> {
    let mut found = Vec::new();
    for word in list
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
    {
        if word.starts_with(b"(") {
            break;
        }
        let Some(number) = number(word) else {
            return Ok(None);
        };
        if found.len() == RESULTS_MAX {
            return Err(Breach::TooManyResults(RESULTS_MAX));
        }
        found.push(number);
    }
    Ok(Some(found))
}

/// ` (TAG "A5") UID ALL 1:3,7`. `None` where it is none, tells no UIDs, or tells only of their number.
pub(crate) fn esearch(list: &[u8]) -> Result<Option<Vec<u32>>, Breach> {
    let list = list.trim_ascii();
    let list = match list.strip_prefix(b"(") {
        Some(rest) => match rest.iter().position(|byte| *byte == b')') {
            Some(end) => &rest[end + 1..],
            None => return Ok(None),
        },
        None => list,
    };
    let mut words = list
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let (mut uids, mut count, mut all) = (false, None, None);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"UID") {
            uids = true;
        } else if word.eq_ignore_ascii_case(b"ALL") {
            all = words.next();
        } else if word.eq_ignore_ascii_case(b"COUNT") {
            count = words.next().and_then(number);
        } else {
            // MIN, MAX, MODSEQ and what may come: a name and one value.
            words.next();
        }
    }
    match all {
        Some(set) if uids => expand(set),
        // RFC 4731 section 3.1: without results there is no ALL.
        None if count.is_none_or(|count| count == 0) => Ok(Some(Vec::new())),
        Some(_) | None => Ok(None),
    }
}

/// `1:3,7`, without `*`.
fn expand(set: &[u8]) -> Result<Option<Vec<u32>>, Breach> {
    let mut found: Vec<u32> = Vec::new();
    for part in set.split(|byte| *byte == b',') {
        let mut ends = part.splitn(2, |byte| *byte == b':').map(number);
        let (Some(Some(first)), last) = (ends.next(), ends.next()) else {
            return Ok(None);
        };
        let Some(last) = last.unwrap_or(Some(first)) else {
            return Ok(None);
        };
        let range = first.min(last)..=first.max(last);
        let more = (range.end() - range.start()) as usize;
        if found.len() + more >= RESULTS_MAX {
            return Err(Breach::TooManyResults(RESULTS_MAX));
        }
        found.extend(range);
    }
    Ok(Some(found))
}

fn number(word: &[u8]) -> Option<u32> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// UIDNEXT of a STATUS response (RFC 3501 section 7.2.4), whose folder's name may hold anything.
pub(crate) fn status_uid_next(text: &[u8]) -> Option<u32> {
    let open = text.iter().rposition(|byte| *byte == b'(')?;
    let inner = text[open + 1..].trim_ascii().strip_suffix(b")")?;
    let inner = std::str::from_utf8(inner).ok()?.to_ascii_uppercase();
    let mut words = inner.split_ascii_whitespace();
    words.find(|word| *word == "UIDNEXT")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_results_with_and_without_a_modseq() {
        assert_eq!(search(b" 2 84 882"), Ok(Some(vec![2, 84, 882])));
        assert_eq!(search(b" 1 2 (MODSEQ 917162500)"), Ok(Some(vec![1, 2])));
        assert_eq!(search(b" "), Ok(Some(vec![])));
        assert_eq!(search(b" 1 two"), Ok(None));
        assert_eq!(search(b" 4294967296"), Ok(None));
    }

    #[test]
    fn extended_results() {
        assert_eq!(
            esearch(b" (TAG \"A5\") UID COUNT 4 ALL 1:3,7"),
            Ok(Some(vec![1, 2, 3, 7]))
        );
        assert_eq!(esearch(b" (TAG \"A5\") UID"), Ok(Some(vec![])));
        assert_eq!(esearch(b" (TAG \"A5\") UID COUNT 0"), Ok(Some(vec![])));
    }

    #[test]
    fn extended_results_that_tell_no_uids_are_none() {
        assert_eq!(esearch(b" (TAG \"A5\") UID COUNT 4"), Ok(None));
        assert_eq!(esearch(b" (TAG \"A5\") ALL 1:3"), Ok(None));
        assert_eq!(esearch(b" (TAG \"A5\""), Ok(None));
        assert_eq!(esearch(b" UID ALL 1:*"), Ok(None));
    }

    #[test]
    fn a_range_of_four_billion_takes_no_memory() {
        assert_eq!(
            esearch(b" UID ALL 1:4294967295"),
            Err(Breach::TooManyResults(RESULTS_MAX))
        );
    }
}
