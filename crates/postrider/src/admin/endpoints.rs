//! `/v1/endpoints`: where the webhooks stand, and an operator's orders to them.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use postrider_core::{delivery::order::Order, ids::EndpointKey, time::Wall};
use postrider_store::OutboxRow;

use super::{
    api,
    caller::{Caller, Why},
    server::{Admin, Refusal},
};
use crate::{
    dispatcher::{EndpointStatus, OrderError},
    telemetry::delivery::EndpointState,
};

const LIST: &str = "postrider endpoints list";

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<api::Endpoints>, Refusal> {
    let rows = admin.shared.store.outbox().await?;
    let config = admin.shared.config();
    let mut all = admin.shared.dispatcher.status();
    let is_owed = |row: &OutboxRow| row.pending + row.dead > 0;
    all.retain(|status| {
        let row = rows.iter().find(|row| row.endpoint == status.endpoint);
        config.endpoints.contains_key(&status.endpoint) || row.is_some_and(is_owed)
    });
    // Dead letters of an endpoint that is configured no more are nobody's but the operator's.
    for row in rows.iter().filter(|row| is_owed(row)) {
        if all.iter().all(|status| status.endpoint != row.endpoint) {
            let (key, since) = (row.endpoint.clone(), admin.started_at);
            all.push(EndpointStatus::orphaned(key, since));
        }
    }
    let endpoints = all
        .iter()
        .map(|status| {
            shown(
                status,
                rows.iter().find(|row| row.endpoint == status.endpoint),
                &config,
            )
        })
        .collect();
    Ok(Json(api::Endpoints { endpoints }))
}

fn shown(
    status: &EndpointStatus,
    row: Option<&OutboxRow>,
    config: &crate::config::Config,
) -> api::Endpoint {
    let settings = config.endpoints.get(&status.endpoint);
    api::Endpoint {
        id: status.endpoint.to_string(),
        origin: settings.map(|settings| settings.url.origin().ascii_serialization()),
        orphaned: settings.is_none(),
        state: status.state.as_str().to_owned(),
        since: Some(status.since.rfc3339()),
        types: settings.map_or_else(Vec::new, |settings| {
            settings
                .types
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .collect()
        }),
        in_flight: u32::try_from(status.in_flight).unwrap_or(u32::MAX),
        max_in_flight: status.max_in_flight,
        next_probe: status.next_probe.map(Wall::rfc3339),
        order: settings.map(|settings| order_name(settings.order).to_owned()),
        pending: row.map_or(0, |row| row.pending),
        blocked: row.map_or(0, |row| row.blocked),
        delivered: row.map_or(0, |row| row.delivered),
        dead: row.map_or(0, |row| row.dead),
        discarded: row.map_or(0, |row| row.discarded),
        oldest_pending: row.and_then(|row| row.oldest_pending).map(Wall::rfc3339),
        last_delivered: status.last_delivered.map(Wall::rfc3339),
        last_error: status.last_error.as_ref().map(|error| api::Trouble {
            diagnosis: None,
            cause: error
                .status
                .map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}")),
            detail: error.note.clone(),
            hint: None,
            // An endpoint's state changes with its trouble; a single failure changes no state.
            since: match status.state {
                EndpointState::Open => status.since.rfc3339(),
                EndpointState::Closed
                | EndpointState::HalfOpen
                | EndpointState::Paused
                | EndpointState::Orphaned => error.at.rfc3339(),
            },
            at: error.at.rfc3339(),
        }),
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::None => "none",
        Order::Mailbox => "mailbox",
        Order::Thread => "thread",
    }
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Unknown(key) => Self::not_found("endpoint", key.as_str(), LIST),
            OrderError::MessagesAlone(ref key) => {
                let hint = format!(
                    "send it a mail again (postrider events replay ID --endpoint {key}), or look at the \
                     request without sending it: postrider test-route FILE.eml --endpoint {key}"
                );
                Self::new(StatusCode::CONFLICT, error.to_string(), &hint)
            }
            OrderError::Store(error) => error.into(),
        }
    }
}

fn done(id: String, done: &str) -> Json<api::Done> {
    Json(api::Done {
        id,
        done: done.to_owned(),
        folders: Vec::new(),
    })
}

pub(super) async fn pause(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Why(why): Why,
) -> Result<Json<api::Done>, Refusal> {
    admin
        .shared
        .dispatcher
        .pause(&EndpointKey::from(id.as_str()), &caller.act(why.as_deref()))
        .await?;
    Ok(done(id, "paused"))
}

pub(super) async fn resume(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Why(why): Why,
) -> Result<Json<api::Done>, Refusal> {
    admin
        .shared
        .dispatcher
        .resume(&EndpointKey::from(id.as_str()), &caller.act(why.as_deref()))
        .await?;
    Ok(done(id, "resumed"))
}

/// A signed `ping` event, sent now.
pub(super) async fn ping(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<api::Pinged>, Refusal> {
    let key = EndpointKey::from(id.as_str());
    let pinged = admin.shared.dispatcher.ping(&key).await?;
    Ok(Json(api::Pinged {
        event: pinged.event.to_string(),
        outcome: if pinged.outcome == "delivered" {
            "delivered"
        } else {
            "failed"
        }
        .to_owned(),
        status: pinged.status,
        took_ms: u64::try_from(pinged.took.as_millis()).ok(),
        detail: (pinged.outcome != "delivered").then_some(pinged.note),
    }))
}
