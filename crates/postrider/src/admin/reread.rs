//! `/v1/mailboxes/{id}/reread`: a range of messages again, from the server. What an event is stored
//! of is sent again; the rest is read by the watch, and becomes an event under the id it always has.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State as Of},
    http::StatusCode,
};
use postrider_core::{
    ids::{MailboxKey, Uid},
    time::Wall,
    watch::Order,
};
use postrider_store::{Deed, DeliveryState, Found, Id, Pace, Replay, Run, Selection, WatchRow};

use super::{
    api,
    caller::Caller,
    explain::look::{self, Range},
    named, repair,
    server::{Admin, Refusal, time},
};
use crate::{directory::Worker, telemetry::mail::State, watch_line::WatchLine};

/// Messages that one order reads: the watch reads them one by one.
const READ_MAX: usize = 10_000;
/// How long what is sent again waits for its message to be read: for the longest order, at a tenth of
/// a second each.
const MESSAGE_WAIT: Duration = Duration::from_secs(1_000);
const SHOW: &str = "postrider mailboxes show MAILBOX";

pub(super) async fn reread(
    Of(admin): Of<Admin>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<api::RereadRequest>,
) -> Result<Json<api::Reread>, Refusal> {
    let worker = admin
        .directory
        .get(&MailboxKey::from(id.as_str()))
        .ok_or_else(|| Refusal::not_found("mailbox", &id, "postrider mailboxes list"))?;
    let line = line(&worker, request.folder.as_deref())?;
    let range = range(&request)?;
    let row = row(&admin, line).await?;
    let (validity, uids) = look::list(&admin, &worker, &line.key.folder, &range)
        .await
        .map_err(|why| {
            let error = format!("the folder cannot be listed: {why}");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error, SHOW)
        })?;
    if row.uid_validity != Some(validity) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "the folder has another UIDVALIDITY than the one that was read last",
            "wait until the watch has taken it up, then look at the UIDs again",
        ));
    }
    // What is above the cursor is on its way already.
    let taken = |uid: &Uid| row.last.is_some_and(|last| *uid <= last);
    let uids: Vec<Uid> = uids.into_iter().filter(taken).collect();
    let place = |uid: &Uid| format!("{}/{validity}/{uid}", line.key.folder);
    let places: Vec<String> = uids.iter().map(place).collect();
    let store = &admin.shared.store;
    let known = store.events_at(&line.key.mailbox, &places).await?;
    let needs_message = needs_message(&admin, &worker);
    let is_enough = |found: &Found| found.has_message || !needs_message;
    let unread: Vec<Uid> = uids
        .iter()
        .zip(&places)
        .filter(|(_, place)| !known.get(*place).is_some_and(is_enough))
        .map(|(uid, _)| *uid)
        .collect();
    if unread.len() > READ_MAX {
        let what = format!("{} messages would be read", unread.len());
        return Err(Refusal::bad_request(what, "at most 10,000 at a time"));
    }
    if !unread.is_empty() {
        can_read(line)?;
    }
    let told = format!("{id}/{}: {}", line.key.folder, told(&request));
    let mut done = api::Reread {
        dry_run: request.dry_run,
        folder: line.key.folder.to_string(),
        found: uids.len() as u64,
        read: unread.len() as u64,
        known: known.len() as u64,
        sent_again: 0,
        replays: Vec::new(),
    };
    let order = Orders {
        admin: &admin,
        caller: &caller,
        request: &request,
        told: &told,
    };
    let (ready, waiting): (Vec<Found>, Vec<Found>) = known.into_values().partition(is_enough);
    order.again(&ready, None, &mut done).await?;
    // Those go as soon as their message is there, and if it does not come, without it.
    let later = crate::clock::wall() + MESSAGE_WAIT;
    order.again(&waiting, Some(later), &mut done).await?;
    order.read(line, unread).await?;
    Ok(Json(done))
}

struct Orders<'a> {
    admin: &'a Admin,
    caller: &'a Caller,
    request: &'a api::RereadRequest,
    told: &'a str,
}

impl Orders<'_> {
    async fn again(
        &self,
        events: &[Found],
        from: Option<Wall>,
        done: &mut api::Reread,
    ) -> Result<(), Refusal> {
        if events.is_empty() {
            return Ok(());
        }
        let selection = Selection {
            events: events.iter().map(|found| found.event).collect(),
            endpoints: Some(named::to_send_to(self.admin, None).await?),
            states: vec![DeliveryState::Delivered, DeliveryState::Dead],
            ..Selection::default()
        };
        let run = if self.request.dry_run {
            Run::Dry
        } else {
            Run::Real
        };
        let act = self.caller.act(self.request.why.as_deref());
        let shared = &self.admin.shared;
        let what = Replay::Again(selection, Id::Same);
        let pace = Pace { rate: None, from };
        let order = (&act, self.told);
        let replayed = shared.store.replay(&what, pace, order, run).await;
        if run == Run::Real {
            let endpoints = replayed.as_ref().ok().map(|done| &done.endpoints);
            for endpoint in repair::touched(self.admin, endpoints) {
                shared.dispatcher.scheduled(&endpoint);
            }
        }
        let replayed = replayed?;
        done.sent_again += replayed.deliveries;
        done.replays.extend(replayed.replay);
        Ok(())
    }

    /// The watch carries it out: that it was ordered is noted first.
    async fn read(&self, line: &WatchLine, uids: Vec<Uid>) -> Result<(), Refusal> {
        if self.request.dry_run || uids.is_empty() {
            return Ok(());
        }
        let act = self.caller.act(self.request.why.as_deref());
        let store = &self.admin.shared.store;
        store
            .note(&act, Deed::Reread, self.told, uids.len() as u64)
            .await?;
        if line.order(Order::Reread(uids)) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{} has too many orders waiting", line.key.folder),
            "try again in a moment",
        ))
    }
}

