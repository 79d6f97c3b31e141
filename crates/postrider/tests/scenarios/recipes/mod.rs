//! Every recipe in `config/recipes`, loaded as an operator's file, against a receiver that behaves as
//! its product is described to: a mail, its follow-up, attempts whose answers are lost, a refusal.

pub(crate) mod desk;
mod others;
pub(crate) mod products;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use postrider::config::{self, Endpoint, EndpointFormat};
use postrider_core::{
    delivery::Class,
    event::EventType,
    ids::{Uid, UidValidity},
    message::{self, ParseLimits},
    time::Wall,
};
use postrider_webhook::{
    address,
    body::RawMessage,
    client::{Client, Proxy, Settings},
    format::{Format, Source},
    payload::{self, MailboxRef, MessageContext, RenderInput},
};
use reqwest::header::{HeaderMap, HeaderValue};
use uuid::Uuid;

use desk::{Desk, Handler};

const SIZE: u32 = 3_000;

/// The bytes of an attachment: no text.
pub(crate) fn file_bytes(size: u32) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// A mail with quotes, line ends and markup where templates put them.
fn mail(id: &str, references: &str, subject: &str) -> Vec<u8> {
    mail_with(SIZE, id, references, subject)
}

pub(crate) fn mail_with(size: u32, id: &str, references: &str, subject: &str) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let encoded = STANDARD.encode(file_bytes(size));
    let lines: Vec<_> = encoded.as_bytes().chunks(76).collect();
    let mut raw = format!(
        "Message-ID: <{id}>\r\n{references}From: \"Kim \\\"K\\\" Lee\" <kim@example.org>\r\n\
         To: support@contoso.example\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n\
         It says \"E3\" & <b>stops</b>\\\r\nback: \\n 100%\r\n--x\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"a \\\"b\\\" & c.bin\"\r\n\r\n"
    )
    .into_bytes();
    for line in lines {
        raw.extend_from_slice(line);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"--x--\r\n");
    raw
}

struct Recipe {
    endpoint: Arc<Endpoint>,
    client: Client,
    format: Format,
}

impl Recipe {
    /// The file as it is, but for the URL, with this credential in each of its headers.
    fn load(name: &str, desk: &Desk, credential: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/recipes");
        let text = fs::read_to_string(root.join(format!("{name}.toml"))).unwrap();
        let path = text
            .lines()
            .find_map(|line| line.strip_prefix("url = \"https://"))
            .and_then(|line| line.split('"').next())
            .and_then(|url| url.split_once('/'))
            .map_or(String::new(), |(_, path)| path.to_owned());
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.starts_with("url = \"https://") {
                true => format!("url = \"http://{}/{path}\"", desk.at),
                false => line.to_owned(),
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("recipe.toml");
        fs::write(&file, lines.join("\n")).unwrap();
        let loaded = config::load(&file).unwrap_or_else(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{name}: {}", told.join("\n"))
        });
        let endpoint = loaded.config.endpoints.values().next().unwrap().clone();
        let EndpointFormat::Template(template) = &endpoint.format else {
            panic!("{name} is no template")
        };
        let mut headers = HeaderMap::new();
        for (header, _) in &endpoint.transport.headers {
            headers.insert(header, HeaderValue::from_str(credential).unwrap());
        }
        let settings = Settings {
            url: endpoint.url.clone(),
            timeout: Duration::from_secs(10),
            connections_max: 1,
            ca_file: None,
            identity: None,
            headers,
            addresses: address::Policy::default(),
            names: address::Names::System,
            proxy: Proxy::None,
            classifier: endpoint.classifier.clone(),
        };
        let format = Format::Template(template.clone());
        let client = Client::new(&settings).unwrap();
        let client = client.answers_up_to(format.answer_bytes_max().unwrap());
        Self {
            endpoint,
            client,
            format,
        }
    }

