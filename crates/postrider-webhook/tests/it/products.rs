//! Each product's profile against a receiver that behaves as the product does (`products.py`), its
//! refusals too: what arrives is the message to the byte, and each answer means what it should.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::SystemTime,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use postrider_core::{delivery::Class, event::EventType, time::Wall};
use postrider_webhook::{
    body::RawMessage,
    client::{Client, Sent},
    format::{
        Format, RenderError, Source,
        raw::{Profile, Raw},
    },
    payload::RenderInput,
};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::sending::settings;

const KEY: &str = "the key of this product";

/// A product in a process of its own.
pub(crate) struct Product {
    process: Child,
    pub(crate) base: Url,
}

impl Product {
    pub(crate) fn start(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../../.venv/bin/python");
        let mut process = Command::new(&python)
            .arg(root.join("tests/it/products.py"))
            .arg(name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} cannot be run ({error}); run scripts/install-test-tools.sh",
                    python.display()
                )
            });
        let mut port = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut port).unwrap();
        let port = port.trim();
        assert!(!port.is_empty(), "run scripts/install-test-tools.sh");
        let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        Self { process, base }
    }

    pub(crate) async fn taken(&self) -> Vec<Value> {
        let url = self.base.join("/taken").unwrap();
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // It ends when it is told to, and is not missed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the receiver compares with the real time"
)]
fn now() -> Wall {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Wall(i64::try_from(since.as_millis()).unwrap())
}

/// A message with every byte in it, longer than one piece of a body.
fn message(subject: &str) -> Vec<u8> {
    let mut raw = format!(
        "Message-ID: <{subject}@example.org>\r\nFrom: kim@example.org\r\nSubject: {subject}\r\n\r\n"
    )
    .into_bytes();
    raw.extend((0..150_000u32).map(|n| u8::try_from(n % 256).unwrap()));
    raw.extend_from_slice(b"\r\n--not-a-boundary--\r\nlast line\r\n");
    raw
}

pub(crate) fn source<'a>(raw: Option<&'a RawMessage>, kind: EventType) -> Source<'a> {
    Source {
        event: RenderInput {
            id: Uuid::from_u128(7),
            event_type: kind,
            instance: "test",
            mailbox: Some("support"),
            subject: "INBOX/1/1",
            time: Wall(0),
            stored_at: Wall(1_700_000_000_000),
            data: b"{}",
            sequence: 1,
            attempt: 1,
            first_attempt_at: None,
            replay: None,
            stepped_aside: false,
            test: false,
            when_failed: false,
        },
        raw,
        contents: None,
        now: now(),
    }
}

async fn post(base: &Url, profile: &Profile, key: &str, raw: &RawMessage) -> Sent {
    let format =
        Format::Raw(Raw::new(profile.clone(), base, Some(&SecretString::from(key))).unwrap());
    let mut settings = settings(base.as_str());
    settings.classifier = format.classifier();
    let client = Client::new(&settings).unwrap();
    let source = source(Some(raw), EventType::MessageReceived);
    let request = format.request(&source, &[]).unwrap().unwrap();
    let sent = client
        .send(None, source.event.id, source.now.seconds(), request)
        .await;
    let answers = Vec::from_iter(sent.answer.clone());
    assert!(format.request(&source, &answers).unwrap().is_none());
    sent
}

/// Sends messages of these subjects, each out of memory and out of a file; says what the answers
/// mean.
async fn judged(base: &Url, profile: &Profile, key: &str, subjects: &[&str]) -> Vec<Class> {
    let mut classes = Vec::new();
    for subject in subjects {
        let bytes = message(subject);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let in_file = RawMessage::File {
            path: file.path().to_owned(),
            len: bytes.len() as u64,
        };
        let one = post(base, profile, key, &RawMessage::Bytes(bytes.into())).await;
        let two = post(base, profile, key, &in_file).await;
        assert_eq!(one.attempt, two.attempt, "{one:?} {two:?}");
        assert!(!one.note.contains("fell over"), "{one:?}");
        classes.push(one.attempt.class());
    }
    classes
}

