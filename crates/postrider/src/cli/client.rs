//! Asks the running daemon over its admin socket: one HTTP/1.1 request per connection. It never
//! opens the daemon's database.

use std::{
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::UnixStream, time::timeout};
use url::Url;

use super::failure::{Exit, Failure};
use crate::admin::api;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A ping waits for its receiver and a reload for its files.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);
/// Ten thousand mailboxes are some ten megabytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;

pub(crate) struct Client {
    at: At,
}

/// Where the daemon is asked.
enum At {
    Socket(PathBuf),
    /// With a token, if there is one: without it the daemon says what is missing.
    Url(Url, Option<SecretString>),
}

/// The variable that holds the token for [`At::Url`].
const TOKEN: &str = "POSTRIDER_ADMIN_TOKEN";

/// An answer, as a type to show and as the JSON that came.
pub(crate) struct Answer<T> {
    pub(crate) json: Value,
    kind: PhantomData<T>,
}

impl<T: DeserializeOwned> Answer<T> {
    pub(crate) fn read(&self) -> Result<T, Failure> {
        serde_json::from_value(self.json.clone()).map_err(|error| {
            Failure::new(Exit::Failed, format!("the daemon's answer is not understood: {error}"))
                .hint("daemon and command are of different versions: compare `postrider --version` with `postrider status --json`")
        })
    }
}

/// A path under `/v1` with its query, encoded.
pub(crate) struct Target {
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
}

impl Target {
    pub(crate) fn of(segments: &[&str]) -> Self {
        Self {
            segments: segments
                .iter()
                .map(|segment| (*segment).to_owned())
                .collect(),
            query: Vec::new(),
        }
    }

    /// Adds a part to the query where there is a value.
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn text(&self) -> String {
        // Segments are names and ids; whatever else somebody types is encoded, never a path.
        let segments = self.segments.iter().map(|segment| {
            url::form_urlencoded::byte_serialize(segment.as_bytes())
                .collect::<String>()
                .replace('+', "%20")
        });
        let path = segments.fold("/v1".to_owned(), |path, segment| path + "/" + &segment);
        if self.query.is_empty() {
            return path;
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.query {
            query.append_pair(name, value);
        }
        format!("{path}?{}", query.finish())
    }
}

impl Client {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            at: At::Socket(socket),
        }
    }

    /// A socket (also as `unix:PATH`, as the configuration writes it), or a URL where it looks like one.
    pub(crate) fn at(place: PathBuf) -> Result<Self, Failure> {
        let text = place.to_string_lossy();
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::new(PathBuf::from(path)));
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Self::new(place));
        }
        let url = Url::parse(&text)
            .map_err(|error| Failure::new(Exit::Failed, format!("--socket {text}: {error}")))?;
        let token = std::env::var(TOKEN).ok();
        let token = token.filter(|token| !token.trim().is_empty());
        let token = token.map(SecretString::from);
        Ok(Self {
            at: At::Url(url, token),
        })
    }

    fn name(&self) -> String {
        match &self.at {
            At::Socket(socket) => socket.display().to_string(),
            At::Url(url, _) => url.origin().ascii_serialization(),
        }
    }

    /// Where to look when nothing comes back.
    fn look(&self) -> &'static str {
        match &self.at {
            At::Socket(_) => "look into its log",
            At::Url(..) => {
                "does it run there, and is it reached at `[admin.tcp] listen` or by the proxy before it?"
            }
        }
    }

    pub(crate) async fn get<T>(&self, target: Target) -> Result<Answer<T>, Failure> {
        self.call(Method::GET, target, Bytes::new()).await
    }

    pub(crate) async fn post<T>(&self, target: Target) -> Result<Answer<T>, Failure> {
        self.call(Method::POST, target, Bytes::new()).await
    }

    pub(crate) async fn post_json<T>(
        &self,
        target: Target,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(Exit::Failed, format!("the request: {error}")))?;
        self.call(Method::POST, target, body.into()).await
    }

    async fn call<T>(
        &self,
        method: Method,
        target: Target,
        body: Bytes,
    ) -> Result<Answer<T>, Failure> {
        let is_order = method == Method::POST;
        let exchanged = match &self.at {
            At::Socket(socket) => {
                let stream = connect(socket).await?;
                timeout(ANSWER_TIME_MAX, exchange(stream, method, &target, body)).await
            }
            At::Url(url, token) => {
                let asked = over_tcp(url, token.as_ref(), (method, &target, body));
                timeout(ANSWER_TIME_MAX, asked).await
            }
        };
        let (status, body) = match exchanged {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let why = causes(error.as_ref());
                let error = format!("the daemon at {} did not answer: {why}", self.name());
                return Err(Failure::new(Exit::Unreachable, error).hint(self.look()));
            }
            Err(_) => {
                let hint = match is_order {
                    true => "an order goes on to its end all the same: postrider admin audit",
                    false => self.look(),
                };
                let seconds = ANSWER_TIME_MAX.as_secs();
                let error = format!(
                    "the daemon at {} did not answer within {seconds} s",
                    self.name()
                );
                return Err(Failure::new(Exit::Unreachable, error).hint(hint));
            }
        };
        let json = serde_json::from_slice::<Value>(&body).ok();
        if !status.is_success() {
            let failure = refusal(status, json);
            return Err(match (&self.at, status) {
                (At::Url(..), StatusCode::UNAUTHORIZED) => failure.hint(format!(
                    "set {TOKEN} to a token that `postrider admin token create` printed"
                )),
                (At::Url(..) | At::Socket(_), _) => failure,
            });
        }
        match json {
            Some(json) => Ok(Answer {
                json,
                kind: PhantomData,
            }),
            None => Err(Failure::new(Exit::Failed, "the daemon's answer is no JSON")),
        }
    }
}

