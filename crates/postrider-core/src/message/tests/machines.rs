//! Mail that machines write: bounces, absence answers, invitations, lists; and what servers say of
//! the sender.

use super::*;

fn report(status: &str, returned: &str) -> Message {
    read(multipart(
        "multipart/report; report-type=delivery-status",
        &[
            "Content-Type: text/plain\r\n\r\nIt could not be delivered.",
            &format!("Content-Type: message/delivery-status\r\n\r\n{status}"),
            returned,
        ],
    ))
}

#[test]
fn a_bounce_tells_which_message_to_whom_and_why() {
    let message = report(
        "Reporting-MTA: dns; mx.example.net\r\nArrival-Date: Thu, 25 Apr 2024 18:00:00 +0200\r\n\r\n\
         Original-Recipient: rfc822;kim@example.org\r\nFinal-Recipient: RFC822; k.lee@example.net\r\n\
         Action: Failed\r\nStatus: 5.1.1 (bad destination)\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 <k.lee@example.net>:\r\n no such user\r\n\r\n\
         Final-Recipient: rfc822; <max@example.net>\r\nAction: delayed\r\nStatus: 4.4.1\r\n",
        "Content-Type: message/rfc822\r\n\r\nMessage-ID: <first@contoso.example>\r\nSubject: Hello\r\n\r\ntext",
    );
    let bounce = message.auto.bounce.unwrap();
    assert_eq!(
        bounce.original_message_id.as_deref(),
        Some("first@contoso.example")
    );
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        bounce.recipients,
        [
            Recipient {
                address: some("kim@example.org"),
                action: some("failed"),
                status: some("5.1.1"),
                diagnostic: some("550 5.1.1 <k.lee@example.net>: no such user"),
            },
            Recipient {
                address: some("max@example.net"),
                action: some("delayed"),
                status: some("4.4.1"),
                diagnostic: None,
            },
        ]
    );
    assert!(message.auto.is_bounce && !message.auto.out_of_office);
}

/// Postfix marks its reports as auto-replied (RFC 3834 section 5 allows it), Exim writes no report.
#[test]
fn bounces_of_other_servers_are_bounces_and_no_absence_answers() {
    let headers_only = report(
        "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: x",
        "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\nMessage-ID:\r\n <second@contoso.example>",
    );
    let bounce = headers_only.auto.bounce.unwrap();
    assert_eq!(
        bounce.original_message_id.as_deref(),
        Some("second@contoso.example")
    );
    assert_eq!(bounce.recipients[0].status, None);

    let exim = read(
        "From: Mail Delivery System <Mailer-Daemon@mx.example>\r\nAuto-Submitted: auto-replied\r\n\
         X-Failed-Recipients: a@b.example,\r\n c@d.example\r\n\r\ntext",
    );
    assert!(!exim.auto.out_of_office);
    let bounce = exim.auto.bounce.unwrap();
    let addresses: Vec<_> = bounce
        .recipients
        .iter()
        .filter_map(|one| one.address.as_deref())
        .collect();
    assert_eq!(addresses, ["a@b.example", "c@d.example"]);
    assert_eq!(bounce.original_message_id, None);
}

/// Gateways that add a footer put the report into a multipart of their own; the original is often
/// without a Message-ID.
#[test]
fn a_wrapped_report_is_a_bounce_where_the_mail_system_sent_it() {
    let wrapped = |header: &str| {
        read(format!(
            "{header}\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=i\r\n\r\n\
             --i\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n\
             Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.7.1\r\n\r\n\
             --i\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nbody\r\n--i--\r\n\
             --o\r\nContent-Type: text/plain\r\n\r\nScanned.\r\n--o--\r\n"
        ))
        .auto
    };
    let bounce = wrapped("From: postmaster@mx.example").bounce.unwrap();
    assert_eq!(bounce.recipients[0].status.as_deref(), Some("5.7.1"));
    assert_eq!(bounce.original_message_id, None);
    assert!(wrapped("Return-Path: <>\r\nFrom: x@y.example").is_bounce);
    assert!(
        !wrapped("From: kim@example.org").is_bounce,
        "somebody who asks about one"
    );
}

#[test]
fn a_hostile_report_stays_small() {
    let many: String = (0..5000)
        .map(|n| {
            format!(
                "Final-Recipient: rfc822; {n}@x\r\nDiagnostic-Code: smtp; {}\r\n\r\n",
                "x".repeat(2000)
            )
        })
        .collect();
    let message = report(
        &many,
        "Content-Type: message/rfc822\r\n\r\nMessage-ID: <\r\n\r\n",
    );
    let bounce = message.auto.bounce.unwrap();
    assert_eq!(bounce.recipients.len(), report::RECIPIENTS_MAX);
    let longest = |one: &Recipient| one.diagnostic.as_deref().map_or(0, str::len);
    assert!(bounce.recipients.iter().all(|one| longest(one) <= 512));
    assert_eq!(bounce.original_message_id, None);
    let empty = report("", "").auto;
    assert_eq!(empty.bounce, Some(Bounce::default()));
}

