//! `endpoints …`: where events go, and whether they arrive.

use postrider_core::time::Wall;

use super::{
    args::Endpoints,
    client::{Answer, Client, Target},
    failure::{Exit, Failure},
    mailboxes::done,
    output::{print, print_json},
    render::{Table, clean, maybe_age, over, trouble},
};
use crate::{admin::api, clock};

pub(crate) async fn run(
    client: &Client,
    command: Option<&Endpoints>,
    json: bool,
) -> Result<(), Failure> {
    match command {
        None | Some(Endpoints::List) => list(client, json).await,
        Some(Endpoints::Pause { endpoint }) => done(
            &client
                .post(Target::of(&["endpoints", endpoint, "pause"]))
                .await?,
            json,
        ),
        Some(Endpoints::Resume { endpoint }) => done(
            &client
                .post(Target::of(&["endpoints", endpoint, "resume"]))
                .await?,
            json,
        ),
        Some(Endpoints::Ping { endpoint }) => ping(client, endpoint, json).await,
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Endpoints> = client.get(Target::of(&["endpoints"])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&list_text(&answer.read()?.endpoints, clock::wall()))
}

/// A ping that did not arrive is a failure: scripts look at the exit code.
async fn ping(client: &Client, endpoint: &str, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Pinged> = client
        .post(Target::of(&["endpoints", endpoint, "ping"]))
        .await?;
    let pinged = answer.read()?;
    if json {
        print_json(&answer.json)?;
    } else {
        print(&ping_text(endpoint, &pinged))?;
    }
    match pinged.outcome.as_str() {
        "failed" => Err(Failure::new(
            Exit::Failed,
            format!("the ping to `{endpoint}` failed"),
        )),
        _ => Ok(()),
    }
}

fn ping_text(endpoint: &str, pinged: &api::Pinged) -> String {
    let status = pinged
        .status
        .map(|status| format!(" with {status}"))
        .unwrap_or_default();
    let took = pinged
        .took_ms
        .map(|took| format!(" in {took} ms"))
        .unwrap_or_default();
    let detail = match &pinged.detail {
        Some(detail) if !detail.is_empty() => format!(": {}", clean(detail)),
        Some(_) | None => String::new(),
    };
    format!(
        "{endpoint}: {}{status}{took}{detail}\nevent {}\n",
        clean(&pinged.outcome),
        clean(&pinged.event)
    )
}

fn list_text(endpoints: &[api::Endpoint], now: Wall) -> String {
    if endpoints.is_empty() {
        return "no endpoints\n".to_owned();
    }
    let mut table = Table::new(&[
        "ENDPOINT",
        "STATE",
        "SINCE",
        "PENDING",
        "OLDEST",
        "IN FLIGHT",
        "DELIVERED",
        "DEAD",
        "TO",
    ]);
    for endpoint in endpoints {
        table.row([
            endpoint.id.clone(),
            endpoint.state.clone(),
            maybe_age(endpoint.since.as_deref(), now),
            endpoint.pending.to_string(),
            maybe_age(endpoint.oldest_pending.as_deref(), now),
            format!("{}/{}", endpoint.in_flight, endpoint.max_in_flight),
            endpoint.delivered.to_string(),
            endpoint.dead.to_string(),
            endpoint.origin.clone().unwrap_or_default(),
        ]);
    }
    let mut text = table.text();
    for endpoint in endpoints {
        if let Some(error) = &endpoint.last_error {
            let told = match endpoint.state.as_str() {
                "open" => trouble(error, now),
                _ => over(error, endpoint.last_delivered.as_deref(), now),
            };
            text += &format!("\n{}: {told}\n", clean(&endpoint.id));
        }
    }
    text
}