async fn connect(path: &Path) -> Result<UnixStream, Failure> {
    let socket = path.display();
    let error = match timeout(CONNECT_TIME_MAX, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error,
        Err(_) => io::Error::from(io::ErrorKind::TimedOut),
    };
    Err(match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Failure::new(Exit::Unreachable, format!("no access to the admin socket {socket}"))
                    .hint("become the service's user or a member of its group, or root")
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Failure::new(Exit::Unreachable, format!("no postrider answers at {socket}"))
                    .hint("is it running (`systemctl status postrider`)? --config has to name the file it runs with")
            }
            _ => Failure::new(Exit::Unreachable, format!("no postrider answers at {socket}: {error}"))
                .hint("is it running (`systemctl status postrider`)?"),
        })
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// An error with what it comes from: that alone says whether a name, a port or a certificate is wrong.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    target: &Target,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Failed> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(target.text())
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(body))?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?;
        Ok::<_, Failed>((status, body.to_bytes()))
    };
    tokio::pin!(answered);
    tokio::pin!(connection);
    let mut open = true;
    loop {
        tokio::select! {
            answer = &mut answered => return answer,
            // The end of the connection is told by the answer, complete or not.
            _ = &mut connection, if open => open = false,
        }
    }
}

/// Nothing is followed and nothing goes through a proxy: the token is for the one that is named.
async fn over_tcp(
    url: &Url,
    token: Option<&SecretString>,
    (method, target, body): (Method, &Target, Bytes),
) -> Result<(StatusCode, Bytes), Failed> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIME_MAX)
        .build()?;
    let mut request = http
        .request(method, url.join(&target.text())?)
        .header("content-type", "application/json")
        .body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let answer = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    let body = Limited::new(reqwest::Body::from(answer), ANSWER_BYTES_MAX);
    Ok((status, body.collect().await?.to_bytes()))
}

fn refusal(status: StatusCode, json: Option<Value>) -> Failure {
    let exit = match status {
        StatusCode::UNPROCESSABLE_ENTITY => Exit::Config,
        _ => Exit::Failed,
    };
    match json.and_then(|json| serde_json::from_value::<api::Failure>(json).ok()) {
        Some(failure) => Failure {
            exit,
            error: failure.error,
            details: failure.details,
            hint: failure.hint,
        },
        None => Failure::new(Exit::Failed, format!("the daemon answered {status}")),
    }
}
