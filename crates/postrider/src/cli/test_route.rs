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
use postrider_webhook::{
    body::{Body, RawMessage},
    payload::MailboxRef,
};
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
    dispatcher::{self, Outlook, Preview},
    routing::{Facts, Route, Router},
    secrets::{Pace, SecretList, Secrets},
    telemetry::Telemetry,
};

/// Of a body so much is shown.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// Stands in for secrets that are not at hand, so that the request can be shown all the same.
const STAND_IN: &str = "whsec_c2VjcmV0cyB0aGF0IGFyZSBub3QgYXQgaGFuZA==";

/// What becomes of the message at one endpoint.
struct Verdict {
    endpoint: EndpointKey,
    goes: bool,
    why: String,
    /// Secrets that the service has to have, and that are not at hand here.
    missing: Vec<String>,
    requests: Result<Vec<Shown>, String>,
}

/// A request without its secrets.
struct Shown {
    step: Option<String>,
    /// Where it hangs on an answer whether it is sent.
    only_if: Option<String>,
    what: What,
}

enum What {
    Request {
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        body: String,
        bytes: u64,
    },
    /// Nothing of it can be told without answers: the templates, as they are written.
    Written {
        method: String,
        templates: Vec<(String, String)>,
    },
    Fails(String),
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
        parse_bytes: config.limits.parse_bytes,
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
        let told: Vec<Value> = verdicts.iter().map(Verdict::json).collect();
        print_json(&json!(told))?;
    } else {
        for verdict in &verdicts {
            print(&verdict.text())?;
        }
    }
    let failing: Vec<&str> = verdicts
        .iter()
        .filter(|verdict| verdict.fails())
        .map(|verdict| verdict.endpoint.as_str())
        .collect();
    if failing.is_empty() {
        return Ok(());
    }
    let what = format!("it cannot be sent to {}", failing.join(", "));
    Err(Failure::new(Exit::Failed, what))
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
        missing: Vec::new(),
        requests: Ok(Vec::new()),
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
    let filled = secrets.filled(STAND_IN);
    let previews = dispatcher::preview(&config.instance, endpoint, &filled, event, failed, raw);
    let requests = match previews.await {
        Ok(previews) => {
            let mut all = Vec::with_capacity(previews.len());
            for preview in previews {
                all.push(shown(preview, endpoint, &filled).await);
            }
            Ok(all)
        }
        Err(why) => Err(why),
    };
    Verdict {
        missing: secrets.problems().collect(),
        requests,
        ..verdict(true, &why)
    }
}

fn reason(endpoint: &Endpoint, route: &Route) -> String {
    let why = match (&route.when_failed, &endpoint.when) {
        (Some(why), _) => format!("its `when` cannot be evaluated ({why}): it is sent and marked"),
        (None, Some(_)) => "its `when` is true".to_owned(),
        (None, None) => "every message goes there".to_owned(),
    };
    match route.twins_since {
        Some(_) => {
            format!("{why}, unless it had the same Message-ID a while ago (`suppress_duplicates`)")
        }
        None => why,
    }
}

async fn shown(preview: Preview, endpoint: &Endpoint, secrets: &SecretList) -> Shown {
    let hide = |text: &str| hidden(text, secrets);
    let what = match preview.outlook {
        Outlook::Request {
            method,
            url,
            headers,
            body,
        } => {
            let value = |name: &str, value: &[u8]| match is_secret(name, endpoint) {
                true => "[redacted]".to_owned(),
                false => hide(&String::from_utf8_lossy(value)),
            };
            let headers = headers.iter();
            What::Request {
                method: method.to_string(),
                url: hide(url.as_str()),
                headers: headers
                    .map(|(name, text)| (name.to_string(), value(name.as_str(), text.as_bytes())))
                    .collect(),
                body: hide(&String::from_utf8_lossy(&start(&body).await)),
                bytes: body.len(),
            }
        }
        Outlook::Written { method, templates } => What::Written {
            method: method.to_string(),
            templates,
        },
        Outlook::Fails(why) => What::Fails(why),
    };
    Shown {
        step: preview.step,
        only_if: preview.only_if,
        what,
    }
}