fn bytes(taken: &Value) -> Vec<u8> {
    STANDARD.decode(taken["message"].as_str().unwrap()).unwrap()
}

/// It was taken so often, always to the byte.
fn assert_taken(taken: &[Value], subject: &str, times: usize) {
    assert_eq!(taken.len(), times);
    for one in taken {
        assert!(
            bytes(one) == message(subject),
            "{subject} arrived otherwise"
        );
    }
}

#[tokio::test]
async fn osticket_takes_a_message_once_and_says_what_it_will_not_have() {
    let product = Product::start("osticket");
    let base = product.base.join("/support/").unwrap();
    let profile = Profile::Osticket;
    let subjects = ["help", "help", "banned", "broken"];
    let classes = judged(&base, &profile, KEY, &subjects).await;
    let expected = [
        Class::Delivered,
        Class::Delivered,
        Class::Refused,
        Class::Failing,
    ];
    assert_eq!(classes, expected);
    assert_taken(&product.taken().await, "help", 1);
    let wrong = judged(&base, &profile, "wrong", &["help"]).await;
    let elsewhere = judged(&product.base, &profile, KEY, &["help"]).await;
    assert_eq!((wrong[0], elsewhere[0]), (Class::Trouble, Class::Trouble));
    let unreadable = RawMessage::Bytes("no header".into());
    let sent = post(&base, &profile, KEY, &unreadable).await;
    assert_eq!(sent.attempt.class(), Class::Refused, "{sent:?}");
}

#[tokio::test]
async fn what_request_tracker_says_in_the_body_counts() {
    let product = Product::start("rt");
    let profile = Profile::Rt {
        queue: Some("Support \"first\"".to_owned()),
        action: "correspond".to_owned(),
    };
    let classes = judged(&product.base, &profile, KEY, &["help", "loop", "later"]).await;
    let expected = [Class::Delivered, Class::Refused, Class::Failing];
    assert_eq!(classes, expected);
    let taken = product.taken().await;
    assert_taken(&taken, "help", 2);
    assert_eq!(taken[0]["queue"], "Support \"first\"");
    assert_eq!(taken[0]["action"], "correspond");
    assert_eq!(taken[0]["SessionType"], "REST");
    // Something else at its place, which answers 200 to everything.
    let elsewhere = product.base.join("/other/").unwrap();
    let classes = judged(&elsewhere, &profile, KEY, &["help"]).await;
    assert_eq!(classes, [Class::Trouble]);
}

#[tokio::test]
async fn redmine_gets_its_fields_and_its_no_is_final() {
    let product = Product::start("redmine");
    let fields = [
        ("issue[tracker]", "Support"),
        ("unknown_user", "create"),
        ("no_permission_check", "1"),
    ];
    let profile = Profile::Redmine {
        project: Some("helpdesk".to_owned()),
        fields: BTreeMap::from(fields.map(|(name, value)| (name.to_owned(), value.to_owned()))),
    };
    let classes = judged(&product.base, &profile, KEY, &["help", "unknown user"]).await;
    assert_eq!(classes, [Class::Delivered, Class::Refused]);
    let taken = product.taken().await;
    assert_taken(&taken, "help", 2);
    assert_eq!(taken[0]["issue[project]"], "helpdesk");
    for (name, value) in fields {
        assert_eq!(taken[0][name], value);
    }
    let wrong = judged(&product.base, &profile, "wrong", &["help"]).await;
    assert_eq!(wrong, [Class::Trouble]);
}

#[tokio::test]
async fn action_mailbox_takes_a_message_by_password() {
    let product = Product::start("action_mailbox");
    let profile = Profile::ActionMailbox {
        user: "actionmailbox".to_owned(),
    };
    let classes = judged(&product.base, &profile, KEY, &["help", "broken"]).await;
    assert_eq!(classes, [Class::Delivered, Class::Failing]);
    assert_taken(&product.taken().await, "help", 2);
    let wrong = judged(&product.base, &profile, "wrong", &["help"]).await;
    // Another ingress is switched on.
    let off = product.base.join("/app").unwrap();
    let off = judged(&off, &profile, KEY, &["help"]).await;
    assert_eq!((wrong[0], off[0]), (Class::Trouble, Class::Trouble));
    let empty = RawMessage::Bytes("".into());
    let sent = post(&product.base, &profile, KEY, &empty).await;
    assert_eq!(sent.attempt.class(), Class::Refused, "{sent:?}");
}

