//! Delivery status notifications (RFC 3464): which message could not be delivered, to whom and why.
//! Everything in them is as much a sender's word as the rest of the mail.

use super::{
    Bounce, Recipient, Warnings,
    address::{ID_BYTES_MAX, short},
    clip, facts,
    field::{Field, Line, Reading, Scan},
    transfer::decode_start,
    walk::Leaf,
};

/// Bytes of the report and of the returned message that are looked at.
const REPORT_BYTES_MAX: usize = 64 << 10;

/// Recipients of one report that are told.
pub(super) const RECIPIENTS_MAX: usize = 20;

const ADDRESS_BYTES_MAX: usize = 320;
const WORD_BYTES_MAX: usize = 32;
const DIAGNOSTIC_BYTES_MAX: usize = 512;

/// What the notification says. `failed`: the addresses of X-Failed-Recipients, which some servers
/// write in place of a report.
pub(super) fn read(
    leaves: &[Leaf<'_>],
    failed: &str,
    reading: Reading<'_>,
    warnings: &mut Warnings,
) -> Bounce {
    let mut recipients = match leaves.iter().find(|leaf| is_status(leaf)) {
        Some(leaf) => recipients(leaf, reading, warnings),
        None => Vec::new(),
    };
    if recipients.is_empty() {
        recipients.extend(
            failed
                .split([',', ' '])
                .filter(|address| address.contains('@'))
                .take(RECIPIENTS_MAX)
                .map(|address| Recipient {
                    address: Some(clip(address, ADDRESS_BYTES_MAX).to_owned()),
                    ..Recipient::default()
                }),
        );
    }
    Bounce {
        original_message_id: original_id(leaves, warnings),
        recipients,
    }
}

/// RFC 3464 section 2.1, RFC 6533 section 4.
pub(super) fn is_status(leaf: &Leaf<'_>) -> bool {
    leaf.head.is("message/delivery-status") || leaf.head.is("message/global-delivery-status")
}

/// The returned message or its header comes after the report.
fn original_id(leaves: &[Leaf<'_>], warnings: &mut Warnings) -> Option<String> {
    let returned = leaves.iter().rev().find(|leaf| {
        matches!(
            leaf.head.kind.as_str(),
            "message/rfc822" | "message/global" | "text/rfc822-headers" | "message/global-headers"
        )
    })?;
    let (bytes, _) = decode_start(
        returned.body,
        returned.head.encoding,
        REPORT_BYTES_MAX,
        warnings,
    );
    let id = facts::facts_from_headers(&bytes).message_id?;
    let id = super::field::one_line(id, warnings);
    Some(short(&id, ID_BYTES_MAX, warnings))
}

/// One group of fields per recipient, after the group that speaks of the message.
fn recipients(leaf: &Leaf<'_>, reading: Reading<'_>, warnings: &mut Warnings) -> Vec<Recipient> {
    let (bytes, _) = decode_start(leaf.body, leaf.head.encoding, REPORT_BYTES_MAX, warnings);
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() && found.len() < RECIPIENTS_MAX {
        let mut scan = Scan::new(rest, 0, &[]);
        let mut one = Recipient::default();
        let mut final_address = None;
        for line in scan.by_ref() {
            match line {
                Line::Field(field) => take(&mut one, &mut final_address, &field, reading, warnings),
                Line::Other => {}
            }
        }
        // Whom the sender wrote to says more than where a forwarding ended.
        one.address = one.address.or(final_address);
        if one.address.is_some() || one.action.is_some() || one.status.is_some() {
            found.push(one);
        }
        rest = &rest[scan.body.unwrap_or(rest.len())..];
    }
    found
}

fn take(
    one: &mut Recipient,
    final_address: &mut Option<String>,
    field: &Field<'_>,
    reading: Reading<'_>,
    warnings: &mut Warnings,
) {
    let mut first = |slot: &mut Option<String>, what: fn(&str) -> Option<String>| {
        if slot.is_none() {
            *slot = what(&reading.text(field.value, warnings));
        }
    };
    if field.is("original-recipient") {
        first(&mut one.address, address);
    } else if field.is("final-recipient") {
        first(final_address, address);
    } else if field.is("action") {
        first(&mut one.action, word);
    } else if field.is("status") {
        first(&mut one.status, status);
    } else if field.is("diagnostic-code") {
        first(&mut one.diagnostic, |text| {
            let text = typed(text);
            (!text.is_empty()).then(|| clip(text, DIAGNOSTIC_BYTES_MAX).to_owned())
        });
    }
}

/// `rfc822; kim@example.org`: what follows the type.
fn typed(text: &str) -> &str {
    text.split_once(';').map_or(text, |(_, value)| value).trim()
}

fn address(text: &str) -> Option<String> {
    let address = typed(text).trim_matches(['<', '>']);
    (!address.is_empty()).then(|| clip(address, ADDRESS_BYTES_MAX).to_owned())
}

fn word(text: &str) -> Option<String> {
    let word = text.split([' ', '(', ';']).next().unwrap_or_default();
    (!word.is_empty()).then(|| clip(word, WORD_BYTES_MAX).to_ascii_lowercase())
}

/// `5.1.1` (RFC 3463); a comment may follow.
fn status(text: &str) -> Option<String> {
    let code = text.split([' ', '(']).next().unwrap_or_default();
    let fits = code.len() <= 11
        && code.split('.').count() == 3
        && code
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    fits.then(|| code.to_owned())
}
