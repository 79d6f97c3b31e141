//! What can be had of a message when its parsing ended in a panic: a crude scan over the header
//! that uses none of the parsers.

use super::{
    Address, Message, ParseLimits, Status, Warning, Warnings, clip, facts_from_headers,
    field::{Line, Scan, one_line, unfold},
};

const VALUE_BYTES_MAX: usize = 1 << 10;

/// A message with `Status::Failed`: ids, undecoded subject, sender and headers, no text.
pub fn salvage(raw: &[u8], total_size: u64, limits: &ParseLimits) -> Message {
    let mut warnings = Warnings::default();
    warnings.add(Warning::Unparseable);
    let facts = facts_from_headers(raw);
    let mut headers = Vec::new();
    let mut left = limits.header_bytes;
    for line in Scan::new(raw, 0, &[]) {
        let Line::Field(field) = line else { continue };
        let value = crude(field.value, &mut warnings);
        let cost = field.name.len() + value.len();
        if headers.len() >= limits.headers || cost > left {
            warnings.add(Warning::HeadersCut);
            break;
        }
        left -= cost;
        headers.push((field.name.to_owned(), value));
    }
    let some = |text: &str, warnings: &mut Warnings| {
        let text = crude(text.as_bytes(), warnings);
        (!text.is_empty()).then_some(text)
    };
    let message_id = facts.message_id.and_then(|id| some(&id, &mut warnings));
    let from = facts
        .from
        .rsplit_once('<')
        .map_or(facts.from.as_str(), |(_, after)| after);
    let from = from.split_once('>').map_or(from, |(address, _)| address);
    Message {
        thread_key: message_id.clone(),
        message_id,
        subject: some(&facts.subject, &mut warnings),
        date_raw: some(&facts.date, &mut warnings),
        from: some(from, &mut warnings)
            .map(|address| Address {
                name: None,
                address: Some(address),
            })
            .into_iter()
            .collect(),
        headers,
        status: Status::Failed,
        warnings,
        size: total_size,
        ..Message::default()
    }
}

fn crude(value: &[u8], warnings: &mut Warnings) -> String {
    let value = &value[..value.len().min(VALUE_BYTES_MAX)];
    let text = String::from_utf8_lossy(&unfold(value)).into_owned();
    clip(&one_line(text, warnings), VALUE_BYTES_MAX).to_owned()
}
