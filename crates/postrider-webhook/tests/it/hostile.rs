//! Nothing that a sender wrote leaves its place: not in a header, a URL, a JSON string, a form field or
//! a file's name, in any format.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;
use postrider_core::{event::EventType, message};
use postrider_webhook::{
    body::{Body, RawMessage},
    format::{
        Answer, Format, Rendered, Source,
        contents::Contents,
        event::{Attachments, Event, Texts},
        postmark::Postmark,
        raw::{Profile, Raw},
        template::{Part, PartContent, Step, StepBody, Template, Times},
    },
    link::{Keys, Linker},
};
use proptest::prelude::*;
use reqwest::{Method, header::CONTENT_TYPE};
use secrecy::SecretString;
use url::Url;

use crate::{inside::stored, products::source};

const BASE: &str = "https://desk.example.org/desk/";

/// What leaves its place where somebody forgot to escape it.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\r\nX-Injected: yes".to_owned()),
        Just("\n\nX-Injected: yes".to_owned()),
        Just("\"; filename=\"evil".to_owned()),
        Just("\r\n--postrider-".to_owned()),
        Just("../../etc/passwd".to_owned()),
        Just("/../admin?x=1#y".to_owned()),
        Just("@evil.example/".to_owned()),
        Just("//evil.example/".to_owned()),
        Just("{{ config }}{% raw %}".to_owned()),
        Just("\",\"admin\":true,\"x\":\"".to_owned()),
        Just("\\\"</script><script>".to_owned()),
        Just("&admin=1;%0d%0aX: y".to_owned()),
        Just("\0\u{1b}[31m\u{202e}\u{2028}\u{feff}".to_owned()),
        Just("%00%2e%2e%2f".to_owned()),
        "[a-z ]{0,8}",
        "\\PC{0,12}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..5).prop_map(|pieces| pieces.concat())
}

/// In an encoded word, every character arrives.
fn word(text: &str) -> String {
    format!("=?utf-8?B?{}?=", STANDARD.encode(text))
}

fn mail(subject: &str, name: &str, file: &str, plain: &str) -> Vec<u8> {
    // Raw as well: what the parser lets through counts, not what a polite mailer writes.
    let bare: String = name.chars().filter(|c| !"\r\n\0".contains(*c)).collect();
    format!(
        "Message-ID: <{bare}>\r\nFrom: {} <kim@example.org>\r\nReply-To: {bare}\r\nTo: a@example.org\r\n\
         Subject: {}\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--out\r\n\
         Content-Type: {bare}; name=\"{}\"\r\nContent-Disposition: attachment; filename=\"{}\"\r\n\
         Content-ID: <{bare}>\r\n\r\nx\r\n--out--\r\n",
        word(name),
        word(subject),
        STANDARD.encode(plain),
        word(file),
        word(file),
    )
    .into_bytes()
}

fn step(name: &str, body: StepBody) -> Step {
    Step {
        name: name.to_owned(),
        when: None,
        times: Times::Once,
        method: Method::POST,
        url: "tickets/{{ data.message.subject }}/x?about={{ data.from[0].name }}".to_owned(),
        headers: vec![(
            "x-subject".parse().unwrap(),
            "{{ data.message.subject }}".to_owned(),
        )],
        body,
    }
}

fn template() -> Template {
    let part = |name: &str, content| Part {
        name: name.to_owned(),
        content,
        filename: None,
    };
    let field = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let json =
        r#"{"subject": {{ data.message.subject }}, "text": {{ data.text.plain }}, "known": 1}"#;
    let fields = vec![
        field("subject", "{{ data.message.subject }}"),
        field("text", "{{ data.text.plain }}"),
    ];
    let mut renamed = part("renamed", PartContent::Attachments);
    renamed.filename = Some("{{ data.message.subject }}".to_owned());
    let parts = vec![
        part(
            "text",
            PartContent::Text("{{ data.text.plain }}".to_owned()),
        ),
        part("files", PartContent::Attachments),
        renamed,
    ];
    let steps = [
        step("json", StepBody::Json(json.to_owned())),
        step("form", StepBody::Form(fields)),
        step("parts", StepBody::Parts(parts)),
    ];
    Template::compile(&Url::parse(BASE).unwrap(), &steps, 1 << 20).unwrap()
}

fn formats() -> Vec<Format> {
    let url = Url::parse(BASE).unwrap();
    let secret = SecretString::from("c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=");
    let linker = Linker {
        keys: Keys::new([&secret]).unwrap(),
        public_url: url.clone(),
        life: std::time::Duration::from_secs(60),
    };
    let event = |attachments, linker| {
        Format::Event(Event {
            url: url.clone(),
            texts: Texts::Full,
            attachments,
            linker,
        })
    };
    let inline = Attachments::Inline { bytes_max: 1 << 20 };
    let mut formats = vec![
        event(inline, None),
        event(Attachments::Link, Some(linker)),
        Format::Postmark(Postmark {
            url: url.clone(),
            attachments_max: 1 << 20,
        }),
        Format::Template(template()),
    ];
    let profiles = [
        Profile::Osticket,
        Profile::Rt {
            queue: Some("General".to_owned()),
            action: "correspond".to_owned(),
        },
        Profile::Redmine {
            project: Some("p".to_owned()),
            fields: BTreeMap::new(),
        },
        Profile::ActionMailbox {
            user: "actionmailbox".to_owned(),
        },
        Profile::Gitlab {
            mailbox_type: "incoming_email".to_owned(),
        },
        Profile::Discourse {
            user: "system".to_owned(),
        },
        Profile::Odoo {
            database: "db".to_owned(),
            user: 2,
            model: None,
        },
    ];
    for profile in profiles {
        formats.push(Format::Raw(Raw::new(profile, &url, Some(&secret)).unwrap()));
    }
    formats
}

