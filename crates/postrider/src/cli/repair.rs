//! `events replay` and `events discard`: sending again, taking back, giving up.

use std::{collections::BTreeMap, time::Duration};

use super::{
    args::{DiscardArgs, ReplayArgs},
    client::{Answer, Client, Target},
    failure::Failure,
    output::{print, print_json},
    render::{clean, count},
};
use crate::admin::api;

pub(crate) async fn replay(client: &Client, args: &ReplayArgs, json: bool) -> Result<(), Failure> {
    if let Some(number) = args.cancel {
        return cancel(client, args, number, json).await;
    }
    if let Some(mailbox) = &args.from_mailbox {
        return reread(client, args, mailbox, json).await;
    }
    let request = api::ReplayRequest {
        select: select(args),
        as_new: args.as_new,
        rate: args.rate,
        why: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let answer: Answer<api::Replayed> = client
        .post_json(Target::of(&["events", "replay"]), &request)
        .await?;
    if json {
        return print_json(&answer.json);
    }
    print(&replay_text(&answer.read()?))
}

fn select(args: &ReplayArgs) -> api::ReplaySelect {
    let narrow = api::Narrow {
        endpoint: args.endpoint.clone(),
        mailbox: args.mailbox.clone(),
        since: args.since.clone(),
        until: args.until.clone(),
    };
    match &args.id {
        Some(id) => api::ReplaySelect::Event {
            id: id.clone(),
            endpoint: args.endpoint.clone(),
        },
        None if args.never => api::ReplaySelect::Never(narrow),
        None if args.delivered => api::ReplaySelect::Delivered(narrow),
        None if args.discarded => api::ReplaySelect::Discarded(narrow),
        None => api::ReplaySelect::Dead(narrow),
    }
}

async fn cancel(
    client: &Client,
    args: &ReplayArgs,
    number: i64,
    json: bool,
) -> Result<(), Failure> {
    let request = api::CancelRequest {
        why: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let target = Target::of(&["replays", &number.to_string(), "cancel"]);
    let answer: Answer<api::Cancelled> = client.post_json(target, &request).await?;
    if json {
        return print_json(&answer.json);
    }
    let done = answer.read()?;
    let (what, back) = match done.dry_run {
        true => ("dry run: would take back", deliveries(done.taken_back)),
        false => ("took back", deliveries(done.taken_back)),
    };
    print(&format!(
        "{what} {back}; {} being sent, {} over before\n",
        done.in_flight, done.over
    ))
}

async fn reread(
    client: &Client,
    args: &ReplayArgs,
    mailbox: &str,
    json: bool,
) -> Result<(), Failure> {
    let request = api::RereadRequest {
        folder: args.folder.clone(),
        uids: args.uids.clone(),
        since: args.since.clone(),
        until: args.until.clone(),
        why: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let target = Target::of(&["mailboxes", mailbox, "reread"]);
    let answer: Answer<api::Reread> = client.post_json(target, &request).await?;
    if json {
        return print_json(&answer.json);
    }
    let done = answer.read()?;
    let dry = if done.dry_run { "dry run: " } else { "" };
    let mut text = format!(
        "{dry}{} on the server in {}\n",
        count(number(done.found), "message", "messages"),
        clean(&done.folder)
    );
    text += &format!("  {} read again\n", done.read);
    text += &format!(
        "  {} with an event: {} sent again{}\n",
        done.known,
        deliveries(done.sent_again),
        done.replays
            .iter()
            .map(|one| numbered(Some(*one)))
            .collect::<String>()
    );
    print(&text)
}

pub(crate) async fn discard(
    client: &Client,
    args: &DiscardArgs,
    json: bool,
) -> Result<(), Failure> {
    let narrow = api::Narrow {
        endpoint: args.endpoint.clone(),
        mailbox: args.mailbox.clone(),
        since: args.since.clone(),
        until: args.until.clone(),
    };
    let select = if args.dead {
        api::DiscardSelect::Dead(narrow)
    } else if args.pending {
        api::DiscardSelect::Pending(narrow)
    } else {
        api::DiscardSelect::Events {
            ids: args.id.clone(),
            endpoint: args.endpoint.clone(),
        }
    };
    let request = api::DiscardRequest {
        select,
        reason: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let answer: Answer<api::Discarded> = client
        .post_json(Target::of(&["events", "discard"]), &request)
        .await?;
    if json {
        return print_json(&answer.json);
    }
    let done = answer.read()?;
    let told = deliveries(done.deliveries) + &to(&done.endpoints);
    print(&match (done.deliveries, done.dry_run) {
        (0, _) => "nothing to discard: it is over, or being sent at this moment\n".to_owned(),
        (_, true) => format!("dry run: would discard {told}\n"),
        (_, false) => format!("discarded {told}\n"),
    })
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn deliveries(count: u64) -> String {
    self::count(number(count), "delivery", "deliveries")
}

fn to(endpoints: &BTreeMap<String, u64>) -> String {
    let each: Vec<String> = match endpoints.len() {
        1 => endpoints.keys().cloned().collect(),
        _ => endpoints
            .iter()
            .map(|(endpoint, count)| format!("{endpoint} ({count})"))
            .collect(),
    };
    match each.join(", ") {
        none if none.is_empty() => none,
        endpoints => format!(" to {}", clean(&endpoints)),
    }
}

fn numbered(replay: Option<i64>) -> String {
    let told = |number| format!("\nreplay {number}: postrider events replay --cancel {number}");
    replay.map(told).unwrap_or_default()
}

fn replay_text(done: &api::Replayed) -> String {
    let told = deliveries(done.deliveries) + &to(&done.endpoints);
    let lasts = match Duration::from_secs(done.lasts_seconds) {
        Duration::ZERO => String::new(),
        time => format!(", over {} s", time.as_secs()),
    };
    match (done.deliveries, done.dry_run) {
        (0, _) => "nothing to send again: what is meant is not there, or pending already; what was discarded \
             is meant by --discarded, or by its id with --endpoint\n".to_owned(),
        (_, true) => format!("dry run: would send {told} again{lasts}\n"),
        (_, false) => format!(
            "{told} will be sent again{lasts}{}\n",
            numbered(done.replay)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_tells_its_number_and_where_it_goes() {
        let mut done = api::Replayed {
            dry_run: false,
            replay: Some(17),
            deliveries: 3,
            events: Vec::new(),
            endpoints: [("tickets".to_owned(), 2), ("other".to_owned(), 1)].into(),
            lasts_seconds: 4,
        };
        assert_eq!(
            replay_text(&done),
            "3 deliveries to other (1), tickets (2) will be sent again, over 4 s\n\
             replay 17: postrider events replay --cancel 17\n"
        );
        done.dry_run = true;
        assert!(replay_text(&done).starts_with("dry run: would send 3 deliveries"));
        done.deliveries = 0;
        assert!(replay_text(&done).starts_with("nothing to send again"));
    }
}
