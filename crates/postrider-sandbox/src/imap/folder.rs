//! Opening folders and telling of them: EXAMINE, SELECT, STATUS, LIST.

use std::sync::Arc;

use super::{
    presence::{Mode, View},
    session::{Reply, Session},
    syntax::{Bad, Scanner, quoted},
};
use crate::mailboxes::Folder;

impl Session {
    pub(super) fn select(&mut self, scanner: &mut Scanner<'_>, mode: Mode) -> Result<Reply, Bad> {
        scanner.space()?;
        let name = scanner.string()?;
        scanner.end()?;
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
            return Ok(Reply::No(
                format!("[NONEXISTENT] {name} doesn't exist.").into(),
            ));
        };
        let flags = r"(\Seen \Answered \Flagged \Deleted \Draft $MDNSent)";
        self.wire.put_line(format!("* {} EXISTS", view.uids.len()));
        self.wire.put_line("* 0 RECENT");
        self.wire.put_line(format!("* FLAGS {flags}"));
        let (permanent, word, verb) = match mode {
            Mode::ReadOnly => ("()", "READ-ONLY", "EXAMINE"),
            Mode::ReadWrite => (flags, "READ-WRITE", "SELECT"),
        };
        self.wire
            .put_line(format!("* OK [PERMANENTFLAGS {permanent}] Permanent flags"));
        self.wire.put_line(format!(
            "* OK [UIDVALIDITY {uid_validity}] UIDVALIDITY value"
        ));
        self.wire.put_line(format!(
            "* OK [UIDNEXT {uid_next}] The next unique identifier value"
        ));
        self.presence.view = Some(view);
        Ok(Reply::Ok(format!("[{word}] {verb} completed.").into()))
    }

    pub(super) fn status(&mut self, scanner: &mut Scanner<'_>) -> Result<Reply, Bad> {
        scanner.space()?;
        let name = scanner.string()?;
        scanner.space()?;
        let items = scanner.list()?;
        scanner.end()?;
        let user = self.presence.user().unwrap_or_default().to_owned();
        let found = self
            .presence
            .shared
            .mailboxes
            .look(&user, &name, |folder| status_items(folder, &items));
        match found {
            Err(_) => Ok(Reply::No(
                format!("[NONEXISTENT] {name} doesn't exist.").into(),
            )),
            Ok(items) => {
                let items = items?;
                self.wire.put("* STATUS ");
                self.wire.put(quoted(name.as_bytes()));
                self.wire.put_line(format!(" ({items})"));
                Ok(Reply::Ok("STATUS completed.".into()))
            }
        }
    }

    pub(super) fn list(&mut self, scanner: &mut Scanner<'_>) -> Result<Reply, Bad> {
        scanner.space()?;
        scanner.string()?;
        scanner.space()?;
        let pattern = scanner.string()?;
        scanner.end()?;
        let user = self.presence.user().unwrap_or_default().to_owned();
        if pattern.is_empty() {
            self.wire.put_line(r#"* LIST (\Noselect) "/" """#);
        }
        for name in self.presence.shared.mailboxes.folder_names(&user) {
            let prefix = pattern.trim_end_matches(['*', '%']);
            let wanted = if prefix.len() < pattern.len() {
                name.starts_with(prefix)
            } else {
                name == pattern
            };
            if wanted {
                self.wire.put(r#"* LIST (\HasNoChildren) "/" "#);
                self.wire.put_line(quoted(name.as_bytes()));
            }
        }
        Ok(Reply::Ok("LIST completed.".into()))
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
