//! Signing in with a code that is typed in elsewhere (RFC 8628): shows it, and asks at the pace
//! that the provider sets until the person is done.

use postrider_core::token::Failure as Meaning;
use postrider_oauth::{
    device::{DeviceCode, DeviceFlow, Pace, Poll},
    grant::Grant,
};
use secrecy::SecretString;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    super::{
        failure::{Exit, Failure},
        output::print,
        render::clean,
    },
    SignIn, line,
};
use crate::{clock, tokens::once::REQUEST_LIMIT};

pub(super) async fn sign_in(sign_in: &SignIn<'_>) -> Result<Grant, Failure> {
    let flow = flow(sign_in)?;
    let http = &sign_in.http;
    let start = async |secret: Option<SecretString>| {
        flow.start(http, secret.as_ref(), REQUEST_LIMIT, clock::wall())
            .await
    };
    let code = sign_in.ask(start).await?;
    show(sign_in, &code)?;
    let deadline = Instant::now() + code.expires_in;
    let mut pace = Pace::new(&code);
    loop {
        sleep(pace.wait()).await;
        let poll = async |secret: Option<SecretString>| {
            flow.poll(http, &code, secret.as_ref(), REQUEST_LIMIT, clock::wall())
                .await
        };
        match sign_in.ask(poll).await {
            Ok(Poll::Granted(grant)) => return Ok(*grant),
            Ok(Poll::Pending) => {}
            Ok(Poll::SlowDown) => pace.slow_down(),
            Ok(Poll::Declined) => return Err(declined()),
            Ok(Poll::Expired) => return Err(too_late()),
            Ok(Poll::BadCode) => {
                return Err(
                    Failure::new(Exit::Failed, "the provider no longer knows the code")
                        .hint("begin anew"),
                );
            }
            // The person may still be typing: what passes by itself ends nothing.
            Err(error) => match error.failure() {
                Meaning::Refused | Meaning::Unsettled => return Err(error.into()),
                Meaning::Throttled { .. } | Meaning::Outage { .. } => pace.back_off(),
            },
        }
        if Instant::now() >= deadline {
            return Err(too_late());
        }
    }
}

fn flow(sign_in: &SignIn<'_>) -> Result<DeviceFlow, Failure> {
    let name = &sign_in.credential.key;
    let Some(endpoint) = &sign_in.device else {
        return Err(Failure::new(
            Exit::Config,
            format!("credential `{name}` has no device_url"),
        )
        .hint("set device_url, or sign in with --browser"));
    };
    DeviceFlow::new(sign_in.client.clone(), endpoint).map_err(|error| {
        Failure::new(
            Exit::Config,
            format!("credentials.{name}.device_url: {error}"),
        )
    })
}

fn show(sign_in: &SignIn<'_>, code: &DeviceCode) -> Result<(), Failure> {
    if sign_in.json {
        return line(&json!({
            "step": "code",
            "verification_uri": code.verification_uri,
            "verification_uri_complete": code.verification_uri_complete,
            "user_code": code.user_code,
            "expires_in_s": code.expires_in.as_secs(),
        }));
    }
    let complete = match &code.verification_uri_complete {
        Some(url) => format!("\n(or open {url}, which has the code in it)\n"),
        None => String::new(),
    };
    print(&format!(
        "To sign in for credential `{}`, open in any browser\n\n    {}\n\nand enter the code\n\n    \
         {}\n{complete}\nas the person whose mail is to be read. Waiting, at most {} min …\n\n",
        sign_in.credential.key,
        code.verification_uri,
        clean(&code.user_code),
        code.expires_in.as_secs().div_ceil(60),
    ))
}

fn declined() -> Failure {
    Failure::new(Exit::Failed, "the sign-in was declined").hint(
        "begin anew and accept; where a policy forbids it, an administrator has to allow the \
         application (and at Microsoft the device code flow, or use --browser)",
    )
}

fn too_late() -> Failure {
    Failure::new(Exit::TryAgain, "nobody signed in while the code was good").hint("begin anew")
}
