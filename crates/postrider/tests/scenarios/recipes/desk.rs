//! A ticket system over HTTP: requests come in, a product's own code answers them, and an answer can
//! be lost after its work was done.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) const RIGHT: &str = "the right one";

pub(crate) type Handler = fn(&mut Office, &Ask) -> (u16, Value);

#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket {
    /// What the product keeps of it.
    pub(crate) facts: Value,
    pub(crate) text: String,
    pub(crate) notes: Vec<String>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// What a product has.
#[derive(Default)]
pub(crate) struct Office {
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) uploads: Vec<(String, Vec<u8>)>,
    pub(crate) keys: BTreeMap<String, usize>,
    /// What would have been mailed to a customer.
    pub(crate) mailed: Vec<String>,
    log: Vec<String>,
    /// So many answers arrive before one is lost.
    lose_after: Option<usize>,
}

pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ask {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(crate) fn of(&self, name: &str) -> &str {
        let of_name = self.query.iter().find(|(key, _)| key == name);
        of_name.map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.query.iter().filter(move |(key, _)| key == name);
        of_name.map(|(_, value)| value.as_str())
    }

    /// `POST /path`, for a match.
    pub(crate) fn what(&self) -> (&str, Vec<&str>) {
        let parts = self.path.split('/').filter(|part| !part.is_empty());
        (&self.method, parts.collect())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Fields (name, file name, bytes) of multipart/form-data.
    pub(crate) fn parts(&self) -> Vec<(String, Option<String>, Vec<u8>)> {
        let kind = self.header("content-type");
        let boundary = kind.split_once("boundary=").unwrap().1;
        let delimiter = format!("--{boundary}");
        let body = &self.body[..];
        let mut parts = Vec::new();
        let mut starts: Vec<usize> = Vec::new();
        for at in 0..body.len() {
            if body[at..].starts_with(delimiter.as_bytes()) {
                starts.push(at);
            }
        }
        for pair in starts.windows(2) {
            let part = &body[pair[0] + delimiter.len() + 2..pair[1] - 2];
            let split = part
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap();
            let head = String::from_utf8(part[..split].to_vec()).unwrap();
            let quoted = |name: &str| {
                let after = head.split_once(&format!("; {name}=\""))?.1;
                Some(after.split_once('"')?.0.replace("%22", "\""))
            };
            let name = quoted("name").unwrap();
            parts.push((name, quoted("filename"), part[split + 4..].to_vec()));
        }
        parts
    }

    pub(crate) fn part(&self, name: &str) -> String {
        let parts = self.parts();
        let found = parts.into_iter().find(|(part, _, _)| part == name);
        String::from_utf8(found.map(|(_, _, bytes)| bytes).unwrap_or_default()).unwrap()
    }
}

/// The words in double quotes.
pub(crate) fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('"').enumerate();
    parts
        .filter(|(number, _)| number % 2 == 1)
        .map(|(_, part)| part.to_owned())
        .collect()
}

pub(crate) struct Desk {
    pub(crate) at: SocketAddr,
    office: Arc<Mutex<Office>>,
}

#[derive(Clone)]
struct Served {
    office: Arc<Mutex<Office>>,
    handler: Handler,
}

impl Desk {
    pub(crate) async fn start(handler: Handler) -> Self {
        let office = Arc::new(Mutex::new(Office::default()));
        let served = Served {
            office: Arc::clone(&office),
            handler,
        };
        let app = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(served);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { at, office }
    }

    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        self.office.lock().unwrap().tickets.clone()
    }

    pub(crate) fn mailed(&self) -> Vec<String> {
        self.office.lock().unwrap().mailed.clone()
    }

    pub(crate) fn log(&self) -> String {
        self.office.lock().unwrap().log.join("\n")
    }

    pub(crate) fn lose_answer(&self, after: usize) {
        self.office.lock().unwrap().lose_after = Some(after);
    }

    pub(crate) fn lose_none(&self) {
        self.office.lock().unwrap().lose_after = None;
    }
}

async fn serve(
    State(served): State<Served>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let ask = Ask {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: query.into_owned().collect(),
        headers,
        body,
    };
    let mut office = served.office.lock().unwrap();
    let (status, answer) = (served.handler)(&mut office, &ask);
    let line = format!(
        "{} {} {:?} -> {status} {answer}",
        ask.method, ask.path, ask.query
    );
    office.log.push(line);
    let lost = match &mut office.lose_after {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    };
    if lost {
        office.lose_after = None;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let status = StatusCode::from_u16(status).unwrap();
    (
        status,
        [("content-type", "application/json")],
        answer.to_string(),
    )
        .into_response()
}
