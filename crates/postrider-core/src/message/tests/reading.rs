//! Ordinary mail, as mail programs write it.

use super::*;
use crate::time::Wall;

#[test]
fn a_plain_message_is_read_whole() {
    let message = read(
        "Received: from x\r\n\tby y; Mon, 1 Jan 2024 00:00:00 +0000\r\n\
         Message-ID: <1@b.example>\r\nIn-Reply-To: <0@b.example>\r\nReferences: <r@b.example>\r\n <0@b.example>\r\n\
         Date: Thu, 25 Apr 2024 18:00:00 +0200\r\nFrom: \"Doe, Jane\" <jane@b.example>\r\nSender: s@b.example\r\n\
         To: =?utf-8?Q?J=C3=B6rg?= <j@c.example>, k@c.example\r\nCc: list: l@c.example, m@c.example;\r\n\
         Reply-To: r@b.example\r\nDelivered-To: d@c.example\r\nX-Original-To: <o@c.example>\r\nDelivered-To: d@c.example\r\n\
         Subject: Hello =?iso-8859-1?Q?W=F6rld?=\r\n\r\nHi there\r\n",
    );
    assert_eq!(message.status, Status::Ok);
    assert!(message.warnings.is_empty(), "{:?}", message.warnings);
    assert_eq!(message.message_id.as_deref(), Some("1@b.example"));
    assert_eq!(message.in_reply_to.as_deref(), Some("0@b.example"));
    assert_eq!(message.references, ["r@b.example", "0@b.example"]);
    assert_eq!(message.thread_key.as_deref(), Some("r@b.example"));
    assert_eq!(message.subject.as_deref(), Some("Hello Wörld"));
    assert_eq!(message.date.as_deref(), Some("2024-04-25T18:00:00+02:00"));
    assert_eq!(
        message.date_raw.as_deref(),
        Some("Thu, 25 Apr 2024 18:00:00 +0200")
    );
    assert_eq!(message.from, [who("Doe, Jane", "jane@b.example")]);
    assert_eq!(message.sender, Some(who("", "s@b.example")));
    assert_eq!(
        message.to,
        [who("Jörg", "j@c.example"), who("", "k@c.example")]
    );
    assert_eq!(message.cc, [who("", "l@c.example"), who("", "m@c.example")]);
    assert_eq!(message.reply_to, [who("", "r@b.example")]);
    assert_eq!(message.delivered_to, ["d@c.example", "o@c.example"]);
    assert_eq!(message.text.plain.as_deref(), Some("Hi there\n"));
    assert_eq!(message.text.plain_source, Some(PlainSource::Part));
    assert_eq!(message.text.html, None);
    assert_eq!(
        message.headers[0],
        (
            "Received".into(),
            "from x by y; Mon, 1 Jan 2024 00:00:00 +0000".into()
        )
    );
    assert_eq!(message.headers.len(), 14);
    assert_eq!(message.auto, Auto::default());
}

#[test]
fn names_keep_their_meaning_when_they_are_encoded() {
    for (value, expected) in [
        (
            "=?utf-8?Q?Doe=2C_Jane?= <j@b.example>",
            vec![who("Doe, Jane", "j@b.example")],
        ),
        (
            "\"=?utf-8?Q?Doe=2C_J=C3=A4ne?=\" <j@b.example>",
            vec![who("Doe, Jäne", "j@b.example")],
        ),
        // A character that is split between two words, as Exchange and others write it.
        (
            "=?utf-8?B?w?= =?utf-8?B?7w=?= <j@b.example>",
            vec![who("\u{fffd}", "j@b.example")],
        ),
        (
            "=?utf-8?Q?J=C3?=\r\n =?utf-8?Q?=B6rg?= M <j@b.example>",
            vec![who("Jörg M", "j@b.example")],
        ),
        (
            "Herr =?utf-8?Q?J=C3=B6rg?= <j@b.example>",
            vec![who("Herr Jörg", "j@b.example")],
        ),
        (
            "j@b.example (=?utf-8?Q?J=C3=B6rg?=)",
            vec![who("Jörg", "j@b.example")],
        ),
        (
            "=?utf-8?Q?a=22b=5Cc?= <j@b.example>",
            vec![who("a\"b\\c", "j@b.example")],
        ),
        (
            "=?utf-8?Q?x=3Cevil=40b.example=3E?= <j@b.example>",
            vec![who("x<evil@b.example>", "j@b.example")],
        ),
        ("undisclosed-recipients:;", vec![]),
        (
            "Lee, Kim <kim@example.org>, b@example.org, Ann <a@example.org>",
            vec![
                who("Lee, Kim", "kim@example.org"),
                who("", "b@example.org"),
                who("Ann", "a@example.org"),
            ],
        ),
        ("<>", vec![]),
        ("just a name", vec![who("just a name", "")]),
        (
            "=?utf-8?Q?a=0D=0ABcc:_x?= <j@b.example>",
            vec![who("a Bcc: x", "j@b.example")],
        ),
    ] {
        let message = read(format!("To: {value}\r\n\r\nx"));
        assert_eq!(message.to, expected, "{value}");
    }
}

