use std::collections::BTreeSet;

use postrider_core::message::{
    Address, Attachment, AuthResult, Authentication, Auto, Bounce, ParseLimits, PlainSource,
    Recipient, Text, parse,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), "a\"b".to_owned())])
}

fn context<'a>(labels: &'a BTreeMap<String, String>, flags: &'a [String]) -> MessageContext<'a> {
    MessageContext {
        mailbox: MailboxRef {
            id: "support",
            address: "support@contoso.example",
            labels,
        },
        folder: "INBOX",
        uid: Uid::new(4711).unwrap(),
        uid_validity: UidValidity(1_714_060_800),
        internal_date: Some(Wall(1_714_060_800_000)),
        size: 5_120,
        flags,
        server_folder: "INBOX",
        gmail: None,
        fingerprint: Fingerprint([7; 32]),
        trusted_authserv_id: Some("mx.example"),
    }
}

fn data_of(message: &Message, max_bytes: usize) -> (Bytes, Value) {
    let data = message_data(&context(&labels(), &[]), message, max_bytes);
    let value = serde_json::from_slice(&data.json).unwrap();
    (data.json, value)
}

fn attempt(data: &[u8]) -> RenderInput<'_> {
    RenderInput {
        id: Uuid::nil(),
        event_type: EventType::MessageReceived,
        instance: "prod",
        mailbox: Some("support"),
        subject: "INBOX/1714060800/4711",
        time: Wall(1_714_060_800_000),
        stored_at: Wall(1_714_060_801_000),
        data,
        sequence: 42,
        attempt: 2,
        first_attempt_at: Some(Wall(1_714_060_802_000)),
        replay: None,
        stepped_aside: false,
        when_failed: false,
        test: false,
    }
}

fn rendered(input: &RenderInput<'_>) -> Value {
    serde_json::from_slice(&render(input)).unwrap()
}

/// Every path of keys in a value, with lists as their first item.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    if let Value::Object(map) = value {
        for (key, value) in map {
            let path = format!("{at}.{key}");
            keys(value, &path, found);
            found.insert(path);
        }
    } else if let Value::Array(list) = value
        && let Some(first) = list.first()
    {
        keys(first, at, found);
    }
}

const KEYS: &str = "specversion id source type subject time timestamp dataschema partitionkey sequence data \
    data.mailbox data.mailbox.id data.mailbox.address data.mailbox.labels data.folder \
    data.imap data.imap.uid data.imap.uidvalidity data.imap.internal_date data.imap.size data.imap.flags data.imap.folder data.imap.gmail \
    data.message data.message.message_id data.message.in_reply_to data.message.references data.message.thread_key \
    data.message.subject data.message.date data.message.date_raw data.message.fingerprint \
    data.from data.sender data.to data.cc data.reply_to data.delivered_to \
    data.text data.text.plain data.text.plain_source data.text.html data.text.truncated data.text.omitted_reason data.attachments \
    data.auto data.auto.auto_submitted data.auto.is_bounce data.auto.list_id data.auto.precedence data.auto.is_list \
    data.auto.out_of_office data.auto.is_calendar data.auto.calendar_method data.auto.bounce data.authentication data.headers \
    data.parse data.parse.status data.parse.warnings data.raw \
    data.delivery data.delivery.attempt data.delivery.first_attempt_at data.delivery.replay data.delivery.stepped_aside \
    data.delivery.when_failed data.test";
const ITEM_KEYS: &str = "data.from.name data.from.address data.to.name data.to.address data.mailbox.labels.team \
    data.attachments.index data.attachments.filename data.attachments.content_type data.attachments.size \
    data.attachments.sha256 data.attachments.disposition data.attachments.content_id data.attachments.included \
    data.attachments.omitted_reason data.attachments.content data.attachments.href \
    data.authentication.authserv_id data.authentication.spf data.authentication.dkim data.authentication.dmarc \
    data.authentication.arc data.authentication.results data.authentication.results.method data.authentication.results.result \
    data.authentication.results.properties data.authentication.results.properties.smtp.mailfrom";
