//! Mail that is broken, too large, or made to hurt.

use super::*;

#[test]
fn a_message_without_headers_is_text() {
    for (raw, text, warnings) in [
        (&b""[..], "", vec!["no_headers", "no_body"]),
        (b"just text\r\nmore", "just text\nmore", vec!["no_headers"]),
        (b"\r\nhi", "hi", vec!["no_headers"]),
        (
            b"\x00\x01\xff\xfe",
            "\u{fffd}\u{1}ÿþ",
            vec!["no_headers", "nul_replaced", "charset_guessed"],
        ),
    ] {
        let message = read(raw);
        assert_eq!(message.status, Status::Failed, "{raw:?}");
        assert_eq!(message.text.plain.as_deref(), Some(text), "{raw:?}");
        assert_eq!(warned(&message), warnings, "{raw:?}");
    }
}

#[test]
fn broken_headers_are_read_as_far_as_they_go() {
    let message = read("Subject: a\r\nthis is no header\r\nTo: x@b.example\r\n\r\nbody");
    assert_eq!(
        (message.subject.as_deref(), message.to.len()),
        (Some("a"), 1)
    );
    assert_eq!(message.text.plain.as_deref(), Some("body"));
    assert_eq!(warned(&message), ["header_malformed"]);
    let message = read("Subject: a\r\nno empty line before this\r\nor this");
    assert_eq!(
        message.text.plain.as_deref(),
        Some("no empty line before this\nor this")
    );
    let message = read("From MAILER Thu Jan 1\nSubject: mbox\n\nbody\n");
    assert_eq!(message.subject.as_deref(), Some("mbox"));
    assert_eq!(warned(&message), Vec::<&str>::new());
    let message = read("Subject: only headers\r\n");
    assert_eq!(
        (message.status, warned(&message)),
        (Status::Ok, vec!["no_body"])
    );
    let message = read("Subject: a\rb\r\n\r\none\rtwo\r\nthree\n");
    assert_eq!(message.subject.as_deref(), Some("a b"));
    assert_eq!(message.text.plain.as_deref(), Some("one\ntwo\nthree\n"));
    let message = read("Subject: a\r\nSubject: b\r\nDate: someday\r\n\r\nx");
    assert_eq!(message.subject.as_deref(), Some("a"));
    assert_eq!(warned(&message), ["header_duplicate", "date_unreadable"]);
}

#[test]
fn wrong_encodings_give_what_can_be_had() {
    let body = |header: &str, body: &str| {
        let message = read(format!("{header}\r\n\r\n{body}"));
        (message.text.plain.clone().unwrap(), warned(&message))
    };
    assert_eq!(
        body("Content-Transfer-Encoding: base64", "aGV*sbG8="),
        ("hello".into(), vec!["encoding_broken"])
    );
    assert_eq!(
        body("Content-Transfer-Encoding: quoted-printable", "1=1"),
        ("1=1".into(), vec!["encoding_broken"])
    );
    assert_eq!(
        body("Content-Transfer-Encoding: x-uuencode", "begin"),
        ("begin".into(), vec!["encoding_unknown"])
    );
    assert_eq!(
        body("Content-Type: text/plain; charset=klingon", "ok"),
        ("ok".into(), vec!["charset_unknown"])
    );
    let nul = read(b"Subject: a\0b\r\n\r\nc\0d");
    assert_eq!(
        (nul.subject.as_deref(), nul.text.plain.as_deref()),
        (Some("a\u{fffd}b"), Some("c\u{fffd}d"))
    );
    assert_eq!(warned(&nul), ["nul_replaced"]);
    let html = read(b"Content-Type: text/html\r\n\r\n<meta charset=\"koi8-r\"><p>\xf0\xd2\xc9</p>");
    assert_eq!(html.text.plain.as_deref(), Some("При"));
}

