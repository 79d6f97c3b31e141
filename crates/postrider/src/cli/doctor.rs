//! `doctor`: which mailboxes to walk, what is shown of it, and the exit code. The walk itself is in
//! `crate::doctor`.

use std::{path::Path, sync::Arc};

use postrider_core::ids::MailboxKey;
use serde_json::{Value, json};

use super::{
    args::Doctor as Args,
    check::{refused, tell},
    client::{Client, Target},
    failure::{Exit, Failure},
    fold::{fold, instruction},
    output::{print, print_json},
    render::{clean, count},
};
use crate::{
    admin::api,
    config::{self, Loaded, Mailbox, nearest},
    diagnosis::Diagnosis,
    doctor::{
        Doctor, Ping,
        forbidden::{Proof, Shown},
        report::{MailboxReport, Outcome, Report, Step, Verdict},
        summary::{self, Group},
    },
};

/// Mailboxes that a line of commands may name.
const LOOPED_MAX: usize = 20;

pub(crate) fn doctor(
    file: &Path,
    socket: Option<&Path>,
    args: &Args,
    json: bool,
) -> Result<(), Failure> {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => return Err(refused(file, &problems, json)?),
    };
    tell(&loaded.warnings, "warning")?;
    let mailboxes = chosen(&loaded, args)?;
    let ping = match args.no_ping {
        true => Ping::No,
        false => Ping::Yes,
    };
    let socket = socket.map_or_else(|| loaded.config.admin.socket.clone(), Path::to_owned);
    let alone = mailboxes.len() == 1;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    let (report, daemon) = runtime.block_on(async {
        let config = Arc::new(loaded.config);
        let doctor = Doctor::new(config, ping)
            .map_err(|error| Failure::new(Exit::Config, format!("{error:#}")))?;
        let live = alone && !json;
        let told = move |_: &Mailbox, step: &Step| {
            if live {
                // Who closed the pipe has seen enough; the exit code still tells.
                let _ = print(&step_text(step));
            }
        };
        let report = Arc::new(doctor).examine(mailboxes, told).await;
        Ok::<_, Failure>((report, status(&Client::at(socket)?).await))
    })?;
    if json {
        print_json(&report_json(&report, daemon.as_ref()))?;
    } else {
        print(&report_text(&report, daemon.as_ref()))?;
    }
    verdict(&report)
}

/// Those that are named, those of a group, or all.
fn chosen(loaded: &Loaded, args: &Args) -> Result<Vec<Arc<Mailbox>>, Failure> {
    let all = &loaded.config.mailboxes;
    let mut chosen: Vec<Arc<Mailbox>> = Vec::new();
    for name in &args.mailboxes {
        match all.get(&MailboxKey::from(name.as_str())) {
            Some(mailbox) => chosen.push(mailbox.clone()),
            None => return Err(no_mailbox(name, all.keys().map(MailboxKey::as_str))),
        }
    }
    for group in &args.group {
        let before = chosen.len();
        let is_member = |key: &MailboxKey| {
            let path = format!("groups.{group}.mailboxes.{key}");
            loaded.places.get(&path).is_some()
        };
        chosen.extend(
            all.iter()
                .filter(|(key, _)| is_member(key))
                .map(|(_, mailbox)| mailbox.clone()),
        );
        if chosen.len() == before {
            let error = format!("there is no group `{group}` with mailboxes");
            return Err(Failure::new(Exit::Failed, error)
                .hint("the configuration names them as [groups.NAME.mailboxes]"));
        }
    }
    if args.mailboxes.is_empty() && args.group.is_empty() {
        chosen = all.values().cloned().collect();
    }
    chosen.sort_by(|a, b| a.key.cmp(&b.key));
    chosen.dedup_by(|a, b| a.key == b.key);
    if chosen.is_empty() {
        return Err(Failure::new(Exit::Config, "no mailbox is configured"));
    }
    Ok(chosen)
}

fn no_mailbox<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("there is no mailbox `{name}`"));
    match nearest(name, names) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("postrider check-config --json"),
    }
}

/// The account of a daemon that runs; none is needed.
async fn status(client: &Client) -> Option<api::Status> {
    let answer = client.get::<api::Status>(Target::of(&["status"])).await;
    answer.ok()?.read().ok()
}

