//! The few header values by which a message is known again. Read alike from a whole message and
//! from the answer to a fetch of just these fields, however a server folds or spaces them.

use super::field::{Field, Line, Scan};
use crate::{fingerprint::Fingerprint, time::Wall};

/// The first of each field, undecoded, on one line with single spaces.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HeaderFacts {
    /// Without angle brackets; `None` where there is none or it is blank.
    pub message_id: Option<String>,
    pub from: String,
    pub date: String,
    pub subject: String,
}

/// Bytes of a value that count. Long enough to tell messages apart, short enough to keep.
const FACT_BYTES_MAX: usize = 4 << 10;

/// Reads the facts from bytes that begin with a header: a whole message, its header, or a few
/// fields of it. What follows the first empty line is not looked at.
pub fn facts_from_headers(header_block: &[u8]) -> HeaderFacts {
    let mut firsts = Firsts::default();
    for line in Scan::new(header_block, 0, &[]) {
        match line {
            Line::Field(field) => firsts.take(&field),
            Line::Other => {}
        }
    }
    firsts.facts()
}

/// The one way to a fingerprint, for whole messages and for header fields alone.
pub fn fingerprint(header_bytes: &[u8], internal_date: Option<Wall>) -> Fingerprint {
    let facts = facts_from_headers(header_bytes);
    Fingerprint::of(
        facts.message_id.as_deref(),
        &facts.from,
        &facts.date,
        &facts.subject,
        internal_date,
    )
}

/// The first of each of the four fields; a later one of the same name does not count.
#[derive(Default)]
struct Firsts<'a> {
    message_id: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    date: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
}

impl<'a> Firsts<'a> {
    fn take(&mut self, field: &Field<'a>) {
        for (name, slot) in [
            ("message-id", &mut self.message_id),
            ("from", &mut self.from),
            ("date", &mut self.date),
            ("subject", &mut self.subject),
        ] {
            if field.is(name) {
                slot.get_or_insert(field.value);
            }
        }
    }

    fn facts(&self) -> HeaderFacts {
        let text = |value: Option<&[u8]>| value.map(spaced).unwrap_or_default();
        HeaderFacts {
            message_id: self.message_id.and_then(message_id),
            from: text(self.from),
            date: text(self.date),
            subject: text(self.subject),
        }
    }
}

/// What stands between the first angle brackets, or all of it; spaces inside an id are folds.
pub(super) fn message_id(value: &[u8]) -> Option<String> {
    let text = spaced(value);
    let inner = text
        .split_once('<')
        .map_or(text.as_str(), |(_, after)| after);
    let inner = inner.split_once('>').map_or(inner, |(id, _)| id);
    let id: String = inner.split(' ').collect();
    (!id.is_empty()).then_some(id)
}

/// One line, runs of white space as one space; bytes that are no UTF-8 as U+FFFD.
fn spaced(value: &[u8]) -> String {
    let mut line = Vec::with_capacity(value.len().min(FACT_BYTES_MAX));
    let words = value
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    for word in words {
        if line.len() >= FACT_BYTES_MAX {
            break;
        }
        if !line.is_empty() {
            line.push(b' ');
        }
        let room = FACT_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&word[..word.len().min(room)]);
    }
    String::from_utf8_lossy(&line).into_owned()
}