#[test]
fn subjects_are_decoded_as_senders_mean_them() {
    for (value, expected) in [
        ("=?utf-8?B?w7w=?= =?utf-8?B?w7w=?=", "üü"),
        ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"),
        ("a =?utf-8?Q?b?= c", "a b c"),
        ("=?iso-2022-jp?B?GyRCJU8lbSE8GyhC?=", "ハロー"),
        ("=?gb18030?B?xOO6ww==?=", "你好"),
        ("=?koi8-r?Q?=F0=D2=C9?=", "При"),
        ("=?utf-8*de?Q?h=C3=BC?=", "hü"),
        ("=?utf-8?Q?is it? yes?=", "is it? yes"),
        ("=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        ("=?utf-8?Q?never ends", "=?utf-8?Q?never ends"),
        ("=?utf-8?Q?one =?utf-8?Q?two?=", "=?utf-8?Q?one two"),
        ("=?utf-8?Q?a=0D=0AX-Evil:_1?=", "a  X-Evil: 1"),
        ("tab\there", "tab here"),
        ("für", "für"),
    ] {
        let message = read(format!("Subject: {value}\r\n\r\nx"));
        assert_eq!(message.subject.as_deref(), Some(expected), "{value}");
    }
}

#[test]
fn eight_bit_headers_are_read_by_the_bodys_charset_or_as_windows_1252() {
    let latin = read(b"From: J\xf6rg <j@b.example>\r\nSubject: f\xfcr\r\n\r\nx");
    assert_eq!(latin.subject.as_deref(), Some("für"));
    assert_eq!(latin.from, [who("Jörg", "j@b.example")]);
    assert_eq!(warned(&latin), ["header_8bit"]);
    let russian =
        read(b"Subject: \xf0\xd2\xc9\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n\xf0");
    assert_eq!(russian.subject.as_deref(), Some("При"));
    assert_eq!(russian.text.plain.as_deref(), Some("П"));
}

#[test]
fn alternatives_go_to_their_own_places() {
    let plain = "Content-Type: text/plain; charset=utf-8\r\n\r\nplain";
    let html = "Content-Type: text/html\r\n\r\n<p>html</p>";
    let message = read(multipart("multipart/alternative", &[plain, html]));
    assert_eq!(message.text.plain.as_deref(), Some("plain"));
    assert_eq!(message.text.html.as_deref(), Some("<p>html</p>"));
    assert_eq!(message.text.plain_source, Some(PlainSource::Part));
    assert!(message.attachments.is_empty());

    let empty = "Content-Type: text/plain\r\n\r\n \r\n";
    let message = read(multipart("multipart/alternative", &[empty, html]));
    assert!(message.text.plain.as_deref().unwrap().ends_with("html"));

    let message = read(multipart(
        "multipart/mixed",
        &[html, "Content-Type: text/plain\r\n\r\nfooter"],
    ));
    assert_eq!(message.text.plain.as_deref(), Some("html\nfooter"));
    assert_eq!(message.text.plain_source, Some(PlainSource::Html));
    assert_eq!(message.text.html.as_deref(), Some("<p>html</p>"));
}

#[test]
fn attachments_are_measured_and_hashed_decoded() {
    let message = read(multipart(
        "multipart/mixed",
        &[
            "Content-Type: text/plain\r\n\r\nsee file",
            "Content-Type: application/pdf; name=\"x.pdf\"\r\nContent-Disposition: attachment; filename=\"hello.txt\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=",
            "Content-Type: image/png\r\nContent-Disposition: inline\r\nContent-ID: <logo@x>\r\n\r\nabc",
            "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\n\r\nin\r\n--z--",
            "\r\nand more",
        ],
    ));
    assert_eq!(message.text.plain.as_deref(), Some("see file\nand more"));
    let [pdf, png, mail] = &message.attachments[..] else {
        panic!("{:?}", message.attachments)
    };
    assert_eq!(pdf.filename.as_deref(), Some("hello.txt"));
    assert_eq!(
        (pdf.content_type.as_str(), pdf.size),
        ("application/pdf", Some(5))
    );
    assert_eq!(
        pdf.sha256.as_deref(),
        Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
    );
    assert_eq!(pdf.disposition.as_deref(), Some("attachment"));
    assert_eq!(
        (png.content_id.as_deref(), png.index, png.size),
        (Some("logo@x"), 1, Some(3))
    );
    assert_eq!(
        (mail.content_type.as_str(), mail.disposition.as_deref()),
        ("message/rfc822", None)
    );
    assert!(message.warnings.is_empty(), "{:?}", message.warnings);
}

#[test]
fn file_names_carry_no_paths_and_no_line_ends() {
    for (disposition, expected) in [
        (
            "attachment; filename=\"=?utf-8?Q?=C3=BCber.txt?=\"",
            Some("über.txt"),
        ),
        (
            "attachment; filename==?utf-8?Q?=C3=BCber.txt?=",
            Some("über.txt"),
        ),
        (
            "attachment; filename*=utf-8''%C3%BCber%20x.txt",
            Some("über x.txt"),
        ),
        (
            "attachment; filename*0*=utf-8''%C3%BC; filename*1=ber.txt",
            Some("über.txt"),
        ),
        (
            "attachment; filename*=utf-8''a%0D%0ABcc%3A%20x%00.txt",
            Some("a  Bcc: x\u{fffd}.txt"),
        ),
        ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
        (
            "attachment; filename=\"C:\\\\temp\\\\x.doc\"",
            Some("x.doc"),
        ),
        ("attachment; filename=\"..\"", None),
        ("attachment; filename=\"\"", None),
        ("attachment", None),
    ] {
        let part = format!(
            "Content-Type: application/octet-stream\r\nContent-Disposition: {disposition}\r\n\r\nx"
        );
        let message = read(multipart("multipart/mixed", &[&part]));
        assert_eq!(
            message.attachments[0].filename.as_deref(),
            expected,
            "{disposition}"
        );
    }
    let long = format!(
        "Content-Type: a/b; name=\"{}.pdf\"\r\n\r\nx",
        "ü".repeat(500)
    );
    let name = read(multipart("multipart/mixed", &[&long])).attachments[0]
        .filename
        .clone()
        .unwrap();
    assert!(name.len() <= 255 && name.ends_with("ü.pdf"));
}

#[test]
fn boundaries_that_look_like_encoded_words_work() {
    let raw = "Content-Type: multipart/mixed; boundary=\"=?utf-8?Q?a?=\"\r\n\r\n--=?utf-8?Q?a?=\r\n\r\nhi\r\n--=?utf-8?Q?a?=--";
    let message = read(raw);
    // mail-parser reads it as a word; then the multipart stands as text. Nothing is lost either way.
    assert!(message.text.plain.unwrap().contains("hi"));
    let raw = "Content-Type: multipart/mixed; boundary=\"=?x\"\r\n\r\n--=?x\r\n\r\nhi\r\n--=?x--";
    assert_eq!(read(raw).text.plain.as_deref(), Some("hi"));
}

#[test]
fn machines_are_told_from_people() {
    let auto = |header: &str| read(format!("From: a@b.example\r\n{header}\r\n\r\nx")).auto;
    assert_eq!(
        auto("Auto-Submitted: Auto-Replied; x=y")
            .auto_submitted
            .as_deref(),
        Some("auto-replied")
    );
    assert_eq!(auto("Precedence: Bulk").precedence.as_deref(), Some("bulk"));
    assert_eq!(
        auto("List-Id: My List <list.b.example>").list_id.as_deref(),
        Some("list.b.example")
    );
    assert!(!auto("Return-Path: <>").is_bounce);
    let bounce = |from: &str, header: &str| {
        read(format!("From: {from}\r\n{header}\r\n\r\nx"))
            .auto
            .is_bounce
    };
    assert!(bounce("MAILER-DAEMON@b.example", "Return-Path: <>"));
    assert!(bounce(
        "Postmaster <postmaster@b.example>",
        "X-Failed-Recipients: x@c.example"
    ));
    assert!(!bounce("postmaster@b.example", "Subject: monthly report"));
    let part = "Content-Type: message/delivery-status\r\n\r\nAction: failed";
    assert!(
        read(multipart("multipart/report", &["\r\nx", part]))
            .auto
            .is_bounce
    );
    assert!(
        !read(multipart(
            "multipart/report; report-type=disposition-notification",
            &["\r\nx", part]
        ))
        .auto
        .is_bounce
    );
    assert!(
        read(multipart(
            "multipart/report; report-type=\"delivery-status\"",
            &["\r\nx"]
        ))
        .auto
        .is_bounce
    );
}

#[test]
fn dates_that_do_not_exist_are_none() {
    let date = |text: &str| read(format!("Date: {text}\r\n\r\nx")).date;
    assert_eq!(
        date("Thu, 25 Apr 2024 18:00:00 GMT").as_deref(),
        Some("2024-04-25T18:00:00Z")
    );
    assert_eq!(
        date("25 Apr 2024 18:00 -0730 (comment)").as_deref(),
        Some("2024-04-25T18:00:00-07:30")
    );
    assert_eq!(
        date("Sat, 31 Dec 2016 23:59:60 +0000").as_deref(),
        Some("2016-12-31T23:59:59Z")
    );
    for text in [
        "30 Feb 2024 00:00:00 +0000",
        "1 Foo 2024 00:00:00 +0000",
        "",
        "25 Apr 2024 25:00:00 +0000",
        "99999999999999",
    ] {
        assert_eq!(date(text), None, "{text}");
    }
}

#[test]
fn a_fingerprint_is_the_same_from_the_whole_and_from_fields_alone() {
    let at = Some(Wall::from_seconds(1_714_060_800));
    let long = "x".repeat(10_000);
    for (whole, fields) in [
        (
            &b"Received: x\r\nMessage-ID:\r\n <a@b>\r\nSubject: s\r\n\r\nMessage-ID: <no@b>"[..],
            &b"Message-ID: <a@b>\r\n\r\n"[..],
        ),
        (
            b"From:  A \r\n\t<a@b>\r\nX: y\r\nDate: Mon,  1 Jan 2024\r\nSubject: a\r\n b\r\n\r\nbody",
            b"Subject: a b\r\nDate: Mon, 1 Jan 2024\r\nFrom: A <a@b>\r\n\r\n",
        ),
        (b"Subject: s\r\nFrom: f\r\nSubject: second\r\n\r\n", b"From: f\nSubject: s\nSubject: second\n"),
        (b"FROM: J\xf6rg\r\nno header\r\nsubject : \xff\r\n\r\n", b"From: J\xf6rg\r\nSubject: \xff\r\n\r\n"),
        (b"Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n", b"Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n"),
        (b"Message-ID: a@b\r\n\r\n", b"message-id: <a@b>\r\n\r\n"),
        (b"\r\nbody only", b""),
    ] {
        assert_eq!(fingerprint(whole, at), fingerprint(fields, at), "{}", String::from_utf8_lossy(whole));
    }
    let long = format!("Subject: {long}\r\n\r\n");
    assert_eq!(facts_from_headers(long.as_bytes()).subject.len(), 4_096);
    assert_ne!(
        fingerprint(b"Subject: a\r\n\r\n", at),
        fingerprint(b"Subject: b\r\n\r\n", at)
    );
    assert_ne!(
        fingerprint(b"Message-ID: <a@b>\r\n\r\n", at),
        fingerprint(b"Message-ID: <a@b>\r\n\r\n", None)
    );
    let facts = facts_from_headers(b"Message-ID: <>\r\nFrom: x\r\n\r\n");
    assert_eq!((facts.message_id, facts.from.as_str()), (None, "x"));
}
