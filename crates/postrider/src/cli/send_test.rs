//! `send-test`: one signed event, made from a file, to a receiver that somebody writes; and what a
//! receiver has to refuse. It needs no configuration, no store and no mailbox.

use std::{fs::File, io::Read, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use postrider_core::{
    delivery::{Class, classify::Classifier},
    event::{EventType, Identity},
    ids::{FolderName, MailboxKey, Uid, UidValidity},
    message::{self, ParseLimits},
    time::Wall,
};
use postrider_webhook::{
    address,
    client::{Client, Proxy, Sent, Settings},
    format::{Format, Source, event::Event},
    payload::{self, MailboxRef, MessageContext, RenderInput},
    sign::Signer,
};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::{
    args::SendTest,
    direct,
    failure::{Exit, Failure},
    output::{print, print_json},
};
use crate::clock;

/// More than any receiver should tolerate.
const OLD: Duration = Duration::from_secs(10 * 60);

/// A message that is larger is none to try a receiver with.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// An event of a mailbox that is not there.
pub(super) struct Made {
    pub(super) id: Uuid,
    pub(super) subject: String,
    pub(super) time: Wall,
    pub(super) data: Bytes,
}

/// What an event is made for.
pub(super) struct Place<'a> {
    pub(super) instance: &'a str,
    pub(super) mailbox: MailboxRef<'a>,
    pub(super) folder: &'a str,
    pub(super) trusted_authserv_id: Option<&'a str>,
    pub(super) event_bytes: usize,
    /// Of a message so much is parsed.
    pub(super) parse_bytes: u64,
}

/// The file, or standard input for `-`.
pub(super) fn read(file: &Path) -> Result<Bytes, Failure> {
    let problem = |detail: String| {
        Failure::new(Exit::Failed, format!("{}: {detail}", file.display()))
            .hint("give a message as mail programs save it (.eml)")
    };
    let opened: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(file).map_err(|error| problem(error.to_string()))?),
    };
    let mut message = Vec::new();
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut message)
        .map_err(|error| problem(error.to_string()))?;
    match message.len() as u64 {
        0 => Err(problem("is empty".to_owned())),
        1..=FILE_BYTES_MAX => Ok(message.into()),
        _ => Err(problem("is larger than 64 MiB".to_owned())),
    }
}

/// The event that this message would be as UID 1 of the folder.
pub(super) fn made(raw: &[u8], place: &Place<'_>, now: Wall) -> Made {
    let limits = ParseLimits {
        parse_bytes: place.parse_bytes,
        text_bytes: place.event_bytes,
        header_bytes: place.event_bytes,
        ..ParseLimits::default()
    };
    let message = message::parse(raw, &limits);
    let fingerprint = message::fingerprint(raw, Some(now));
    let (uid, uid_validity) = (Uid(std::num::NonZeroU32::MIN), UidValidity(1));
    let context = MessageContext {
        mailbox: place.mailbox,
        folder: place.folder,
        uid,
        uid_validity,
        internal_date: Some(now),
        size: raw.len() as u64,
        flags: &[],
        server_folder: place.folder,
        gmail: None,
        fingerprint,
        trusted_authserv_id: place.trusted_authserv_id,
    };
    let identity = Identity {
        instance: place.instance.into(),
        mailbox: MailboxKey::from(place.mailbox.id),
        folder: FolderName::from(place.folder),
        uid_validity,
        uid,
        fingerprint,
        internal_date: Some(now),
    };
    Made {
        id: identity.id(0),
        subject: format!("{}/{uid_validity}/{uid}", place.folder),
        time: now,
        data: payload::message_data(&context, &message, place.event_bytes).json,
    }
}

pub(crate) fn send_test(args: &SendTest, json: bool) -> Result<(), Failure> {
    let raw = read(&args.file)?;
    let now = clock::wall();
    let labels = std::collections::BTreeMap::new();
    let place = Place {
        instance: "test",
        mailbox: MailboxRef {
            id: "test",
            address: "test@example.org",
            labels: &labels,
        },
        folder: "INBOX",
        trusted_authserv_id: None,
        event_bytes: 64 << 10,
        parse_bytes: ParseLimits::default().parse_bytes,
    };
    let made = made(&raw, &place, now);
    let secret = match args.bad_signature {
        // Of the same kind as the real one, and unknown to everybody.
        true => other_secret(&args.secret),
        false => SecretString::from(args.secret.as_str()),
    };
    let signer = Signer::new(&[secret])
        .map_err(|error| Failure::new(Exit::Failed, format!("--secret: {error}")))?;
    let client = client(args)?;
    let runtime = direct::runtime()?;
    let send = |attempt: u32| runtime.block_on(post(&client, &signer, args, &made, attempt));
    let first = send(1)?;
    let second = args.replay.then(|| send(2)).transpose()?;
    tell(args, &made, &first, second.as_ref(), json)
}

