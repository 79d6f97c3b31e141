//! `/v1/events`: what was found and what became of it.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use postrider_core::event::EventType;
use postrider_store::EventFilter;
use uuid::Uuid;

use super::{
    api, named,
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
        mailbox: named::mailbox(&admin, query.mailbox.as_deref()).await?,
        endpoint: named::endpoint(&admin, query.endpoint.as_deref()).await?,
        state: query.state,
        event_type,
        message_id: query
            .message_id
            .map(|id| id.trim_matches(['<', '>']).to_owned()),
        since: query.since.as_deref().map(time).transpose()?,
        until: query.until.as_deref().map(time).transpose()?,
        before: match query.before.as_deref() {
            None => None,
            Some(id) => Some(stored(&admin, id).await?),
        },
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

/// The own id of an event that is there, under whichever of its ids it is named.
async fn stored(admin: &Admin, id: &str) -> Result<Uuid, Refusal> {
    let detail = admin.shared.store.event(event_id(id)?).await?;
    detail
        .map(|detail| detail.event.id)
        .ok_or_else(|| Refusal::not_found("event", id, LIST))
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
