//! Signing in through a browser on this machine (authorization code with PKCE, RFC 8252): listens
//! on a loopback port for the one answer that carries our state, and says so in a small page. What
//! a request holds never gets into a page or a log.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use postrider_oauth::{
    authorization::{Authorization, BeginError, CallbackError},
    grant::Grant,
    proof::Proof,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use url::Url;

use super::{
    super::{
        args::Login,
        failure::{Exit, Failure},
        output::print,
    },
    SignIn, line,
};
/// How long the page may still travel to the browser after the answer has come.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

type Answer = Result<Proof, CallbackError>;

/// What a request to the redirect address is held against.
struct Waiting {
    authorization: Authorization,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

pub(super) async fn sign_in(sign_in: &SignIn<'_>, args: &Login) -> Result<Grant, Failure> {
    let name = &sign_in.credential.key;
    let Some(endpoint) = &sign_in.authorize else {
        return Err(Failure::new(
            Exit::Config,
            format!("credential `{name}` has no authorize_url"),
        )
        .hint("set authorize_url, or sign in without --browser"));
    };
    let (listener, redirect) = listen(sign_in.loopback, args.port).await?;
    let limit = Duration::from_secs(args.wait * 60);
    let account = args.account.as_deref();
    let authorization = Authorization::begin(&sign_in.client, endpoint, &redirect, account)
        .map_err(|error| {
            let exit = match error {
                BeginError::Endpoint(_) | BeginError::NoClient => Exit::Config,
                BeginError::Redirect | BeginError::Chance => Exit::Failed,
            };
            Failure::new(exit, format!("credential `{name}`: {error}"))
        })?;
    show(sign_in, &authorization, &redirect, limit)?;
    let proof = wait(listener, authorization, limit).await?;
    Ok(sign_in.request(&proof).await?)
}

async fn listen(host: &str, port: Option<u16>) -> Result<(TcpListener, Url), Failure> {
    let failed = |error| {
        let error = format!("no loopback port for the browser's answer: {error}");
        Failure::new(Exit::Failed, error)
            .hint("name a free one with --port, or sign in without --browser")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let port = listener
        .local_addr()
        .map_err(|error| failed(error.to_string()))?
        .port();
    let redirect =
        Url::parse(&format!("http://{host}:{port}/")).map_err(|error| failed(error.to_string()))?;
    Ok((listener, redirect))
}

fn show(
    sign_in: &SignIn<'_>,
    authorization: &Authorization,
    redirect: &Url,
    wait: Duration,
) -> Result<(), Failure> {
    if sign_in.json {
        return line(&json!({
            "step": "browser",
            "url": authorization.url(),
            "redirect": redirect,
            "expires_in_s": wait.as_secs(),
        }));
    }
    let port = redirect.port().unwrap_or_default();
    print(&format!(
        "To sign in for credential `{}`, open in a browser on this machine\n\n{}\n\nas the person \
         whose mail is to be read. From another machine, first `ssh -L {port}:127.0.0.1:{port}` \
         to this one.\nWaiting at {redirect}, at most {} min …\n\n",
        sign_in.credential.key,
        authorization.url(),
        wait.as_secs().div_ceil(60),
    ))
}

/// Serves the loopback port until the answer is there, or the time is over.
async fn wait(
    listener: TcpListener,
    authorization: Authorization,
    limit: Duration,
) -> Result<Proof, Failure> {
    let (sender, answer) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let waiting = Arc::new(Waiting {
        authorization,
        answer: Mutex::new(Some(sender)),
    });
    let router = Router::new().fallback(callback).with_state(waiting);
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // Told to stop, or nobody is left to tell.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    let answered = timeout(limit, answer).await;
    drop(stop);
    // A browser that keeps its connection open must not keep us.
    let _ = timeout(FAREWELL_TIME_MAX, server).await;
    match answered {
        Ok(Ok(Ok(proof))) => Ok(proof),
        Ok(Ok(Err(error))) => Err(refused(error)),
        Ok(Err(_)) => Err(Failure::new(Exit::Failed, "the loopback port was closed")),
        Err(_) => Err(Failure::new(
            Exit::TryAgain,
            format!("nobody signed in within {} s", limit.as_secs()),
        )
        .hint("begin anew; where this machine has no browser, sign in without --browser")),
    }
}

fn refused(error: CallbackError) -> Failure {
    let failure = Failure::new(Exit::Failed, error.to_string());
    match error {
        CallbackError::Refused { hint, .. } => failure.hint(hint),
        CallbackError::Foreign | CallbackError::NoCode => failure.hint("begin anew"),
    }
}

/// Takes the first request that carries our state; whatever else knocks is sent away.
async fn callback(State(waiting): State<Arc<Waiting>>, method: Method, uri: Uri) -> Response {
    if uri.path() != "/" {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    if method != Method::GET {
        return page(
            StatusCode::METHOD_NOT_ALLOWED,
            "This is not how a sign-in ends.",
        );
    }
    let query = uri.query().unwrap_or_default();
    let answer = waiting.authorization.accept(query, None);
    let text = match &answer {
        Ok(_) => "The answer has arrived. Go back to the terminal; this window can be closed.",
        Err(CallbackError::Foreign) => {
            let text = "This request does not belong to the sign-in that is waited for.";
            return page(StatusCode::BAD_REQUEST, text);
        }
        Err(CallbackError::Refused { .. } | CallbackError::NoCode) => {
            "The sign-in did not succeed. The terminal says why."
        }
    };
    let sender = waiting
        .answer
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let heard = sender.is_some_and(|sender| sender.send(answer).is_ok());
    match heard {
        true => page(StatusCode::OK, text),
        false => page(StatusCode::GONE, "This sign-in is over."),
    }
}

fn page(status: StatusCode, text: &str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>postrider</title>\
         <h1>postrider</h1><p>{text}</p></html>\n"
    );
    (status, headers, Html(html)).into_response()
}

#[cfg(test)]
mod tests;