fn verdict(report: &Report) -> Result<(), Failure> {
    let failed = report
        .mailboxes
        .iter()
        .filter(|one| one.diagnosis.is_some())
        .count();
    let open = report
        .proofs
        .iter()
        .filter(|proof| proof.shown == Shown::Opened)
        .count();
    let of = count(report.mailboxes.len(), "mailbox", "mailboxes");
    let what = match (failed, open) {
        (0, 0) => "not all of it could be proven".to_owned(),
        (failed, 0) => format!("{failed} of {of} did not pass"),
        (0, open) => format!("{open} that must stay shut can be opened"),
        (failed, open) => {
            format!("{failed} of {of} did not pass, {open} that must stay shut can be opened")
        }
    };
    match report.verdict() {
        Verdict::Good => Ok(()),
        Verdict::Passing => Err(Failure::new(Exit::TryAgain, what)
            .hint("this may pass by itself: try again later, or look at the fix above")),
        Verdict::Operator => Err(Failure::new(Exit::Failed, what)),
    }
}

// ---------------------------------------------------------------- for programs

fn report_json(report: &Report, daemon: Option<&api::Status>) -> Value {
    let groups = summary::groups(&report.mailboxes);
    let group = |group: &Group| json!({ "cause": group.cause.as_str(), "credential": group.credential, "mailboxes": group.mailboxes, "what": group.what, "fix": group.fix, "or": group.or });
    json!({
        "ok": report.verdict() == Verdict::Good,
        "mailboxes": report.mailboxes.iter().map(MailboxReport::json).collect::<Vec<_>>(),
        "causes": groups.iter().map(group).collect::<Vec<_>>(),
        "must_not_open": report.proofs.iter().map(Proof::json).collect::<Vec<_>>(),
        "account": daemon.map(|status| &status.sums),
    })
}

// ---------------------------------------------------------------- for people

fn step_text(step: &Step) -> String {
    let mark = match step.outcome {
        Outcome::Ok => "ok",
        Outcome::Warn => "note",
        Outcome::Failed => "FAIL",
        Outcome::Skipped => "-",
    };
    let took = match step.took.as_millis() {
        0 => String::new(),
        ms => format!("{ms} ms"),
    };
    let head = format!("  {mark:<4}  {:<8} {took:>9}  ", step.name.as_str());
    fold(&head, &clean(&step.note))
}

fn report_text(report: &Report, daemon: Option<&api::Status>) -> String {
    let mut text = match report.mailboxes.as_slice() {
        // Its steps have been printed as they came.
        [one] => one
            .diagnosis
            .as_ref()
            .map_or_else(String::new, diagnosis_text),
        many => many_text(many),
    };
    for proof in &report.proofs {
        let told = format!(
            "{} with {}: {}",
            clean(&proof.address),
            proof.credential,
            proof.words()
        );
        text += &format!("\n{}", fold("must not open  ", &clean(&told)));
        text += &lines("fix", &proof.fix);
    }
    text += &receipts_text(&report.mailboxes);
    text += &match daemon {
        None => {
            "\nno daemon answers here: the account of what was sent was not looked at\n".to_owned()
        }
        Some(status) => match (
            status.sums.unaccounted_messages,
            status.sums.unaccounted_deliveries,
        ) {
            (0, 0) => {
                "\nthe daemon's account adds up: every message and every delivery has its outcome\n"
                    .to_owned()
            }
            (messages, deliveries) => format!(
                "\nTHE DAEMON'S ACCOUNT DOES NOT ADD UP: {messages} messages and {deliveries} deliveries have no outcome\n"
            ),
        },
    };
    text
}

/// What is wrong, how that is known, what to do; and what looks the same.
fn diagnosis_text(diagnosis: &Diagnosis) -> String {
    let mut text = format!(
        "\ncause     {}\n{}",
        diagnosis.cause.as_str().replace('_', " "),
        fold("          ", &diagnosis.what)
    );
    text += &lines("evidence", &diagnosis.evidence);
    text += &lines("fix", &diagnosis.fix);
    for other in &diagnosis.or {
        let told = format!("{}: {}", other.cause.as_str().replace('_', " "), other.what);
        text += &format!("\n{}", fold("or        ", &told));
        text += &lines("  check", &other.check);
        text += &lines("  fix", &other.fix);
    }
    text
}

