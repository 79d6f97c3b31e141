//! `credentials`: how access stands, as the running daemon uses it.

use postrider_core::time::Wall;

use super::{
    args::Credentials,
    client::{Answer, Client, Target},
    failure::Failure,
    mailboxes::done,
    output::{print, print_json},
    render::{Table, age, clean, maybe_age, over, trouble},
};
use crate::{admin::api, clock};

/// Names of mailboxes in one line; a credential may have a thousand of them.
const NAMES_MAX: usize = 4;

pub(crate) async fn run(
    client: &Client,
    command: Option<&Credentials>,
    json: bool,
) -> Result<(), Failure> {
    match command {
        None | Some(Credentials::List) => list(client, json).await,
        Some(Credentials::Renew { credential }) => {
            let target = Target::of(&["credentials", credential, "renew"]);
            done(&client.post(target).await?, json)
        }
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer: Answer<api::Credentials> = client.get(Target::of(&["credentials"])).await?;
    if json {
        return print_json(&answer.json);
    }
    print(&text(&answer.read()?.credentials, clock::wall()))
}

fn text(credentials: &[api::Credential], now: Wall) -> String {
    if credentials.is_empty() {
        return "no credentials\n".to_owned();
    }
    let mut table = Table::new(&[
        "CREDENTIAL",
        "TYPE",
        "STATE",
        "LIVE",
        "LAST TOKEN",
        "TOKEN ENDS",
        "NEXT REQUEST",
        "EXPIRES",
        "MAILBOXES",
    ]);
    for credential in credentials {
        table.row([
            credential.id.clone(),
            credential.kind.clone(),
            credential.state.clone(),
            live(credential),
            maybe_age(credential.last_token.as_deref(), now),
            maybe_age(credential.token_expires.as_deref(), now),
            maybe_age(credential.next_request.as_deref(), now),
            maybe_age(credential.expires.as_deref(), now),
            mailboxes(&credential.mailboxes),
        ]);
    }
    let mut text = table.text();
    for credential in credentials {
        text += &details(credential, now);
    }
    text
}

/// `2 of 3`: the newest is the first.
fn live(credential: &api::Credential) -> String {
    match (credential.live, credential.secrets) {
        (_, 0) => String::new(),
        (Some(live), secrets) => format!("{live} of {secrets}"),
        (None, secrets) => format!("none of {secrets}"),
    }
}

fn mailboxes(names: &[String]) -> String {
    let shown = names.get(..NAMES_MAX).unwrap_or(names).join(" ");
    match names.len() {
        0 => "none".to_owned(),
        number @ 1..=NAMES_MAX => format!("{number}: {shown}"),
        number => format!("{number}: {shown} …"),
    }
}

fn details(credential: &api::Credential, now: Wall) -> String {
    let id = clean(&credential.id);
    let mut text = String::new();
    for certificate in &credential.certificates {
        let live = if certificate.live { " (live)" } else { "" };
        let ends = match age(&certificate.expires, now) {
            later if later.starts_with("in ") => format!("ends {later}"),
            past => format!("ended {past} ago"),
        };
        text += &format!(
            "\n{id}: certificate {}{live}: {}, {}, {ends}\n",
            certificate.number,
            clean(&certificate.thumbprint),
            clean(&certificate.subject),
        );
    }
    for problem in &credential.secret_problems {
        text += &format!("\n{id}: {}\n", clean(problem));
    }
    if let Some(error) = &credential.last_error {
        let told = match credential.trouble_over {
            true => over(error, None, now),
            false => trouble(error, now),
        };
        text += &format!("\n{id}: {told}\n");
    }
    if let Some(at) = &credential.account_since {
        let account = credential.account.as_deref().unwrap_or("somebody");
        text += &format!(
            "\n{id}: {} signed in {} ago\n",
            clean(account),
            age(at, now)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> api::Credential {
        let now = Wall::from_seconds(1_000_000);
        let at = |seconds: i64| Some(Wall::from_seconds(1_000_000 + seconds).rfc3339());
        api::Credential {
            id: "contoso".to_owned(),
            kind: "microsoft".to_owned(),
            state: "ready".to_owned(),
            live: Some(2),
            secrets: 3,
            secret_problems: Vec::new(),
            token_expires: at(3000),
            next_request: at(2400),
            last_token: at(-600),
            certificates: vec![api::Certificate {
                number: 2,
                thumbprint: "0A1B2C".to_owned(),
                subject: "CN=rider".to_owned(),
                expires: at(30 * 86_400).unwrap(),
                live: true,
            }],
            expires: at(30 * 86_400),
            account: None,
            account_since: None,
            mailboxes: (1..=6).map(|n| format!("box{n}")).collect(),
            trouble_over: true,
            last_error: Some(api::Trouble {
                diagnosis: None,
                cause: "ready".to_owned(),
                detail: "no answer within 20 s".to_owned(),
                hint: Some("wait".to_owned()),
                since: now.rfc3339(),
                at: now.rfc3339(),
            }),
        }
    }

    #[test]
    fn a_line_says_what_is_live_and_what_ends_when() {
        let text = text(&[credential()], Wall::from_seconds(1_000_000));
        let line = text.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells.iter().map(|cell| cell.trim()).collect::<Vec<_>>(),
            [
                "contoso",
                "microsoft",
                "ready",
                "2 of 3",
                "10m",
                "in 50m",
                "in 40m",
                "in 30d",
                "6: box1 box2 box3 box4 …"
            ]
        );
        assert!(
            text.contains("contoso: certificate 2 (live): 0A1B2C, CN=rider, ends in 30d\n"),
            "{text}"
        );
        assert!(
            text.ends_with("contoso: last trouble 0s ago: no answer within 20 s\n"),
            "{text}"
        );
    }

    #[test]
    fn trouble_that_lasts_has_its_hint_and_a_sign_in_its_person() {
        let credential = api::Credential {
            state: "refused".to_owned(),
            live: None,
            trouble_over: false,
            account: Some("ann@contoso.com".to_owned()),
            account_since: Some(Wall::from_seconds(1_000_000).rfc3339()),
            secret_problems: vec!["secret variable X is not set; hint: set it".to_owned()],
            ..credential()
        };
        let text = text(&[credential], Wall::from_seconds(1_000_000 + 7200));
        for words in [
            "none of 3",
            "contoso: no answer within 20 s (for 2h)\n  hint: wait",
            "ann@contoso.com signed in 2h ago",
            "contoso: secret variable X is not set",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