#[tokio::test]
async fn gitlab_accepts_our_token_and_no_other() {
    let product = Product::start("gitlab");
    let secret = STANDARD.encode((0..32).collect::<Vec<u8>>());
    let profile = |kind: &str| Profile::Gitlab {
        mailbox_type: kind.to_owned(),
    };
    let incoming = profile("incoming_email");
    let classes = judged(&product.base, &incoming, &secret, &["help", "huge"]).await;
    assert_eq!(classes, [Class::Delivered, Class::Refused]);
    let taken = product.taken().await;
    assert_taken(&taken, "help", 2);
    assert_eq!(taken[0]["type"], "incoming_email");
    assert_ne!(taken[0]["nonce"], taken[1]["nonce"]);
    let desk = judged(
        &product.base,
        &profile("service_desk_email"),
        &secret,
        &["help"],
    )
    .await;
    assert_eq!(desk, [Class::Delivered]);
    assert_eq!(product.taken().await[2]["type"], "service_desk_email");
    let other = STANDARD.encode([7; 32]);
    let wrong = judged(&product.base, &incoming, &other, &["help"]).await;
    let unknown = judged(&product.base, &profile("other"), &secret, &["help"]).await;
    assert_eq!((wrong[0], unknown[0]), (Class::Trouble, Class::Trouble));
    let key = SecretString::from("no base64!");
    let error = Raw::new(incoming, &product.base, Some(&key)).unwrap_err();
    assert!(error.contains("not base64"), "{error}");
    assert!(!error.contains("no base64!"), "{error}");
}

#[tokio::test]
async fn discourse_gets_base64_whatever_the_bytes_are() {
    let product = Product::start("discourse");
    let profile = |user: &str| Profile::Discourse {
        user: user.to_owned(),
    };
    let classes = judged(&product.base, &profile("system"), KEY, &["help", "busy"]).await;
    assert_eq!(classes, [Class::Delivered, Class::Trouble]);
    assert_taken(&product.taken().await, "help", 2);
    let wrong = judged(&product.base, &profile("other"), KEY, &["help"]).await;
    assert_eq!(wrong, [Class::Trouble]);
}

#[tokio::test]
async fn odoo_is_called_by_xml_rpc_and_its_faults_are_told_apart() {
    let product = Product::start("odoo");
    let profile = |database: &str, model: Option<&str>| Profile::Odoo {
        database: database.to_owned(),
        user: 2,
        model: model.map(str::to_owned),
    };
    let subjects = [
        "help",
        "forbidden",
        "no alias",
        "broken",
        "answer to a bounce",
    ];
    let right = profile("production", None);
    let classes = judged(&product.base, &right, KEY, &subjects).await;
    let expected = [
        Class::Delivered,
        Class::Trouble,
        Class::Refused,
        Class::Failing,
        Class::Delivered,
    ];
    assert_eq!(classes, expected);
    let desk = profile("production", Some("helpdesk.ticket"));
    judged(&product.base, &desk, KEY, &["help"]).await;
    let taken = product.taken().await;
    assert_taken(&taken, "help", 4);
    assert_eq!(taken[0]["model"], false);
    assert_eq!(taken[2]["model"], "helpdesk.ticket");
    let wrong = judged(&product.base, &right, "a <wrong> & key", &["help"]).await;
    let database = judged(&product.base, &profile("other", None), KEY, &["help"]).await;
    let page = product.base.join("/web").unwrap();
    let page = judged(&page, &right, KEY, &["help"]).await;
    let all = [wrong[0], database[0], page[0]];
    assert_eq!(all, [Class::Trouble; 3]);
}