const BOUNCE_KEYS: &str = "data.auto.bounce.original_message_id data.auto.bounce.recipients data.auto.bounce.recipients.address \
    data.auto.bounce.recipients.action data.auto.bounce.recipients.status data.auto.bounce.recipients.diagnostic";

fn paths(lists: &[&str]) -> BTreeSet<String> {
    lists
        .iter()
        .flat_map(|list| list.split_whitespace())
        .map(|key| format!(".{key}"))
        .collect()
}

#[test]
fn every_key_is_always_there() {
    let mut found = BTreeSet::new();
    keys(&serde_json::from_str(&sample()).unwrap(), "", &mut found);
    assert_eq!(found, paths(&[KEYS, ITEM_KEYS]));

    let (data, _) = data_of(&Message::default(), 64 << 10);
    let mut found = BTreeSet::new();
    keys(&rendered(&attempt(&data)), "", &mut found);
    assert_eq!(found, paths(&[KEYS, "data.mailbox.labels.team"]));

    let bounce = Message {
        auto: Auto {
            bounce: Some(Bounce {
                original_message_id: None,
                recipients: vec![Recipient::default()],
            }),
            ..Auto::default()
        },
        ..Message::default()
    };
    let (data, _) = data_of(&bounce, 64 << 10);
    let mut found = BTreeSet::new();
    keys(&rendered(&attempt(&data)), "", &mut found);
    assert_eq!(
        found,
        paths(&[KEYS, BOUNCE_KEYS, "data.mailbox.labels.team"])
    );
}

fn authentication(headers: &str, trusted: Option<&str>) -> Value {
    let raw = format!("Subject: a\r\n{headers}\r\n\r\nb");
    let message = parse(raw.as_bytes(), &ParseLimits::default());
    let labels = labels();
    let context = MessageContext {
        trusted_authserv_id: trusted,
        ..context(&labels, &[])
    };
    let data = message_data(&context, &message, 64 << 10);
    let value: Value = serde_json::from_slice(&data.json).unwrap();
    value["authentication"].clone()
}

#[test]
fn only_the_trusted_servers_word_on_the_sender_is_told() {
    let forged = "Authentication-Results: evil.example; spf=pass; dkim=pass; dmarc=pass";
    assert_eq!(authentication(forged, None), Value::Null);
    assert_eq!(authentication(forged, Some("mx.example")), Value::Null);
    assert_eq!(authentication(forged, Some("")), Value::Null);

    let both = format!(
        "Authentication-Results: MX.example; spf=fail smtp.mailfrom=a.example;\r\n dkim=fail; dkim=pass header.d=a.example\r\n{forged}\r\n\
         Authentication-Results: mx.example; spf=pass; arc=none"
    );
    assert_eq!(
        authentication(&both, Some("mx.example")),
        json!({"authserv_id": "MX.example", "spf": "fail", "dkim": "pass", "dmarc": null, "arc": "none", "results": [
            {"method": "spf", "result": "fail", "properties": {"smtp.mailfrom": "a.example"}},
            {"method": "dkim", "result": "fail", "properties": {}},
            {"method": "dkim", "result": "pass", "properties": {"header.d": "a.example"}},
            {"method": "spf", "result": "pass", "properties": {}},
            {"method": "arc", "result": "none", "properties": {}},
        ]})
    );

    // A server that does not remove what is written in its name: the upper word counts.
    let below = "Authentication-Results: mx.example; dkim=fail\r\nAuthentication-Results: mx.example; dkim=pass; spf=pass";
    assert_eq!(authentication(below, Some("mx.example"))["dkim"], "fail");

    // Exchange Online tells no id; only the uppermost field can be its own.
    let exchange = "Authentication-Results: spf=pass; dmarc=fail";
    assert_eq!(authentication(exchange, Some("mx.example")), Value::Null);
    assert_eq!(authentication(exchange, Some(""))["dmarc"], "fail");
    let below = format!("{forged}\r\n{exchange}");
    assert_eq!(authentication(&below, Some("")), Value::Null);
}

#[test]
fn the_sample_in_the_documents_is_what_the_code_makes() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/samples/message.received.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, sample()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == sample(),
        "docs/samples/message.received.json differs; hint: run the test with UPDATE=1"
    );
}