#[test]
fn multiparts_that_are_not_closed_keep_their_parts() {
    let whole = multipart(
        "multipart/mixed",
        &["\r\none", "Content-Type: a/b\r\n\r\ntwo"],
    );
    let cut = &whole[..whole.find("--=_x--").unwrap()];
    let message = read(cut);
    assert_eq!(
        (message.text.plain.as_deref(), message.attachments.len()),
        (Some("one"), 1)
    );
    assert_eq!(warned(&message), ["multipart_unclosed"]);
    let message = read("Content-Type: multipart/mixed; boundary=x\r\n\r\nno part at all");
    assert_eq!(message.text.plain.as_deref(), Some("no part at all"));
    assert_eq!(warned(&message), ["boundary_missing"]);
    let message = read("Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\nhi");
    assert_eq!(warned(&message), ["boundary_missing"]);
    let message =
        read("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nno empty line\r\n--x--\r\n");
    assert_eq!(message.text.plain.as_deref(), Some("no empty line"));
    let nested = "Content-Type: multipart/mixed; boundary=xx\r\n\r\n--xx\r\n\r\nin\r\n--xx";
    let message = read(format!(
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n{nested}\r\n--x\r\n\r\nout\r\n--x--"
    ));
    assert_eq!(message.text.plain.as_deref(), Some("in\nout"));
}

#[test]
fn thousands_of_parts_are_counted_and_cut() {
    let part = "Content-Type: a/b\r\n\r\nx";
    let message = read(multipart("multipart/mixed", &vec![part; 5_000]));
    assert_eq!(
        (message.status, message.attachments.len()),
        (Status::Partial, 200)
    );
    assert_eq!(warned(&message), ["too_many_parts", "attachments_cut"]);
    let message = read(multipart("multipart/mixed", &vec![part; 300]));
    assert_eq!(
        (message.status, message.attachments.len()),
        (Status::Ok, 200)
    );
    assert_eq!(warned(&message), ["attachments_cut"]);
}

#[test]
fn nesting_is_bounded() {
    let deep = |kind: &str, n: usize| {
        let mut raw = String::from("Subject: deep\r\n");
        for level in 0..n {
            raw.push_str(&format!(
                "Content-Type: {kind}; boundary=b{level}\r\n\r\n--b{level}\r\n"
            ));
        }
        raw + "\r\nbottom"
    };
    let message = read(deep("multipart/mixed", 20_000));
    assert_eq!(
        (message.status, message.subject.as_deref()),
        (Status::Partial, Some("deep"))
    );
    assert!(message.warnings.has(Warning::NestingTooDeep));
    let message = read(deep("multipart/mixed", 30));
    assert_eq!(
        (message.status, message.text.plain.as_deref()),
        (Status::Ok, Some("bottom"))
    );

    let mut inner = "Subject: in\r\n\r\nx".to_owned();
    for _ in 0..30 {
        inner = format!("Subject: out\r\nContent-Type: message/rfc822\r\n\r\n{inner}");
    }
    let message = read(&inner);
    assert_eq!((message.status, message.attachments.len()), (Status::Ok, 1));
    assert_eq!(message.attachments[0].content_type, "message/rfc822");
}

#[test]
fn a_header_of_a_megabyte_is_cut() {
    let raw = format!(
        "Subject: s\r\nX-Big: {}\r\nTo: x@b.example\r\n\r\nbody",
        "y".repeat(1 << 20)
    );
    let message = read(&raw);
    assert_eq!(
        (message.to.len(), message.text.plain.as_deref()),
        (1, Some("body"))
    );
    assert_eq!(warned(&message), ["headers_cut"]);
    let raw = format!(
        "{}From: x@b.example\r\nSubject: late\r\n\r\nbody",
        "X: y\r\n".repeat(200_000)
    );
    let message = read(&raw);
    assert_eq!(
        (message.subject.as_deref(), message.headers.len()),
        (Some("late"), 1_000)
    );
    assert_eq!(warned(&message), ["headers_cut"]);
    let raw = format!(
        "To: {}\r\nReferences: {}\r\n\r\nx",
        "a@b.example, ".repeat(2_000),
        "<a@b> ".repeat(500)
    );
    let message = read(&raw);
    assert_eq!((message.to.len(), message.references.len()), (500, 100));
    assert!(message.warnings.has(Warning::ListsCut));
}

