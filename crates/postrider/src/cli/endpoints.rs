//! `endpoints …`: where events go, and whether they arrive.

use postrider_core::time::Wall;

use super::{
    args::Endpoints,
    client::{Answer, Client, Target},
    failure::{Exit, Failure},
    mailboxes::done,
    output::{print, print_json},
    render::{Table, age, clean, maybe_age, over, trouble},
};
use crate::{admin::api, clock, telemetry::delivery::EndpointState};

pub(crate) async fn run(
    client: &Client,
    command: Option<&Endpoints>,
    json: bool,
) -> Result<(), Failure> {
    match command {
        // The keys are in the configuration: whoever asks for them needs no daemon.
        None | Some(Endpoints::List | Endpoints::Key { .. }) => list(client, json).await,
        Some(Endpoints::Pause { endpoint, reason }) => {
            order(client, endpoint, ("pause", reason.as_ref()), json).await
        }
        Some(Endpoints::Resume { endpoint, reason }) => {
            order(client, endpoint, ("resume", reason.as_ref()), json).await
        }
        Some(Endpoints::Ping { endpoint }) => ping(client, endpoint, json).await,
    }
}

async fn order(
    client: &Client,
    endpoint: &str,
    (order, why): (&str, Option<&String>),
    json: bool,
) -> Result<(), Failure> {
    let target = Target::of(&["endpoints", endpoint, order]);
    let reason = api::Reason { why: why.cloned() };
    done(&client.post_json(target, &reason).await?, json)
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
            EndpointState::in_words(&endpoint.state).to_owned(),
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
        if endpoint.blocked > 0 {
            let order = endpoint.order.as_deref().unwrap_or_default();
            text += &format!(
                "\n{}: {} wait behind another of their {}\n",
                clean(&endpoint.id),
                endpoint.blocked,
                clean(order)
            );
        }
        if let Some(at) = &endpoint.next_probe {
            let when = age(at, now);
            let when = if when.starts_with("in ") {
                when.as_str()
            } else {
                "now"
            };
            text += &format!(
                "\n{}: the next probe goes out {when}\n",
                clean(&endpoint.id)
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(state: &str) -> String {
        let at = |seconds: i64| Wall::from_seconds(1_000_000 - seconds).rfc3339();
        let endpoint = api::Endpoint {
            id: "tickets".to_owned(),
            origin: None,
            orphaned: false,
            state: state.to_owned(),
            since: Some(at(300)),
            types: Vec::new(),
            in_flight: 0,
            max_in_flight: 4,
            next_probe: None,
            order: None,
            pending: 0,
            blocked: 0,
            delivered: 9,
            dead: 0,
            discarded: 0,
            oldest_pending: None,
            last_delivered: Some(at(10)),
            last_error: Some(api::Trouble {
                diagnosis: None,
                cause: "HTTP 503".to_owned(),
                detail: "503 Service Unavailable".to_owned(),
                hint: None,
                since: at(600),
                at: at(400),
            }),
        };
        list_text(&[endpoint], Wall::from_seconds(1_000_000))
    }

    #[test]
    fn trouble_that_is_over_does_not_look_like_the_present() {
        let last = "tickets: last trouble 6m ago, last good 10s ago: 503 Service Unavailable\n";
        assert!(listed("closed").ends_with(last), "{}", listed("closed"));
        let now = "tickets: 503 Service Unavailable (for 10m)\n";
        assert!(listed("open").ends_with(now), "{}", listed("open"));
    }
}
