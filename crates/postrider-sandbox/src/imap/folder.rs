//! Opening folders and telling of them: EXAMINE, SELECT, STATUS.

use std::sync::Arc;

use super::{
    presence::{Mode, View},
    profile::Kind,
    session::{Reply, Session},
    syntax::{Bad, Scanner, quoted},
    utf7,
};
use crate::mailboxes::Folder;

impl Session {
    pub(super) fn select(&mut self, scanner: &mut Scanner<'_>, mode: Mode) -> Result<Reply, Bad> {
        scanner.space()?;
        let wire_name = scanner.string()?;
        scanner.end()?;
        let name = utf7::decode(&wire_name).ok_or("a folder's name is no modified UTF-7")?;
        self.presence.leave_folder();
        let Some(user) = self.presence.user().map(str::to_owned) else {
            return Err("no login");
        };
        let entry = Arc::clone(&self.presence.entry);
        let opened = self.presence.shared.mailboxes.look(&user, &name, |folder| {
            folder.watchers.insert(entry.id, Arc::clone(&entry.notify));
            let view = View {
                folder: name.clone(),
                epoch: folder.epoch,
                version: folder.version,
                uids: folder.messages.keys().copied().collect(),
                mode,
            };
            (view, folder.uid_validity, folder.uid_next)
        });
        let Ok((view, uid_validity, uid_next)) = opened else {
            let text = self.presence.profile.no_folder(&wire_name);
            return Ok(Reply::No(text.into()));
        };
        let flags = match self.presence.profile.kind {
            Kind::Exchange(_) => r"(\Seen \Answered \Flagged \Deleted \Draft $MDNSent)",
            Kind::Gmail => r"(\Answered \Flagged \Draft \Deleted \Seen $NotPhishing $Phishing)",
            Kind::Dovecot | Kind::Plain => r"(\Answered \Flagged \Deleted \Seen \Draft)",
        };
        let (permanent, word, verb) = match mode {
            Mode::ReadOnly => ("()", "READ-ONLY", "EXAMINE"),
            Mode::ReadWrite => (flags, "READ-WRITE", "SELECT"),
        };
        // Exchange has been seen to tell codes without the OK that makes them status responses.
        let ok = match self.presence.is_set(|levers| levers.codes_without_ok) {
            true => "",
            false => "OK ",
        };
        for line in [
            format!("* {} EXISTS", view.uids.len()),
            "* 0 RECENT".to_owned(),
            format!("* FLAGS {flags}"),
            format!("* {ok}[PERMANENTFLAGS {permanent}] Permanent flags"),
            format!("* {ok}[UIDVALIDITY {uid_validity}] UIDVALIDITY value"),
            format!("* {ok}[UIDNEXT {uid_next}] The next unique identifier value"),
        ] {
            self.wire.put_line(line);
        }
        self.presence.view = Some(view);
        Ok(Reply::Ok(format!("[{word}] {verb} completed.").into()))
    }

    pub(super) fn status(&mut self, scanner: &mut Scanner<'_>) -> Result<Reply, Bad> {
        scanner.space()?;
        let wire_name = scanner.string()?;
        scanner.space()?;
        let items = scanner.list()?;
        scanner.end()?;
        match self.status_line(&wire_name, &items)? {
            false => {
                let text = self.presence.profile.no_folder(&wire_name);
                Ok(Reply::No(text.into()))
            }
            true => Ok(Reply::Ok("STATUS completed.".into())),
        }
    }

    /// Tells of one folder; whether it is there.
    pub(super) fn status_line(&mut self, wire_name: &str, items: &[String]) -> Result<bool, Bad> {
        let name = utf7::decode(wire_name).ok_or("a folder's name is no modified UTF-7")?;
        let user = self.presence.user().unwrap_or_default().to_owned();
        let mailboxes = &self.presence.shared.mailboxes;
        let found = mailboxes.look(&user, &name, |folder| status_items(folder, items));
        let Ok(found) = found else {
            return Ok(false);
        };
        let found = found?;
        self.wire.put("* STATUS ");
        self.wire.put(quoted(wire_name.as_bytes()));
        self.wire.put_line(format!(" ({found})"));
        Ok(true)
    }
}

fn status_items(folder: &Folder, items: &[String]) -> Result<String, Bad> {
    let mut found = Vec::new();
    for item in items {
        let item = item.to_ascii_uppercase();
        let value = match item.as_str() {
            "MESSAGES" => folder.messages.len().to_string(),
            "RECENT" => "0".to_owned(),
            "UIDNEXT" => folder.uid_next.to_string(),
            "UIDVALIDITY" => folder.uid_validity.to_string(),
            "UNSEEN" => {
                let unseen = folder.messages.values().filter(|one| !one.is_seen());
                unseen.count().to_string()
            }
            _ => return Err("a status item is unknown"),
        };
        found.push(format!("{item} {value}"));
    }
    Ok(found.join(" "))
}
