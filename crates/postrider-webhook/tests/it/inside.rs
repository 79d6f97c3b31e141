//! Formats with more of the message in them: what is put in is what the message holds, what is left
//! out is marked, and a repeat is the same.

use std::{collections::BTreeMap, io::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use postrider_core::{
    delivery::Class,
    event::EventType,
    ids::{Uid, UidValidity},
    message,
};
use postrider_webhook::{
    body::{Body, RawMessage},
    client::Client,
    format::{
        Format, RenderError, Source,
        contents::Contents,
        event::{Attachments, Event, Texts},
        postmark::Postmark,
    },
    link::{Keys, Linker, Target},
    payload::{self, MailboxRef, MessageContext},
    sign::Signer,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use crate::{
    products::{Product, source},
    sending::settings,
};

/// A message with two texts and three attachments, each written in another encoding.
fn message() -> Vec<u8> {
    let mut lines = String::new();
    for line in STANDARD.encode(big()).as_bytes().chunks(76) {
        lines.push_str(std::str::from_utf8(line).unwrap());
        lines.push_str("\r\n");
    }
    format!(
        "Message-ID: <m1@example.org>\r\nFrom: Kim \"K\" <kim@example.org>\r\n\
         To: support+vip@contoso.com, \"Lee, \\\"L\\\"\" <lee@contoso.com>\r\nSubject: =?utf-8?Q?=C3=A4?=\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0100\r\n\
         Content-Type: multipart/mixed; boundary=out\r\n\r\n\
         --out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
         --in\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello \"ä\"\r\n\
         --in\r\nContent-Type: text/html\r\n\r\n<p>hello</p>\r\n--in--\r\n\
         --out\r\nContent-Type: text/csv; name=a.csv\r\nContent-Transfer-Encoding: quoted-printable\r\n\
         Content-Disposition: attachment; filename=a.csv\r\n\r\na;b=\r\n;c\r\nd\r\n\
         --out\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=big.pdf\r\n\r\n{lines}\
         --out\r\nContent-Type: text/x-log\r\nContent-ID: <c1>\r\n\
         Content-Disposition: inline; filename=c.log\r\n\r\nline\r\n--out--\r\n"
    )
    .into_bytes()
}

fn big() -> Vec<u8> {
    (0..200_000u32)
        .map(|n| u8::try_from(n % 253).unwrap())
        .collect()
}

/// What is stored of the event.
pub(crate) fn stored(raw: &[u8], limits: &message::ParseLimits) -> Vec<u8> {
    let labels = BTreeMap::new();
    let context = MessageContext {
        mailbox: MailboxRef {
            id: "support",
            address: "support@contoso.com",
            labels: &labels,
        },
        folder: "INBOX",
        uid: Uid::new(1).unwrap(),
        uid_validity: UidValidity(1),
        internal_date: None,
        size: raw.len() as u64,
        flags: &[],
        server_folder: "INBOX",
        gmail: None,
        fingerprint: message::fingerprint(raw, None),
        trusted_authserv_id: None,
    };
    let parsed = message::parse(raw, limits);
    payload::message_data(&context, &parsed, 64 << 10)
        .json
        .to_vec()
}

async fn read(body: &Body) -> Value {
    let mut all = Vec::new();
    let mut chunks = std::pin::pin!(body.chunks());
    while let Some(chunk) = chunks.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(body.len(), all.len() as u64);
    serde_json::from_slice(&all).unwrap()
}

/// The message in memory, in a file, or not at all.
struct Kept {
    data: Vec<u8>,
    raw: Option<RawMessage>,
    contents: Option<Contents>,
    _file: Option<tempfile::NamedTempFile>,
}

impl Kept {
    async fn in_memory() -> Self {
        let bytes = message();
        let data = stored(&bytes, &message::ParseLimits::default());
        Self::of(data, RawMessage::Bytes(bytes.into()), None).await
    }

    async fn in_file() -> Self {
        let bytes = message();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        // A large message was parsed in part when its event was stored.
        let limits = message::ParseLimits {
            parse_bytes: 2_000,
            ..message::ParseLimits::default()
        };
        let raw = RawMessage::File {
            path: file.path().to_owned(),
            len: bytes.len() as u64,
        };
        Self::of(stored(&bytes, &limits), raw, Some(file)).await
    }

    async fn of(data: Vec<u8>, raw: RawMessage, file: Option<tempfile::NamedTempFile>) -> Self {
        Self {
            data,
            contents: Some(Contents::with_text(&raw).await.unwrap()),
            raw: Some(raw),
            _file: file,
        }
    }

    fn source(&self) -> Source<'_> {
        let mut source = source(self.raw.as_ref(), EventType::MessageReceived);
        source.event.data = &self.data;
        source.contents = self.contents.as_ref();
        source
    }

    async fn event(&self, texts: Texts, attachments: Attachments) -> Value {
        self.linked_event(texts, attachments, None).await
    }

    async fn linked_event(
        &self,
        texts: Texts,
        attachments: Attachments,
        linker: Option<Linker>,
    ) -> Value {
        let url = Url::parse("https://desk.example.org/hook").unwrap();
        let format = Format::Event(Event {
            url,
            texts,
            attachments,
            linker,
        });
        let request = || format.request(&self.source(), &[]).unwrap().unwrap();
        assert_eq!(request().body, request().body);
        read(&request().body).await
    }
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn attachments_are_in_the_event_as_they_are_in_the_message() {
    let inline = Attachments::Inline { bytes_max: 1 << 20 };
    let event = Kept::in_memory().await.event(Texts::Text, inline).await;
    let files = event["data"]["attachments"].as_array().unwrap();
    let contents: Vec<Vec<u8>> = files.iter().map(|file| decoded(&file["content"])).collect();
    assert_eq!(contents, [b"a;b;c\r\nd".to_vec(), big(), b"line".to_vec()]);
    for file in files {
        assert_eq!(file["included"], true);
        assert_eq!(file["omitted_reason"], Value::Null);
    }
    assert_eq!(files[1]["size"], 200_000);
    assert_eq!(event["data"]["text"]["html"], "<p>hello</p>");
    assert_eq!(event["data"]["raw"], Value::Null);
    assert_eq!(event["data"]["delivery"]["attempt"], 1);
    // Nothing but these keys differs from what others get.
    let kept = Kept::in_memory().await;
    let mut plain = kept.event(Texts::Text, Attachments::Metadata).await;
    for (plain, file) in plain["data"]["attachments"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(files)
    {
        assert_eq!(plain["included"], false);
        for key in ["included", "omitted_reason", "content"] {
            plain[key] = file[key].clone();
        }
    }
    assert_eq!(plain, event);
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_alone_and_marked() {
    let inline = Attachments::Inline { bytes_max: 100_000 };
    let event = Kept::in_memory().await.event(Texts::Text, inline).await;
    let marks: Vec<Value> = event["data"]["attachments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            json!([
                file["included"],
                file["omitted_reason"],
                file["content"].is_null()
            ])
        })
        .collect();
    let expected = [
        json!([true, null, false]),
        json!([false, "too_large", true]),
        json!([true, null, false]),
    ];
    assert_eq!(marks, expected);
    let mut kept = Kept::in_memory().await;
    (kept.raw, kept.contents) = (None, None);
    let event = kept.event(Texts::Full, inline).await;
    assert_eq!(
        event["data"]["attachments"][0]["omitted_reason"],
        "not_stored"
    );
    assert_eq!(event["data"]["raw"]["omitted_reason"], "not_stored");
}

#[tokio::test]
async fn a_message_that_was_parsed_in_part_gives_its_attachments_whole() {
    let inline = Attachments::Inline { bytes_max: 1 << 20 };
    let kept = Kept::in_file().await;
    let event = kept.event(Texts::Text, inline).await;
    let files = event["data"]["attachments"].as_array().unwrap();
    assert_eq!(event["data"]["parse"]["status"], "partial");
    assert_eq!(files[1]["size"], Value::Null, "it was not seen whole");
    assert!(decoded(&files[1]["content"]) == big());
    // The one behind it was not seen at all then.
    let stored: Value = serde_json::from_slice(&kept.data).unwrap();
    assert_eq!(stored["attachments"].as_array().unwrap().len(), 2);
    let mut last = files[2].clone();
    assert_eq!(decoded(&last["content"]), b"line");
    last["content"] = Value::Null;
    let expected = json!({
        "index": 2, "filename": "c.log", "content_type": "text/x-log", "size": 4, "sha256": null,
        "disposition": "inline", "content_id": "c1", "href": null,
        "included": true, "omitted_reason": null, "content": null,
    });
    assert_eq!(last, expected);
}

/// What a large message has beyond its beginning is no less attached to it.
#[tokio::test]
async fn every_attachment_of_a_message_that_was_parsed_in_part_has_a_link() {
    let key = [SecretString::from("0123456789abcdef0123456789abcdef")];
    let keys = Keys::new(&key).unwrap();
    let linker = Linker {
        keys: keys.clone(),
        public_url: Url::parse("https://links.example.org").unwrap(),
        life: std::time::Duration::from_secs(60),
    };
    let kept = Kept::in_file().await;
    let (texts, link) = (Texts::Text, Attachments::Link);
    let event = kept.linked_event(texts, link, Some(linker)).await;
    let files = event["data"]["attachments"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    for (index, file) in (0u32..).zip(files) {
        assert_eq!(file["omitted_reason"], "linked");
        assert_eq!(
            (&file["included"], &file["index"]),
            (&json!(false), &json!(index))
        );
        let url = Url::parse(file["href"].as_str().unwrap()).unwrap();
        let source = kept.source();
        let led = keys.verify(url.path(), url.query().unwrap(), source.now);
        assert_eq!(led, Ok((source.event.id, Target::Part(index))));
    }
    let keys_of = |file: &Value| -> Vec<String> {
        let mut keys: Vec<_> = file.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys_of(&files[2]), keys_of(&files[0]));
    assert_eq!(files[2]["filename"], "c.log");
}

#[tokio::test]
async fn the_body_is_left_out_or_the_whole_message_is_there() {
    for kept in [Kept::in_memory().await, Kept::in_file().await] {
        let event = kept.event(Texts::None, Attachments::Metadata).await;
        let text = &event["data"]["text"];
        assert_eq!(text["plain"], Value::Null);
        assert_eq!(text["html"], Value::Null);
        assert_eq!(text["omitted_reason"], "not_configured");
        assert_eq!(event["data"]["message"]["subject"], "ä");
        let event = kept.event(Texts::Full, Attachments::Metadata).await;
        assert!(decoded(&event["data"]["raw"]["content"]) == message());
        assert_eq!(event["data"]["raw"]["size"], message().len());
        let keys: Vec<_> = event["data"]["raw"].as_object().unwrap().keys().collect();
        let expected = ["content", "href", "included", "omitted_reason", "size"];
        assert_eq!(keys, expected, "the schema names them");
        assert!(event["data"]["text"]["plain"].is_string());
    }
}

#[tokio::test]
async fn postmarks_consumers_read_what_is_signed_beside() {
    let product = Product::start("postmark");
    let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let signer = Signer::new(&[secret]).unwrap();
    let client = Client::new(&settings(product.base.as_str())).unwrap();
    for (kept, attachments_max) in [
        (Kept::in_memory().await, 1 << 20),
        (Kept::in_file().await, 1_000),
    ] {
        let format = Format::Postmark(Postmark {
            url: product.base.clone(),
            attachments_max,
        });
        let source = kept.source();
        let request = format.request(&source, &[]).unwrap().unwrap();
        let sent = client
            .send(
                Some(&signer),
                source.event.id,
                source.now.seconds(),
                request,
            )
            .await;
        assert_eq!(sent.attempt.class(), Class::Delivered, "{sent:?}");
    }
    let taken = product.taken().await;
    let told = &taken[0];
    assert_eq!(told["FromFull"]["Email"], "kim@example.org");
    assert_eq!(told["ToFull"][0]["MailboxHash"], "vip");
    assert_eq!(told["ToFull"][1]["Name"], "Lee, \"L\"");
    assert_eq!(told["OriginalRecipient"], "support@contoso.com");
    assert_eq!(told["Subject"], "ä");
    assert_eq!(told["Date"], "Mon, 23 Nov 2026 10:00:00 +0100");
    assert_eq!(told["TextBody"], "hello \"ä\"");
    assert_eq!(told["Attachments"].as_array().unwrap().len(), 3);
    assert_eq!(told["Attachments"][2]["ContentID"], "c1");
    assert_eq!(told["Postrider"]["RawEmailReplaced"], false);
    assert_eq!(told["RawEmail"], String::from_utf8(message()).unwrap());
    let cut = &taken[1];
    assert_eq!(cut["Attachments"].as_array().unwrap().len(), 2);
    assert_eq!(
        cut["Postrider"]["AttachmentsOmitted"],
        json!([{ "Name": "big.pdf", "ContentType": "application/pdf", "ContentLength": 200_000, "ContentID": "", "Reason": "too_large" }])
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced_and_told() {
    let bytes = b"Subject: gr\xfc\xdfe\r\n\r\n\xc3\xa4\xff".to_vec();
    let data = stored(&bytes, &message::ParseLimits::default());
    let kept = Kept::of(data, RawMessage::Bytes(bytes.clone().into()), None).await;
    let format = Format::Postmark(Postmark {
        url: Url::parse("https://desk.example.org").unwrap(),
        attachments_max: 0,
    });
    let request = format.request(&kept.source(), &[]).unwrap().unwrap();
    let told = read(&request.body).await;
    assert_eq!(told["RawEmail"], String::from_utf8_lossy(&bytes).as_ref());
    assert_eq!(told["Postrider"]["RawEmailReplaced"], true);
    let ping = source(None, EventType::Ping);
    let error = format.request(&ping, &[]).unwrap_err();
    assert_eq!(error, RenderError::NotAMessage(EventType::Ping));
}

/// What Postmark's consumers get of a message.
async fn inbound(bytes: &[u8]) -> Value {
    let data = stored(bytes, &message::ParseLimits::default());
    let kept = Kept::of(data, RawMessage::Bytes(bytes.to_vec().into()), None).await;
    let format = Format::Postmark(Postmark {
        url: Url::parse("https://desk.example.org").unwrap(),
        attachments_max: 1 << 20,
    });
    let request = format.request(&kept.source(), &[]).unwrap().unwrap();
    read(&request.body).await
}

#[tokio::test]
async fn odd_mails_have_every_key_that_consumers_rely_on() {
    let bare = inbound(b"Subject: nothing else\r\n\r\nx\r\n").await;
    assert_eq!(bare["From"], "");
    assert_eq!(
        bare["FromFull"],
        json!({ "Email": "", "Name": "", "MailboxHash": "" })
    );
    assert_eq!(bare["Date"], "Thu, 01 Jan 1970 00:00:00 +0000");
    assert_eq!(bare["OriginalRecipient"], "support@contoso.com");
    let crowd = inbound(
        b"From: nobody, Lee, Kim <kim@x.org>\r\nDate: soon\r\nDelivered-To: box+tag@x.org\r\n\
          To: Team: a@x.org, \"B, b\" <b+h+i@x.org>;, undisclosed-recipients:;\r\n\r\nx",
    )
    .await;
    assert_eq!(crowd["From"], "kim@x.org");
    assert_eq!(crowd["Date"], "Thu, 01 Jan 1970 00:00:00 +0000");
    assert_eq!(crowd["To"], "a@x.org, \"B, b\" <b+h+i@x.org>");
    assert_eq!(crowd["ToFull"][1]["MailboxHash"], "h+i");
    assert_eq!(crowd["MailboxHash"], "tag");
    let files = inbound(
        b"From: a@x.org\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n\
          --o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n\
          --i\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>gr\xfcn</p>\r\n\
          --i\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n--i--\r\n\
          --o\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner\r\n\
          --o\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\nT\r\n\
          --o\r\nContent-Type: image/png; name*=utf-8''%C3%A4.png\r\n\r\nP\r\n\
          --o\r\nContent-Type: image/png; name=\"=?utf-8?Q?=C3=B6.png?=\"\r\n\r\nP\r\n--o--\r\n",
    )
    .await;
    assert_eq!(files["HtmlBody"], "<p>grün</p>");
    let names = files["Attachments"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|file| file["Name"].as_str().unwrap()).collect();
    let expected = [
        "attachment-0",
        "attachment-1",
        "winmail.dat",
        "ä.png",
        "ö.png",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        decoded(&files["Attachments"][1]["Content"]),
        b"Subject: inner\r\n\r\ninner"
    );
}
