//! Links to attachments and messages: made at the attempt, served from what is kept, else from the
//! mailbox, and to nobody who made one up.

use base64::Engine as _;
use postrider_sandbox::{imap::Scope, mail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Settings, World};

const PUBLIC: &str = "https://links.example.org/mail";

fn settings() -> Settings {
    Settings {
        more: format!(
            "[links]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{PUBLIC}\"\nkey = {{ env = \"LINKS_KEY\" }}\nexpires = \"1h\"\n"
        ),
        ..Settings::default()
    }
}

async fn linking(mode: &str) -> World {
    let mut world = World::new(settings()).await;
    world.environment.push((
        "LINKS_KEY".to_owned(),
        "0123456789abcdef0123456789abcdef".to_owned(),
    ));
    world.environment.push((
        "POSTRIDER__ENDPOINTS__TICKETS__ATTACHMENTS".to_owned(),
        mode.to_owned(),
    ));
    world.start();
    world.expect_watching(1).await;
    world
}

/// Where the listener really is.
fn here(world: &World, link: &str) -> String {
    let log = world.log();
    let told = "\"links\":\"";
    let rest = &log[log.rfind(told).unwrap() + told.len()..];
    let address = rest.split_once('"').unwrap().0;
    let path = link.strip_prefix(PUBLIC).unwrap();
    format!("http://{address}{path}")
}

fn with_attachment(number: u64, name: &str, kind: &str, content: &[u8]) -> Vec<u8> {
    let body = base64::engine::general_purpose::STANDARD.encode(content);
    format!(
        "From: a@example.org\r\nTo: b@example.org\r\nSubject: s\r\nMessage-ID: {}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n\
         --x\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{body}\r\n--x--\r\n",
        mail::message_id(number)
    )
    .into_bytes()
}

fn last_event(world: &World) -> Value {
    world.receiver.received().last().unwrap().json()
}