#[test]
fn the_products_path_is_added_where_it_is_not_written() {
    let odoo = Profile::Odoo {
        database: "d".to_owned(),
        user: 2,
        model: None,
    };
    for (profile, base, url) in [
        (
            &Profile::Osticket,
            "https://desk.example.org",
            "https://desk.example.org/api/tickets.email",
        ),
        (
            &Profile::Osticket,
            "https://desk.example.org/support/",
            "https://desk.example.org/support/api/tickets.email",
        ),
        (
            &Profile::Osticket,
            "https://desk.example.org/s/api/tickets.email?x=1",
            "https://desk.example.org/s/api/tickets.email?x=1",
        ),
        (
            &odoo,
            "http://127.0.0.1:8069/",
            "http://127.0.0.1:8069/xmlrpc/2/object",
        ),
    ] {
        assert_eq!(profile.url(&base.parse().unwrap()).as_str(), url);
    }
}

/// Answers that no request of ours leads to while all is well, and what stands in front of products.
#[test]
fn a_page_that_is_not_the_products_is_never_a_success() {
    let text = |text: &str| text.to_owned();
    let profiles = [
        Profile::Osticket,
        Profile::Rt {
            queue: None,
            action: text("correspond"),
        },
        Profile::Redmine {
            project: None,
            fields: BTreeMap::new(),
        },
        Profile::ActionMailbox {
            user: text("actionmailbox"),
        },
        Profile::Gitlab {
            mailbox_type: text("incoming_email"),
        },
        Profile::Discourse {
            user: text("system"),
        },
        Profile::Odoo {
            database: text("d"),
            user: 2,
            model: None,
        },
    ];
    let login = "<!doctype html><html><form class=\"success\">Sign in with your email address: ok";
    for profile in &profiles {
        let class = |status, body: &str| profile.classifier().class(status, body.as_bytes());
        for status in [200, 202, 206, 302, 401, 404, 407, 410, 429] {
            assert_eq!(class(status, login), Class::Trouble, "{profile:?} {status}");
        }
        for status in [408, 500, 502, 503, 504] {
            assert_eq!(class(status, login), Class::Failing, "{profile:?} {status}");
        }
        assert_eq!(class(413, login), Class::Refused, "{profile:?}");
        assert_eq!(class(200, ""), Class::Trouble, "{profile:?}");
    }
    let gitlab = profiles[4].classifier();
    let class = |body: &str| gitlab.class(200, body.as_bytes());
    assert_eq!(class(r#"{"success":true}"#), Class::Delivered);
    assert_eq!(class(r#"{"success":false}"#), Class::Trouble);
    let class = |number: usize, status| profiles[number].classifier().class(status, b"");
    assert_eq!(
        (class(0, 403), class(2, 403)),
        (Class::Refused, Class::Trouble)
    );
    assert_eq!(
        (class(0, 415), class(3, 415)),
        (Class::Refused, Class::Trouble)
    );
    assert_eq!(
        (class(2, 422), class(3, 422)),
        (Class::Refused, Class::Refused)
    );
}

#[test]
fn a_repeat_is_the_same_to_the_byte_and_nothing_else_than_a_message_is_sent() {
    let raw = RawMessage::Bytes(message("help").into());
    let base = Url::parse("https://desk.example.org").unwrap();
    let rt = Profile::Rt {
        queue: None,
        action: "comment".to_owned(),
    };
    let format = Format::Raw(Raw::new(rt, &base, None).unwrap());
    assert!(format.needs_raw());
    let request = || {
        let source = source(Some(&raw), EventType::MessageReceived);
        format.request(&source, &[]).unwrap().unwrap()
    };
    assert_eq!(request().body, request().body);
    assert_eq!(request().headers, request().headers);
    let error = |kind| format.request(&source(None, kind), &[]).unwrap_err();
    assert_eq!(error(EventType::MessageReceived), RenderError::NoMessage);
    assert_eq!(
        error(EventType::Ping),
        RenderError::NotAMessage(EventType::Ping)
    );
    let keyless = Raw::new(Profile::Osticket, &base, None);
    assert!(keyless.is_err());
}
