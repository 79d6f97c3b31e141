//! Mailboxes and the daemon at a glance, in words: first what is wrong, then what is there.

use postrider_core::time::Wall;

use super::render::{Table, age, bytes, clean, count, maybe_age, sums, trouble};
use crate::admin::api;

/// Troubles that are told below a list; more would hide the first.
const TROUBLES_MAX: usize = 20;

pub(crate) fn status_text(status: &api::Status, now: Wall) -> String {
    let states: Vec<_> = status
        .states
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    let refused = match status.config_refused {
        true => "; THE LAST RELOAD WAS REFUSED, see the log",
        false => "",
    };
    let room = match &status.store.full {
        Some(why) => format!("; READING IS STOPPED: {}", clean(why)),
        None => String::new(),
    };
    let budget = match status.store.budget_bytes {
        Some(budget) => format!(" of {}", bytes(budget)),
        None => String::new(),
    };
    let proven = match &status.oldest_proven {
        Some(at) => format!("{} ago at the longest", age(at, now)),
        None => "not yet everywhere".to_owned(),
    };
    format!(
        "postrider   {} ({}), up {}\nconfig      read {} ago{refused}\n\
         mailboxes   {}: {}\nup to date  {proven}\n{}\
         store       {}{budget} used, {} free{room}\n",
        clean(&status.version),
        clean(&status.instance),
        age(&status.started_at, now),
        age(&status.config_loaded_at, now),
        status.mailboxes,
        states.join(", "),
        sums(&status.sums),
        bytes(status.store.used_bytes),
        bytes(status.store.disk_free_bytes),
    )
}

pub(crate) fn list_text(mailboxes: &[api::Mailbox], now: Wall) -> String {
    if mailboxes.is_empty() {
        return "no mailboxes\n".to_owned();
    }
    let mut table = Table::new(&[
        "MAILBOX",
        "STATE",
        "SINCE",
        "FOLDERS",
        "UP TO DATE",
        "GAPS",
        "PENDING",
        "DEAD",
        "ACCOUNT",
    ]);
    for mailbox in mailboxes {
        let unaccounted =
            mailbox.sums.unaccounted_messages != 0 || mailbox.sums.unaccounted_deliveries != 0;
        table.row([
            mailbox.id.clone(),
            mailbox.state.clone(),
            maybe_age(mailbox.since.as_deref(), now),
            mailbox.folders.len().to_string(),
            oldest_proven(mailbox, now),
            mailbox
                .folders
                .iter()
                .map(|folder| folder.gaps)
                .sum::<u32>()
                .to_string(),
            mailbox.sums.pending.to_string(),
            mailbox.sums.dead.to_string(),
            if unaccounted {
                "UNACCOUNTED"
            } else {
                "adds up"
            }
            .to_owned(),
        ]);
    }
    let mut text = table.text();
    let mut told = 0;
    for mailbox in mailboxes {
        for line in troubles(mailbox, now) {
            told += 1;
            if told <= TROUBLES_MAX {
                text += &format!("\n{line}\n");
            }
        }
    }
    if told > TROUBLES_MAX {
        text += &format!(
            "\nand {} more: postrider mailboxes list --problems\n",
            told - TROUBLES_MAX
        );
    }
    text
}

/// The folder that was taken up to date the longest ago speaks for its mailbox.
fn oldest_proven(mailbox: &api::Mailbox, now: Wall) -> String {
    let mut oldest: Option<&str> = None;
    for folder in &mailbox.folders {
        match (&folder.last_proven, oldest) {
            (None, _) => return "never".to_owned(),
            // RFC 3339 in UTC sorts by time.
            (Some(at), Some(before)) if at.as_str() >= before => {}
            (Some(at), _) => oldest = Some(at),
        }
    }
    match oldest {
        Some(at) => format!("{} ago", age(at, now)),
        None => String::new(),
    }
}

/// What a person has to know or decide, each with what to do.
fn troubles(mailbox: &api::Mailbox, now: Wall) -> Vec<String> {
    let mut lines = Vec::new();
    let id = clean(&mailbox.id);
    for folder in &mailbox.folders {
        let Some(hold) = &folder.hold else { continue };
        lines.push(format!(
            "{id}/{}: held for {}: {}; {} to send, {} of them old\n  \
             hint: postrider mailboxes release {id} --send | --skip | --since DATE",
            clean(&folder.name),
            age(&hold.since, now),
            clean(&hold.why),
            count(hold.messages as usize, "message", "messages"),
            hold.old,
        ));
    }
    if let Some(error) = &mailbox.last_error {
        lines.push(format!("{id}: {}", trouble(error, now)));
    }
    lines
}

