//! Changes by clients, where they are allowed: flags, copies, moves, removals; by UID alone.

use super::{
    presence::Mode,
    profile::Kind,
    session::{Reply, Session},
    syntax::{Bad, Scanner},
    utf7,
};

impl Session {
    /// The UIDs of a set that the open folder has, with user and folder.
    fn chosen(&mut self, scanner: &mut Scanner<'_>) -> Result<(String, String, Vec<u32>), Bad> {
        scanner.space()?;
        let set = scanner.set()?;
        let user = self.presence.user().unwrap_or_default().to_owned();
        let Some(view) = &self.presence.view else {
            return Err("no folder is open");
        };
        if view.mode == Mode::ReadOnly {
            return Err("the folder is open for reading");
        }
        let uids = set.positions(&view.uids);
        let uids = uids.into_iter().map(|place| view.uids[place]).collect();
        Ok((user, view.folder.clone(), uids))
    }

    /// `UID STORE set +FLAGS.SILENT (flags)`.
    pub(super) fn store_flags(&mut self, scanner: &mut Scanner<'_>) -> Result<Reply, Bad> {
        let (user, folder, uids) = self.chosen(scanner)?;
        scanner.space()?;
        if scanner.word()? != "+FLAGS.SILENT" {
            return Err("only +FLAGS.SILENT is served here");
        }
        scanner.space()?;
        let flags = scanner.list()?;
        scanner.end()?;
        let keyword = flags.iter().any(|flag| !flag.starts_with('\\'));
        if keyword && matches!(self.presence.profile.kind, Kind::Exchange(_)) {
            return Ok(Reply::Bad("Command Argument Error. 11".into()));
        }
        for flag in &flags {
            // A message that was removed meanwhile has no flags.
            let _ = self
                .presence
                .shared
                .mailboxes
                .flag(&user, &folder, &uids, flag);
        }
        Ok(Reply::Ok("STORE completed.".into()))
    }

    pub(super) fn carry(&mut self, name: &str, scanner: &mut Scanner<'_>) -> Result<Reply, Bad> {
        let (user, folder, uids) = self.chosen(scanner)?;
        scanner.space()?;
        let wire_name = scanner.string()?;
        scanner.end()?;
        let target = utf7::decode(&wire_name).ok_or("a folder's name is no modified UTF-7")?;
        let mailboxes = self.presence.shared.mailboxes.clone();
        if mailboxes.uids(&user, &target).is_err() {
            return Ok(Reply::No(
                format!(
                    "[TRYCREATE] {}",
                    self.presence.profile.no_folder(&wire_name)
                )
                .into(),
            ));
        }
        for uid in &uids {
            // It may have been removed meanwhile.
            let _ = mailboxes.label(&user, &folder, *uid, &target);
        }
        if name == "UID MOVE" {
            let _ = mailboxes.expunge(&user, &folder, &uids);
        }
        self.tell_news();
        Ok(Reply::Ok(format!("{name} completed.").into()))
    }

    /// Removes those of the set that are marked as deleted.
    pub(super) fn expunge(&mut self, scanner: &mut Scanner<'_>) -> Result<Reply, Bad> {
        let (user, folder, uids) = self.chosen(scanner)?;
        scanner.end()?;
        let mailboxes = self.presence.shared.mailboxes.clone();
        let marked: Vec<u32> = uids
            .into_iter()
            .filter(|uid| {
                let flags = mailboxes.flags(&user, &folder, *uid);
                flags.is_ok_and(|flags| flags.contains("\\Deleted"))
            })
            .collect();
        let _ = mailboxes.expunge(&user, &folder, &marked);
        self.tell_news();
        Ok(Reply::Ok("UID EXPUNGE completed.".into()))
    }
}
