//! A webhook endpoint that trusts nobody: it verifies signature and time of every request by the
//! Standard Webhooks specification, keeps what it accepted, and counts repeats. It can be made slow,
//! broken or absent. What it did not answer with 2xx it does not count as received.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use hyper::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use crate::{
    error::Error,
    http::{HttpServer, Reply, Request, Service, response},
    sync::{Changes, lock},
};

/// How far a request's time may lie from ours.
const TOLERANCE_SECONDS: i64 = 300;

/// A running receiver. It ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    server: HttpServer<Desk>,
}

/// What is done with a request whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 204.
    Accept,
    Answer(Answer),
    /// 204, after this time.
    Slow(Duration),
    /// The whole request is read, then the connection is closed without an answer.
    CloseUnanswered,
}

impl Behaviour {
    /// An answer of nothing but a status.
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// One request whose signature was right.
#[derive(Clone, Debug)]
pub struct Received {
    /// `webhook-id`.
    pub id: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the whole request was there.
    pub arrived: Instant,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Accepted,
    /// Another status.
    Refused(u16),
    /// No answer: closed on purpose, the client gave up, or the port was closed meanwhile.
    Unanswered,
}

impl Received {
    /// The body; `null` if it is no JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

type Condition = Box<dyn Fn(&Received) -> bool + Send + Sync>;

struct Desk {
    keys: Mutex<Vec<Vec<u8>>>,
    rules: Mutex<Rules>,
    book: Mutex<Book>,
    changes: Changes,
}

struct Rules {
    otherwise: Behaviour,
    special: Vec<(Condition, Behaviour)>,
}

#[derive(Default)]
struct Book {
    entries: Vec<Received>,
    accepted: HashMap<String, u32>,
    rejections: Vec<&'static str>,
}

impl Receiver {
    /// Takes requests signed with this secret (`whsec_` and base64).
    pub async fn start(secret: &str) -> Result<Self, Error> {
        let desk = Desk {
            keys: Mutex::new(vec![key(secret)?]),
            rules: Mutex::new(Rules {
                otherwise: Behaviour::Accept,
                special: Vec::new(),
            }),
            book: Mutex::default(),
            changes: Changes::default(),
        };
        let server = HttpServer::start(desk).await?;
        Ok(Self { server })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address())
    }

    /// Takes requests signed with any of these from now on.
    pub fn set_secrets(&self, secrets: &[&str]) -> Result<(), Error> {
        let keys: Result<_, _> = secrets.iter().map(|secret| key(secret)).collect();
        *lock(&self.desk().keys) = keys?;
        Ok(())
    }

    /// What to do from now on.
    pub fn set(&self, behaviour: Behaviour) {
        lock(&self.desk().rules).otherwise = behaviour;
    }

    /// What to do with the requests that the condition holds for; the first rule that fits counts.
    pub fn when(
        &self,
        condition: impl Fn(&Received) -> bool + Send + Sync + 'static,
        behaviour: Behaviour,
    ) {
        let mut rules = lock(&self.desk().rules);
        rules.special.push((Box::new(condition), behaviour));
    }

    /// Forgets the rules of [`when`](Self::when).
    pub fn forget_rules(&self) {
        lock(&self.desk().rules).special.clear();
    }

    /// Closes the port and every connection.
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Opens the same port again.
    pub async fn up(&self) -> Result<(), Error> {
        Ok(self.server.up().await?)
    }

    /// The requests answered with 2xx, repeats included, in the order of their arrival.
    pub fn received(&self) -> Vec<Received> {
        let book = lock(&self.desk().book);
        let accepted = book.entries.iter();
        accepted
            .filter(|one| one.outcome == Outcome::Accepted)
            .cloned()
            .collect()
    }

    /// Every request with a right signature, whatever became of it.
    pub fn attempts(&self) -> Vec<Received> {
        lock(&self.desk().book).entries.clone()
    }

    /// How many requests with a right signature arrived.
    pub fn attempt_count(&self) -> usize {
        lock(&self.desk().book).entries.len()
    }

    /// How many different ids were accepted.
    pub fn distinct_ids(&self) -> usize {
        lock(&self.desk().book).accepted.len()
    }

    /// How often an id was accepted again.
    pub fn repeats(&self) -> usize {
        let book = lock(&self.desk().book);
        book.accepted
            .values()
            .map(|times| *times as usize - 1)
            .sum()
    }