    /// One attempt, as the daemon makes it.
    async fn attempt(&self, raw: &[u8], id: u128) -> (Class, String) {
        let labels = BTreeMap::new();
        let message = message::parse(raw, &ParseLimits::default());
        let now = Wall(1_790_000_000_000);
        let context = MessageContext {
            mailbox: MailboxRef {
                id: "support",
                address: "support@contoso.example",
                labels: &labels,
            },
            folder: "INBOX",
            uid: Uid::new(1).unwrap(),
            uid_validity: UidValidity(1),
            internal_date: Some(now),
            size: raw.len() as u64,
            flags: &[],
            server_folder: "INBOX",
            gmail: None,
            fingerprint: message::fingerprint(raw, Some(now)),
            trusted_authserv_id: None,
        };
        let data = payload::message_data(&context, &message, 64 << 10).json;
        let raw = RawMessage::Bytes(raw.to_vec().into());
        let contents = self.format.look(&raw).await.unwrap();
        let source = Source {
            event: RenderInput {
                // Ids of events differ in their first digits.
                id: Uuid::from_u128(id << 120 | id),
                event_type: EventType::MessageReceived,
                instance: "test",
                mailbox: Some("support"),
                subject: "INBOX/1/1",
                time: now,
                stored_at: now,
                data: &data,
                sequence: 1,
                attempt: 1,
                first_attempt_at: None,
                replay: None,
                stepped_aside: false,
                when_failed: false,
                test: false,
            },
            raw: Some(&raw),
            contents: contents.as_ref(),
            now,
        };
        let mut answers = Vec::new();
        loop {
            let request = match self.format.request(&source, &answers) {
                Ok(Some(request)) => request,
                Ok(None) => return (Class::Delivered, String::new()),
                Err(error) => panic!("{}: {error}", self.endpoint.key),
            };
            let sent = self
                .client
                .send(None, source.event.id, now.seconds(), request)
                .await;
            if sent.attempt.class() != Class::Delivered {
                return (sent.attempt.class(), sent.note);
            }
            answers.extend(sent.answer);
        }
    }
}

/// An event whose requests are each done in turn while their answers are lost, until one attempt
/// comes through.
async fn through_lost_answers(desk: &Desk, recipe: &Recipe, raw: &[u8], id: u128) {
    for lost in 0..20 {
        desk.lose_answer(lost);
        let (class, note) = recipe.attempt(raw, id).await;
        if class == Class::Delivered {
            break;
        }
        assert_eq!(class, Class::Failing, "{note}");
    }
    desk.lose_none();
    good(desk, recipe, raw, id).await;
}

async fn good(desk: &Desk, recipe: &Recipe, raw: &[u8], id: u128) {
    let (class, note) = recipe.attempt(raw, id).await;
    assert_eq!(class, Class::Delivered, "{note}\n{}", desk.log());
}

/// A name that is a query of its own where it is written into one as it is.
#[tokio::test]
async fn servicenow_gets_a_file_whatever_its_name_asks_for() {
    let desk = Desk::start(products::servicenow).await;
    let recipe = Recipe::load("servicenow", &desk, desk::RIGHT);
    let asking = mail("first@example.org", "", "One");
    let asking = String::from_utf8(asking).unwrap();
    let asking = asking.replace(".bin", "^NQtable_sys_id=1.bin");
    good(&desk, &recipe, asking.as_bytes(), 1).await;
    let tickets = desk.tickets();
    assert_eq!(tickets[0].files.len(), 1, "{}", desk.log());
}