fn hidden(text: &str, secrets: &SecretList) -> String {
    let mut text = text.to_owned();
    for secret in secrets.live() {
        // Shorter ones stand in any text by chance.
        let secret = secret.expose_secret().trim();
        if secret.len() >= 6 {
            text = text.replace(secret, "[redacted]");
        }
    }
    text
}

fn is_secret(header: &str, endpoint: &Endpoint) -> bool {
    let mut written = endpoint.transport.headers.iter();
    written.any(|(name, _)| name.as_str() == header)
        || matches!(header, "authorization" | "x-api-key" | "api-key")
        || header.ends_with("-request")
}

/// As much of a body as is shown.
async fn start(body: &Body) -> Vec<u8> {
    let mut start = Vec::new();
    let mut chunks = std::pin::pin!(body.chunks());
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = SHOWN_BYTES_MAX.saturating_sub(start.len());
        start.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if room == 0 {
            break;
        }
    }
    start
}

impl Verdict {
    fn fails(&self) -> bool {
        match &self.requests {
            Ok(all) => all.iter().any(|one| matches!(one.what, What::Fails(_))),
            Err(_) => true,
        }
    }

    fn json(&self) -> Value {
        let none = Vec::new();
        let (requests, problem) = match &self.requests {
            Ok(requests) => (requests, None),
            Err(why) => (&none, Some(why)),
        };
        json!({
            "endpoint": self.endpoint.as_str(), "goes": self.goes, "why": self.why,
            "requests": requests.iter().map(Shown::json).collect::<Vec<_>>(), "problem": problem,
            "missing": self.missing,
        })
    }

    fn text(&self) -> String {
        let goes = if self.goes {
            "gets it"
        } else {
            "does not get it"
        };
        let mut text = format!("{}: {goes}: {}\n", self.endpoint, self.why);
        for missing in &self.missing {
            text.push_str(&format!("  a stand-in is used here: {missing}\n"));
        }
        match &self.requests {
            Ok(requests) if requests.is_empty() && self.goes => {
                text.push_str("  there is nothing to send\n");
            }
            Ok(requests) => requests.iter().for_each(|one| one.tell(&mut text)),
            Err(why) => text.push_str(&format!("  it cannot be sent: {why}\n")),
        }
        text.push('\n');
        text
    }
}

impl Shown {
    fn json(&self) -> Value {
        let mut told = match &self.what {
            What::Request {
                method,
                url,
                headers,
                body,
                bytes,
            } => json!({
                "method": method, "url": url, "headers": headers, "body": body, "bytes": bytes,
            }),
            What::Written { method, templates } => {
                json!({ "method": method, "as_written": templates })
            }
            What::Fails(why) => json!({ "problem": why }),
        };
        told["step"] = json!(self.step);
        told["only_if"] = json!(self.only_if);
        told
    }

    fn tell(&self, text: &mut String) {
        text.push('\n');
        if let Some(step) = &self.step {
            text.push_str(&format!("[step {step}]\n"));
        }
        if let Some(when) = &self.only_if {
            text.push_str(&format!("[only if: {}]\n", harmless(when)));
        }
        match &self.what {
            What::Request {
                method,
                url,
                headers,
                body,
                bytes,
            } => {
                text.push_str(&format!("{method} {url}\n"));
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {}\n", harmless(value)));
                }
                let body = body.lines().map(harmless);
                text.push_str(&format!("\n{}\n", body.collect::<Vec<_>>().join("\n")));
                if *bytes > SHOWN_BYTES_MAX as u64 {
                    text.push_str(&format!("[{bytes} bytes in all]\n"));
                }
            }
            What::Written { method, templates } => {
                text.push_str(&format!("{method}, as the answers before it say:\n"));
                for (key, template) in templates {
                    let lines: Vec<String> = template.lines().map(harmless).collect();
                    text.push_str(&format!("{key} = {}\n", lines.join("\n    ")));
                }
            }
            What::Fails(why) => text.push_str(&format!("  it cannot be sent: {why}\n")),
        }
    }
}

/// All of it, but for what could drive a terminal.
fn harmless(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}
