//! Many mailboxes in a few lines: how many are well, and for each cause one repair for all of them.

use std::collections::BTreeMap;

use super::report::MailboxReport;
use crate::diagnosis::{Cause, Diagnosis, quoted};

/// Mailboxes that are named; the rest is counted.
const NAMED_MAX: usize = 5;

/// All mailboxes of one cause and one credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub cause: Cause,
    pub credential: String,
    pub mailboxes: Vec<String>,
    pub what: String,
    /// One repair for all of them.
    pub fix: Vec<String>,
    /// What else it may be, by name.
    pub or: Vec<String>,
}

/// The largest group first.
pub fn groups(reports: &[MailboxReport]) -> Vec<Group> {
    let mut found: BTreeMap<(Cause, &str), Vec<(&MailboxReport, &Diagnosis)>> = BTreeMap::new();
    for report in reports {
        if let Some(diagnosis) = &report.diagnosis {
            let key = (diagnosis.cause, report.mailbox.credential.as_str());
            found.entry(key).or_default().push((report, diagnosis));
        }
    }
    let mut groups: Vec<Group> = found
        .into_iter()
        .filter_map(|((cause, credential), members)| group(cause, credential, &members))
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.mailboxes.len()));
    groups
}

fn group(
    cause: Cause,
    credential: &str,
    members: &[(&MailboxReport, &Diagnosis)],
) -> Option<Group> {
    let (first, diagnosis) = members.first()?;
    let users: Vec<String> = members
        .iter()
        .map(|(report, _)| quoted(&report.mailbox.username))
        .collect();
    let own = quoted(&first.mailbox.username);
    let fix = diagnosis
        .fix
        .iter()
        .map(|line| for_all(line, &own, &users))
        .collect();
    Some(Group {
        cause,
        credential: credential.to_owned(),
        mailboxes: members
            .iter()
            .map(|(report, _)| report.mailbox.key.to_string())
            .collect(),
        what: diagnosis.what.clone(),
        fix,
        or: diagnosis
            .or
            .iter()
            .map(|one| one.cause.as_str().to_owned())
            .collect(),
    })
}

/// A PowerShell line that names one mailbox, as a loop over all of them.
fn for_all(line: &str, own: &str, users: &[String]) -> String {
    let (command, remark) = match line.split_once("   # ") {
        Some((command, remark)) => (command, format!("   # {remark}")),
        None => (line, String::new()),
    };
    // Cmdlets alone can be looped over; a sentence that names the mailbox stands for all of them.
    let is_cmdlet = command
        .split_whitespace()
        .next()
        .is_some_and(|verb| verb.contains('-') && verb.starts_with(char::is_uppercase));
    if users.len() < 2 || !is_cmdlet || !command.contains(own) {
        return line.to_owned();
    }
    format!(
        "{} | ForEach-Object {{ {} }}{remark}",
        users.join(", "),
        command.replace(own, "$_")
    )
}

impl Group {
    /// `80: mailbox permission missing (box1, box2, … 78 more)`
    pub fn headline(&self) -> String {
        let named: Vec<&str> = self
            .mailboxes
            .iter()
            .take(NAMED_MAX)
            .map(String::as_str)
            .collect();
        let more = match self.mailboxes.len() {
            count if count > NAMED_MAX => format!(", and {} more", count - NAMED_MAX),
            _ => String::new(),
        };
        format!(
            "{}: {} ({}{more})",
            self.mailboxes.len(),
            self.cause.as_str().replace('_', " "),
            named.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_one_becomes_a_loop_for_all() {
        let users = ["'a@x.org'".to_owned(), "'b@x.org'".to_owned()];
        let table = [
            (
                "Add-MailboxPermission -Identity 'a@x.org' -User '9' -AccessRights FullAccess",
                "'a@x.org', 'b@x.org' | ForEach-Object { Add-MailboxPermission -Identity $_ -User '9' -AccessRights FullAccess }",
            ),
            ("Connect-ExchangeOnline", "Connect-ExchangeOnline"),
            (
                "Get-CASMailbox -Identity 'a@x.org' | fl ImapEnabled   # False: this is it",
                "'a@x.org', 'b@x.org' | ForEach-Object { Get-CASMailbox -Identity $_ | fl ImapEnabled }   # False: this is it",
            ),
            (
                "check the user name 'a@x.org'",
                "check the user name 'a@x.org'",
            ),
        ];
        for (line, expected) in table {
            assert_eq!(for_all(line, "'a@x.org'", &users), expected);
            assert_eq!(for_all(line, "'a@x.org'", &users[..1]), line);
        }
    }
}
