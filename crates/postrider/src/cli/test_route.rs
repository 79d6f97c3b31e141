//! `test-route`: which endpoints a message would go to, why, and the requests that they would get,
//! signed. Nothing is sent, and secrets are not shown.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::StreamExt as _;
use postrider_core::{
    event::EventType,
    ids::{EndpointKey, MailboxKey},
};
use postrider_store::EventRow;
use postrider_webhook::{body::RawMessage, payload::MailboxRef};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    args::TestRoute,
    direct,
    failure::{Exit, Failure},
    output::{print, print_json},
    send_test::{Made, Place, made, read},
};
use crate::{
    clock,
    config::{Config, Endpoint, Environment, Mailbox, nearest},
    dispatcher,
    routing::{Facts, Route, Router},
    secrets::{Pace, SecretList, Secrets},
    telemetry::Telemetry,
};

/// Of a body so much is shown.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// What becomes of the message at one endpoint.
struct Verdict {
    endpoint: EndpointKey,
    goes: bool,
    why: String,
    request: Option<Result<Shown, String>>,
}

/// A request without its secrets.
struct Shown {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
    bytes: u64,
    /// Templates with further steps need the answer to this one first.
    more: bool,
}

pub(crate) fn test_route(file: &Path, args: &TestRoute, json: bool) -> Result<(), Failure> {
    let config = direct::load(file, json)?;
    let raw = read(&args.file)?;
    let mailbox = mailbox(&config, args.mailbox.as_deref())?;
    let endpoints = endpoints(&config, mailbox, args.endpoint.as_deref())?;
    let folder = mailbox
        .folders
        .first()
        .map_or("INBOX", |folder| folder.as_str());
    let now = clock::wall();
    let place = Place {
        instance: &config.instance,
        mailbox: MailboxRef {
            id: mailbox.key.as_str(),
            address: &mailbox.address,
            labels: &mailbox.labels,
        },
        folder,
        trusted_authserv_id: mailbox.trusted_authserv_id.as_deref(),
        event_bytes: usize::try_from(config.limits.event_bytes).unwrap_or(usize::MAX),
    };
    let made = made(&raw, &place, now);
    let telemetry = Telemetry::new()
        .map_err(|error| Failure::new(Exit::Failed, format!("no telemetry: {error}")))?;
    let runtime = direct::runtime()?;
    let verdicts = runtime.block_on(async {
        let environment = Environment::of_process();
        let secrets = Secrets::new(environment, Arc::new(telemetry), Pace::default());
        let mut verdicts = Vec::new();
        for endpoint in endpoints {
            let list = secrets.watch(&endpoint.secrets()).borrow().clone();
            verdicts.push(judge(&config, mailbox, endpoint, &made, &raw, &list).await);
        }
        verdicts
    });
    if json {
        return print_json(&json!(
            verdicts.iter().map(Verdict::json).collect::<Vec<_>>()
        ));
    }
    for verdict in &verdicts {
        print(&verdict.text())?;
    }
    Ok(())
}

fn mailbox<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Arc<Mailbox>, Failure> {
    let names = || config.mailboxes.keys().map(MailboxKey::as_str);
    match name {
        Some(name) => config
            .mailboxes
            .get(&MailboxKey::from(name))
            .ok_or_else(|| {
                let failure = Failure::new(Exit::Failed, format!("there is no mailbox `{name}`"));
                match nearest(name, names()) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure,
                }
            }),
        None => match config.mailboxes.values().collect::<Vec<_>>().as_slice() {
            [only] => Ok(only),
            [] => Err(Failure::new(Exit::Failed, "no mailbox is configured")),
            [..] => {
                let hint = format!(
                    "name one with --mailbox: {}",
                    names().collect::<Vec<_>>().join(", ")
                );
                Err(Failure::new(Exit::Failed, "there are several mailboxes").hint(hint))
            }
        },
    }
}

fn endpoints<'a>(
    config: &'a Config,
    mailbox: &Mailbox,
    name: Option<&str>,
) -> Result<Vec<&'a Arc<Endpoint>>, Failure> {
    let Some(name) = name else {
        let keys = mailbox.endpoints.iter();
        return Ok(keys.filter_map(|key| config.endpoints.get(key)).collect());
    };
    match config.endpoints.get(&EndpointKey::from(name)) {
        Some(endpoint) => Ok(vec![endpoint]),
        None => {
            let names = config.endpoints.keys().map(EndpointKey::as_str);
            let failure = Failure::new(Exit::Failed, format!("there is no endpoint `{name}`"));
            Err(match nearest(name, names) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure,
            })
        }
    }
}