#[test]
fn the_envelope_is_a_cloudevent() {
    let body = rendered(&attempt(b"{\"folder\":\"INBOX\"}"));
    assert_eq!(
        body,
        json!({
            "specversion": "1.0", "id": "00000000-0000-0000-0000-000000000000", "source": "urn:postrider:prod:support",
            "type": "message.received", "subject": "INBOX/1714060800/4711",
            "time": "2024-04-25T16:00:00.000Z", "timestamp": "2024-04-25T16:00:01.000Z",
            "dataschema": "urn:postrider:schema/message.received.v1.json", "partitionkey": "support",
            "sequence": "00000000000000000042",
            "data": {"folder": "INBOX", "test": false,
                     "delivery": {"attempt": 2, "first_attempt_at": "2024-04-25T16:00:02.000Z", "replay": null, "stepped_aside": false, "when_failed": false}},
        })
    );
    let empty = rendered(&RenderInput {
        mailbox: None,
        first_attempt_at: None,
        ..attempt(b" {} ")
    });
    assert_eq!(empty["source"], "urn:postrider:prod");
    assert_eq!(empty["partitionkey"], Value::Null);
    assert_eq!(
        empty["data"],
        json!({"test": false, "delivery": {"attempt": 2, "first_attempt_at": null, "replay": null, "stepped_aside": false, "when_failed": false}})
    );
}

#[test]
fn nothing_leaves_its_string() {
    let odd = "\",\"id\":\"x\u{1}\n\\";
    let body = rendered(&RenderInput {
        instance: "a:b c",
        mailbox: Some(odd),
        subject: odd,
        ..attempt(b"{}")
    });
    assert_eq!(body["id"], "00000000-0000-0000-0000-000000000000");
    assert_eq!(
        (&body["subject"], &body["partitionkey"]),
        (&json!(odd), &json!(odd))
    );
    assert_eq!(
        body["source"],
        "urn:postrider:a%3Ab%20c:%22%2C%22id%22%3A%22x%01%0A%5C"
    );

    let message = parse(
        b"Subject: \"},{\"a\":\"\r\nFrom: \"\\\"}\" <a@b>\r\nX-\"}: \\\"\r\n\r\n\"}}\x01\x02\xe2\x80\xa8</script>",
        &ParseLimits::default(),
    );
    let (_, data) = data_of(&message, 64 << 10);
    assert_eq!(data["message"]["subject"], "\"},{\"a\":\"");
    assert_eq!(data["text"]["plain"], "\"}}\u{1}\u{2}\u{2028}</script>");
}

