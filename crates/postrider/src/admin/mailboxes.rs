//! `/v1/mailboxes`: what is watched, and an operator's orders to it.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use postrider_core::{
    ids::{MailboxKey, WatchKey},
    time::Wall,
    watch::{Order, Release},
};
use postrider_store::{Account, Deed, MailboxRow, Ordered, Sums, WatchRow};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    api,
    caller::{Caller, Why},
    server::{Admin, Refusal, time},
};
use crate::{
    directory::Worker,
    gauges,
    telemetry::mail::State as WatchState,
    watch_line::{Status, Trouble, WatchLine},
};

const LIST: &str = "postrider mailboxes list";

#[derive(Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    /// Only those that are not watching.
    #[serde(default)]
    problems: bool,
}

/// What the store knows, by key.
struct Stored {
    watches: HashMap<WatchKey, WatchRow>,
    sums: HashMap<MailboxKey, Sums>,
    mailboxes: Vec<MailboxRow>,
}

impl Stored {
    async fn read(admin: &Admin) -> Result<Self, Refusal> {
        let store = &admin.shared.store;
        Ok(Self {
            watches: store
                .watches()
                .await?
                .into_iter()
                .map(|row| (row.watch.clone(), row))
                .collect(),
            sums: store.sums_by_mailbox().await?.into_iter().collect(),
            mailboxes: store.mailboxes().await?,
        })
    }
}

pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<ListQuery>,
) -> Result<Json<api::Mailboxes>, Refusal> {
    let stored = Stored::read(&admin).await?;
    let mut mailboxes: Vec<api::Mailbox> = admin
        .directory
        .all()
        .iter()
        .map(|worker| shown(worker, &stored))
        .collect();
    mailboxes.extend(orphans(&admin, &stored));
    if query.problems {
        mailboxes.retain(|mailbox| !["watching", "syncing"].contains(&mailbox.state.as_str()));
    }
    Ok(Json(api::Mailboxes { mailboxes }))
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<api::Mailbox>, Refusal> {
    let stored = Stored::read(&admin).await?;
    if let Some(worker) = admin.directory.get(&MailboxKey::from(id.as_str())) {
        return Ok(Json(shown(&worker, &stored)));
    }
    orphans(&admin, &stored)
        .find(|mailbox| mailbox.id == id)
        .map(Json)
        .ok_or_else(|| Refusal::not_found("mailbox", &id, LIST))
}

fn shown(worker: &Worker, stored: &Stored) -> api::Mailbox {
    let mailbox = &worker.mailbox;
    let folders: Vec<(Status, api::Folder)> = worker
        .lines
        .iter()
        .map(|line| {
            let status = line.status();
            let folder = folder(&line.key, &status, stored);
            (status, folder)
        })
        .collect();
    let worst = folders
        .iter()
        .map(|(status, _)| status)
        .max_by_key(|status| gauges::rank(status.state));
    let trouble = folders
        .iter()
        .filter_map(|(status, _)| status.trouble.as_deref())
        .max_by_key(|trouble| trouble.at);
    api::Mailbox {
        id: mailbox.key.to_string(),
        address: mailbox.address.to_string(),
        server: format!("{}:{}", mailbox.server.host, mailbox.server.port),
        username: mailbox.username.to_string(),
        credential: mailbox.credential.to_string(),
        endpoints: mailbox.endpoints.iter().map(ToString::to_string).collect(),
        labels: (*mailbox.labels).clone(),
        orphaned: false,
        state: worst
            .map_or(WatchState::Connecting, |status| status.state)
            .as_str()
            .to_owned(),
        since: worst.map(|status| status.since.rfc3339()),
        last_error: trouble.map(told),
        sums: stored
            .sums
            .get(&mailbox.key)
            .copied()
            .unwrap_or_default()
            .into(),
        folders: folders.into_iter().map(|(_, folder)| folder).collect(),
    }
}

fn folder(key: &WatchKey, status: &Status, stored: &Stored) -> api::Folder {
    let row = stored.watches.get(key);
    let hold = status
        .hold
        .as_deref()
        .or(row.and_then(|row| row.hold.as_ref()));
    let mode = match (status.state, status.polling) {
        (WatchState::Watching, true) => Some("polling"),
        (WatchState::Watching, false) => Some("idle"),
        (WatchState::Syncing, _) => Some("busy"),
        (
            WatchState::Connecting
            | WatchState::Backoff
            | WatchState::AuthFailed
            | WatchState::Throttled
            | WatchState::Held
            | WatchState::Paused
            | WatchState::StoreFull,
            _,
        ) => None,
    };
    api::Folder {
        name: key.folder.to_string(),
        state: status.state.as_str().to_owned(),
        since: Some(status.since.rfc3339()),
        mode: mode.map(str::to_owned),
        uidvalidity: row
            .and_then(|row| row.uid_validity)
            .map(|validity| validity.0),
        last_uid: row
            .and_then(|row| row.last)
            .map(postrider_core::ids::Uid::get),
        gaps: row.map_or(0, |row| row.gaps),
        hold: hold.map(Into::into),
        last_proven: status.synced_at.map(Wall::rfc3339),
        next_try: status.next_try.map(Wall::rfc3339),
        last_error: status.trouble.as_deref().map(told),
    }
}

fn told(trouble: &Trouble) -> api::Trouble {
    api::Trouble {
        cause: trouble.cause.to_owned(),
        detail: match &trouble.diagnosis {
            Some(diagnosis) => format!("{}: {}", diagnosis.what, trouble.detail),
            None => trouble.detail.clone(),
        },
        hint: Some(match &trouble.diagnosis {
            Some(diagnosis) => diagnosis.fix.clone(),
            None => trouble.hint.to_owned(),
        }),
        diagnosis: trouble.diagnosis.as_ref().map(|diagnosis| api::Diagnosis {
            cause: diagnosis.cause.as_str().to_owned(),
            what: diagnosis.what.clone(),
            fix: diagnosis.fix.clone(),
        }),
        since: trouble.since.rfc3339(),
        at: trouble.at.rfc3339(),
    }
}

/// Mailboxes that the store knows and the configuration does not.
fn orphans(admin: &Admin, stored: &Stored) -> impl Iterator<Item = api::Mailbox> {
    stored
        .mailboxes
        .iter()
        .filter(|row| admin.directory.get(&row.mailbox).is_none())
        .map(|row| api::Mailbox {
            id: row.mailbox.to_string(),
            address: row.account.username.clone(),
            server: row.account.server.clone(),
            username: row.account.username.clone(),
            credential: String::new(),
            endpoints: Vec::new(),
            labels: Default::default(),
            orphaned: true,
            state: "orphaned".to_owned(),
            since: None,
            folders: Vec::new(),
            last_error: None,
            sums: stored
                .sums
                .get(&row.mailbox)
                .copied()
                .unwrap_or_default()
                .into(),
        })
}

fn worker(admin: &Admin, id: &str) -> Result<Worker, Refusal> {
    admin
        .directory
        .get(&MailboxKey::from(id))
        .ok_or_else(|| Refusal::not_found("mailbox", id, LIST))
}

/// Gives an order to the watches that `choose` picks.
fn order(
    worker: &Worker,
    order: &Order,
    done: &str,
    choose: impl Fn(&WatchKey, &Status) -> bool,
) -> Result<Json<api::Done>, Refusal> {
    let mut folders = Vec::new();
    for line in worker
        .lines
        .iter()
        .filter(|line| line.with_status(|status| choose(&line.key, status)))
    {
        if !line.order(order.clone()) {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{} has too many orders waiting", line.key.folder),
                "try again in a moment",
            ));
        }
        folders.push(line.key.folder.to_string());
    }
    Ok(Json(api::Done {
        id: worker.mailbox.key.to_string(),
        done: done.to_owned(),
        folders,
    }))
}

