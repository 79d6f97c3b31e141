//! The HTTP client of one endpoint: one POST, and what came of it.
//!
//! It never retries, never follows a redirect, never reads more of an answer than it must, and
//! judges the address that it really connects to.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use postrider_core::{
    delivery::{
        Attempt, Class, Failure, RetryAfter,
        classify::{Classifier, Control},
        parse_http_date,
    },
    time::Wall,
};
use reqwest::{
    Certificate, Identity, Request, Response,
    header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use uuid::Uuid;

use crate::{
    address, answer,
    failure::{chain, classify},
    format::{Answer, Rendered},
    sign::Signer,
};

/// Of an answer at most this much is read: enough to keep the connection for the next event where
/// the answer is of a usual size.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The status has been told when the answer's body begins: reading on must not hold the slot.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Below the idle time after which common servers and balancers close a connection (60 s and up),
/// so that a request is seldom sent into one that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(45);

const USER_AGENT: &str = concat!("postrider/", env!("CARGO_PKG_VERSION"));

/// What a client is built from.
#[derive(Clone)]
pub struct Settings {
    pub url: Url,
    /// For the whole attempt: connect, send, answer.
    pub timeout: Duration,
    /// Connections that are kept for the next events.
    pub connections_max: usize,
    /// PEM; then no other authority is trusted.
    pub ca_file: Option<PathBuf>,
    /// PEM with certificates and key, which are shown to receivers that ask for them (mutual TLS).
    pub identity: Option<SecretString>,
    /// Sent with each request, in place of what a format says under the same name.
    pub headers: HeaderMap,
    pub addresses: address::Policy,
    pub names: address::Names,
    pub proxy: Proxy,
    /// What the endpoint's answers mean.
    pub classifier: Classifier,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    None,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    Env,
    Url(Url),
}

impl Proxy {
    /// The hosts of the proxies themselves.
    fn hosts(&self) -> Vec<String> {
        const VARIABLES: [&str; 6] = [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ];
        let host = |url: &Url| url.host_str().map(str::to_owned);
        match self {
            Self::None => Vec::new(),
            Self::Url(url) => host(url).into_iter().collect(),
            Self::Env => VARIABLES
                .iter()
                .filter_map(|name| std::env::var(name).ok())
                .filter_map(|value| match value.contains("://") {
                    true => Url::parse(&value).ok(),
                    false => Url::parse(&format!("http://{value}")).ok(),
                })
                .filter_map(|url| host(&url))
                .collect(),
        }
    }
}

/// Why no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("ca_file {path}: {detail}")]
    CaFile { path: PathBuf, detail: String },
    #[error(
        "client_certificate cannot be used: {0}; hint: it is PEM, with the certificate first, and the key (PKCS#8) in the same file or by `key`"
    )]
    Identity(String),
    #[error("the proxy's url cannot be used: {0}")]
    Proxy(String),
    #[error("the http client cannot be built: {0}")]
    Client(String),
}

/// One attempt, told.
#[derive(Clone, Debug)]
pub struct Sent {
    pub attempt: Attempt,
    /// The answer's `Date`.
    pub date: Option<Wall>,
    pub took: Duration,
    /// What happened, in plain words, with the redacted start of an answer that is no success.
    pub note: String,
    /// The start of the answer, for a request that follows.
    pub answer: Option<Answer>,
}

pub struct Client {
    http: reqwest::Client,
    host: String,
    headers: HeaderMap,
    addresses: address::Policy,
    classifier: Classifier,
    answer_bytes_max: usize,
    answer_time_max: Duration,
    timeout: Duration,
    secrets: Vec<SecretString>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.host)
    }
}