#[test]
fn bombs_of_words_and_parameters_are_read_quickly() {
    let started = std::time::Instant::now();
    for piece in [
        "=?a?q?",
        "=?ab?q?",
        "=?utf-8?B?",
        "=?",
        "=?utf-8?Q?=41?=",
        "=?utf-8?Q?=41?= ",
        "\"",
        "(",
        "<",
        "@,",
        "\\",
        ":;",
    ] {
        let value = piece.repeat((1 << 20) / piece.len());
        read(format!(
            "Subject: {value}\r\nFrom: {value}\r\nTo: {value}\r\nContent-Type: {value}\r\n\r\nx"
        ));
    }
    for piece in [
        "; a*1=b",
        "; a*1*=utf-8''%41",
        "; a=\"=?ab?q?",
        "; a*=x'y'z",
        "; a*1*='=?a?q?",
    ] {
        let value = format!("multipart/mixed{}", piece.repeat((1 << 13) / piece.len()));
        let part = format!("Content-Type: {value}\r\nContent-Disposition: {value}\r\n\r\nx");
        read(multipart("multipart/mixed", &vec![part.as_str(); 300]));
    }
    // Measured 1 s in a debug build; quadratic reading takes minutes.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn text_is_cut_between_characters_and_marked() {
    let limits = ParseLimits {
        text_bytes: 101,
        ..ParseLimits::default()
    };
    let message = parse(
        format!("Subject: x\r\n\r\n{}", "ü".repeat(100)).as_bytes(),
        &limits,
    );
    assert_eq!(message.text.plain.as_ref().map(String::len), Some(100));
    assert!(message.text.truncated);
    assert_eq!(
        (message.status, warned(&message)),
        (Status::Ok, vec!["text_cut"])
    );
    let html = format!("Content-Type: text/html\r\n\r\n<p>{}", "ü".repeat(100));
    let message = parse(html.as_bytes(), &limits);
    assert_eq!(warned(&message), ["html_cut", "text_cut"]);
}

#[test]
fn a_message_above_the_budget_gives_header_and_first_text() {
    let limits = ParseLimits {
        parse_bytes: 1_000,
        ..ParseLimits::default()
    };
    let big = format!("Content-Type: application/zip\r\n\r\n{}", "z".repeat(5_000));
    let raw = multipart(
        "multipart/mixed",
        &[
            "\r\nhello",
            "Content-Type: a/b\r\n\r\nwhole",
            &big,
            "Content-Type: a/b\r\n\r\nunseen",
        ],
    );
    let message = parse(raw.as_bytes(), &limits);
    assert_eq!(
        (message.status, message.size),
        (Status::Partial, raw.len() as u64)
    );
    assert_eq!(message.text.plain.as_deref(), Some("hello"));
    assert!(!message.text.truncated);
    assert_eq!(warned(&message), ["over_parse_budget"]);
    let [small, zip] = &message.attachments[..] else {
        panic!()
    };
    assert_eq!(
        (small.size, zip.size, zip.sha256.as_ref()),
        (Some(5), None, None)
    );
    assert_eq!(
        message,
        parse_prefix(&raw.as_bytes()[..1_000], raw.len() as u64, &limits)
    );
    let text = format!("Subject: x\r\n\r\n{}", "y".repeat(5_000));
    assert!(parse(text.as_bytes(), &limits).text.truncated);
}

#[test]
fn fifty_megabytes_cost_little_more_than_their_text() {
    let raw = multipart(
        "multipart/mixed",
        &[
            "\r\nhello",
            &format!("Content-Type: a/b\r\n\r\n{}", "z".repeat(50 << 20)),
        ],
    );
    let message = read(&raw);
    assert_eq!(
        (message.status, message.text.plain.as_deref()),
        (Status::Partial, Some("hello"))
    );
    assert_eq!(message.size, raw.len() as u64);
}

#[test]
fn salvage_has_ids_subject_and_sender() {
    let raw = b"Message-ID: <1@b>\r\nFrom: A <a@b.example>\r\nSubject: =?utf-8?Q?x?=\r\n y\r\nX: \0\r\n\r\nbody";
    let message = salvage(raw, 70, &ParseLimits::default());
    assert_eq!((message.status, message.size), (Status::Failed, 70));
    assert_eq!(message.message_id.as_deref(), Some("1@b"));
    assert_eq!(message.thread_key.as_deref(), Some("1@b"));
    assert_eq!(message.subject.as_deref(), Some("=?utf-8?Q?x?= y"));
    assert_eq!(message.from, [who("", "a@b.example")]);
    assert_eq!(message.headers.len(), 4);
    assert_eq!(warned(&message), ["unparseable", "nul_replaced"]);
}

#[test]
fn warnings_have_stable_codes() {
    assert!(Warning::ALL.len() <= 32);
    let mut codes: Vec<_> = Warning::ALL
        .iter()
        .map(|warning| warning.as_str())
        .collect();
    assert!(codes.iter().all(|code| {
        code.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }));
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Warning::ALL.len());
}