fn href(event: &Value) -> String {
    event["data"]["attachments"][0]["href"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_serves_its_attachment_as_a_harmless_download_and_a_forged_one_nothing() {
    let world = linking("link").await;
    let number = world.next_number();
    let content = b"<script>alert(1)</script>".repeat(10_000);
    let raw = with_attachment(number, "a\\\"b;c.html", "text/html", &content);
    world.deliver_raw(0, number, raw.clone());
    world.expect_all().await;
    let event = last_event(&world);
    let attachment = &event["data"]["attachments"][0];
    assert_eq!(attachment["included"], false);
    assert_eq!(attachment["omitted_reason"], "linked");
    let link = href(&event);
    let url = here(&world, &link);
    let client = reqwest::Client::new();
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| {
        let value = answer.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").unwrap(), "application/octet-stream");
    assert_eq!(header("x-content-type-options").unwrap(), "nosniff");
    assert!(
        header("content-disposition")
            .unwrap()
            .starts_with("attachment; filename=\"")
    );
    assert_eq!(header("content-length").unwrap(), content.len().to_string());
    assert!(header("set-cookie").is_none());
    assert_eq!(answer.bytes().await.unwrap(), content);
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let length = head.headers().get("content-length").unwrap();
    assert_eq!(length.to_str().unwrap(), content.len().to_string());
    let whole = event["data"]["raw"]["href"].as_str().unwrap();
    let answer = client.get(here(&world, whole)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "message/rfc822");
    assert_eq!(answer.bytes().await.unwrap(), raw);
    for (url, status) in [
        (url.replace("parts/0", "parts/1"), 403),
        (url.replace("parts/0", "raw"), 403),
        (url.replace("expires=1", "expires=2"), 403),
        (url.split('?').next().unwrap().to_owned(), 403),
        (url.replace("/v1/messages/", "/v1/../messages/"), 404),
        (url.replace("/v1/", "/"), 404),
    ] {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{url}");
    }
    let posted = client.post(&url).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    let signature = link.split("signature=").nth(1).unwrap();
    assert!(!world.log().contains(signature), "links are never logged");
    world.expect_account().await;
}

/// The endpoint gets links from now on, and these events once more: the link of each.
async fn sent_again_with_links(world: &mut World, ids: &[String]) -> Vec<String> {
    world.stop().await;
    world
        .environment
        .retain(|(name, _)| !name.ends_with("ATTACHMENTS"));
    world.environment.push((
        "POSTRIDER__ENDPOINTS__TICKETS__ATTACHMENTS".to_owned(),
        "link".to_owned(),
    ));
    world.start();
    world.expect_watching(1).await;
    for id in ids {
        let before = world.receiver.attempt_count();
        world.ask(&["events", "replay", id]).unwrap();
        world
            .expect("sent again", |world| {
                world.receiver.attempt_count() > before
            })
            .await;
    }
    world.receiver.received()[ids.len()..]
        .iter()
        .map(|one| href(&one.json()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_read_again_from_its_mailbox_and_what_is_gone_is_gone() {
    // While attachments are only described, no message is kept.
    let mut world = linking("metadata").await;
    let mut contents = Vec::new();
    for size in [2_000, 600_000] {
        let number = world.next_number();
        let content: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let raw = with_attachment(number, "a.bin", "application/zip", &content);
        world.deliver_raw(0, number, raw);
        contents.push(content);
        world.expect_all().await;
    }
    for soon in [&b"gone soon"[..], b"another's soon"] {
        let number = world.next_number();
        world.deliver_raw(0, number, with_attachment(number, "b.bin", "a/b", soon));
        world.expect_all().await;
    }
    let events: Vec<Value> = world
        .receiver
        .received()
        .iter()
        .map(|one| one.json())
        .collect();
    let ids: Vec<String> = events
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    let links = sent_again_with_links(&mut world, &ids).await;
    for (link, content) in links.iter().zip(&contents) {
        let answer = reqwest::get(here(&world, link)).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", world.log());
        assert_eq!(answer.headers()["content-type"], "application/zip");
        assert_eq!(answer.bytes().await.unwrap(), content);
    }
    let user = world.users[0].clone();
    let uids = world.mailboxes.uids(&user, "INBOX").unwrap();
    world
        .mailboxes
        .expunge(&user, "INBOX", &uids[2..3])
        .unwrap();
    let logins = |world: &World| world.server.counters(Scope::Server).logins;
    let before = logins(&world);
    for _ in 0..5 {
        let answer = reqwest::get(here(&world, &links[2])).await.unwrap();
        assert_eq!(answer.status(), 410);
    }
    assert_eq!(logins(&world), before + 1, "asking again is no login");
    // Reading again changes nothing, as ever.
    world.expect_account().await;
    // A UID that now means another message, under the same UIDVALIDITY, leads nobody to that one.
    let mailboxes = &world.mailboxes;
    mailboxes.expunge(&user, "INBOX", &uids[3..]).unwrap();
    mailboxes.uids_go_back(&user, "INBOX", uids[3]).unwrap();
    let number = world.next_number();
    let other = with_attachment(number, "c.bin", "a/b", b"for somebody else");
    world.deliver_raw(0, number, other);
    assert_eq!(
        world.mailboxes.uids(&user, "INBOX").unwrap(),
        [uids[0], uids[1], uids[3]]
    );
    let answer = reqwest::get(here(&world, &links[3])).await.unwrap();
    assert_eq!(answer.status(), 410, "{}", world.log());
}

/// Whoever reads slowly, or not at all, keeps nobody else waiting.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_do_not_hold_up_others() {
    let world = linking("link").await;
    let number = world.next_number();
    let content = vec![7; 8 << 20];
    world.deliver_raw(0, number, with_attachment(number, "a.bin", "a/b", &content));
    world.expect_all().await;
    let url = reqwest::Url::parse(&here(&world, &href(&last_event(&world)))).unwrap();
    let at = (url.host_str().unwrap(), url.port().unwrap());
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut one = tokio::net::TcpStream::connect(at).await.unwrap();
        let asked = format!(
            "GET {}?{} HTTP/1.1\r\nHost: x\r\n\r\n",
            url.path(),
            url.query().unwrap()
        );
        one.write_all(asked.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        one.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        slow.push(one);
    }
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), content);
}
