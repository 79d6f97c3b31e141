//! What is found in passing is what is found in the whole. Every message of the other tests is
//! looked at both ways.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::fingerprint::hex;

fn locate(raw: &[u8], size: usize) -> Vec<Located> {
    let mut locator = Locator::new(&ParseLimits::default());
    for piece in raw.chunks(size) {
        locator.push(piece);
    }
    locator.finish()
}

/// Both ways find the same attachments, and the same bytes in them.
pub(super) fn agrees(raw: &[u8], message: &Message) {
    if raw.len() > 1 << 20 {
        return;
    }
    for size in [raw.len().max(1), 1, 7, 4096] {
        let located = locate(raw, size);
        let same: Vec<Attachment> = located
            .into_iter()
            .map(|part| {
                let bytes = &raw[part.start as usize..part.end as usize];
                let (mut decoder, mut decoded) = (Decoder::new(part.encoding), Vec::new());
                decoder.push(bytes, &mut decoded);
                decoder.finish(&mut decoded);
                Attachment {
                    index: part.index,
                    filename: part.filename,
                    content_type: part.content_type,
                    size: Some(decoded.len() as u64),
                    sha256: Some(hex(&Sha256::digest(&decoded))),
                    disposition: part.disposition,
                    content_id: part.content_id,
                }
            })
            .collect();
        assert_eq!(
            same,
            message.attachments,
            "by {size}: {:.4000}",
            raw.escape_ascii().to_string()
        );
    }
}

#[test]
fn a_part_lies_between_its_header_and_the_line_end_before_its_delimiter() {
    let raw = multipart(
        "multipart/mixed",
        &[
            "\r\ntext",
            "Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=",
            "Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Type: application/x-empty\r\n\r\n--in\r\nContent-Type: message/rfc822\r\n\r\nSubject: --in\r\n\r\n--ino\r\n--in--\r\n",
        ],
    );
    let bytes: Vec<&str> = locate(raw.as_bytes(), 5)
        .iter()
        .map(|part| &raw[part.start as usize..part.end as usize])
        .collect();
    assert_eq!(bytes, ["aGVs\r\nbG8=", "", "Subject: --in\r\n\r\n--ino"]);
    read(raw);
}

#[test]
fn a_message_of_any_size_is_looked_at_in_little_memory() {
    let mut locator = Locator::new(&ParseLimits::default());
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\n";
    locator.push(head.as_bytes());
    let start = head.len() as u64;
    let line = [b'-'; 10_000];
    for _ in 0..10_000 {
        locator.push(&line);
    }
    assert!(locator.line.len() <= 1 << 10);
    locator.push(b"\r\n--b--");
    let found = locator.finish();
    assert_eq!((found[0].start, found[0].end), (start, start + 100_000_000));
}