async fn bytes(body: &Body) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunks = std::pin::pin!(body.chunks());
    while let Some(chunk) = chunks.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(body.len(), all.len() as u64);
    all
}

/// Every request that comes of it; a template that refuses such a text sends nothing, which is fine.
fn requests(format: &Format, source: &Source<'_>) -> Vec<Rendered> {
    let mut requests = Vec::new();
    let mut answers = Vec::new();
    while let Ok(Some(request)) = format.request(source, &answers) {
        requests.push(request);
        answers.push(Answer {
            status: 200,
            body: bytes::Bytes::from_static(b"{}"),
            whole: true,
        });
    }
    requests
}

fn check_url(request: &Rendered) {
    let url = &request.url;
    assert_eq!(url.scheme(), "https", "{url}");
    assert_eq!(url.host_str(), Some("desk.example.org"), "{url}");
    assert!(url.username().is_empty() && url.port().is_none(), "{url}");
    assert!(url.path().starts_with("/desk/"), "{url}");
    assert_eq!(url.fragment(), None, "{url}");
    if url.path().starts_with("/desk/tickets/") {
        let segments: Vec<&str> = url.path_segments().unwrap().collect();
        assert_eq!((segments.len(), segments[3]), (4, "x"), "{url}");
        assert_eq!(url.query_pairs().count(), 1, "{url}");
    }
}

fn check_headers(request: &Rendered) {
    let known = [
        "content-type",
        "idempotency-key",
        "x-subject",
        "x-api-key",
        "api-key",
        "api-username",
        "authorization",
        "gitlab-mailroom-api-request",
        "gitlab-mailroom-api-token",
    ];
    for (name, value) in &request.headers {
        let name = name.as_str();
        assert!(
            known.contains(&name) || name.starts_with("x-redmine"),
            "{name}"
        );
        let value = value.as_bytes();
        assert!(
            !value.iter().any(|byte| *byte < 0x20 || *byte == 0x7f),
            "{name}"
        );
    }
}

async fn check_body(request: &Rendered, subject: Option<&str>) {
    let body = bytes(&request.body).await;
    let kind = request.headers.get(CONTENT_TYPE);
    let kind = kind.map_or("", |kind| kind.to_str().unwrap());
    if kind.starts_with("application/json") {
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json.get("admin"), None);
        if json.get("known").is_some() {
            assert_eq!(json.as_object().unwrap().len(), 3, "{json}");
            assert_eq!(json["subject"].as_str(), subject);
        }
    } else if kind.starts_with("application/x-www-form-urlencoded") && body.starts_with(b"subject=")
    {
        let pairs = url::form_urlencoded::parse(&body);
        let names: Vec<String> = pairs.map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["subject", "text"]);
    } else if let Some((_, boundary)) = kind.split_once("boundary=") {
        check_parts(&String::from_utf8_lossy(&body), boundary);
    }
}

/// The parts are ours: no header of theirs, and no part, comes from a sender.
fn check_parts(body: &str, boundary: &str) {
    let delimiter = format!("--{boundary}");
    let mut parts: Vec<&str> = body.split(&delimiter).collect();
    assert_eq!(parts.pop(), Some("--\r\n"));
    assert_eq!(parts.remove(0), "");
    for part in parts {
        let (head, _) = part
            .trim_start_matches("\r\n")
            .split_once("\r\n\r\n")
            .unwrap();
        for line in head.split("\r\n") {
            let ours = line.starts_with("Content-Disposition: form-data; name=\"")
                || line.starts_with("Content-Type: ");
            assert!(ours && !line.contains(['\r', '\n']), "{head:?}");
            if line.starts_with("Content-Disposition") {
                let quotes = line.matches('"').count();
                assert!(quotes == 2 || quotes == 4, "{line}");
            }
        }
    }
}

async fn check(raw: Vec<u8>) {
    let limits = message::ParseLimits::default();
    let data = stored(&raw, &limits);
    let subject = message::parse(&raw, &limits).subject;
    let kept = RawMessage::Bytes(raw.into());
    let contents = Contents::with_text(&kept).await.unwrap();
    let mut source = source(Some(&kept), EventType::MessageReceived);
    source.event.data = &data;
    source.contents = Some(&contents);
    for format in formats() {
        for request in requests(&format, &source) {
            check_url(&request);
            check_headers(&request);
            check_body(&request, subject.as_deref()).await;
        }
    }
}

fn run(raw: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(check(raw));
}

#[test]
fn a_polite_mail_makes_a_request_in_every_format() {
    let raw = mail("a subject", "kim", "a.txt", "hello");
    let data = stored(&raw, &message::ParseLimits::default());
    let kept = RawMessage::Bytes(raw.clone().into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let contents = runtime.block_on(Contents::with_text(&kept)).unwrap();
    let mut source = source(Some(&kept), EventType::MessageReceived);
    source.event.data = &data;
    source.contents = Some(&contents);
    for format in formats() {
        let expected = match &format {
            Format::Template(_) => 3,
            Format::Event(_) | Format::Postmark(_) | Format::Raw(_) => 1,
        };
        assert_eq!(requests(&format, &source).len(), expected, "{format:?}");
    }
    run(raw);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_mail_leaves_its_place(
        subject in text(),
        name in text(),
        file in text(),
        plain in text(),
    ) {
        run(mail(&subject, &name, &file, &plain));
    }

    #[test]
    fn nothing_of_any_bytes_leaves_its_place(
        subject in text(),
        mut noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut raw = format!("Subject: {}\r\n", word(&subject)).into_bytes();
        raw.append(&mut noise);
        run(raw);
    }
}