impl Client {
    /// Reads the CA file; a changed file takes a new client.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT_MAX))
            .timeout(settings.timeout)
            .pool_max_idle_per_host(settings.connections_max)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(settings.timeout / 3)
            .http2_keep_alive_timeout(settings.timeout / 3)
            .dns_resolver(address::Guard {
                policy: settings.addresses,
                names: settings.names.clone(),
                proxies: settings.proxy.hosts(),
            });
        builder = match &settings.proxy {
            Proxy::None => builder.no_proxy(),
            Proxy::Env => builder,
            Proxy::Url(url) => {
                let proxy = reqwest::Proxy::all(url.clone())
                    .map_err(|error| SettingsError::Proxy(error.without_url().to_string()))?;
                builder.no_proxy().proxy(proxy)
            }
        };
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_only(certificates(path)?);
        } else if settings.url.scheme() == "http" {
            // No handshake will be made, so the system's authorities need not be there.
            builder = builder.tls_certs_only(std::iter::empty::<Certificate>());
        }
        if let Some(pem) = &settings.identity {
            let identity = Identity::from_pem(pem.expose_secret().as_bytes())
                .map_err(|error| SettingsError::Identity(chain(&error.without_url())))?;
            builder = builder.identity(identity);
        }
        let http = builder
            .build()
            .map_err(|error| SettingsError::Client(chain(&error.without_url())))?;
        Ok(Self {
            http,
            host: settings.url.host_str().unwrap_or("?").to_owned(),
            headers: settings.headers.clone(),
            addresses: settings.addresses,
            classifier: settings.classifier.clone(),
            answer_bytes_max: ANSWER_BYTES_MAX,
            answer_time_max: ANSWER_TIME_MAX,
            timeout: settings.timeout,
            secrets: Vec::new(),
        })
    }

    /// Of an answer as much is read for the requests after it, for as long as the attempt may take.
    /// Default: 16 KiB, for 2 s.
    #[must_use]
    pub fn answers_up_to(mut self, bytes: usize) -> Self {
        self.answer_bytes_max = bytes;
        self.answer_time_max = self.timeout;
        self
    }

    /// What requests carry in confidence: receivers that show what they got show it too, and it is
    /// cut out of what is told of their answers.
    #[must_use]
    pub fn keeping_secret(mut self, secrets: Vec<SecretString>) -> Self {
        self.secrets = secrets;
        self
    }

    /// Signs (where there is something to sign with) and sends one request. `timestamp`: Unix
    /// seconds of this attempt.
    pub async fn send(
        &self,
        signer: Option<&Signer>,
        id: Uuid,
        timestamp: i64,
        rendered: Rendered,
    ) -> Sent {
        let started = Instant::now();
        let told = |attempt, date, note, answer| Sent {
            attempt,
            date,
            took: started.elapsed(),
            note,
            answer,
        };
        let failed = |failure, note| told(Attempt::Failed(failure), None, note, None);
        if let Some(why) = self.addresses.refused_literal(&rendered.url) {
            return failed(Failure::AddressRefused, format!("the url's host is {why}"));
        }
        let request = match self.request(signer, id, timestamp, rendered).await {
            Ok(request) => request,
            Err(error) => return failed(Failure::Unsendable, error),
        };
        let made_of_secrets = made_of_secrets(request.headers());
        match self.http.execute(request).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let header = |name: &str| {
                    response
                        .headers()
                        .get(name)
                        .and_then(|value: &HeaderValue| value.to_str().ok())
                };
                let date = header(DATE.as_str()).and_then(parse_http_date);
                let retry_after = retry_after(response.headers()).by_clock(date);
                let control = Control::parse(header("webhook-delivery"));
                let (start, whole) =
                    read_start(response, self.answer_bytes_max, self.answer_time_max).await;
                let class = self.classifier.class(status, &start);
                let attempt = Attempt::Answered {
                    status,
                    retry_after,
                    class,
                    control,
                };
                let note = note(status, class, &start, &[&self.secrets, &made_of_secrets]);
                let answer = Answer {
                    status,
                    body: start.into(),
                    whole,
                };
                told(attempt, date, note, Some(answer))
            }
            Err(error) => {
                let (failure, note) = classify(error);
                failed(failure, note)
            }
        }
    }

    /// The request as it would be sent now.
    pub async fn request(
        &self,
        signer: Option<&Signer>,
        id: Uuid,
        timestamp: i64,
        rendered: Rendered,
    ) -> Result<Request, String> {
        let problem = |error: reqwest::header::InvalidHeaderValue| error.to_string();
        let mut text = Uuid::encode_buffer();
        let id_text: &str = id.hyphenated().encode_lower(&mut text);
        let id_value = HeaderValue::from_str(id_text).map_err(problem)?;
        let signature = match signer {
            Some(signer) => {
                let signature = signer.header_of(id_text, timestamp, &rendered.body).await;
                Some(signature.map_err(|error| format!("the message cannot be read: {error}"))?)
            }
            None => None,
        };
        let mut request = self
            .http
            .request(rendered.method, rendered.url)
            .headers(rendered.headers)
            .build()
            .map_err(|error| chain(&error.without_url()))?;
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        if let Some(signature) = signature {
            let signature = HeaderValue::try_from(signature).map_err(problem)?;
            headers.insert("webhook-signature", signature);
        }
        // A format of several requests has one for each.
        if !headers.contains_key("idempotency-key") {
            headers.insert("idempotency-key", id_value.clone());
        }
        headers.insert("webhook-id", id_value);
        headers.insert(
            "traceparent",
            HeaderValue::try_from(traceparent(id)).map_err(problem)?,
        );
        *request.body_mut() = Some(rendered.body.into_http());
        Ok(request)
    }
}