#[test]
fn a_replay_mark_is_json_or_becomes_a_string() {
    let mark = |replay| {
        rendered(&RenderInput {
            replay: Some(replay),
            ..attempt(b"{}")
        })["data"]["delivery"]["replay"]
            .clone()
    };
    assert_eq!(
        mark(r#"{"at":"2024-04-25T16:00:00Z"}"#),
        json!({"at": "2024-04-25T16:00:00Z"})
    );
    assert_eq!(mark(r#"1},"evil":{"#), json!(r#"1},"evil":{"#));
}

#[test]
fn system_events_have_their_keys() {
    let labels = labels();
    let mailbox = MailboxRef {
        id: "support",
        address: "a@b.example",
        labels: &labels,
    };
    let facts = SystemFacts {
        mailbox: Some(mailbox),
        scope: "INBOX",
        reason: "uid_validity_changed",
        detail: "the folder was numbered anew",
        hint: Some("postrider mailboxes release support --send"),
        since: Wall(1_714_060_800_000),
        diagnosis: None,
    };
    let value: Value = serde_json::from_slice(&system_data(&facts)).unwrap();
    assert_eq!(
        value,
        json!({
            "mailbox": {"id": "support", "address": "a@b.example", "labels": {"team": "a\"b"}},
            "scope": "INBOX", "reason": "uid_validity_changed", "detail": "the folder was numbered anew",
            "hint": "postrider mailboxes release support --send", "since": "2024-04-25T16:00:00.000Z",
        })
    );
    let long = "ü".repeat(5_000);
    let bare = SystemFacts {
        mailbox: None,
        hint: None,
        detail: &long,
        ..facts
    };
    let value: Value = serde_json::from_slice(&system_data(&bare)).unwrap();
    assert_eq!(
        (&value["mailbox"], &value["hint"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(value["detail"].as_str().unwrap().len(), 2_048);
}

/// A message with as many bytes in each place.
fn big(headers: usize, html: usize, plain: usize) -> Message {
    Message {
        headers: (0..headers / 100)
            .map(|n| (format!("X-{n}"), "h".repeat(90)))
            .collect(),
        text: Text {
            plain: Some("p".repeat(plain)),
            plain_source: Some(PlainSource::Part),
            html: Some("h".repeat(html)),
            truncated: false,
        },
        ..Message::default()
    }
}

fn lengths(data: &Value) -> (usize, usize, usize) {
    let text = |key: &str| data["text"][key].as_str().unwrap().len();
    (
        data["headers"].as_array().unwrap().len(),
        text("html"),
        text("plain"),
    )
}

#[test]
fn headers_go_first_then_html_then_plain() {
    let (json, data) = data_of(&big(10_000, 10_000, 10_000), 64 << 10);
    assert!(json.len() < 40_000);
    assert_eq!(
        (lengths(&data), &data["parse"]["warnings"]),
        ((100, 10_000, 10_000), &json!([]))
    );

    let (_, data) = data_of(&big(30_000, 20_000, 20_000), 64 << 10);
    let (headers, html, plain) = lengths(&data);
    assert!(headers > 100 && headers < 300);
    assert_eq!((html, plain), (20_000, 20_000));
    assert_eq!(
        (&data["parse"]["warnings"], &data["text"]["truncated"]),
        (&json!(["headers_cut"]), &json!(false))
    );

    let (_, data) = data_of(&big(30_000, 60_000, 20_000), 64 << 10);
    let (headers, html, plain) = lengths(&data);
    assert!(headers == 0 && html > 30_000 && html < 60_000 && plain == 20_000);
    assert_eq!(
        (&data["parse"]["warnings"], &data["text"]["truncated"]),
        (&json!(["headers_cut", "html_cut"]), &json!(true))
    );

    let (json, data) = data_of(&big(30_000, 60_000, 200_000), 64 << 10);
    let (headers, html, plain) = lengths(&data);
    assert!(headers == 0 && html == 0 && plain > 60_000);
    assert_eq!(
        data["parse"]["warnings"],
        json!(["headers_cut", "html_cut", "text_cut"])
    );
    assert!(json.len() > (60 << 10), "the room that there is is used");
}

fn crowded_auto() -> Auto {
    Auto {
        list_id: Some("\"".repeat(512)),
        bounce: Some(Bounce {
            original_message_id: Some("\"".repeat(998)),
            recipients: vec![
                Recipient {
                    address: Some("\"".repeat(320)),
                    diagnostic: Some("\"".repeat(512)),
                    ..Recipient::default()
                };
                20
            ],
        }),
        ..Auto::default()
    }
}

fn crowded_authentication() -> Vec<Authentication> {
    vec![
        Authentication {
            authserv_id: "mx.example".to_owned(),
            results: vec![
                AuthResult {
                    method: "dkim".to_owned(),
                    result: "r".repeat(255),
                    properties: vec![("\"".repeat(255), "\"".repeat(255)); 10],
                };
                21
            ],
        };
        20
    ]
}

#[test]
fn what_is_full_of_recipients_and_files_fits_too() {
    let who = Address {
        name: Some("\\".repeat(500)),
        address: Some("a@b.example".to_owned()),
    };
    let file = Attachment {
        index: 0,
        filename: Some("\"".repeat(255)),
        content_type: "a/b".to_owned(),
        size: None,
        sha256: None,
        disposition: None,
        content_id: Some("c".repeat(255)),
    };
    let long = || Some("\"".repeat(998));
    let message = Message {
        message_id: long(),
        in_reply_to: long(),
        thread_key: long(),
        references: vec!["r".repeat(998); 100],
        subject: Some("\"".repeat(2_048)),
        date_raw: Some("d".repeat(128)),
        from: vec![who.clone(); 500],
        sender: Some(who.clone()),
        to: vec![who.clone(); 500],
        cc: vec![who.clone(); 500],
        reply_to: vec![who; 500],
        delivered_to: vec!["d".repeat(320); 50],
        attachments: vec![file; 200],
        auto: crowded_auto(),
        authentication: crowded_authentication(),
        ..big(50_000, 50_000, 50_000)
    };
    for max in [BODY_BYTES_MIN, 16 << 10, 64 << 10, 1 << 20] {
        let flags = vec!["\\Flag".to_owned(); 5_000];
        let data = message_data(&context(&labels(), &flags), &message, max);
        let body = render(&attempt(&data.json));
        assert!(body.len() <= max, "{max}: {}", body.len());
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert!(value["data"]["from"][0]["address"] == "a@b.example");
        let warnings = value["data"]["parse"]["warnings"].as_array().unwrap();
        assert!(
            warnings.contains(&json!("attachments_cut"))
                || value["data"]["attachments"].as_array().unwrap().len() == 200
        );
    }
}

#[test]
fn lengths_are_those_that_serde_json_writes() {
    let all: String = (0..0x300u32)
        .filter_map(char::from_u32)
        .chain("ü\u{2028}😀".chars())
        .collect();
    assert_eq!(
        fit::escaped_len(&all) + 2,
        serde_json::to_string(&all).unwrap().len()
    );
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", "[\"\\\\\u{1}\r\n]{0,3000}", "[a-zü😀]{0,30000}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_body_keeps_within_its_size_and_is_valid(
        subject in proptest::option::of(text()),
        plain in text(), html in text(),
        headers in proptest::collection::vec((".{0,20}", text()), 0..8),
        names in proptest::collection::vec(text(), 0..4),
        max in BODY_BYTES_MIN..100_000,
    ) {
        let raw_cut = |text: &String, max: usize| fit::clip(text, max).to_owned();
        let message = Message {
            subject: subject.map(|text| raw_cut(&text, 2_048)),
            to: names.iter().map(|name| Address { name: Some(raw_cut(name, 512)), address: None }).collect(),
            text: Text { plain: Some(plain), plain_source: Some(PlainSource::Part), html: Some(html), truncated: false },
            headers,
            ..Message::default()
        };
        let labels = labels();
        let data = message_data(&context(&labels, &[]), &message, max);
        prop_assert_eq!(&data, &message_data(&context(&labels, &[]), &message, max));
        let body = render(&RenderInput { sequence: i64::MAX, attempt: u32::MAX, ..attempt(&data.json) });
        prop_assert!(body.len() <= max);
        let value: Value = serde_json::from_slice(&body).unwrap();
        let plain = value["data"]["text"]["plain"].as_str().unwrap();
        prop_assert!(message.text.plain.as_ref().unwrap().starts_with(plain));
        let cut = plain.len() < message.text.plain.as_ref().unwrap().len();
        let warnings = value["data"]["parse"]["warnings"].to_string();
        prop_assert_eq!(cut, warnings.contains("text_cut"));
    }
}

#[test]
fn gmails_ids_are_text_and_a_role_keeps_its_folders_name() {
    let labels = labels();
    let context = MessageContext {
        folder: "\\Junk",
        server_folder: "[Gmail]/Spam",
        gmail: Some(GmailIds {
            message_id: u64::MAX,
            thread_id: 1,
        }),
        ..context(&labels, &[])
    };
    let message = parse(b"Subject: a\r\n\r\nb", &ParseLimits::default());
    let data = message_data(&context, &message, 64 << 10);
    let value: Value = serde_json::from_slice(&data.json).unwrap();
    assert_eq!(value["folder"], "\\Junk");
    assert_eq!(value["imap"]["folder"], "[Gmail]/Spam");
    assert_eq!(
        value["imap"]["gmail"],
        json!({"message_id": "18446744073709551615", "thread_id": "1"})
    );
}
