//! No bytes break the parser or its bounds.

use proptest::prelude::*;

use super::*;

/// What no input may break.
fn check(raw: &[u8], limits: &ParseLimits) -> Message {
    let message = parse(raw, limits);
    let text = &message.text;
    for part in [&text.plain, &text.html].into_iter().flatten() {
        assert!(part.len() <= limits.text_bytes && !part.contains(['\0', '\r']));
    }
    assert!(
        message.headers.len() <= limits.headers && message.attachments.len() <= limits.attachments
    );
    assert!(
        message
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
            <= limits.header_bytes
    );
    assert!(message.references.len() <= limits.references);
    let people = [&message.from, &message.to, &message.cc, &message.reply_to];
    assert!(people.iter().all(|list| list.len() <= limits.addresses));
    let lines = people
        .into_iter()
        .flatten()
        .flat_map(|who| [&who.name, &who.address]);
    let lines = lines.chain([
        &message.subject,
        &message.message_id,
        &message.in_reply_to,
        &message.date_raw,
        &message.thread_key,
    ]);
    let files = message
        .attachments
        .iter()
        .flat_map(|file| [&file.filename, &file.disposition, &file.content_id]);
    for line in lines.chain(files).flatten() {
        assert!(
            line.len() <= 2_048 && !line.contains(char::is_control),
            "{line:?}"
        );
    }
    assert_eq!(text.plain.is_some(), text.plain_source.is_some());
    assert_eq!(message, parse(raw, limits));
    if *limits == ParseLimits::default() {
        super::located::agrees(raw, &message);
    }
    fingerprint(raw, None);
    salvage(raw, raw.len() as u64, limits);
    message
}

fn small() -> ParseLimits {
    ParseLimits {
        parse_bytes: 4_000,
        text_bytes: 300,
        header_bytes: 500,
        headers: 10,
        parts: 8,
        nesting: 3,
        attachments: 3,
        addresses: 4,
        references: 3,
    }
}

const SEEDS: &[&str] = &[
    "From: =?utf-8?Q?J=C3=B6rg?= <a@b>\r\nReferences: <a> <b> <c> <d>\r\nSubject: =?gb2312?B?xOO6ww==?= =?utf-8?Q?x?=\r\n\r\nhi\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=\"b b\"\r\n\r\n--b b\r\n\r\nx\r\n--b b\r\nContent-Type: text/html; charset=koi8-r\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>=D0&nbsp;</p><!-- -->\r\n--b b--\r\n--b\r\nContent-Disposition: attachment; filename*0*=utf-8''%41; filename*1=\"b\"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n",
    "To: a: b@c, \"d \\\" e\" (f (g) h) <i@j>;, k\r\nDate: Thu, 25 Apr 2024 18:00:00 +0200 (CEST)\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B%O%m!<\x1b(B\r\n",
];

proptest! {
    #[test]
    fn any_bytes_are_a_message(raw in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        check(&raw, &ParseLimits::default());
        check(&raw, &small());
    }

    #[test]
    fn any_text_of_mail_like_pieces_is_a_message(pieces in proptest::collection::vec(
        proptest::sample::select(vec![
            "\r\n", "\n", "\r", "--b", "--b--", "--", "Content-Type: ", "multipart/mixed", "multipart/digest", "; boundary=b",
            "; boundary=\"", "text/html", "message/rfc822", "Content-Disposition: attachment; filename", "*0*=utf-8''%C3", "*=", "=?utf-8?Q?", "=C3",
            "?=", "=?", "\"", "\\", "(", ")", "<", ">", "@", ",", ";", ":", "From: ", "To: ", "Date: ", "Subject: ", " ", "\t", "a", "ü", "\0",
            "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "25 Apr 2024", "99999", "&#", "&amp;", "<!--", "<style>", "charset=utf-7", "+AOQ",
        ]), 0..120)) {
        let raw = pieces.concat();
        check(raw.as_bytes(), &ParseLimits::default());
        check(raw.as_bytes(), &small());
    }

    #[test]
    fn mutated_mail_is_a_message(
        seed in 0..SEEDS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut raw = SEEDS[seed].as_bytes().to_vec();
        for (at, byte, how) in edits {
            let at = at.index(raw.len());
            match how {
                0 => raw[at] = byte,
                1 => raw.insert(at, byte),
                2 if raw.len() > 1 => drop(raw.remove(at)),
                _ => raw.extend_from_within(at..),
            }
        }
        check(&raw, &ParseLimits::default());
        check(&raw[..cut.index(raw.len() + 1)], &small());
        let prefix = &raw[..cut.index(raw.len() + 1)];
        parse_prefix(prefix, raw.len() as u64, &small());
    }
}