async fn judge(
    config: &Config,
    mailbox: &Mailbox,
    endpoint: &Arc<Endpoint>,
    made: &Made,
    raw: &Bytes,
    secrets: &SecretList,
) -> Verdict {
    let verdict = |goes, why: &str| Verdict {
        endpoint: endpoint.key.clone(),
        goes,
        why: why.to_owned(),
        request: None,
    };
    if !mailbox.endpoints.contains(&endpoint.key) {
        return verdict(false, "the mailbox does not name it in `endpoints`");
    }
    if !endpoint.types.contains(&EventType::MessageReceived) {
        return verdict(false, "its `types` do not have message.received");
    }
    let facts = Facts {
        event_type: EventType::MessageReceived,
        subject: &made.subject,
        time: made.time,
        data: &made.data,
    };
    let mut router = Router::new(facts, made.time);
    let Some(route) = router.route(&endpoint.key, Some(endpoint)) else {
        return verdict(false, "its `when` is not true");
    };
    drop(router);
    let why = reason(endpoint, &route);
    let event = EventRow {
        id: made.id,
        event_type: EventType::MessageReceived,
        mailbox: Some(mailbox.key.clone()),
        subject: made.subject.clone(),
        time: made.time,
        stored_at: made.time,
        data: made.data.clone(),
    };
    let raw = RawMessage::Bytes(raw.clone());
    let failed = route.when_failed.is_some();
    let request = dispatcher::preview(&config.instance, endpoint, secrets, event, failed, raw);
    let request = match request.await {
        Ok(Some(request)) => Some(Ok(shown(request, endpoint, secrets).await)),
        Ok(None) => None,
        Err(why) => Some(Err(why)),
    };
    Verdict {
        request,
        ..verdict(true, &why)
    }
}

fn reason(endpoint: &Endpoint, route: &Route) -> String {
    match (&route.when_failed, &endpoint.when) {
        (Some(why), _) => format!("its `when` cannot be evaluated ({why}): it is sent and marked"),
        (None, Some(_)) => "its `when` is true".to_owned(),
        (None, None) => "every message goes there".to_owned(),
    }
}

async fn shown(request: dispatcher::Preview, endpoint: &Endpoint, secrets: &SecretList) -> Shown {
    let hide = |text: &str| {
        let mut text = text.to_owned();
        for secret in secrets.live() {
            // Shorter ones stand in any text by chance.
            let secret = secret.expose_secret().trim();
            if secret.len() >= 6 {
                text = text.replace(secret, "[redacted]");
            }
        }
        text
    };
    let own = |name: &str| {
        let written = &endpoint.transport.headers;
        written.iter().any(|(header, _)| header.as_str() == name)
            || matches!(name, "authorization" | "x-api-key" | "api-key")
            || name.ends_with("-request")
    };
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| {
            let value = match own(name.as_str()) {
                true => "[redacted]".to_owned(),
                false => hide(&String::from_utf8_lossy(value.as_bytes())),
            };
            (name.to_string(), value)
        })
        .collect();
    let mut start = Vec::new();
    let mut chunks = std::pin::pin!(request.body.chunks());
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = SHOWN_BYTES_MAX.saturating_sub(start.len());
        start.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if room == 0 {
            break;
        }
    }
    Shown {
        method: request.method.to_string(),
        url: hide(request.url.as_str()),
        headers,
        body: hide(&String::from_utf8_lossy(&start)),
        bytes: request.body.len(),
        more: request.more,
    }
}

impl Verdict {
    fn json(&self) -> Value {
        let request = match &self.request {
            Some(Ok(shown)) => json!({
                "method": shown.method, "url": shown.url, "headers": shown.headers,
                "body": shown.body, "bytes": shown.bytes, "more_depends_on_its_answer": shown.more,
            }),
            Some(Err(_)) | None => Value::Null,
        };
        let problem = match &self.request {
            Some(Err(why)) => Some(why),
            Some(Ok(_)) | None => None,
        };
        json!({
            "endpoint": self.endpoint.as_str(), "goes": self.goes, "why": self.why,
            "request": request, "problem": problem,
        })
    }

    fn text(&self) -> String {
        let goes = if self.goes {
            "gets it"
        } else {
            "does not get it"
        };
        let mut text = format!("{}: {goes}: {}\n", self.endpoint, self.why);
        match &self.request {
            Some(Ok(shown)) => {
                text.push_str(&format!("\n{} {}\n", shown.method, shown.url));
                for (name, value) in &shown.headers {
                    text.push_str(&format!("{name}: {}\n", harmless(value)));
                }
                let body = shown.body.lines().map(harmless);
                text.push_str(&format!("\n{}\n", body.collect::<Vec<_>>().join("\n")));
                if shown.bytes > SHOWN_BYTES_MAX as u64 {
                    text.push_str(&format!("[{} bytes in all]\n", shown.bytes));
                }
                if shown.more {
                    text.push_str("[further requests depend on the answer to this one]\n");
                }
            }
            Some(Err(why)) => text.push_str(&format!("  it cannot be sent: {why}\n")),
            None if self.goes => text.push_str("  there is nothing to send\n"),
            None => {}
        }
        text.push('\n');
        text
    }
}

/// All of it, but for what could drive a terminal.
fn harmless(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}