pub(crate) fn show_text(mailbox: &api::Mailbox, now: Wall) -> String {
    let labels: Vec<_> = mailbox
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let lines = [
        ("mailbox", mailbox.id.clone()),
        ("address", mailbox.address.clone()),
        (
            "state",
            format!(
                "{} for {}",
                mailbox.state,
                maybe_age(mailbox.since.as_deref(), now)
            ),
        ),
        (
            "server",
            format!("{} as {}", mailbox.server, mailbox.username),
        ),
        ("credential", mailbox.credential.clone()),
        ("endpoints", mailbox.endpoints.join(", ")),
        ("labels", labels.join(", ")),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{name:<12}{}\n", clean(value));
    }
    text += &sums(&mailbox.sums);
    text += &format!("\n{}", folders_text(&mailbox.folders, now));
    for line in troubles(mailbox, now) {
        text += &format!("\n{line}\n");
    }
    for folder in &mailbox.folders {
        let Some(error) = &folder.last_error else {
            continue;
        };
        text += &format!(
            "\n{}/{}: {}\n",
            clean(&mailbox.id),
            clean(&folder.name),
            trouble(error, now)
        );
    }
    text
}

fn folders_text(folders: &[api::Folder], now: Wall) -> String {
    let mut table = Table::new(&[
        "FOLDER",
        "STATE",
        "SINCE",
        "MODE",
        "UP TO DATE",
        "UIDVALIDITY",
        "LAST UID",
        "GAPS",
        "NEXT TRY",
    ]);
    for folder in folders {
        let number =
            |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let proven = folder
            .last_proven
            .as_deref()
            .map(|at| format!("{} ago", age(at, now)));
        table.row([
            folder.name.clone(),
            folder.state.clone(),
            maybe_age(folder.since.as_deref(), now),
            folder.mode.clone().unwrap_or_default(),
            proven.unwrap_or_else(|| "never".to_owned()),
            number(folder.uidvalidity),
            number(folder.last_uid),
            folder.gaps.to_string(),
            maybe_age(folder.next_try.as_deref(), now),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Wall {
        Wall::from_seconds(1_000_000)
    }

    fn ago(seconds: i64) -> Option<String> {
        Some(Wall::from_seconds(1_000_000 - seconds).rfc3339())
    }

    fn folder(name: &str, state: &str) -> api::Folder {
        api::Folder {
            name: name.to_owned(),
            state: state.to_owned(),
            since: ago(7300),
            mode: Some("idle".to_owned()),
            uidvalidity: Some(1_714_060_800),
            last_uid: Some(4711),
            gaps: 0,
            hold: None,
            last_proven: ago(12),
            next_try: None,
            last_error: None,
        }
    }

    fn mailbox(id: &str, state: &str) -> api::Mailbox {
        api::Mailbox {
            id: id.to_owned(),
            address: format!("{id}@contoso.com"),
            server: "outlook.office365.com:993".to_owned(),
            username: format!("{id}@contoso.com"),
            credential: "contoso".to_owned(),
            endpoints: vec!["tickets".to_owned()],
            labels: std::collections::BTreeMap::new(),
            orphaned: false,
            state: state.to_owned(),
            since: ago(7300),
            folders: vec![folder("INBOX", state)],
            last_error: None,
            sums: api::Sums {
                uids: 7,
                event: 5,
                known: 2,
                deliveries: 5,
                delivered: 5,
                ..api::Sums::default()
            },
        }
    }

    fn troubled() -> api::Mailbox {
        let mut mailbox = mailbox("billing", "auth_failed");
        mailbox.last_error = Some(api::Trouble {
            diagnosis: None,
            cause: "login_refused".to_owned(),
            detail: "the server refused the login".to_owned(),
            hint: Some("check Add-MailboxPermission".to_owned()),
            since: ago(300).unwrap_or_default(),
            at: ago(10).unwrap_or_default(),
        });
        mailbox.folders[0].last_proven = None;
        mailbox.folders[0].hold = Some(api::Hold {
            why: "uidvalidity_changed".to_owned(),
            since: ago(240).unwrap_or_default(),
            messages: 812,
            old: 700,
        });
        mailbox.sums.unaccounted_messages = 1;
        mailbox
    }

    #[test]
    fn a_list_has_a_line_for_each_and_below_it_what_is_wrong_and_what_to_do() {
        assert_eq!(
            list_text(&[mailbox("support", "watching"), troubled()], now()),
            "\
MAILBOX  STATE        SINCE  FOLDERS  UP TO DATE  GAPS  PENDING  DEAD  ACCOUNT
support  watching     2h     1        12s ago     0     0        0     adds up
billing  auth_failed  2h     1        never       0     0        0     UNACCOUNTED

billing/INBOX: held for 4m: uidvalidity_changed; 812 messages to send, 700 of them old
  hint: postrider mailboxes release billing --send | --skip | --since DATE

billing: the server refused the login (for 5m)
  hint: check Add-MailboxPermission
"
        );
        assert_eq!(list_text(&[], now()), "no mailboxes\n");
    }

    #[test]
    fn one_mailbox_is_told_whole() {
        assert_eq!(
            show_text(&mailbox("support", "watching"), now()),
            "\
mailbox     support
address     support@contoso.com
state       watching for 2h
server      outlook.office365.com:993 as support@contoso.com
credential  contoso
endpoints   tickets
messages    7 = 5 event + 2 known + 0 skipped + 0 quarantined + 0 vanished
deliveries  5 = 0 pending + 5 delivered + 0 dead + 0 discarded

FOLDER  STATE     SINCE  MODE  UP TO DATE  UIDVALIDITY  LAST UID  GAPS  NEXT TRY
INBOX   watching  2h     idle  12s ago     1714060800   4711      0     -
"
        );
    }
}
