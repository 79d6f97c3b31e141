//! `/v1/events/replay`, `/v1/events/discard` and `/v1/replays`: sending again, giving up, taking back.

use std::num::NonZeroU32;

use axum::{
    Json,
    extract::{Path, State},
};
use postrider_core::{
    event::EventType,
    ids::{EndpointKey, MailboxKey},
};
use postrider_store::{DeliveryState, Id, Never, Pace, Replay, Run, Selection};

use super::{
    api,
    caller::Caller,
    events::event_id,
    server::{Admin, Refusal, time},
};

/// Events of one order to discard; more are meant by a selection.
const IDS_MAX: usize = 1000;

fn run(dry_run: bool) -> Run {
    if dry_run { Run::Dry } else { Run::Real }
}

pub(super) async fn replay(
    State(admin): State<Admin>,
    caller: Caller,
    Json(request): Json<api::ReplayRequest>,
) -> Result<Json<api::Replayed>, Refusal> {
    let id = if request.as_new { Id::New } else { Id::Same };
    let what = match &request.select {
        api::ReplaySelect::Event {
            id: event,
            endpoint,
        } => Replay::Again(
            Selection {
                events: vec![event_id(event)?],
                endpoint: endpoint.as_deref().map(EndpointKey::from),
                states: vec![DeliveryState::Delivered, DeliveryState::Dead],
                ..Selection::default()
            },
            id,
        ),
        api::ReplaySelect::Dead(narrow) => {
            Replay::Again(selection(narrow, DeliveryState::Dead)?, id)
        }
        api::ReplaySelect::Delivered(narrow) => {
            endpoint_named(narrow)?;
            Replay::Again(selection(narrow, DeliveryState::Delivered)?, id)
        }
        api::ReplaySelect::Discarded(narrow) => {
            endpoint_named(narrow)?;
            Replay::Again(selection(narrow, DeliveryState::Discarded)?, id)
        }
        api::ReplaySelect::Never(narrow) => Replay::Never(never(&admin, narrow, id)?),
    };
    let rate = match request.rate {
        None => None,
        Some(rate) => Some(NonZeroU32::new(rate).ok_or_else(|| {
            Refusal::bad_request(
                "a rate of 0 sends nothing",
                "leave it out, or write 1 or more",
            )
        })?),
    };
    let act = caller.act(request.why.as_deref());
    let told = told(&request);
    let store = &admin.shared.store;
    let done = store
        .replay(
            &what,
            Pace { rate, from: None },
            (&act, &told),
            run(request.dry_run),
        )
        .await?;
    if !request.dry_run {
        for endpoint in done.endpoints.keys() {
            admin.shared.dispatcher.scheduled(endpoint);
        }
    }
    Ok(Json(api::Replayed::of(&done, request.dry_run)))
}

/// All that an endpoint ever got is hardly ever meant.
fn endpoint_named(narrow: &api::Narrow) -> Result<&str, Refusal> {
    narrow.endpoint.as_deref().ok_or_else(|| {
        Refusal::bad_request("no endpoint is named", "name one: postrider endpoints list")
    })
}

fn selection(narrow: &api::Narrow, state: DeliveryState) -> Result<Selection, Refusal> {
    Ok(Selection {
        events: Vec::new(),
        endpoint: narrow.endpoint.as_deref().map(EndpointKey::from),
        mailbox: narrow.mailbox.as_deref().map(MailboxKey::from),
        states: vec![state],
        since: narrow.since.as_deref().map(time).transpose()?,
        until: narrow.until.as_deref().map(time).transpose()?,
    })
}

/// What an endpoint was never owed and would get today.
fn never(admin: &Admin, narrow: &api::Narrow, id: Id) -> Result<Never, Refusal> {
    if id == Id::New {
        let what = "what was never sent needs no new id";
        return Err(Refusal::bad_request(what, "leave out --as-new"));
    }
    let config = admin.shared.config();
    let name = endpoint_named(narrow)?;
    let key = EndpointKey::from(name);
    let endpoint = config
        .endpoints
        .get(&key)
        .ok_or_else(|| Refusal::not_found("endpoint", name, "postrider endpoints list"))?;
    let mailboxes: Vec<MailboxKey> = config
        .mailboxes
        .values()
        .filter(|mailbox| mailbox.endpoints.contains(&key))
        .map(|mailbox| mailbox.key.clone())
        .filter(|known| {
            narrow
                .mailbox
                .as_deref()
                .is_none_or(|name| known.as_str() == name)
        })
        .collect();
    if mailboxes.is_empty() {
        return Err(Refusal::bad_request(
            format!("no such mailbox has the endpoint `{name}`"),
            "postrider mailboxes list",
        ));
    }
    Ok(Never {
        endpoint: key,
        mailboxes,
        types: EventType::ALL
            .iter()
            .copied()
            .filter(|kind| endpoint.types.contains(kind))
            .collect(),
        since: narrow.since.as_deref().map(time).transpose()?,
        until: narrow.until.as_deref().map(time).transpose()?,
    })
}

