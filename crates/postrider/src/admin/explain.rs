//! `/v1/mailboxes/{id}/explain`: why a mailbox is silent, or where a message went. Everything that
//! is known is gathered here, the server is asked at most once, and [`verdict`] says it in words.
//! It changes nothing, here or there.

pub(super) mod look;
mod verdict;

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use postrider_core::{
    event::EventType,
    gate::Cause,
    ids::{EndpointKey, MailboxKey, Uid, WatchKey},
    time::{Monotonic, Wall},
    watch::Selected,
};
use postrider_store::{EventFilter, Taken, WatchRow};

use self::look::Seen;
use super::{
    api, mailboxes,
    server::{Admin, Refusal},
};
use crate::{
    clock, config::Config, directory::Worker, gauges, telemetry::mail::State as WatchState,
    watch_line::Status,
};

/// Enough to say what a wake found, and read in a moment.
const NEWEST_MAX: u32 = 100;
/// Copies of one message: one per folder and break of continuity.
const EVENTS_MAX: u32 = 20;
/// Longer ones are no Message-IDs (RFC 5322 section 2.1.1 bounds the line).
const MESSAGE_ID_MAX: usize = 998;

pub(super) async fn explain(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Query(query): Query<api::ExplainQuery>,
) -> Result<Json<api::Explanation>, Refusal> {
    let message_id = query.message_id.as_deref().map(bare).transpose()?;
    let Some(worker) = admin.directory.get(&MailboxKey::from(id.as_str())) else {
        return orphaned(&admin, id, message_id).await.map(Json);
    };
    let seen = match query.offline {
        true => Seen::nothing("it was not asked, as you said"),
        false => look::look(&admin, &worker, message_id.as_deref()).await,
    };
    // Read after the server was asked: what it has beyond these is not read yet.
    let rows = admin.shared.store.watches().await?;
    let mut folders = Vec::new();
    for line in worker.lines.iter() {
        let row = rows.iter().find(|row| row.watch == line.key);
        folders.push(folder(&admin, &line.key, &line.status(), row, &seen).await?);
    }
    let owed = owed(&admin, &worker.mailbox.key).await?;
    let message = match message_id {
        None => None,
        Some(message_id) => Some(story(&admin, &worker, message_id, &seen).await?),
    };
    let mailbox = mailboxes::show(State(admin.clone()), Path(id)).await?.0;
    let config = admin.shared.config();
    let conditions = conditions(&config, &worker);
    let facts = verdict::Facts {
        mailbox: &mailbox,
        state: worst(&worker),
        folders: &folders,
        owed: &owed,
        heard: worker.mailbox.endpoints.iter().any(|endpoint| {
            let endpoint = config.endpoints.get(endpoint);
            endpoint.is_some_and(|endpoint| endpoint.types.contains(&EventType::MessageReceived))
        }),
        conditions: &conditions,
        stalled_after: admin.shared.limits.stalled_after,
        now: clock::wall(),
    };
    let of_mailbox = verdict::of_mailbox(&facts);
    let server = server_look(&seen);
    Ok(Json(api::Explanation {
        verdict: match &message {
            None => of_mailbox,
            Some(story) => verdict::of_message(story, &facts, &server, of_mailbox),
        },
        folders,
        gate: gate(&worker),
        credential: credential(&admin, &worker),
        owed,
        server,
        message,
        mailbox,
    }))
}

/// The endpoints of a mailbox that get only what their condition lets through.
fn conditions(config: &Config, worker: &Worker) -> Vec<String> {
    let decides = |key: &&EndpointKey| {
        let endpoint = config.endpoints.get(*key);
        endpoint.is_some_and(|endpoint| endpoint.when.is_some())
    };
    let keys = worker.mailbox.endpoints.iter().filter(decides);
    keys.map(ToString::to_string).collect()
}

