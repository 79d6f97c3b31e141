//! `/v1/events/replay`, `/v1/events/discard` and `/v1/replays`: sending again, giving up, taking back.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use postrider_core::{
    event::EventType,
    ids::{EndpointKey, MailboxKey},
};
use postrider_store::{
    DeliveryState, EventRow, Id, Never, Pace, Replay, Run, Selection, Sift, Sifted,
};

use super::{
    api,
    caller::Caller,
    events::event_id,
    named,
    server::{Admin, Refusal, time},
};
use crate::{
    clock,
    config::Endpoint,
    routing::{Facts, Router},
};

/// Events of one order to discard; more are meant by a selection.
const IDS_MAX: usize = 1000;
/// Those of them that an audit row names.
const IDS_TOLD: usize = 20;

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
        } => Replay::Again(one(&admin, event, endpoint.as_deref()).await?, id),
        api::ReplaySelect::Dead(narrow) => again(&admin, narrow, DeliveryState::Dead, id).await?,
        api::ReplaySelect::Delivered(narrow) => {
            endpoint_named(narrow)?;
            again(&admin, narrow, DeliveryState::Delivered, id).await?
        }
        api::ReplaySelect::Discarded(narrow) => {
            endpoint_named(narrow)?;
            again(&admin, narrow, DeliveryState::Discarded, id).await?
        }
        api::ReplaySelect::Never(narrow) => {
            named::mailbox(&admin, narrow.mailbox.as_deref()).await?;
            Replay::Never(never(&admin, narrow, id)?)
        }
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
        .await;
    if !request.dry_run {
        for endpoint in touched(&admin, done.as_ref().ok().map(|done| &done.endpoints)) {
            admin.shared.dispatcher.scheduled(&endpoint);
        }
    }
    let done = done?;
    Ok(Json(api::Replayed::of(&done, request.dry_run)))
}

/// The endpoints that have to look at the table anew: those of which something was changed, or all,
/// where an order ended half way and nobody knows.
pub(super) fn touched(
    admin: &Admin,
    done: Option<&BTreeMap<EndpointKey, u64>>,
) -> Vec<EndpointKey> {
    match done {
        Some(done) => done.keys().cloned().collect(),
        None => admin.shared.config().endpoints.keys().cloned().collect(),
    }
}

/// All that an endpoint ever got is hardly ever meant.
fn endpoint_named(narrow: &api::Narrow) -> Result<&str, Refusal> {
    narrow.endpoint.as_deref().ok_or_else(|| {
        Refusal::bad_request("no endpoint is named", "name one: postrider endpoints list")
    })
}

/// One event. Where its endpoint is named as well, what was discarded is meant too.
async fn one(admin: &Admin, event: &str, endpoint: Option<&str>) -> Result<Selection, Refusal> {
    let id = event_id(event)?;
    if admin.shared.store.event(id).await?.is_none() {
        return Err(Refusal::not_found("event", event, "postrider events list"));
    }
    let mut states = vec![DeliveryState::Delivered, DeliveryState::Dead];
    if endpoint.is_some() {
        states.push(DeliveryState::Discarded);
    }
    Ok(Selection {
        events: vec![id],
        endpoints: Some(named::to_send_to(admin, endpoint).await?),
        states,
        ..Selection::default()
    })
}

async fn again(
    admin: &Admin,
    narrow: &api::Narrow,
    state: DeliveryState,
    id: Id,
) -> Result<Replay, Refusal> {
    named::mailbox(admin, narrow.mailbox.as_deref()).await?;
    let endpoints = named::to_send_to(admin, narrow.endpoint.as_deref()).await?;
    let selection = Selection {
        endpoints: Some(endpoints),
        ..selection(narrow, state)?
    };
    Ok(Replay::Again(selection, id))
}

fn selection(narrow: &api::Narrow, state: DeliveryState) -> Result<Selection, Refusal> {
    let endpoint = narrow.endpoint.as_deref().map(EndpointKey::from);
    Ok(Selection {
        events: Vec::new(),
        endpoints: endpoint.map(|endpoint| vec![endpoint]),
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
        sift: endpoint.when.is_some().then(|| sift(Arc::clone(endpoint))),
    })
}

/// What the endpoint's condition says of an event now.
fn sift(endpoint: Arc<Endpoint>) -> Sift {
    Sift(Arc::new(move |event: &EventRow| {
        let facts = Facts {
            event_type: event.event_type,
            subject: &event.subject,
            time: event.time,
            data: &event.data,
        };
        let route = Router::new(facts, clock::wall()).route(&endpoint.key, Some(&endpoint));
        match route.map(|route| route.when_failed) {
            None => Sifted::NotMeant,
            Some(None) => Sifted::Meant,
            Some(Some(_)) => Sifted::Unsure,
        }
    }))
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

/// The first few by name: how many there were is in the audit row.
fn events_told(ids: &[String]) -> String {
    let (named, more) = ids.split_at(ids.len().min(IDS_TOLD));
    match more.len() {
        0 => format!("events {}", named.join(" ")),
        more => format!("events {} and {more} more", named.join(" ")),
    }
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
            let endpoint = named::endpoint(&admin, endpoint.as_deref()).await?;
            let to = endpoint.as_ref().map(|to| format!(" to {to}"));
            let told = format!("{}{}", events_told(ids), to.unwrap_or_default());
            let meant = Selection {
                events,
                endpoints: endpoint.map(|endpoint| vec![endpoint]),
                states: vec![DeliveryState::Pending, DeliveryState::Dead],
                ..Selection::default()
            };
            (meant, told)
        }
        api::DiscardSelect::Dead(narrow) => {
            endpoint_named(narrow)?;
            named::both(&admin, narrow).await?;
            let meant = selection(narrow, DeliveryState::Dead)?;
            (meant, words("dead", narrow))
        }
        api::DiscardSelect::Pending(narrow) => {
            endpoint_named(narrow)?;
            named::both(&admin, narrow).await?;
            let meant = selection(narrow, DeliveryState::Pending)?;
            (meant, words("pending", narrow))
        }
    };
    let store = &admin.shared.store;
    let done = store
        .discard(&meant, (&act, &told), run(request.dry_run))
        .await;
    if !request.dry_run {
        // What was behind it in a line may go.
        for endpoint in touched(&admin, done.as_ref().ok().map(|done| &done.endpoints)) {
            admin.shared.dispatcher.nudge(&endpoint);
        }
    }
    let done = done?;
    Ok(Json(api::Discarded::of(&done, request.dry_run)))
}