/// Nobody knows it; a receiver that takes one kind of signature is tried with that.
fn other_secret(secret: &str) -> SecretString {
    let key = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
    let kind = match secret.starts_with("whsk_") {
        true => "whsk_",
        false => "whsec_",
    };
    format!("{kind}{}", STANDARD.encode(key.concat())).into()
}

fn client(args: &SendTest) -> Result<Client, Failure> {
    let settings = Settings {
        url: args.url.clone(),
        timeout: Duration::from_secs(15),
        connections_max: 1,
        ca_file: None,
        identity: None,
        headers: reqwest::header::HeaderMap::new(),
        addresses: address::Policy::default(),
        names: address::Names::System,
        proxy: Proxy::Env,
        classifier: Classifier::default(),
    };
    Client::new(&settings).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

async fn post(
    client: &Client,
    signer: &Signer,
    args: &SendTest,
    made: &Made,
    attempt: u32,
) -> Result<Sent, Failure> {
    let now = clock::wall();
    let source = Source {
        event: RenderInput {
            id: made.id,
            event_type: EventType::MessageReceived,
            instance: "test",
            mailbox: Some("test"),
            subject: &made.subject,
            time: made.time,
            stored_at: made.time,
            data: &made.data,
            sequence: 1,
            attempt,
            first_attempt_at: Some(made.time),
            replay: None,
            stepped_aside: false,
            when_failed: false,
            test: true,
        },
        raw: None,
        contents: None,
        now,
    };
    let rendered = Format::Event(Event::plain(args.url.clone())).request(&source, &[]);
    let rendered = rendered
        .ok()
        .flatten()
        .ok_or_else(|| Failure::new(Exit::Failed, "the event cannot be rendered"))?;
    let at = match args.old_timestamp {
        true => now - OLD,
        false => now,
    };
    Ok(client
        .send(Some(signer), made.id, at.seconds(), rendered)
        .await)
}

/// What is to be refused must not be accepted, and the other way round.
fn tell(
    args: &SendTest,
    made: &Made,
    first: &Sent,
    second: Option<&Sent>,
    json: bool,
) -> Result<(), Failure> {
    let accepted = |sent: &Sent| sent.attempt.class() == Class::Delivered;
    let refuse = args.bad_signature || args.old_timestamp;
    // Unreachable is no refusal.
    let refused = first
        .attempt
        .status()
        .is_some_and(|status| (400..500).contains(&status));
    let good = match refuse {
        true => refused,
        false => accepted(first) && second.is_none_or(accepted),
    };
    let told = |sent: &Sent| json!({ "status": sent.attempt.status(), "outcome": sent.attempt.outcome(), "note": sent.note });
    if json {
        let attempts: Vec<_> = std::iter::once(first).chain(second).map(told).collect();
        print_json(&json!({ "id": made.id.to_string(), "ok": good, "attempts": attempts }))?;
    } else {
        for sent in std::iter::once(first).chain(second) {
            print(&format!(
                "{}: {} ({} ms)\n",
                made.id,
                sent.note,
                sent.took.as_millis()
            ))?;
        }
    }
    if good {
        if args.replay && !json {
            print("accepted twice under one id; see to it that the receiver acted once\n")?;
        }
        return Ok(());
    }
    let (what, hint) = match (args.bad_signature, args.old_timestamp) {
        (true, _) => (
            "the receiver did not refuse a signature with another secret",
            "verify webhook-signature over the raw body before anything else, and answer 401",
        ),
        (_, true) => (
            "the receiver did not refuse an attempt of ten minutes ago",
            "compare webhook-timestamp with the clock, and answer 401 if it is more than 5 minutes off",
        ),
        (false, false) => (
            "the receiver did not accept the event",
            "docs/WEBHOOKS.md says what a receiver does; `postrider listen` shows what arrives",
        ),
    };
    Err(Failure::new(Exit::Failed, what).hint(hint))
}
