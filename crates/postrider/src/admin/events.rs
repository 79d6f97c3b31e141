//! `/v1/events`: what was found and what became of it.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use postrider_core::{
    event::EventType,
    ids::{EndpointKey, MailboxKey},
};
use postrider_store::EventFilter;
use uuid::Uuid;

use super::{
    api,
    server::{Admin, Refusal, time},
};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 1000;
const LIST: &str = "postrider events list";

pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<api::EventQuery>,
) -> Result<Json<api::Events>, Refusal> {
    let event_type = match query.event_type.as_deref() {
        None => None,
        Some(text) => Some(EventType::parse(text).ok_or_else(|| {
            let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
            Refusal::bad_request(
                format!("`{text}` is no event type"),
                &format!("one of {}", known.join(", ")),
            )
        })?),
    };
    let states = ["pending", "delivered", "dead", "discarded"];
    if let Some(state) = query
        .state
        .as_deref()
        .filter(|state| !states.contains(state))
    {
        return Err(Refusal::bad_request(
            format!("`{state}` is no state"),
            &format!("one of {}", states.join(", ")),
        ));
    }
    let filter = EventFilter {
        mailbox: query.mailbox.as_deref().map(MailboxKey::from),
        endpoint: query.endpoint.as_deref().map(EndpointKey::from),
        state: query.state,
        event_type,
        message_id: query
            .message_id
            .map(|id| id.trim_matches(['<', '>']).to_owned()),
        since: query.since.as_deref().map(time).transpose()?,
        until: query.until.as_deref().map(time).transpose()?,
        limit: query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
    };
    let events = admin.shared.store.events(&filter).await?;
    Ok(Json(api::Events {
        events: events.into_iter().map(Into::into).collect(),
    }))
}

pub(super) fn event_id(text: &str) -> Result<Uuid, Refusal> {
    Uuid::parse_str(text)
        .map_err(|_| Refusal::bad_request(format!("`{text}` is no event id"), LIST))
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<api::EventDetail>, Refusal> {
    let detail = admin.shared.store.event(event_id(&id)?).await?;
    detail
        .map(|detail| Json(detail.into()))
        .ok_or_else(|| Refusal::not_found("event", &id, LIST))
}