fn lines(name: &str, lines: &[String]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        let line: String = line.chars().filter(|char| !char.is_control()).collect();
        text += &instruction(&format!("{name:<10}"), &line);
    }
    text
}

fn many_text(mailboxes: &[MailboxReport]) -> String {
    let good = mailboxes
        .iter()
        .filter(|one| one.diagnosis.is_none())
        .count();
    let mut text = format!("{good} ok\n");
    for group in summary::groups(mailboxes) {
        text += &format!("\n{}\n", group.headline());
        text += &lines("", std::slice::from_ref(&group.what));
        text += &lines("fix once", &repair(&group));
        if let (false, Some(first)) = (group.or.is_empty(), group.mailboxes.first()) {
            text += &lines(
                "or",
                &[format!(
                    "{} (postrider doctor {first} tells how to find out)",
                    group.or.join(", ").replace('_', " ")
                )],
            );
        }
    }
    text
}

/// A loop over hundreds of addresses is read by nobody: one script does it for all of them.
fn repair(group: &Group) -> Vec<String> {
    let is_loop = |line: &&String| line.contains("ForEach-Object");
    let loops = group.fix.iter().filter(is_loop);
    // With a name to be filled in it is no application's grant, which is all that the script gives.
    let is_whole = loops.clone().all(|line| !line.contains("'<"));
    if group.mailboxes.len() <= LOOPED_MAX || loops.count() == 0 || !is_whole {
        return group.fix.clone();
    }
    let fix = group.fix.iter().filter(|line| !is_loop(line));
    let mut lines: Vec<String> = fix.cloned().collect();
    lines.retain(|line| !line.starts_with("Connect-ExchangeOnline"));
    lines.push(format!(
        "postrider setup exchange --credential {} > setup.ps1",
        group.credential
    ));
    lines.push("one script for an Exchange administrator, for all mailboxes; it does what is missing (`--json` has the single commands)".to_owned());
    lines
}

/// Read receipts, once for all mailboxes that they concern.
fn receipts_text(mailboxes: &[MailboxReport]) -> String {
    // Where a mailbox cannot be read, nothing is read that could be receipted.
    let read = mailboxes.iter().filter(|one| one.diagnosis.is_none());
    let mut concerned = read.flat_map(|one| one.remarks.iter());
    let Some(first) = concerned.next() else {
        return String::new();
    };
    let more = match concerned.count() {
        0 => String::new(),
        count => fold(
            "          ",
            &format!("and so for {count} more (`postrider setup exchange` prints them all)"),
        ),
    };
    let told = fold(
        "remark    ",
        "Exchange may answer a request for a read receipt when mail is read over IMAP; whether it \
         is set to cannot be seen from here. To switch it off:",
    );
    format!("\n{told}          {first}\n{more}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        diagnosis::{Cause, Possible},
        doctor::report::StepName,
    };

    #[test]
    fn a_step_is_a_line_with_its_time() {
        let step = |outcome, ms, note: &str| Step {
            name: StepName::Login,
            outcome,
            took: Duration::from_millis(ms),
            note: note.to_owned(),
        };
        assert_eq!(
            step_text(&step(Outcome::Ok, 830, "as a@x.org")),
            "  ok    login       830 ms  as a@x.org\n"
        );
        assert_eq!(
            step_text(&step(Outcome::Failed, 0, "\u{1b}[2J")),
            "  FAIL  login                [2J\n"
        );
    }

    #[test]
    fn a_diagnosis_is_told_with_what_decides() {
        let diagnosis = Diagnosis {
            cause: Cause::ImapDisabled,
            what: "IMAP is switched off".to_owned(),
            evidence: vec!["the server says no".to_owned()],
            fix: vec!["one".to_owned(), "two".to_owned()],
            or: vec![Possible {
                cause: Cause::MailboxUnlicensed,
                what: "no licence".to_owned(),
                check: vec!["Get-Mailbox".to_owned()],
                fix: vec!["buy one".to_owned()],
            }],
        };
        assert_eq!(
            diagnosis_text(&diagnosis),
            "\ncause     imap disabled\n          IMAP is switched off\nevidence  the server says no\nfix       one\n          two\n\
             \nor        mailbox unlicensed: no licence\n  check   Get-Mailbox\n  fix     buy one\n"
        );
    }
}
