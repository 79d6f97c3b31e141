//! Which parts are the message's text, and that text as characters. The rest are attachments.

use super::{
    Attachment, ParseLimits, PlainSource, Text, Warning, Warnings, charset, clip, html, transfer,
    walk::Leaf,
};

/// A leaf that is text to be read, not a file: plain or html, neither named nor marked as one.
pub(super) fn is_body(leaf: &Leaf<'_>) -> bool {
    let head = &leaf.head;
    let text = matches!(head.kind.as_str(), "" | "text/plain" | "text/html");
    let file = head.disposition.as_deref() == Some("attachment")
        || (head.filename.is_some() && !leaf.root);
    text && !file
}

/// The message's text. Text parts after each other are joined, as mailing lists add footers and
/// some mail programs go on after an attachment; of alternatives each goes to its own place.
/// Html without a plain alternative gives the plain text, too.
pub(super) fn collect(leaves: &[Leaf<'_>], limits: &ParseLimits, warnings: &mut Warnings) -> Text {
    let mut plain = Piece::default();
    let mut html = Piece::default();
    let mut source = None;
    for leaf in leaves.iter().filter(|leaf| is_body(leaf)) {
        if plain.full && html.full {
            break;
        }
        let (text, more) = decode(leaf, limits, warnings);
        if !leaf.head.is("text/html") {
            source.get_or_insert(PlainSource::Part);
            plain.add(&text, more, limits);
            continue;
        }
        if !has_plain(leaves, leaf) {
            source.get_or_insert(PlainSource::Html);
            plain.add(&clean(html::to_text(&text), warnings), more, limits);
        }
        html.add(&text, more, limits);
    }
    if plain.full {
        warnings.add(Warning::TextCut);
    }
    if html.full {
        warnings.add(Warning::HtmlCut);
    }
    Text {
        truncated: plain.full || html.full,
        plain_source: source,
        plain: source.map(|_| plain.text),
        html: html.any.then_some(html.text),
    }
}

/// Whether the html has a plain alternative that says something.
fn has_plain(leaves: &[Leaf<'_>], html: &Leaf<'_>) -> bool {
    html.group != 0
        && leaves.iter().any(|leaf| {
            leaf.group == html.group
                && is_body(leaf)
                && !leaf.head.is("text/html")
                && !leaf.body.trim_ascii().is_empty()
        })
}

/// A text that grows up to the limit.
#[derive(Default)]
struct Piece {
    text: String,
    any: bool,
    full: bool,
}

impl Piece {
    fn add(&mut self, text: &str, more: bool, limits: &ParseLimits) {
        self.any = true;
        if self.full || (text.is_empty() && !more) {
            return;
        }
        if !self.text.is_empty()
            && !self.text.ends_with('\n')
            && self.text.len() < limits.text_bytes
        {
            self.text.push('\n');
        }
        let room = limits.text_bytes - self.text.len().min(limits.text_bytes);
        let part = clip(text, room);
        self.full = more || part.len() < text.len();
        self.text.push_str(part);
    }
}

/// The leaf's text, as far as it can be used, and whether there is more of it.
fn decode(leaf: &Leaf<'_>, limits: &ParseLimits, warnings: &mut Warnings) -> (String, bool) {
    // Characters may take four bytes on the wire and one in UTF-8 (UTF-32, escapes).
    let max = limits.text_bytes.saturating_mul(4).saturating_add(16);
    let (bytes, more) = transfer::decode_start(leaf.body, leaf.head.encoding, max, warnings);
    let declared = leaf.head.charset.as_deref();
    let sniffed = declared.is_none() && leaf.head.is("text/html");
    let label = if sniffed { html_charset(&bytes) } else { None };
    let text = charset::decode(&bytes, declared.or(label), warnings);
    (clean(text, warnings), more || !leaf.complete)
}

/// The charset that an html document declares in its first bytes, for senders that do so only there.
fn html_charset(bytes: &[u8]) -> Option<&str> {
    let head = &bytes[..bytes.len().min(1 << 10)];
    let at = memchr::memmem::find(head, b"charset=")? + b"charset=".len();
    let rest = head[at..].trim_ascii_start();
    let rest = rest
        .strip_prefix(b"\"")
        .or(rest.strip_prefix(b"'"))
        .unwrap_or(rest);
    let length = rest
        .iter()
        .take(40)
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_'))?;
    std::str::from_utf8(&rest[..length])
        .ok()
        .filter(|label| !label.is_empty())
}

/// Line ends become `\n`, NUL becomes U+FFFD.
fn clean(text: String, warnings: &mut Warnings) -> String {
    if memchr::memchr2(b'\r', b'\0', text.as_bytes()).is_none() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = memchr::memchr2(b'\r', b'\0', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let odd = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if odd == b'\0' {
            warnings.add(Warning::NulReplaced);
            out.push(char::REPLACEMENT_CHARACTER);
        } else if !rest.starts_with('\n') {
            out.push('\n');
        }
    }
    out.push_str(rest);
    out
}

/// All leaves that are not the text.
pub(super) fn attachments(
    leaves: &[Leaf<'_>],
    limits: &ParseLimits,
    warnings: &mut Warnings,
) -> Vec<Attachment> {
    let mut files = leaves.iter().filter(|leaf| !is_body(leaf));
    let listed = files
        .by_ref()
        .take(limits.attachments)
        .enumerate()
        .map(|(index, leaf)| attachment(index, leaf, warnings))
        .collect();
    if files.next().is_some() {
        warnings.add(Warning::AttachmentsCut);
    }
    listed
}

fn attachment(index: usize, leaf: &Leaf<'_>, warnings: &mut Warnings) -> Attachment {
    let measured = leaf
        .complete
        .then(|| transfer::measure(leaf.body, leaf.head.encoding, warnings));
    let (size, sha256) = measured.unzip();
    let kind = leaf.head.kind.as_str();
    Attachment {
        index: index as u32,
        filename: leaf.head.filename.clone(),
        content_type: if kind.is_empty() { "text/plain" } else { kind }.to_owned(),
        size,
        sha256,
        disposition: leaf.head.disposition.clone(),
        content_id: leaf.head.content_id.clone(),
    }
}