/// The watch of a folder, or the mailbox's only one.
fn line<'a>(worker: &'a Worker, folder: Option<&str>) -> Result<&'a WatchLine, Refusal> {
    let mut lines = worker
        .lines
        .iter()
        .filter(|line| folder.is_none_or(|name| line.key.folder.as_str() == name));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (Some(_), Some(_)) => Err(Refusal::bad_request(
            "the mailbox has several folders",
            "name one by --folder",
        )),
        (None, _) => Err(Refusal::not_found(
            "watched folder",
            folder.unwrap_or_default(),
            SHOW,
        )),
    }
}

/// Whether an endpoint of the mailbox gets the message itself.
fn needs_message(admin: &Admin, worker: &Worker) -> bool {
    let config = admin.shared.config();
    let mut endpoints = worker.mailbox.endpoints.iter();
    endpoints.any(|key| {
        let endpoint = config.endpoints.get(key);
        endpoint.is_some_and(|endpoint| endpoint.needs_raw())
    })
}

/// What is sent again may wait for what is read: nothing is begun that cannot be carried out.
fn can_read(line: &WatchLine) -> Result<(), Refusal> {
    let folder = &line.key.folder;
    let refused =
        |status, why: &str, hint: &str| Err(Refusal::new(status, format!("{folder} {why}"), hint));
    match line.with_status(|status| status.state) {
        State::Paused => refused(
            StatusCode::CONFLICT,
            "is paused, and nothing is read",
            "postrider mailboxes resume MAILBOX",
        ),
        State::Held => refused(
            StatusCode::CONFLICT,
            "is on hold, and nothing is read",
            "postrider mailboxes release MAILBOX --send | --skip | --since DATE",
        ),
        State::Watching
        | State::Syncing
        | State::Connecting
        | State::Backoff
        | State::AuthFailed
        | State::Throttled
        | State::StoreFull
            if line.has_room() =>
        {
            Ok(())
        }
        State::Watching
        | State::Syncing
        | State::Connecting
        | State::Backoff
        | State::AuthFailed
        | State::Throttled
        | State::StoreFull => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "has too many orders waiting",
            "try again in a moment",
        ),
    }
}

async fn row(admin: &Admin, line: &WatchLine) -> Result<WatchRow, Refusal> {
    let rows = admin.shared.store.watches().await?;
    rows.into_iter()
        .find(|row| row.watch == line.key)
        .ok_or_else(|| {
            let error = "the folder was never read yet";
            Refusal::new(StatusCode::CONFLICT, error, SHOW)
        })
}

fn range(request: &api::RereadRequest) -> Result<Range, Refusal> {
    match (&request.uids, &request.since) {
        (Some(uids), None) if request.until.is_none() => Ok(Range::Uids(uid_set(uids)?)),
        (None, Some(since)) => {
            let until = request.until.as_deref().map(time).transpose()?;
            Ok(Range::Days(time(since)?, until))
        }
        (Some(_), _) | (None, None) => Err(Refusal::bad_request(
            "it does not say which messages",
            "give UIDs (1:100,200), or a day (since), and another one (until) if need be",
        )),
    }
}

/// `1:100,200,300:*`
fn uid_set(text: &str) -> Result<Vec<(u32, u32)>, Refusal> {
    let number = |text: &str| match text.trim() {
        "*" => Some(u32::MAX),
        digits => digits.parse().ok().filter(|uid| *uid > 0),
    };
    let pair = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        Some((first.min(last), first.max(last)))
    };
    let set: Option<Vec<_>> = text.split(',').map(pair).collect();
    set.ok_or_else(|| {
        Refusal::bad_request(
            format!("`{text}` is no set of UIDs"),
            "write 7, 1:100 or 1:100,200,300:*",
        )
    })
}

fn told(request: &api::RereadRequest) -> String {
    match (&request.uids, &request.since, &request.until) {
        (Some(uids), ..) => format!("UIDs {uids}"),
        (None, since, until) => {
            let since = since.as_deref().unwrap_or_default();
            let until = until.as_deref().map(|until| format!(" until {until}"));
            format!("since {since}{}", until.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_numbers_and_ranges_either_way_round() {
        let all = [(1, 100), (200, 200), (300, u32::MAX)];
        assert_eq!(uid_set("100:1,200,300:*").unwrap(), all);
        for wrong in ["", "0", "a", "1:", "1,,2", "-1"] {
            assert!(uid_set(wrong).is_err(), "{wrong}");
        }
    }
}
