//! Addresses, ids and dates of header fields, read by `mail-parser` and bounded here.

use mail_parser::{Addr, HeaderValue, parsers::MessageStream};

use super::{
    Address, Warning, Warnings, clip,
    field::{Reading, one_line},
    words,
};

/// RFC 5321 section 4.5.3.1 allows 254 bytes for an address; names have no limit.
const ADDRESS_BYTES_MAX: usize = 320;
const NAME_BYTES_MAX: usize = 512;
/// RFC 5322 section 2.1.1: no line, so no id, is longer.
pub(super) const ID_BYTES_MAX: usize = 998;

/// Cuts a short text, and says so.
pub(super) fn short(text: &str, max: usize, warnings: &mut Warnings) -> String {
    if text.len() > max {
        warnings.add(Warning::FieldsCut);
    }
    clip(text, max).to_owned()
}

/// The addresses of all the given values, groups dissolved (RFC 5322 section 3.4).
pub(super) fn list<'v>(
    values: impl Iterator<Item = &'v [u8]>,
    max: usize,
    reading: Reading<'_>,
    warnings: &mut Warnings,
) -> Vec<Address> {
    let mut found = Vec::new();
    for value in values {
        if found.len() >= max {
            warnings.add(Warning::ListsCut);
            break;
        }
        let raw = reading.raw(value, warnings);
        let mut line = if raw.contains("=?") {
            words::quote(&raw, warnings)
        } else {
            raw.into_owned()
        };
        line.push('\n');
        if let HeaderValue::Address(parsed) = MessageStream::new(line.as_bytes()).parse_address() {
            let mut family = None;
            for address in parsed.iter() {
                if found.len() >= max {
                    warnings.add(Warning::ListsCut);
                    break;
                }
                let Some(mut address) = one(address, warnings) else {
                    continue;
                };
                // "Lee, Kim <kim@example.org>" without the quotes that it needs is one person.
                if let (Some(_), Some(family), Some(given)) =
                    (&address.address, family.take(), &address.name)
                {
                    found.pop();
                    let name = format!("{family}, {given}");
                    address.name = Some(short(&name, NAME_BYTES_MAX, warnings));
                }
                if address.address.is_none() {
                    family.clone_from(&address.name);
                }
                found.push(address);
            }
        }
    }
    found
}

fn one(parsed: &Addr<'_>, warnings: &mut Warnings) -> Option<Address> {
    let mut part = |text: Option<&str>, max| {
        let text = one_line(text?.to_owned(), warnings);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then(|| short(&text, max, warnings))
    };
    let name = part(parsed.name.as_deref(), NAME_BYTES_MAX);
    let address = part(parsed.address.as_deref(), ADDRESS_BYTES_MAX);
    // A bare word that is an address in all but its place.
    let (name, address) = match (name, address) {
        (Some(name), None) if name.contains('@') && !name.contains(' ') => (None, Some(name)),
        other => other,
    };
    (name.is_some() || address.is_some()).then_some(Address { name, address })
}

/// Message ids in angle brackets; without any, the words that have an `@` (RFC 5322 section 3.6.4).
pub(super) fn ids(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        rest = &rest[open + 1..];
        let Some(close) = rest.find('>') else { break };
        let id: String = rest[..close].split_whitespace().collect();
        if !id.is_empty() {
            found.push(clip(&id, ID_BYTES_MAX).to_owned());
        }
        rest = &rest[close + 1..];
    }
    if found.is_empty() && !text.contains('<') {
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')'));
        found.extend(
            words
                .filter(|word| word.contains('@'))
                .map(|word| clip(word, ID_BYTES_MAX).to_owned()),
        );
    }
    found
}

/// RFC 5322 section 3.3, with the sender's own offset. `None` for a day or time that does not exist.
pub(super) fn date(text: &str) -> Option<String> {
    // The parser takes any three letters for the month that they resemble.
    const MONTHS: &[&str] = &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let text = clip(text, 200);
    let lower = text.to_ascii_lowercase();
    if !MONTHS.iter().any(|month| lower.contains(month)) {
        return None;
    }
    let line = format!("{text}\n");
    let HeaderValue::DateTime(date) = MessageStream::new(line.as_bytes()).parse_date() else {
        return None;
    };
    let month = time::Month::try_from(date.month).ok()?;
    time::Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
    // A leap second (60) is the last moment that most programs can write.
    let second = if date.second == 60 { 59 } else { date.second };
    let date = mail_parser::DateTime { second, ..date };
    date.is_valid().then(|| date.to_rfc3339())
}
