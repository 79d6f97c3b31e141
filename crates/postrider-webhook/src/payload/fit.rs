//! Makes `data` fit: lengths are those of escaped JSON, so one pass of cutting is enough. What
//! is worth least to a receiver goes first, and each cut leaves its mark.

use postrider_core::message::{self, Address, Attachment, AuthResult, Warning, Warnings};
use serde::Serialize;

use super::{
    data::{Data, File, Person},
    machine::{Recipient, Told},
};

/// What the marks of all cuts may add.
const MARKS_BYTES: usize = 160;
/// Bytes that are left of each short text when nothing else is left to cut.
const SHORT_BYTES: usize = 200;

/// Takes at least `over` bytes out of `data`, as far as there is anything to take.
pub(super) fn shrink(data: &mut Data<'_>, over: usize) {
    let mut need = over + MARKS_BYTES;
    let mut marks = Warnings::default();
    if cut_list(&mut data.headers, &mut need, 0, |(name, value)| {
        escaped_len(name) + escaped_len(value) + 7
    }) {
        marks.add(Warning::HeadersCut);
    }
    if cut_text(&mut data.text.html, &mut need) {
        marks.add(Warning::HtmlCut);
        data.text.truncated = true;
    }
    if cut_text(&mut data.text.plain, &mut need) {
        marks.add(Warning::TextCut);
        data.text.truncated = true;
    }
    if need > 0 {
        cut_lists(data, &mut need, &mut marks);
    }
    if need > 0 {
        cut_fields(data, &mut marks);
    }
    data.parse.warnings.merge(marks);
}

fn cut_lists(data: &mut Data<'_>, need: &mut usize, marks: &mut Warnings) {
    let file = |file: &Attachment| json_len(&File::of(file));
    let person = |who: &Address| json_len(&Person::of(who));
    let text = |text: &String| escaped_len(text) + 2;
    if cut_list(&mut data.attachments.0, need, 0, file) {
        marks.add(Warning::AttachmentsCut);
    }
    let results = data.authentication.as_mut();
    let told = results.is_some_and(|found| cut_results(&mut found.results, need));
    let bounced = data.auto.bounce.as_mut().is_some_and(|bounce| {
        let cost = |one: &message::Recipient| json_len(&Recipient::of(one));
        cut_list(&mut bounce.recipients.0, need, 1, cost)
    });
    let cut = [
        told,
        bounced,
        cut_list(&mut data.imap.flags, need, 0, text),
        cut_list(&mut data.cc.0, need, 0, person),
        cut_list(&mut data.to.0, need, 0, person),
        cut_list(&mut data.delivered_to, need, 0, text),
        cut_list(&mut data.message.references, need, 0, text),
        cut_list(&mut data.reply_to.0, need, 0, person),
        cut_list(&mut data.from.0, need, 1, person),
        data.auto.bounce.as_mut().is_some_and(|bounce| {
            let cost = |one: &message::Recipient| json_len(&Recipient::of(one));
            cut_list(&mut bounce.recipients.0, need, 0, cost)
        }),
    ];
    if cut.contains(&true) {
        marks.add(Warning::ListsCut);
    }
}

/// The short forms beside the list stay.
fn cut_results(results: &mut Vec<&AuthResult>, need: &mut usize) -> bool {
    let before = results.len();
    while *need > 0
        && let Some(last) = results.pop()
    {
        *need = need.saturating_sub(json_len(&Told::of(last)));
    }
    results.len() < before
}

/// Short texts lose their ends. Only a body of the smallest size comes to this.
fn cut_fields(data: &mut Data<'_>, marks: &mut Warnings) {
    let message = &mut data.message;
    let mut fields = vec![
        &mut message.subject,
        &mut message.date_raw,
        &mut message.thread_key,
        &mut message.in_reply_to,
        &mut message.message_id,
        &mut data.auto.list_id,
    ];
    if let Some(bounce) = &mut data.auto.bounce {
        fields.push(&mut bounce.original_message_id);
    }
    if let Some(sender) = &mut data.sender {
        fields.extend([&mut sender.name, &mut sender.address]);
    }
    for field in fields {
        if let Some(text) = *field
            && text.len() > SHORT_BYTES
        {
            *field = Some(clip(text, SHORT_BYTES));
            marks.add(Warning::FieldsCut);
        }
    }
}

/// Takes items from the end, but leaves `keep`; says whether it took any.
fn cut_list<T>(list: &mut &[T], need: &mut usize, keep: usize, cost: impl Fn(&T) -> usize) -> bool {
    let before = list.len();
    while *need > 0
        && list.len() > keep
        && let Some((last, rest)) = list.split_last()
    {
        *need = need.saturating_sub(cost(last));
        *list = rest;
    }
    list.len() < before
}

/// Takes the end of a text. An empty text stands for one of which nothing is left.
fn cut_text(text: &mut Option<&str>, need: &mut usize) -> bool {
    let Some(whole) = text.filter(|whole| *need > 0 && !whole.is_empty()) else {
        return false;
    };
    let length = escaped_len(whole);
    let part = clip_escaped(whole, length.saturating_sub(*need));
    *need = need.saturating_sub(length - escaped_len(part));
    *text = Some(part);
    true
}

fn json_len(value: &impl Serialize) -> usize {
    super::to_json(value).len()
}

/// How long a byte is in a JSON string as `serde_json` writes it.
const fn cost(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

/// Length of `text` in a JSON string, without the quotes.
pub(super) fn escaped_len(text: &str) -> usize {
    text.bytes().map(cost).sum()
}

/// The longest prefix whose escaped length is at most `max`.
fn clip_escaped(text: &str, max: usize) -> &str {
    let mut length = 0;
    let end = text.bytes().position(|byte| {
        length += cost(byte);
        length > max
    });
    clip(text, end.unwrap_or(text.len()))
}

/// The longest prefix of at most `max` bytes that ends between characters.
pub(super) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