/// What holds for every product; `files`: whether it takes any.
async fn holds(name: &str, handler: Handler, files: bool) -> Desk {
    let desk = Desk::start(handler).await;
    let wrong = Recipe::load(name, &desk, "wrong");
    let subject = "Printer \"2nd\" floor: 100% <broken> & more";
    let first = mail("first@example.org", "", subject);
    let (class, note) = wrong.attempt(&first, 1).await;
    assert_eq!(class, Class::Trouble, "{name}: {note}");
    assert_eq!(desk.tickets().len(), 0);

    let recipe = Recipe::load(name, &desk, desk::RIGHT);
    good(&desk, &recipe, &first, 1).await;
    good(&desk, &recipe, &first, 1).await;
    assert_eq!(
        desk.tickets().len(),
        1,
        "{name}: a repeat is no second ticket"
    );

    let second = mail("second@example.org", "", "Another one");
    through_lost_answers(&desk, &recipe, &second, 2).await;
    assert_eq!(desk.tickets().len(), 2, "{name}\n{}", desk.log());

    let thread = "In-Reply-To: <first@example.org>\r\nReferences: <first@example.org>\r\n";
    let reply = mail("third@example.org", thread, "Re: Printer");
    through_lost_answers(&desk, &recipe, &reply, 3).await;
    let tickets = desk.tickets();
    assert_eq!(tickets.len(), 2, "{name}: a follow-up is no ticket");
    let (one, two) = (&tickets[0], &tickets[1]);
    let notes = (one.notes.len(), two.notes.len());
    assert_eq!(notes, (1, 0), "{name}\n{}", desk.log());
    for text in [&one.text, &one.notes[0]] {
        let plain = text.replace("&quot;", "\"").replace("&amp;", "&");
        assert!(plain.contains("It says \"E3\" & "), "{name}: {text}");
    }
    if files {
        assert_eq!(
            (one.files.len(), two.files.len()),
            (2, 1),
            "{name}\n{}",
            desk.log()
        );
        for (file, bytes) in one.files.iter().chain(&two.files) {
            assert!(file.ends_with("a \"b\" & c.bin"), "{name}: {file}");
            assert!(
                *bytes == file_bytes(SIZE),
                "{name}: {file} arrived otherwise"
            );
        }
    }
    assert_eq!(desk.mailed(), Vec::<String>::new(), "{name} mails nobody");
    desk
}

#[tokio::test]
async fn zammad_gets_articles_of_the_customer_in_the_right_ticket() {
    let desk = holds("zammad", products::zammad, true).await;
    let recipe = Recipe::load("zammad", &desk, desk::RIGHT);
    let numbered = mail("fourth@example.org", "", "AW: [Ticket#2] noch etwas");
    let (class, note) = recipe.attempt(&numbered, 4).await;
    assert_eq!(class, Class::Delivered, "{note}");
    assert_eq!(
        desk.tickets()[1].notes.len(),
        1,
        "the number in the subject counts"
    );
    // The search for the second id finds the first one too.
    let longer = mail("another-fifth@example.org", "", "One");
    let same_end = mail("fifth@example.org", "", "Two");
    good(&desk, &recipe, &longer, 5).await;
    good(&desk, &recipe, &same_end, 6).await;
    good(&desk, &recipe, &same_end, 6).await;
    assert_eq!(desk.tickets().len(), 4, "another id is another mail");
}

#[tokio::test]
async fn jira_service_management_gets_requests_and_internal_comments() {
    holds("jira-service-management", products::jira, true).await;
}

#[tokio::test]
async fn servicenow_gets_incidents_and_work_notes() {
    holds("servicenow", products::servicenow, true).await;
}

#[tokio::test]
async fn freshdesk_gets_tickets_and_notes_of_the_customer() {
    holds("freshdesk", others::freshdesk, true).await;
}

#[tokio::test]
async fn zendesk_gets_each_ticket_once_by_its_idempotency_key() {
    holds("zendesk", others::zendesk, true).await;
}

#[tokio::test]
async fn glpi_gets_tickets_followups_and_documents_in_one_session() {
    holds("glpi", others::glpi, true).await;
}

#[tokio::test]
async fn slack_gets_a_line_and_answers_in_its_thread() {
    holds("slack", others::slack, false).await;
}

#[test]
fn every_recipe_is_tested_and_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/recipes");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let tests = include_str!("mod.rs");
    for file in fs::read_dir(root).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if let Some(recipe) = name.strip_suffix(".toml") {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
            assert!(tests.contains(&format!("holds(\"{recipe}\"")), "{name}");
        }
    }
}