#[test]
fn absence_answers_are_known_by_headers_and_never_by_a_subject() {
    let auto = |header: &str| read(format!("From: a@b.example\r\n{header}\r\n\r\nx")).auto;
    for (header, out) in [
        ("Auto-Submitted: auto-replied (vacation)", true),
        ("X-Autoreply: yes", true),
        ("X-Autoreply: no", false),
        ("X-Autorespond: Re: hello", true),
        ("Precedence: auto_reply", true),
        ("Auto-Submitted: auto-generated", false),
        ("Auto-Submitted: no", false),
        ("Auto-Submitted: (by (no means", false),
        ("Auto-Submitted: (a comment) Auto-Replied; owner=x", true),
        (
            "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n\
             X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent",
            true,
        ),
        (
            "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n\
             X-MS-Exchange-Generated-Message-Source: Journal Agent",
            false,
        ),
        ("X-Auto-Response-Suppress: DR, OOF, AutoReply", false),
        ("Subject: Out of office: back on Monday", false),
        ("Subject: Automatic reply: x", false),
    ] {
        assert_eq!(auto(header).out_of_office, out, "{header}");
    }
    let receipt = read(multipart(
        "multipart/report; report-type=disposition-notification",
        &["Content-Type: text/plain\r\n\r\nread"],
    ));
    assert!(!receipt.auto.out_of_office && !receipt.auto.is_bounce);
}

#[test]
fn lists_are_known_by_any_of_their_fields() {
    let auto = |header: &str| read(format!("From: a@b.example\r\n{header}\r\n\r\nx")).auto;
    assert!(auto("List-Id: <l.example>").is_list);
    assert!(auto("List-Unsubscribe: <mailto:x@y.example>").is_list);
    assert!(auto("LIST-Owner: <mailto:x@y.example>").is_list);
    assert!(auto("List-Archive: <https://y.example>").is_list);
    assert!(!auto("Listen: x").is_list);
    assert!(auto("Precedence: List").is_list);
    assert!(!auto("Precedence: bulk").is_list);
}

#[test]
fn an_invitation_tells_its_method() {
    let with = |part: &str| read(multipart("multipart/alternative", &[part])).auto;
    let request =
        with("Content-Type: text/calendar; charset=utf-8; method=request\r\n\r\nBEGIN:VCALENDAR");
    assert!(request.is_calendar);
    assert_eq!(request.calendar_method.as_deref(), Some("REQUEST"));
    let inside = with(
        "Content-Type: text/calendar\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         QkVHSU46VkNBTEVOREFSDQpNRVRIT0Q6UkVQTFkNCkVORDpWQ0FMRU5EQVINCg==",
    );
    assert_eq!(inside.calendar_method.as_deref(), Some("REPLY"));
    let small = with("Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nmethod:cancel\r\n");
    assert_eq!(small.calendar_method.as_deref(), Some("CANCEL"));
    let none = with("Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR");
    assert!(none.is_calendar && none.calendar_method.is_none());
    assert!(
        !read("From: a@b.example\r\n\r\nMETHOD:REQUEST")
            .auto
            .is_calendar
    );
}

fn results(header: &str) -> Vec<(String, Vec<String>)> {
    let raw = format!("From: a@b.example\r\n{header}\r\n\r\nx");
    let told = |one: &AuthResult| {
        let properties: Vec<_> = one
            .properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{}={} {}", one.method, one.result, properties.join(" "))
            .trim()
            .to_owned()
    };
    read(raw)
        .authentication
        .iter()
        .map(|one| {
            let results = one.results.iter().map(told).collect();
            (one.authserv_id.clone(), results)
        })
        .collect()
}

fn one(id: &str, results: &[&str]) -> (String, Vec<String>) {
    let results = results.iter().map(|text| (*text).to_owned()).collect();
    (id.to_owned(), results)
}

/// The examples of RFC 8601 appendix B, and what servers really write.
#[test]
fn authentication_results_are_read_as_servers_write_them() {
    for (header, expected) in [
        (
            "Authentication-Results: example.org 1; none",
            vec![one("example.org", &[])],
        ),
        (
            "Authentication-Results: mx.google.com;\r\n       dkim=pass header.i=@b.example header.s=s1 header.b=\"a/b=\";\r\n       \
             spf=pass (google.com: domain of a@b.example designates 192.0.2.1 as permitted sender) smtp.mailfrom=a@b.example;\r\n       \
             dmarc=pass (p=NONE sp=NONE; dis=NONE) header.from=b.example",
            vec![one(
                "mx.google.com",
                &[
                    "dkim=pass header.i=@b.example header.s=s1 header.b=a/b=",
                    "spf=pass smtp.mailfrom=a@b.example",
                    "dmarc=pass header.from=b.example",
                ],
            )],
        ),
        (
            // Exchange Online leaves its id out.
            "Authentication-Results: spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=b.example; dkim=none (message not signed)\r\n \
             header.d=none;dmarc=bestguesspass action=none\r\n header.from=b.example;compauth=pass reason=109",
            vec![one(
                "",
                &[
                    "spf=pass smtp.mailfrom=b.example",
                    "dkim=none header.d=none",
                    "dmarc=bestguesspass action=none header.from=b.example",
                    "compauth=pass reason=109",
                ],
            )],
        ),
        (
            "Authentication-Results: a.example; dkim/1 = fail reason=\"bad \\\"key\\\"; sorry\" header.d = b.example\r\n\
             Authentication-Results: b.example; spf=softfail",
            vec![
                one(
                    "a.example",
                    &["dkim=fail reason=bad \"key\"; sorry header.d=b.example"],
                ),
                one("b.example", &["spf=softfail"]),
            ],
        ),
        ("Authentication-Results: (comment; only", vec![]),
        (
            "Authentication-Results: x; =;=pass; spf=;;",
            vec![one("x", &[])],
        ),
    ] {
        assert_eq!(results(header), expected, "{header}");
    }
    let long = format!(
        "Authentication-Results: x{}",
        "; dkim=pass header.d=y".repeat(3000)
    );
    assert!(results(&long)[0].1.len() <= 21);
    let many = "Authentication-Results: x; spf=pass\r\n".repeat(500);
    assert_eq!(results(many.trim_end()).len(), 20);
}