    /// Why requests were turned away with 401. A test ends by finding this empty.
    pub fn rejections(&self) -> Vec<&'static str> {
        lock(&self.desk().book).rejections.clone()
    }

    /// Forgets what was received so far.
    pub fn clear(&self) {
        *lock(&self.desk().book) = Book::default();
    }

    /// Whether so many different ids came to be accepted in time.
    pub async fn wait_for(&self, ids: usize, limit: Duration) -> bool {
        self.wait_until(limit, || self.distinct_ids() >= ids).await
    }

    /// Whether the condition came true in time; it is looked at after each request.
    pub async fn wait_until(&self, limit: Duration, condition: impl Fn() -> bool) -> bool {
        self.desk().changes.wait_until(limit, condition).await
    }

    fn desk(&self) -> &Desk {
        &self.server.service
    }
}

impl Service for Desk {
    async fn answer(&self, request: Request) -> Reply {
        if let Err(why) = self.verify(&request) {
            lock(&self.book).rejections.push(why);
            self.changes.tell();
            return Reply::Answer(response(401, &[], why));
        }
        let received = Received {
            id: text(&request.headers, "webhook-id")
                .unwrap_or_default()
                .to_owned(),
            path: request.path,
            headers: request.headers,
            body: request.body,
            arrived: Instant::now(),
            outcome: Outcome::Unanswered,
        };
        let behaviour = self.behaviour(&received);
        let place = {
            let mut book = lock(&self.book);
            book.entries.push(received);
            book.entries.len() - 1
        };
        self.changes.tell();
        let answer = match behaviour {
            Behaviour::Accept => None,
            Behaviour::Answer(answer) => Some(answer),
            Behaviour::Slow(time) => {
                tokio::time::sleep(time).await;
                None
            }
            Behaviour::CloseUnanswered => return Reply::HangUp,
        };
        let reply = match &answer {
            None => response(204, &[], ""),
            Some(answer) => response(answer.status, &answer.headers, answer.body.clone()),
        };
        self.settle(place, reply.status().as_u16());
        Reply::Answer(reply)
    }
}

impl Desk {
    fn behaviour(&self, received: &Received) -> Behaviour {
        let rules = lock(&self.rules);
        let special = rules.special.iter().find(|(holds, _)| holds(received));
        special
            .map_or(&rules.otherwise, |(_, behaviour)| behaviour)
            .clone()
    }

    fn settle(&self, place: usize, status: u16) {
        let mut book = lock(&self.book);
        let Book {
            entries, accepted, ..
        } = &mut *book;
        // A book that was cleared meanwhile knows nothing of this request.
        if let Some(entry) = entries.get_mut(place) {
            if (200..300).contains(&status) {
                entry.outcome = Outcome::Accepted;
                *accepted.entry(entry.id.clone()).or_insert(0) += 1;
            } else {
                entry.outcome = Outcome::Refused(status);
            }
        }
        drop(book);
        self.changes.tell();
    }

    /// The checks of the Standard Webhooks specification, "Verifying webhook authenticity".
    fn verify(&self, request: &Request) -> Result<(), &'static str> {
        let id = text(&request.headers, "webhook-id").ok_or("webhook-id is missing")?;
        let timestamp = text(&request.headers, "webhook-timestamp");
        let timestamp = timestamp.ok_or("webhook-timestamp is missing")?;
        let signatures = text(&request.headers, "webhook-signature");
        let signatures = signatures.ok_or("webhook-signature is missing")?;
        let seconds: i64 = timestamp
            .parse()
            .map_err(|_| "webhook-timestamp is no number")?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        if now.abs_diff(seconds) > TOLERANCE_SECONDS.unsigned_abs() {
            return Err("webhook-timestamp is too far from now");
        }
        let keys = lock(&self.keys);
        let right = keys.iter().any(|key| {
            let expected = sign(key, id, timestamp, &request.body);
            signatures.split(' ').any(|one| {
                one.strip_prefix("v1,")
                    .is_some_and(|one| one.as_bytes().ct_eq(expected.as_bytes()).into())
            })
        });
        if right {
            Ok(())
        } else {
            Err("webhook-signature is wrong")
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn key(secret: &str) -> Result<Vec<u8>, Error> {
    let encoded = secret.strip_prefix("whsec_").ok_or(Error::Secret)?;
    STANDARD.decode(encoded).map_err(|_| Error::Secret)
}

fn sign(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes a key of any length, so there is always a signature.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new();
    };
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}