/// A mailbox that the configuration does not have any more: what the store remembers.
async fn orphaned(
    admin: &Admin,
    id: String,
    message_id: Option<String>,
) -> Result<api::Explanation, Refusal> {
    let key = MailboxKey::from(id.as_str());
    let mailbox = mailboxes::show(State(admin.clone()), Path(id)).await?.0;
    let message = match message_id {
        None => None,
        Some(message_id) => Some(api::Story {
            taken: rows(
                admin
                    .shared
                    .store
                    .taken_of_message(&key, &message_id)
                    .await?,
            ),
            events: events(admin, &key, &message_id).await?,
            places: Vec::new(),
            message_id,
        }),
    };
    Ok(api::Explanation {
        verdict: api::Verdict {
            fine: false,
            text: "silent because: it is not in the configuration any more".to_owned(),
            hint: Some("postrider check-config, then postrider reload".to_owned()),
        },
        mailbox,
        folders: Vec::new(),
        gate: api::Gate {
            shut_until: None,
            why: None,
            sessions: 0,
        },
        credential: None,
        owed: owed(admin, &key).await?,
        server: server_look(&Seen::nothing("nothing says any more how to reach it")),
        message,
    })
}

/// The state that speaks for the mailbox.
fn worst(worker: &Worker) -> WatchState {
    worker
        .lines
        .iter()
        .map(|line| line.with_status(|status| status.state))
        .max_by_key(|state| gauges::rank(*state))
        .unwrap_or(WatchState::Connecting)
}

async fn folder(
    admin: &Admin,
    key: &WatchKey,
    status: &Status,
    row: Option<&WatchRow>,
    seen: &Seen,
) -> Result<api::FolderLife, Refusal> {
    let newest = admin.shared.store.newest_taken(key, NEWEST_MAX).await?;
    let wake = status.wake.map(|(why, at)| {
        let mut found = BTreeMap::new();
        for one in newest.iter().filter(|one| one.taken_at >= at) {
            *found.entry(one.outcome.to_owned()).or_default() += 1;
        }
        api::WakeLife {
            why: why.to_owned(),
            at: at.rfc3339(),
            found,
        }
    });
    let selected = seen.folders.get(&key.folder);
    Ok(api::FolderLife {
        name: key.folder.to_string(),
        last_life: status.life_at.rfc3339(),
        wake,
        before_start_uid: row.and_then(|row| row.floor).map(Uid::get),
        newest: newest.into_iter().next().map(taken),
        behind: selected.map(|selected| is_behind(selected, row)),
        server: selected.map(|selected| api::ServerFolder {
            uidvalidity: selected.uid_validity.0,
            uidnext: selected.uid_next.map(Uid::get),
            highest_uid: selected.highest.map(Uid::get),
            messages: selected.exists,
        }),
    })
}

/// Whether the folder has a message above the cursor. Another numbering is no case of being behind.
fn is_behind(selected: &Selected, row: Option<&WatchRow>) -> bool {
    let Some(row) = row else { return true };
    row.uid_validity == Some(selected.uid_validity) && selected.highest > row.last
}

fn gate(worker: &Worker) -> api::Gate {
    let shut = worker.gate.shut();
    api::Gate {
        shut_until: shut.map(|(until, _)| wall_of(until).rfc3339()),
        why: shut.map(|(_, why)| {
            match why {
                Cause::Refused => "refused",
                Cause::Throttled => "throttled",
                Cause::Limit => "limit",
            }
            .to_owned()
        }),
        sessions: worker.gate.with(|gate| gate.sessions()),
    }
}

fn wall_of(at: Monotonic) -> Wall {
    clock::wall() + (at - clock::monotonic())
}

fn credential(admin: &Admin, worker: &Worker) -> Option<api::CredentialLife> {
    let all = admin.shared.tokens.snapshot();
    let status = all
        .into_iter()
        .find(|status| status.key == worker.mailbox.credential)?;
    let (last_error, last_error_at) = match status.last_error {
        Some(error) => (Some(error.detail), Some(error.at.rfc3339())),
        None => (None, None),
    };
    Some(api::CredentialLife {
        id: status.key.to_string(),
        kind: status.kind.to_owned(),
        state: status.state.as_str().to_owned(),
        token_expires: status.expires_at.map(Wall::rfc3339),
        last_error,
        last_error_at,
    })
}