/// An order in words, for the audit.
fn told(request: &api::ReplayRequest) -> String {
    let mut text = match &request.select {
        api::ReplaySelect::Event { id, endpoint: None } => format!("event {id}"),
        api::ReplaySelect::Event {
            id,
            endpoint: Some(endpoint),
        } => format!("event {id} to {endpoint}"),
        api::ReplaySelect::Dead(narrow) => words("dead", narrow),
        api::ReplaySelect::Delivered(narrow) => words("delivered", narrow),
        api::ReplaySelect::Discarded(narrow) => words("discarded", narrow),
        api::ReplaySelect::Never(narrow) => words("never sent", narrow),
    };
    if request.as_new {
        text += ", as new";
    }
    if let Some(rate) = request.rate {
        text += &format!(", {rate} per second");
    }
    text
}

fn words(what: &str, narrow: &api::Narrow) -> String {
    let mut text = what.to_owned();
    for (name, value) in [
        ("endpoint", &narrow.endpoint),
        ("mailbox", &narrow.mailbox),
        ("since", &narrow.since),
        ("until", &narrow.until),
    ] {
        if let Some(value) = value {
            text += &format!(", {name} {value}");
        }
    }
    text
}

pub(super) async fn cancel(
    State(admin): State<Admin>,
    caller: Caller,
    Path(replay): Path<i64>,
    Json(request): Json<api::CancelRequest>,
) -> Result<Json<api::Cancelled>, Refusal> {
    let act = caller.act(request.why.as_deref());
    let store = &admin.shared.store;
    let done = store
        .cancel_replay(replay, &act, run(request.dry_run))
        .await?
        .ok_or_else(|| {
            Refusal::not_found("replay", &replay.to_string(), "postrider admin audit")
        })?;
    Ok(Json(api::Cancelled {
        dry_run: request.dry_run,
        replay,
        taken_back: done.taken_back,
        in_flight: done.in_flight,
        over: done.over,
    }))
}

pub(super) async fn discard(
    State(admin): State<Admin>,
    caller: Caller,
    Json(request): Json<api::DiscardRequest>,
) -> Result<Json<api::Discarded>, Refusal> {
    let act = caller.act(Some(&request.reason));
    if act.why.is_none() {
        return Err(Refusal::bad_request(
            "a reason is needed",
            "say why nobody needs these events: it is kept in the audit",
        ));
    }
    let (meant, told) = match &request.select {
        api::DiscardSelect::Events { ids, endpoint } => {
            if ids.is_empty() || ids.len() > IDS_MAX {
                let what = format!("{} events are named", ids.len());
                return Err(Refusal::bad_request(what, "name 1 to 1000"));
            }
            let events = ids
                .iter()
                .map(|id| event_id(id))
                .collect::<Result<_, _>>()?;
            let meant = Selection {
                events,
                endpoint: endpoint.as_deref().map(EndpointKey::from),
                states: vec![DeliveryState::Pending, DeliveryState::Dead],
                ..Selection::default()
            };
            (meant, format!("events {}", ids.join(" ")))
        }
        api::DiscardSelect::Dead(narrow) => {
            endpoint_named(narrow)?;
            let meant = selection(narrow, DeliveryState::Dead)?;
            (meant, words("dead", narrow))
        }
        api::DiscardSelect::Pending(narrow) => {
            endpoint_named(narrow)?;
            let meant = selection(narrow, DeliveryState::Pending)?;
            (meant, words("pending", narrow))
        }
    };
    let store = &admin.shared.store;
    let done = store
        .discard(&meant, (&act, &told), run(request.dry_run))
        .await?;
    if !request.dry_run {
        // What was behind it in a line may go.
        for endpoint in done.endpoints.keys() {
            admin.shared.dispatcher.nudge(endpoint);
        }
    }
    Ok(Json(api::Discarded::of(&done, request.dry_run)))
}