/// A W3C trace context: the trace is the event's, so that its attempts belong together; the span
/// is the attempt's.
fn traceparent(event: Uuid) -> String {
    let (span, _) = Uuid::new_v4().as_u64_pair();
    format!("00-{}-{:016x}-01", event.simple(), span.max(1))
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate>, SettingsError> {
    let problem = |detail: String| SettingsError::CaFile {
        path: path.clone(),
        detail,
    };
    let pem = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| problem(chain(&error)))?;
    if found.is_empty() {
        return Err(problem("it holds no PEM certificate".to_owned()));
    }
    Ok(found)
}

/// The start of the answer's body, and whether it is all of it. What is cut off costs the connection,
/// nothing else.
async fn read_start(
    mut response: Response,
    bytes_max: usize,
    time_max: Duration,
) -> (Vec<u8>, bool) {
    let mut start = Vec::new();
    let reading = async {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = bytes_max - start.len();
                    start.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    // What does not come in time is left out.
    let whole = tokio::time::timeout(time_max, reading).await;
    (start, whole.unwrap_or(false))
}

/// The first of these headers that says something.
fn retry_after(headers: &HeaderMap) -> RetryAfter {
    let values = headers.get_all(RETRY_AFTER).iter();
    values
        .map(|value| RetryAfter::parse(Some(value.to_str().unwrap_or(""))))
        .reduce(|known, next| match known {
            RetryAfter::Nonsense => next,
            RetryAfter::Absent | RetryAfter::Seconds(_) | RetryAfter::At(_) => known,
        })
        .unwrap_or(RetryAfter::Absent)
}

/// Tokens and logins. What is shorter is a name, or one of the endpoint's secrets itself.
fn made_of_secrets(headers: &HeaderMap) -> Vec<SecretString> {
    const BYTES_MIN: usize = 16;
    let secret = headers.values().filter(|value| value.is_sensitive());
    let text = secret.filter_map(|value| value.to_str().ok());
    let long = text.filter(|text| text.len() >= BYTES_MIN);
    long.map(SecretString::from).collect()
}

fn note(status: u16, class: Class, start: &[u8], secrets: &[&[SecretString]]) -> String {
    match class {
        Class::Delivered => format!("answered {status}"),
        Class::Refused | Class::Failing | Class::Trouble => {
            let excerpt = answer::excerpt(start, &secrets.concat());
            if excerpt.is_empty() {
                format!("answered {status}")
            } else {
                format!("answered {status}: {excerpt}")
            }
        }
    }
}