async fn owed(admin: &Admin, mailbox: &MailboxKey) -> Result<Vec<api::Owed>, Refusal> {
    let states = admin.shared.dispatcher.status();
    let rows = admin.shared.store.owed(mailbox).await?;
    let row = |row: postrider_store::Owed| api::Owed {
        endpoint_state: states
            .iter()
            .find(|status| status.endpoint == row.endpoint)
            .map(|status| status.state.as_str().to_owned()),
        endpoint: row.endpoint.to_string(),
        pending: row.pending,
        dead: row.dead,
        oldest_pending: row.oldest_pending.map(Wall::rfc3339),
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Without its angle brackets, as it is stored.
fn bare(message_id: &str) -> Result<String, Refusal> {
    let bare = message_id.trim().trim_matches(['<', '>']);
    match bare.is_empty() || bare.len() > MESSAGE_ID_MAX {
        false => Ok(bare.to_owned()),
        true => Err(Refusal::bad_request(
            "this is no Message-ID",
            "it stands in the message's header: Message-ID: <…>",
        )),
    }
}

async fn story(
    admin: &Admin,
    worker: &Worker,
    message_id: String,
    seen: &Seen,
) -> Result<api::Story, Refusal> {
    let key = &worker.mailbox.key;
    let mut places = Vec::new();
    for place in &seen.places {
        let taken_there = match &place.watched {
            None => None,
            Some(folder) => {
                let watch = WatchKey {
                    mailbox: key.clone(),
                    folder: folder.clone(),
                };
                admin.shared.store.taken_at(&watch, place.uid).await?
            }
        };
        let shown = place.watched.as_ref().unwrap_or(&place.name);
        places.push(api::MessagePlace {
            folder: shown.to_string(),
            uid: place.uid.get(),
            watched: place.watched.is_some(),
            taken: taken_there.map(taken),
        });
    }
    Ok(api::Story {
        taken: rows(
            admin
                .shared
                .store
                .taken_of_message(key, &message_id)
                .await?,
        ),
        events: events(admin, key, &message_id).await?,
        places,
        message_id,
    })
}

async fn events(
    admin: &Admin,
    mailbox: &MailboxKey,
    message_id: &str,
) -> Result<Vec<api::EventLife>, Refusal> {
    let store = &admin.shared.store;
    let filter = EventFilter {
        mailbox: Some(mailbox.clone()),
        message_id: Some(message_id.to_owned()),
        limit: EVENTS_MAX,
        ..EventFilter::default()
    };
    let mut lives = Vec::new();
    for summary in store.events(&filter).await? {
        // One that was pruned in between has no attempts any more.
        let detail = store.event(summary.id).await?;
        let attempts = detail.map(|detail| api::EventDetail::from(detail).attempts);
        lives.push(api::EventLife {
            event: summary.into(),
            attempts: attempts.unwrap_or_default(),
        });
    }
    lives.reverse();
    Ok(lives)
}

fn rows(all: Vec<Taken>) -> Vec<api::Taken> {
    all.into_iter().map(taken).collect()
}

fn taken(row: Taken) -> api::Taken {
    api::Taken {
        folder: row.watch.folder.to_string(),
        uid: row.uid.get(),
        present: row.present,
        outcome: row.outcome.to_owned(),
        reason: row.reason.map(str::to_owned),
        found_by: row.found_by.to_owned(),
        taken_at: row.taken_at.rfc3339(),
        internal_date: row.internal_date.map(Wall::rfc3339),
    }
}

fn server_look(seen: &Seen) -> api::ServerLook {
    api::ServerLook {
        folders: seen.opened,
        left_out: seen.left_out.clone(),
        note: seen.note.clone(),
    }
}
