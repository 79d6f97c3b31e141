//! `admin …`: who did what, and tokens for the API over TCP.

use postrider_core::time::Wall;

use super::{
    args::{Admin, CreateToken, Tokens},
    client::{Answer, Client, Target},
    failure::Failure,
    mailboxes::done,
    output::{print, print_json},
    render::{Table, clean, maybe_age, moment},
};
use crate::{admin::api, clock};

pub(crate) async fn run(client: &Client, command: &Admin, json: bool) -> Result<(), Failure> {
    match command {
        Admin::Audit { since, limit } => audit(client, since.as_deref(), *limit, json).await,
        Admin::Token {
            command: Tokens::Create(args),
        } => create(client, args, json).await,
        Admin::Token {
            command: Tokens::List,
        } => list(client, json).await,
        Admin::Token {
            command: Tokens::Revoke { name },
        } => done(
            &client.post(Target::of(&["tokens", name, "revoke"])).await?,
            json,
        ),
    }
}

async fn audit(
    client: &Client,
    since: Option<&str>,
    limit: u32,
    json: bool,
) -> Result<(), Failure> {
    let target = Target::of(&["audit"])
        .query("since", since)
        .query("limit", Some(limit));
    let answer: Answer<api::Audit> = client.get(target).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&audit_text(&answer.read()?.audit))
}

fn audit_text(rows: &[api::AuditEntry]) -> String {
    if rows.is_empty() {
        return "nothing was done\n".to_owned();
    }
    let mut table = Table::new(&[
        "NUMBER", "AT (UTC)", "WHO", "THROUGH", "WHAT", "TO", "WHICH", "WHY",
    ]);
    for row in rows {
        table.row([
            row.id.to_string(),
            moment(&row.at),
            row.who.clone(),
            row.through.clone(),
            row.what.clone(),
            row.affected.to_string(),
            row.selector.clone(),
            row.why.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

async fn create(client: &Client, args: &CreateToken, json: bool) -> Result<(), Failure> {
    let request = api::CreateToken {
        name: args.name.clone(),
        scope: args.scope.scope(),
        expires: args.expires.clone(),
    };
    let answer: Answer<api::CreatedToken> = client
        .post_json(Target::of(&["tokens", "create"]), &request)
        .await?;
    if json {
        return print_json(&answer.json);
    }
    let created = answer.read()?;
    let ends = match created.expires.as_deref() {
        Some(at) => format!(", until {}", moment(at)),
        None => String::new(),
    };
    print(&format!(
        "{}\n\nscope {}{ends}; it is not told again. Use it as `Authorization: Bearer …`, or in\n\
         POSTRIDER_ADMIN_TOKEN with --socket http://HOST:PORT\n",
        clean(&created.token),
        created.scope.as_str()
    ))
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Tokens> = client.get(Target::of(&["tokens"])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&list_text(&answer.read()?.tokens, clock::wall()))
}

fn list_text(tokens: &[api::Token], now: Wall) -> String {
    if tokens.is_empty() {
        return "no tokens\n".to_owned();
    }
    let mut table = Table::new(&["NAME", "SCOPE", "STATE", "CREATED (UTC)", "BY", "EXPIRES"]);
    for token in tokens {
        table.row([
            token.name.clone(),
            token.scope.clone(),
            token.state.clone(),
            moment(&token.created_at),
            token.created_by.clone(),
            maybe_age(token.expires.as_deref(), now),
        ]);
    }
    table.text()
}