pub(super) async fn pause(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Why(why): Why,
) -> Result<Json<api::Done>, Refusal> {
    let worker = worker(&admin, &id)?;
    admin
        .shared
        .store
        .pause_mailbox(&worker.mailbox.key, &caller.act(why.as_deref()))
        .await?;
    order(&worker, &Order::Pause, "paused", |_, _| true)
}

pub(super) async fn resume(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Why(why): Why,
) -> Result<Json<api::Done>, Refusal> {
    let worker = worker(&admin, &id)?;
    admin
        .shared
        .store
        .resume_mailbox(&worker.mailbox.key, &caller.act(why.as_deref()))
        .await?;
    order(&worker, &Order::Resume, "resumed", |_, _| true)
}

/// Tries at once, whatever the mailbox waits for; with a new token where the one in use says itself
/// that it opens nothing.
pub(super) async fn resync(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<api::Done>, Refusal> {
    let worker = worker(&admin, &id)?;
    let (key, credential) = (&worker.mailbox.key, &worker.mailbox.credential);
    let waits_for_token = |line: &Arc<WatchLine>| line.with_status(is_refused_for_its_token);
    if worker.lines.iter().any(waits_for_token) && admin.shared.tokens.renew_for(key, credential) {
        let act = caller.act(None);
        let tokens = &admin.shared.telemetry.tokens;
        tokens.renewal_ordered(credential, &act.who, &act.through);
    }
    worker
        .gate
        .with(postrider_core::gate::Gate::credential_changed);
    order(&worker, &Order::Resync, "resyncing", |_, _| true)
}

fn is_refused_for_its_token(status: &Status) -> bool {
    let diagnosis = status
        .trouble
        .as_ref()
        .and_then(|one| one.diagnosis.as_ref());
    status.state == WatchState::AuthFailed
        && diagnosis.is_some_and(|diagnosis| diagnosis.cause.is_in_the_token())
}

/// The account under this key is the same mail: the store keeps the new one, and the watch goes on.
pub(super) async fn adopt(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Why(why): Why,
) -> Result<Json<api::Done>, Refusal> {
    let worker = worker(&admin, &id)?;
    let mailbox = &worker.mailbox;
    let account = Account {
        server: format!("{}:{}", mailbox.server.host, mailbox.server.port),
        username: mailbox.username.to_string(),
    };
    let act = caller.act(why.as_deref());
    let store = &admin.shared.store;
    store.adopt(&mailbox.key, &account, &act).await?;
    order(&worker, &Order::Adopt, "adopted", |_, _| true)
}

pub(super) async fn release(
    State(admin): State<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<api::ReleaseRequest>,
) -> Result<Json<api::Done>, Refusal> {
    let worker = worker(&admin, &id)?;
    let release = match &request.release {
        api::Release::Send => Release::Send,
        api::Release::Skip => Release::Skip,
        api::Release::Since { at } => Release::Since(time(at)?),
    };
    let is_meant = |key: &WatchKey, status: &Status| {
        let folder = request.folder.as_deref();
        status.hold.is_some() && folder.is_none_or(|folder| folder == key.folder.as_str())
    };
    let held = |line: &&Arc<WatchLine>| line.with_status(|status| is_meant(&line.key, status));
    if !worker.lines.iter().any(|line| held(&line)) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("nothing of `{id}` is on hold"),
            &format!("postrider mailboxes show {id}"),
        ));
    }
    let how = match &request.release {
        api::Release::Send => "send".to_owned(),
        api::Release::Skip => "skip".to_owned(),
        api::Release::Since { at } => format!("since {at}"),
    };
    // The watches carry it out, and write the audit row with it.
    let act = caller.act(request.why.as_deref());
    for line in worker.lines.iter().filter(held) {
        line.release_by(Ordered {
            act: act.clone(),
            deed: Deed::Release,
            selector: format!("{id}: {}, {how}", line.key.folder),
        });
    }
    order(&worker, &Order::Release(release), "released", is_meant)
}
