//! `mailboxes …` and `status`: how it goes, and orders to it.

use super::{
    args::{Mailboxes, ReleaseArgs},
    client::{Answer, Client, Target},
    failure::Failure,
    mailbox_text::{list_text, show_text, status_text},
    output::{print, print_json},
    render::clean,
};
use crate::{admin::api, clock};

pub(crate) async fn status(client: &Client, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Status> = client.get(Target::of(&["status"])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&status_text(&answer.read()?, clock::wall()))
}

pub(crate) async fn run(
    client: &Client,
    command: Option<&Mailboxes>,
    json: bool,
) -> Result<(), Failure> {
    match command {
        None => list(client, None, json).await,
        Some(Mailboxes::List { problems }) => list(client, problems.then_some("true"), json).await,
        Some(Mailboxes::Show { mailbox }) => show(client, mailbox, json).await,
        Some(Mailboxes::Pause { mailbox, reason }) => {
            order(client, mailbox, ("pause", reason.as_ref()), json).await
        }
        Some(Mailboxes::Resume { mailbox, reason }) => {
            order(client, mailbox, ("resume", reason.as_ref()), json).await
        }
        Some(Mailboxes::Adopt { mailbox, reason }) => {
            order(client, mailbox, ("adopt", reason.as_ref()), json).await
        }
        Some(Mailboxes::Resync { mailbox }) => order(client, mailbox, ("resync", None), json).await,
        Some(Mailboxes::Release(args)) => release(client, args, json).await,
    }
}

async fn list(client: &Client, problems: Option<&str>, json: bool) -> Result<(), Failure> {
    let target = Target::of(&["mailboxes"]).query("problems", problems);
    let answer: Answer<api::Mailboxes> = client.get(target).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&list_text(&answer.read()?.mailboxes, clock::wall()))
}

async fn show(client: &Client, mailbox: &str, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Mailbox> = client.get(Target::of(&["mailboxes", mailbox])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&show_text(&answer.read()?, clock::wall()))
}

async fn order(
    client: &Client,
    mailbox: &str,
    (order, why): (&str, Option<&String>),
    json: bool,
) -> Result<(), Failure> {
    let target = Target::of(&["mailboxes", mailbox, order]);
    let reason = api::Reason { why: why.cloned() };
    done(&client.post_json(target, &reason).await?, json)
}

async fn release(client: &Client, args: &ReleaseArgs, json: bool) -> Result<(), Failure> {
    let release = match (&args.since, args.send) {
        (Some(at), _) => api::Release::Since { at: at.clone() },
        (None, true) => api::Release::Send,
        (None, false) => api::Release::Skip,
    };
    let request = api::ReleaseRequest {
        release,
        folder: args.folder.clone(),
        why: args.reason.clone(),
    };
    let target = Target::of(&["mailboxes", &args.mailbox, "release"]);
    done(&client.post_json(target, &request).await?, json)
}

/// What an order came to.
pub(crate) fn done(answer: &Answer<api::Done>, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&answer.json);
    }
    let done = answer.read()?;
    let folders = match done.folders.join(", ") {
        none if none.is_empty() => none,
        folders => format!(" ({folders})"),
    };
    print(&format!(
        "{}: {}{}\n",
        clean(&done.id),
        clean(&done.done),
        clean(&folders)
    ))
}
